//! The state of a slice, as a new owner receives it in `state` pages.

use std::sync::Arc;

use gleitzeit_workflow::error::Failure;
use gleitzeit_workflow::id::{MethodName, ProviderName, QueueName, TaskId};
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::spec::{Priority, RetryPolicy};
use serde::{Deserialize, Serialize};

use crate::TaskStatus;
use crate::event::{StopReason, WorkflowSubmitted};
use crate::id::{Attempt, AttemptRef, ComponentId, Position, RunId};

/// Everything an owner of a slice needs, at one position of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceState {
    /// Entries up to here are included.
    pub position: Position,
    /// In the order in which they must be taken in.
    pub items: Vec<SliceItem>,
}

/// One item of a slice's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SliceItem {
    /// Queue: a task that is in the queue's care (ready, in backoff, or open).
    QueueTask(QueueTask),
    /// Queue: an open attempt of any queue, for counting slots and methods.
    OpenAttempt(OpenAttempt),
    /// Shard: an unfinished run; its tasks' facts follow.
    Run(RunHeader),
    /// Shard: a task that is no longer waiting.
    Task(TaskFact),
}

/// A task in a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueTask {
    /// The run.
    pub run_id: RunId,
    /// The task.
    pub task_id: TaskId,
    /// What will be called.
    pub method: MethodName,
    /// The only providers that may serve it, by name; absent: all that serve the method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderName>,
    /// Higher goes first.
    pub priority: Priority,
    /// Position of its `task_ready`: the order of submission.
    pub order: Position,
    /// How long it has been in the queue.
    pub age_ms: u64,
    /// What happens after a failure.
    pub retry: RetryPolicy,
    /// The latest attempt; 0 before the first.
    pub attempt: Attempt,
    /// How many attempts failed of themselves.
    pub failures: u32,
    /// How many attempts were lost or stopped.
    pub losses: u32,
    /// Those: which attempt, on which engine, and why. Named if the task fails because of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<(Attempt, ComponentId, StopReason)>,
    /// Where it stands.
    pub status: QueueTaskStatus,
}

/// Where a task in a queue stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueTaskStatus {
    /// It can be dispatched.
    Ready,
    /// It can be dispatched after what is left of its delay.
    Backoff {
        /// 0 if it is over.
        remaining_ms: u64,
    },
    /// An engine holds the lease of the latest attempt.
    Open {
        /// Who.
        engine: ComponentId,
    },
    /// The latest attempt ended and the owner has to decide.
    Ended(AttemptEnd),
}

/// How an attempt ended without a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptEnd {
    /// It failed of itself.
    Failed {
        /// Why.
        error: Failure,
        /// Whether trying again can help.
        retryable: bool,
        /// A lower bound for the delay.
        #[serde(default)]
        retry_after_ms: Option<u64>,
    },
    /// It was lost or stopped.
    Stopped {
        /// Why.
        reason: StopReason,
        /// Who held the lease.
        engine: ComponentId,
    },
}

/// An open attempt of any queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenAttempt {
    /// Which.
    #[serde(rename = "ref")]
    pub at: AttemptRef,
    /// Who holds the lease.
    pub engine: ComponentId,
    /// What is called.
    pub method: MethodName,
    /// The only providers that may serve it, by name; absent: all that serve the method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderName>,
    /// The task's queue.
    pub queue: QueueName,
}

/// An unfinished run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunHeader {
    /// Which.
    pub run_id: RunId,
    /// What it was submitted with.
    pub submitted: Arc<WorkflowSubmitted>,
    /// What is left of the run's time; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
    /// Whether it was asked to end.
    pub cancel_requested: bool,
}

/// What a resolver has to know of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskFact {
    /// The run.
    pub run_id: RunId,
    /// The task.
    pub task_id: TaskId,
    /// Where it stands.
    pub status: TaskStatus,
    /// Its result, if it completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Payload>,
}
