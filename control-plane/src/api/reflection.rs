//! gRPC reflection. The descriptors are built on the first request: most processes never get one, and building them
//! would be a tenth of the work of a short process.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::http::Request;
use gleitzeit_proto::{FILE_DESCRIPTOR_SET, status};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic_reflection::server::Builder;
use tower::Service;

use super::Authorize;

const READABLE: &str = "what the build makes of the proto files can be read, as a test shows";

/// The services and messages that reflection describes.
fn described<'a>() -> Builder<'a> {
    Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // No method refers to these messages: errors carry them packed in `Any`, and tools look them up to print an
        // error.
        .register_file_descriptor_set(status::descriptors().expect(READABLE))
}

/// Adds both versions of the reflection service: Python and older tools ask for the earlier one.
pub(super) fn added_to(routes: Routes, authorize: &Authorize) -> Routes {
    let v1 = OnDemand::new(|| described().build_v1().expect(READABLE));
    let v1alpha = OnDemand::new(|| described().build_v1alpha().expect(READABLE));
    routes
        .add_service(InterceptedService::new(v1, authorize.clone()))
        .add_service(InterceptedService::new(v1alpha, authorize.clone()))
}

/// A service that is built on its first request.
struct OnDemand<S> {
    make: fn() -> S,
    made: Arc<OnceLock<S>>,
}

impl<S> OnDemand<S> {
    fn new(make: fn() -> S) -> Self {
        Self { make, made: Arc::default() }
    }
}

impl<S> Clone for OnDemand<S> {
    fn clone(&self) -> Self {
        Self { make: self.make, made: self.made.clone() }
    }
}

impl<S: NamedService> NamedService for OnDemand<S> {
    const NAME: &'static str = S::NAME;
}

/// The inner service is always ready, as all of tonic's are.
impl<S: Service<Request<Body>, Error = Infallible> + Clone> Service<Request<Body>> for OnDemand<S> {
    type Response = S::Response;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.made.get_or_init(self.make).clone().call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_reflection_can_be_built() {
        assert!(described().build_v1().is_ok() && described().build_v1alpha().is_ok());
    }
}
