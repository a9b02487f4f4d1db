//! Reads, lists and cancels runs.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use gleitzeit_mesh::hub::Present;
use gleitzeit_proto::convert::{self, RunOptions};
use gleitzeit_proto::{status, v1};
use gleitzeit_run as run;
use gleitzeit_run::command::CancelWorkflow;
use gleitzeit_run::event::CancelCause;
use gleitzeit_run::{AttemptRef, RunId, RunStatus, Verdict};
use gleitzeit_workflow::{ErrorCode, Failure};
use tokio::time::timeout;
use tonic::Status;

use crate::api::{State, journal_status, no_hub, page, run_id};
use crate::journal::{RunFilter, RunRow};

/// The longest a long poll waits.
const MAX_WAIT: Duration = Duration::from_secs(60);
const MAX_REASON_BYTES: usize = 1_024;
const MAX_TASK_IDS: usize = 1_000;
/// The most open attempts of a run whose engines are looked up.
const MAX_ATTEMPTS: usize = 1_000;

impl State {
    /// The current state of a run.
    pub(super) async fn find(&self, run_id: RunId) -> Result<Arc<run::State>, Status> {
        self.refuse_aside(run_id)?;
        let found = self.0.journal.run(run_id).await.map_err(|error| journal_status(&error))?;
        found.ok_or_else(|| status::not_found_run(run_id))
    }

    /// Refuses a request that needs the entries of a run that could not be replayed.
    pub(super) fn refuse_aside(&self, run_id: RunId) -> Result<(), Status> {
        match self.0.journal.aside().get(&run_id) {
            Some(why) => Err(status::to_status(&set_aside(run_id, why))),
            None => Ok(()),
        }
    }

    /// The row of a run that is set aside, or was until it was ended by force; `None` for any other run.
    async fn unfolded(&self, run_id: RunId) -> Result<Option<RunRow>, Status> {
        let aside = self.0.journal.aside();
        let row = self.0.journal.row(run_id).await.map_err(|error| journal_status(&error))?;
        Ok(row.map(|row| marked(row, &aside)).filter(|row| {
            row.error.as_ref().is_some_and(|error| error.known() == Some(ErrorCode::PersistenceIntegrityError))
        }))
    }

    pub(super) async fn get(&self, request: v1::GetRunRequest) -> Result<v1::GetRunResponse, Status> {
        let id = run_id(&request.run_id)?;
        let waits = request.wait.is_some_and(|wait| wait.seconds > 0 || wait.nanos > 0);
        let refused = match self.get_folded(id, request).await {
            Err(refused) => refused,
            found => return found,
        };
        match self.unfolded(id).await? {
            // The run never ends by itself, so a caller that waits for its end must get the error.
            Some(row) if waits && !row.status.is_final() => Err(refused),
            Some(row) => Ok(v1::GetRunResponse { run: Some(listed(&row)) }),
            None => Err(refused),
        }
    }

    async fn get_folded(&self, id: RunId, request: v1::GetRunRequest) -> Result<v1::GetRunResponse, Status> {
        self.refuse_aside(id)?;
        let wait = match request.wait {
            Some(wait) => Duration::try_from(wait)
                .map_err(|_| status::malformed("wait", "expected a duration that is not negative"))?,
            None => Duration::ZERO,
        };
        let ended = if wait.is_zero() { None } else { self.wait_for_end(id, wait.min(MAX_WAIT)).await? };
        let run = match ended {
            Some(run) => run,
            None => self.find(id).await?,
        };
        let present = self.present(&run).await?;
        let include_results = request.include_results.unwrap_or(true);
        let options = RunOptions { present: &present, include_results, max_bytes: page::ANSWER_BYTES };
        Ok(v1::GetRunResponse { run: Some(self.known_run(convert::run(&run, &options))) })
    }

    /// Which components are connected, if the run may wait for any, and where its open attempts are.
    pub(super) async fn present(&self, run: &run::State) -> Result<Present, Status> {
        if run.status.is_final() {
            return Ok(Present::default());
        }
        let open = (0..run.tasks.len()).filter(|&at| run.tasks[at].open().is_some()).take(MAX_ATTEMPTS);
        let attempts = open.map(|at| AttemptRef {
            run_id: run.run_id,
            task_id: run.task(at).id.clone(),
            attempt: run.tasks[at].attempt(),
        });
        self.0.hub.present(attempts.collect()).await.ok_or_else(no_hub)
    }

    /// The run once it is final; `None` if the time runs out first, the server stops, or the run does not exist.
    async fn wait_for_end(&self, id: RunId, wait: Duration) -> Result<Option<Arc<run::State>>, Status> {
        tokio::select! {
            ended = timeout(wait, self.0.journal.ended(id)) => match ended {
                Ok(ended) => ended.map_err(|error| journal_status(&error)),
                Err(_) => Ok(None),
            },
            () = self.0.stopping.cancelled() => Ok(None),
        }
    }

    pub(super) async fn list(&self, request: v1::ListRunsRequest) -> Result<v1::ListRunsResponse, Status> {
        let Listing { filter, after, size, of } = Listing::new(&request, "runs")?;
        let rows = self.0.journal.list_runs(filter, after, size + 1).await.map_err(|error| journal_status(&error))?;
        let aside = self.0.journal.aside();
        Ok(listing(rows.into_iter().map(|row| marked(row, &aside)).collect(), size, &of))
    }

    pub(super) async fn tasks(&self, request: v1::ListTasksRequest) -> Result<v1::ListTasksResponse, Status> {
        let id = run_id(&request.run_id)?;
        let size = page::size(request.page_size)?;
        if request.task_ids.len() > MAX_TASK_IDS {
            return Err(status::malformed("task_ids", &format!("expected at most {MAX_TASK_IDS}")));
        }
        page::limit_filter_values("statuses", request.statuses.len())?;
        let ids: HashSet<&str> = request.task_ids.iter().map(String::as_str).collect();
        let statuses = request
            .statuses
            .iter()
            .map(|status| convert::task_status_from(*status))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| status::malformed("statuses", "one of them is not known"))?;
        let run = self.find(id).await?;
        let of = format!("tasks {id} {statuses:?} {:?}", request.task_ids);
        let from = match page::read(&of, &request.page_token)? {
            Some(next) => next.parse().map_err(|_| status::malformed("page_token", "it is malformed"))?,
            None => 0usize,
        };
        let present = self.present(&run).await?;
        let include_results = request.include_results.unwrap_or(true);
        let (mut tasks, mut bytes, mut next) = (Vec::new(), 0, None);
        for at in from..run.tasks.len() {
            let wanted = (statuses.is_empty() || statuses.contains(&run.tasks[at].status()))
                && (ids.is_empty() || ids.contains(run.task(at).id.as_str()));
            if !wanted {
                continue;
            }
            let mut task = self.known_task(convert::task_run(&run, at, &present, include_results));
            if request.include_dependencies {
                task.dependencies = convert::dependencies(&run, at);
            }
            let task_bytes = prost::Message::encoded_len(&task);
            if tasks.len() == size || (!tasks.is_empty() && bytes + task_bytes > page::ANSWER_BYTES) {
                next = Some(at);
                break;
            }
            bytes += task_bytes;
            tasks.push(task);
        }
        let next_page_token = next.map_or_else(String::new, |at| page::token(&of, &at.to_string()));
        Ok(v1::ListTasksResponse { tasks, next_page_token })
    }

    /// Ends a run of which only the id can be trusted.
    async fn cancel_aside(&self, id: RunId, reason: String) -> Result<v1::CancelRunResponse, Status> {
        let reason = if reason.is_empty() { "cancelled by force".to_owned() } else { reason };
        let answer = self.0.journal.propose(run::Request::CancelSetAside { run_id: id, reason }).await;
        match answer.map_err(|error| journal_status(&error))? {
            Verdict::Ok { .. } => {
                tracing::warn!(gleitzeit.run.id = %id, "a run that was set aside was ended by force");
                let status = convert::run_status(RunStatus::Cancelled).into();
                Ok(v1::CancelRunResponse { status, open_attempts: 0 })
            }
            Verdict::Invalid(failure) => Err(status::to_status(&failure)),
            other => {
                let message = format!("run {id} could not be ended: {other:?}");
                Err(status::to_status(&Failure::new(ErrorCode::InternalError, message)))
            }
        }
    }

    pub(super) async fn cancel(&self, request: v1::CancelRunRequest) -> Result<v1::CancelRunResponse, Status> {
        let id = run_id(&request.run_id)?;
        if request.reason.len() > MAX_REASON_BYTES {
            return Err(status::malformed("reason", &format!("expected at most {MAX_REASON_BYTES} bytes")));
        }
        if request.force && self.0.journal.aside().contains_key(&id) {
            return self.cancel_aside(id, request.reason).await;
        }
        let run = match self.find(id).await {
            Ok(run) => run,
            // The answer to the request that ended it by force may have been lost.
            Err(refused) => match self.unfolded(id).await? {
                Some(row) if row.status == RunStatus::Cancelled => {
                    return Ok(v1::CancelRunResponse {
                        status: convert::run_status(row.status).into(),
                        open_attempts: 0,
                    });
                }
                _ => return Err(refused),
            },
        };
        match run.status {
            RunStatus::Running => {}
            // The answer to the request that cancelled it may have been lost.
            RunStatus::Cancelled => return Ok(cancelled(&run, run.open_attempts())),
            RunStatus::Completed | RunStatus::Failed => return Err(not_running(&run)),
        }
        let reason = if request.reason.is_empty() { "cancelled on request".to_owned() } else { request.reason };
        let cancel = CancelWorkflow { run_id: id, cause: CancelCause::Requested, reason };
        let answer = self.0.journal.propose(run::Request::Cancel { cancel }).await;
        let verdict = answer.map_err(|error| journal_status(&error))?;
        // Attempts that were open may have stopped by now.
        let open = run.open_attempts();
        let run = self.find(id).await?;
        match verdict {
            Verdict::Ok { .. } | Verdict::Duplicate { .. } => Ok(cancelled(&run, open)),
            // Another request cancelled it meanwhile.
            Verdict::Invalid(_) | Verdict::Fenced if run.status == RunStatus::Cancelled => Ok(cancelled(&run, open)),
            Verdict::Invalid(_) | Verdict::Fenced if run.status.is_final() => Err(not_running(&run)),
            Verdict::Invalid(failure) => Err(status::to_status(&failure)),
            other => {
                let message = format!("run {id} could not be cancelled: {other:?}");
                Err(status::to_status(&Failure::new(ErrorCode::InternalError, message)))
            }
        }
    }
}

/// The parameters of a request for a page of runs.
pub(crate) struct Listing {
    pub(crate) filter: RunFilter,
    pub(crate) after: Option<RunId>,
    pub(crate) size: usize,
    /// Names the list and its filters in page tokens.
    pub(crate) of: String,
}

impl Listing {
    /// Parses a request for a page of `list`.
    pub(crate) fn new(request: &v1::ListRunsRequest, list: &str) -> Result<Self, Status> {
        let size = page::size(request.page_size)?;
        page::limit_filter_values("statuses", request.statuses.len())?;
        page::limit_filter_values("labels", request.labels.len())?;
        let filter = filter(request)?;
        let of = format!("{list} {filter:?}");
        let after = match page::read(&of, &request.page_token)? {
            Some(id) => Some(id.parse().map_err(|_| status::malformed("page_token", "it is malformed"))?),
            None => None,
        };
        Ok(Self { filter, after, size, of })
    }
}

/// A page of at most `size` of these rows, and the token of the next page if there are more.
pub(crate) fn listing(rows: Vec<RunRow>, size: usize, of: &str) -> v1::ListRunsResponse {
    let found = rows.len();
    let runs = page::fitting(rows.iter().take(size).map(summary));
    let next_page_token = match runs.last().filter(|_| runs.len() < found) {
        Some(last) => page::token(of, &last.run_id),
        None => String::new(),
    };
    v1::ListRunsResponse { runs, next_page_token }
}

/// The error for a run that was set aside: why, and what can be done.
fn set_aside(run_id: RunId, why: &str) -> Failure {
    let message = format!(
        "run {run_id} could not be replayed when the control plane started and is set aside: {why}; \
         `gleitzeit cancel --force {run_id}` ends it"
    );
    Failure::new(ErrorCode::PersistenceIntegrityError, message)
}

/// The row, with the reason if the run is set aside.
fn marked(mut row: RunRow, aside: &BTreeMap<RunId, String>) -> RunRow {
    if let Some(why) = aside.get(&row.run_id) {
        row.error = Some(set_aside(row.run_id, why));
    }
    row
}

/// A run as its row describes it, when its entries cannot be read.
fn listed(row: &RunRow) -> v1::Run {
    let summary = summary(row);
    v1::Run {
        run_id: summary.run_id,
        correlation_id: summary.correlation_id,
        name: summary.name,
        status: summary.status,
        submitted_at: summary.submitted_at,
        finished_at: summary.finished_at,
        error: summary.error,
        task_count: summary.task_count,
        tasks_truncated: false,
        labels: summary.labels,
        retry_of: summary.retry_of,
        ..v1::Run::default()
    }
}

fn cancelled(run: &run::State, open_attempts: usize) -> v1::CancelRunResponse {
    v1::CancelRunResponse {
        status: convert::run_status(run.status).into(),
        open_attempts: u32::try_from(open_attempts).unwrap_or(u32::MAX),
    }
}

fn not_running(run: &run::State) -> Status {
    let state = match run.status {
        RunStatus::Running => "running",
        RunStatus::Completed => "completed",
        RunStatus::Failed => "failed",
        RunStatus::Cancelled => "cancelled",
    };
    let message = format!("run {} is {state}; only a running one can be cancelled", run.run_id);
    status::to_status(&Failure::new(ErrorCode::WorkflowInvalidState, message))
}

fn filter(request: &v1::ListRunsRequest) -> Result<RunFilter, Status> {
    let statuses = request
        .statuses
        .iter()
        .map(|status| convert::run_status_from(*status))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| status::malformed("statuses", "one of them is not known"))?;
    let prefix: String = request.run_id_prefix.chars().filter(|c| *c != '-').collect::<String>().to_ascii_lowercase();
    if prefix.len() > 32 || !prefix.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(status::malformed("run_id_prefix", "expected the first hexadecimal digits of a run's id"));
    }
    let time = |field: &str, at: Option<prost_types::Timestamp>| {
        at.map(|at| convert::timestamp_from(&at).ok_or_else(|| status::malformed(field, "it is no time"))).transpose()
    };
    Ok(RunFilter {
        statuses,
        name: Some(request.name.clone()).filter(|name| !name.is_empty()),
        labels: request.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        submitted_after: time("submitted_after", request.submitted_after)?,
        submitted_before: time("submitted_before", request.submitted_before)?,
        id_prefix: prefix,
    })
}

fn summary(row: &RunRow) -> v1::RunSummary {
    v1::RunSummary {
        run_id: row.run_id.to_string(),
        correlation_id: row.correlation_id.clone(),
        name: row.name.clone(),
        status: convert::run_status(row.status).into(),
        submitted_at: Some(convert::timestamp(row.submitted_at)),
        finished_at: row.finished_at.map(convert::timestamp),
        error: row.error.as_ref().map(convert::error),
        task_count: row.task_count,
        labels: row.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        retry_of: row.retry_of.map(|id| id.to_string()).unwrap_or_default(),
    }
}
