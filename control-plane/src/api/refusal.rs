//! Requests that tonic refuses before a method sees them: tonic's error says less than the API contract promises.
//!
//! Every error of ours carries details. One without details, with a code that is translated here, comes from tonic.

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

/// Wraps a service so that every refused request gets one of our errors, including requests that it never reads.
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

/// Translates tonic's refusal. An answer that has begun has its status in the trailers, not in the headers.
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
        // Larger than the limit after decompression.
        Code::ResourceExhausted => {
            Some(Failure::new(ErrorCode::ResourceExhausted, format!("the request is too large: {why}")))
        }
        // The body is not a message of the method, or is not compressed as its header says.
        Code::Internal => Some(Failure::new(ErrorCode::InvalidRequest, format!("the request cannot be read: {why}"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_the_layer_have_our_code_and_details() {
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
        // An error that already has details is ours and stays as it is.
        let ours = Failure::new(ErrorCode::InternalError, "of its own");
        assert_eq!(said(status::to_status(&ours)), (Code::Internal, Some(ErrorCode::InternalError), ours.message));
        assert_eq!(said(Status::unimplemented("no such method")).0, Code::Unimplemented);
    }
}
