//! The gRPC API: decodes requests, asks the journal or the hub, and encodes the answers. No domain rules live here.

mod batch;
mod events;
mod explain;
mod inspected;
mod outlet;
mod page;
mod reflection;
mod refusal;
mod runs;
mod submit;
mod system;
mod trace;
mod watch;
mod web;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use gleitzeit_proto::v1::system_service_server::SystemServiceServer;
use gleitzeit_proto::v1::workflow_service_server::{WorkflowService, WorkflowServiceServer};
use gleitzeit_proto::{status, v1};
use gleitzeit_run::RunId;
use gleitzeit_run::submission::Environment;
use gleitzeit_run::trace::TraceParent;
use gleitzeit_workflow::spec::Limits;
use gleitzeit_workflow::{ErrorCode, Failure};
use tokio::sync::Semaphore;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::service::interceptor::{InterceptedService, Interceptor};
use tonic::{Request, Response, Status};

pub(crate) use crate::api::inspected::InspectedStore;
pub use crate::api::inspected::Kind;
use crate::api::outlet::Outlets;
use crate::api::refusal::Refusals;
pub(crate) use crate::api::runs::{Listing, listing};
use crate::config::{Config, ReadEnv, Token};
use crate::connection::Connection;
use crate::hub::{HubHandle, check_token, token_refusal};
use crate::journal::{Journal, JournalError, StoreError};

/// What every RPC handler needs. Cheap to clone. The handlers stand with their subject: `submit`, `runs`, `inspected`,
/// `explain`, `events`, `watch`, `trace` and `system`.
#[derive(Clone)]
pub(crate) struct State(Arc<Inner>);

struct Inner {
    journal: Journal,
    hub: HubHandle,
    limits: Limits,
    environment: AllowedEnv,
    token: Option<Token>,
    /// The age after which finished runs are removed; `None` keeps them forever.
    retention: Option<Duration>,
    max_message_bytes: usize,
    /// Limits the submissions that are being checked and recorded: one permit per KiB.
    submitting: Semaphore,
    submitting_kib: usize,
    /// Limits how many large workflows are checked on blocking threads at the same time.
    checking: Arc<Semaphore>,
    started_at: SystemTime,
    stopping: CancellationToken,
    outlets: Outlets,
    /// The store, if this process only inspects it.
    inspected: Option<InspectedStore>,
}

struct AllowedEnv {
    allowed: Vec<String>,
    read: ReadEnv,
}

impl Environment for AllowedEnv {
    fn allows(&self, name: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed == name)
    }

    fn read(&self, name: &str) -> Option<String> {
        (self.read)(name)
    }
}

impl State {
    pub(crate) fn new(config: &Config, journal: Journal, hub: HubHandle, stopping: CancellationToken) -> Self {
        Self(Arc::new(Self::inner(config, journal, hub, stopping)))
    }

    fn inner(config: &Config, journal: Journal, hub: HubHandle, stopping: CancellationToken) -> Inner {
        let limits = Limits::of(config.max_workflow_bytes, config.max_tasks);
        let submitting_kib = (config.max_submitting_bytes / 1024).clamp(1, Semaphore::MAX_PERMITS);
        Inner {
            journal,
            hub,
            limits,
            environment: AllowedEnv { allowed: config.allow_env.clone(), read: config.read_env.clone() },
            token: config.token.clone(),
            retention: config.retention,
            // Room for a workflow, and as much again for its files, its inputs and the encoding of both.
            max_message_bytes: 2 * config.max_workflow_bytes + 1024 * 1024,
            submitting: Semaphore::new(submitting_kib),
            submitting_kib,
            checking: Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from))),
            started_at: SystemTime::now(),
            stopping,
            outlets: Outlets::new(Duration::from_millis(config.hub.slow_consumer_ms), config.keepalive_every),
            inspected: None,
        }
    }
}

/// The workflow service, for callers that present the token.
pub(crate) type Workflows = InterceptedService<Refusals<WorkflowServiceServer<State>>, Authorize>;

pub(crate) fn workflows(state: State) -> Workflows {
    let limit = state.0.max_message_bytes;
    // Answers are not compressed: nearly all of them are too small for compression to pay off.
    let workflows = WorkflowServiceServer::new(state.clone())
        .max_decoding_message_size(limit)
        .accept_compressed(CompressionEncoding::Gzip);
    InterceptedService::new(Refusals(workflows), Authorize(state))
}

/// All gRPC services: the workflow service, health and reflection.
pub(crate) fn routes(state: State, allow_origins: &[String]) -> Router {
    let authorize = Authorize(state.clone());
    let systems = SystemServiceServer::new(state.clone()).accept_compressed(CompressionEncoding::Gzip);
    let (health, health_service) = tonic_health::server::health_reporter();
    let routes = Routes::new(workflows(state))
        .add_service(InterceptedService::new(Refusals(systems), authorize.clone()))
        .add_service(health_service);
    let routes = reflection::added_to(routes, &authorize);
    // The service is ready as soon as it is served: the store is open by then.
    tokio::spawn(async move {
        health.set_serving::<WorkflowServiceServer<State>>().await;
        health.set_serving::<SystemServiceServer<State>>().await;
    });
    web::for_pages(routes.into_axum_router(), allow_origins)
}

/// Admits callers that present the token, or every caller if no token is set.
#[derive(Clone)]
pub(crate) struct Authorize(State);

impl Interceptor for Authorize {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let given = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer ")));
        if check_token(self.0.0.token.as_ref(), given) {
            return Ok(request);
        }
        Err(status::to_status(&Failure::new(ErrorCode::AuthenticationFailed, token_refusal(given))))
    }
}

pub(crate) type Answer<T> = Result<Response<T>, Status>;
/// The messages of a streaming answer.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl WorkflowService for State {
    async fn submit_workflow(&self, request: Request<v1::SubmitWorkflowRequest>) -> Answer<v1::SubmitWorkflowResponse> {
        self.submit(request).await.map(Response::new)
    }

    async fn validate_workflow(
        &self,
        request: Request<v1::ValidateWorkflowRequest>,
    ) -> Answer<v1::ValidateWorkflowResponse> {
        self.validate(request.into_inner()).await.map(Response::new)
    }

    async fn get_run(&self, request: Request<v1::GetRunRequest>) -> Answer<v1::GetRunResponse> {
        self.get(request.into_inner()).await.map(Response::new)
    }

    async fn list_runs(&self, request: Request<v1::ListRunsRequest>) -> Answer<v1::ListRunsResponse> {
        self.list(request.into_inner()).await.map(Response::new)
    }

    async fn list_tasks(&self, request: Request<v1::ListTasksRequest>) -> Answer<v1::ListTasksResponse> {
        self.tasks(request.into_inner()).await.map(Response::new)
    }

    type WatchRunStream = Answers<v1::WatchRunResponse>;

    async fn watch_run(&self, request: Request<v1::WatchRunRequest>) -> Answer<Self::WatchRunStream> {
        let connection = connection_of(&request);
        self.watch(request.into_inner(), connection).await.map(Response::new)
    }

    async fn explain_run(&self, request: Request<v1::ExplainRunRequest>) -> Answer<v1::ExplainRunResponse> {
        self.explain(request.into_inner()).await.map(Response::new)
    }

    type TraceRunStream = Answers<v1::TraceRunResponse>;

    async fn trace_run(&self, request: Request<v1::TraceRunRequest>) -> Answer<Self::TraceRunStream> {
        let connection = connection_of(&request);
        self.trace(request.into_inner(), connection).await.map(Response::new)
    }

    type ReadProgressStream = Answers<v1::ReadProgressResponse>;

    async fn read_progress(&self, request: Request<v1::ReadProgressRequest>) -> Answer<Self::ReadProgressStream> {
        let connection = connection_of(&request);
        self.progress(request.into_inner(), connection).await.map(Response::new)
    }

    async fn cancel_run(&self, request: Request<v1::CancelRunRequest>) -> Answer<v1::CancelRunResponse> {
        self.cancel(request.into_inner()).await.map(Response::new)
    }

    async fn retry_run(&self, request: Request<v1::RetryRunRequest>) -> Answer<v1::RetryRunResponse> {
        self.retry(request).await.map(Response::new)
    }
}

/// The connection over which a request arrived.
fn connection_of<T>(request: &Request<T>) -> Option<Connection> {
    request.extensions().get::<Connection>().cloned()
}

/// Parses the run id of a request.
pub(crate) fn run_id(text: &str) -> Result<RunId, Status> {
    text.parse().map_err(|_| status::malformed("run_id", "expected a run's full id, such as `0198…-…`, a UUID"))
}

fn journal_status(error: &JournalError) -> Status {
    match error {
        JournalError::Busy { retry_after } => status::busy(*retry_after),
        JournalError::Closed => {
            status::to_status(&Failure::new(ErrorCode::SystemShutdown, "the control plane is shutting down"))
        }
        JournalError::Store(cause) if cause.is_damage() => {
            tracing::error!(error = cause as &dyn std::error::Error, "the store is damaged");
            let message = format!("the store is damaged: {cause}");
            status::to_status(&Failure::new(ErrorCode::PersistenceIntegrityError, message))
        }
        JournalError::Store(cause @ StoreError::NoRoom { .. }) => {
            tracing::warn!(error = cause as &dyn std::error::Error, "finished runs could not be removed");
            status::to_status(&Failure::new(ErrorCode::PersistenceWriteFailed, cause.to_string()))
        }
        JournalError::Store(cause) => {
            tracing::error!(error = cause as &dyn std::error::Error, "the store could not be read");
            status::to_status(&Failure::new(ErrorCode::PersistenceReadFailed, "the store could not be read"))
        }
    }
}

/// The error for a hub task that has ended or is too busy to answer.
fn no_hub() -> Status {
    status::to_status(&Failure::new(ErrorCode::SystemShutdown, "the control plane is shutting down"))
}

/// The caller's W3C trace context, if it sent a valid one: the trace id, and the header unchanged.
fn trace_context(metadata: &MetadataMap) -> Option<(String, String)> {
    let header = metadata.get("traceparent")?.to_str().ok()?;
    let parent = TraceParent::parse(header)?;
    Some((parent.trace_id.to_owned(), header.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_trace_context_is_accepted() {
        let with = |value: &'static str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("traceparent", value.parse().expect("ascii"));
            trace_context(&metadata).map(|(trace_id, _)| trace_id)
        };
        let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(with("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").as_deref(), Some(trace_id));
        assert_eq!(with("00-00000000000000000000000000000000-00f067aa0ba902b7-01"), None);
        assert_eq!(with("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), None);
        assert_eq!(with("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"), None);
        assert_eq!(with("garbage"), None);
    }
}
