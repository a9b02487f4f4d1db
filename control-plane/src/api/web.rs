//! gRPC-Web for web pages from the origins that `--allow-origin` names. Requests from other origins were refused
//! earlier.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use tonic_web::GrpcWebLayer;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

/// Response headers that a page may read: the status of a call and its details.
const ENDS: [&str; 3] = ["grpc-status", "grpc-message", "grpc-status-details-bin"];
/// Request headers that a page may send.
const ASKS: [&str; 4] = ["x-grpc-web", "x-user-agent", "grpc-timeout", "traceparent"];

/// Makes the services callable from web pages too.
pub(super) fn for_pages(services: Router, allow_origins: &[String]) -> Router {
    let origins = if allow_origins.iter().any(|origin| origin == "*") {
        AllowOrigin::from(Any)
    } else {
        allow_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect::<Vec<_>>().into()
    };
    let asks = ASKS.map(HeaderName::from_static).into_iter().chain([header::CONTENT_TYPE, header::AUTHORIZATION]);
    let cors = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::POST])
        .allow_headers(asks.collect::<Vec<_>>())
        .expose_headers(ENDS.map(HeaderName::from_static));
    services.layer(GrpcWebLayer::new()).layer(cors)
}
