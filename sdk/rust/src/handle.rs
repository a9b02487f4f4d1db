//! A handle for one run.

use std::time::Duration;

use gleitzeit_proto::convert::note_from;
use gleitzeit_proto::v1;
use gleitzeit_proto::v1::submit_workflow_request;
use gleitzeit_run::RunStatus;
use gleitzeit_workflow::spec::Note;
use serde::de::DeserializeOwned;

use crate::call;
use crate::client::Client;
use crate::convert;
use crate::error::{Error, Result};
use crate::run::{Cancelled, Run, RunEvent, TaskFilter};
use crate::submission::{Submission, random_id};
use crate::watch::Watch;

/// A handle for one run, as `submit` returns it. Dropping it does not affect the run.
#[derive(Clone, Debug)]
pub struct RunHandle {
    pub(crate) client: Client,
    pub(crate) run_id: String,
    pub(crate) correlation_id: String,
    pub(crate) status: RunStatus,
    pub(crate) duplicate: bool,
    pub(crate) notes: Vec<Note>,
}

impl Client {
    /// Submits a workflow as a new run; when this returns, the run is durable. The call is repeated if the answer was
    /// lost, unless the request id is empty.
    ///
    /// # Errors
    /// If the workflow, its inputs or files are wrong ([`Error::problems`]), a limit is exceeded, access is refused, or
    /// the control plane cannot be reached.
    pub async fn submit(&self, submission: impl Into<Submission>) -> Result<RunHandle> {
        let submission = submission.into();
        let idempotent = !submission.request_id.is_empty();
        let request = v1::SubmitWorkflowRequest {
            inputs_json: submission.inputs_json(),
            request_id: submission.request_id,
            source: Some(submit_workflow_request::Source::Yaml(submission.yaml)),
            files: submission.files.into_iter().collect(),
            labels: submission.labels.into_iter().collect(),
            file_name: submission.file_name,
        };
        let submit = |request| {
            let mut workflows = self.workflows.clone();
            async move { workflows.submit_workflow(request).await }
        };
        let answer = if idempotent {
            call::repeated(self.config(), request, submit).await?
        } else {
            call::once(self.config().call_timeout, request, submit).await?
        };
        Ok(RunHandle {
            client: self.clone(),
            run_id: answer.run_id,
            correlation_id: answer.correlation_id,
            status: convert::run_status(answer.status)?,
            duplicate: answer.duplicate,
            notes: answer.notes.into_iter().map(note_from).collect(),
        })
    }

    /// Makes a new run from a failed or cancelled one; completed tasks keep their results, unless `all`. `request_id` as for
    /// [`Submission::request_id`]; `None`: a random one.
    ///
    /// # Errors
    /// If the id is malformed, there is no such run, or it is running or completed; also as for all calls.
    pub async fn retry(&self, run_id: &str, request_id: Option<&str>, all: bool) -> Result<RunHandle> {
        let request = v1::RetryRunRequest {
            run_id: run_id.to_owned(),
            request_id: request_id.map_or_else(random_id, str::to_owned),
            all,
        };
        let retry = |request| {
            let mut workflows = self.workflows.clone();
            async move { workflows.retry_run(request).await }
        };
        let answer = call::repeated(self.config(), request, retry).await?;
        Ok(RunHandle {
            client: self.clone(),
            run_id: answer.run_id,
            correlation_id: answer.correlation_id,
            status: convert::run_status(answer.status)?,
            duplicate: answer.duplicate,
            notes: Vec::new(),
        })
    }

    /// A handle for a run that was submitted before.
    ///
    /// # Errors
    /// As [`Client::get_run`].
    pub async fn run(&self, run_id: &str) -> Result<RunHandle> {
        let run = self.read_run(run_id, Duration::ZERO, false).await?;
        Ok(RunHandle {
            client: self.clone(),
            run_id: run.run_id,
            correlation_id: run.correlation_id,
            status: run.status,
            duplicate: false,
            notes: Vec::new(),
        })
    }
}

impl RunHandle {
    /// The client that made this handle.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The run's id.
    pub fn id(&self) -> &str {
        &self.run_id
    }

    /// The trace id that logs, spans and records of this run carry.
    pub fn correlation_id(&self) -> &str {
        &self.correlation_id
    }

    /// The run's status when this handle was made.
    pub fn status(&self) -> RunStatus {
        self.status
    }

    /// Whether an earlier request with the same id had created the run.
    pub fn is_duplicate(&self) -> bool {
        self.duplicate
    }

    /// Notes on parts of the workflow that are allowed but probably not meant; empty if an earlier request had created
    /// the run.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Reads the run as it is now, with results.
    ///
    /// # Errors
    /// As [`Client::get_run`].
    pub async fn get(&self) -> Result<Run> {
        self.client.get_run(&self.run_id).await
    }

    /// Waits until the run is final and returns it; when `limit` is over, returns it as it is then.
    ///
    /// # Errors
    /// As [`Client::wait`].
    pub async fn wait(&self, limit: Option<Duration>) -> Result<Run> {
        self.client.wait(&self.run_id, limit).await
    }

    /// Follows the run from its first event.
    pub fn watch(&self) -> Watch {
        self.client.watch(&self.run_id, 0)
    }

    /// The latest progress of its open attempts.
    ///
    /// # Errors
    /// As [`Client::progress_so_far`].
    pub async fn progress_so_far(&self) -> Result<Vec<RunEvent>> {
        self.client.progress_so_far(&self.run_id, &[]).await
    }

    /// Requests the cancellation of the run.
    ///
    /// # Errors
    /// As [`Client::cancel`].
    pub async fn cancel(&self, reason: &str) -> Result<Cancelled> {
        self.client.cancel(&self.run_id, reason).await
    }

    /// Waits until the run is final and deserializes the result of a task.
    ///
    /// # Errors
    /// As [`Client::wait`]; also if the workflow has no such task, the task has no result, or the result does not have
    /// the expected type.
    pub async fn result<T: DeserializeOwned>(&self, task: &str) -> Result<T> {
        self.client.wait_without_results(&self.run_id, None).await?;
        let filter = TaskFilter { task_ids: vec![task.to_owned()], ..TaskFilter::default() };
        let page = self.client.list_tasks(&self.run_id, &filter).await?;
        let found = page.items.iter().find(|found| found.id == task);
        found.ok_or_else(|| Error::invalid(format!("run {} has no task `{task}`", self.run_id)))?.result()
    }

    /// Waits until the run is final and deserializes its outputs.
    ///
    /// # Errors
    /// As [`Client::wait`]; also if the run did not complete, declares no outputs, or they do not have the expected type.
    pub async fn outputs<T: DeserializeOwned>(&self) -> Result<T> {
        self.client.wait_without_results(&self.run_id, None).await?.outputs()
    }
}
