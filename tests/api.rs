//! The control plane's API and mesh as seen by foreign clients: stock gRPC messages, and Socket.IO over polling.

mod plane;

use std::collections::BTreeMap;
use std::time::Duration;

use gleitzeit_control_plane::Config;
use gleitzeit_proto::v1::submit_workflow_request::Source;
use gleitzeit_proto::v1::system_service_client::SystemServiceClient;
use gleitzeit_proto::v1::workflow_service_client::WorkflowServiceClient;
use gleitzeit_proto::v1::{
    ListRunsRequest, SubmitWorkflowRequest, Task, WatchEventsRequest, WatchRunRequest, Workflow,
};
use gleitzeit_sdk::{Client, ClientConfig, Submission};
use gleitzeit_workflow::ErrorCode;
use plane::{PATIENCE, Plane};
use prost::Message as _;
use prost_types::FileDescriptorProto;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt as _;

async fn client(plane: &Plane) -> WorkflowServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", plane.address)).expect("an address");
    WorkflowServiceClient::new(endpoint.connect().await.expect("it listens"))
}

/// A typed workflow with so many labels that an unordered map is unlikely to keep their order twice.
fn submission(request_id: &str) -> SubmitWorkflowRequest {
    let labels = (0..12).map(|n| (format!("label{n}"), n.to_string()));
    let task = Task { id: "a".to_owned(), method: "util/echo".to_owned(), ..Task::default() };
    let workflow =
        Workflow { name: "typed".to_owned(), labels: labels.collect(), tasks: vec![task], ..Workflow::default() };
    SubmitWorkflowRequest {
        request_id: request_id.to_owned(),
        source: Some(Source::Workflow(workflow)),
        ..SubmitWorkflowRequest::default()
    }
}

#[tokio::test]
async fn a_repeated_typed_submission_gives_the_same_run() {
    let plane = Plane::start(Config::default()).await;
    let mut client = client(&plane).await;
    let mut runs = Vec::new();
    for _ in 0..8 {
        runs.push(client.submit_workflow(submission("again")).await.expect("the same").into_inner().run_id);
    }
    runs.dedup();
    assert_eq!(runs.len(), 1);
    let mut other = submission("again");
    other.labels.insert("one".to_owned(), "more".to_owned());
    client.submit_workflow(other).await.expect_err("another body under the same id");
    plane.stop().await;
}

#[tokio::test]
async fn an_idle_stream_sends_keepalives() {
    let plane = Plane::start(Config { keepalive_every: Duration::from_millis(50), ..Config::default() }).await;
    let mut client = client(&plane).await;
    // No agent works on it.
    let run_id = client.submit_workflow(submission("idle")).await.expect("taken").into_inner().run_id;
    let watch = WatchRunRequest { run_id, ..WatchRunRequest::default() };
    let mut run = client.watch_run(watch).await.expect("there is one").into_inner();
    let endpoint = Endpoint::from_shared(format!("http://{}", plane.address)).expect("an address");
    let mut system = SystemServiceClient::new(endpoint.connect().await.expect("it listens"));
    let mut all = system.watch_events(WatchEventsRequest::default()).await.expect("it is served").into_inner();
    let quiet = async {
        let (mut events, mut silences) = (0, 0);
        while silences < 3 {
            let message = run.message().await.expect("it goes on").expect("it does not end");
            assert_eq!(message.run, None);
            events += message.events.len();
            silences += usize::from(message.events.is_empty());
        }
        assert!(events > 0, "what was recorded came first");
        while !all.message().await.expect("it goes on").expect("it does not end").events.is_empty() {}
    };
    tokio::time::timeout(Duration::from_secs(30), quiet).await.expect("in time");
    plane.stop().await;
}

/// Submits so much at the same time that not everything fits; returns the result of each submission.
async fn flood(plane: &Plane, max_retries: u32) -> Vec<gleitzeit_sdk::Result<gleitzeit_sdk::RunHandle>> {
    let config = ClientConfig { max_retries, ..ClientConfig::new(format!("http://{}", plane.address)) };
    let client = Client::connect(config).await.expect("it listens");
    let text = "x".repeat(200 * 1024);
    let workflow =
        "name: e\ninputs: {text: ''}\ntasks: [{id: a, method: util/echo, parameters: {text: '${inputs.text}'}}]\n";
    let mut submitted = JoinSet::new();
    for _ in 0..40 {
        let submission = Submission::yaml(workflow).input("text", &text).expect("an input");
        let client = client.clone();
        submitted.spawn(async move { client.submit(submission).await });
    }
    submitted.join_all().await
}

/// The control plane holds only what fits; the clients retry by themselves, and then all are accepted.
#[tokio::test]
async fn a_flood_of_submissions_is_asked_to_retry_later() {
    let plane = Plane::start(Config { max_submitting_bytes: 256 * 1024, ..Config::default() }).await;
    let refused: Vec<_> = flood(&plane, 0).await.into_iter().filter_map(Result::err).collect();
    assert!(!refused.is_empty(), "there was room for all");
    for error in refused {
        assert_eq!(error.known(), Some(ErrorCode::ResourceExhausted), "{error}");
        assert_eq!(error.retry_after(), Some(Duration::from_millis(500)), "{error}");
    }
    for submitted in flood(&plane, 1_000).await {
        submitted.expect("taken in the end");
    }
    plane.stop().await;
}

#[tokio::test]
async fn a_page_token_holds_for_a_filter_with_many_labels() {
    let plane = Plane::start(Config::default()).await;
    let mut client = client(&plane).await;
    for n in 0..8 {
        client.submit_workflow(submission(&n.to_string())).await.expect("submitted");
    }
    let labels = (0..12).map(|n| (format!("label{n}"), n.to_string())).collect();
    let mut request = ListRunsRequest { labels, page_size: 1, ..ListRunsRequest::default() };
    let mut seen = 0;
    loop {
        let page = client.list_runs(request.clone()).await.expect("a page").into_inner();
        seen += page.runs.len();
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, 8);
    plane.stop().await;
}

#[tokio::test]
async fn a_filter_with_too_many_values_is_refused_and_names_the_limit() {
    let plane = Plane::start(Config::default()).await;
    let mut client = client(&plane).await;
    let labels = |count: usize| (0..count).map(|n| (format!("label{n}"), n.to_string())).collect();
    let request = |count| ListRunsRequest { labels: labels(count), ..ListRunsRequest::default() };
    client.list_runs(request(32)).await.expect("as many as there may be");
    for (refused, field) in [
        (client.list_runs(request(2_000)).await.expect_err("too many"), "labels"),
        (
            client
                .list_runs(ListRunsRequest { statuses: vec![1; 33], ..ListRunsRequest::default() })
                .await
                .expect_err("too many"),
            "statuses",
        ),
    ] {
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().contains(field) && refused.message().contains("at most 32"), "{refused:?}");
    }
    let submission = SubmitWorkflowRequest { labels: labels(300), ..submission("many labels") };
    let refused = client.submit_workflow(submission).await.expect_err("too many");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert!(refused.message().contains("at most 256 labels"), "{refused:?}");
    plane.stop().await;
}

/// A service that follows each of its runs needs one connection for all of them.
#[tokio::test]
async fn one_connection_carries_the_maximum_of_watches_and_further_calls() {
    let plane = Plane::start(Config::default()).await;
    let mut client = client(&plane).await;
    let run_id = client.submit_workflow(submission("watched")).await.expect("a run").into_inner().run_id;
    let request = || WatchRunRequest { run_id: run_id.clone(), ..WatchRunRequest::default() };
    let mut watches = Vec::new();
    let refused = loop {
        match tokio::time::timeout(Duration::from_secs(10), client.watch_run(request())).await.expect("an answer") {
            Ok(watch) => watches.push(watch.into_inner()),
            Err(refused) => break refused,
        }
    };
    assert_eq!((watches.len(), refused.code()), (2_048, Code::ResourceExhausted), "{refused:?}");
    assert!(refused.message().contains("2048 streams are open"), "{refused:?}");
    client.list_runs(ListRunsRequest::default()).await.expect("there is room for calls");
    watches.pop();
    tokio::time::timeout(Duration::from_secs(20), async {
        while client.watch_run(request()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("one that ended makes room");
    plane.stop().await;
}

/// Over polling a message may be as large as over WebSocket: a larger one is refused with an answer, and the session
/// goes on.
#[tokio::test]
async fn a_large_answer_over_polling_does_not_end_the_session() {
    let plane = Plane::start(Config::default()).await;
    let path = "/socket.io/?EIO=4&transport=polling";
    let (_, opened) = plane.http("GET", path, "", "").await;
    let sid = opened.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a session");
    let path = format!("{path}&sid={sid}");
    let post = async |body: String| plane.http("POST", &path, "Content-Type: text/plain\r\n", &body).await.0;
    assert_eq!(post("40".to_owned()).await, "HTTP/1.1 200 OK");
    let hear = async |word: &str| {
        loop {
            let (line, body) = plane.http("GET", &path, "", "").await;
            assert_eq!(line, "HTTP/1.1 200 OK", "{body}");
            if body.contains(word) {
                return body;
            }
            assert!(body.is_empty() || body.len() < 10_000, "{} bytes of something else", body.len());
        }
    };
    hear("welcome").await;
    let register = r#"42["register_component",{"component_type":"provider","name":"p","methods":["big/x"]}]"#;
    assert_eq!(post(register.to_owned()).await, "HTTP/1.1 200 OK");
    hear("component_registered").await;
    let result = "x".repeat(500_000);
    let answer = format!(r#"42["method_result",{{"jsonrpc":"2.0","id":"none","result":"{result}"}}]"#);
    assert_eq!(post(answer).await, "HTTP/1.1 200 OK");
    let refused = hear("mesh_error").await;
    assert!(refused.contains("is not the id of a call"), "{refused}");
    plane.stop().await;
}

/// A workflow of this many bytes.
fn sized(bytes: usize) -> SubmitWorkflowRequest {
    let workflow = "name: b\ntasks:\n  - {id: a, method: util/echo}\n# ";
    let yaml = format!("{workflow}{}", "y".repeat(bytes - workflow.len()));
    SubmitWorkflowRequest { source: Some(Source::Yaml(yaml)), ..SubmitWorkflowRequest::default() }
}

/// A request over any limit gets the same kind of answer.
#[tokio::test]
async fn a_request_that_is_too_large_is_refused_with_a_reason_compressed_or_not() {
    const KIB: usize = 1024;
    let config = Config { max_workflow_bytes: 64 * KIB, ..Config::default() };
    let plane = Plane::start(config).await;
    let mut plain = client(&plane).await;
    let mut gzip = client(&plane).await.send_compressed(CompressionEncoding::Gzip);
    for client in [&mut plain, &mut gzip] {
        client.submit_workflow(sized(60 * KIB)).await.expect("small enough");
        // Over the limit of a workflow, over that of a message, and far beyond both.
        for bytes in [65 * KIB, 1_024 * KIB, 4_096 * KIB, 40_960 * KIB] {
            let status = client.submit_workflow(sized(bytes)).await.expect_err("too large");
            assert_eq!(status.code(), Code::ResourceExhausted, "{bytes}: {status:?}");
            let failure = gleitzeit_proto::status::from_status(&status).failure;
            assert_eq!(failure.known(), Some(ErrorCode::ResourceExhausted), "{bytes}: {status:?}");
            assert!(status.get_error_details().error_info().is_some(), "{bytes}: {status:?}");
            assert!(status.get_error_details().retry_info().is_none(), "{bytes}: it stays too large");
        }
    }
    plane.stop().await;
}

/// Invalid inputs are refused with the place inside the value, and never silently changed.
#[tokio::test]
async fn inputs_that_cannot_be_carried_are_refused_with_their_place() {
    let plane = Plane::start(Config::default()).await;
    let mut client = client(&plane).await;
    for (inputs, said) in [
        ("{\"v\": 18446744073709551616}", "in `v`: the whole number 18446744073709551616 does not fit into 64 bits"),
        ("{\"v\": [6E-578]}", "in `v[0]`: the number 6E-578 is too close to zero"),
        ("{\"v\": \"\\ud83c\"}", "in `v`: \\ud83c is half of a surrogate pair"),
        ("{\"v\": NaN}", "in `v`: NaN is no JSON"),
        ("[1]", "expected a JSON object"),
    ] {
        let request = SubmitWorkflowRequest { inputs_json: inputs.to_owned(), ..sized(1_000) };
        let status = client.submit_workflow(request).await.expect_err("not to be carried");
        assert_eq!(status.code(), Code::InvalidArgument, "{inputs}: {status:?}");
        assert!(status.message().contains(said), "{inputs}: {}", status.message());
    }
    plane.stop().await;
}

/// The answer of reflection to one request.
async fn described(client: &mut ServerReflectionClient<Channel>, question: MessageRequest) -> Vec<FileDescriptorProto> {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question.clone()) };
    let mut request = tonic::Request::new(tokio_stream::once(request));
    request.set_timeout(PATIENCE);
    let mut answers = client.server_reflection_info(request).await.expect("it is served").into_inner();
    let answer = answers.message().await.expect("in time").expect("an answer");
    let Some(MessageResponse::FileDescriptorResponse(files)) = answer.message_response else {
        panic!("{question:?} is answered with {answer:?}")
    };
    let decode = |file: &Vec<u8>| FileDescriptorProto::decode(&file[..]).expect("a descriptor");
    files.file_descriptor_proto.iter().map(decode).collect()
}

/// Works as tools do that print an error's details: by the name in `type_url`, then every file that it imports.
#[tokio::test]
async fn the_descriptors_of_error_details_are_complete() {
    let plane = Plane::start(Config::default()).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", plane.address)).expect("an address");
    let mut client = ServerReflectionClient::new(endpoint.connect().await.expect("it listens"));
    let (mut known, mut open) = (BTreeMap::new(), Vec::new());
    for message in ["Status", "ErrorInfo", "BadRequest", "RetryInfo", "ResourceInfo", "QuotaFailure"] {
        let symbol = MessageRequest::FileContainingSymbol(format!("google.rpc.{message}"));
        let files = described(&mut client, symbol).await;
        let defines = |file: &FileDescriptorProto| {
            file.package() == "google.rpc" && file.message_type.iter().any(|it| it.name() == message)
        };
        assert!(files.iter().any(defines), "google.rpc.{message}: {files:?}");
        open.extend(files);
    }
    while let Some(file) = open.pop() {
        for import in &file.dependency {
            if !known.contains_key(import) {
                open.extend(described(&mut client, MessageRequest::FileByFilename(import.clone())).await);
            }
        }
        known.insert(file.name().to_owned(), file.package().to_owned());
    }
    let files: Vec<&str> = known.keys().map(String::as_str).collect();
    let expected = [
        "google/protobuf/any.proto",
        "google/protobuf/duration.proto",
        "google/rpc/error_details.proto",
        "google/rpc/status.proto",
    ];
    assert_eq!(files, expected);
    plane.stop().await;
}
