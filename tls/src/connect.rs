//! The TLS handshake on an established connection.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, InvalidMessage};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::roots::Trust;
use crate::stream::Stream;
use crate::untrusted::Untrusted;

/// Why the handshake failed.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The host is not a name or an address that a certificate can have.
    #[error("`{0}` is no name that a certificate can have")]
    Name(String),
    /// The server's certificate is not trusted.
    #[error("{0}")]
    Untrusted(Untrusted),
    /// The server does not speak TLS.
    #[error("what answers does not speak TLS")]
    NotTls,
    /// The server speaks TLS, but none of the offered application protocols.
    #[error("the server speaks none of the protocols that were offered: {0}")]
    Protocol(String),
    /// The server does not serve this name; an IP address is not sent to it as a name.
    #[error("the server has no host of the name `{0}`")]
    UnknownHost(String),
    /// The server requires a client certificate.
    #[error("the server requires a client certificate, and none can be given")]
    ClientCertificate,
    /// The handshake failed otherwise, in the library's words.
    #[error("{0}")]
    Tls(rustls::Error),
    /// The connection broke.
    #[error("{0}")]
    Io(io::Error),
}

/// Makes TLS connections, all with the same roots and protocols.
#[derive(Clone)]
pub struct Connector {
    connector: TlsConnector,
    protocols: String,
    must_agree: bool,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("protocols", &self.protocols).finish_non_exhaustive()
    }
}

impl Connector {
    /// Offers HTTP/1.1; a server that chooses no protocol is taken to speak it.
    pub fn http1(trust: &Trust) -> Self {
        Self::new(trust, b"http/1.1", false)
    }

    /// Offers HTTP/2, which gRPC needs.
    pub fn http2(trust: &Trust) -> Self {
        Self::new(trust, b"h2", true)
    }

    fn new(trust: &Trust, protocol: &[u8], must_agree: bool) -> Self {
        let connector = TlsConnector::from(Arc::new(trust.config(&[protocol])));
        Self { connector, protocols: String::from_utf8_lossy(protocol).into_owned(), must_agree }
    }

    /// Performs the handshake on a connection to a host, given as a name or an address without brackets. There is no
    /// time limit; dropping the future closes the connection.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(&self, host: &str, stream: TcpStream) -> Result<Stream, ConnectError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| ConnectError::Name(host.to_owned()))?;
        let stream = self.connector.connect(name, stream).await.map_err(|error| self.failure(host, error))?;
        if self.must_agree && stream.get_ref().1.alpn_protocol().is_none() {
            return Err(ConnectError::Protocol(self.protocols.clone()));
        }
        Ok(Stream::Tls(Box::new(stream)))
    }

    fn failure(&self, host: &str, error: io::Error) -> ConnectError {
        if let Some(untrusted) = Untrusted::among(&error) {
            return ConnectError::Untrusted(untrusted.clone());
        }
        let Some(held) = error.get_ref().and_then(|held| held.downcast_ref::<rustls::Error>()) else {
            return ConnectError::Io(error);
        };
        match held {
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => ConnectError::NotTls,
            rustls::Error::NoApplicationProtocol
            | rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
                ConnectError::Protocol(self.protocols.clone())
            }
            rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => {
                ConnectError::UnknownHost(host.to_owned())
            }
            rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => ConnectError::ClientCertificate,
            other => ConnectError::Tls(other.clone()),
        }
    }
}
