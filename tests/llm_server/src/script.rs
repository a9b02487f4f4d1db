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
    let said = |message: &str, code: &str| {
        if path.starts_with("/v1/") {
            axum::Json(json!({"error": {"message": message, "type": code, "param": null, "code": code}}))
        } else {
            axum::Json(json!({"error": message}))
        }
    };
    let later = |status: StatusCode, after: String, message: &str, code: &str| {
        (status, [(header::RETRY_AFTER, after)], said(message, code)).into_response()
    };
    Some(match named(model) {
        "limited" => later(StatusCode::TOO_MANY_REQUESTS, "7".to_owned(), "slow down", "rate_limit_exceeded"),
        "limited-once" if earlier == 0 => {
            later(StatusCode::TOO_MANY_REQUESTS, "1".to_owned(), "slow down", "rate_limit_exceeded")
        }
        "limited-by-date" => {
            let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(120));
            later(StatusCode::TOO_MANY_REQUESTS, date, "slow down", "rate_limit_exceeded")
        }
        "limited-without-delay" => {
            (StatusCode::TOO_MANY_REQUESTS, said("slow down", "rate_limit_exceeded")).into_response()
        }
        "loading" => (StatusCode::SERVICE_UNAVAILABLE, said("Loading model", "unavailable_error")).into_response(),
        "loading-once" if earlier == 0 => {
            (StatusCode::SERVICE_UNAVAILABLE, said("Loading model", "unavailable_error")).into_response()
        }
        // It knows only the API's original methods.
        "strict" => {
            let unknown = ["truncate", "shift"].iter().find(|name| !body[**name].is_null())?;
            let message = format!("json: unknown field \"{unknown}\"");
            (StatusCode::BAD_REQUEST, said(&message, "invalid_request_error")).into_response()
        }
        "narrow" if words(body) > CONTEXT && path.starts_with("/v1/") => {
            let message =
                format!("request ({} tokens) exceeds the available context size ({CONTEXT} tokens)", words(body));
            (StatusCode::BAD_REQUEST, said(&message, "exceed_context_size_error")).into_response()
        }
        "narrow" if words(body) > CONTEXT && body["truncate"] == false => {
            let message = "the input length exceeds the context length";
            (StatusCode::BAD_REQUEST, said(message, "invalid_request_error")).into_response()
        }
        "unable" => {
            let message = "This server does not support embeddings. Start it with `--embeddings`";
            (StatusCode::NOT_IMPLEMENTED, said(message, "not_supported_error")).into_response()
        }
        "blind" => {
            let message = "image input is not supported - hint: you may need to provide the mmproj";
            (StatusCode::INTERNAL_SERVER_ERROR, said(message, "server_error")).into_response()
        }
        "batched" => {
            let message = "input is too large to process. increase the physical batch size";
            (StatusCode::INTERNAL_SERVER_ERROR, said(message, "server_error")).into_response()
        }
        "unpaid" => (StatusCode::TOO_MANY_REQUESTS, said("you owe us", "insufficient_quota")).into_response(),
        "busy" => later(StatusCode::SERVICE_UNAVAILABLE, "3".to_owned(), "server busy", "overloaded"),
        "broken" => {
            (StatusCode::INTERNAL_SERVER_ERROR, said("llama runner terminated", "server_error")).into_response()
        }
        "picky" => (StatusCode::BAD_REQUEST, said("does not support this", "invalid_request_error")).into_response(),
        "moved" => (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, "http://localhost:1/there")]).into_response(),
        "page" => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], "<html>hello</html>").into_response(),
        _ if manner(model).is_some() => return None,
        _ => {
            let message = if path.starts_with("/v1/") {
                format!("The model `{model}` does not exist")
            } else {
                format!("model '{model}' not found")
            };
            (StatusCode::NOT_FOUND, said(&message, "model_not_found")).into_response()
        }
    })
}
