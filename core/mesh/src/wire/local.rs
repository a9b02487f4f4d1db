//! The mesh within one process: the same events between the same state machines, passed as values instead of text.
//!
//! A hub offers it, and roles in its process use it to join. The rules of sockets hold here too: events of one socket
//! keep their order, and either side may end it at any time, after which the component reconnects on a new one.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::wire::{FromHub, ToHub};

/// A hub that roles of its own process can join.
pub trait LocalHub: fmt::Debug + Send + Sync {
    /// Opens a socket. The first event on it is `welcome`; a hub that has ended closes it at once.
    fn connect(&self) -> Box<dyn LocalSocket>;
}

/// The component's end of a socket. Dropping it counts as a lost connection; [`LocalSocket::leave`] ends it cleanly.
pub trait LocalSocket: fmt::Debug + Send {
    /// Passes an event to the hub, in the order of the calls. Whether the hub still takes it shows only in what comes
    /// back.
    fn send(&self, message: ToHub);

    /// The next event; `None` once the hub has closed the socket.
    fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Arc<FromHub>>>;

    /// The next event if one is available.
    fn try_recv(&mut self) -> Option<Arc<FromHub>>;

    /// Leaves the hub: the component will not reconnect.
    fn leave(self: Box<Self>);
}
