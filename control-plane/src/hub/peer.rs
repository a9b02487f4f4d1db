//! The hub's end of a socket: sends events to a component, and ends its connection.

use std::sync::Arc;

use axum::extract::ConnectInfo;
use gleitzeit_mesh::wire::{FromHub, Meta, with_meta};
use gleitzeit_workflow::tagged::Body;
use serde_json::value::to_raw_value;
use tokio::sync::mpsc;

use crate::connection::Connection;
use crate::hub::packet;
use crate::hub::socket::{Handle, NotTaken};

/// One socket.
#[derive(Debug)]
pub(crate) enum Peer {
    /// A Socket.IO socket: events are written as text.
    Socket(Handle),
    /// A component in this process: events are handed over as they are. Dropping the sender closes the socket.
    Local(mpsc::Sender<Arc<FromHub>>),
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
        socket.own_connection::<ConnectInfo<Connection>>().map(|ConnectInfo(connection)| connection)
    }
}
