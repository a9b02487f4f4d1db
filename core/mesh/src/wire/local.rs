//! The mesh inside one process: the same events between the same machines, handed over as they are instead of as text.
//!
//! A hub offers it, roles in its process join by it. What holds for a socket holds here: events of one socket keep
//! their order, and either side may end it at any time, after which the component comes back on a new one.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::wire::{FromHub, ToHub};

/// A hub that roles of its own process can join.
pub trait LocalHub: fmt::Debug + Send + Sync {
    /// Opens a socket. The first that comes over it is `welcome`; a hub that has ended closes it at once.
    fn connect(&self) -> Box<dyn LocalSocket>;
}

/// One component's end of a socket. Dropped, it was lost; [`LocalSocket::leave`] is the goodbye.
pub trait LocalSocket: fmt::Debug + Send {
    /// Hands an event over, in the order of the calls. Whether the hub still takes it shows only by what comes back.
    fn send(&self, message: ToHub);

    /// The next event; `None` once the hub has closed the socket.
    fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Arc<FromHub>>>;

    /// The next event if there is one already.
    fn try_recv(&mut self) -> Option<Arc<FromHub>>;

    /// Says goodbye: the component will not come back.
    fn leave(self: Box<Self>);
}
