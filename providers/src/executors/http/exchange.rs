//! From a request to the beginning of its answer: sending, sending again, redirects.

use base64::Engine as _;
use gleitzeit_workflow::error::ErrorCode;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, LOCATION, USER_AGENT,
};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use tokio::time::Instant;

use super::address;
use super::request::Request;
use super::text::header_text;
use crate::call::CallError;
use crate::client::{self, Retries};

/// What is shorter is no secret, and would be found everywhere.
const SHORTEST_SECRET: usize = 4;
/// Headers that a redirect to another server keeps.
const PUBLIC: [HeaderName; 7] =
    [ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT];

/// The one service that a provider is for.
pub(super) struct Service {
    base: Url,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Service {
    /// At an address, with the header that shows who the provider is.
    ///
    /// # Errors
    /// If either cannot be used; the text holds no secret.
    pub(super) fn new(base_url: &str, header: Option<(String, String)>) -> Result<Self, String> {
        let base = Url::parse(base_url).map_err(|error| format!("`base_url` is no address: {error}"))?;
        let header = header.map(|(name, value)| client::secret_header(&name, &value, "the secret"));
        Ok(Self { base, header: header.transpose()? })
    }

    pub(super) fn base_url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The address of a path below the service's own.
    pub(super) fn url_of(&self, path: &str) -> Result<Url, url::ParseError> {
        Url::parse(&format!("{}{path}", self.base_url()))
    }

    /// A GET of a path below the service's own.
    pub(super) fn get(&self, client: &Client, path: &str) -> RequestBuilder {
        let request = client.get(format!("{}{path}", self.base_url()));
        match &self.header {
            Some((name, value)) => request.header(name, value),
            None => request,
        }
    }

    /// Whether an address is the service's own or below it: nobody else gets its header.
    pub(super) fn is_at(&self, url: &Url) -> bool {
        let base = self.base.path().trim_end_matches('/');
        let below = url.path().strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.base.origin() == url.origin() && below
    }

    /// What of an answer must not be shown: the header that shows who the provider is, and what is secret in it.
    pub(super) fn secrets(&self) -> Vec<Vec<u8>> {
        let Some((_, value)) = &self.header else { return Vec::new() };
        let whole = value.as_bytes().to_vec();
        let bare = whole.split(|byte| *byte == b' ').next_back().unwrap_or_default().to_vec();
        let basic = value.to_str().ok().and_then(|value| value.strip_prefix("Basic "));
        let decoded = basic.and_then(|it| base64::engine::general_purpose::STANDARD.decode(it).ok());
        let password = decoded.and_then(|it| Some(it.splitn(2, |byte| *byte == b':').nth(1)?.to_vec()));
        let mut secrets: Vec<Vec<u8>> = [Some(whole), Some(bare), password].into_iter().flatten().collect();
        secrets.retain(|secret| secret.len() >= SHORTEST_SECRET);
        secrets
    }
}

/// What it takes to ask.
pub(super) struct Exchange<'a> {
    pub(super) client: &'a Client,
    pub(super) service: Option<&'a Service>,
    pub(super) retries: u32,
    pub(super) only_public: bool,
}

/// An answer that has begun.
pub(super) struct Begun {
    pub(super) response: Response,
    pub(super) url: Url,
    pub(super) since: Instant,
}

impl Exchange<'_> {
    /// Sends a request and follows redirects.
    ///
    /// # Errors
    /// If nobody is reached or allowed to be, the connection breaks, or there are too many redirects.
    pub(super) async fn run(&self, request: &Request) -> Result<Begun, CallError> {
        let since = Instant::now();
        let (mut url, mut method, mut body) = (request.url.clone(), request.method.clone(), request.body.as_slice());
        let mut headers = request.headers.clone();
        for followed in 0.. {
            let response = self.send(&url, &method, &headers, body).await?;
            let Some(next) = redirect(&response, &url, request)? else {
                return Ok(Begun { response, url, since });
            };
            if followed >= request.max_redirects {
                let message = format!("more than {} redirects, the last to {}", request.max_redirects, shown(&next));
                return Err(CallError::new(ErrorCode::TaskExecutionFailed, message).retryable(false));
            }
            // RFC 9110, 15.4: 303 asks for the result with GET; for 301 and 302 that is what everybody does after POST.
            let status = response.status();
            let becomes_get = match status {
                StatusCode::SEE_OTHER => method != Method::HEAD,
                StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => method == Method::POST,
                _ => false,
            };
            if becomes_get {
                (method, body) = (Method::GET, &[]);
                [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING].iter().for_each(|name| drop(headers.remove(name)));
            }
            if next.origin() != url.origin() {
                // Any other may be what shows who asks, to somebody else.
                headers = PUBLIC.iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone()))).collect();
            }
            url = next;
        }
        Err(CallError::new(ErrorCode::InternalError, "redirects never end"))
    }

    async fn send(&self, url: &Url, method: &Method, headers: &HeaderMap, body: &[u8]) -> Result<Response, CallError> {
        if self.only_public {
            address::check(url).map_err(|private| refused(&private.to_string()))?;
        }
        let mut retries = Retries::new(self.retries);
        loop {
            let mut headers = headers.clone();
            if let Some((name, value)) =
                self.service.filter(|service| service.is_at(url)).and_then(|service| service.header.as_ref())
            {
                // In the place of one that the task gives.
                headers.insert(name, value.clone());
            }
            let mut request = self.client.request(method.clone(), url.clone()).headers(headers);
            if !body.is_empty() {
                request = request.body(body.to_vec());
            }
            match request.send().await {
                Ok(response) => return Ok(response),
                Err(error) if is_refused(&error) || !retries.again(&error).await => return Err(failed(url, &error)),
                Err(_) => {}
            }
        }
    }
}

/// Where an answer sends on to; none if it is to be taken as it is.
fn redirect(response: &Response, url: &Url, request: &Request) -> Result<Option<Url>, CallError> {
    let status = response.status();
    let redirects = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    if !redirects || request.max_redirects == 0 || request.expects(status) {
        return Ok(None);
    }
    let Some(location) = response.headers().get(LOCATION) else { return Ok(None) };
    let wrong = || {
        let message = format!("{} redirects ({status}) to what is no address", shown(url));
        CallError::new(ErrorCode::TaskExecutionFailed, message).retryable(false)
    };
    let next = url.join(&header_text(location)).map_err(|_| wrong())?;
    if matches!(next.scheme(), "http" | "https") { Ok(Some(next)) } else { Err(wrong()) }
}

fn is_refused(error: &reqwest::Error) -> bool {
    client::has_cause::<address::Private>(error)
}

fn refused(why: &str) -> CallError {
    CallError::new(ErrorCode::TaskExecutionFailed, why).retryable(false)
}

/// Why no answer came.
pub(super) fn failed(url: &Url, error: &reqwest::Error) -> CallError {
    let (server, cause) = (shown(url), client::cause(error));
    if is_refused(error) {
        return refused(&cause);
    }
    if error.is_connect() {
        return CallError::new(ErrorCode::TaskExecutionFailed, format!("{server} is not reachable: {cause}"));
    }
    if error.is_timeout() {
        return CallError::new(ErrorCode::ProviderTimeout, format!("{server} sent nothing for too long"));
    }
    if error.is_builder() {
        return CallError::new(ErrorCode::InvalidParams, format!("the request to {server} cannot be sent: {cause}"));
    }
    CallError::new(ErrorCode::TaskExecutionFailed, format!("{server} broke off: {cause}"))
}

/// A server for messages: without path and query, which may hold anything.
pub(super) fn shown(url: &Url) -> String {
    url.origin().ascii_serialization()
}
