//! If there is no control plane at an address, the error says what is there instead, and what to do: for commands, for
//! workers, and for exports of telemetry.

use std::time::{Duration, Instant};

use crate::support::{Cluster, ForeignServer, Kind, PATIENCE, Sandbox, example, free_port, until};

/// The message for each kind of server, its code, and a part of the advice.
const FOREIGN_SERVERS: [(Kind, &str, &str, &str); 7] = [
    (
        Kind::Http,
        "NOT_A_CONTROL_PLANE",
        "another HTTP server answers there (status 404, server `stranger/1`)",
        "--port",
    ),
    (
        Kind::Gateway,
        "NETWORK_UNREACHABLE",
        "a proxy that cannot reach its control plane: it answers 502",
        "the proxy's log",
    ),
    (Kind::Ssh, "NOT_A_CONTROL_PLANE", "its answer is `SSH-2.0-OpenSSH_9.6`", "another program uses the port"),
    (Kind::Tls, "NOT_A_CONTROL_PLANE", "is a port for TLS", "write `https://`"),
    (Kind::Http2, "NOT_A_CONTROL_PLANE", "which speaks HTTP/2 only", "another program uses the port"),
    (Kind::Closing, "CONNECTION_LOST", "closes them without an answer", "what listens there"),
    (Kind::Silent, "CONNECTION_TIMEOUT", "accepts connections but sends nothing", "what listens there"),
];

/// The host of an address without its port, which no name server is asked about: its label is too long.
fn no_host() -> String {
    format!("http://{}:8000", "x".repeat(64))
}

fn list(sandbox: &Sandbox, url: &str, code: &str, told: &str, advice: &str) {
    let begun = Instant::now();
    let ended = sandbox.gleitzeit(&["list", "--hub-url", url, "-o", "json"]).exits(3);
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}: {ended}", begun.elapsed());
    assert_eq!(ended.json()["errors"][0]["name"], code, "{ended}");
    assert!(ended.stderr.contains(url) && ended.stderr.contains(told), "`{told}`: {ended}");
    let (_, hint) = ended.stderr.split_once("hint: ").unwrap_or_else(|| panic!("no hint: {ended}"));
    assert!(hint.contains(advice), "`{advice}`: {ended}");
}

#[test]
fn commands_name_the_listener_that_is_no_control_plane() {
    let sandbox = Sandbox::new();
    for (kind, code, told, advice) in FOREIGN_SERVERS {
        let server = ForeignServer::start(kind);
        list(&sandbox, &server.url(), code, told, advice);
    }
    let nobody = format!("http://127.0.0.1:{}", free_port());
    list(&sandbox, &nobody, "CONNECTION_REFUSED", "nothing listens there", "gleitzeit start");
    list(&sandbox, &no_host(), "NETWORK_UNREACHABLE", "no address is known for the host", "DNS");
}

#[test]
fn a_proxy_that_is_not_used_is_named() {
    let mut sandbox = Sandbox::new();
    sandbox.set("HTTP_PROXY", "http://proxy.example:3128");
    list(
        &sandbox,
        &no_host(),
        "NETWORK_UNREACHABLE",
        "no address is known",
        "HTTP_PROXY is set, but control planes are reached directly",
    );
}

#[test]
fn workers_name_the_listener_that_is_no_control_plane_and_keep_trying() {
    let sandbox = Sandbox::new();
    for (kind, code, told, advice) in FOREIGN_SERVERS {
        let server = ForeignServer::start(kind);
        worker(&sandbox, &server.url(), code, told, advice);
    }
    let nobody = format!("http://127.0.0.1:{}", free_port());
    worker(&sandbox, &nobody, "CONNECTION_REFUSED", "nothing listens there", "gleitzeit start");
}

fn worker(sandbox: &Sandbox, url: &str, code: &str, told: &str, advice: &str) {
    let mut agent = sandbox.start(&["agent", "--role", "queue", "--hub-url", url]);
    let log = until(&format!("the agent says `{told}`"), PATIENCE, || {
        let log = agent.stderr();
        log.contains(told).then_some(log)
    });
    assert!(log.contains(url) && log.contains(code) && log.contains(advice), "{log}");
    assert!(agent.is_running());
    let ended = agent.terminate(PATIENCE).exits(0);
    assert_eq!(ended.stderr.matches(told).count(), 1, "it is told once: {ended}");
}

#[test]
fn a_missing_token_and_a_wrong_one_are_different_errors() {
    let mut cluster = Cluster::new();
    cluster.start_hub_with(&["--token", "right"]);
    let none: &[&str] = &[];
    for (token, told) in [(none, "the token is missing"), (&["--token", "wrong"], "the token is wrong")] {
        let url = cluster.url.clone();
        let list = ["list", "--hub-url", &url, "-o", "json"];
        let ended = cluster.sandbox.gleitzeit(&[&list[..], token].concat()).exits(1);
        assert_eq!(ended.json()["errors"][0]["name"], "AUTHENTICATION_FAILED", "{ended}");
        assert!(ended.stderr.contains(told) && ended.stderr.contains("GLEITZEIT_TOKEN"), "{ended}");
        let agent = ["agent", "--role", "queue", "--hub-url", &url];
        let agent = cluster.sandbox.start(&[&agent[..], token].concat());
        until(&format!("the agent says `{told}`"), PATIENCE, || agent.stderr().contains(told).then_some(()));
        agent.terminate(PATIENCE).exits(0);
    }
}

#[test]
fn a_receiver_with_the_wrong_protocol_is_reported_at_the_start() {
    for (kind, protocol, told, remedy) in [
        (Kind::Http2, "http/protobuf", "accepts only gRPC", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
        (Kind::Http, "grpc", "accepts only HTTP/1", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
        (Kind::Http, "http/protobuf", "does not accept exports at /v1/traces (status 404)", "4318"),
        (Kind::Tls, "http/protobuf", "is a port for TLS", "`https://`"),
    ] {
        let (server, mut cluster) = (ForeignServer::start(kind), Cluster::new());
        cluster.sandbox.set("OTEL_EXPORTER_OTLP_ENDPOINT", &server.url());
        cluster.sandbox.set("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        cluster.start_hub();
        let log = until(&format!("the hub says `{told}`"), Duration::from_secs(20), || {
            let log = cluster.hub_log();
            log.contains(told).then_some(log)
        });
        assert!(log.contains(remedy) && log.contains(&server.url()), "{log}");
    }
}

#[test]
fn an_export_that_fails_names_its_receiver_and_the_cause() {
    let mut cluster = Cluster::new();
    let nobody = format!("http://127.0.0.1:{}", free_port());
    cluster.sandbox.set("OTEL_EXPORTER_OTLP_ENDPOINT", &nobody);
    cluster.sandbox.set("OTEL_EXPORTER_OTLP_TIMEOUT", "1000");
    cluster.sandbox.set("OTEL_METRICS_EXPORTER", "none");
    cluster.start_all(&[]);
    let run = cluster.submit(&example("parallel.yaml"));
    cluster.until_ended(&run);
    let line = until("the export is told of", PATIENCE, || {
        let log = cluster.hub_log();
        log.lines().find(|line| line.contains("traces cannot be exported")).map(str::to_owned)
    });
    for part in [&*nobody, "over HTTP", "nothing listens at", "OTEL_EXPORTER_OTLP_ENDPOINT"] {
        assert!(line.contains(part), "`{part}`: {line}");
    }
}
