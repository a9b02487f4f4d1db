//! Socket.IO over Engine.IO: admits sockets and passes their messages to the machine, in order.
//!
//! Packets are parsed here and not by a Socket.IO library, because those drop a component's connection over any text
//! that is not JSON. Events are decoded in the connection's read loop: this keeps their order and decodes connections
//! in parallel.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ConnectInfo;
use engineioxide::config::EngineIoConfig;
use engineioxide::handler::EngineIoHandler;
use engineioxide::layer::EngineIoLayer;
use engineioxide::{DisconnectReason, Socket, Str, TransportType};
use gleitzeit_mesh::hub::SocketId;
use gleitzeit_mesh::wire::{ToHub, message_id, salvage};
use gleitzeit_workflow::json;
use serde_json::value::RawValue;
use tokio::sync::mpsc::error::TrySendError;

use crate::connection::Connection;
use crate::hub::CONNECT_TIMEOUT;
use crate::hub::admit::{Admission, Auth, token_refusal};
use crate::hub::inbox::{Entrance, Inbox};
use crate::hub::message::{Malformed, Received};
use crate::hub::packet::{self, Packet};
use crate::hub::peer::{Handle, NotTaken, Peer};

/// Packets that may wait for a slow socket; beyond that the socket is closed, and the component continues from its
/// position.
const BUFFER_PACKETS: usize = 8_192;
/// The size of the read buffer: this much memory is cleared before each read. The rest of a larger frame is read
/// besides.
const READ_BYTES: usize = 4 * 1024;
/// The largest request of the polling transport, in bytes: as much as a WebSocket frame may hold.
const MAX_MESSAGE_BYTES: u64 = 16 * 1024 * 1024;

/// Interval and timeout of Engine.IO's own pings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pings {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
}

/// The layer that serves Socket.IO on its default path.
pub(crate) fn layer(admission: Arc<Admission>, entrance: Entrance, pings: Pings) -> EngineIoLayer<Server> {
    let config = EngineIoConfig::builder()
        .req_path("/socket.io")
        .max_buffer_size(BUFFER_PACKETS)
        .max_payload(MAX_MESSAGE_BYTES)
        .ping_interval(pings.interval)
        .ping_timeout(pings.timeout)
        .ws_read_buffer_size(READ_BYTES)
        .build();
    EngineIoLayer::from_config(Arc::new(Server { admission, entrance }), config)
}

/// Handles every connection.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    admission: Arc<Admission>,
    entrance: Entrance,
}

/// What a connection has joined. It may leave and join again; each time it is another socket for the machine.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    /// The id of the joined socket; 0 if none is joined.
    id: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    inbox: Option<Arc<Inbox>>,
    /// Binary messages still to come that belong to a refused packet.
    attachments: usize,
}

impl Joined {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inbox(&self) -> Option<Arc<Inbox>> {
        self.state().inbox.clone()
    }

    fn join(&self, inbox: Arc<Inbox>) {
        self.id.store(inbox.id().0, Ordering::Relaxed);
        self.state().inbox = Some(inbox);
    }

    fn leave(&self) -> Option<Arc<Inbox>> {
        self.id.store(0, Ordering::Relaxed);
        self.state().inbox.take()
    }
}

/// One socket: what is joined to a connection, until it leaves.
struct JoinedSocket {
    connection: Arc<Socket<Joined>>,
    id: SocketId,
}

impl std::fmt::Debug for JoinedSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Handle for JoinedSocket {
    fn is_connected(&self) -> bool {
        self.connection.data.id.load(Ordering::Relaxed) == self.id.0 && !self.connection.is_closed()
    }

    fn emit(&self, packet: String) -> Result<(), NotTaken> {
        if !self.is_connected() {
            return Err(NotTaken::Gone);
        }
        self.connection.emit(packet).map_err(|error| match error {
            TrySendError::Full(_) => NotTaken::Full,
            TrySendError::Closed(_) => NotTaken::Gone,
        })
    }

    fn disconnect(&self) -> Result<(), NotTaken> {
        match self.emit(packet::DISCONNECTED.to_owned()) {
            Err(NotTaken::Full) => Err(NotTaken::Full),
            Err(NotTaken::Gone) => Ok(()),
            Ok(()) => {
                self.connection.data.leave();
                expect_join(self.connection.clone());
                Ok(())
            }
        }
    }

    fn own_connection(&self) -> Option<&Connection> {
        let info = self.connection.req_parts.extensions.get::<ConnectInfo<Connection>>();
        let info = info.filter(|_| self.connection.transport_type() == TransportType::Websocket);
        info.map(|ConnectInfo(connection)| connection)
    }
}

/// Closes the connection if it does not join within [`CONNECT_TIMEOUT`].
fn expect_join(connection: Arc<Socket<Joined>>) {
    // Ends on its own.
    tokio::spawn(async move {
        tokio::select! {
            () = connection.closed() => {}
            () = tokio::time::sleep(CONNECT_TIMEOUT) => {
                if connection.data.inbox().is_none() {
                    tracing::debug!("a connection that joined no namespace is closed");
                    connection.close(DisconnectReason::TransportClose);
                }
            }
        }
    });
}

impl Server {
    fn join(&self, connection: &Arc<Socket<Joined>>, auth: &str) {
        if connection.data.inbox().is_some() {
            // Already joined: the first answer may have been lost before the client tried again.
            connection.emit(packet::connected(&connection.id.to_string())).ok();
            return;
        }
        let given = serde_json::from_str::<Auth>(auth).ok().and_then(|auth| auth.token);
        if !self.admission.admits_token(given.as_deref()) {
            let message = format!("AUTHENTICATION_FAILED: {}", token_refusal(given.as_deref()));
            connection.emit(packet::refused("/", &message)).ok();
            return;
        }
        let inbox = Arc::new(self.entrance.inbox());
        let socket = JoinedSocket { connection: connection.clone(), id: inbox.id() };
        // Sent before the machine sends anything.
        connection.emit(packet::connected(&connection.id.to_string())).ok();
        connection.data.join(inbox.clone());
        let peer = Peer::Socket(Box::new(socket));
        if let Some(connection) = peer.connection() {
            connection.keep();
        }
        inbox.opened(peer);
    }
}

impl EngineIoHandler for Server {
    type Data = Joined;

    fn on_connect(self: Arc<Self>, connection: Arc<Socket<Joined>>) {
        expect_join(connection);
    }

    fn on_disconnect(&self, connection: Arc<Socket<Joined>>, reason: DisconnectReason) {
        if let Some(inbox) = connection.data.leave() {
            inbox.gone(false, Some(why(&reason)));
        }
    }

    fn on_message(self: &Arc<Self>, text: Str, connection: Arc<Socket<Joined>>) {
        let text = text.as_str();
        let read = packet::parse(text);
        let (ack, event) = match read {
            Packet::Connect { auth } => return self.join(&connection, auth),
            Packet::ConnectElsewhere { namespace } => {
                connection.emit(packet::refused(namespace, "Invalid namespace")).ok();
                return;
            }
            Packet::Disconnect => {
                if let Some(inbox) = connection.data.leave() {
                    inbox.gone(true, None);
                    expect_join(connection);
                }
                return;
            }
            Packet::Ack => return,
            Packet::Event { data, ack } => (ack, Ok(data)),
            Packet::Binary { attachments, ack } => {
                connection.data.state().attachments = attachments;
                (ack, Err("binary events are not used here".to_owned()))
            }
            Packet::Malformed(message) => (None, Err(message)),
        };
        let Some(inbox) = connection.data.inbox() else {
            tracing::debug!("a connection that joined no namespace sent an event and is closed");
            connection.close(DisconnectReason::PacketParsingError);
            return;
        };
        inbox.take(text.len(), ack, || event.map_or_else(|message| Err(Malformed::of(message)), decode));
    }

    fn on_binary(self: &Arc<Self>, _: Bytes, connection: Arc<Socket<Joined>>) {
        let is_expected = {
            let mut state = connection.data.state();
            let is_expected = state.attachments > 0;
            state.attachments = state.attachments.saturating_sub(1);
            is_expected
        };
        if let Some(inbox) = connection.data.inbox().filter(|_| !is_expected) {
            inbox.take(0, None, || Err(Malformed::of("binary messages are not used here".to_owned())));
        }
    }
}

/// What ended a connection, for the log.
fn why(reason: &DisconnectReason) -> &'static str {
    match reason {
        DisconnectReason::TransportClose => "its connection was closed",
        DisconnectReason::TransportError => "its connection broke, or a message in it was too large or not UTF-8 text",
        DisconnectReason::PacketParsingError => "it sent something that is not an Engine.IO packet",
        DisconnectReason::MultipleHttpPollingError => "it polled a second time before the first was answered",
        DisconnectReason::HeartbeatTimeout => "it did not answer an Engine.IO ping",
        DisconnectReason::ClosingServer => "the hub is closing",
    }
}

/// Decodes `["event", {…}]`.
fn decode(text: &str) -> Received {
    // The usual form, whose argument is parsed only once. Anything else is decoded more carefully below.
    match plain(text).map(|(name, body)| (ToHub::decode(name, body), body)) {
        Some((Ok(message), body)) => Ok((message, message_id(body))),
        _ => decode_any(text),
    }
}

/// Splits `["event",{…}]` into name and argument, without parsing either.
fn plain(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.trim().strip_prefix('[')?.trim_start().strip_prefix('"')?.split_once('"')?;
    Some((name, rest.trim_start().strip_prefix(',')?.strip_suffix(']')?))
}

fn decode_any(text: &str) -> Received {
    if let Err(problem) = json::check_grammar(text) {
        return Err(no_json(text, &problem));
    }
    let mut parts: VecDeque<&RawValue> = serde_json::from_str(text)
        .map_err(|_| Malformed::of("the event is malformed: expected a list of a name and an object".to_owned()))?;
    let name: String = parts
        .pop_front()
        .and_then(|name| serde_json::from_str(name.get()).ok())
        .ok_or_else(|| Malformed::of("the event has no name".to_owned()))?;
    let body = parts.pop_front().map_or("{}", RawValue::get);
    if !body.starts_with('{') {
        let message = format!("`{name}` takes one JSON object");
        return Err(Malformed { in_reply_to: Some(name), ..Malformed::of(message) });
    }
    let id = message_id(body);
    match ToHub::decode(&name, body) {
        Ok(message) => Ok((message, id)),
        Err(error) => Err(Malformed { in_reply_to: id.or(Some(name)), ..Malformed::of(error.to_string()) }),
    }
}

/// What can be recovered from text that is not JSON: the event's name, where the JSON breaks, and which calls it ends.
fn no_json(text: &str, problem: &json::Problem) -> Malformed {
    let Some((name, body)) = plain(text).filter(|(name, _)| ToHub::KINDS.contains(name)) else {
        return Malformed::of(format!("the event is malformed: {problem}"));
    };
    let ends = if name == "method_result" { salvage(body) } else { Vec::new() };
    // Offsets are counted from the start of the argument.
    let problem = json::check_grammar(body).err().unwrap_or_else(|| problem.clone());
    let message = format!("malformed mesh event `{name}`: {problem}");
    Malformed { in_reply_to: Some(name.to_owned()), message, ends }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_event_is_refused_with_the_reason() {
        for (text, expected) in [
            (r#"["nonsense",{}]"#, "unknown mesh event `nonsense`"),
            (r#"["append",{"proposals":7}]"#, "malformed mesh event `append`"),
            (r#"["append",7]"#, "`append` takes one JSON object"),
            (r#"[7]"#, "the event has no name"),
            (r#"[]"#, "the event has no name"),
            (r#"["append",{},]"#, "malformed mesh event `append`: trailing characters, at byte 2"),
            (r#"["append",{}"#, "the event is malformed: in `[1]`: EOF while parsing a list, at byte 12"),
            (
                r#"["append",{"a":[NaN]}]"#,
                "malformed mesh event `append`: in `a[0]`: NaN is no JSON; write null or text instead, at byte 6",
            ),
            (r#"{"append":1}"#, "the event is malformed: expected a list"),
            (r#"["appe\"nd",{}]"#, "unknown mesh event `appe\"nd`"),
        ] {
            let message = decode(text).expect_err("malformed").message;
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn every_encoding_of_an_event_is_decoded_alike() {
        for text in [
            r#"["events_ack",{"position":1}]"#,
            r#" [ "events_ack" , { "position" : 1 } ] "#,
            r#"["events_ack",{"position":1},{"more":2}]"#,
            r#"["events\u005fack",{"position":1}]"#,
        ] {
            let (message, id) = decode(text).expect(text);
            assert_eq!((message.body(), id), (r#"{"position":1}"#.to_owned(), None), "{text}");
        }
    }

    #[test]
    fn errors_refer_to_the_id_of_a_message() {
        let (_, id) = decode(r#"["events_ack",{"position":1,"meta":{"id":"m1"}}]"#).expect("an event");
        assert_eq!(id.as_deref(), Some("m1"));
        assert_eq!(decode(r#"["x",{"meta":{"id":"m2"}}]"#).expect_err("unknown").in_reply_to.as_deref(), Some("m2"));
    }
}
