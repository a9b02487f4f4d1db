//! Gets from a request to the beginning of its answer: sends it, sends it again if it reached no server, and follows
//! redirects.

use gleitzeit_workflow::error::ErrorCode;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName,
    LOCATION, USER_AGENT,
};
use reqwest::{Client, Method, Response, StatusCode, Url};
use tokio::time::Instant;

use super::address;
use super::request::Request;
use super::service::Service;
use super::text::header_text;
use crate::call::CallError;
use crate::client::{self, Retries};

/// The headers that are kept when a redirect leads to another server.
const PUBLIC: [HeaderName; 7] =
    [ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT];

/// The settings for sending a request.
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
    /// If no server is reached or may be reached, the connection breaks, or there are too many redirects.
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
            // RFC 9110, 15.4: 303 asks for a GET of the result; after 301 and 302 all clients do the same for a POST.
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
                // Any other header may contain credentials, which must not reach another server.
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
            if let Some((name, value)) = self.service.and_then(|service| service.header_for(url)) {
                // Replaces a header of the same name from the task.
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

/// The address that an answer redirects to; `None` if it is not a redirect or is not to be followed.
fn redirect(response: &Response, url: &Url, request: &Request) -> Result<Option<Url>, CallError> {
    let status = response.status();
    let redirects = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    if !redirects || request.max_redirects == 0 || request.expects(status) {
        return Ok(None);
    }
    let Some(location) = response.headers().get(LOCATION) else { return Ok(None) };
    let wrong = || {
        let message = format!("{} redirects ({status}) to an invalid address", shown(url));
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

/// The error if no answer came.
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

/// The server of an address, for messages: without path and query, which may contain anything.
pub(super) fn shown(url: &Url) -> String {
    url.origin().ascii_serialization()
}
