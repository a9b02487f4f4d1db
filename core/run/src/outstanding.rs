//! Outstanding work: for each task that is not final, the one thing that must happen next, derived from the same state
//! that `decide` uses.

use gleitzeit_workflow::time::Timestamp;

use crate::id::ComponentId;
use crate::state::State;
use crate::task::TaskStatus;

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
        let task = &self.tasks[at];
        let engine = || task.engine.clone().unwrap_or_else(|| ComponentId::from(""));
        match task.status {
            TaskStatus::Waiting if task.missing_dependencies > 0 => Some(Owed::Dependencies),
            TaskStatus::Waiting => Some(Owed::Ready),
            TaskStatus::Ready => Some(Owed::Dispatch { not_before: None }),
            TaskStatus::Backoff if task.not_before.is_none() => Some(Owed::Decision),
            TaskStatus::Backoff => Some(Owed::Dispatch { not_before: task.not_before }),
            TaskStatus::Dispatched | TaskStatus::Running if self.cancel.is_some() => {
                Some(Owed::Stop { engine: engine() })
            }
            TaskStatus::Dispatched | TaskStatus::Running => Some(Owed::Report { engine: engine() }),
            TaskStatus::Completed | TaskStatus::Failed | TaskStatus::Skipped | TaskStatus::Cancelled => None,
        }
    }

    /// Everything that is outstanding for this run, by task index.
    pub fn outstanding(&self) -> impl Iterator<Item = (usize, Owed)> + '_ {
        (0..self.tasks.len()).filter_map(|at| Some((at, self.owed(at)?)))
    }
}
