//! Ollama's own API: `/api/chat`, `/api/generate` and `/api/embed`. An answer is a line of JSON per piece of text; the last
//! one says `done` and how long everything took.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::About;
use super::config::Config;
use super::refusal::Said;
use super::request::{Question, Texts, Turn, add};
use super::stream::{Line, Reading};

pub(super) const CHAT: &str = "/api/chat";
pub(super) const GENERATE: &str = "/api/generate";
pub(super) const EMBED: &str = "/api/embed";

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
    add(&mut body, texts.extra);
    Value::Object(body)
}

/// One line of an answer to [`CHAT`] or [`GENERATE`].
#[derive(Deserialize)]
struct Piece {
    error: Option<Value>,
    status: Option<u16>,
    message: Option<Message>,
    response: Option<String>,
    #[serde(default)]
    done: bool,
    done_reason: Option<String>,
    model: Option<String>,
    #[serde(flatten)]
    numbers: Numbers,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: String,
}

/// What Ollama counts, in tokens and nanoseconds. It leaves out what is zero.
#[derive(Deserialize)]
struct Numbers {
    #[serde(default)]
    prompt_eval_count: u64,
    #[serde(default)]
    eval_count: u64,
    total_duration: Option<u64>,
    load_duration: Option<u64>,
    prompt_eval_duration: Option<u64>,
    eval_duration: Option<u64>,
}

impl Numbers {
    fn into_about(self, model: Option<String>, done_reason: Option<String>) -> About {
        About {
            model,
            done_reason,
            prompt_tokens: Some(self.prompt_eval_count),
            completion_tokens: Some(self.eval_count),
            total: self.total_duration.map(Duration::from_nanos),
            load: self.load_duration.map(Duration::from_nanos),
            prompt_eval: self.prompt_eval_duration.map(Duration::from_nanos),
            eval: self.eval_duration.map(Duration::from_nanos),
        }
    }
}

/// Reads the lines of an answer.
#[derive(Default)]
pub(super) struct Ndjson {
    pub(super) about: About,
}

impl Reading for Ndjson {
    fn take(&mut self, line: &[u8]) -> Line {
        let piece: Piece = match serde_json::from_slice(line) {
            Ok(piece) => piece,
            Err(error) => return Line::Malformed(error.to_string()),
        };
        if let Some(error) = piece.error {
            return Line::Error(Said::with_status(&error, piece.status));
        }
        let text = match (piece.message, piece.response) {
            (Some(message), _) => message.content,
            (None, Some(text)) => text,
            (None, None) if piece.done => String::new(),
            (None, None) => return Line::Malformed("a line without text".to_owned()),
        };
        if !piece.done {
            return Line::Text(text);
        }
        self.about = piece.numbers.into_about(piece.model, piece.done_reason);
        Line::End(text)
    }

    fn may_end(&self) -> bool {
        false
    }
}

#[derive(Deserialize)]
struct Embedded {
    embeddings: Vec<Value>,
    model: Option<String>,
    #[serde(flatten)]
    numbers: Numbers,
}

/// Reads the answer to [`EMBED`].
pub(super) fn embedded(body: Value) -> Result<(Vec<Value>, About), String> {
    let Embedded { embeddings, model, numbers } = serde_json::from_value(body).map_err(|error| error.to_string())?;
    Ok((embeddings, numbers.into_about(model, None)))
}
