//! Turns an answer into the result of a task, or into an error if it is not the expected answer.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gleitzeit_workflow::error::ErrorCode;
use gleitzeit_workflow::json;
use gleitzeit_workflow::payload::Payload;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, SET_COOKIE};
use reqwest::{StatusCode, Url};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::coding::{self, Unreadable};
use super::exchange::{Begun, failed, shown};
use super::request::Request;
use super::text::{self, Text, header_text};
use crate::call::CallError;
use crate::client;

/// The most bytes of an unexpected answer's body that an error shows.
const KEPT: usize = 4 * 1024;
/// The most characters of a path that a message shows.
const PATH: usize = 200;
/// Replaces a secret.
const HIDDEN: &[u8] = b"***";
/// The nesting levels of the result around its field `json`.
const AROUND_JSON: usize = 1;

#[derive(Serialize)]
struct Answer<'a> {
    status: u16,
    headers: Map<String, Value>,
    body: &'a str,
    body_base64: Option<String>,
    body_error: Option<String>,
    json: Option<&'a RawValue>,
    json_error: Option<String>,
    url: &'a str,
    duration_ms: f64,
}

/// What was received of an answer so far.
pub(super) struct PartialAnswer {
    status: StatusCode,
    headers: HeaderMap,
    /// The body as it was sent, perhaps compressed.
    body: Vec<u8>,
    secrets: Vec<Vec<u8>>,
}

impl PartialAnswer {
    /// An address without its query and without secrets.
    fn path(&self, url: &Url) -> String {
        let path = without_in_text(url.path(), &self.secrets);
        format!("{}{}", shown(url), path.chars().take(PATH).collect::<String>())
    }

    fn content_type(&self) -> String {
        self.headers.get(CONTENT_TYPE).map(header_text).unwrap_or_default()
    }

    /// Adds the status of the answer and the start of its body to an error.
    pub(super) fn add_to(&self, error: CallError) -> CallError {
        let packed = &self.body[..self.body.len().min(KEPT)];
        let start = match coding::of(&self.headers) {
            Ok(codings) => coding::unpack_start(packed, &codings, KEPT),
            Err(_) => Vec::new(),
        };
        let read = match start.is_empty() {
            false => text::read_start(&without(&start, &self.secrets), &self.content_type()),
            // A body that cannot be decompressed is shown as it came.
            true => Text { bytes: !packed.is_empty(), ..Text::default() },
        };
        let shown = if start.is_empty() { packed } else { &start };
        let error = error.with("status", self.status.as_u16()).with("body", without_in_text(&read.text, &self.secrets));
        match read.bytes {
            true => error.with("body_base64", STANDARD.encode(without(shown, &self.secrets))),
            false => error,
        }
    }
}

/// Reads the answer. What was received is left in `partial`, even if this future is dropped.
///
/// # Errors
/// If the status is not expected, the answer breaks off, or the body is too large or compressed in a way that cannot be
/// read. A body that is not text, or not JSON, is not an error: the result says what it is.
pub(super) async fn read(
    begun: Begun,
    request: &Request,
    limit: usize,
    secrets: Vec<Vec<u8>>,
    partial: &mut Option<PartialAnswer>,
) -> Result<Payload, CallError> {
    let Begun { mut response, url, since } = begun;
    let (status, headers) = (response.status(), without_in_headers(response.headers(), &secrets));
    let partial = partial.insert(PartialAnswer { status, headers, body: Vec::new(), secrets });
    let expected = request.expects(status);
    let most = if expected { coding::packed_most(limit) } else { KEPT };
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => partial.body.extend_from_slice(&chunk),
            Ok(None) => break,
            // An unexpected status is error enough.
            Err(_) if !expected => break,
            Err(error) => return Err(failed(&url, &error)),
        }
        if partial.body.len() > most {
            if !expected {
                break;
            }
            return Err(too_large(&shown(&url), limit));
        }
    }
    if !expected {
        let asked = format!("{} {}", request.method, partial.path(&url));
        return Err(unexpected(status, &partial.headers, request, &asked));
    }
    let bytes = unpacked(partial, limit).await.map_err(|error| unreadable(&error, &shown(&url), limit))?;
    result(partial, &bytes, url.as_str(), since.elapsed())
}

/// The result of the task: the answer with its decompressed body.
fn result(partial: &PartialAnswer, bytes: &[u8], url: &str, took: Duration) -> Result<Payload, CallError> {
    let bytes = without(bytes, &partial.secrets);
    let content_type = partial.content_type();
    let Text { text, bytes: wants_bytes, error: body_error } = text::read(&bytes, &content_type);
    let text = without_in_text(&text, &partial.secrets);
    let (json, json_error) = match is_json(&content_type) {
        true => json_of(&text, wants_bytes),
        false => (None, None),
    };
    let answer = Answer {
        status: partial.status.as_u16(),
        headers: joined(&partial.headers),
        body: &text,
        body_base64: wants_bytes.then(|| STANDARD.encode(&bytes)),
        body_error,
        json,
        json_error,
        url,
        duration_ms: took.as_secs_f64() * 1_000.0,
    };
    Payload::of(&answer)
        .map_err(|error| CallError::new(ErrorCode::TaskExecutionFailed, format!("the answer is not JSON: {error}")))
}

/// The body without its content-encodings.
async fn unpacked(partial: &mut PartialAnswer, limit: usize) -> Result<Vec<u8>, Unreadable> {
    let codings = coding::of(&partial.headers);
    if partial.body.is_empty() {
        return Ok(Vec::new());
    }
    let codings = codings?;
    let body = partial.body.clone();
    if codings.is_empty() {
        return if body.len() > limit { Err(Unreadable::TooLarge) } else { Ok(body) };
    }
    // Decompressing takes time, and a panic of a decoder counts as an unreadable answer.
    let unpacked = tokio::task::spawn_blocking(move || coding::unpack(body, &codings, limit)).await;
    unpacked
        .unwrap_or_else(|error| Err(Unreadable::Broken { coding: "what it is", source: std::io::Error::other(error) }))
}

/// The value of a text that is declared to be JSON, or why it cannot be carried. An empty text has no value and is no
/// error.
fn json_of(text: &str, is_cut: bool) -> (Option<&RawValue>, Option<String>) {
    let trimmed = text.trim_matches([' ', '\t', '\n', '\r']);
    if is_cut {
        return (None, Some("the body is not entirely text".to_owned()));
    }
    if trimmed.is_empty() {
        return (None, None);
    }
    match json::check_inside(text, AROUND_JSON) {
        Ok(()) => match serde_json::from_str(trimmed) {
            Ok(json) => (Some(json), None),
            Err(error) => (None, Some(error.to_string())),
        },
        Err(problem) => (None, Some(problem.to_string())),
    }
}

fn unreadable(error: &Unreadable, server: &str, limit: usize) -> CallError {
    if matches!(error, Unreadable::TooLarge) {
        return too_large(server, limit);
    }
    let why = match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    CallError::new(ErrorCode::TaskResultInvalid, format!("the answer of {server} cannot be read: {why}"))
}

fn too_large(server: &str, limit: usize) -> CallError {
    let message = format!("the answer of {server} has more than the {limit} bytes of `max_response_bytes`");
    CallError::new(ErrorCode::TaskResultInvalid, message)
}

/// Replaces the provider's secrets, which a server may echo.
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

fn without_in_text(text: &str, secrets: &[Vec<u8>]) -> String {
    String::from_utf8_lossy(&without(text.as_bytes(), secrets)).into_owned()
}

fn without_in_headers(headers: &HeaderMap, secrets: &[Vec<u8>]) -> HeaderMap {
    let shown = |value: &HeaderValue| HeaderValue::from_bytes(&without(value.as_bytes(), secrets)).ok();
    headers.iter().filter_map(|(name, value)| Some((name.clone(), shown(value)?))).collect()
}

fn is_json(content_type: &str) -> bool {
    let kind = text::media_type(content_type);
    matches!(kind.as_str(), "application/json" | "text/json") || kind.ends_with("+json")
}

/// The headers by name. Cookies may contain commas, so several of them are joined with newlines.
fn joined(headers: &HeaderMap) -> Map<String, Value> {
    let mut joined: Map<String, Value> = Map::new();
    for (name, value) in headers {
        let value = header_text(value);
        match joined.get_mut(name.as_str()) {
            Some(Value::String(before)) => {
                before.push_str(if *name == SET_COOKIE { "\n" } else { ", " });
                before.push_str(&value);
            }
            _ => drop(joined.insert(name.as_str().to_owned(), Value::String(value))),
        }
    }
    joined
}

fn unexpected(status: StatusCode, headers: &HeaderMap, request: &Request, asked: &str) -> CallError {
    let message = format!("{asked} answers with {status}, {}", request.wanted());
    let code = match status {
        StatusCode::TOO_MANY_REQUESTS => ErrorCode::RateLimitExceeded,
        StatusCode::SERVICE_UNAVAILABLE => ErrorCode::ProviderOverloaded,
        _ => ErrorCode::TaskExecutionFailed,
    };
    let passing = status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY);
    let error = CallError::new(code, message).retryable(passing);
    match client::retry_after(headers).filter(|_| passing) {
        Some(delay) => error.after(delay),
        None => error,
    }
}

/// Reads an answer as the provider does, with status 200 and the given header lines. For fuzzing.
///
/// # Errors
/// As for any answer.
#[cfg(fuzzing)]
pub fn read_any(header_lines: &str, body: Vec<u8>, limit: usize) -> Result<Payload, CallError> {
    use reqwest::header::HeaderName;
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(value.trim().as_bytes()).ok()?))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in header_lines.lines().filter_map(header).take(100) {
        headers.append(name, value);
    }
    let partial = PartialAnswer { status: StatusCode::OK, headers, body, secrets: vec![b"secret".to_vec()] };
    let error = partial.add_to(CallError::new(ErrorCode::TaskExecutionFailed, "it is shown"));
    assert!(format!("{error:?}").len() < 64 * KEPT, "it is short");
    let codings = coding::of(&partial.headers);
    let bytes = codings.and_then(|codings| coding::unpack(partial.body.clone(), &codings, limit));
    result(&partial, &bytes.map_err(|error| unreadable(&error, "any", limit))?, "http://any/", Duration::ZERO)
}
