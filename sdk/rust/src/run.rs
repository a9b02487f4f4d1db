//! Runs, their tasks and their events as a client sees them.

use std::collections::BTreeMap;

use gleitzeit_run::{RunStatus, TaskStatus};
use gleitzeit_workflow::{ErrorCode, Failure, Payload, Timestamp};
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// One submission of a workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// UUIDv7 in its hyphenated lower-case form; ids sort by time of submission.
    pub run_id: String,
    /// 32 hex digits: the W3C trace id that everything about this run carries.
    pub correlation_id: String,
    /// The workflow's name.
    pub name: String,
    /// Where it stands.
    pub status: RunStatus,
    /// When it was accepted.
    pub submitted_at: Option<Timestamp>,
    /// When it became final.
    pub finished_at: Option<Timestamp>,
    /// The evaluated outputs: a JSON object; none until the run completed, and if the workflow declares none.
    pub outputs: Option<Payload>,
    /// Why it failed or was cancelled.
    pub error: Option<Failure>,
    /// In the order of the workflow.
    pub tasks: Vec<Task>,
    /// Whether `tasks` holds only the first ones, because all of them were too large for one answer.
    pub tasks_truncated: bool,
    /// How many tasks the workflow has.
    pub task_count: u32,
    /// Labels of the definition, overlaid with those of the submission.
    pub labels: BTreeMap<String, String>,
    /// The run that this one repeats.
    pub retry_of: Option<String>,
    /// Place of the latest entry that this view includes: watching from `seq + 1` continues from here.
    pub seq: u64,
}

impl Run {
    /// The task with this id.
    pub fn task(&self, id: &str) -> Option<&Task> {
        self.tasks.iter().find(|task| task.id == id)
    }

    /// The outputs as a type of the caller.
    ///
    /// # Errors
    /// If there are none (the run is not completed, or declares none) or they have another shape.
    pub fn outputs<T: DeserializeOwned>(&self) -> Result<T> {
        let outputs = self.outputs.as_ref().ok_or_else(|| match &self.error {
            Some(error) => Error::invalid(format!("run {} has no outputs: {}", self.run_id, error.message)),
            None => Error::invalid(format!("run {} has no outputs", self.run_id)),
        })?;
        read("the outputs", outputs)
    }
}

/// A run as it stands in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    /// As in [`Run`].
    pub run_id: String,
    /// As in [`Run`].
    pub correlation_id: String,
    /// As in [`Run`].
    pub name: String,
    /// As in [`Run`].
    pub status: RunStatus,
    /// As in [`Run`].
    pub submitted_at: Option<Timestamp>,
    /// As in [`Run`].
    pub finished_at: Option<Timestamp>,
    /// As in [`Run`].
    pub error: Option<Failure>,
    /// As in [`Run`].
    pub task_count: u32,
    /// As in [`Run`].
    pub labels: BTreeMap<String, String>,
    /// As in [`Run`].
    pub retry_of: Option<String>,
}

impl RunSummary {
    /// Whether the control plane could not replay it and does nothing with it; `error` says why, and
    /// [`crate::Client::cancel_by_force`] ends it.
    pub fn is_set_aside(&self) -> bool {
        self.status == RunStatus::Running && self.error.is_some() && !self.is_interrupted()
    }

    /// Whether it has not ended and nobody works on it, as far as its store says; `error` says how it goes on. Control
    /// planes never say so of the runs that they serve.
    pub fn is_interrupted(&self) -> bool {
        is_interrupted(self.status, self.error.as_ref())
    }
}

impl Run {
    /// As [`RunSummary::is_set_aside`]; there are no tasks here then.
    pub fn is_set_aside(&self) -> bool {
        self.status == RunStatus::Running && self.error.is_some() && !self.is_interrupted()
    }

    /// As [`RunSummary::is_interrupted`].
    pub fn is_interrupted(&self) -> bool {
        is_interrupted(self.status, self.error.as_ref())
    }
}

fn is_interrupted(status: RunStatus, error: Option<&Failure>) -> bool {
    status == RunStatus::Running && error.and_then(Failure::known) == Some(ErrorCode::WorkflowInterrupted)
}

/// One task of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its id in the workflow.
    pub id: String,
    /// Where it stands.
    pub status: TaskStatus,
    /// Number of the latest attempt; 0 before the first, and for a result carried over from a repeated run.
    pub attempt: u32,
    /// Any JSON value; none until the task completed, if results were not asked for, and if it was left out.
    pub result: Option<Payload>,
    /// Whether there is a result that was asked for but was too large for the answer: read it with `list_tasks`.
    pub result_omitted: bool,
    /// The failure of the latest attempt; in the end why the task failed or was skipped.
    pub error: Option<Failure>,
    /// What it waits for.
    pub waiting: Option<Waiting>,
    /// When the latest attempt began to run.
    pub started_at: Option<Timestamp>,
    /// When the task became final.
    pub finished_at: Option<Timestamp>,
    /// What it calls.
    pub method: String,
    /// The queue it waits or waited in.
    pub queue: String,
    /// The engine that holds or held the latest attempt.
    pub engine: Option<String>,
    /// The tasks that must complete before it; empty unless [`TaskFilter::with_dependencies`] asked for them.
    pub dependencies: Vec<String>,
    /// The provider that is to serve it, if its workflow names one.
    pub provider: Option<String>,
}

impl Task {
    /// The result as a type of the caller.
    ///
    /// # Errors
    /// If there is none or it has another shape.
    pub fn result<T: DeserializeOwned>(&self) -> Result<T> {
        let result = self.result.as_ref().ok_or_else(|| match &self.error {
            Some(error) => Error::invalid(format!("task `{}` has no result: {}", self.id, error.message)),
            None => Error::invalid(format!("task `{}` has no result", self.id)),
        })?;
        read(&format!("the result of task `{}`", self.id), result)
    }
}

fn read<T: DeserializeOwned>(what: &str, json: &Payload) -> Result<T> {
    json.read().map_err(|error| Error::invalid(format!("{what} has another shape: {error}")))
}

/// The one thing that a state which is not final waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// For people: what is awaited.
    pub reason: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Until when at most.
    pub until: Option<Timestamp>,
    /// What would end the wait; none if it ends by itself.
    pub remedy: Option<String>,
}

/// Why a run, or one of its tasks, has not ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// As in [`Run`].
    pub run_id: String,
    /// As in [`Run`].
    pub name: String,
    /// As in [`Run`].
    pub status: RunStatus,
    /// What the run as a whole waits for; none if it is final.
    pub waiting: Option<Waiting>,
    /// As in [`Run`].
    pub error: Option<Failure>,
    /// For a task: that task, then those because of which it waits. Else the tasks that hold the run up.
    pub tasks: Vec<Task>,
    /// How many more of them there are.
    pub more_tasks: u32,
    /// How many tasks of the run only wait for other tasks.
    pub dependent_tasks: u32,
}

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunEvent {
    /// Place among the entries of the run, from 1, without gaps; 0 for `method_progress`, which is not recorded.
    pub seq: u64,
    /// When it was recorded.
    pub time: Option<Timestamp>,
    /// What happened, such as `task_completed`; ignore kinds you do not know.
    pub kind: String,
    /// The task it speaks of; none if it speaks of the run.
    pub task_id: Option<String>,
    /// The attempt it speaks of; 0 if it speaks of none.
    pub attempt: u32,
    /// The event's data.
    pub payload: Option<Payload>,
    /// Whether the data was too large and left out.
    pub payload_omitted: bool,
}

/// Which runs to list; a run is listed if everything that is set holds.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Any of these; empty: all.
    pub statuses: Vec<RunStatus>,
    /// The workflow's name, exactly.
    pub name: Option<String>,
    /// All of these labels with these values.
    pub labels: BTreeMap<String, String>,
    /// Submitted at this time or later.
    pub submitted_after: Option<Timestamp>,
    /// Submitted before this time.
    pub submitted_before: Option<Timestamp>,
    /// The run's id begins with this.
    pub run_id_prefix: Option<String>,
    /// How many, at most 1,000; 0: 100.
    pub page_size: u32,
    /// The token of the page before.
    pub page_token: Option<String>,
}

/// Which tasks of a run to list.
#[derive(Clone, Debug, Default)]
pub struct TaskFilter {
    /// Any of these; empty: all.
    pub statuses: Vec<TaskStatus>,
    /// Any of these ids; empty: all.
    pub task_ids: Vec<String>,
    /// Leave the results out.
    pub without_results: bool,
    /// Say which tasks each one waits for.
    pub with_dependencies: bool,
    /// How many, at most 1,000; 0: 100.
    pub page_size: u32,
    /// The token of the page before.
    pub page_token: Option<String>,
}

/// What became of a cancel request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled {
    /// `Cancelled`, or `Running` while attempts are being stopped.
    pub status: RunStatus,
    /// How many attempts are being stopped.
    pub open_attempts: u32,
}
