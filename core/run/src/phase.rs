//! The phase of a task: what is true of it now. What holds in every phase is in its history (`instance.rs`).

use gleitzeit_workflow::error::Failure;
use gleitzeit_workflow::id::TaskId;
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{Attempt, ComponentId, Position};

/// What is true of a task now. Each variant holds what is only known in it.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// Its dependencies are not done, or its resolver has not made it ready.
    Waiting,
    /// It waits in its queue.
    Queued {
        /// After a failed attempt: the end of the delay, before which it is not dispatched.
        not_before: Option<Timestamp>,
    },
    /// An engine holds a lease on it.
    Open(Lease),
    /// Its attempt ended without a result, and the owner of its queue decides what follows.
    Ended(Box<Ended>),
    /// Nothing can change any more.
    Final {
        /// What became of it.
        outcome: Outcome,
        /// When.
        at: Timestamp,
    },
}

/// An attempt, and the engine that works or worked on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The attempt's number, from 1.
    pub attempt: Attempt,
    /// The engine that holds it.
    pub engine: ComponentId,
    /// The position of its `task_dispatched` entry.
    pub position: Position,
    /// When it was dispatched.
    pub dispatched_at: Timestamp,
    /// When a provider began to work on it, if that was reported.
    pub started_at: Option<Timestamp>,
}

/// An attempt that ended without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The attempt.
    pub lease: Lease,
    /// How it ended.
    pub how: Ending,
}

/// How an attempt ended without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It failed by itself.
    Failed {
        /// The error.
        error: Failure,
        /// Whether another attempt may succeed.
        retryable: bool,
        /// A lower bound for the delay in milliseconds, set by the provider.
        retry_after_ms: Option<u64>,
    },
    /// It was lost or stopped; the last of the task's stops says why.
    Stopped,
}

/// What became of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has a result.
    Completed {
        /// The result: any JSON value.
        result: Payload,
    },
    /// It failed for good.
    Failed {
        /// The final error.
        error: Failure,
    },
    /// It could not run.
    Skipped {
        /// The failed task that it depends on, directly or not.
        because: TaskId,
    },
    /// Its run was cancelled.
    Cancelled,
}

impl Phase {
    /// The word for this phase in the API.
    pub fn status(&self) -> TaskStatus {
        match self {
            Self::Waiting => TaskStatus::Waiting,
            Self::Queued { not_before: None } => TaskStatus::Ready,
            Self::Queued { not_before: Some(_) } | Self::Ended(_) => TaskStatus::Backoff,
            Self::Open(Lease { started_at: None, .. }) => TaskStatus::Dispatched,
            Self::Open(Lease { started_at: Some(_), .. }) => TaskStatus::Running,
            Self::Final { outcome, .. } => outcome.status(),
        }
    }
}

impl Outcome {
    /// The word for this outcome in the API.
    pub fn status(&self) -> TaskStatus {
        match self {
            Self::Completed { .. } => TaskStatus::Completed,
            Self::Failed { .. } => TaskStatus::Failed,
            Self::Skipped { .. } => TaskStatus::Skipped,
            Self::Cancelled => TaskStatus::Cancelled,
        }
    }
}

/// The phase of a task in one word, as the API and the mesh say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// Its dependencies are not done, or its resolver has not made it ready.
    Waiting,
    /// It waits in its queue.
    Ready,
    /// An engine holds a lease on it.
    Dispatched,
    /// An engine holds a lease on it, and a provider works on it.
    Running,
    /// An attempt ended without a result; the next one waits for a decision or for the end of a delay.
    Backoff,
    /// It has a result.
    Completed,
    /// It failed for good.
    Failed,
    /// A task that it depends on failed.
    Skipped,
    /// Its run was cancelled.
    Cancelled,
}

impl TaskStatus {
    /// Whether nothing can change any more.
    pub fn is_final(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Skipped | Self::Cancelled => true,
            Self::Waiting | Self::Ready | Self::Dispatched | Self::Running | Self::Backoff => false,
        }
    }

    /// Whether an engine holds a lease on it.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Dispatched | Self::Running)
    }
}
