//! Ollama's own API: `/api/chat`, `/api/generate` and `/api/embed`. An answer is one line of JSON per piece of text;
//! the last line says `done` and how long everything took.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::answer::{About, arguments};
use super::config::Config;
use super::parts::{self, Object, Part};
use super::refusal::ServerError;
use super::request::{Question, Texts, Turn, add};
use super::stream::{Line, Piece, Reading};

pub(super) const CHAT: &str = "/api/chat";
pub(super) const GENERATE: &str = "/api/generate";
pub(super) const EMBED: &str = "/api/embed";

/// Without these fields, Ollama cuts a prompt that is too long, and generates forever by discarding the start of the
/// context. Older versions ignore them.
pub(super) const NO_CUT_FIELDS: [&str; 2] = ["truncate", "shift"];

/// The body for [`CHAT`].
pub(super) fn chat(question: Question, config: &Config) -> Value {
    let messages: Vec<Value> = question
        .turns
        .iter()
        .map(|turn| {
            let mut message =
                Map::from_iter([("role".to_owned(), json!(turn.role)), ("content".to_owned(), json!(turn.content))]);
            if !turn.images.is_empty() {
                message.insert("images".to_owned(), images(turn));
            }
            Value::Object(message)
        })
        .collect();
    let mut body = Map::new();
    body.insert("messages".to_owned(), Value::Array(messages));
    finish(body, question, config)
}

/// The body for [`GENERATE`].
pub(super) fn generate(question: Question, config: &Config) -> Value {
    let mut body = Map::new();
    for turn in &question.turns {
        let field = if turn.role == "system" { "system" } else { "prompt" };
        body.insert(field.to_owned(), json!(turn.content));
        if !turn.images.is_empty() {
            body.insert("images".to_owned(), images(turn));
        }
    }
    finish(body, question, config)
}

fn images(turn: &Turn) -> Value {
    turn.images.iter().map(|image| image.base64.as_str()).collect()
}

fn finish(mut body: Map<String, Value>, question: Question, config: &Config) -> Value {
    body.insert("model".to_owned(), json!(question.model));
    body.insert("stream".to_owned(), json!(true));
    let keeps = question.options.contains_key("num_keep");
    if !question.options.is_empty() {
        let named = |(name, value): (String, Value)| match name.as_str() {
            "max_tokens" => (config.max_tokens_field.clone(), value),
            _ => (name, value),
        };
        body.insert("options".to_owned(), question.options.into_iter().map(named).collect());
    }
    for (name, value) in [("format", question.format), ("keep_alive", question.keep_alive)] {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    }
    body.insert("truncate".to_owned(), json!(false));
    // `num_keep` says what remains when the context is shifted, so a task that sets it wants shifting.
    if !keeps {
        body.insert("shift".to_owned(), json!(false));
    }
    add(&mut body, question.extra);
    Value::Object(body)
}

/// The body for [`EMBED`].
pub(super) fn embed(texts: Texts) -> Value {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(texts.model));
    body.insert("input".to_owned(), json!(texts.input));
    if let Some(dimensions) = texts.dimensions {
        body.insert("dimensions".to_owned(), json!(dimensions));
    }
    if let Some(keep_alive) = texts.keep_alive {
        body.insert("keep_alive".to_owned(), keep_alive);
    }
    body.insert("truncate".to_owned(), json!(false));
    add(&mut body, texts.extra);
    Value::Object(body)
}

/// Reads the lines of an answer.
#[derive(Default)]
pub(super) struct Ndjson {
    pub(super) about: About,
}

impl Ndjson {
    fn read(&mut self, line: &Object) -> Result<Line, String> {
        let whole = Part::whole(line);
        if let Some(error) = whole.get("error") {
            let status = whole.count("status")?.and_then(|status| u16::try_from(status).ok());
            return Ok(Line::Error(ServerError::with_status(error, status)));
        }
        let is_last = whole.flag("done")?;
        let mut piece = Piece { is_last, ..Piece::default() };
        if let Some(message) = whole.object("message")? {
            let message = Part::at(message, "message.");
            self.take_part(&message, "content", &mut piece)?;
        } else if is_last || ["response", "thinking", "tool_calls"].iter().any(|name| whole.get(name).is_some()) {
            self.take_part(&whole, "response", &mut piece)?;
        } else {
            return Err("a line without text".to_owned());
        }
        if is_last {
            numbers(&whole, &mut self.about)?;
        }
        Ok(Line::Piece(piece))
    }

    fn take_part(&mut self, part: &Part<'_>, text: &str, piece: &mut Piece) -> Result<(), String> {
        part.text(text)?.unwrap_or_default().clone_into(&mut piece.text);
        part.text("thinking")?.unwrap_or_default().clone_into(&mut piece.thinking);
        for call in part.list("tool_calls")? {
            let Value::Object(call) = call else { return Err(part.expected("tool_calls[]", "an object", call)) };
            let call = Part::at(call, "tool_calls[].");
            let function = call.object("function")?.ok_or("a tool call without `function`")?;
            let function = Part::at(function, "tool_calls[].function.");
            let (id, name) = (call.name("id")?, function.name("name")?.unwrap_or_default());
            let call = json!({"id": id, "name": name, "arguments": arguments(function.get("arguments").cloned())});
            piece.kept += call.to_string().len();
            self.about.tool_calls.push(call);
        }
        Ok(())
    }
}

/// Ollama's counts, in tokens and nanoseconds. It omits values that are zero.
fn numbers(whole: &Part<'_>, about: &mut About) -> Result<(), String> {
    let nanos = |name: &str| Ok::<_, String>(whole.count(name)?.map(Duration::from_nanos));
    about.model = whole.name("model")?.map(str::to_owned);
    about.done_reason = whole.name("done_reason")?.map(str::to_owned);
    about.prompt_tokens = Some(whole.count("prompt_eval_count")?.unwrap_or(0));
    about.completion_tokens = Some(whole.count("eval_count")?.unwrap_or(0));
    about.total = nanos("total_duration")?;
    about.load = nanos("load_duration")?;
    about.prompt_eval = nanos("prompt_eval_duration")?;
    about.eval = nanos("eval_duration")?;
    Ok(())
}

impl Reading for Ndjson {
    fn take(&mut self, line: &[u8]) -> Line {
        parts::object(line).and_then(|line| self.read(&line)).unwrap_or_else(Line::Malformed)
    }

    fn may_end(&self) -> bool {
        false
    }
}

/// Reads the answer to [`EMBED`].
pub(super) fn embedded(body: &Object) -> Result<(Vec<Value>, About), String> {
    let (whole, mut about) = (Part::whole(body), About::default());
    numbers(&whole, &mut about)?;
    Ok((whole.list("embeddings")?.to_vec(), about))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> (String, String, Option<String>, About) {
        let (mut reader, mut text, mut thinking) = (Ndjson::default(), String::new(), String::new());
        for line in lines {
            match reader.take(line.as_bytes()) {
                Line::Piece(piece) => {
                    text.push_str(&piece.text);
                    thinking.push_str(&piece.thinking);
                }
                Line::Malformed(why) => return (text, thinking, Some(why), reader.about),
                Line::Error(_) => return (text, thinking, Some("error".to_owned()), reader.about),
            }
        }
        (text, thinking, None, reader.about)
    }

    #[test]
    fn thinking_and_tool_calls_are_separated_from_text() {
        let (text, thinking, wrong, about) = read(&[
            r#"{"message":{"role":"assistant","content":"","thinking":"It "},"done":false}"#,
            r#"{"message":{"role":"assistant","content":null,"thinking":"is."},"done":false}"#,
            r#"{"message":{"content":"","tool_calls":[{"function":{"name":"now","arguments":{"in":"UTC"}}}]},"done":false}"#,
            r#"{"message":{"content":"Paris"},"done":false}"#,
            r#"{"model":"m","message":{"content":""},"done":true,"done_reason":"stop","eval_count":3,"total_duration":9.0}"#,
        ]);
        assert_eq!((text.as_str(), thinking.as_str(), wrong), ("Paris", "It is.", None));
        assert_eq!(about.tool_calls, [json!({"id": null, "name": "now", "arguments": {"in": "UTC"}})]);
        assert_eq!((about.completion_tokens, about.prompt_tokens), (Some(3), Some(0)));
        let (text, thinking, _, _) = read(&[r#"{"response":"","thinking":"hm","done":false}"#, r#"{"thinking":"!"}"#]);
        assert_eq!((text.as_str(), thinking.as_str()), ("", "hm!"));
    }

    #[test]
    fn a_tool_call_without_arguments_has_an_empty_object() {
        for arguments in ["", r#","arguments":null"#, r#","arguments":"""#, r#","arguments":{}"#] {
            let line = format!(r#"{{"message":{{"tool_calls":[{{"function":{{"name":"now"{arguments}}}}}]}}}}"#);
            let (_, _, wrong, about) = read(&[&line]);
            assert_eq!((wrong, &about.tool_calls[0]["arguments"]), (None, &json!({})), "{line}");
        }
    }

    #[test]
    fn malformed_answers_are_reported_with_their_place() {
        for (line, said) in [
            (r#"{"message":{"content":7}}"#, "`message.content`: expected text, found the number 7"),
            (r#"{"message":[]}"#, "`message`: expected an object, found a list"),
            (r#"{"response":"","done":"yes"}"#, "`done`: expected true or false, found text"),
            (r#"{"response":"","done":true,"eval_count":-1}"#, "`eval_count`: expected a whole number from 0"),
            (r#"{"response":"cut \ud83d"}"#, "in `response`: \\ud83d is half of a surrogate pair"),
            (r#"{"message":{"tool_calls":[{}]}}"#, "a tool call without `function`"),
            ("{}", "a line without text"),
            ("[]", "expected an object, found a list"),
        ] {
            let (_, _, wrong, _) = read(&[line]);
            assert!(wrong.as_deref().is_some_and(|why| why.contains(said)), "{line}: {wrong:?}");
        }
    }
}
