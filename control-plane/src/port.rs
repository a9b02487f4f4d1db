//! The services behind the port: passes the requests of each connection to the right service.
//!
//! Workflow calls are by far the most frequent and go straight to their service. Everything else, and every request of
//! a web page, goes through the router with all its layers.

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
use crate::connection::{Connection, CuttableListener, OpenRequest};
use crate::hub::Hosts;

/// How long an HTTP/1 client may take to send the head of a request, and how long its connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take to send the next piece of a request body.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// A ping is sent on an HTTP/2 connection that was silent for this long.
const PING_EVERY: Duration = Duration::from_secs(20);
/// An HTTP/2 connection is dropped if a ping is not answered within this time.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// The most requests of one HTTP/2 connection that are answered at a time; further ones wait in the client, which does
/// not know why. Because it is higher than `STREAMS_OF_CALLER`, a caller reaches that limit first, gets an error that
/// says so, and has room left for other calls.
const STREAMS: u32 = 2_500;
/// The largest head of an HTTP/2 request, in bytes.
const HEAD_BYTES: u32 = 32 * 1024;
/// How many bytes of HTTP/1 are buffered before they are parsed; the head of a request must fit.
const BUFFER_BYTES: usize = 64 * 1024;
/// The most headers of an HTTP/1 request.
const HEADERS: usize = 100;
/// How many bytes of an answer are buffered for an HTTP/2 client that does not read.
const UNREAD_BYTES: usize = 128 * 1024;

/// Serves connections until `stop` is cancelled, and then until all requests in progress are answered. Upgraded
/// connections end on their own.
pub(crate) async fn serve(mut listener: CuttableListener, fronts: Fronts, stop: CancellationToken) {
    let server = server();
    let open = GracefulShutdown::new();
    while let Some((stream, connection)) = stop.run_until_cancelled(listener.accept()).await {
        let front = Front { connection, services: fronts.clone() };
        let served = server.serve_connection_with_upgrades(TokioIo::new(stream), front).into_owned();
        let served = open.watch(served);
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(error, "a connection ended with an error");
            }
        });
    }
    drop(listener);
    open.shutdown().await;
}

fn server() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES)
        .max_headers(HEADERS);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES)
        .max_send_buf_size(UNREAD_BYTES)
        // WebSockets over HTTP/2 need it.
        .enable_connect_protocol();
    server
}

/// The services that every connection shares.
#[derive(Clone)]
pub(crate) struct Fronts {
    workflows: Workflows,
    rest: Router,
    hosts: Arc<Hosts>,
}

impl Fronts {
    pub(crate) fn new(workflows: Workflows, rest: Router, hosts: Hosts) -> Self {
        // Finished once, here: an unfinished router rebuilds its layers for each request, and one of them holds the
        // Socket.IO sessions.
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
        let mut request = request.map(|body| Body::new(TimeoutBody::new(BODY_TIMEOUT, body)));
        // Both services are always ready.
        if is_workflow_call(&request) {
            request.extensions_mut().insert(self.connection.clone());
            let answer = self.services.workflows.clone().call(request);
            return Box::pin(async move { answer.await.map(|answer| answer.map(|body| hold_open(open, body))) });
        }
        request.extensions_mut().insert(self.connection.clone());
        request.extensions_mut().insert(ConnectInfo(self.connection.clone()));
        let answer = self.services.rest.clone().call(request);
        Box::pin(async move { answer.await.map(|answer| answer.map(|body| hold_open(open, body))) })
    }
}

/// Keeps a request open until its answer has been handed over.
fn hold_open<B>(open: OpenRequest, body: B) -> Body
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

/// Whether a request is a gRPC call of the workflow service that does not come from a web page. Requests of pages may
/// be refused, or use gRPC-Web.
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
    fn only_plain_workflow_calls_bypass_the_router() {
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
