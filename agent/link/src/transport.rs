//! One WebSocket connection that speaks Engine.IO 4 and Socket.IO 5, up to and including `welcome`.
//!
//! No retries and no queues here.

use std::io;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use gleitzeit_tls::{ConnectError, Connector, Stream};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::config::{FRAME_LIMIT_BYTES, LinkConfig, READ_BYTES};
use crate::frame::{self, Packet};

/// Why a connection attempt failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The hub answered and refused.
    Refused { status: Option<u16>, message: String },
    /// Any other failure.
    Unreachable(String),
}

impl From<WsError> for Failure {
    fn from(error: WsError) -> Self {
        match error {
            // Only a hub sends these messages; any other answer is probed.
            WsError::Http(response) if is_refusal(response.status().as_u16()) => {
                let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                let text: String = body.trim().chars().take(500).collect();
                let message = if text.is_empty() { response.status().to_string() } else { text };
                Self::Refused { status: Some(response.status().as_u16()), message }
            }
            error => Self::Unreachable(error.to_string()),
        }
    }
}

fn is_refusal(status: u16) -> bool {
    matches!(status, 401 | 403 | 421 | 429)
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error.to_string())
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::Unreachable(error.to_string())
    }
}

/// An established connection, after `welcome`.
pub(crate) struct Connection {
    socket: WebSocketStream<Stream>,
    /// The hub counts as gone after this much silence: its ping interval plus its timeout.
    pub(crate) silence: Duration,
    /// Body of `welcome`.
    pub(crate) welcome: String,
}

impl Connection {
    /// Connects, with TLS if a connector is given, joins the namespace and waits for `welcome`.
    pub(crate) async fn establish(config: &LinkConfig, tls: Option<&Connector>) -> Result<Self, Failure> {
        let (mut socket, silence) = timeout(config.connect_timeout, open(config, tls))
            .await
            .map_err(|_elapsed| Failure::Unreachable(format!("no answer within {:?}", config.connect_timeout)))??;
        let welcome = timeout(config.welcome_timeout, join(&mut socket, config.token.current().as_deref()))
            .await
            .map_err(|_elapsed| Failure::Unreachable(format!("no `welcome` within {:?}", config.welcome_timeout)))??;
        Ok(Self { socket, silence, welcome })
    }

    /// The text of the next packet, or an error text if the connection ended. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Utf8Bytes, String> {
        next_text(&mut self.socket).await.map_err(|failure| match failure {
            Failure::Unreachable(reason) => reason,
            Failure::Refused { message, .. } => message,
        })
    }

    /// Queues a packet for [`Connection::flush`].
    pub(crate) async fn feed(&mut self, text: String) -> Result<(), String> {
        self.socket.feed(Message::text(text)).await.map_err(|error| error.to_string())
    }

    /// Sends the packets queued by [`Connection::feed`].
    pub(crate) async fn flush(&mut self) -> Result<(), String> {
        self.socket.flush().await.map_err(|error| error.to_string())
    }

    /// Ends the connection cleanly: leaves the namespace, closes the WebSocket and waits until the hub has closed it,
    /// too.
    ///
    /// A socket that is dropped while it holds unread data is reset, and data that the hub has not read by then is lost
    /// with it (RFC 2525, 2.17).
    pub(crate) async fn goodbye(mut self) -> Result<(), String> {
        self.feed(frame::DISCONNECT.to_owned()).await?;
        self.flush().await?;
        self.socket.close(None).await.map_err(|error| error.to_string())?;
        // How the hub ends the connection does not matter: it has read everything.
        while let Some(Ok(_)) = self.socket.next().await {}
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Handshake {
    ping_interval: u64,
    ping_timeout: u64,
}

async fn open(config: &LinkConfig, tls: Option<&Connector>) -> Result<(WebSocketStream<Stream>, Duration), Failure> {
    let address = config.address().map_err(Failure::Unreachable)?;
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    // Small messages follow each other; with Nagle's algorithm one may wait 40 ms for an acknowledgement.
    stream.set_nodelay(true)?;
    let (scheme, stream) = match tls {
        Some(tls) => ("wss", tls.connect(&address.host, stream).await?),
        None => ("ws", Stream::Plain(stream)),
    };
    let url = format!("{scheme}://{}/socket.io/?EIO=4&transport=websocket", address.authority);
    let request = url.into_client_request()?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .max_message_size(Some(FRAME_LIMIT_BYTES))
        .max_frame_size(Some(FRAME_LIMIT_BYTES));
    let (mut socket, _response) = client_async_with_config(request, stream, Some(config)).await?;
    let text = next_text(&mut socket).await?;
    let Packet::Open(json) = frame::parse(&text) else {
        return Err(Failure::Unreachable("the server does not speak Engine.IO".to_owned()));
    };
    let handshake: Handshake = serde_json::from_str(json)
        .map_err(|error| Failure::Unreachable(format!("unreadable Engine.IO handshake: {error}")))?;
    let silence = Duration::from_millis(handshake.ping_interval.saturating_add(handshake.ping_timeout).max(1));
    Ok((socket, silence))
}

async fn join(socket: &mut WebSocketStream<Stream>, token: Option<&str>) -> Result<String, Failure> {
    socket.send(Message::text(frame::join(token))).await?;
    loop {
        let text = next_text(socket).await?;
        match frame::parse(&text) {
            Packet::Ping => socket.send(Message::text(frame::PONG)).await?,
            Packet::Refused(message) => return Err(Failure::Refused { status: None, message }),
            Packet::Close | Packet::Disconnected => {
                return Err(Failure::Unreachable("the hub closed the connection before `welcome`".to_owned()));
            }
            Packet::Event(json) => match frame::event(json) {
                Ok(event) if event.name == "welcome" => {
                    return Ok(event.body().unwrap_or("{}").to_owned());
                }
                // The hub sends nothing for us before `welcome`.
                Ok(_) | Err(_) => {}
            },
            Packet::Open(_) | Packet::Connected | Packet::Other => {}
        }
    }
}

async fn next_text(socket: &mut WebSocketStream<Stream>) -> Result<Utf8Bytes, Failure> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text),
            Some(Ok(Message::Close(_))) | None => {
                return Err(Failure::Unreachable("the hub closed the connection".to_owned()));
            }
            // Binary attachments are not part of the mesh; the library below answers WebSocket pings.
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
        }
    }
}
