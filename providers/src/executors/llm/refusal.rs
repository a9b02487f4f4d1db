//! Interprets a server's refusal: whether the same request may be sent again, when, and what a person can do. The
//! invariant: no text from here contains a secret.

use gleitzeit_workflow::error::ErrorCode;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Response, StatusCode};
use serde_json::Value;

use super::config::Api;
use super::target::Target;
use crate::call::CallError;
use crate::client;

/// The most bytes of a refusal's body that are read.
const MAX_BYTES: usize = 16 * 1024;
/// The most characters of a server's own message that are repeated.
const MAX_CHARACTERS: usize = 500;

/// What a server reports about a failure.
#[derive(Debug, Default)]
pub(super) struct ServerError {
    pub(super) message: String,
    /// The server's code for the failure, a word or a number, if it has one.
    kind: Option<String>,
}

impl ServerError {
    /// Reads an error object as both kinds of servers send it, alone or in a stream.
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

    /// The same, with a status that stands beside the error.
    pub(super) fn with_status(error: &Value, status: Option<u16>) -> Self {
        let said = Self::read(error);
        Self { kind: said.kind.or_else(|| status.map(|status| status.to_string())), ..said }
    }

    fn body(text: &str) -> Self {
        // A body that is not valid JSON is taken as plain text.
        let parsed = gleitzeit_workflow::json::parse(text).unwrap_or(Value::Null);
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

/// The error for a request that the server refused.
pub(super) fn explain(
    api: Api,
    target: &Target,
    (status, headers): (StatusCode, &HeaderMap),
    said: &ServerError,
    path: &str,
    model: &str,
) -> CallError {
    judge(api, target, status, headers, said, path, model).with("status", status.as_u16())
}

/// The server's message besides its status, to append to our own: with a colon before it, or empty.
pub(super) async fn words(target: &Target, response: Response) -> String {
    after_colon(&read_error(response).await, target)
}

/// What the body of a refusal says.
pub(super) async fn read_error(mut response: Response) -> ServerError {
    let mut body = Vec::new();
    while body.len() < MAX_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            // The status says enough.
            Ok(None) | Err(_) => break,
        }
    }
    body.truncate(MAX_BYTES);
    ServerError::body(&String::from_utf8_lossy(&body))
}

fn after_colon(said: &ServerError, target: &Target) -> String {
    let words = shown(&said.message, target);
    if words.is_empty() { words } else { format!(": {words}") }
}

fn judge(
    api: Api,
    target: &Target,
    status: StatusCode,
    headers: &HeaderMap,
    said: &ServerError,
    path: &str,
    model: &str,
) -> CallError {
    let server = api.server(&target.url);
    let words = after_colon(said, target);
    let failed = |message: String| CallError::new(ErrorCode::TaskExecutionFailed, message);
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            failed(secret(api, target, status, &words)).retryable(false)
        }
        StatusCode::TOO_MANY_REQUESTS if said.is("insufficient_quota") => {
            failed(format!("{server} refuses because the quota is used up{words}")).retryable(false)
        }
        StatusCode::TOO_MANY_REQUESTS => {
            let message = format!("{server} receives too many requests{words}");
            with_retry_after(CallError::new(ErrorCode::RateLimitExceeded, message), headers)
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            let message = format!("{server} is not ready or is overloaded{words}");
            with_retry_after(CallError::new(ErrorCode::ProviderOverloaded, message), headers)
        }
        status if is_too_long(status, said) => {
            failed(format!("{server} cannot take the whole prompt ({status}){words}; {}", context_remedy(api)))
                .retryable(false)
        }
        StatusCode::NOT_IMPLEMENTED => {
            failed(format!("{server} does not support this ({status}){words}")).retryable(false)
        }
        StatusCode::INTERNAL_SERVER_ERROR if lacks_image_support(said) => {
            let hint = "the model is loaded without support for images: use another model, or load its projector too";
            failed(format!("{server} failed ({status}){words}; {hint}")).retryable(false)
        }
        StatusCode::NOT_FOUND if is_unknown_model(said) => failed(unknown(api, target, model, &words)).retryable(false),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            let hint = match api {
                Api::Ollama => "check that `base_url` is the address of an Ollama server",
                Api::OpenAi => "`base_url` usually ends with `/v1`",
            };
            failed(format!("{server} does not know {path} ({status}); {hint}{words}")).retryable(false)
        }
        status if status.is_redirection() => {
            let to = headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
            let to = shown(to, target);
            failed(format!("{server} redirects to {to}, which is not followed; correct `base_url`")).retryable(false)
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_EARLY => {
            with_retry_after(failed(format!("{server} asks to try again ({status}){words}")), headers)
        }
        status if status.is_server_error() => {
            with_retry_after(failed(format!("{server} failed ({status}){words}")), headers)
        }
        status => failed(format!("{server} refuses the request ({status}){words}")).retryable(false),
    }
}

/// The error for an error object that arrived in the middle of an answer, after a successful status.
pub(super) fn midway(api: Api, target: &Target, said: &ServerError, model: &str) -> CallError {
    let words = shown(&said.message, target);
    if is_too_long(StatusCode::BAD_REQUEST, said) {
        let message =
            format!("{} cannot take the whole prompt: {words}; {}", api.server(&target.url), context_remedy(api));
        return CallError::new(ErrorCode::TaskExecutionFailed, message).retryable(false);
    }
    if is_unknown_model(said) {
        let message = unknown(api, target, model, &format!(": {words}"));
        return CallError::new(ErrorCode::TaskExecutionFailed, message).retryable(false);
    }
    let (code, retryable) = match said.kind.as_deref() {
        Some("429" | "rate_limit_exceeded") => (ErrorCode::RateLimitExceeded, true),
        Some("503" | "overloaded_error" | "server_overloaded" | "unavailable_error") => {
            (ErrorCode::ProviderOverloaded, true)
        }
        // The request itself was wrong, or is one that this server does not support.
        Some("400" | "413" | "422" | "501" | "invalid_request_error" | "not_supported_error") => {
            (ErrorCode::TaskExecutionFailed, false)
        }
        _ => (ErrorCode::TaskExecutionFailed, true),
    };
    let message = format!("{} aborted its answer: {words}", api.server(&target.url));
    CallError::new(code, message).retryable(retryable)
}

/// The error text for a server that does not accept the provider's authentication.
pub(super) fn secret(api: Api, target: &Target, status: StatusCode, words: &str) -> String {
    let server = api.server(&target.url);
    match (&target.secret_from, api) {
        // The server's message may repeat a part of the secret, so it is left out.
        (Some(from), _) => format!("{server} refuses the secret of {from} ({status})"),
        (None, Api::Ollama) => {
            format!("{server} does not allow this ({status}){words}; for models of ollama.com see `ollama signin`")
        }
        (None, Api::OpenAi) => {
            let hint = "and none was sent; see `authentication` of the provider";
            format!("{server} requires a secret ({status}), {hint}{words}")
        }
    }
}

/// Whether the prompt does not fit into the model's context, which a retry would not change.
fn is_too_long(status: StatusCode, said: &ServerError) -> bool {
    if ["context_length_exceeded", "exceed_context_size_error"].iter().any(|kind| said.is(kind)) {
        return true;
    }
    let message = said.message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|words| message.contains(words));
    let fits_not = has(&["context"]) && has(&["exceed", "too long", "too large"])
        || has(&["too large to process", "prompt is too long", "input is too long"]);
    match status {
        // A server may report the same about its own memory.
        StatusCode::INTERNAL_SERVER_ERROR => fits_not && has(&["input", "prompt", "request"]),
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            fits_not || has(&["maximum context"])
        }
        _ => false,
    }
}

/// The remedy for a prompt that does not fit.
pub(super) fn context_remedy(api: Api) -> &'static str {
    match api {
        Api::Ollama => {
            "set a larger `num_ctx` in the task's `options`, shorten the prompt, or allow cutting it with \
             `extra: {truncate: true}`"
        }
        Api::OpenAi => "shorten the prompt, or run the model with a larger context on the server",
    }
}

/// Whether images cannot be read because a part of the model is missing.
fn lacks_image_support(said: &ServerError) -> bool {
    let message = said.message.to_lowercase();
    ["mmproj", "image input is not supported", "missing data required for image input", "does not support images"]
        .iter()
        .any(|words| message.contains(words))
}

/// Whether a server refuses one of these fields because it does not know it, as strict ones do.
pub(super) fn refuses_fields(status: StatusCode, said: &ServerError, fields: &[&str]) -> bool {
    if !matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY) || is_too_long(status, said) {
        return false;
    }
    let message = said.message.to_lowercase();
    let unknown = ["unknown", "unrecognized", "unexpected", "not permitted", "not allowed", "extra", "additional"];
    let mut words = message.split(|c: char| !c.is_ascii_alphanumeric());
    unknown.iter().any(|word| message.contains(word)) && words.any(|word| fields.contains(&word))
}

/// Whether the server does not have the model, as both kinds of servers report it.
fn is_unknown_model(said: &ServerError) -> bool {
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
            "{server} does not have the model `{model}`; load it there (an Ollama: `ollama pull {model}`), or map the \
             name with `models` in the provider's options{words}"
        ),
    }
}

/// Adds the delay that the server asks for, if it does.
fn with_retry_after(error: CallError, headers: &HeaderMap) -> CallError {
    match client::retry_after(headers) {
        Some(delay) => error.after(delay),
        None => error.retryable(true),
    }
}

/// A server's message without secrets, on one line and shortened.
fn shown(text: &str, target: &Target) -> String {
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for secret in target.secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret.as_str(), "***");
    }
    if text.chars().count() > MAX_CHARACTERS {
        text = text.chars().take(MAX_CHARACTERS).chain(['…']).collect();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_messages_of_servers_are_found_in_every_common_shape() {
        for body in [
            r#"{"error": "no luck"}"#,
            r#"{"error": {"message": "no luck", "code": null}}"#,
            r#"{"object": "error", "message": "no luck", "code": 40}"#,
            r#"{"detail": "no luck"}"#,
            " no luck\n",
        ] {
            assert_eq!(ServerError::body(body).message, "no luck", "{body}");
        }
        assert!(ServerError::body(r#"{"error": {"message": "x", "type": "a", "code": "b"}}"#).is("b"));
    }

    #[test]
    fn a_prompt_that_does_not_fit_is_recognized_by_the_message_of_the_server() {
        let said = |message: &str, kind: Option<&str>| ServerError {
            message: message.to_owned(),
            kind: kind.map(str::to_owned),
        };
        for (status, message) in [
            (400, "the input length exceeds the context length"),
            (500, "the input length exceeds the context length"),
            (400, "request (9000 tokens) exceeds the available context size (4096 tokens), try increasing it"),
            (400, "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens"),
            (413, "prompt is too long: 9000 tokens > 8192 maximum"),
            (500, "input is too large to process. increase the physical batch size"),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert!(is_too_long(status, &said(message, None)), "{message}");
        }
        assert!(is_too_long(StatusCode::OK, &said("no", Some("context_length_exceeded"))));
        for (status, message) in [
            (500, "failed to allocate the context: too large for the memory"),
            (500, "llama runner terminated"),
            (400, "invalid format"),
            (429, "the input length exceeds the context length"),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert!(!is_too_long(status, &said(message, None)), "{message}");
        }
    }

    #[test]
    fn only_an_unknown_field_is_left_out_of_the_second_request() {
        let fields = ["truncate", "shift"];
        let refused = |status, message: &str| {
            let said = ServerError { message: message.to_owned(), kind: None };
            refuses_fields(status, &said, &fields)
        };
        assert!(refused(StatusCode::BAD_REQUEST, "json: unknown field \"truncate\""));
        assert!(refused(StatusCode::UNPROCESSABLE_ENTITY, "body.shift: Extra inputs are not permitted"));
        assert!(!refused(StatusCode::INTERNAL_SERVER_ERROR, "unknown field `truncate`"));
        assert!(!refused(StatusCode::BAD_REQUEST, "unknown field `format`"));
        assert!(!refused(StatusCode::BAD_REQUEST, "the prompt exceeds the context; allow extra text with `truncate`"));
    }
}
