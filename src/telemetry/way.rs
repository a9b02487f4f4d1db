//! What an exporter sends with: our own client for HTTP, and for gRPC a channel with our own TLS, so that the roots are the
//! same here as everywhere else.

use std::time::Duration;

use async_trait::async_trait;
use gleitzeit_tls::{Trust, Untrusted};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tonic::transport::Channel;

/// The most of an answer that is read: a receiver says little.
const MOST_BYTES: usize = 4 << 20;

/// What an exporter is made with.
pub(super) enum Way {
    Http(Http),
    /// With a channel of ours where it speaks TLS; the library's own speaks none.
    Grpc(Option<Channel>),
}

/// Sends over HTTP; the proxies that the environment names are used, and redirects are followed as the library does.
#[derive(Debug)]
pub(super) struct Http(reqwest::Client);

impl Http {
    /// Answers are waited for so long.
    ///
    /// # Errors
    /// If no client can be made, for instance because a variable names no proxy.
    pub(super) fn new(timeout: Duration, trust: &Trust) -> Result<Self, String> {
        let config = trust.config(&[b"h2", b"http/1.1"]);
        let client = reqwest::Client::builder().use_preconfigured_tls(config).timeout(timeout).build();
        client.map(Self).map_err(|error| format!("no HTTP client can be made: {error}"))
    }
}

#[async_trait]
impl HttpClient for Http {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut answer = self.0.execute(request.try_into()?).await.map_err(told)?;
        let mut response = Response::builder().status(answer.status()).body(Bytes::new())?;
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(told)? {
            if body.len() + piece.len() > MOST_BYTES {
                return Err(format!("the answer has more than {MOST_BYTES} bytes").into());
            }
            body.extend_from_slice(&piece);
        }
        *response.body_mut() = body.into();
        Ok(response)
    }
}

/// A certificate that is not trusted is told as such.
fn told(error: reqwest::Error) -> HttpError {
    match Untrusted::among(&error) {
        Some(untrusted) => Box::new(untrusted.clone()),
        None => Box::new(error),
    }
}

/// A channel of gRPC with TLS, made when it is needed.
///
/// # Errors
/// If it is no address.
pub(super) fn grpc(url: &str, timeout: Duration, trust: &Trust) -> Result<Channel, String> {
    gleitzeit_sdk::secure_channel(url, timeout, trust).map_err(|error| format!("`{url}` is no address: {error}"))
}
