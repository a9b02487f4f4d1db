//! The clients of exporters: our own for HTTP, and for gRPC a channel with our own TLS, so that the roots are the same
//! as everywhere else.

use std::time::Duration;

use async_trait::async_trait;
use gleitzeit_tls::{Trust, Untrusted};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tonic::transport::Channel;

/// The most bytes of an answer that are read; receivers answer briefly.
const MOST_BYTES: usize = 4 << 20;

/// The client of an exporter.
pub(super) enum ExportClient {
    Http(Http),
    /// gRPC: with our own channel for TLS; the library's channel does not support it.
    Grpc(Option<Channel>),
}

/// HTTP: uses the proxies that the environment names, and follows redirects as the library does.
#[derive(Debug)]
pub(super) struct Http(reqwest::Client);

impl Http {
    /// A client that waits this long for answers.
    ///
    /// # Errors
    /// If no client can be made, for instance because a proxy variable is invalid.
    pub(super) fn new(timeout: Duration, trust: &Trust) -> Result<Self, String> {
        let config = trust.config(&[b"h2", b"http/1.1"]);
        let client = reqwest::Client::builder().use_preconfigured_tls(config).timeout(timeout).build();
        client.map(Self).map_err(|error| format!("cannot create an HTTP client: {error}"))
    }
}

#[async_trait]
impl HttpClient for Http {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut answer = self.0.execute(request.try_into()?).await.map_err(http_error)?;
        let mut response = Response::builder().status(answer.status()).body(Bytes::new())?;
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(http_error)? {
            if body.len() + piece.len() > MOST_BYTES {
                return Err(format!("the answer has more than {MOST_BYTES} bytes").into());
            }
            body.extend_from_slice(&piece);
        }
        *response.body_mut() = body.into();
        Ok(response)
    }
}

/// Reports an untrusted certificate as such.
fn http_error(error: reqwest::Error) -> HttpError {
    match Untrusted::among(&error) {
        Some(untrusted) => Box::new(untrusted.clone()),
        None => Box::new(error),
    }
}

/// A gRPC channel with TLS, connected when it is first needed.
///
/// # Errors
/// If the address is invalid.
pub(super) fn grpc(url: &str, timeout: Duration, trust: &Trust) -> Result<Channel, String> {
    gleitzeit_sdk::secure_channel(url, timeout, trust)
        .map_err(|error| format!("`{url}` is not a valid address: {error}"))
}
