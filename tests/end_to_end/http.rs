//! Tasks that send HTTP requests, from the command line to a server of the test.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::support::{Sandbox, example};

/// Answers as httpbin does, as far as the example needs it. Stops on drop.
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicU32>,
    /// The values of the header `x-key`.
    keys: Arc<Mutex<Vec<String>>>,
    _runtime: Runtime,
}

impl Server {
    /// Refuses the first `busy` requests with 429.
    fn start(busy: u32) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let (address, asked) = (listener.local_addr().expect("an address"), Arc::new(AtomicU32::new(0)));
        let fetched = async move |State(asked): State<Arc<AtomicU32>>, RawQuery(query): RawQuery| -> Response {
            if asked.fetch_add(1, Ordering::Relaxed) < busy {
                return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")], "later").into_response();
            }
            let query = query.unwrap_or_default();
            let args = url::form_urlencoded::parse(query.as_bytes());
            let args: Map<String, Value> =
                args.map(|(name, value)| (name.into(), Value::String(value.into()))).collect();
            Json(json!({ "args": args })).into_response()
        };
        // Returns the requested address, the link to the next page, and Python's notation of a number that is not one.
        let told = async move |asked: axum::extract::Request| {
            let uri = asked.uri().to_string();
            let page = Json(json!({"uri": uri, "next": "/told/next?page=2"}));
            if uri.ends_with("/nan") {
                ([("content-type", "application/json")], "{\"x\": NaN}").into_response()
            } else {
                page.into_response()
            }
        };
        let keys: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = keys.clone();
        let received = async move |headers: HeaderMap, Json(body): Json<Value>| {
            let key = headers.get("x-key").map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned());
            seen.lock().expect("no panic").extend(key.clone());
            Json(json!({"json": body, "key": key}))
        };
        let app = Router::new()
            .route("/get", get(fetched))
            .route("/post", post(received))
            .fallback(told)
            .with_state(asked.clone());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { address, asked, keys, _runtime: runtime }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

#[test]
fn the_example_fetches_computes_and_sends_despite_a_retry_after() {
    let (sandbox, server) = (Sandbox::new(), Server::start(1));
    let input = format!("server={}", server.url());
    let ended = sandbox.gleitzeit(&["run", &example("http_workflow.yaml"), "--input", &input, "-o", "json"]).exits(0);
    let run = ended.json();
    assert_eq!(run["outputs"], json!({"status": 200, "received": {"words": 3, "days": 3}}), "{run}");
    assert_eq!((&run["tasks"]["fetch"]["attempt"], server.asked.load(Ordering::Relaxed)), (&json!(2), 2));
}

#[test]
fn a_server_that_is_not_there_fails_the_run_with_its_address() {
    let sandbox = Sandbox::new();
    let input = format!("server=http://127.0.0.1:{}", crate::support::free_port());
    let text = "name: One\ninputs: {server: null}\ntasks: [{id: only, method: http/request, parameters: {url: \
                \"${inputs.server}/get\"}}]\n";
    let ended = sandbox.gleitzeit(&["run", &sandbox.file("one.yaml", text), "--input", &input]).exits(1);
    assert!(ended.stderr.contains("is not reachable: connection refused"), "{ended}");
}

#[test]
fn a_provider_for_one_service_brings_the_secret_that_the_workflow_never_sees() {
    let (sandbox, server) = (Sandbox::new(), Server::start(0));
    let provider = format!(
        "name: http\nprotocol: http/v1\nexecutor: http\nconnection: {{base_url: '{}'}}\nauthentication: {{type: header, \
         header: X-Key, file: '{}'}}\n",
        server.url(),
        sandbox.file("key", "s3cret\n"),
    );
    let provider = sandbox.file("items.yaml", provider);
    let text = "name: One\ntasks:\n  - {id: only, method: http/request, parameters: {url: /post, method: POST, json: \
                [1]}}\noutputs: {key: \"${only.json.key}\"}\n";
    let file = sandbox.file("one.yaml", text);
    let ended = sandbox.gleitzeit(&["run", &file, "--provider", &provider, "-o", "json"]).exits(0);
    // The server received the secret and returned it; here and in the journal it is masked.
    assert_eq!(ended.json()["outputs"], json!({"key": "***"}), "{ended}");
    assert_eq!(server.keys.lock().expect("no panic").as_slice(), ["s3cret"]);
}

#[test]
fn values_in_an_address_stay_in_their_place_and_a_link_is_followed() {
    let (sandbox, server) = (Sandbox::new(), Server::start(0));
    let text = r#"
name: Addresses
inputs: {server: null, port: null, name: "../admin?x=1#", parts: [a, "b/c"]}
tasks:
  - {id: path, method: http/request, parameters: {url: "${inputs.server}/told/${inputs.name}/x?q=${inputs.name}"}}
  - {id: list, method: http/request, parameters: {url: "http://127.0.0.1:${inputs.port}/told/${inputs.parts}"}}
  - {id: next, method: http/request, parameters: {url: "${inputs.server}${path.json.next}"}}
  - {id: link, method: util/echo, parameters: {url: "${inputs.server}${path.json.next}"}}
  - {id: whole, method: http/request, parameters: {url: "${link.url}"}}
  - {id: dots, method: http/request, parameters: {url: "http://127.0.0.1:${inputs.port}/told/${dotted.v}"}}
  - {id: dotted, method: util/echo, parameters: {v: ".."}}
outputs: {path: "${path.json.uri}", list: "${list.json.uri}", whole: "${whole.json.uri}"}
"#;
    let (url, port) = (server.url(), server.address.port());
    let inputs = [format!("server={url}"), format!("port={port}")];
    let file = sandbox.file("addresses.yaml", text);
    let ended = sandbox.gleitzeit(&["run", &file, "--input", &inputs[0], "--input", &inputs[1], "-o", "json"]).exits(1);
    let run = ended.json();
    let uri = |task: &str| run["tasks"][task]["result"]["json"]["uri"].clone();
    assert_eq!(uri("path"), "/told/..%2Fadmin%3Fx%3D1%23/x?q=..%2Fadmin%3Fx%3D1%23", "{run}");
    assert_eq!(uri("list"), "/told/a/b%2Fc", "{run}");
    assert_eq!(uri("whole"), "/told/next?page=2", "{run}");
    for (task, expected) in
        [("next", "stands where the port of the address is"), ("dots", "makes the segment `..` of the path")]
    {
        let error = &run["tasks"][task]["error"];
        assert_eq!(error["name"], "TASK_PARAMETER_ERROR", "{error}");
        assert!(error["message"].as_str().is_some_and(|message| message.contains(expected)), "{error}");
    }
}

#[test]
fn a_body_that_is_no_json_does_not_fail_its_request_and_a_task_may_ask_why() {
    let (sandbox, server) = (Sandbox::new(), Server::start(0));
    let text = "name: One\ninputs: {server: null}\ntasks: [{id: only, method: http/request, parameters: {url: \
                \"${inputs.server}/nan\"}}]\noutputs: {why: \"${only.json_error}\", body: \"${only.body}\", json: \
                \"${only.json}\", text: \"${only.body_error}\"}\n";
    let input = format!("server={}", server.url());
    let ended = sandbox.gleitzeit(&["run", &sandbox.file("one.yaml", text), "--input", &input, "-o", "json"]).exits(0);
    let why = "in `x`: NaN is no JSON; write null or text instead, at byte 6";
    let expected = json!({"why": why, "body": "{\"x\": NaN}", "json": null, "text": null});
    assert_eq!(ended.json()["outputs"], expected, "{ended}");
}
