//! Outstanding work: for each task that is not final, the one thing that must happen next, derived from the same state
//! that `decide` uses.

use gleitzeit_workflow::time::Timestamp;

use crate::id::ComponentId;
use crate::phase::Phase;
use crate::state::State;

/// What must happen next to a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owed {
    /// Its dependencies must complete.
    Dependencies,
    /// The resolver of its shard must make it ready.
    Ready,
    /// The owner of its queue must dispatch it, but not before a given time.
    Dispatch {
        /// The end of a retry's delay; `None` if it may be dispatched now.
        not_before: Option<Timestamp>,
    },
    /// The owner of its queue must decide what follows the ended attempt.
    Decision,
    /// The engine must report the end of the attempt.
    Report {
        /// The engine that holds the lease.
        engine: ComponentId,
    },
    /// The engine must stop the attempt, since the run is to end.
    Stop {
        /// The engine that holds the lease.
        engine: ComponentId,
    },
}

impl State {
    /// What must happen next to a task; `None` if it is final.
    pub fn owed(&self, at: usize) -> Option<Owed> {
        match self.tasks[at].phase() {
            Phase::Waiting if self.dependencies.are_met(at) => Some(Owed::Ready),
            Phase::Waiting => Some(Owed::Dependencies),
            Phase::Queued { not_before } => Some(Owed::Dispatch { not_before: *not_before }),
            Phase::Open(lease) if self.cancel.is_some() => Some(Owed::Stop { engine: lease.engine.clone() }),
            Phase::Open(lease) => Some(Owed::Report { engine: lease.engine.clone() }),
            Phase::Ended(_) => Some(Owed::Decision),
            Phase::Final { .. } => None,
        }
    }

    /// Everything that is outstanding for this run, by task index.
    pub fn outstanding(&self) -> impl Iterator<Item = (usize, Owed)> + '_ {
        (0..self.tasks.len()).filter_map(|at| Some((at, self.owed(at)?)))
    }
}
