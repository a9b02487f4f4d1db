//! The state of one run: a fold of its entries.

use std::sync::Arc;

use gleitzeit_workflow::error::Failure;
use gleitzeit_workflow::graph::Graph;
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::spec::{Task, Workflow};
use gleitzeit_workflow::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::chunks::Chunks;
use crate::dependencies::Dependencies;
use crate::event::{WorkflowCancelRequested, WorkflowSubmitted};
use crate::id::{RunId, Seq};
use crate::instance::Instance;

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

/// What is known of one run. Its methods stand with their subject: `transition`, `outstanding`, `explain`.
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
    pub tasks: Chunks<Instance>,
    /// The outputs, once completed.
    pub outputs: Option<Payload>,
    /// Why it failed or was cancelled.
    pub error: Option<Failure>,
    /// Which tasks are final, and what that means for those behind them.
    pub(super) dependencies: Dependencies,
    /// How many tasks are not final.
    pub(super) unfinished: usize,
    /// How many attempts are open.
    pub(super) open: usize,
    /// The first task that failed for good, by index.
    pub(super) failed: Option<usize>,
}

impl State {
    /// The state of a new run.
    pub fn new(run_id: RunId, submitted: Arc<WorkflowSubmitted>, submitted_at: Timestamp) -> Self {
        let tasks: Chunks<Instance> = submitted.workflow.tasks.iter().map(|_| Instance::waiting()).collect();
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
            dependencies: Dependencies::new(submitted.graph()),
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
        self.graph().index_of(id)
    }

    /// The dependency graph.
    pub fn graph(&self) -> &Graph {
        self.dependencies.graph()
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
