//! A run: in full, in a list, its events, and the results of submitting and cancelling it.

use std::collections::BTreeMap;

use gleitzeit_sdk::{
    Failure, Note, Payload, Run, RunEvent, RunHandle, RunStatus, RunSummary, Task, TaskStatus, Timestamp,
};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::waiting::WaitingDocument;

/// The result of a submission.
#[derive(Serialize)]
pub(crate) struct Submitted<'a> {
    pub(crate) run_id: &'a str,
    pub(crate) correlation_id: &'a str,
    pub(crate) status: RunStatus,
    /// Notes on parts of the workflow that are allowed but probably not meant, if a workflow was submitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) notes: Option<&'a [Note]>,
}

impl<'a> Submitted<'a> {
    pub(crate) fn of(run: &'a RunHandle) -> Self {
        Self { run_id: run.id(), correlation_id: run.correlation_id(), status: run.status(), notes: None }
    }
}

/// A run in full.
#[derive(Serialize)]
pub(crate) struct RunDocument<'a> {
    run_id: &'a str,
    correlation_id: &'a str,
    name: &'a str,
    status: RunStatus,
    submitted_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    outputs: Option<&'a Payload>,
    error: Option<&'a Failure>,
    /// Present only if true: the run has not ended and no process works on it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    interrupted: bool,
    tasks: Tasks<'a>,
}

/// The tasks by id, in the order of the workflow.
struct Tasks<'a>(&'a [Task]);

#[derive(Serialize)]
struct TaskDocument<'a> {
    status: TaskStatus,
    attempt: u32,
    result: Option<&'a Payload>,
    error: Option<&'a Failure>,
    waiting: Option<WaitingDocument<'a>>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
}

impl<'a> From<&'a Run> for RunDocument<'a> {
    fn from(run: &'a Run) -> Self {
        Self {
            run_id: &run.run_id,
            correlation_id: &run.correlation_id,
            name: &run.name,
            status: run.status,
            submitted_at: run.submitted_at,
            finished_at: run.finished_at,
            outputs: run.outputs.as_ref(),
            error: run.error.as_ref(),
            interrupted: run.is_interrupted(),
            tasks: Tasks(&run.tasks),
        }
    }
}

impl Serialize for Tasks<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for task in self.0 {
            map.serialize_entry(&task.id, &TaskDocument::from(task))?;
        }
        map.end()
    }
}

impl<'a> From<&'a Task> for TaskDocument<'a> {
    fn from(task: &'a Task) -> Self {
        Self {
            status: task.status,
            attempt: task.attempt,
            result: task.result.as_ref(),
            error: task.error.as_ref(),
            waiting: task.waiting.as_ref().map(WaitingDocument::from),
            started_at: task.started_at,
            finished_at: task.finished_at,
        }
    }
}

/// A run in a list.
#[derive(Serialize)]
pub(crate) struct RunItem {
    run_id: String,
    correlation_id: String,
    name: String,
    status: RunStatus,
    submitted_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    error: Option<Failure>,
    task_count: u32,
    labels: BTreeMap<String, String>,
    retry_of: Option<String>,
    /// Present only if true: the run has not ended and no process works on it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    interrupted: bool,
    /// Present if the list covers several places.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    place: Option<String>,
}

impl RunItem {
    /// Sets the place of the run.
    pub(crate) fn at(self, place: Option<String>) -> Self {
        Self { place, ..self }
    }
}

impl From<RunSummary> for RunItem {
    fn from(run: RunSummary) -> Self {
        Self {
            interrupted: run.is_interrupted(),
            place: None,
            run_id: run.run_id,
            correlation_id: run.correlation_id,
            name: run.name,
            status: run.status,
            submitted_at: run.submitted_at,
            finished_at: run.finished_at,
            error: run.error,
            task_count: run.task_count,
            labels: run.labels,
            retry_of: run.retry_of,
        }
    }
}

/// One event of `watch`.
#[derive(Serialize)]
pub(crate) struct EventDocument<'a> {
    seq: u64,
    time: Option<Timestamp>,
    r#type: &'a str,
    task_id: Option<&'a str>,
    attempt: u32,
    payload: Option<&'a Payload>,
    payload_omitted: bool,
}

impl<'a> From<&'a RunEvent> for EventDocument<'a> {
    fn from(event: &'a RunEvent) -> Self {
        Self {
            seq: event.seq,
            time: event.time,
            r#type: &event.kind,
            task_id: event.task_id.as_deref(),
            attempt: event.attempt,
            payload: event.payload.as_ref(),
            payload_omitted: event.payload_omitted,
        }
    }
}

/// The result of a cancel request.
#[derive(Serialize)]
pub(crate) struct CancelDocument<'a> {
    run_id: &'a str,
    status: RunStatus,
    open_attempts: u32,
    tasks: BTreeMap<&'a str, CancelledTask>,
}

#[derive(Serialize)]
struct CancelledTask {
    status: TaskStatus,
    attempt: u32,
}

impl<'a> CancelDocument<'a> {
    /// `open_attempts` is the number of attempts that were open when the cancel was requested.
    pub(crate) fn new(run: &'a Run, open_attempts: u32) -> Self {
        let task = |task: &'a Task| (task.id.as_str(), CancelledTask { status: task.status, attempt: task.attempt });
        Self { run_id: &run.run_id, status: run.status, open_attempts, tasks: run.tasks.iter().map(task).collect() }
    }
}
