//! Turns the parameters of a task into one request.

use std::collections::BTreeMap;

use gleitzeit_workflow::error::ErrorCode;
use reqwest::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, RANGE, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use reqwest::{Method, StatusCode, Url};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::coding;
use super::service::Service;
use crate::call::CallError;

const MAX_REDIRECTS: u32 = 20;
/// Headers that describe how a message is sent; only the client may set them.
const OURS: [HeaderName; 6] = [CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE];

/// The parameters. The engine has validated them, but the engine of another implementation may not have.
#[derive(Deserialize)]
pub(super) struct Asked {
    url: String,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    query: serde_json::Map<String, Value>,
    /// `null` is a body too.
    #[serde(default, deserialize_with = "given")]
    json: Option<Box<RawValue>>,
    body: Option<String>,
    expected_status: Option<Vec<u16>>,
    max_redirects: Option<u32>,
    pub(super) timeout: Option<f64>,
}

fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::deserialize(deserializer).map(Some)
}

/// One request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) url: Url,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) max_redirects: u32,
    expected: Option<Vec<u16>>,
}

fn invalid(message: impl Into<String>) -> CallError {
    CallError::new(ErrorCode::InvalidParams, message)
}

impl Request {
    /// Parses the parameters; a path is relative to the service.
    ///
    /// # Errors
    /// If they do not form a valid request, with the name of the parameter.
    pub(super) fn read(asked: Asked, service: Option<&Service>) -> Result<Self, CallError> {
        let mut url = address(&asked.url, service)?;
        add_query(&mut url, &asked.query)?;
        let method = asked.method.as_deref().unwrap_or("GET");
        let method =
            Method::from_bytes(method.as_bytes()).map_err(|_| invalid(format!("`method`: `{method}` is not valid")))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &asked.headers {
            let bad = |what: &str| invalid(format!("`headers`: the {what} of `{name}` cannot be sent"));
            let name = HeaderName::try_from(name.as_str()).map_err(|_| bad("name"))?;
            if OURS.contains(&name) {
                return Err(invalid(format!("`headers`: `{name}` is set by the connection, not by the task")));
            }
            let value = HeaderValue::try_from(value.as_str()).map_err(|_| bad("value"))?;
            headers.append(name, value);
        }
        // A range of compressed bytes could not be decompressed.
        if !headers.contains_key(RANGE) {
            headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static(coding::ACCEPTED));
        }
        let body = match (asked.json, asked.body) {
            (Some(_), Some(_)) => return Err(invalid("`body` and `json` are both given; keep one")),
            (Some(json), None) => {
                headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
                json.get().as_bytes().to_vec()
            }
            (None, body) => body.unwrap_or_default().into_bytes(),
        };
        let max_redirects = asked.max_redirects.unwrap_or(5).min(MAX_REDIRECTS);
        Ok(Self { url, method, headers, body, max_redirects, expected: asked.expected_status })
    }

    /// Whether a status is one that the task expects.
    pub(super) fn expects(&self, status: StatusCode) -> bool {
        match &self.expected {
            Some(expected) => expected.contains(&status.as_u16()),
            None => status.is_success() || (self.max_redirects == 0 && status.is_redirection()),
        }
    }

    /// The expected statuses, for messages.
    pub(super) fn wanted(&self) -> String {
        match &self.expected {
            Some(expected) => {
                let expected: Vec<String> = expected.iter().map(u16::to_string).collect();
                format!("expected {}", expected.join(" or "))
            }
            None => "expected 200 to 299".to_owned(),
        }
    }
}

fn address(text: &str, service: Option<&Service>) -> Result<Url, CallError> {
    let hint = "write, for example, `https://example.com/items`";
    let is_path = text.starts_with('/') && !text.starts_with("//");
    let url = match (is_path, service) {
        (true, Some(service)) => service.url_of(text),
        (true, None) => {
            let message = format!("`url`: `{text}` is a path, but the provider has no `base_url`; {hint}");
            return Err(invalid(message));
        }
        (false, _) => Url::parse(text),
    };
    let url = url.map_err(|error| invalid(format!("`url`: `{text}` is no address ({error}); {hint}")))?;
    if is_path && service.is_some_and(|service| !service.is_at(&url)) {
        return Err(invalid(format!("`url`: `{text}` is not below the provider's `base_url`")));
    }
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(invalid(format!("`url`: `{text}` is not an http or https address; {hint}")));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let remedy = "use the `authentication` of a provider: parameters of tasks are recorded";
        return Err(invalid(format!("`url` contains a user or password; {remedy}")));
    }
    Ok(url)
}

/// Whether a request could be sent to an address as it is written, by a provider with this base URL or, without one, by
/// a provider that sends anywhere.
///
/// # Errors
/// What is wrong with the address and what to write instead, in the words of a failed call.
pub fn check_url(text: &str, base_url: Option<&str>) -> Result<(), String> {
    let service = base_url.map(|base_url| Service::new(base_url, None)).transpose()?;
    address(text, service.as_ref()).map(drop).map_err(|error| error.message)
}

fn add_query(url: &mut Url, query: &serde_json::Map<String, Value>) -> Result<(), CallError> {
    let mut pairs: Vec<(&str, String)> = Vec::new();
    for (name, value) in query {
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(yes) => Some(yes.to_string()),
            _ => None,
        };
        let values = match value {
            Value::Null => continue,
            Value::Array(items) => items.iter().map(text).collect::<Option<Vec<_>>>(),
            one => text(one).map(|text| vec![text]),
        };
        let Some(values) = values else {
            return Err(invalid(format!("`query`: `{name}` must be text, a number, true, false, or a list of them")));
        };
        pairs.extend(values.into_iter().map(|value| (name.as_str(), value)));
    }
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    Ok(())
}
