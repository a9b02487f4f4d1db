//! What stands behind the port: each connection's requests go to the service that they are for.
//!
//! Calls of workflows are by far the most, and go straight there. All else, and whatever a web page asks, goes through the
//! router with everything that is laid around it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response, Version, header};
use gleitzeit_proto::v1::workflow_service_server::WorkflowServiceServer;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tower::Service;
use tower_http::timeout::TimeoutBody;

use crate::api::{State, Workflows};
use crate::connection::{Connection, Cuttable, OpenRequest};
use crate::hub::Hosts;

/// Within this time the head of a request over HTTP/1 must have come, and so long such a connection may be idle.
const HEAD: Duration = Duration::from_secs(30);
/// Within this time the next piece of a request's body must have come.
const BODY: Duration = Duration::from_secs(20);
/// A connection of HTTP/2 that brings nothing for so long is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Who gives none within this time is dropped.
const PONG: Duration = Duration::from_secs(20);
/// How many requests of one HTTP/2 connection are answered at a time; others wait for their turn at the client, which knows
/// no reason. So a caller reaches the bound of its streams first (`STREAMS_OF_CALLER`), and is told, and has room left for
/// other calls.
const STREAMS: u32 = 2_500;
/// The largest head of a request.
const HEAD_BYTES: u32 = 32 * 1024;
/// What is read of HTTP/1 before it is understood; the head must fit.
const BUFFER_BYTES: usize = 64 * 1024;
/// How many headers a request over HTTP/1 may have.
const HEADERS: usize = 100;
/// What waits in one answer for an HTTP/2 client that does not read.
const UNREAD_BYTES: usize = 128 * 1024;

/// Serves connections until it is told to stop, and then until all that was asked is answered. Upgraded connections are
/// left to their own ends.
pub(crate) async fn serve(mut listener: Cuttable, fronts: Fronts, stop: CancellationToken) {
    let server = server();
    let open = GracefulShutdown::new();
    while let Some((stream, connection)) = stop.run_until_cancelled(listener.accept()).await {
        let front = Front { connection, services: fronts.clone() };
        let served = server.serve_connection_with_upgrades(TokioIo::new(stream), front).into_owned();
        let served = open.watch(served);
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(error, "a connection broke off");
            }
        });
    }
    drop(listener);
    open.shutdown().await;
}

fn server() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(BUFFER_BYTES).max_headers(HEADERS);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES)
        .max_send_buf_size(UNREAD_BYTES)
        // WebSockets over HTTP/2 need it.
        .enable_connect_protocol();
    server
}

/// The services behind every connection.
#[derive(Clone)]
pub(crate) struct Fronts {
    workflows: Workflows,
    rest: Router,
    hosts: Arc<Hosts>,
}

impl Fronts {
    pub(crate) fn new(workflows: Workflows, rest: Router, hosts: Hosts) -> Self {
        // Finished here, once: a router that is not builds its layers anew for each request, and sessions of Socket.IO
        // live in a layer.
        Self { workflows, rest: rest.with_state(()), hosts: Arc::new(hosts) }
    }
}

/// One connection and its services.
struct Front {
    connection: Connection,
    services: Fronts,
}

impl hyper::service::Service<Request<Incoming>> for Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let open = self.connection.begin_request();
        if let Some(refusal) = self.services.hosts.refusal(&request) {
            return Box::pin(async move { Ok(refusal) });
        }
        let mut request = request.map(|body| Body::new(TimeoutBody::new(BODY, body)));
        // Both are always ready.
        if is_workflow_call(&request) {
            request.extensions_mut().insert(self.connection.clone());
            let answer = self.services.workflows.clone().call(request);
            return Box::pin(async move { answer.await.map(|answer| answer.map(|body| during(open, body))) });
        }
        request.extensions_mut().insert(self.connection.clone());
        request.extensions_mut().insert(ConnectInfo(self.connection.clone()));
        let answer = self.services.rest.clone().call(request);
        Box::pin(async move { answer.await.map(|answer| answer.map(|body| during(open, body))) })
    }
}

/// A request lasts until its answer was handed over.
fn during<B>(open: OpenRequest, body: B) -> Body
where
    B: hyper::body::Body<Data = tonic::codegen::Bytes, Error: Into<axum::BoxError>> + Send + Unpin + 'static,
{
    Body::new(During { body, _open: open })
}

struct During<B> {
    body: B,
    _open: OpenRequest,
}

impl<B: hyper::body::Body + Unpin> hyper::body::Body for During<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether it is a call of gRPC to our main service, and no page's: those may be refused, or speak gRPC-Web.
fn is_workflow_call<B>(request: &Request<B>) -> bool {
    let of_service = (request.uri().path().strip_prefix('/'))
        .and_then(|path| path.strip_prefix(WorkflowServiceServer::<State>::NAME))
        .is_some_and(|method| method.starts_with('/'));
    let content_type = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let is_grpc = matches!(content_type, b"application/grpc" | b"application/grpc+proto");
    of_service && is_grpc && request.version() == Version::HTTP_2 && !request.headers().contains_key(header::ORIGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_calls_of_workflows_go_straight_there() {
        const CALL: &str = "/gleitzeit.v1.WorkflowService/GetRun";
        const GRPC: (&str, &str) = ("content-type", "application/grpc");
        let request = |path: &str, version, headers: &[(&str, &str)]| {
            let mut request = Request::builder().uri(path).version(version);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            request.body(()).expect("a request")
        };
        for (path, headers, straight) in [
            (CALL, &[GRPC][..], true),
            (CALL, &[("content-type", "application/grpc+proto")], true),
            (CALL, &[("content-type", "application/grpc-web+proto")], false),
            (CALL, &[GRPC, ("origin", "http://page.example")], false),
            (CALL, &[], false),
            ("/gleitzeit.v1.WorkflowServices/GetRun", &[GRPC], false),
            ("/gleitzeit.v1.SystemService/GetStatus", &[GRPC], false),
            ("/socket.io/", &[], false),
        ] {
            assert_eq!(is_workflow_call(&request(path, Version::HTTP_2, headers)), straight, "{path} {headers:?}");
        }
        assert!(!is_workflow_call(&request(CALL, Version::HTTP_11, &[GRPC])), "gRPC needs HTTP/2");
    }
}
