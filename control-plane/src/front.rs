//! What stands behind the port: each connection's requests go to the service that they are for.
//!
//! Calls of workflows are by far the most, and go straight there. All else, and whatever a web page asks, goes through the
//! router with everything that is laid around it.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{Version, header};
use axum::response::Response;
use axum::serve::IncomingStream;
use gleitzeit_proto::v1::workflow_service_server::WorkflowServiceServer;
use tonic::server::NamedService;
use tower::Service;

use crate::api::{State, Workflows};
use crate::connection::{Connection, Cuttable};

/// Makes the front of each connection.
#[derive(Clone)]
pub(crate) struct Fronts {
    workflows: Workflows,
    rest: Router,
}

impl Fronts {
    pub(crate) fn new(workflows: Workflows, rest: Router) -> Self {
        // Finished here, once: a router that is not builds its layers anew for each request, and sessions of Socket.IO
        // live in a layer.
        Self { workflows, rest: rest.with_state(()) }
    }
}

impl Service<IncomingStream<'_, Cuttable>> for Fronts {
    type Response = Front;
    type Error = Infallible;
    type Future = Ready<Result<Front, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, stream: IncomingStream<'_, Cuttable>) -> Self::Future {
        let connection = stream.remote_addr().clone();
        ready(Ok(Front(Arc::new((connection, self.clone())))))
    }
}

/// One connection and its services; cloned for each request.
#[derive(Clone)]
pub(crate) struct Front(Arc<(Connection, Fronts)>);

impl Service<Request> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let (connection, services) = &*self.0;
        connection.note_request();
        // Both are always ready.
        if is_workflow_call(&request) {
            let answer = services.workflows.clone().call(request);
            return Box::pin(async move { answer.await.map(|answer| answer.map(Body::new)) });
        }
        request.extensions_mut().insert(ConnectInfo(connection.clone()));
        Box::pin(services.rest.clone().call(request))
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
