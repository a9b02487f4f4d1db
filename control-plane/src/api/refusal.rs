//! What is refused before a method sees it: the layer that reads requests says less than the contract promises.
//!
//! Every error of ours carries details. One without them, of those that are translated here, comes from that layer.

use std::task::{Context, Poll};

use axum::http::{HeaderMap, Request, Response};
use futures_util::TryFutureExt as _;
use futures_util::future::MapOk;
use gleitzeit_proto::status;
use gleitzeit_workflow::{ErrorCode, Failure};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Code, Status};
use tower::Service;

/// A service whose requests are refused with our errors, also those that it never reads.
#[derive(Clone, Debug)]
pub(crate) struct Refusals<S>(pub(crate) S);

impl<S: NamedService> NamedService for Refusals<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B> Service<Request<B>> for Refusals<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = MapOk<S::Future, fn(Response<Body>) -> Response<Body>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.0.call(request).map_ok(explained)
    }
}

fn explained(response: Response<Body>) -> Response<Body> {
    match refusal(response.headers()) {
        Some(failure) => status::to_status(&failure).into_http(),
        None => response,
    }
}

/// What the layer meant. An answer that has begun has its status behind it and none in its headers.
fn refusal(headers: &HeaderMap) -> Option<Failure> {
    if !headers.contains_key(Status::GRPC_STATUS) || headers.contains_key("grpc-status-details-bin") {
        return None;
    }
    let status = Status::from_header_map(headers)?;
    let why = status.message();
    match status.code() {
        // Larger than the limit as it was sent; the text names both sizes.
        Code::OutOfRange => {
            let sizes = why.split_once("too large: ").map_or(why, |(_, sizes)| sizes);
            Some(Failure::new(ErrorCode::ResourceExhausted, format!("the request is too large: {sizes}")))
        }
        // Larger than the limit once it was decompressed.
        Code::ResourceExhausted => {
            Some(Failure::new(ErrorCode::ResourceExhausted, format!("the request is too large: {why}")))
        }
        // No message of the method, or not compressed as it says.
        Code::Internal => Some(Failure::new(ErrorCode::InvalidRequest, format!("the request cannot be read: {why}"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_layer_refuses_has_our_code_and_details() {
        let said = |status: Status| {
            let answer = explained(status.into_http());
            let status = Status::from_header_map(answer.headers()).expect("a status");
            (status.code(), status::from_status(&status).failure.known(), status.message().to_owned())
        };
        let large =
            Status::out_of_range("Error, decoded message length too large: found 9 bytes, the limit is: 4 bytes");
        let text = "the request is too large: found 9 bytes, the limit is: 4 bytes".to_owned();
        assert_eq!(said(large), (Code::ResourceExhausted, Some(ErrorCode::ResourceExhausted), text));
        let (code, known, _) = said(Status::resource_exhausted("exceeded while decompressing"));
        assert_eq!((code, known), (Code::ResourceExhausted, Some(ErrorCode::ResourceExhausted)));
        let (code, known, _) = said(Status::internal("invalid wire type"));
        assert_eq!((code, known), (Code::InvalidArgument, Some(ErrorCode::InvalidRequest)));
        // What has details is ours and stays.
        let ours = Failure::new(ErrorCode::InternalError, "of its own");
        assert_eq!(said(status::to_status(&ours)), (Code::Internal, Some(ErrorCode::InternalError), ours.message));
        assert_eq!(said(Status::unimplemented("no such method")).0, Code::Unimplemented);
    }
}
