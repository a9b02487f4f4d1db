//! The hub's end of a socket: sends events to a component, and ends its connection.

use std::fmt;
use std::sync::Arc;

use gleitzeit_mesh::wire::{FromHub, MeshError, Meta, with_meta};
use gleitzeit_workflow::tagged::Body;
use serde_json::value::to_raw_value;
use tokio::sync::mpsc;

use crate::connection::Connection;
use crate::hub::packet::{self, AckId};

/// One socket.
#[derive(Debug)]
pub(crate) enum Peer {
    /// A Socket.IO socket: events are written as text.
    Socket(Box<dyn Handle>),
    /// A component in this process: events are handed over as they are. Dropping the sender closes the socket.
    Local(mpsc::Sender<Arc<FromHub>>),
}

/// A socket of Socket.IO as the machine holds it: what is joined to a connection, until it leaves.
pub(crate) trait Handle: fmt::Debug + Send + Sync {
    /// Whether it is still there.
    fn is_connected(&self) -> bool;

    /// Queues a packet.
    ///
    /// # Errors
    /// If it cannot be queued; see [`NotTaken`].
    fn emit(&self, packet: String) -> Result<(), NotTaken>;

    /// Acknowledges an event.
    fn acknowledge(&self, ack: AckId, refusal: Option<&MeshError>) {
        // A full socket is closed at the next event that it misses; acknowledgements carry no state.
        self.emit(packet::acknowledgement(ack, refusal)).ok();
    }

    /// Removes the socket from the namespace, so that its client stays away.
    ///
    /// # Errors
    /// If the packet cannot be queued now.
    fn disconnect(&self) -> Result<(), NotTaken>;

    /// Its TCP connection, if it has one of its own.
    fn own_connection(&self) -> Option<&Connection>;
}

/// Why a packet was not queued.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// The socket has left.
    Gone,
    /// Too many packets wait for the socket.
    Full,
}

/// Why an event was not sent.
#[derive(Debug)]
pub(crate) enum NotSent {
    /// The socket is gone; the end of its connection is reported separately, with the reason.
    Gone,
    /// The socket does not take what it is sent.
    Slow(String),
}

impl Peer {
    /// Sends an event; `meta` is what the hub adds to its text. Returns the number of bytes written.
    ///
    /// # Errors
    /// If it cannot be sent now. The socket must then be closed: anything sent later would be out of order.
    pub(crate) fn send(&self, message: &Arc<FromHub>, meta: impl FnOnce() -> Meta) -> Result<usize, NotSent> {
        match self {
            Self::Local(events) => match events.try_send(message.clone()) {
                Ok(()) => Ok(0),
                Err(mpsc::error::TrySendError::Closed(_)) => Err(NotSent::Gone),
                Err(error @ mpsc::error::TrySendError::Full(_)) => Err(NotSent::Slow(error.to_string())),
            },
            Self::Socket(socket) => {
                // Calls already carry a `meta` of their own, which says more.
                let raw = match &**message {
                    FromHub::ExecuteMethod(_) => to_raw_value(&Body(&**message)),
                    other => Ok(with_meta(other, &meta())),
                };
                let raw = raw.map_err(|error| NotSent::Slow(error.to_string()))?;
                match socket.emit(packet::event(message.kind(), raw.get())) {
                    Ok(()) => Ok(raw.get().len()),
                    Err(NotTaken::Gone) => Err(NotSent::Gone),
                    Err(NotTaken::Full) => Err(NotSent::Slow("too many packets wait for it".to_owned())),
                }
            }
        }
    }

    /// Drops the connection, so that the component reconnects. False if the socket has no connection of its own.
    pub(crate) fn cut(&self) -> bool {
        if matches!(self, Self::Local(_)) {
            return true;
        }
        self.connection().inspect(|connection| connection.cut()).is_some()
    }

    /// The connection that only this socket uses, if there is one.
    pub(crate) fn connection(&self) -> Option<&Connection> {
        let Self::Socket(socket) = self else { return None };
        socket.own_connection()
    }
}
