//! The read-only API over stores that this process only inspects. For reads it answers as a control plane does.

use gleitzeit_proto::v1::workflow_service_server::WorkflowService;
use gleitzeit_proto::{status, v1};
use gleitzeit_workflow::{ErrorCode, Failure};
use tonic::{Request, Response, Status};

use crate::api::{Answer, Answers, Listing, State, listing, run_id};
use crate::unserved_stores::Kept;

impl Kept {
    /// The API state that answers for the run with this id.
    async fn state(&self, id: &str) -> Result<State, Status> {
        let id = run_id(id)?;
        let found = self.on_thread(move |kept| kept.state_of(id)).await?;
        found.ok_or_else(|| status::not_found_run(id))
    }

    /// Runs `read` on a thread that may block.
    async fn on_thread<T: Send + 'static>(&self, read: impl FnOnce(&Self) -> T + Send + 'static) -> Result<T, Status> {
        let kept = self.clone();
        let done = tokio::task::spawn_blocking(move || read(&kept)).await;
        done.map_err(|error| {
            let message = format!("a store cannot be read: {error}");
            status::to_status(&Failure::new(ErrorCode::InternalError, message))
        })
    }
}

fn refused<T>(what: &str) -> Answer<T> {
    let message = format!("{what} requires a control plane; here stores are only read");
    Err(status::to_status(&Failure::new(ErrorCode::WorkflowInvalidState, message)))
}

#[tonic::async_trait]
impl WorkflowService for Kept {
    async fn submit_workflow(&self, _: Request<v1::SubmitWorkflowRequest>) -> Answer<v1::SubmitWorkflowResponse> {
        refused("submitting a workflow")
    }

    async fn validate_workflow(&self, _: Request<v1::ValidateWorkflowRequest>) -> Answer<v1::ValidateWorkflowResponse> {
        refused("validating a workflow")
    }

    async fn get_run(&self, request: Request<v1::GetRunRequest>) -> Answer<v1::GetRunResponse> {
        self.state(&request.get_ref().run_id).await?.get_run(request).await
    }

    async fn list_runs(&self, request: Request<v1::ListRunsRequest>) -> Answer<v1::ListRunsResponse> {
        let Listing { filter, after, size, of } = Listing::new(request.get_ref(), "kept runs")?;
        let rows = self.on_thread(move |kept| kept.list(&filter, after, size + 1)).await?;
        Ok(Response::new(listing(rows, size, &of)))
    }

    async fn list_tasks(&self, request: Request<v1::ListTasksRequest>) -> Answer<v1::ListTasksResponse> {
        self.state(&request.get_ref().run_id).await?.list_tasks(request).await
    }

    type WatchRunStream = Answers<v1::WatchRunResponse>;

    async fn watch_run(&self, request: Request<v1::WatchRunRequest>) -> Answer<Self::WatchRunStream> {
        self.state(&request.get_ref().run_id).await?.watch_run(request).await
    }

    type ReadProgressStream = Answers<v1::ReadProgressResponse>;

    async fn read_progress(&self, request: Request<v1::ReadProgressRequest>) -> Answer<Self::ReadProgressStream> {
        self.state(&request.get_ref().run_id).await?.read_progress(request).await
    }

    async fn explain_run(&self, request: Request<v1::ExplainRunRequest>) -> Answer<v1::ExplainRunResponse> {
        self.state(&request.get_ref().run_id).await?.explain_run(request).await
    }

    type TraceRunStream = Answers<v1::TraceRunResponse>;

    async fn trace_run(&self, request: Request<v1::TraceRunRequest>) -> Answer<Self::TraceRunStream> {
        self.state(&request.get_ref().run_id).await?.trace_run(request).await
    }

    async fn cancel_run(&self, _: Request<v1::CancelRunRequest>) -> Answer<v1::CancelRunResponse> {
        refused("cancelling a run")
    }

    async fn retry_run(&self, _: Request<v1::RetryRunRequest>) -> Answer<v1::RetryRunResponse> {
        refused("retrying a run")
    }
}
