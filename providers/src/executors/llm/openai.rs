//! OpenAI's API as many servers speak it: `/chat/completions` and `/embeddings`. An answer is a stream of server-sent
//! events whose data is JSON; it ends with `[DONE]`. A server that does not stream sends one JSON object.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::answer::{About, arguments};
use super::config::Config;
use super::parts::{self, Object, Part};
use super::refusal::ServerError;
use super::request::{Question, Texts, Turn, add};
use super::stream::{Line, Piece, Reading};

pub(super) const CHAT: &str = "/chat/completions";
pub(super) const EMBED: &str = "/embeddings";

/// Options that say how an Ollama server runs a model; they are not sent to other servers.
const OLLAMA_OPTIONS: &[&str] = &["num_ctx", "num_keep", "num_batch", "num_gpu", "main_gpu", "num_thread", "use_mmap"];

/// The body for [`CHAT`].
pub(super) fn chat(question: Question, config: &Config) -> Value {
    let messages: Vec<Value> =
        question.turns.iter().map(|turn| json!({"role": turn.role, "content": content(turn)})).collect();
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(question.model));
    body.insert("messages".to_owned(), Value::Array(messages));
    body.insert("stream".to_owned(), json!(true));
    body.insert("stream_options".to_owned(), json!({"include_usage": true}));
    for (name, value) in question.options {
        match name.as_str() {
            name if OLLAMA_OPTIONS.contains(&name) => continue,
            // Ollama takes a negative number as no limit.
            "max_tokens" if value.as_i64().is_some_and(|limit| limit < 0) => continue,
            "max_tokens" => body.insert(config.max_tokens_field.clone(), value),
            _ => body.insert(name, value),
        };
    }
    if let Some(format) = question.format {
        let format = match format {
            Value::Object(schema) => {
                json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}})
            }
            _ => json!({"type": "json_object"}),
        };
        body.insert("response_format".to_owned(), format);
    }
    add(&mut body, question.extra);
    Value::Object(body)
}

fn content(turn: &Turn) -> Value {
    if turn.images.is_empty() {
        return json!(turn.content);
    }
    let text = json!({"type": "text", "text": turn.content});
    let images = turn.images.iter().map(|image| {
        json!({"type": "image_url", "image_url": {"url": format!("data:{};base64,{}", image.mime, image.base64)}})
    });
    std::iter::once(text).chain(images).collect()
}

/// The body for [`EMBED`].
pub(super) fn embed(texts: Texts) -> Value {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(texts.model));
    body.insert("input".to_owned(), json!(texts.input));
    body.insert("encoding_format".to_owned(), json!("float"));
    if let Some(dimensions) = texts.dimensions {
        body.insert("dimensions".to_owned(), json!(dimensions));
    }
    add(&mut body, texts.extra);
    Value::Object(body)
}

/// A tool call, which arrives in pieces.
#[derive(Default)]
struct ToolCall {
    id: Option<String>,
    name: String,
    /// JSON as text.
    arguments: String,
}

/// The bytes that a tool call counts besides its texts, which bounds their number.
const CALL_BYTES: usize = 64;

/// Reads the events of an answer.
#[derive(Default)]
pub(super) struct Events {
    about: About,
    said_something: bool,
    /// Tool calls by their index.
    tool_calls: BTreeMap<u64, ToolCall>,
    timings: About,
}

impl Events {
    /// What the server reported besides the text; call this after reading all of it.
    pub(super) fn finish(self) -> About {
        let mut about = self.about;
        // Some servers report only timings.
        if about.prompt_tokens.is_none() {
            about.prompt_tokens = self.timings.prompt_tokens;
        }
        about.completion_tokens = about.completion_tokens.or(self.timings.completion_tokens);
        about.prompt_eval = self.timings.prompt_eval;
        about.eval = self.timings.eval;
        about.tool_calls = self
            .tool_calls
            .into_values()
            .map(|call| {
                let arguments = arguments(Some(Value::String(call.arguments)));
                json!({"id": call.id, "name": call.name, "arguments": arguments})
            })
            .collect();
        about
    }

    fn read(&mut self, data: &Object) -> Result<Line, String> {
        let whole = Part::whole(data);
        if let Some(error) = whole.get("error") {
            return Ok(Line::Error(ServerError::read(error)));
        }
        // The event itself is an error.
        if whole.get("object").is_some_and(|object| object == "error") {
            return Ok(Line::Error(ServerError::read(&Value::Object(data.clone()))));
        }
        let choices = whole.list("choices")?;
        self.said_something |= !choices.is_empty();
        if let Some(usage) = whole.object("usage")? {
            let (prompt, completion, cached) = usage_of(usage)?;
            (self.about.prompt_tokens, self.about.completion_tokens) = (prompt, completion);
            self.about.cached_tokens = cached;
        }
        if let Some(timings) = whole.object("timings")? {
            self.timings = timings_of(timings)?;
        }
        if let Some(model) = whole.name("model")? {
            self.about.model = Some(model.to_owned());
        }
        let mut piece = Piece::default();
        for choice in choices {
            let Value::Object(choice) = choice else { return Err(whole.expected("choices[]", "an object", choice)) };
            let choice = Part::at(choice, "choices[].");
            // Only one choice is asked for; others are ignored.
            if choice.count("index")?.unwrap_or(0) != 0 {
                continue;
            }
            if let Some(reason) = choice.name("finish_reason")? {
                self.about.done_reason = Some(reason.to_owned());
            }
            let (message, place) = match choice.object("delta")? {
                Some(delta) => (Some(delta), "choices[].delta."),
                None => (choice.object("message")?, "choices[].message."),
            };
            if let Some(message) = message {
                self.take_message(&Part::at(message, place), &mut piece)?;
            }
        }
        Ok(Line::Piece(piece))
    }

    fn take_message(&mut self, message: &Part<'_>, piece: &mut Piece) -> Result<(), String> {
        match message.get("content") {
            Some(Value::Array(parts)) => parts.iter().try_for_each(|part| take_part(message, part, piece))?,
            _ => piece.text.push_str(message.text("content")?.unwrap_or_default()),
        }
        // The name of the field differs; some servers send both.
        let thought = match message.text("reasoning_content")? {
            Some(thought) => thought,
            None => message.get("reasoning").and_then(Value::as_str).unwrap_or_default(),
        };
        piece.thinking.push_str(thought);
        let refusal = message.text("refusal")?.unwrap_or_default();
        self.about.refusal.push_str(refusal);
        piece.kept += refusal.len();
        for (position, call) in (0..).zip(message.list("tool_calls")?) {
            let Value::Object(call) = call else { return Err(message.expected("tool_calls[]", "an object", call)) };
            let call = Part::at(call, "tool_calls[].");
            let number = call.count("index")?.unwrap_or(position);
            let kept = self.tool_calls.entry(number).or_default();
            if let Some(id) = call.name("id")? {
                kept.id = Some(id.to_owned());
            }
            piece.kept += CALL_BYTES;
            if let Some(function) = call.object("function")? {
                piece.kept += kept.add(&Part::at(function, "tool_calls[].function."))?;
            }
        }
        // The older name of the field.
        if let Some(function) = message.object("function_call")? {
            let kept = self.tool_calls.entry(0).or_default();
            piece.kept += CALL_BYTES + kept.add(&Part::at(function, "function_call."))?;
        }
        Ok(())
    }
}

impl ToolCall {
    /// Adds a piece of a tool call; returns how many bytes it added.
    fn add(&mut self, function: &Part<'_>) -> Result<usize, String> {
        let name = function.name("name")?.unwrap_or_default();
        self.name.push_str(name);
        let arguments = match function.get("arguments") {
            Some(whole @ Value::Object(_)) => whole.to_string(),
            _ => function.text("arguments")?.unwrap_or_default().to_owned(),
        };
        self.arguments.push_str(&arguments);
        Ok(name.len() + arguments.len())
    }
}

/// A part of a message that has several, as some servers send text and thoughts.
fn take_part(message: &Part<'_>, part: &Value, piece: &mut Piece) -> Result<(), String> {
    let Value::Object(part) = part else { return Err(message.expected("content[]", "an object", part)) };
    let part = Part::at(part, "content[].");
    match part.text("type")? {
        Some("text") => piece.text.push_str(part.text("text")?.unwrap_or_default()),
        Some("thinking") => match part.get("thinking") {
            Some(Value::Array(thoughts)) => {
                let texts = thoughts.iter().filter_map(|thought| thought.get("text")?.as_str());
                texts.for_each(|text| piece.thinking.push_str(text));
            }
            _ => piece.thinking.push_str(part.text("thinking")?.unwrap_or_default()),
        },
        _ => return Err("`content[].type`: expected `text` or `thinking`".to_owned()),
    }
    Ok(())
}

/// The tokens of the prompt and of the answer, and the prompt tokens that were cached.
fn usage_of(usage: &Object) -> Result<(Option<u64>, Option<u64>, u64), String> {
    let part = Part::at(usage, "usage.");
    // By the API, cached tokens are included in the total; some servers count them separately.
    let details = part.object("prompt_tokens_details")?;
    let cached = match details {
        Some(details) => Part::at(details, "usage.prompt_tokens_details.").count("cached_tokens")?.unwrap_or(0),
        None => 0,
    };
    Ok((part.count("prompt_tokens")?, part.count("completion_tokens")?, cached))
}

/// The measurements of llama.cpp, in tokens and milliseconds: `prompt_n` counts the tokens that were not cached.
fn timings_of(timings: &Object) -> Result<About, String> {
    let part = Part::at(timings, "timings.");
    let duration = |name: &str| {
        let ms = part.number(name)?;
        Ok::<_, String>(ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1_000.0).ok()))
    };
    let cached = part.count("cache_n")?.unwrap_or(0);
    Ok(About {
        prompt_tokens: part.count("prompt_n")?.map(|read| read.saturating_add(cached)),
        completion_tokens: part.count("predicted_n")?,
        prompt_eval: duration("prompt_ms")?,
        eval: duration("predicted_ms")?,
        ..About::default()
    })
}

impl Reading for Events {
    fn take(&mut self, line: &[u8]) -> Line {
        let data = match line {
            [b'{', ..] => line,
            [b'd', b'a', b't', b'a', b':', data @ ..] => data.trim_ascii_start(),
            // Comments, which keep the connection alive, and fields that carry no text.
            _ if line.starts_with(b":") || line.contains(&b':') => return Line::Piece(Piece::default()),
            _ => return Line::Malformed("a line that is not an event".to_owned()),
        };
        if data == b"[DONE]" {
            return match self.said_something {
                true => Line::Piece(Piece { is_last: true, ..Piece::default() }),
                false => Line::Malformed("an end without an answer".to_owned()),
            };
        }
        parts::object(data).and_then(|data| self.read(&data)).unwrap_or_else(Line::Malformed)
    }

    /// Not every server sends `[DONE]`, but each says why the text ended.
    fn may_end(&self) -> bool {
        self.about.done_reason.is_some()
    }
}

/// Reads the answer to [`EMBED`].
pub(super) fn embedded(body: &Object) -> Result<(Vec<Value>, About), String> {
    let whole = Part::whole(body);
    let mut vectors = Vec::new();
    for item in whole.list("data")? {
        let Value::Object(item) = item else { return Err(whole.expected("data[]", "an object", item)) };
        let item = Part::at(item, "data[].");
        let vector = item.get("embedding").ok_or("`data[].embedding` is missing")?;
        vectors.push((item.count("index")?.unwrap_or(0), vector.clone()));
    }
    // A stable sort, so that without indexes the order is kept.
    vectors.sort_by_key(|(index, _)| *index);
    let mut about = About { model: whole.name("model")?.map(str::to_owned), ..About::default() };
    if let Some(usage) = whole.object("usage")? {
        (about.prompt_tokens, _, about.cached_tokens) = usage_of(usage)?;
    }
    Ok((vectors.into_iter().map(|(_, vector)| vector).collect(), about))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> (String, Option<&'static str>, Events) {
        let (mut events, mut text) = (Events::default(), String::new());
        for line in lines {
            match events.take(line.as_bytes()) {
                Line::Piece(piece) => {
                    text.push_str(&piece.text);
                    if piece.is_last {
                        return (text, Some("end"), events);
                    }
                }
                Line::Error(_) => return (text, Some("error"), events),
                Line::Malformed(_) => return (text, Some("malformed"), events),
            }
        }
        (text, None, events)
    }

    #[test]
    fn events_of_different_servers_are_understood() {
        let (text, end, events) = read(&[
            ": OPENROUTER PROCESSING",
            "event: message",
            r#"data:{"choices":[{"delta":{"role":"assistant"}}],"model":"m-1","usage":null}"#,
            r#"data: {"choices":[{"index":1,"delta":{"content":"not asked for"}},{"index":0,"delta":{"content":"a"}}]}"#,
            r#"data: {"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"stop"}]}"#,
            r#"data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
            "data: [DONE]",
        ]);
        assert_eq!((text.as_str(), end), ("ab", Some("end")));
        let about = events.finish();
        assert_eq!((about.model.as_deref(), about.completion_tokens), (Some("m-1"), Some(2)));
    }

    #[test]
    fn an_answer_ends_in_one_of_two_ways() {
        let (_, end, events) = read(&[r#"data: {"choices":[{"delta":{"content":"a"}}]}"#]);
        assert!(end.is_none() && !events.may_end());
        let (_, end, events) = read(&[r#"data: {"choices":[{"delta":{},"finish_reason":"length"}]}"#]);
        assert!(end.is_none() && events.may_end());
        assert_eq!(read(&["data: [DONE]"]).1, Some("malformed"), "nothing was answered");
    }

    #[test]
    fn errors_within_a_stream_are_recognized_in_every_shape() {
        for line in [
            r#"data: {"error":{"message":"x","code":500}}"#,
            r#"data: {"object":"error","message":"x","code":400}"#,
            r#"{"error":"x"}"#,
        ] {
            assert_eq!(read(&[line]).1, Some("error"), "{line}");
        }
        assert_eq!(read(&["<html>"]).1, Some("malformed"));
    }

    fn thought(line: &str) -> String {
        match Events::default().take(line.as_bytes()) {
            Line::Piece(piece) => piece.thinking,
            _ => panic!("{line}"),
        }
    }

    #[test]
    fn thoughts_are_found_once_under_every_common_name() {
        for message in [
            r#"{"reasoning_content":"hm","content":null}"#,
            r#"{"reasoning":"hm"}"#,
            r#"{"reasoning":"hm","reasoning_content":"hm"}"#,
            r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]}"#,
        ] {
            assert_eq!(thought(&format!(r#"data: {{"choices":[{{"delta":{message}}}]}}"#)), "hm", "{message}");
        }
        let (text, _, _) = read(&[r#"data: {"choices":[{"delta":{"content":[{"type":"text","text":"a"}]}}]}"#]);
        assert_eq!(text, "a");
    }

    #[test]
    fn tool_calls_and_refusals_are_put_together_from_their_pieces() {
        let (text, end, events) = read(&[
            r#"data: {"choices":[{"delta":{"refusal":"I can"}}]}"#,
            r#"data: {"choices":[{"delta":{"refusal":"not."}}]}"#,
            r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c1","function":{"name":"now","arguments":""}}]}}]}"#,
            r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"in\":"}}]}}]}"#,
            r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"UTC\"}"}}]}}]}"#,
            r#"data: {"choices":[{"delta":{"tool_calls":[{"index":1,"function":{"name":"bad","arguments":"{"}}]}}]}"#,
            r#"data: {"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#,
            "data: [DONE]",
        ]);
        let about = events.finish();
        assert_eq!((text.as_str(), end, about.refusal.as_str()), ("", Some("end"), "I cannot."));
        let calls = json!([{"id": "c1", "name": "now", "arguments": {"in": "UTC"}},
            {"id": null, "name": "bad", "arguments": "{"}]);
        assert_eq!(Value::from(about.tool_calls), calls);
    }

    #[test]
    fn a_tool_call_without_arguments_has_an_empty_object() {
        for arguments in
            ["", r#","arguments":null"#, r#","arguments":"""#, r#","arguments":"{}""#, r#","arguments":{}"#]
        {
            let line = format!(
                r#"data: {{"choices":[{{"delta":{{"tool_calls":[{{"function":{{"name":"now"{arguments}}}}}]}}}}]}}"#
            );
            let (_, end, events) = read(&[&line]);
            assert_eq!((end, &events.finish().tool_calls[0]["arguments"]), (None, &json!({})), "{line}");
        }
    }

    #[test]
    fn timings_replace_missing_usage() {
        let timings = r#""timings":{"cache_n":4,"prompt_n":6,"prompt_ms":12.5,"predicted_n":3,"predicted_ms":30}"#;
        let last = |more: &str| {
            let line = format!(r#"data: {{"choices":[{{"delta":{{}},"finish_reason":"stop"}}],{timings}{more}}}"#);
            read(&[&line, "data: [DONE]"]).2.finish()
        };
        let about = last("");
        assert_eq!((about.prompt_tokens, about.completion_tokens), (Some(10), Some(3)));
        assert_eq!(about.prompt_eval, Some(Duration::from_micros(12_500)));
        assert_eq!(about.eval, Some(Duration::from_millis(30)));
        let about = last(r#","usage":{"prompt_tokens":11,"completion_tokens":2}"#);
        assert_eq!((about.prompt_tokens, about.completion_tokens), (Some(11), Some(2)));
        assert_eq!(about.eval, Some(Duration::from_millis(30)), "usage holds no durations");
    }

    #[test]
    fn malformed_answers_are_reported_with_their_place() {
        for (line, said) in [
            (r#"data: {"choices":{}}"#, "`choices`: expected a list, found an object"),
            (r#"data: {"choices":[{"delta":{"content":{}}}]}"#, "`choices[].delta.content`: expected text"),
            (r#"data: {"choices":[],"usage":{"prompt_tokens":-3}}"#, "`usage.prompt_tokens`: expected a whole number"),
            (r#"data: {"choices":[{"delta":{"content":"\ud83d"}}]}"#, "in `choices[0].delta.content`: \\ud83d is half"),
            (
                r#"data: {"timings":{"predicted_ms":"3"}}"#,
                "`timings.predicted_ms`: expected a number from 0, found text",
            ),
        ] {
            let Line::Malformed(why) = Events::default().take(line.as_bytes()) else { panic!("{line}") };
            assert!(why.contains(said), "{line}: {why}");
        }
    }
}
