//! A server for tests that speaks Ollama's API and OpenAI's as their own clients do, including streaming. There is no
//! model: its answers follow from the requests, and the names of its models select how it misbehaves (`script`). It
//! records its requests. Never part of the product.

mod answer;
mod ollama;
mod openai;
mod script;
mod stream;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::{OwnedMutexGuard, oneshot};

pub use script::{EMBEDDER, MODELS};

/// The largest request that is accepted.
const MOST_BYTES: usize = 32 << 20;
/// How many requests are recorded; later ones are answered only.
const MOST_KEPT: usize = 10_000;

/// A recorded request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method, such as `POST`.
    pub method: String,
    /// The path, such as `/api/chat`.
    pub path: String,
    /// The header `Authorization`.
    pub authorization: Option<String>,
    /// The header `traceparent`.
    pub traceparent: Option<String>,
    /// The body; null if it was not JSON.
    pub body: Value,
}

/// The state that all requests share.
#[derive(Debug, Default)]
struct Shared {
    key: Option<String>,
    /// A fixed answer to everything, if set.
    says: Option<String>,
    asked: Mutex<Vec<Asked>>,
    abandoned: AtomicUsize,
    open: AtomicUsize,
    /// How many more requests of any kind are answered with 503.
    loading: AtomicUsize,
    /// Held by the current call to a model that works on calls one after another.
    turn: Arc<tokio::sync::Mutex<()>>,
}

type Server = Arc<Shared>;

/// A running server; dropping it stops it and all its open answers.
#[derive(Debug)]
pub struct LlmServer {
    address: SocketAddr,
    shared: Server,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LlmServer {
    /// Starts a server on a free port of this machine.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn start() -> Self {
        Self::start_with(0, None)
    }

    /// Starts a server on a port, 0 for a free one; with a key, requests need it as `Authorization: Bearer KEY`.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn start_with(port: u16, key: Option<String>) -> Self {
        Self::start_as(port, Shared { key, ..Shared::default() })
    }

    /// Starts a server on a free port whose models always give the same answer.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn start_saying(text: &str) -> Self {
        Self::start_as(0, Shared { says: Some(text.to_owned()), ..Shared::default() })
    }

    fn start_as(port: u16, shared: Shared) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener = listener.unwrap_or_else(|error| panic!("port {port} cannot be had: {error}"));
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(shared);
        let router = router(shared.clone());
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket that does not block");
                tokio::select! {
                    served = axum::serve(listener, router) => served.expect("it serves until it is stopped"),
                    _ = stopped => {}
                }
            });
            // Endless answers are dropped.
            runtime.shutdown_background();
        });
        Self { address, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Answers the next `requests` requests with 503, as a server does while it loads its model.
    pub fn load_for(&self, requests: usize) {
        self.shared.loading.store(requests, Ordering::SeqCst);
    }

    /// The base URL for Ollama's API.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The base URL for OpenAI's API.
    pub fn openai_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The recorded requests in order, without health checks.
    pub fn asked(&self) -> Vec<Asked> {
        let asked = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|asked| asked.method == "POST").cloned().collect()
    }

    /// How many answers the clients did not read to the end.
    pub fn abandoned(&self) -> usize {
        self.shared.abandoned.load(Ordering::SeqCst)
    }

    /// How many answers are being streamed.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Waits for the end of the server, which does not end by itself.
    pub fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for LlmServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn router(shared: Server) -> Router {
    Router::new()
        .route("/", get(|| async { "Ollama is running" }))
        .route("/api/version", get(|| async { axum::Json(json!({"version": "0.99.0"})) }))
        .route("/api/tags", get(ollama::tags))
        .route("/api/chat", post(ollama::chat))
        .route("/api/generate", post(ollama::generate))
        .route("/api/embed", post(ollama::embed))
        .route("/v1/models", get(openai::models))
        .route("/v1/chat/completions", post(openai::chat))
        .route("/v1/embeddings", post(openai::embed))
        .fallback(|| async { (StatusCode::NOT_FOUND, "404 page not found") })
        .layer(from_fn_with_state(shared.clone(), admit))
        .with_state(shared)
}

/// Records each request, refuses those without the key, and lets models that refuse do so.
async fn admit(State(server): State<Server>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MOST_BYTES).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let asked = Asked {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        authorization: authorization.map(str::to_owned),
        traceparent: parts.headers.get("traceparent").and_then(|value| value.to_str().ok()).map(str::to_owned),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    if let Some(key) = &server.key
        && asked.authorization.as_deref() != Some(&format!("Bearer {key}"))
    {
        let given = asked.authorization.as_deref().unwrap_or("nothing").to_owned();
        keep(&server, asked);
        let message = format!("Incorrect API key provided: {given}");
        let error = json!({"error": {"message": message, "type": "invalid_request_error", "code": "invalid_api_key"}});
        return (StatusCode::UNAUTHORIZED, axum::Json(error)).into_response();
    }
    let loading = server.loading.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if loading.is_ok() {
        let error = json!({"message": "Loading model", "type": "unavailable_error", "code": 503});
        return (StatusCode::SERVICE_UNAVAILABLE, axum::Json(json!({"error": error}))).into_response();
    }
    let model = asked.body["model"].as_str().unwrap_or_default().to_owned();
    let (path, sent) = (asked.path.clone(), asked.body.clone());
    let earlier = keep(&server, asked);
    if parts.method == "POST"
        && let Some(refusal) = script::refuse(&model, &path, &sent, earlier)
    {
        return refusal;
    }
    next.run(Request::from_parts(parts, Body::from(body))).await
}

/// Records a request; returns how often the same model was asked before.
fn keep(server: &Server, asked: Asked) -> usize {
    let mut all = server.asked.lock().unwrap_or_else(PoisonError::into_inner);
    let earlier = all.iter().filter(|other| other.method == asked.method && other.body["model"] == asked.body["model"]);
    let earlier = earlier.count();
    if all.len() < MOST_KEPT {
        all.push(asked);
    }
    earlier
}

/// Waits for the turn of a call to a model that works on calls one after another.
async fn turn(server: &Server, model: &Value) -> Option<OwnedMutexGuard<()>> {
    if script::manner(model.as_str()?) != Some(script::Manner::Queued) {
        return None;
    }
    Some(server.turn.clone().lock_owned().await)
}

/// The body as JSON.
fn parsed(body: &Bytes) -> Result<Value, Box<Response>> {
    serde_json::from_slice(body).map_err(|error| {
        Box::new((StatusCode::BAD_REQUEST, axum::Json(json!({"error": error.to_string()}))).into_response())
    })
}
