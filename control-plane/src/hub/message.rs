//! What reaches the hub's machine.

use std::sync::Arc;

use gleitzeit_mesh::hub::{ComponentView, Present, SocketId, Token};
use gleitzeit_mesh::wire::{CallEnd, ToHub};
use gleitzeit_protocols::Compiled;
use gleitzeit_run::{AttemptRef, ProtocolUse};
use gleitzeit_workflow::Failure;
use tokio::sync::oneshot;

use crate::hub::inbox_limits::Place;
use crate::hub::packet::AckId;
use crate::hub::peer::Peer;

/// What sockets and the API send to the machine.
#[derive(Debug)]
pub(crate) enum ToMachine {
    /// A socket was admitted.
    Connected { socket: SocketId, peer: Peer },
    /// A socket sent an event.
    Event { socket: SocketId, incoming: Incoming },
    /// The protocols of a registration were compiled, or could not be.
    Compiled { socket: SocketId, incoming: Incoming, outcome: Result<Vec<Compiled>, Failure> },
    /// A socket has more events waiting than it may.
    Flooded { socket: SocketId },
    /// A socket is gone.
    Gone { socket: SocketId, clean: bool, reason: Option<&'static str> },
    /// Entries that the machine had asked for.
    Entries { token: Token, entries: Vec<Arc<gleitzeit_run::Entry>> },
    /// The API asks which components there are.
    Components(oneshot::Sender<Vec<ComponentView>>),
    /// Asks which components are present and where these attempts are.
    Present(Vec<AttemptRef>, oneshot::Sender<Present>),
    /// Pruning asks which protocols are served.
    Served(oneshot::Sender<Vec<ProtocolUse>>),
}

/// An event received from a socket.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) place: Place,
    /// For its acknowledgement, if the client wants one.
    pub(crate) ack: Option<AckId>,
    pub(crate) event: Received,
}

/// A message that is not a valid event.
#[derive(Debug)]
pub(crate) struct Malformed {
    pub(crate) in_reply_to: Option<String>,
    pub(crate) message: String,
    /// Calls that it ends nevertheless.
    pub(crate) ends: Vec<CallEnd>,
}

impl Malformed {
    /// A message of which only the error is known.
    pub(crate) fn of(message: String) -> Self {
        Self { in_reply_to: None, message, ends: Vec::new() }
    }
}

/// An event and its `meta.id`.
pub(crate) type Received = Result<(ToHub, Option<String>), Malformed>;
