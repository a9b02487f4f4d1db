//! What is known of one task of a run.

use gleitzeit_workflow::error::Failure;
use gleitzeit_workflow::id::{QueueName, TaskId};
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::spec::Priority;
use gleitzeit_workflow::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::StopReason;
use crate::id::{Attempt, ComponentId, Position};

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// For its dependencies.
    Waiting,
    /// In its queue.
    Ready,
    /// An engine holds the lease.
    Dispatched,
    /// An engine holds the lease and said that it runs.
    Running,
    /// An attempt ended without a result; it goes on after a delay or the queue owner's decision.
    Backoff,
    /// It has a result.
    Completed,
    /// It failed for good.
    Failed,
    /// One it depends on failed.
    Skipped,
    /// Its run was cancelled.
    Cancelled,
}

impl TaskStatus {
    /// Whether nothing can change any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Skipped | Self::Cancelled)
    }

    /// Whether an engine holds a lease on it.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Dispatched | Self::Running)
    }
}

/// What is known of one task of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskState {
    /// Where it stands.
    pub status: TaskStatus,
    /// The latest attempt; 0 before the first.
    pub attempt: Attempt,
    /// How many attempts failed of themselves.
    pub failures: u32,
    /// How many attempts were lost or stopped.
    pub losses: u32,
    /// Dependencies that have not completed yet.
    pub missing_dependencies: u32,
    /// The queue it was readied into.
    pub queue: Option<QueueName>,
    /// Its priority in that queue.
    pub priority: Priority,
    /// Who holds or held the lease of the latest attempt.
    pub engine: Option<ComponentId>,
    /// The resolved parameters, from ready until the task is final.
    pub parameters: Option<Payload>,
    /// When `task_ready` was recorded.
    pub ready_at: Option<Timestamp>,
    /// Where `task_ready` stands: the order of submission within its queue.
    pub ready_position: Position,
    /// When the latest attempt was dispatched.
    pub dispatched_at: Option<Timestamp>,
    /// Where its `task_dispatched` stands; 0 before the first.
    pub dispatch_position: Position,
    /// When the latest attempt began to run.
    pub started_at: Option<Timestamp>,
    /// When it became final.
    pub finished_at: Option<Timestamp>,
    /// In backoff after the queue owner's decision: not before this. `None` in backoff: the decision is outstanding.
    pub not_before: Option<Timestamp>,
    /// The last attempt's failure, or the final error.
    pub error: Option<Failure>,
    /// In backoff before the queue owner's decision, after a failure: what the provider said about trying again.
    pub retryable: bool,
    /// A lower bound for the delay, named by the provider.
    pub retry_after_ms: Option<u64>,
    /// Why the latest attempt was stopped, if it was.
    pub stopped: Option<StopReason>,
    /// Each attempt that was lost or stopped, for the error when there are too many: number, engine and reason.
    pub stops: Vec<(Attempt, ComponentId, StopReason)>,
    /// The failed task because of which it was skipped.
    pub skipped_because: Option<TaskId>,
    /// The result, once completed.
    pub result: Option<Payload>,
}

impl TaskState {
    pub(super) fn waiting(missing_dependencies: usize, priority: Priority) -> Self {
        Self {
            status: TaskStatus::Waiting,
            attempt: 0,
            failures: 0,
            losses: 0,
            missing_dependencies: u32::try_from(missing_dependencies).unwrap_or(u32::MAX),
            queue: None,
            priority,
            engine: None,
            parameters: None,
            ready_at: None,
            ready_position: Position::default(),
            dispatched_at: None,
            dispatch_position: Position::default(),
            started_at: None,
            finished_at: None,
            not_before: None,
            error: None,
            retryable: false,
            retry_after_ms: None,
            stopped: None,
            stops: Vec::new(),
            skipped_because: None,
            result: None,
        }
    }

    /// Whether an attempt ended and the queue owner has not yet said what happens next.
    pub fn is_undecided(&self) -> bool {
        self.status == TaskStatus::Backoff && self.not_before.is_none()
    }
}
