//! A gateway between a client and a control plane that speaks gRPC on both sides. It ends the first watches with the
//! codes that libraries and gateways use for a broken connection.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use tokio::runtime::Runtime;
use tonic::Code;
use tonic::client::GrpcService as _;
use tonic::transport::{Channel, Endpoint};

/// The gateway; it stops on drop.
pub(crate) struct Gateway {
    pub(crate) address: String,
    /// The codes that end the next watches.
    codes: Arc<Mutex<Vec<Code>>>,
    _runtime: Runtime,
}

impl Gateway {
    /// Starts a gateway in front of the control plane at `url`. It ends the first watches at once, one with each of the
    /// codes, the last code first, and none with details.
    pub(crate) fn start(url: &str, codes: &[Code]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let (runtime, codes) = (runtime.expect("a runtime"), Arc::new(Mutex::new(codes.to_vec())));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let endpoint = Endpoint::from_shared(url.to_owned()).expect("an address");
        let channel = runtime.block_on(async { endpoint.connect_lazy() });
        let left = codes.clone();
        let answer = move |request: Request| answer(request, channel.clone(), left.clone());
        runtime.spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        Self { address, codes, _runtime: runtime }
    }

    /// How many watches are still to be ended.
    pub(crate) fn left(&self) -> usize {
        self.codes.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

async fn answer(request: Request, mut channel: Channel, codes: Arc<Mutex<Vec<Code>>>) -> Response<Body> {
    if request.uri().path().ends_with("/WatchRun") {
        let next = codes.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(code) = next {
            return status(code);
        }
    }
    if poll_fn(|context| channel.poll_ready(context)).await.is_err() {
        return status(Code::Unavailable);
    }
    match channel.call(request.map(tonic::body::Body::new)).await {
        Ok(response) => response.map(Body::new),
        Err(_) => status(Code::Unavailable),
    }
}

/// An answer with only a status code.
fn status(code: Code) -> Response<Body> {
    let response = Response::builder().header("content-type", "application/grpc").header("grpc-status", code as i32);
    response.body(Body::empty()).expect("a response")
}
