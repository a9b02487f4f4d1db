//! The client: one connection, with one method for each call. Methods of `Client` that return a type of their own stand
//! with it, in `handle`, `watch` and `output`; the client without a socket is made in `in_process`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gleitzeit_mesh::wire::Role;
use gleitzeit_proto::convert::{note_from, problem_from, role, run_status, task_status, timestamp};
use gleitzeit_proto::v1::system_service_client::SystemServiceClient;
use gleitzeit_proto::v1::workflow_service_client::WorkflowServiceClient;
use gleitzeit_proto::v1::{self, validate_workflow_request};
use tonic::Streaming;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::call::{self, Credentials};
use crate::config::ClientConfig;
use crate::connect;
use crate::convert::{self, filled};
use crate::error::{Error, Result};
use crate::events::Events;
use crate::run::{Cancelled, Explanation, Run, RunFilter, RunSummary, Task, TaskFilter};
use crate::system::{Component, Page, Protocol, Provider, Pruned, Status, Validation};
use crate::trace::{self, Span};

/// Answers stay under 4 MiB, except a single large result, which is at most 8 MiB and may double in its encoding.
const MAX_ANSWER_BYTES: usize = 32 << 20;
/// How long one request of [`Client::wait`] stays open.
const LONG_POLL: Duration = Duration::from_secs(30);
/// The same after the control plane could not be reached.
const SHORT_POLL: Duration = Duration::from_secs(1);

type Service = InterceptedService<Channel, Credentials>;

/// A connection to a control plane. Cheap to clone; the clones share the connection, which is made again by itself.
///
/// Methods that give a [`RunHandle`](crate::RunHandle) or a [`Watch`](crate::Watch) are documented with these types.
#[derive(Clone)]
pub struct Client {
    pub(crate) workflows: WorkflowServiceClient<Service>,
    system: SystemServiceClient<Service>,
    config: Arc<ClientConfig>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to a control plane. This makes no call that needs the token, so a wrong token shows at the first call.
    ///
    /// # Errors
    /// If the address is invalid, nothing listens there within the connect timeout, the server sends nothing for 10 s,
    /// or it is not a control plane. On failure, up to 2 s more go into finding out what is there instead.
    pub async fn connect(config: ClientConfig) -> Result<Self> {
        let url = config.endpoint()?;
        config.trust().check().map_err(|error| Error::invalid(error.to_string()))?;
        let credentials = Credentials::new(config.token_source(&url)?, config.traceparent.as_deref())?;
        let channel = connect::channel(&config, &url).await?;
        Ok(Self::on(channel, credentials, config))
    }

    pub(crate) fn on(channel: Channel, credentials: Credentials, config: ClientConfig) -> Self {
        let service = InterceptedService::new(channel, credentials);
        Self {
            workflows: WorkflowServiceClient::new(service.clone())
                .max_decoding_message_size(MAX_ANSWER_BYTES)
                .max_encoding_message_size(usize::MAX),
            system: SystemServiceClient::new(service).max_decoding_message_size(MAX_ANSWER_BYTES),
            config: Arc::new(config),
        }
    }

    /// The configuration of this client.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Checks a workflow (YAML or JSON text) against what the control plane knows, without running it.
    ///
    /// # Errors
    /// If a limit is exceeded, access is refused, or the control plane cannot be reached.
    pub async fn validate(&self, text: &str, file_name: &str) -> Result<Validation> {
        let request = v1::ValidateWorkflowRequest {
            source: Some(validate_workflow_request::Source::Yaml(text.to_owned())),
            file_name: file_name.to_owned(),
        };
        let validate = |request| {
            let mut workflows = self.workflows.clone();
            async move { workflows.validate_workflow(request).await }
        };
        let answer = call::repeated(&self.config, request, validate).await?;
        Ok(Validation {
            problems: answer.problems.into_iter().map(problem_from).collect(),
            problem_count: answer.problem_count,
            notes: answer.notes.into_iter().map(note_from).collect(),
        })
    }

    /// Reads a run with its tasks' results, as it is now.
    ///
    /// # Errors
    /// If the id is malformed or there is no such run; also the errors of any call.
    pub async fn get_run(&self, run_id: &str) -> Result<Run> {
        self.read_run(run_id, Duration::ZERO, true).await
    }

    /// Waits until a run is final, or until `limit` is over, and reads it with its tasks' results.
    ///
    /// # Errors
    /// As [`Client::get_run`]. If the control plane becomes unreachable, this fails only after the client's `patience`.
    pub async fn wait(&self, run_id: &str, limit: Option<Duration>) -> Result<Run> {
        self.wait_for(run_id, limit, true).await
    }

    /// Waits like [`Client::wait`], and reads the run without results.
    ///
    /// # Errors
    /// As [`Client::wait`].
    pub async fn wait_without_results(&self, run_id: &str, limit: Option<Duration>) -> Result<Run> {
        self.wait_for(run_id, limit, false).await
    }

    async fn wait_for(&self, run_id: &str, limit: Option<Duration>, results: bool) -> Result<Run> {
        let begun = Instant::now();
        let mut away_since: Option<Instant> = None;
        loop {
            let left = limit.map(|limit| limit.saturating_sub(begun.elapsed()));
            // While the control plane comes and goes, a short request finds out that it is back.
            let longest = if away_since.is_some() { SHORT_POLL } else { LONG_POLL };
            let step = left.map_or(longest, |left| left.min(longest));
            match self.read_run(run_id, step, results).await {
                Ok(run) if run.status.is_final() || step.is_zero() => return Ok(run),
                Ok(_) => away_since = None,
                // The repeats of a single call, with their pauses, happen between two iterations of this loop.
                Err(error) if call::worth_repeating(&error) && left.is_none_or(|left| !left.is_zero()) => {
                    if away_since.get_or_insert_with(Instant::now).elapsed() > self.config.patience {
                        return Err(error);
                    }
                    tokio::time::sleep(call::delay(self.config.max_retries, &error)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) async fn read_run(&self, run_id: &str, wait: Duration, results: bool) -> Result<Run> {
        let request = v1::GetRunRequest {
            run_id: run_id.to_owned(),
            wait: (!wait.is_zero()).then(|| convert::duration_message(wait)),
            include_results: Some(results),
        };
        let patient =
            ClientConfig { call_timeout: self.config.call_timeout.saturating_add(wait), ..(*self.config).clone() };
        let get = |request| {
            let mut workflows = self.workflows.clone();
            async move { workflows.get_run(request).await }
        };
        let answer = call::repeated(&patient, request, get).await?;
        convert::run(answer.run.ok_or_else(|| Error::answer("the control plane answered without the run"))?)
    }

    /// Lists runs, the newest first.
    ///
    /// # Errors
    /// If the filter is malformed; also the errors of any call.
    pub async fn list_runs(&self, filter: &RunFilter) -> Result<Page<RunSummary>> {
        let request = v1::ListRunsRequest {
            statuses: filter.statuses.iter().copied().map(|status| run_status(status).into()).collect(),
            name: filter.name.clone().unwrap_or_default(),
            labels: filter.labels.clone().into_iter().collect(),
            submitted_after: filter.submitted_after.map(timestamp),
            submitted_before: filter.submitted_before.map(timestamp),
            run_id_prefix: filter.run_id_prefix.clone().unwrap_or_default(),
            page_size: page_size(filter.page_size),
            page_token: filter.page_token.clone().unwrap_or_default(),
        };
        let list = |request| {
            let mut workflows = self.workflows.clone();
            async move { workflows.list_runs(request).await }
        };
        let answer = call::repeated(&self.config, request, list).await?;
        page(answer.runs, answer.next_page_token, convert::summary)
    }

    /// Lists the tasks of a run in the order of the workflow.
    ///
    /// # Errors
    /// If the id or the filter is malformed, or there is no such run; also the errors of any call.
    pub async fn list_tasks(&self, run_id: &str, filter: &TaskFilter) -> Result<Page<Task>> {
        let request = v1::ListTasksRequest {
            run_id: run_id.to_owned(),
            statuses: filter.statuses.iter().copied().map(|status| task_status(status).into()).collect(),
            task_ids: filter.task_ids.clone(),
            include_results: Some(!filter.without_results),
            page_size: page_size(filter.page_size),
            page_token: filter.page_token.clone().unwrap_or_default(),
            include_dependencies: filter.with_dependencies,
        };
        let list = |request| {
            let mut workflows = self.workflows.clone();
            async move { workflows.list_tasks(request).await }
        };
        let answer = call::repeated(&self.config, request, list).await?;
        page(answer.tasks, answer.next_page_token, convert::task)
    }

    pub(crate) async fn open_watch(&self, request: v1::WatchRunRequest) -> Result<Streaming<v1::WatchRunResponse>> {
        // The deadline covers only the start of the stream, not the stream itself.
        let mut workflows = self.workflows.clone();
        match tokio::time::timeout(self.config.call_timeout, workflows.watch_run(request)).await {
            Ok(answer) => Ok(answer?.into_inner()),
            Err(_) => Err(Error::timeout(self.config.call_timeout)),
        }
    }

    /// Explains why a run, or one of its tasks, has not ended.
    ///
    /// # Errors
    /// If the id is malformed, or there is no such run or task; also the errors of any call.
    pub async fn explain(&self, run_id: &str, task_id: Option<&str>) -> Result<Explanation> {
        let task_id = task_id.unwrap_or_default().to_owned();
        let request = v1::ExplainRunRequest { run_id: run_id.to_owned(), task_id };
        let explain = |request| {
            let mut workflows = self.workflows.clone();
            async move { workflows.explain_run(request).await }
        };
        convert::explanation(call::repeated(&self.config, request, explain).await?)
    }

    /// Reads the trace of a run as spans, from the first that ended to those that are still open. A run of 100,000
    /// tasks has about 300,000 spans of 500 bytes each.
    ///
    /// # Errors
    /// If the id is malformed or there is no such run; also the errors of any call.
    pub async fn trace(&self, run_id: &str) -> Result<Vec<Span>> {
        let request = v1::TraceRunRequest { run_id: run_id.to_owned() };
        let limit = self.config.call_timeout;
        let silent = |_| Error::timeout(limit);
        // The deadline covers each message, not the stream as a whole.
        let mut workflows = self.workflows.clone();
        let mut stream = tokio::time::timeout(limit, workflows.trace_run(request)).await.map_err(silent)??.into_inner();
        let mut spans = Vec::new();
        while let Some(message) = tokio::time::timeout(limit, stream.message()).await.map_err(silent)?? {
            for span in message.spans {
                spans.push(trace::span(span)?);
            }
        }
        Ok(spans)
    }

    /// Requests the cancellation of a run.
    ///
    /// # Errors
    /// If the id is malformed, there is no such run, or the run is final already; also the errors of any call.
    pub async fn cancel(&self, run_id: &str, reason: &str) -> Result<Cancelled> {
        self.cancel_run(run_id, reason, false).await
    }

    /// Cancels like [`Client::cancel`], and also ends a run that the control plane set aside because its entries cannot
    /// be replayed.
    ///
    /// # Errors
    /// As [`Client::cancel`].
    pub async fn cancel_by_force(&self, run_id: &str, reason: &str) -> Result<Cancelled> {
        self.cancel_run(run_id, reason, true).await
    }

    async fn cancel_run(&self, run_id: &str, reason: &str, force: bool) -> Result<Cancelled> {
        let request = v1::CancelRunRequest { run_id: run_id.to_owned(), reason: reason.to_owned(), force };
        let cancel = |request| {
            let mut workflows = self.workflows.clone();
            async move { workflows.cancel_run(request).await }
        };
        let answer = call::repeated(&self.config, request, cancel).await?;
        Ok(Cancelled { status: convert::run_status(answer.status)?, open_attempts: answer.open_attempts })
    }

    /// Follows the recorded events of all runs from a position on; 0 means from now on.
    ///
    /// # Errors
    /// If access is refused or the control plane cannot be reached, as for any call.
    pub async fn events(&self, from_position: u64) -> Result<Events> {
        // The deadline covers only the start of the stream, not the stream itself.
        let mut system = self.system.clone();
        let request = v1::WatchEventsRequest { from_position };
        match tokio::time::timeout(self.config.call_timeout, system.watch_events(request)).await {
            Ok(answer) => Ok(Events::new(answer?.into_inner())),
            Err(_) => Err(Error::timeout(self.config.call_timeout)),
        }
    }

    /// Reads the status of the control plane.
    ///
    /// # Errors
    /// If access is refused or the control plane cannot be reached, as for any call.
    pub async fn status(&self) -> Result<Status> {
        let status = |request| {
            let mut system = self.system.clone();
            async move { system.get_status(request).await }
        };
        call::repeated(&self.config, v1::GetStatusRequest {}, status).await.and_then(convert::status)
    }

    /// Removes finished runs that ended at least this long ago, together with their request ids; `None` uses the
    /// control plane's own retention. Then removes registered protocols that nobody serves, that no unfinished run
    /// needs, and that nobody has used for as long. Continues until all of them are gone.
    ///
    /// # Errors
    /// If there is no retention and no age is given; also the errors of any call. Whatever was removed before the error
    /// stays removed.
    pub async fn prune(&self, older_than: Option<Duration>) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        let age = older_than.map(convert::duration_message);
        loop {
            let prune = |request| {
                let mut system = self.system.clone();
                async move { system.prune_runs(request).await }
            };
            let answer = call::repeated(&self.config, v1::PruneRunsRequest { older_than: age }, prune).await?;
            pruned.runs += answer.runs;
            pruned.entries += answer.entries;
            pruned.protocols += answer.protocols;
            if !answer.more {
                return Ok(pruned);
            }
        }
    }

    /// Lists components that are connected or silent; an empty `roles` means all roles.
    ///
    /// # Errors
    /// As [`Client::status`]; if the token is malformed.
    pub async fn components(&self, roles: &[Role], page_token: Option<&str>) -> Result<Page<Component>> {
        let request = v1::ListComponentsRequest {
            roles: roles.iter().copied().map(|it| role(it).into()).collect(),
            page_size: MAX_PAGE,
            page_token: page_token.unwrap_or_default().to_owned(),
        };
        let list = |request| {
            let mut system = self.system.clone();
            async move { system.list_components(request).await }
        };
        let answer = call::repeated(&self.config, request, list).await?;
        page(answer.components, answer.next_page_token, convert::component)
    }

    /// Lists providers that are connected or silent: all, or those of one method.
    ///
    /// # Errors
    /// As [`Client::components`].
    pub async fn providers(&self, method: Option<&str>, page_token: Option<&str>) -> Result<Page<Provider>> {
        let request = v1::ListProvidersRequest {
            method: method.unwrap_or_default().to_owned(),
            page_size: MAX_PAGE,
            page_token: page_token.unwrap_or_default().to_owned(),
        };
        let list = |request| {
            let mut system = self.system.clone();
            async move { system.list_providers(request).await }
        };
        let answer = call::repeated(&self.config, request, list).await?;
        page(answer.providers, answer.next_page_token, convert::provider)
    }

    /// Lists all registered protocols, including those that no provider serves now.
    ///
    /// # Errors
    /// As [`Client::components`].
    pub async fn protocols(&self, page_token: Option<&str>) -> Result<Page<Protocol>> {
        let request =
            v1::ListProtocolsRequest { page_size: MAX_PAGE, page_token: page_token.unwrap_or_default().to_owned() };
        let list = |request| {
            let mut system = self.system.clone();
            async move { system.list_protocols(request).await }
        };
        let answer = call::repeated(&self.config, request, list).await?;
        page(answer.protocols, answer.next_page_token, convert::protocol)
    }
}

/// The largest page size that the control plane accepts.
const MAX_PAGE: i32 = 1_000;

fn page_size(size: u32) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}

fn page<M, T>(messages: Vec<M>, token: String, read: impl Fn(M) -> Result<T>) -> Result<Page<T>> {
    Ok(Page { items: messages.into_iter().map(read).collect::<Result<_>>()?, next_page_token: filled(token) })
}
