//! Inputs and outputs of the hub's state machine.

use std::fmt;
use std::sync::Arc;

use gleitzeit_run::id::{ComponentId, Position, Slice};
use gleitzeit_run::ledger::{Effect, SliceState};
use gleitzeit_run::{Entry, Request, Verdict};
use gleitzeit_workflow::error::Failure;

use crate::wire::{FromHub, ToHub};

/// Identifies a socket; never reused while a hub runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketId(pub u64);

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identifies a request of the hub to the writer until it is answered; never reused while a hub runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// The result of one transaction of the writer, in order.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The entries, in the order of their positions, without a gap after the previous batch.
    pub entries: Vec<Arc<Entry>>,
    /// The messages for engines that the entries cause, in order.
    pub effects: Vec<Effect>,
    /// The answers to those of the hub's requests that were decided in this batch, in order.
    pub answers: Vec<(Token, Verdict)>,
}

/// An input of the hub. The writer's answers arrive in the order in which it gave them.
#[derive(Clone, Debug)]
pub enum Input {
    /// A socket was admitted.
    Connected {
        /// The new socket.
        socket: SocketId,
        /// Whether its component runs in this process: it then receives entries as shared values instead of text.
        is_within: bool,
    },
    /// A socket sent an event.
    Received {
        /// The socket.
        socket: SocketId,
        /// The event.
        message: ToHub,
        /// The event's `meta.id`, for `mesh_error`.
        message_id: Option<String>,
    },
    /// A socket sent something that is not a mesh event; the error is sent back.
    Malformed {
        /// The socket.
        socket: SocketId,
        /// The `meta.id` or name of what it sent, for `mesh_error`.
        in_reply_to: Option<String>,
        /// The error message.
        message: String,
    },
    /// A socket tried to register with data that the shell found to be invalid.
    Unregistrable {
        /// The socket.
        socket: SocketId,
        /// What is wrong with the registration.
        error: Failure,
    },
    /// A socket was closed.
    Disconnected {
        /// The socket.
        socket: SocketId,
        /// Whether the peer announced that it is leaving.
        clean: bool,
        /// Why the connection ended, for the log, if known.
        reason: Option<&'static str>,
    },
    /// The writer committed a batch.
    Committed(Arc<Batch>),
    /// The hub is about to stop: messages in transit are still delivered, but nothing new is begun.
    Stopping,
    /// The writer's answer to [`Output::QuerySlice`].
    SliceState {
        /// The token of the query.
        token: Token,
        /// The slice's state, which includes all batches before this input.
        state: SliceState,
    },
    /// The writer's answer to [`Output::QueryEngine`].
    EngineState {
        /// The token of the query.
        token: Token,
        /// The messages that the engine is owed: `Execute` for each open attempt, `Cancel` for those that must stop.
        effects: Vec<Effect>,
    },
    /// Finished runs were removed from the store.
    Pruned {
        /// Entries up to this position may have been removed.
        through: Position,
    },
    /// The store's answer to [`Output::ReadEntries`]: consecutive entries except for those that were pruned, and at
    /// least one unless the journal ends there.
    Entries {
        /// The token of the query.
        token: Token,
        /// The entries, in order.
        entries: Vec<Arc<Entry>>,
    },
}

/// An action that the hub requests.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send an event to a socket.
    Send {
        /// The socket.
        socket: SocketId,
        /// The event.
        message: Arc<FromHub>,
    },
    /// Close a socket. A `Disconnected` for it need not follow.
    Close {
        /// The socket.
        socket: SocketId,
        /// Whether its component must not reconnect by itself; otherwise it may, and will.
        for_good: bool,
        /// The reason, for the log.
        reason: String,
    },
    /// Ask the journal to record something; the answer comes in a [`Batch`].
    Request {
        /// Identifies the answer.
        token: Token,
        /// The request.
        request: Request,
    },
    /// Ask the writer for a slice's state.
    QuerySlice {
        /// Identifies the answer.
        token: Token,
        /// The slice.
        slice: Slice,
    },
    /// Ask the writer for the messages that an engine is owed.
    QueryEngine {
        /// Identifies the answer.
        token: Token,
        /// The engine.
        engine: ComponentId,
    },
    /// Tell the writer that an engine is connected with this many slots, and again if they change. The order relative
    /// to `Request` matters.
    EngineConnected {
        /// The engine.
        engine: ComponentId,
        /// The number of its slots; 0 while it drains.
        slots: u32,
    },
    /// Tell the writer that an engine is not connected (silent or lost).
    EngineGone {
        /// The engine.
        engine: ComponentId,
    },
    /// Read entries from the store, for a cursor that is behind the entries in memory.
    ReadEntries {
        /// Identifies the answer.
        token: Token,
        /// The first position wanted.
        from: Position,
        /// The maximum number of entries.
        limit: usize,
    },
    /// Output of a running call, for watchers of the run; may be dropped.
    Progress {
        /// The attempt.
        at: gleitzeit_run::id::AttemptRef,
        /// Any JSON value.
        data: gleitzeit_workflow::payload::Payload,
    },
    /// A log message for the operator.
    Log {
        /// Whether it is a warning (something was lost or refused) rather than a life cycle event.
        warning: bool,
        /// A constant sentence.
        message: &'static str,
        /// The component or socket, and details.
        detail: String,
    },
}
