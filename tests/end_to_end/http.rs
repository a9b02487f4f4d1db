//! Tasks that send HTTP requests, from the command line to a server of the test's own.

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

/// Answers as httpbin does, as far as the example needs it. Ends when dropped.
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicU32>,
    /// What the header `x-key` held.
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
        let keys: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = keys.clone();
        let received = async move |headers: HeaderMap, Json(body): Json<Value>| {
            let key = headers.get("x-key").map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned());
            seen.lock().expect("no panic").extend(key.clone());
            Json(json!({"json": body, "key": key}))
        };
        let app = Router::new().route("/get", get(fetched)).route("/post", post(received)).with_state(asked.clone());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { address, asked, keys, _runtime: runtime }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

#[test]
fn the_example_asks_computes_and_sends_and_is_told_to_come_back() {
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
    // The server was shown the secret and says it back; here it is not seen, nor is it in the journal.
    assert_eq!(ended.json()["outputs"], json!({"key": "***"}), "{ended}");
    assert_eq!(server.keys.lock().expect("no panic").as_slice(), ["s3cret"]);
}
