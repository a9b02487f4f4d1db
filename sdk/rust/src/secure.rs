//! TLS connections for gRPC channels.
//!
//! The library's own TLS is not used, since it knows neither our roots nor our errors. It must not see an `https`
//! address either: if another crate of the program enables the library's TLS feature, it refuses every such address
//! that it has not encrypted itself. So the endpoint's address is an `http` one, and its origin, which goes into the
//! requests, is the true one.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use gleitzeit_tls::{Connector, Stream, Trust};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tonic::codegen::http::Uri;
use tonic::codegen::{Service, StdError};
use tonic::transport::{Channel, Endpoint};

/// The port of an address that names none, the default for `https`.
const PORT: u16 = 443;

/// An endpoint for an `https` address, to be connected with a [`Secure`].
///
/// # Errors
/// If the address is invalid, in the library's words.
pub(crate) fn endpoint(url: &str) -> Result<Endpoint, String> {
    let origin: Uri = url.parse().map_err(|error| format!("{error}"))?;
    let host = origin.host().ok_or("it has no host")?;
    let below = format!("http://{host}:{}", origin.port_u16().unwrap_or(PORT));
    let endpoint = Endpoint::from_shared(below).map_err(|error| error.to_string())?;
    Ok(endpoint.origin(origin))
}

/// A channel to a gRPC server at an `https` address, connected when it is first needed. `timeout` limits each call, and
/// making the connection. Must be called inside a runtime.
///
/// # Errors
/// If the address is invalid, in the library's words.
#[doc(hidden)]
pub fn secure_channel(url: &str, timeout: Duration, trust: &Trust) -> Result<Channel, String> {
    Ok(endpoint(url)?.timeout(timeout).connect_timeout(timeout).connect_with_connector_lazy(Secure::new(trust)))
}

/// Makes the TLS connections of a channel, one each time the channel needs it. The channel limits how long that may
/// take.
#[derive(Clone)]
pub(crate) struct Secure {
    tcp: HttpConnector,
    tls: Connector,
}

impl Secure {
    pub(crate) fn new(trust: &Trust) -> Self {
        // As without TLS, an address of the host that does not answer soon is not waited for.
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        Self { tcp, tls: Connector::http2(trust) }
    }
}

impl Service<Uri> for Secure {
    type Response = TokioIo<Stream>;
    type Error = StdError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, StdError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let (connecting, tls) = (self.tcp.call(uri), self.tls.clone());
        Box::pin(async move {
            let stream = connecting.await?.into_inner();
            Ok(TokioIo::new(tls.connect(&host, stream).await?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_address_has_a_port_and_uses_no_tls_of_the_library() {
        for (url, below) in [
            ("https://hub.example", "http://hub.example:443/"),
            ("https://hub.example:8443", "http://hub.example:8443/"),
            ("https://[::1]/", "http://[::1]:443/"),
        ] {
            assert_eq!(endpoint(url).expect("an address").uri().to_string(), below);
        }
        assert!(endpoint("https://").is_err() && endpoint("/path").is_err());
    }
}
