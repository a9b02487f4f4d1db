//! Health over plain HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Whether the control plane can do its work.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness(Arc<AtomicBool>);

impl Readiness {
    pub(crate) fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }
}

/// What is served under no path of ours: gRPC clients are answered as gRPC says, everybody else with 404.
pub(crate) async fn nothing_here(request: Request) -> Response {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content_type.is_some_and(|value| value.starts_with("application/grpc")) {
        return tonic::Status::unimplemented("there is no such method").into_http::<axum::body::Body>();
    }
    (StatusCode::NOT_FOUND, "nothing is served here; gRPC, Socket.IO, /healthz and /readyz are\n").into_response()
}

/// `/healthz`: the process lives. `/readyz`: the store is open and gRPC and mesh are served, whatever is connected.
pub(crate) fn routes(readiness: Readiness) -> Router {
    let ready = |State(readiness): State<Readiness>| async move {
        if readiness.0.load(Ordering::Relaxed) {
            (StatusCode::OK, "ready\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
        }
    };
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready)).with_state(readiness)
}
