//! What a server's refusal means: whether the same request may be sent again, when, and what a person can do. The
//! invariant: no text from here holds a secret.

use gleitzeit_core::error::ErrorCode;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Response, StatusCode};
use serde_json::Value;

use super::config::Api;
use super::service::Target;
use crate::call::CallError;
use crate::client;

/// Of a refusal's body, no more is read.
const MOST_BYTES: usize = 16 * 1024;
/// Of a server's own words, no more is repeated.
const MOST_CHARACTERS: usize = 500;

/// What a server says about a failure.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) message: String,
    /// Its word or number for it, if it has one.
    kind: Option<String>,
}

impl Said {
    /// From an error object as both kinds of server send it, alone or in a stream.
    pub(super) fn read(error: &Value) -> Self {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let kind = |name: &str| match error.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let message = text(Some(error)).or_else(|| text(error.get("message"))).unwrap_or_else(|| error.to_string());
        Self { message, kind: kind("code").or_else(|| kind("type")) }
    }

    /// The same with a status that stands beside the error.
    pub(super) fn with_status(error: &Value, status: Option<u16>) -> Self {
        let said = Self::read(error);
        Self { kind: said.kind.or_else(|| status.map(|status| status.to_string())), ..said }
    }

    fn body(text: &str) -> Self {
        let parsed: Value = serde_json::from_str(text).unwrap_or(Value::Null);
        for name in ["error", "message", "detail"] {
            if let Some(error) = parsed.get(name).filter(|error| !error.is_null()) {
                return Self::read(error);
            }
        }
        Self { message: text.trim().to_owned(), kind: None }
    }

    fn is(&self, word: &str) -> bool {
        self.kind.as_deref() == Some(word)
    }
}

/// Why a server did not do what it was asked.
pub(super) async fn explain(api: Api, target: &Target, mut response: Response, path: &str, model: &str) -> CallError {
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    while body.len() < MOST_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            // Its status says enough.
            Ok(None) | Err(_) => break,
        }
    }
    body.truncate(MOST_BYTES);
    let said = Said::body(&String::from_utf8_lossy(&body));
    judge(api, target, status, &headers, &said, path, model).with("status", status.as_u16())
}

fn judge(
    api: Api,
    target: &Target,
    status: StatusCode,
    headers: &HeaderMap,
    said: &Said,
    path: &str,
    model: &str,
) -> CallError {
    let server = api.server(&target.url);
    let words = shown(&said.message, target);
    let words = if words.is_empty() { String::new() } else { format!(": {words}") };
    let failed = |message: String| CallError::new(ErrorCode::TaskExecutionFailed, message);
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            failed(secret(api, target, status, &words)).retryable(false)
        }
        StatusCode::TOO_MANY_REQUESTS if said.is("insufficient_quota") => {
            failed(format!("{server} refuses because what was paid for is used up{words}")).retryable(false)
        }
        StatusCode::TOO_MANY_REQUESTS => {
            let message = format!("{server} gets too many requests{words}");
            patient(CallError::new(ErrorCode::RateLimitExceeded, message), headers)
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            let message = format!("{server} has no room for now{words}");
            patient(CallError::new(ErrorCode::ProviderOverloaded, message), headers)
        }
        StatusCode::NOT_FOUND if names_model(said) => failed(unknown(api, target, model, &words)).retryable(false),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            let hint = match api {
                Api::Ollama => "is `base_url` that of an Ollama?",
                Api::OpenAi => "`base_url` usually ends with `/v1`",
            };
            failed(format!("{server} does not know {path} ({status}); {hint}{words}")).retryable(false)
        }
        status if status.is_redirection() => {
            let to = headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
            let to = shown(to, target);
            failed(format!("{server} points to {to}, which is not followed; correct `base_url`")).retryable(false)
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_EARLY => {
            patient(failed(format!("{server} asks to try again ({status}){words}")), headers)
        }
        status if status.is_server_error() => patient(failed(format!("{server} failed ({status}){words}")), headers),
        status => failed(format!("{server} refuses the request ({status}){words}")).retryable(false),
    }
}

/// An error object that came while the answer was on its way, after a status of success.
pub(super) fn midway(api: Api, target: &Target, said: &Said, model: &str) -> CallError {
    let words = shown(&said.message, target);
    if names_model(said) {
        let message = unknown(api, target, model, &format!(": {words}"));
        return CallError::new(ErrorCode::TaskExecutionFailed, message).retryable(false);
    }
    let (code, retryable) = match said.kind.as_deref() {
        Some("429" | "rate_limit_exceeded") => (ErrorCode::RateLimitExceeded, true),
        Some("503" | "overloaded_error" | "server_overloaded") => (ErrorCode::ProviderOverloaded, true),
        // The request itself was wrong, such as longer than the context.
        Some("400" | "413" | "422" | "invalid_request_error" | "context_length_exceeded") => {
            (ErrorCode::TaskExecutionFailed, false)
        }
        _ => (ErrorCode::TaskExecutionFailed, true),
    };
    let message = format!("{} broke off its answer: {words}", api.server(&target.url));
    CallError::new(code, message).retryable(retryable)
}

/// The server does not accept who we say we are.
pub(super) fn secret(api: Api, target: &Target, status: StatusCode, words: &str) -> String {
    let server = api.server(&target.url);
    match (&target.secret_from, api) {
        // What it says about the secret may repeat a part of it, so it is left out.
        (Some(from), _) => format!("{server} refuses the secret of {from} ({status})"),
        (None, Api::Ollama) => {
            format!("{server} does not allow this ({status}){words}; for models of ollama.com see `ollama signin`")
        }
        (None, Api::OpenAi) => {
            let hint = "and none was sent; see `authentication` of the provider";
            format!("{server} asks for a secret ({status}), {hint}{words}")
        }
    }
}

/// How the two kinds of server say that they have no such model.
fn names_model(said: &Said) -> bool {
    said.is("model_not_found") || {
        let message = said.message.to_lowercase();
        message.contains("model") && (message.contains("not found") || message.contains("does not exist"))
    }
}

fn unknown(api: Api, target: &Target, model: &str, words: &str) -> String {
    let server = api.server(&target.url);
    match api {
        Api::Ollama => format!("{server} does not have the model `{model}`; get it with `ollama pull {model}`"),
        Api::OpenAi => format!(
            "{server} does not have the model `{model}`; load it there (an Ollama: `ollama pull {model}`), or say with \
             `models` in the provider's options what it is called there{words}"
        ),
    }
}

/// With the delay that the server asks for, if it does.
fn patient(error: CallError, headers: &HeaderMap) -> CallError {
    match client::retry_after(headers) {
        Some(delay) => error.after(delay),
        None => error.retryable(true),
    }
}

/// A server's words, without secrets, on one line and not too long.
fn shown(text: &str, target: &Target) -> String {
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for secret in target.secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret.as_str(), "***");
    }
    if text.chars().count() > MOST_CHARACTERS {
        text = text.chars().take(MOST_CHARACTERS).chain(['…']).collect();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_found_in_every_usual_shape() {
        for body in [
            r#"{"error": "no luck"}"#,
            r#"{"error": {"message": "no luck", "code": null}}"#,
            r#"{"object": "error", "message": "no luck", "code": 40}"#,
            r#"{"detail": "no luck"}"#,
            " no luck\n",
        ] {
            assert_eq!(Said::body(body).message, "no luck", "{body}");
        }
        assert!(Said::body(r#"{"error": {"message": "x", "type": "a", "code": "b"}}"#).is("b"));
    }
}
