//! Requests to the writer. One bounded channel carries all of them, so that their order is the order of the journal.

use std::sync::Arc;
use std::time::Duration;

use gleitzeit_mesh::hub::{Output, Token};
use gleitzeit_run::ledger::Backlog;
use gleitzeit_run::{ComponentId, ProtocolUse, Request, RunId, Slice, State, Verdict};
use gleitzeit_workflow::ProtocolName;
use tokio::sync::oneshot;

use super::{Pruned, PrunedProtocols, StoreError, Subscription};

/// One request to the writer.
#[derive(Debug)]
pub enum Work {
    /// From the hub: record something; the answer is in a `Batch`.
    Request {
        /// Identifies the answer.
        token: Token,
        /// What to record.
        request: Request,
    },
    /// From the hub: the state of a slice, answered after all earlier requests.
    QuerySlice {
        /// Identifies the answer.
        token: Token,
        /// The slice.
        slice: Slice,
    },
    /// From the hub: what an engine is owed, answered after all earlier requests.
    QueryEngine {
        /// Identifies the answer.
        token: Token,
        /// The engine.
        engine: ComponentId,
    },
    /// From the hub: an engine is connected.
    EngineConnected {
        /// The engine.
        engine: ComponentId,
        /// The number of its slots; 0 while it drains.
        slots: u32,
    },
    /// From the hub: an engine is gone.
    EngineGone {
        /// The engine.
        engine: ComponentId,
    },
    /// From the API: record something.
    Propose {
        /// What to record.
        request: Request,
        /// Receives the verdict once it is durable.
        reply: oneshot::Sender<Verdict>,
    },
    /// The tasks that wait in each queue.
    Backlog {
        /// Receives the backlog.
        reply: oneshot::Sender<Vec<Backlog>>,
    },
    /// From the API: read a run that the writer holds.
    ReadRun {
        /// The run to end.
        run_id: RunId,
        /// Receives the run; `None` if the writer does not hold it, because it ended long ago or does not exist.
        reply: oneshot::Sender<Option<Arc<State>>>,
    },
    /// From the API: wait for the end of a run.
    AwaitEnd {
        /// The run to end.
        run_id: RunId,
        /// Receives the ended run; `None` at once if the writer does not hold it, because it ended long ago or does not
        /// exist.
        reply: oneshot::Sender<Option<Arc<State>>>,
    },
    /// From the API: subscribe to what is committed of a run.
    Watch {
        /// The run to end.
        run_id: RunId,
        /// Receives the subscription; `None` if the run has ended or does not exist.
        reply: oneshot::Sender<Option<Subscription>>,
    },
    /// Remove finished runs of a certain age: one small step.
    Prune {
        /// How long ago a run must have ended, by the journal's clock.
        older_than: Duration,
        /// Receives what was done, or the error that there was no room for it.
        reply: oneshot::Sender<Result<Pruned, StoreError>>,
    },
    /// Remove protocols that have been unused for a certain time: one small step.
    PruneProtocols {
        /// How long a protocol must have been unused, by the journal's clock.
        unused: Duration,
        /// When providers served which protocols.
        served: Vec<ProtocolUse>,
        /// Receives what was done, or the error that there was no room for all of it.
        reply: oneshot::Sender<Result<PrunedProtocols, StoreError>>,
    },
    /// Never remove these protocols: they are registered again at each start.
    KeepProtocols(Vec<ProtocolName>),
    /// Check that the store is still in place; the writer ends if it is not.
    Confirm,
    /// Reply, to show that the writer is working.
    Answer(oneshot::Sender<()>),
    /// Take no more requests, finish those that are waiting, and end.
    Stop,
}

impl Work {
    /// Converts an output of the hub's machine into a request to the writer.
    ///
    /// # Errors
    /// Returns the output if it is not for the writer.
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
