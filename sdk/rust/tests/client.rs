//! The client against a scripted server on a real socket: what it sends, what it makes of answers, and how it goes on
//! when a stream breaks or the server is busy.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gleitzeit_proto::v1::workflow_service_server::{WorkflowService, WorkflowServiceServer};
use gleitzeit_proto::v1::{self, *};
use gleitzeit_sdk::{Client, ClientConfig, RunStatus, Submission};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

const RUN: &str = "01930000-0000-7000-8000-000000000001";

/// What the server was asked, and what it answers next.
#[derive(Default)]
struct Script {
    tokens: Vec<Option<String>>,
    submits: Vec<SubmitWorkflowRequest>,
    submit_answers: Vec<Status>,
    watched_from: Vec<u64>,
    streams: Vec<Vec<Result<WatchRunResponse, Status>>>,
    gets: u32,
}

#[derive(Clone, Default)]
struct Server(Arc<Mutex<Script>>);

impl Server {
    fn script<T>(&self, with: impl FnOnce(&mut Script) -> T) -> T {
        with(&mut self.0.lock().expect("no test panics while it holds the script"))
    }

    fn note<T>(&self, request: &Request<T>) {
        let token = request.metadata().get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned);
        self.script(|script| script.tokens.push(token));
    }
}

fn run(status: v1::RunStatus) -> Run {
    Run {
        run_id: RUN.to_owned(),
        name: "Test".to_owned(),
        status: status.into(),
        outputs_json: Some(r#"{"n": 100000000000000000000001}"#.to_owned()),
        ..Run::default()
    }
}

type Events = tokio_stream::Iter<std::vec::IntoIter<Result<WatchRunResponse, Status>>>;

#[tonic::async_trait]
impl WorkflowService for Server {
    type WatchRunStream = Events;
    type TraceRunStream = tokio_stream::Empty<Result<TraceRunResponse, Status>>;

    async fn trace_run(&self, _: Request<TraceRunRequest>) -> Result<Response<Self::TraceRunStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    type ReadProgressStream = tokio_stream::Empty<Result<ReadProgressResponse, Status>>;

    async fn read_progress(
        &self,
        _: Request<ReadProgressRequest>,
    ) -> Result<Response<Self::ReadProgressStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn submit_workflow(
        &self,
        request: Request<SubmitWorkflowRequest>,
    ) -> Result<Response<SubmitWorkflowResponse>, Status> {
        self.note(&request);
        let refusal = self.script(|script| {
            script.submits.push(request.into_inner());
            script.submit_answers.pop()
        });
        match refusal {
            Some(status) => Err(status),
            None => Ok(Response::new(SubmitWorkflowResponse {
                run_id: RUN.to_owned(),
                status: v1::RunStatus::Running.into(),
                notes: vec![Note { line: 2, column: 1, message: "not needed".to_owned(), ..Note::default() }],
                ..SubmitWorkflowResponse::default()
            })),
        }
    }

    async fn get_run(&self, request: Request<GetRunRequest>) -> Result<Response<GetRunResponse>, Status> {
        assert!(request.get_ref().wait.is_some(), "waiting is done by the server, not by asking again and again");
        let asked = self.script(|script| {
            script.gets += 1;
            script.gets
        });
        let status = if asked < 3 { v1::RunStatus::Running } else { v1::RunStatus::Completed };
        Ok(Response::new(GetRunResponse { run: Some(run(status)) }))
    }

    async fn watch_run(&self, request: Request<WatchRunRequest>) -> Result<Response<Events>, Status> {
        let stream = self.script(|script| {
            script.watched_from.push(request.get_ref().from_seq);
            if script.streams.is_empty() { Vec::new() } else { script.streams.remove(0) }
        });
        Ok(Response::new(tokio_stream::iter(stream)))
    }

    async fn validate_workflow(
        &self,
        _: Request<ValidateWorkflowRequest>,
    ) -> Result<Response<ValidateWorkflowResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn list_runs(&self, _: Request<ListRunsRequest>) -> Result<Response<ListRunsResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn list_tasks(&self, _: Request<ListTasksRequest>) -> Result<Response<ListTasksResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn explain_run(&self, _: Request<ExplainRunRequest>) -> Result<Response<ExplainRunResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn cancel_run(&self, _: Request<CancelRunRequest>) -> Result<Response<CancelRunResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn retry_run(&self, _: Request<RetryRunRequest>) -> Result<Response<RetryRunResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}

async fn serve(server: Server) -> (Client, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let serving = tokio::spawn(async move {
        tonic::transport::Server::builder()
            .add_service(tonic_health::server::health_reporter().1)
            .add_service(WorkflowServiceServer::new(server))
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
            .expect("it serves until the test ends");
    });
    let config = ClientConfig { token: Some("secret".to_owned()), ..ClientConfig::new(url) };
    (Client::connect(config).await.expect("it listens"), serving)
}

fn event(seq: u64) -> RunEvent {
    RunEvent { seq, r#type: "task_completed".to_owned(), ..RunEvent::default() }
}

fn events(seqs: &[u64]) -> Result<WatchRunResponse, Status> {
    Ok(WatchRunResponse { events: seqs.iter().copied().map(event).collect(), run: None })
}

#[tokio::test]
async fn a_broken_stream_is_resumed_and_every_event_is_delivered_once() {
    let server = Server::default();
    server.script(|script| {
        script.streams = vec![
            vec![events(&[1, 2]), Err(Status::unavailable("going down"))],
            // Ends without the run, as a proxy may end it.
            vec![events(&[2, 3])],
            vec![Ok(WatchRunResponse { events: vec![event(4)], run: Some(run(v1::RunStatus::Completed)) })],
        ];
    });
    let (client, serving) = serve(server.clone()).await;
    let mut watch = client.watch(RUN, 0);
    let mut seen = Vec::new();
    while let Some(event) = watch.next().await.expect("it resumes") {
        seen.push(event.seq);
    }
    assert_eq!(seen, [1, 2, 3, 4]);
    assert_eq!(watch.run().map(|run| run.status), Some(RunStatus::Completed));
    assert_eq!(server.script(|script| script.watched_from.clone()), [1, 3, 4]);
    serving.abort();
}

#[tokio::test]
async fn empty_streams_that_break_do_not_count_as_an_outage() {
    let server = Server::default();
    server.script(|script| {
        let last = Ok(WatchRunResponse { events: vec![event(1)], run: Some(run(v1::RunStatus::Completed)) });
        script.streams = vec![vec![], vec![], vec![], vec![last]];
    });
    let (client, serving) = serve(server.clone()).await;
    let config = ClientConfig { patience: Duration::from_millis(50), ..client.config().clone() };
    let client = Client::connect(config).await.expect("it listens");
    let mut watch = client.watch(RUN, 0);
    assert_eq!(watch.next().await.expect("it goes on").map(|event| event.seq), Some(1));
    assert!(watch.next().await.expect("the end").is_none());
    serving.abort();
}

#[tokio::test]
async fn a_call_to_a_busy_server_is_repeated_with_the_same_request_id_and_token() {
    let server = Server::default();
    let mut details = ErrorDetails::with_retry_info(Some(Duration::from_millis(1)));
    details.set_error_info("RESOURCE_EXHAUSTED", "gleitzeit", HashMap::new());
    server.script(|script| {
        script.submit_answers = vec![Status::with_error_details(tonic::Code::ResourceExhausted, "busy", details)];
    });
    let (client, serving) = serve(server.clone()).await;
    let handle = client.submit(Submission::yaml("name: x").label("a", "b")).await.expect("the second try is taken");
    assert_eq!((handle.id(), handle.notes()[0].message.as_str(), handle.notes()[0].line), (RUN, "not needed", Some(2)));
    let (submits, tokens) = server.script(|script| (script.submits.clone(), script.tokens.clone()));
    assert_eq!(submits.len(), 2);
    assert_eq!(submits[0], submits[1], "the same request, the same id");
    assert!(!submits[0].request_id.is_empty());
    assert_eq!(tokens, [Some("Bearer secret".to_owned()), Some("Bearer secret".to_owned())]);
    serving.abort();
}

#[tokio::test]
async fn an_invalid_workflow_is_refused_once_with_all_its_problems() {
    let server = Server::default();
    let mut details = ErrorDetails::new();
    details.set_error_info("WORKFLOW_VALIDATION_FAILED", "gleitzeit", HashMap::new());
    details.add_bad_request_violation("name", "1:1: `name` is missing");
    server.script(|script| {
        script.submit_answers = vec![Status::with_error_details(tonic::Code::InvalidArgument, "invalid", details)];
    });
    let (client, serving) = serve(server.clone()).await;
    let error = client.submit(Submission::yaml("{}")).await.expect_err("refused");
    assert_eq!((error.name(), error.problems().len()), ("WORKFLOW_VALIDATION_FAILED", 1));
    assert!(error.is_refused() && !error.is_retryable() && !error.is_unreachable());
    assert_eq!(server.script(|script| script.submits.len()), 1);
    serving.abort();
}

#[tokio::test]
async fn waiting_polls_until_the_run_is_final_and_outputs_keep_every_digit() {
    let server = Server::default();
    let (client, serving) = serve(server.clone()).await;
    let run = client.wait(RUN, None).await.expect("it completes");
    assert_eq!((run.status, server.script(|script| script.gets)), (RunStatus::Completed, 3));
    let outputs: HashMap<String, u128> = run.outputs().expect("numbers");
    assert_eq!(outputs["n"], 100_000_000_000_000_000_000_001);
    serving.abort();
}

#[tokio::test]
async fn a_closed_port_is_unreachable_and_the_error_names_the_address() {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let error = Client::connect(ClientConfig::new(format!("http://{address}"))).await.expect_err("nobody is there");
    assert!(error.is_unreachable());
    assert_eq!(error.name(), "CONNECTION_REFUSED");
    assert!(error.message().contains(&address.to_string()), "{error}");
}

/// Every call can be handed to a task of its own: this compiles.
#[expect(dead_code, reason = "compiling it is the test")]
fn calls_can_be_spawned(client: Client) {
    tokio::spawn(async move {
        let run = client.submit(Submission::yaml("")).await?;
        run.wait(None).await?;
        run.watch().next().await?;
        run.cancel("").await?;
        client.retry(run.id(), None, false).await?;
        client.status().await
    });
}
