//! OpenAI's API as many servers speak it: `/chat/completions` and `/embeddings`. An answer is a stream of server-sent
//! events whose data are JSON; it ends with `[DONE]`. A server that does not stream sends one JSON object.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::About;
use super::config::Config;
use super::refusal::Said;
use super::request::{Question, Texts, Turn, add};
use super::stream::{Line, Reading};

pub(super) const CHAT: &str = "/chat/completions";
pub(super) const EMBED: &str = "/embeddings";

/// Options about how an Ollama runs a model, which is another server's own affair.
const OLLAMAS: &[&str] = &["num_ctx", "num_keep", "num_batch", "num_gpu", "main_gpu", "num_thread", "use_mmap"];

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
            name if OLLAMAS.contains(&name) => continue,
            // Ollama takes a negative number for no limit.
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

/// One event of a stream, or a whole answer.
#[derive(Deserialize)]
struct Chunk {
    error: Option<Value>,
    /// `error` if the event is one by itself.
    object: Option<String>,
    #[serde(default)]
    choices: Vec<Choice>,
    model: Option<String>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    delta: Option<Message>,
    message: Option<Message>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

/// Reads the events of an answer.
#[derive(Default)]
pub(super) struct Events {
    pub(super) about: About,
    said_something: bool,
}

impl Reading for Events {
    fn take(&mut self, line: &[u8]) -> Line {
        let data = match line {
            [b'{', ..] => line,
            [b'd', b'a', b't', b'a', b':', data @ ..] => data.trim_ascii_start(),
            // Comments, which keep the connection alive, and fields that say nothing about the text.
            _ if line.starts_with(b":") || line.contains(&b':') => return Line::Text(String::new()),
            _ => return Line::Malformed("a line that is no event".to_owned()),
        };
        if data == b"[DONE]" {
            return match self.said_something {
                true => Line::End(String::new()),
                false => Line::Malformed("an end without an answer".to_owned()),
            };
        }
        let chunk: Chunk = match serde_json::from_slice(data) {
            Ok(chunk) => chunk,
            Err(error) => return Line::Malformed(error.to_string()),
        };
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Line::Error(Said::read(&error));
        }
        if chunk.object.as_deref() == Some("error") {
            return Line::Error(Said::read(&serde_json::from_slice(data).unwrap_or_default()));
        }
        self.said_something |= !chunk.choices.is_empty();
        if let Some(usage) = chunk.usage {
            self.about.prompt_tokens = usage.prompt_tokens;
            self.about.completion_tokens = usage.completion_tokens;
        }
        if let Some(model) = chunk.model.filter(|model| !model.is_empty()) {
            self.about.model = Some(model);
        }
        let mut text = String::new();
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            if let Some(reason) = choice.finish_reason {
                self.about.done_reason = Some(reason);
            }
            if let Some(message) = choice.delta.or(choice.message) {
                text.push_str(message.content.as_deref().unwrap_or_default());
                text.push_str(message.refusal.as_deref().unwrap_or_default());
            }
        }
        Line::Text(text)
    }

    /// Not every server says `[DONE]`, but each says why the text ended.
    fn may_end(&self) -> bool {
        self.about.done_reason.is_some()
    }
}

#[derive(Deserialize)]
struct Embedded {
    data: Vec<Vector>,
    model: Option<String>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Vector {
    #[serde(default)]
    index: u64,
    embedding: Value,
}

/// Reads the answer to [`EMBED`].
pub(super) fn embedded(body: Value) -> Result<(Vec<Value>, About), String> {
    let Embedded { mut data, model, usage } = serde_json::from_value(body).map_err(|error| error.to_string())?;
    // Stable, so that where no index is said the order holds.
    data.sort_by_key(|vector| vector.index);
    let about = About { model, prompt_tokens: usage.and_then(|usage| usage.prompt_tokens), ..About::default() };
    Ok((data.into_iter().map(|vector| vector.embedding).collect(), about))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> (String, Option<&'static str>, Events) {
        let (mut events, mut text) = (Events::default(), String::new());
        for line in lines {
            match events.take(line.as_bytes()) {
                Line::Text(piece) => text.push_str(&piece),
                Line::End(piece) => return (text + &piece, Some("end"), events),
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
        assert_eq!((events.about.model.as_deref(), events.about.completion_tokens), (Some("m-1"), Some(2)));
    }

    #[test]
    fn an_end_must_be_said_in_one_of_two_ways() {
        let (_, end, events) = read(&[r#"data: {"choices":[{"delta":{"content":"a"}}]}"#]);
        assert!(end.is_none() && !events.may_end());
        let (_, end, events) = read(&[r#"data: {"choices":[{"delta":{},"finish_reason":"length"}]}"#]);
        assert!(end.is_none() && events.may_end());
        assert_eq!(read(&["data: [DONE]"]).1, Some("malformed"), "nothing was answered");
    }

    #[test]
    fn errors_within_a_stream_are_seen_in_every_shape() {
        for line in [
            r#"data: {"error":{"message":"x","code":500}}"#,
            r#"data: {"object":"error","message":"x","code":400}"#,
            r#"{"error":"x"}"#,
        ] {
            assert_eq!(read(&[line]).1, Some("error"), "{line}");
        }
        assert_eq!(read(&["<html>"]).1, Some("malformed"));
    }
}
