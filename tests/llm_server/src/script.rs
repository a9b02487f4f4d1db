//! The models: three that behave, and one for each way not to.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use std::time::{Duration, SystemTime};

/// The models that answer properly.
pub const MODELS: [&str; 3] = ["llama3.2", "llava", EMBEDDER];

/// The one of them that embeds.
pub const EMBEDDER: &str = "nomic-embed-text";

/// What a stream does beyond saying its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// All at once.
    Plain,
    /// `slow`: a piece each 20 ms.
    Slow,
    /// `endless`: never comes to an end.
    Endless,
    /// `silent`: says one piece, then nothing any more, and stays.
    Silent,
    /// `cut`: goes after two pieces.
    Cut,
    /// `garbled`: says what is no JSON after two pieces.
    Garbled,
    /// `fails`: says an error after two pieces.
    Fails,
    /// `overrun`: says after two pieces that the conversation is too long for it.
    Overrun,
    /// `cached`: had nothing to read anew.
    Cached,
    /// `big`: says two million letters.
    Big,
    /// `long-line`: says ten million letters without the end of a line.
    LongLine,
    /// `short`: is cut at its limit of tokens.
    Short,
    /// `whole`: does not stream even if asked to.
    Whole,
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
        _ => return None,
    })
}

/// Without the tag that a client may add.
pub(crate) fn named(model: &str) -> &str {
    model.strip_suffix(":latest").unwrap_or(model)
}

/// What is answered before any work; none for models that answer. `earlier`: how often this model was asked before.
pub(crate) fn refuse(model: &str, path: &str, earlier: usize) -> Option<Response> {
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
