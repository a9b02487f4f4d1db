//! Runs, their tasks and their events, as a client sees them. How a `RunEvent` is read as output stands in `output`.

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
    /// 32 hex digits: the W3C trace id that logs, spans and records of this run carry.
    pub correlation_id: String,
    /// The workflow's name.
    pub name: String,
    /// The status of the run.
    pub status: RunStatus,
    /// When the control plane accepted it.
    pub submitted_at: Option<Timestamp>,
    /// When it became final.
    pub finished_at: Option<Timestamp>,
    /// The evaluated outputs, a JSON object; `None` before the run has completed, and if the workflow declares none.
    pub outputs: Option<Payload>,
    /// Why it failed or was cancelled.
    pub error: Option<Failure>,
    /// The tasks in the order of the workflow.
    pub tasks: Vec<Task>,
    /// Whether `tasks` holds only the first tasks, because all of them would not fit into one answer.
    pub tasks_truncated: bool,
    /// How many tasks the workflow has.
    pub task_count: u32,
    /// Labels of the definition, overlaid with those of the submission.
    pub labels: BTreeMap<String, String>,
    /// The id of the run that this one repeats.
    pub retry_of: Option<String>,
    /// The number of the latest entry that this view includes; a watch from `seq + 1` continues from here.
    pub seq: u64,
}

impl Run {
    /// The task with this id.
    pub fn task(&self, id: &str) -> Option<&Task> {
        self.tasks.iter().find(|task| task.id == id)
    }

    /// Deserializes the outputs.
    ///
    /// # Errors
    /// If there are none (the run has not completed, or declares none) or they have another shape.
    pub fn outputs<T: DeserializeOwned>(&self) -> Result<T> {
        let outputs = self.outputs.as_ref().ok_or_else(|| match &self.error {
            Some(error) => Error::invalid(format!("run {} has no outputs: {}", self.run_id, error.message)),
            None => Error::invalid(format!("run {} has no outputs", self.run_id)),
        })?;
        read("the outputs", outputs)
    }
}

/// A run in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    /// UUIDv7 in its hyphenated lower-case form; ids sort by time of submission.
    pub run_id: String,
    /// 32 hex digits: the W3C trace id that logs, spans and records of this run carry.
    pub correlation_id: String,
    /// The workflow's name.
    pub name: String,
    /// The status of the run.
    pub status: RunStatus,
    /// When the control plane accepted it.
    pub submitted_at: Option<Timestamp>,
    /// When it became final.
    pub finished_at: Option<Timestamp>,
    /// Why it failed or was cancelled.
    pub error: Option<Failure>,
    /// How many tasks the workflow has.
    pub task_count: u32,
    /// Labels of the definition, overlaid with those of the submission.
    pub labels: BTreeMap<String, String>,
    /// The id of the run that this one repeats.
    pub retry_of: Option<String>,
}

impl RunSummary {
    /// Whether the control plane could not replay the run and therefore does nothing with it; `error` says why, and
    /// [`crate::Client::cancel_by_force`] ends it.
    pub fn is_set_aside(&self) -> bool {
        self.status == RunStatus::Running && self.error.is_some() && !self.is_interrupted()
    }

    /// Whether the run has not ended and, according to its store, no process works on it; `error` says how to continue it.
    /// Control planes never report this for the runs that they serve.
    pub fn is_interrupted(&self) -> bool {
        is_interrupted(self.status, self.error.as_ref())
    }
}

impl Run {
    /// As [`RunSummary::is_set_aside`]; such a run has no tasks here.
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
    /// The task's id in the workflow.
    pub id: String,
    /// The status of the task.
    pub status: TaskStatus,
    /// Number of the latest attempt; 0 before the first, and for a result carried over from a repeated run.
    pub attempt: u32,
    /// Any JSON value; `None` until the task has completed, if results were not requested, and if the result was left
    /// out.
    pub result: Option<Payload>,
    /// Whether a requested result was too large for the answer: read it with `list_tasks`.
    pub result_omitted: bool,
    /// The failure of the latest attempt; once the task is final, why it failed or was skipped.
    pub error: Option<Failure>,
    /// What the task waits for; `None` if it waits for nothing.
    pub waiting: Option<Waiting>,
    /// When the latest attempt began to run.
    pub started_at: Option<Timestamp>,
    /// When the task became final.
    pub finished_at: Option<Timestamp>,
    /// The full name of the method that it calls, such as `llm/chat`.
    pub method: String,
    /// The queue that it waits or waited in.
    pub queue: String,
    /// The id of the engine that holds or held the latest attempt.
    pub engine: Option<String>,
    /// The tasks that must complete before it; empty unless [`TaskFilter::with_dependencies`] asked for them.
    pub dependencies: Vec<String>,
    /// The name of the provider that must serve it, if the workflow names one.
    pub provider: Option<String>,
}

impl Task {
    /// Deserializes the result.
    ///
    /// # Errors
    /// If there is no result or it does not have the expected type.
    pub fn result<T: DeserializeOwned>(&self) -> Result<T> {
        let result = self.result.as_ref().ok_or_else(|| match &self.error {
            Some(error) => Error::invalid(format!("task `{}` has no result: {}", self.id, error.message)),
            None => Error::invalid(format!("task `{}` has no result", self.id)),
        })?;
        read(&format!("the result of task `{}`", self.id), result)
    }
}

fn read<T: DeserializeOwned>(what: &str, json: &Payload) -> Result<T> {
    json.read().map_err(|error| Error::invalid(format!("{what} does not have the expected type: {error}")))
}

/// What an unfinished run or task waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// A description for people.
    pub reason: String,
    /// When the wait began.
    pub since: Option<Timestamp>,
    /// When the wait ends at the latest.
    pub until: Option<Timestamp>,
    /// What would end the wait; `None` if it ends by itself.
    pub remedy: Option<String>,
}

/// Why a run, or one of its tasks, has not ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The id of the run.
    pub run_id: String,
    /// The workflow's name.
    pub name: String,
    /// The status of the run.
    pub status: RunStatus,
    /// What the run as a whole waits for; `None` if it is final.
    pub waiting: Option<Waiting>,
    /// Why the run failed or was cancelled.
    pub error: Option<Failure>,
    /// If a task was asked about: that task, then the tasks that it waits for. Otherwise the tasks that block the run.
    pub tasks: Vec<Task>,
    /// How many more such tasks there are.
    pub more_tasks: u32,
    /// How many tasks of the run only wait for other tasks.
    pub dependent_tasks: u32,
}

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunEvent {
    /// The number among the entries of the run, from 1, without gaps; 0 for `method_progress`, which is not recorded.
    pub seq: u64,
    /// When it was recorded.
    pub time: Option<Timestamp>,
    /// The kind of event, such as `task_completed`; ignore kinds that you do not know.
    pub kind: String,
    /// The id of the task that it is about; `None` if it is about the run.
    pub task_id: Option<String>,
    /// The number of the attempt that it is about; 0 if it is about none.
    pub attempt: u32,
    /// The event's data as JSON.
    pub payload: Option<Payload>,
    /// Whether the data was left out because it was too large.
    pub payload_omitted: bool,
}

/// Which runs to list; a run must satisfy every condition that is set.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Runs with any of these statuses; empty means all.
    pub statuses: Vec<RunStatus>,
    /// Runs of workflows with exactly this name.
    pub name: Option<String>,
    /// Runs with all of these labels and values.
    pub labels: BTreeMap<String, String>,
    /// Runs submitted at this time or later.
    pub submitted_after: Option<Timestamp>,
    /// Runs submitted before this time.
    pub submitted_before: Option<Timestamp>,
    /// Runs whose id begins with this text.
    pub run_id_prefix: Option<String>,
    /// The number of runs on a page, at most 1,000; 0 means 100.
    pub page_size: u32,
    /// The token from the previous page.
    pub page_token: Option<String>,
}

/// Which tasks of a run to list.
#[derive(Clone, Debug, Default)]
pub struct TaskFilter {
    /// Tasks with any of these statuses; empty means all.
    pub statuses: Vec<TaskStatus>,
    /// Tasks with any of these ids; empty means all.
    pub task_ids: Vec<String>,
    /// Leave out the results.
    pub without_results: bool,
    /// Include the tasks that each one depends on.
    pub with_dependencies: bool,
    /// The number of tasks on a page, at most 1,000; 0 means 100.
    pub page_size: u32,
    /// The token from the previous page.
    pub page_token: Option<String>,
}

/// The outcome of a cancel request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled {
    /// `Cancelled`, or `Running` while attempts are being stopped.
    pub status: RunStatus,
    /// How many attempts are being stopped.
    pub open_attempts: u32,
}
