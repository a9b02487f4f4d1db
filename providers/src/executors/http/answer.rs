//! From the beginning of an answer to a task's result, or to what an unexpected one means.

use base64::Engine as _;
use gleitzeit_core::error::ErrorCode;
use gleitzeit_core::payload::Payload;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::exchange::{Begun, failed, shown};
use super::request::Request;
use crate::call::CallError;
use crate::client;

/// Of an unexpected answer's body, no more is kept.
const KEPT: usize = 4 * 1024;
/// In the place of a secret.
const HIDDEN: &[u8] = b"***";

#[derive(Serialize)]
struct Answer<'a> {
    status: u16,
    headers: Map<String, Value>,
    body: &'a str,
    body_base64: Option<String>,
    json: Option<&'a RawValue>,
    url: &'a str,
    duration_ms: f64,
}

/// Reads the answer.
///
/// # Errors
/// If its status is not expected, it breaks off, or its body is too large.
pub(super) async fn read(
    begun: Begun,
    request: &Request,
    limit: usize,
    secrets: &[Vec<u8>],
) -> Result<Payload, CallError> {
    let Begun { mut response, url, since } = begun;
    let (status, headers) = (response.status(), without_in_headers(response.headers(), secrets));
    let expected = request.expects(status);
    let limit = if expected { limit } else { limit.min(KEPT) };
    let mut body: Vec<u8> = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            // An unexpected status says enough.
            Err(_) if !expected => break,
            Err(error) => return Err(failed(&url, &error)),
        }
        if body.len() > limit {
            if !expected {
                break;
            }
            let message =
                format!("the answer of {} has more than the {limit} bytes of `max_response_bytes`", shown(&url));
            return Err(CallError::new(ErrorCode::TaskResultInvalid, message));
        }
    }
    let mut body = without(&body, secrets);
    if !expected {
        body.truncate(limit);
        return Err(unexpected(status, &headers, &String::from_utf8_lossy(&body), request, &shown(&url)));
    }
    let text = std::str::from_utf8(&body);
    let body_base64 = text.is_err().then(|| base64::engine::general_purpose::STANDARD.encode(&body));
    let text = text.unwrap_or_default();
    // What says that it is JSON and is not stays text.
    let json = Some(text).filter(|_| is_json(&headers)).and_then(|text| serde_json::from_str(text.trim()).ok());
    let answer = Answer {
        status: status.as_u16(),
        headers: joined(&headers),
        body: text,
        body_base64,
        json,
        url: url.as_str(),
        duration_ms: since.elapsed().as_secs_f64() * 1_000.0,
    };
    Payload::of(&answer)
        .map_err(|error| CallError::new(ErrorCode::TaskExecutionFailed, format!("the answer is not JSON: {error}")))
}

/// A server may say back what it was sent; of that, the provider's secret stays here.
fn without(bytes: &[u8], secrets: &[Vec<u8>]) -> Vec<u8> {
    let (mut shown, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        match secrets.iter().find(|secret| bytes[at..].starts_with(secret)) {
            Some(secret) => {
                shown.extend_from_slice(HIDDEN);
                at += secret.len();
            }
            None => {
                shown.push(*byte);
                at += 1;
            }
        }
    }
    shown
}

fn without_in_headers(headers: &HeaderMap, secrets: &[Vec<u8>]) -> HeaderMap {
    let shown = |value: &HeaderValue| HeaderValue::from_bytes(&without(value.as_bytes(), secrets)).ok();
    headers.iter().filter_map(|(name, value)| Some((name.clone(), shown(value)?))).collect()
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

fn joined(headers: &HeaderMap) -> Map<String, Value> {
    let mut joined: Map<String, Value> = Map::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        match joined.get_mut(name.as_str()) {
            Some(Value::String(before)) => {
                before.push_str(", ");
                before.push_str(&value);
            }
            _ => drop(joined.insert(name.as_str().to_owned(), Value::String(value.into_owned()))),
        }
    }
    joined
}

fn unexpected(status: StatusCode, headers: &HeaderMap, body: &str, request: &Request, server: &str) -> CallError {
    let message = format!("{server} answers with {status}, {}", request.wanted());
    let code = match status {
        StatusCode::TOO_MANY_REQUESTS => ErrorCode::RateLimitExceeded,
        StatusCode::SERVICE_UNAVAILABLE => ErrorCode::ProviderOverloaded,
        _ => ErrorCode::TaskExecutionFailed,
    };
    let passing = status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY);
    let error = CallError::new(code, message).retryable(passing);
    let error = match client::retry_after(headers).filter(|_| passing) {
        Some(delay) => error.after(delay),
        None => error,
    };
    error.with("status", status.as_u16()).with("body", body)
}
