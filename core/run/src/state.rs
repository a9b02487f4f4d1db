//! The state of one run: a fold of its entries.

use std::sync::Arc;

use gleitzeit_workflow::error::Failure;
use gleitzeit_workflow::graph::Graph;
use gleitzeit_workflow::id::QueueName;
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::spec::{Priority, Task, Workflow};
use gleitzeit_workflow::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::{StopReason, WorkflowCancelRequested, WorkflowSubmitted};
use crate::id::{Attempt, ComponentId, Position, RunId, Seq};
use crate::tasks::Tasks;

/// The status of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum RunStatus {
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl RunStatus {
    /// Whether the run has ended.
    pub fn is_final(self) -> bool {
        self != Self::Running
    }
}

/// The status of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// It waits for its dependencies.
    Waiting,
    /// It is in its queue and can be dispatched.
    Ready,
    /// An engine holds the lease of its latest attempt.
    Dispatched,
    /// An engine holds the lease, and reported that the attempt has started.
    Running,
    /// An attempt ended without a result; the task continues after a delay or after the queue owner's decision.
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
    /// Whether the task has ended.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Skipped | Self::Cancelled)
    }

    /// Whether an engine holds the lease of an attempt.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Dispatched | Self::Running)
    }
}

/// The state of one task of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskState {
    /// The task's status.
    pub status: TaskStatus,
    /// The latest attempt; 0 before the first.
    pub attempt: Attempt,
    /// How many attempts failed by themselves.
    pub failures: u32,
    /// How many attempts were lost or stopped.
    pub losses: u32,
    /// Dependencies that have not completed yet.
    pub missing_dependencies: u32,
    /// The queue that the task was made ready in.
    pub queue: Option<QueueName>,
    /// Its priority in that queue.
    pub priority: Priority,
    /// The engine that holds or held the lease of the latest attempt.
    pub engine: Option<ComponentId>,
    /// The resolved parameters, from ready until the task is final.
    pub parameters: Option<Payload>,
    /// When `task_ready` was recorded.
    pub ready_at: Option<Timestamp>,
    /// Position of its `task_ready` entry, which orders the tasks of a queue.
    pub ready_position: Position,
    /// When the latest attempt was dispatched.
    pub dispatched_at: Option<Timestamp>,
    /// Position of its `task_dispatched` entry; 0 before the first attempt.
    pub dispatch_position: Position,
    /// When the latest attempt started.
    pub started_at: Option<Timestamp>,
    /// When it became final.
    pub finished_at: Option<Timestamp>,
    /// In backoff, after the queue owner's decision: the time before which it is not dispatched. `None` in backoff
    /// means that the decision is outstanding.
    pub not_before: Option<Timestamp>,
    /// The last attempt's failure, or the final error.
    pub error: Option<Failure>,
    /// In backoff after a failure, before the queue owner's decision: whether another attempt may succeed.
    pub retryable: bool,
    /// A lower bound for the delay in milliseconds, set by the provider.
    pub retry_after_ms: Option<u64>,
    /// Why the latest attempt was stopped, if it was.
    pub stopped: Option<StopReason>,
    /// Each lost or stopped attempt: number, engine and reason. The error lists them if there are too many.
    pub stops: Vec<(Attempt, ComponentId, StopReason)>,
    /// The failed task that caused it to be skipped.
    pub skipped_because: Option<gleitzeit_workflow::id::TaskId>,
    /// The result, once completed.
    pub result: Option<Payload>,
}

/// The state of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The run's id.
    pub run_id: RunId,
    /// The run's status.
    pub status: RunStatus,
    /// What it was submitted with.
    pub submitted: Arc<WorkflowSubmitted>,
    /// Number of its latest entry.
    pub seq: Seq,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When it became final.
    pub finished_at: Option<Timestamp>,
    /// The first request to end it.
    pub cancel: Option<WorkflowCancelRequested>,
    /// The tasks, by their index in the workflow.
    pub tasks: Tasks,
    /// The outputs, once completed.
    pub outputs: Option<Payload>,
    /// Why it failed or was cancelled.
    pub error: Option<Failure>,
    /// The dependency graph.
    pub(super) graph: Arc<Graph>,
    /// How many tasks are not final.
    pub(super) unfinished: usize,
    /// How many attempts are open.
    pub(super) open: usize,
    /// The first task that failed for good, by index.
    pub(super) failed: Option<usize>,
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

    /// Whether an attempt ended and the queue owner has not decided yet what follows.
    pub fn is_undecided(&self) -> bool {
        self.status == TaskStatus::Backoff && self.not_before.is_none()
    }
}

impl State {
    /// The state of a new run.
    pub fn new(run_id: RunId, submitted: Arc<WorkflowSubmitted>, submitted_at: Timestamp) -> Self {
        let graph = submitted.graph();
        let tasks: Tasks = submitted
            .workflow
            .tasks
            .iter()
            .enumerate()
            .map(|(at, task)| TaskState::waiting(graph.dependencies(at).len(), task.priority))
            .collect();
        Self {
            run_id,
            status: RunStatus::Running,
            seq: Seq::default(),
            submitted_at,
            finished_at: None,
            cancel: None,
            unfinished: tasks.len(),
            tasks,
            outputs: None,
            error: None,
            graph,
            open: 0,
            failed: None,
            submitted,
        }
    }

    /// The run's own copy of the definition.
    pub fn workflow(&self) -> &Workflow {
        &self.submitted.workflow
    }

    /// The definition of a task.
    pub fn task(&self, at: usize) -> &Task {
        &self.submitted.workflow.tasks[at]
    }

    /// The index of a task.
    pub fn index_of(&self, id: &str) -> Option<usize> {
        self.graph.index_of(id)
    }

    /// The dependency graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// How many tasks are not final.
    pub fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// How many attempts are open.
    pub fn open_attempts(&self) -> usize {
        self.open
    }

    /// The time that the run has left, in milliseconds; `None` without a limit.
    pub fn remaining_ms(&self, now: Timestamp) -> Option<u64> {
        self.workflow().timeout_ms.map(|limit| limit.saturating_sub(now.ms_since(self.submitted_at)))
    }
}
