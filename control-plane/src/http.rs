//! Health checks and metrics over plain HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::watch;

use crate::hub::{Admission, HubHandle, token_refusal};
use crate::journal::Journal;
use crate::metrics::{Metrics, MetricsSource};

/// Whether the control plane is ready to work.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness(watch::Sender<bool>);

impl Readiness {
    pub(crate) fn set(&self, ready: bool) {
        self.0.send_replace(ready);
    }

    /// Waits until the control plane is ready.
    pub(crate) async fn wait(&self) {
        // `self` holds the sender, so the channel cannot be closed.
        let _ = self.0.subscribe().wait_for(|ready| *ready).await;
    }
}

/// Answers unknown paths: gRPC clients as gRPC requires, everyone else with 404.
pub(crate) async fn answer_unknown_path(request: Request) -> Response {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content_type.is_some_and(|value| value.starts_with("application/grpc")) {
        return tonic::Status::unimplemented("this method does not exist").into_http::<axum::body::Body>();
    }
    (StatusCode::NOT_FOUND, "nothing is served here; gRPC, Socket.IO, /healthz, /readyz and /metrics are\n")
        .into_response()
}

/// `/healthz`: the process is alive. `/readyz`: the store is open, and gRPC and mesh are served, whatever is connected.
pub(crate) fn routes(readiness: Readiness) -> Router {
    let ready = |State(readiness): State<Readiness>| async move {
        if *readiness.0.borrow() {
            (StatusCode::OK, "ready\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
        }
    };
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready)).with_state(readiness)
}

/// What `/metrics` is answered from.
#[derive(Clone)]
pub(crate) struct MetricsEndpoint {
    pub(crate) metrics: Metrics,
    pub(crate) source: MetricsSource,
    pub(crate) journal: Journal,
    pub(crate) hub: HubHandle,
    pub(crate) admission: Arc<Admission>,
}

impl MetricsEndpoint {
    /// Refreshes the gauges. If the control plane is shutting down and does not answer, they keep their values.
    pub(crate) async fn refresh(&self) {
        let (Ok(backlog), Some(components)) = (self.journal.backlog().await, self.hub.components().await) else {
            return;
        };
        self.metrics.now().set(self.journal.counts().running, &backlog, &components);
    }

    /// Refreshes the gauges periodically, for metrics that are pushed.
    pub(crate) async fn refresh_periodically(self, every: Duration) {
        loop {
            self.refresh().await;
            tokio::time::sleep(every).await;
        }
    }
}

/// `/metrics` in Prometheus text format; requires the token, if one is set.
pub(crate) fn metrics(measured: MetricsEndpoint) -> Router {
    let show = |State(measured): State<MetricsEndpoint>, headers: HeaderMap| async move {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer "));
        if !measured.admission.admits_token(given) {
            return (StatusCode::UNAUTHORIZED, format!("{}\n", token_refusal(given))).into_response();
        }
        measured.refresh().await;
        match (measured.source.render)() {
            Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
            Err(why) => {
                (StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics cannot be read: {why}\n")).into_response()
            }
        }
    };
    Router::new().route("/metrics", get(show)).with_state(measured)
}
