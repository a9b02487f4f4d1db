//! Socket.IO: admits sockets and hands what they send to the machine, in order.
//!
//! Events are taken as raw text in the connection's read loop, so their order is kept, and decoded there, so that
//! connections decode side by side.

use std::collections::VecDeque;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use gleitzeit_core::mesh::{ToHub, message_id};
use serde_json::value::RawValue;
use socketioxide::SocketIo;
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::{ConnectHandler, MessageHandler, Value};
use socketioxide::layer::SocketIoLayer;
use socketioxide::socket::{DisconnectReason, Socket};

use crate::hub::admit::{Admission, Auth};
use crate::hub::inbox::{Entrance, Inbox, Malformed, Received};
use crate::hub::peer::Peer;

/// Packets that may wait for a slow socket; past it the socket is closed and continues from its position.
const BUFFER_PACKETS: usize = 8_192;
/// What is read from a socket at once, besides the rest of a larger frame: so much memory is cleared before each read.
const READ_BYTES: usize = 4 * 1024;
/// The largest request of the polling transport: as much as a frame of WebSocket may hold.
const MAX_MESSAGE_BYTES: u64 = 16 * 1024 * 1024;

/// Times of the Socket.IO connection itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pings {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
}

/// The layer that serves Socket.IO on its default path.
pub(crate) fn layer(admission: Arc<Admission>, entrance: Entrance, pings: Pings) -> SocketIoLayer {
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
    let on_connect = move |socket: SocketRef| {
        connected(&socket, &entrance.inbox());
        ready(())
    };
    io.ns("/", on_connect.with(admit));
    layer
}

fn connected(socket: &SocketRef, inbox: &Inbox) {
    socket.on_fallback(inbox.clone());
    let gone = inbox.clone();
    socket.on_disconnect(move |reason: DisconnectReason| {
        gone.gone(reason == DisconnectReason::ClientNSDisconnect);
        ready(())
    });
    inbox.opened(Peer::Socket(socket.clone()));
}

/// Marks the handler as one that takes events as text.
struct ByText;

impl MessageHandler<LocalAdapter, ByText> for Inbox {
    fn call(&self, _socket: Arc<Socket<LocalAdapter>>, value: Value, _ack: Option<i64>) {
        let bytes = value.as_str().map_or(0, |text| text.as_str().len());
        self.take(bytes, || match &value {
            Value::Str(text, None) => decode(text.as_str()),
            _ => Err(Malformed { in_reply_to: None, message: "binary events are not used here".to_owned() }),
        });
    }
}

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
    fn a_message_id_is_what_errors_refer_to() {
        let (_, id) = decode(r#"["events_ack",{"position":1,"meta":{"id":"m1"}}]"#).expect("an event");
        assert_eq!(id.as_deref(), Some("m1"));
        assert_eq!(decode(r#"["x",{"meta":{"id":"m2"}}]"#).expect_err("unknown").in_reply_to.as_deref(), Some("m2"));
    }
}
