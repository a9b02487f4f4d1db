//! The mesh client: one Socket.IO connection that reconnects by itself.
//!
//! It moves `(event name, one JSON object)` both ways and knows nothing of roles or of what messages mean. It speaks
//! Socket.IO v4 (protocol 5) over a WebSocket of its own rather than through `rust_socketio`. That client parses every
//! body into a tree and copies it (tried: 30-digit integers become floats, an event holding `1e400` disappears
//! silently), flushes each message alone, and leaves Nagle's algorithm on, so that a small message may wait some 40 ms
//! for the acknowledgement of the one before it.
//!
//! Invariants: everything runs inside the caller's [`Driver`] future, nothing is spawned; messages arrive in the order
//! the hub sent them; after [`LinkEvent::Disconnected`] nothing of the old connection follows; nothing is sent on a
//! connection whose [`LinkEvent::Connected`] the receiver has not seen yet.

pub mod memory;

mod backoff;
mod cause;
mod config;
mod driver;
mod frame;
mod link;
mod probe;
mod pulse;
mod reach;
mod secret;
mod token;
mod transport;

pub use cause::{Cause, Speech, proxy, without_secrets};
pub use config::{ConfigError, LinkConfig, base_url};
pub use driver::{Driver, connect};
pub use gleitzeit_tls::Trust;
pub use link::{Link, LinkEvent, LinkEvents, SendError};
pub use probe::{HTTP2, PROBE_LIMIT, ask_ready, front_page, look, probe, probe_tls};
pub use pulse::Pulse;
pub use reach::{Found, Lacks};
pub use secret::{SecretFile, TokenProblem, check_token, read_token};
pub use token::{TokenFile, TokenSource, check_private, variable};

/// Reads a frame as a connection does. Public for fuzzing.
#[doc(hidden)]
pub fn read_frame(text: &str) -> Option<(std::borrow::Cow<'_, str>, &str)> {
    let frame::Packet::Event(event) = frame::parse(text) else { return None };
    let event = frame::event(event).ok()?;
    let body = event.body()?;
    Some((event.name, body))
}
