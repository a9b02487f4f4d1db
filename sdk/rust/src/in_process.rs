//! A client of a service in the same process, over an in-memory stream instead of a socket.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use gleitzeit_link::TokenSource;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::Endpoint;

use crate::call::Credentials;
use crate::client::Client;
use crate::config::ClientConfig;
use crate::error::Result;

/// A placeholder address; no socket is opened for it.
const NOWHERE: &str = "http://localhost";

impl Client {
    /// A client of the service that holds the other ends of the streams that `connect` makes. The `url` of its
    /// configuration is only a name. Must be called inside a runtime.
    ///
    /// # Errors
    /// If the trace context cannot be sent.
    #[doc(hidden)]
    pub fn within<S>(config: ClientConfig, connect: impl Fn() -> S + Send + 'static) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let credentials = Credentials::new(TokenSource::None, config.traceparent.as_deref())?;
        let channel = Endpoint::from_static(NOWHERE).connect_with_connector_lazy(Within(connect));
        Ok(Self::on(channel, credentials, config))
    }
}

/// Makes the streams of the channel.
struct Within<F>(F);

impl<F: Fn() -> S, S: AsyncRead + AsyncWrite> Service<Uri> for Within<F> {
    type Response = TokioIo<S>;
    type Error = Infallible;
    type Future = Ready<std::result::Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(Ok(TokioIo::new((self.0)())))
    }
}
