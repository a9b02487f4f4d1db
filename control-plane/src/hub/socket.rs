//! Socket.IO: admits sockets and hands what they send to the machine, in order.
//!
//! Events are taken as raw text in the connection's read loop, so their order is kept, and decoded there, so that
//! connections decode side by side. What a socket may have waiting is bounded; beyond that it is closed.

use std::collections::VecDeque;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use gleitzeit_core::hub::SocketId;
use gleitzeit_core::mesh::{ToHub, message_id};
use serde_json::value::RawValue;
use socketioxide::SocketIo;
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::{ConnectHandler, MessageHandler, Value};
use socketioxide::layer::SocketIoLayer;
use socketioxide::socket::{DisconnectReason, Socket};
use tokio::sync::mpsc;

use crate::hub::admit::{Admission, Auth};
use crate::hub::machine::ToMachine;
use crate::metrics::{Metrics, Way};

/// Packets that may wait for a slow socket; past it the socket is closed and continues from its position.
const BUFFER_PACKETS: usize = 8_192;
/// What is read from a socket at once, besides the rest of a larger frame: so much memory is cleared before each read.
const READ_BYTES: usize = 4 * 1024;
/// The largest request of the polling transport: as much as a frame of WebSocket may hold.
const MAX_MESSAGE_BYTES: u64 = 16 * 1024 * 1024;
/// Events of one socket that may wait for the machine.
const MAX_WAITING: usize = 16_384;
/// Bytes of one socket's events that may wait for the machine.
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of all sockets' events that may wait: whoever sends more than is left is closed.
const MAX_ALL_WAITING_BYTES: usize = 512 * 1024 * 1024;

/// What one socket has waiting for the machine.
#[derive(Debug)]
pub(crate) struct Waiting {
    events: AtomicUsize,
    bytes: AtomicUsize,
    of_all: Arc<AtomicUsize>,
    /// It had too much once, and the machine was told.
    flooded: AtomicBool,
}

impl Waiting {
    fn new(of_all: Arc<AtomicUsize>) -> Self {
        Self { events: AtomicUsize::new(0), bytes: AtomicUsize::new(0), of_all, flooded: AtomicBool::new(false) }
    }

    /// `None` if that is too much.
    fn add(self: &Arc<Self>, bytes: usize) -> Option<Place> {
        let events = self.events.fetch_add(1, Ordering::Relaxed) + 1;
        let own = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = self.of_all.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let place = Place { waiting: self.clone(), bytes };
        let fits = events <= MAX_WAITING && own <= MAX_WAITING_BYTES && all <= MAX_ALL_WAITING_BYTES;
        fits.then_some(place)
    }
}

/// The place of a waiting event; free when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    waiting: Arc<Waiting>,
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.events.fetch_sub(1, Ordering::Relaxed);
        self.waiting.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.waiting.of_all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Times of the Socket.IO connection itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pings {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
}

/// The layer that serves Socket.IO on its default path.
pub(crate) fn layer(
    admission: Arc<Admission>,
    machine: mpsc::UnboundedSender<ToMachine>,
    pings: Pings,
    metrics: Option<Metrics>,
) -> SocketIoLayer {
    let (layer, io) = SocketIo::builder()
        .max_buffer_size(BUFFER_PACKETS)
        .max_payload(MAX_MESSAGE_BYTES)
        .ping_interval(pings.interval)
        .ping_timeout(pings.timeout)
        .connect_timeout(Duration::from_secs(5))
        .ws_read_buffer_size(READ_BYTES)
        .build_layer();
    let admit = move |TryData(auth): TryData<Auth>| {
        let given = auth.ok().and_then(|auth| auth.token);
        ready(if admission.admits_token(given.as_deref()) {
            Ok(())
        } else {
            Err("AUTHENTICATION_FAILED: the token is missing or wrong; set GLEITZEIT_TOKEN".to_owned())
        })
    };
    let ids = Arc::new(AtomicU64::new(1));
    let waiting = Arc::new(AtomicUsize::new(0));
    let on_connect = move |socket: SocketRef| {
        let waiting = Arc::new(Waiting::new(waiting.clone()));
        let id = ids.fetch_add(1, Ordering::Relaxed);
        connected(&socket, Inbox { id, waiting, machine: machine.clone(), metrics: metrics.clone() });
        ready(())
    };
    io.ns("/", on_connect.with(admit));
    layer
}

fn connected(socket: &SocketRef, inbox: Inbox) {
    let (id, machine) = (inbox.id, inbox.machine.clone());
    socket.on_fallback(inbox);
    let gone = machine.clone();
    socket.on_disconnect(move |reason: DisconnectReason| {
        let clean = reason == DisconnectReason::ClientNSDisconnect;
        // If the machine is gone, so is the hub.
        gone.send(ToMachine::Gone { socket: id, clean }).ok();
        ready(())
    });
    // The machine says `welcome`: from then on the component may speak.
    machine.send(ToMachine::Connected { socket: id, handle: socket.clone() }).ok();
}

#[derive(Clone)]
struct Inbox {
    id: SocketId,
    waiting: Arc<Waiting>,
    machine: mpsc::UnboundedSender<ToMachine>,
    metrics: Option<Metrics>,
}

/// Marks the handler as one that takes events as text.
struct ByText;

impl MessageHandler<LocalAdapter, ByText> for Inbox {
    fn call(&self, _socket: Arc<Socket<LocalAdapter>>, value: Value, _ack: Option<i64>) {
        let bytes = value.as_str().map_or(0, |text| text.as_str().len());
        if let Some(metrics) = &self.metrics {
            metrics.message(Way::In, bytes);
        }
        let Some(place) = self.waiting.add(bytes) else {
            if !self.waiting.flooded.swap(true, Ordering::Relaxed) {
                tracing::warn!(socket = self.id, "a socket sends faster than it is served and is closed");
                self.machine.send(ToMachine::Flooded { socket: self.id }).ok();
            }
            return;
        };
        let event = match &value {
            Value::Str(text, None) => decode(text.as_str()),
            _ => Err(Malformed { in_reply_to: None, message: "binary events are not used here".to_owned() }),
        };
        self.machine.send(ToMachine::Event { socket: self.id, place, event }).ok();
    }
}

/// Something that is no event of ours.
#[derive(Debug)]
pub(crate) struct Malformed {
    pub(crate) in_reply_to: Option<String>,
    pub(crate) message: String,
}

/// An event and its `meta.id`.
pub(crate) type Received = Result<(ToHub, Option<String>), Malformed>;

/// Reads `["event", {…}]`.
fn decode(text: &str) -> Received {
    // As nearly all are written: the argument is read once. Whatever is odd is looked at more closely.
    match plain(text).map(|(name, body)| (ToHub::decode(name, body), body)) {
        Some((Ok(message), body)) => Ok((message, message_id(body))),
        _ => decode_any(text),
    }
}

/// The name and the argument of `["event",{…}]`, without looking into either.
fn plain(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.strip_prefix("[\"")?.split_once("\",")?;
    Some((name, rest.strip_suffix(']')?))
}

fn decode_any(text: &str) -> Received {
    let malformed = |in_reply_to: Option<String>, message: String| Malformed { in_reply_to, message };
    let mut parts: VecDeque<&RawValue> =
        serde_json::from_str(text).map_err(|error| malformed(None, format!("the event is malformed: {error}")))?;
    let name: String = parts
        .pop_front()
        .and_then(|name| serde_json::from_str(name.get()).ok())
        .ok_or_else(|| malformed(None, "the event has no name".to_owned()))?;
    let body = parts.pop_front().map_or("{}", RawValue::get);
    if !body.starts_with('{') {
        let message = format!("`{name}` takes one JSON object");
        return Err(malformed(Some(name), message));
    }
    let id = message_id(body);
    match ToHub::decode(&name, body) {
        Ok(message) => Ok((message, id)),
        Err(error) => Err(malformed(id.or(Some(name)), error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_event_says_what_is_wrong() {
        for (text, expected) in [
            (r#"["nonsense",{}]"#, "unknown mesh event `nonsense`"),
            (r#"["append",{"proposals":7}]"#, "malformed mesh event `append`"),
            (r#"["append",7]"#, "`append` takes one JSON object"),
            (r#"[7]"#, "the event has no name"),
            (r#"[]"#, "the event has no name"),
            (r#"["append",{},]"#, "the event is malformed"),
            (r#"["append",{}"#, "the event is malformed"),
            (r#"["appe\"nd",{}]"#, "unknown mesh event `appe\"nd`"),
        ] {
            let message = decode(text).expect_err("malformed").message;
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn however_an_event_is_written_it_is_the_same() {
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
    fn what_waits_is_bounded_for_each_socket_and_for_all() {
        let of_all = Arc::new(AtomicUsize::new(0));
        let sockets: Vec<_> = (0..10).map(|_| Arc::new(Waiting::new(of_all.clone()))).collect();
        assert!(sockets[0].add(MAX_WAITING_BYTES + 1).is_none());
        let mut full: Vec<Place> = sockets.iter().filter_map(|socket| socket.add(MAX_WAITING_BYTES)).collect();
        assert_eq!(full.len(), 8);
        assert!(sockets[9].add(1).is_none());
        full.remove(0);
        assert!(sockets[9].add(1).is_some());
        let small: Vec<Place> = (0..2 * MAX_WAITING).filter_map(|_| sockets[0].add(0)).collect();
        assert_eq!(small.len(), MAX_WAITING);
        drop((small, full));
        assert_eq!(of_all.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_message_id_is_what_errors_refer_to() {
        let (_, id) = decode(r#"["events_ack",{"position":1,"meta":{"id":"m1"}}]"#).expect("an event");
        assert_eq!(id.as_deref(), Some("m1"));
        assert_eq!(decode(r#"["x",{"meta":{"id":"m2"}}]"#).expect_err("unknown").in_reply_to.as_deref(), Some("m2"));
    }
}
