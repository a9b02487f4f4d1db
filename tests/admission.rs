//! Admission control: on the mesh, over gRPC and over plain HTTP, at the port as it is served.

mod plane;

use gleitzeit_control_plane::{Config, build};
use gleitzeit_link::{LinkConfig, LinkEvent, TokenSource, connect};
use gleitzeit_proto::v1::GetStatusRequest;
use gleitzeit_proto::v1::system_service_client::SystemServiceClient;
use plane::{PATIENCE, Plane};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

/// The status line of a plain GET.
async fn get(plane: &Plane, path: &str, headers: &str) -> String {
    plane.http("GET", path, headers, "").await.0
}

/// The first event that a component receives.
async fn join(plane: &Plane, token: Option<&str>) -> LinkEvent {
    let stop = CancellationToken::new();
    let url = format!("http://{}", plane.address);
    let token = token.map_or(TokenSource::None, |token| TokenSource::Given(token.to_owned()));
    let config = LinkConfig { url, token, ..LinkConfig::default() };
    let (_link, mut events, driver) = connect(config, &stop).expect("a valid configuration");
    let driver = tokio::spawn(driver.run());
    let seen = timeout(PATIENCE, events.recv()).await.expect("something is seen in time").expect("an event");
    stop.cancel();
    driver.await.expect("no panic");
    seen
}

async fn status(plane: &Plane, authorization: Option<&str>) -> Result<(), tonic::Status> {
    let endpoint = Endpoint::from_shared(format!("http://{}", plane.address)).expect("an address");
    let mut client = SystemServiceClient::new(endpoint.connect().await.expect("it listens"));
    let mut request = Request::new(GetStatusRequest {});
    if let Some(value) = authorization {
        request.metadata_mut().insert("authorization", value.parse().expect("ascii"));
    }
    client.get_status(request).await.map(drop)
}

#[tokio::test]
async fn health_needs_no_token() {
    let plane = Plane::start(Config { token: Some("secret".into()), ..Config::default() }).await;
    assert_eq!(get(&plane, "/healthz", "").await, "HTTP/1.1 200 OK");
    assert_eq!(get(&plane, "/readyz", "").await, "HTTP/1.1 200 OK");
    assert_eq!(get(&plane, "/nothing", "").await, "HTTP/1.1 404 Not Found");
    plane.stop().await;
}

#[tokio::test]
async fn a_token_is_required_on_mesh_and_grpc() {
    let plane = Plane::start(Config { token: Some("secret".into()), ..Config::default() }).await;
    for wrong in [None, Some("wrong"), Some("")] {
        match join(&plane, wrong).await {
            LinkEvent::Refused { message, .. } => assert!(message.contains("AUTHENTICATION_FAILED"), "{message}"),
            other => panic!("{wrong:?} got in: {other:?}"),
        }
    }
    assert!(matches!(join(&plane, Some("secret")).await, LinkEvent::Connected { .. }));

    for wrong in [None, Some("secret"), Some("Bearer wrong"), Some("Bearer ")] {
        assert_eq!(status(&plane, wrong).await.expect_err("refused").code(), Code::Unauthenticated, "{wrong:?}");
    }
    status(&plane, Some("Bearer secret")).await.expect("admitted");
    plane.stop().await;
}

#[tokio::test]
async fn without_a_token_every_local_client_is_admitted() {
    let plane = Plane::start(Config::default()).await;
    assert!(matches!(join(&plane, None).await, LinkEvent::Connected { .. }));
    status(&plane, None).await.expect("admitted");
    plane.stop().await;
}

#[tokio::test]
async fn an_unknown_host_name_is_refused() {
    let plane = Plane::start(Config { allow_hosts: vec!["hub.example".to_owned()], ..Config::default() }).await;
    for (host, expected) in [
        ("rebound.example", "HTTP/1.1 403 Forbidden"),
        ("rebound.example:8000", "HTTP/1.1 403 Forbidden"),
        ("hub.example", "HTTP/1.1 200 OK"),
        ("localhost", "HTTP/1.1 200 OK"),
    ] {
        let socket = "/socket.io/?EIO=4&transport=polling";
        assert_eq!(get(&plane, socket, &format!("Host: {host}\r\n")).await, expected, "{host}");
    }
    plane.stop().await;
}

#[tokio::test]
async fn a_websocket_without_its_upgrade_header_is_refused() {
    let plane = Plane::start(Config::default()).await;
    let socket = "/socket.io/?EIO=4&transport=websocket";
    let key = "Connection: upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    assert_eq!(get(&plane, socket, key).await, "HTTP/1.1 426 Upgrade Required");
    plane.stop().await;
}

#[tokio::test]
async fn a_web_page_of_another_origin_is_refused() {
    let config = Config { allow_origins: vec!["https://ours.example".to_owned()], ..Config::default() };
    let plane = Plane::start(config).await;
    let socket = "/socket.io/?EIO=4&transport=polling";
    assert_eq!(get(&plane, socket, "Origin: https://evil.example\r\n").await, "HTTP/1.1 403 Forbidden");
    assert_eq!(get(&plane, socket, "Origin: null\r\n").await, "HTTP/1.1 403 Forbidden");
    assert_eq!(get(&plane, socket, "Origin: https://ours.example\r\n").await, "HTTP/1.1 200 OK");
    assert_eq!(get(&plane, socket, "").await, "HTTP/1.1 200 OK");
    let own = format!("Origin: http://{}\r\n", plane.address);
    assert_eq!(get(&plane, socket, &own).await, "HTTP/1.1 200 OK", "a client library that speaks of itself");
    let upgrade = "Origin: http://localhost:3000\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let websocket = "/socket.io/?EIO=4&transport=websocket";
    assert_eq!(get(&plane, websocket, upgrade).await, "HTTP/1.1 403 Forbidden");
    plane.stop().await;
}

#[tokio::test]
async fn beyond_loopback_nothing_is_served_without_a_token() {
    let open = Config { host: "0.0.0.0".parse().expect("an address"), port: 0, ..Config::default() };
    let error = build(open.clone()).await.expect_err("refused").to_string();
    assert!(error.contains("GLEITZEIT_TOKEN") && error.contains("--no-auth"), "{error}");
    let plane = Plane::start(Config { insecure: true, ..open }).await;
    assert_eq!(get(&plane, "/healthz", "").await.split(' ').nth(1), Some("200"));
    plane.stop().await;
}
