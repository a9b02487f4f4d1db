//! What the writer is asked to do. One bounded channel carries all of it, so that its order is the order of the journal.

use std::sync::Arc;
use std::time::Duration;

use gleitzeit_mesh::hub::{Output, Token};
use gleitzeit_run::ledger::Backlog;
use gleitzeit_run::{ComponentId, ProtocolUse, Request, RunId, Slice, State, Verdict};
use gleitzeit_workflow::ProtocolName;
use tokio::sync::oneshot;

use super::{Pruned, PrunedProtocols, StoreError, Subscription};

/// One piece of work for the writer.
#[derive(Debug)]
pub enum Work {
    /// The hub: record something; the answer stands in a `Batch`.
    Request {
        /// For the answer.
        token: Token,
        /// What.
        request: Request,
    },
    /// The hub: a slice's state, answered after everything that was asked before.
    QuerySlice {
        /// For the answer.
        token: Token,
        /// Which.
        slice: Slice,
    },
    /// The hub: what an engine is owed, answered after everything that was asked before.
    QueryEngine {
        /// For the answer.
        token: Token,
        /// Which.
        engine: ComponentId,
    },
    /// The hub: an engine is there, with so many slots.
    EngineConnected {
        /// Which.
        engine: ComponentId,
        /// 0 while it drains.
        slots: u32,
    },
    /// The hub: an engine is not there.
    EngineGone {
        /// Which.
        engine: ComponentId,
    },
    /// The API: record something.
    Propose {
        /// What.
        request: Request,
        /// Where the answer goes once it is durable.
        reply: oneshot::Sender<Verdict>,
    },
    /// What waits in each queue.
    Backlog {
        /// Where the answer goes.
        reply: oneshot::Sender<Vec<Backlog>>,
    },
    /// The API: a run that is held.
    ReadRun {
        /// Which.
        run_id: RunId,
        /// Gets none if the run is not held: it ended long ago or is not known.
        reply: oneshot::Sender<Option<Arc<State>>>,
    },
    /// The API: a run, once it has ended.
    AwaitEnd {
        /// Which.
        run_id: RunId,
        /// Gets none at once if the run is not held: it ended long ago or is not known.
        reply: oneshot::Sender<Option<Arc<State>>>,
    },
    /// The API: from now on, what is committed of a run.
    Watch {
        /// Which.
        run_id: RunId,
        /// Gets none if the run does not go on: it has ended or is not known.
        reply: oneshot::Sender<Option<Subscription>>,
    },
    /// Remove finished runs that ended so long ago: one small step.
    Prune {
        /// How long ago, by the journal's clock.
        older_than: Duration,
        /// Gets what was done, or that there was no room to do it.
        reply: oneshot::Sender<Result<Pruned, StoreError>>,
    },
    /// Remove protocols that nobody has used for so long: one small step.
    PruneProtocols {
        /// For how long, by the journal's clock.
        unused: Duration,
        /// When providers served which.
        served: Vec<ProtocolUse>,
        /// Gets what was done, or that there was no room to do all of it.
        reply: oneshot::Sender<Result<PrunedProtocols, StoreError>>,
    },
    /// Never remove these protocols: a start makes them known again.
    KeepProtocols(Vec<ProtocolName>),
    /// See whether the store is still there; without it there is no going on.
    Confirm,
    /// Say that the writer goes on.
    Answer(oneshot::Sender<()>),
    /// Take no more work, do what is waiting, and end.
    Stop,
}

impl Work {
    /// What the hub's machine wants of the writer; anything else is given back.
    ///
    /// # Errors
    /// The output, if it is not for the writer.
    #[expect(clippy::result_large_err, reason = "it is handed on, not propagated")]
    pub fn from_hub(output: Output) -> Result<Self, Output> {
        Ok(match output {
            Output::Request { token, request } => Self::Request { token, request },
            Output::QuerySlice { token, slice } => Self::QuerySlice { token, slice },
            Output::QueryEngine { token, engine } => Self::QueryEngine { token, engine },
            Output::EngineConnected { engine, slots } => Self::EngineConnected { engine, slots },
            Output::EngineGone { engine } => Self::EngineGone { engine },
            other => return Err(other),
        })
    }
}
