//! The models: three that behave, and one for each kind of misbehaviour.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

use crate::answer::Answer;

/// The models that answer properly.
pub const MODELS: [&str; 3] = ["llama3.2", "llava", EMBEDDER];

/// The one of them that computes embeddings.
pub const EMBEDDER: &str = "nomic-embed-text";

/// How a stream behaves besides sending its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Everything at once.
    Plain,
    /// `slow`: a piece each 20 ms.
    Slow,
    /// `endless`: never comes to an end.
    Endless,
    /// `silent`: sends one piece, then nothing more, and stays connected.
    Silent,
    /// `cut`: breaks off after two pieces.
    Cut,
    /// `garbled`: sends invalid JSON after two pieces.
    Garbled,
    /// `fails`: sends an error after two pieces.
    Fails,
    /// `overrun`: reports after two pieces that the conversation is too long for it.
    Overrun,
    /// `cached`: reports that the whole prompt was cached.
    Cached,
    /// `big`: sends two million letters.
    Big,
    /// `long-line`: sends ten million letters without a line end.
    LongLine,
    /// `short`: stops at its token limit.
    Short,
    /// `whole`: does not stream, even on request.
    Whole,
    /// `queued`: a piece each 20 ms, one call after another; the other calls get no answer before their turn.
    Queued,
    /// `thinks`: sends thoughts before its text.
    Thinks,
    /// `thinker`: sends thoughts and no text.
    Thinker,
    /// `tagged`: sends thoughts between tags within its text.
    Tagged,
    /// `fenced`: puts a code fence around its text.
    Fenced,
    /// `empty`: sends no text.
    Empty,
    /// `full`: sends no text because the context is full.
    Full,
    /// `caller`: calls a tool instead of sending text.
    Caller,
    /// `refuser`: refuses, in OpenAI's API in the field for that.
    Refuser,
    /// `filtered`: its text is withheld after the first piece.
    Filtered,
    /// `cutter`: reads only the last 512 words of a prompt.
    Cutter,
    /// `timed`: in OpenAI's API it reports timings instead of token counts.
    Timed,
    /// `deep`: a line is nested 5,000 levels deep.
    Deep,
    /// `surrogate`: sends half of a surrogate pair.
    Surrogate,
    /// `miscounted`: reports a negative number of tokens.
    Miscounted,
}

/// The tool that `caller` calls.
pub(crate) const TOOL: &str = "now";
/// The thoughts, in pieces.
pub(crate) const THOUGHTS: [&str; 2] = ["Let me ", "see."];
/// The refusal of `refuser`.
pub(crate) const REFUSAL: &str = "I cannot help with that.";
/// The context size of `narrow` in words, and how many words `cutter` reads.
pub(crate) const CONTEXT: usize = 512;

impl Manner {
    pub(crate) fn thinks(self) -> bool {
        matches!(self, Self::Thinks | Self::Thinker)
    }

    /// The finish reason.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Short | Self::Full => "length",
            Self::Filtered => "content_filter",
            _ => "stop",
        }
    }

    /// Replaces the answer's text where the model requires it.
    pub(crate) fn reshape(self, mut answer: Answer) -> Answer {
        match self {
            Self::Thinker | Self::Empty | Self::Full | Self::Caller | Self::Refuser => answer.pieces.clear(),
            Self::Filtered => answer.pieces.truncate(1),
            Self::Tagged => answer.pieces.insert(0, "<think>Let me see.</think>\n".to_owned()),
            Self::Fenced => {
                answer.pieces.insert(0, "```json\n".to_owned());
                answer.pieces.push("\n```".to_owned());
            }
            Self::Big => answer.pieces = vec!["x".repeat(20_000); 100],
            Self::Cutter => answer.prompt_tokens = answer.prompt_tokens.min(CONTEXT),
            _ => {}
        }
        answer
    }
}

pub(crate) fn manner(model: &str) -> Option<Manner> {
    Some(match named(model) {
        name if MODELS.contains(&name) => Manner::Plain,
        "limited-once" => Manner::Plain,
        "slow" => Manner::Slow,
        "endless" => Manner::Endless,
        "silent" => Manner::Silent,
        "cut" => Manner::Cut,
        "garbled" => Manner::Garbled,
        "fails" => Manner::Fails,
        "overrun" => Manner::Overrun,
        "cached" => Manner::Cached,
        "big" => Manner::Big,
        "long-line" => Manner::LongLine,
        "short" => Manner::Short,
        "whole" => Manner::Whole,
        "queued" => Manner::Queued,
        "thinks" => Manner::Thinks,
        "thinker" => Manner::Thinker,
        "tagged" => Manner::Tagged,
        "fenced" => Manner::Fenced,
        "empty" => Manner::Empty,
        "full" => Manner::Full,
        "caller" => Manner::Caller,
        "refuser" => Manner::Refuser,
        "filtered" => Manner::Filtered,
        "cutter" | "narrow" => Manner::Cutter,
        "timed" => Manner::Timed,
        "deep" => Manner::Deep,
        "surrogate" => Manner::Surrogate,
        "miscounted" => Manner::Miscounted,
        "strict" | "loading-once" => Manner::Plain,
        _ => return None,
    })
}

/// The number of words in the texts of a request.
fn words(body: &Value) -> usize {
    match body {
        Value::String(text) => text.split_whitespace().count(),
        Value::Array(items) => items.iter().map(words).sum(),
        Value::Object(fields) => fields.values().map(words).sum(),
        _ => 0,
    }
}

/// The model's name without the tag that a client may add.
pub(crate) fn named(model: &str) -> &str {
    model.strip_suffix(":latest").unwrap_or(model)
}

/// The immediate refusal; `None` for models that answer. `earlier` is how often this model was asked before.
pub(crate) fn refuse(model: &str, path: &str, body: &Value, earlier: usize) -> Option<Response> {
    let name = named(model);
    match name {
        "moved" => {
            let there = [(header::LOCATION, "http://localhost:1/there")];
            return Some((StatusCode::PERMANENT_REDIRECT, there).into_response());
        }
        "page" => {
            let html = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
            return Some((html, "<html>hello</html>").into_response());
        }
        _ => {}
    }
    let refusal = Refusal::for_now(name, earlier)
        .or_else(|| Refusal::of_request(name, path, body))
        .or_else(|| Refusal::of_server(name))
        .or_else(|| manner(model).is_none().then(|| Refusal::unknown(model, path)))?;
    Some(refusal.response(path))
}

struct Refusal {
    status: StatusCode,
    message: String,
    /// The error's code in OpenAI's API.
    code: &'static str,
    /// The header `Retry-After`.
    after: Option<String>,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>, code: &'static str) -> Self {
        Self { status, message: message.into(), code, after: None }
    }

    fn after(self, after: impl Into<String>) -> Self {
        Self { after: Some(after.into()), ..self }
    }

    /// Models that may answer later.
    fn for_now(name: &str, earlier: usize) -> Option<Self> {
        let limited = || Self::new(StatusCode::TOO_MANY_REQUESTS, "slow down", "rate_limit_exceeded");
        let loading = || Self::new(StatusCode::SERVICE_UNAVAILABLE, "Loading model", "unavailable_error");
        Some(match name {
            "limited" => limited().after("7"),
            "limited-once" if earlier == 0 => limited().after("1"),
            "limited-by-date" => limited().after(httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(120))),
            "limited-without-delay" => limited(),
            "loading" => loading(),
            "loading-once" if earlier == 0 => loading(),
            "busy" => Self::new(StatusCode::SERVICE_UNAVAILABLE, "server busy", "overloaded").after("3"),
            _ => return None,
        })
    }

    /// Models that refuse some requests.
    fn of_request(name: &str, path: &str, body: &Value) -> Option<Self> {
        let invalid = |message: String, code| Some(Self::new(StatusCode::BAD_REQUEST, message, code));
        match name {
            // It knows only the API's original methods.
            "strict" => {
                let unknown = ["truncate", "shift"].iter().find(|name| !body[**name].is_null())?;
                invalid(format!("json: unknown field \"{unknown}\""), "invalid_request_error")
            }
            "narrow" if words(body) > CONTEXT && path.starts_with("/v1/") => invalid(
                format!("request ({} tokens) exceeds the available context size ({CONTEXT} tokens)", words(body)),
                "exceed_context_size_error",
            ),
            "narrow" if words(body) > CONTEXT && body["truncate"] == false => {
                invalid("the input length exceeds the context length".to_owned(), "invalid_request_error")
            }
            _ => None,
        }
    }

    /// Models that refuse every request.
    fn of_server(name: &str) -> Option<Self> {
        let (status, message, code) = match name {
            "unable" => (
                StatusCode::NOT_IMPLEMENTED,
                "This server does not support embeddings. Start it with `--embeddings`",
                "not_supported_error",
            ),
            "blind" => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "image input is not supported - hint: you may need to provide the mmproj",
                "server_error",
            ),
            "batched" => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "input is too large to process. increase the physical batch size",
                "server_error",
            ),
            "unpaid" => (StatusCode::TOO_MANY_REQUESTS, "you owe us", "insufficient_quota"),
            "broken" => (StatusCode::INTERNAL_SERVER_ERROR, "llama runner terminated", "server_error"),
            "picky" => (StatusCode::BAD_REQUEST, "does not support this", "invalid_request_error"),
            _ => return None,
        };
        Some(Self::new(status, message, code))
    }

    fn unknown(model: &str, path: &str) -> Self {
        let message = if path.starts_with("/v1/") {
            format!("The model `{model}` does not exist")
        } else {
            format!("model '{model}' not found")
        };
        Self::new(StatusCode::NOT_FOUND, message, "model_not_found")
    }

    /// The refusal in the form of the API that was asked.
    fn response(self, path: &str) -> Response {
        let Self { status, message, code, after } = self;
        let body = if path.starts_with("/v1/") {
            json!({"error": {"message": message, "type": code, "param": null, "code": code}})
        } else {
            json!({"error": message})
        };
        let after = after.map(|after| [(header::RETRY_AFTER, after)]);
        (status, after, axum::Json(body)).into_response()
    }
}
