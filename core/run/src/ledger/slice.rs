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

/// Everything that the owner of a slice needs, at one position of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceState {
    /// Entries up to this position are included.
    pub position: Position,
    /// The items, in the order in which they must be processed.
    pub items: Vec<SliceItem>,
}

/// One item of a slice's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SliceItem {
    /// Queue: a task in this queue (ready, in backoff, open, or waiting for a decision).
    QueueTask(QueueTask),
    /// Queue: an open attempt of any queue, to count slots and calls of a method.
    OpenAttempt(OpenAttempt),
    /// Shard: an unfinished run; the facts about its tasks follow.
    Run(RunHeader),
    /// Shard: a task that is no longer waiting.
    Task(TaskFact),
}

/// A task in a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueTask {
    /// The task's run.
    pub run_id: RunId,
    /// The task.
    pub task_id: TaskId,
    /// The method that will be called.
    pub method: MethodName,
    /// The only providers that may serve it, by name; absent: all that serve the method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderName>,
    /// Tasks with a higher priority go first.
    pub priority: Priority,
    /// Position of its `task_ready` entry, which orders the tasks of a queue.
    pub order: Position,
    /// How long it has been in the queue, in milliseconds.
    pub age_ms: u64,
    /// How failed attempts are retried.
    pub retry: RetryPolicy,
    /// The latest attempt; 0 before the first.
    pub attempt: Attempt,
    /// How many attempts failed by themselves.
    pub failures: u32,
    /// How many attempts were lost or stopped.
    pub losses: u32,
    /// The lost or stopped attempts, each with its engine and the reason. The error names them if the task fails
    /// because of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<(Attempt, ComponentId, StopReason)>,
    /// The task's status in the queue.
    pub status: QueueTaskStatus,
}

/// The status of a task in a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueTaskStatus {
    /// It can be dispatched.
    Ready,
    /// It can be dispatched once its delay is over.
    Backoff {
        /// What is left of the delay in milliseconds; 0 if it is over.
        remaining_ms: u64,
    },
    /// An engine holds the lease of the latest attempt.
    Open {
        /// The engine that holds the lease.
        engine: ComponentId,
    },
    /// The latest attempt ended and the owner has to decide.
    Ended(AttemptEnd),
}

/// How an attempt ended without a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptEnd {
    /// It failed by itself.
    Failed {
        /// The error.
        error: Failure,
        /// Whether another attempt may succeed.
        retryable: bool,
        /// A lower bound for the delay in milliseconds, set by the provider.
        #[serde(default)]
        retry_after_ms: Option<u64>,
    },
    /// It was lost or stopped.
    Stopped {
        /// Why it ended.
        reason: StopReason,
        /// The engine that held the lease.
        engine: ComponentId,
    },
}

/// An open attempt of any queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenAttempt {
    /// The attempt.
    #[serde(rename = "ref")]
    pub at: AttemptRef,
    /// The engine that holds the lease.
    pub engine: ComponentId,
    /// The method that is called.
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
    /// The run.
    pub run_id: RunId,
    /// What it was submitted with.
    pub submitted: Arc<WorkflowSubmitted>,
    /// The time that the run has left, in milliseconds; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
    /// Whether it was asked to end.
    pub cancel_requested: bool,
}

/// What a resolver needs to know about a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskFact {
    /// The task's run.
    pub run_id: RunId,
    /// The task.
    pub task_id: TaskId,
    /// The task's status.
    pub status: TaskStatus,
    /// Its result, if it completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Payload>,
}
