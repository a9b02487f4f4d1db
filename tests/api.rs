//! The control plane's API and mesh seen by clients that are not ours: stock gRPC messages, and Socket.IO over polling.

mod plane;

use gleitzeit_control_plane::Config;
use gleitzeit_proto::v1::submit_workflow_request::Source;
use gleitzeit_proto::v1::workflow_service_client::WorkflowServiceClient;
use gleitzeit_proto::v1::{ListRunsRequest, SubmitWorkflowRequest, Task, Workflow};
use plane::Plane;
use tonic::transport::{Channel, Endpoint};

async fn client(plane: &Plane) -> WorkflowServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", plane.address)).expect("an address");
    WorkflowServiceClient::new(endpoint.connect().await.expect("it listens"))
}

/// A typed workflow with so many labels that maps without an order would hardly come in the same one twice.
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
async fn a_typed_submission_that_is_repeated_is_the_same_run() {
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

/// Over polling a message may be as large as over WebSocket: what is refused is refused by us, and nobody is cut off.
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
