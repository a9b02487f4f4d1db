//! What goes into the hub's state machine and what comes out of it.

use std::sync::Arc;

use gleitzeit_run::id::{ComponentId, Position, Slice};
use gleitzeit_run::ledger::{Effect, SliceState};
use gleitzeit_run::{Entry, Request, Verdict};
use gleitzeit_workflow::error::Failure;

use crate::wire::{FromHub, ToHub};

/// Names one socket; never used twice in the life of a hub.
pub type SocketId = u64;

/// Names a request of the hub to the writer until it is answered; never used twice in the life of a hub.
pub type Token = u64;

/// What the writer committed in one transaction, in order.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// In the order of their positions, without gaps to the batch before.
    pub entries: Vec<Arc<Entry>>,
    /// What engines must be told because of them, in order.
    pub effects: Vec<Effect>,
    /// Answers to the hub's requests that were decided in this batch, in order.
    pub answers: Vec<(Token, Verdict)>,
}

/// What happens to the hub. All answers of the writer come in the order in which it gave them.
#[derive(Clone, Debug)]
pub enum Input {
    /// A socket was admitted.
    Connected {
        /// Which.
        socket: SocketId,
        /// Whether its component is in this process: it is handed entries as they are instead of as text.
        is_within: bool,
    },
    /// A socket sent an event.
    Received {
        /// Which.
        socket: SocketId,
        /// What.
        message: ToHub,
        /// Its `meta.id`, for `mesh_error`.
        message_id: Option<String>,
    },
    /// A socket sent something that is no event of ours; the error is sent back.
    Malformed {
        /// Which.
        socket: SocketId,
        /// What it sent, for `mesh_error`.
        in_reply_to: Option<String>,
        /// What is wrong with it.
        message: String,
    },
    /// A socket wanted to register with something that the shell found to be invalid.
    Unregistrable {
        /// Which.
        socket: SocketId,
        /// What is wrong with it.
        error: Failure,
    },
    /// A socket is gone.
    Disconnected {
        /// Which.
        socket: SocketId,
        /// Whether the peer said goodbye.
        clean: bool,
        /// What ended the connection, for the log, if it is known.
        reason: Option<&'static str>,
    },
    /// The writer committed.
    Committed(Arc<Batch>),
    /// The hub will be stopped in a moment: what is on its way is still passed on, but nothing is begun.
    Stopping,
    /// The writer's answer to [`Output::QuerySlice`].
    SliceState {
        /// Which query.
        token: Token,
        /// At one position, after all batches before this input.
        state: SliceState,
    },
    /// The writer's answer to [`Output::QueryEngine`].
    EngineState {
        /// Which query.
        token: Token,
        /// What the engine is owed: `Execute` for each open attempt, `Cancel` for those to be stopped.
        effects: Vec<Effect>,
    },
    /// Finished runs were removed from the store.
    Pruned {
        /// Entries up to here may be gone.
        through: Position,
    },
    /// The store's answer to [`Output::ReadEntries`]: consecutive but for what was pruned, at least one unless the journal
    /// ends there.
    Entries {
        /// Which query.
        token: Token,
        /// In order.
        entries: Vec<Arc<Entry>>,
    },
}

/// What the hub wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send an event to a socket.
    Send {
        /// Which.
        socket: SocketId,
        /// What.
        message: Arc<FromHub>,
    },
    /// Close a socket; a `Disconnected` for it need not follow.
    Close {
        /// Which.
        socket: SocketId,
        /// Its component must not connect again by itself; else it may, and will.
        for_good: bool,
        /// For the log.
        reason: String,
    },
    /// Ask the journal to record something; the answer comes in a [`Batch`].
    Request {
        /// For the answer.
        token: Token,
        /// What.
        request: Request,
    },
    /// Ask the writer for a slice's state.
    QuerySlice {
        /// For the answer.
        token: Token,
        /// Which.
        slice: Slice,
    },
    /// Ask the writer what an engine is owed.
    QueryEngine {
        /// For the answer.
        token: Token,
        /// Which.
        engine: ComponentId,
    },
    /// Tell the writer that an engine is there with this many slots (again, if they change); in order with `Request`.
    EngineConnected {
        /// Which.
        engine: ComponentId,
        /// Its capacity; 0 while draining.
        slots: u32,
    },
    /// Tell the writer that an engine is not there (silent or lost).
    EngineGone {
        /// Which.
        engine: ComponentId,
    },
    /// Read entries from the store, for a cursor that lags behind what is kept in memory.
    ReadEntries {
        /// For the answer.
        token: Token,
        /// The first position wanted.
        from: Position,
        /// At most this many.
        limit: usize,
    },
    /// Output of a running call, for watchers of the run; may be lost.
    Progress {
        /// Of which attempt.
        at: gleitzeit_run::id::AttemptRef,
        /// Any JSON value.
        data: gleitzeit_workflow::payload::Payload,
    },
    /// Something an operator should see.
    Log {
        /// Whether it is a warning (something was lost or refused) rather than life cycle.
        warning: bool,
        /// A constant sentence.
        message: &'static str,
        /// Which component or socket, and what.
        detail: String,
    },
}
