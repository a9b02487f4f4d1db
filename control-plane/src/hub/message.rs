//! What reaches the hub's machine.

use std::sync::Arc;

use gleitzeit_mesh::hub::{ComponentView, Present, SocketId};
use gleitzeit_mesh::wire::{CallEnd, ToHub};
use gleitzeit_protocols::Compiled;
use gleitzeit_run::{AttemptRef, ProtocolUse};
use gleitzeit_workflow::Failure;
use tokio::sync::oneshot;

use crate::hub::peer::Peer;
use crate::hub::waiting::Place;

/// What reaches the machine from sockets and the API.
#[derive(Debug)]
pub(crate) enum ToMachine {
    /// A socket was admitted.
    Connected { socket: SocketId, peer: Peer },
    /// A socket sent something.
    Event { socket: SocketId, heard: Heard },
    /// The protocols that a registration brings were compiled, or cannot be.
    Compiled { socket: SocketId, heard: Heard, outcome: Result<Vec<Compiled>, Failure> },
    /// A socket has more waiting than it may.
    Flooded { socket: SocketId },
    /// A socket is gone.
    Gone { socket: SocketId, clean: bool, reason: Option<&'static str> },
    /// Entries that the machine asked for.
    Entries { token: u64, entries: Vec<Arc<gleitzeit_run::Entry>> },
    /// The API wants to know who is there.
    Components(oneshot::Sender<Vec<ComponentView>>),
    /// Somebody wants to know what is awaited, and where these attempts are.
    Present(Vec<AttemptRef>, oneshot::Sender<Present>),
    /// Pruning wants to know which protocols are served.
    Served(oneshot::Sender<Vec<ProtocolUse>>),
}

/// What a socket said.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) place: Place,
    /// The number by which it is to be acknowledged, if it is.
    pub(crate) ack: Option<u64>,
    pub(crate) event: Received,
}

/// Something that is no event of ours.
#[derive(Debug)]
pub(crate) struct Malformed {
    pub(crate) in_reply_to: Option<String>,
    pub(crate) message: String,
    /// Calls that it ends nevertheless.
    pub(crate) ends: Vec<CallEnd>,
}

impl Malformed {
    /// Something of which no more is known than what is wrong with it.
    pub(crate) fn of(message: String) -> Self {
        Self { in_reply_to: None, message, ends: Vec::new() }
    }
}

/// An event and its `meta.id`.
pub(crate) type Received = Result<(ToHub, Option<String>), Malformed>;
