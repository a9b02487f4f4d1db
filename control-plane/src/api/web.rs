//! gRPC for web pages: gRPC-Web, for those that `--allow-origin` names. Whoever comes from elsewhere was refused before.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use tonic_web::GrpcWebLayer;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

/// What a page may read of an answer: how a call ended, with its details.
const ENDS: [&str; 3] = ["grpc-status", "grpc-message", "grpc-status-details-bin"];
/// How a call is made.
const ASKS: [&str; 4] = ["x-grpc-web", "x-user-agent", "grpc-timeout", "traceparent"];

/// Serves the services to pages, too.
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
