//! A control plane behind a real nginx that ends TLS, with the configuration in `deploy/proxy`; and the errors if the
//! proxy or its certificate is wrong. Skipped without nginx.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gleitzeit_tls::{Connector, Trust};
use rcgen::{CertificateParams, date_time_ymd};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{
    Authority, Certificate, Cluster, Ended, Nginx, PATIENCE, Process, Receiver, example, nginx_is_here, text, until,
};

/// A control plane, an authority, and nginx between the control plane and its clients.
struct Proxied {
    nginx: Nginx,
    authority: Authority,
    ca: String,
    cluster: Cluster,
}

impl Proxied {
    fn start(change: impl FnOnce(String) -> String) -> Self {
        Self::with(&[], |authority| authority.issue(&["localhost"], |_| {}), change)
    }

    fn with(
        arguments: &[&str],
        certificate: impl FnOnce(&Authority) -> Certificate,
        change: impl FnOnce(String) -> String,
    ) -> Self {
        let mut cluster = Cluster::new();
        cluster.start_hub_with(arguments);
        let port = cluster.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let authority = Authority::new(cluster.sandbox.path(), "Lab Root");
        let nginx = Nginx::start(cluster.sandbox.path(), port, &certificate(&authority), change);
        let ca = authority.file().to_str().expect("UTF-8").to_owned();
        Self { nginx, authority, ca, cluster }
    }

    fn reached<'a>(&'a self, url: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
        [arguments, &["--hub-url", url, "--ca", &self.ca]].concat()
    }

    /// Runs a command that connects through nginx.
    #[track_caller]
    fn client(&self, arguments: &[&str]) -> Ended {
        let url = self.nginx.url();
        self.cluster.sandbox.gleitzeit(&self.reached(&url, arguments))
    }

    fn agent(&self) -> Process {
        let url = self.nginx.url();
        self.cluster.sandbox.start(&self.reached(&url, &["agent"]))
    }

    /// The answer over TLS to an HTTP/1 request.
    fn ask(&self, head: &str, body: &[u8]) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let asked = async {
            let stream = TcpStream::connect(("127.0.0.1", self.nginx.port())).await.expect("it listens");
            let connector = Connector::http1(&Trust::default().with("--ca", &self.ca));
            let mut stream = connector.connect("localhost", stream).await.expect("it is trusted");
            let length = body.len();
            let request = format!("{head}\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(&[request.as_bytes(), body].concat()).await.expect("it is asked");
            stream.flush().await.expect("it is asked");
            let mut answer = Vec::new();
            // The connection may end without a TLS closure alert.
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8_lossy(&answer).into_owned()
        };
        runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await }).expect("in time")
    }

    /// A run of one task that ends once the file exists.
    fn wait_for(&self, file: &Path) -> String {
        let command = format!("until [ -e '{}' ]; do sleep 0.1; done", file.display());
        self.shell(&command)
    }

    fn shell(&self, command: &str) -> String {
        let workflow = json!({"name": "Proxied", "tasks": [
            {"id": "it", "method": "shell/run", "timeout": 120, "parameters": {"command": command}}]});
        let file = self.cluster.sandbox.file("proxied.json", workflow.to_string());
        text(&self.client(&["submit", &file, "-o", "json"]).exits(0).json()["run_id"])
    }
}

#[test]
fn all_protocols_of_a_control_plane_work_through_one_port_with_tls() {
    if !nginx_is_here("all_protocols_of_a_control_plane_work_through_one_port_with_tls") {
        return;
    }
    let proxied = Proxied::start(|text| text);
    let agent = proxied.agent();
    proxied.cluster.until_connected("engine", 1);

    let run = proxied.client(&["run", &example("parallel.yaml"), "-o", "json"]).exits(0).json();
    assert_eq!(run["status"], "completed", "{run:#}");
    let listed = proxied.client(&["list", "-o", "json"]).exits(0).json();
    assert_eq!(listed["items"][0]["run_id"], run["run_id"], "{listed:#}");
    proxied.client(&["watch", &text(&run["run_id"])]).exits(0);
    let doctor = proxied.client(&["doctor"]);
    assert!(doctor.stdout.contains(&format!("at {}", proxied.nginx.url())), "{doctor}");

    assert!(proxied.ask("GET /healthz HTTP/1.1", b"").ends_with("ok\n"));
    let polling = proxied.ask("GET /socket.io/?EIO=4&transport=polling HTTP/1.1", b"");
    assert!(polling.contains("200 OK") && polling.contains("0{\"sid\""), "{polling}");
    let web = "POST /gleitzeit.v1.SystemService/GetStatus HTTP/1.1\r\ncontent-type: application/grpc-web+proto\r\nx-grpc-web: 1";
    let web = proxied.ask(web, &[0; 5]);
    assert!(web.contains("200 OK") && web.contains("grpc-status:0"), "{web}");

    // Connections of providers trust the same roots.
    let url = format!("{}/healthz", proxied.nginx.url());
    let workflow =
        json!({"name": "Asked", "tasks": [{"id": "it", "method": "http/request", "parameters": {"url": url}}]});
    let file = proxied.cluster.sandbox.file("asked.json", workflow.to_string());
    let asked = proxied.client(&["run", &file, "-o", "json"]).exits(0).json();
    assert_eq!(asked["status"], "completed", "{asked:#}");
    let untold = proxied.cluster.sandbox.gleitzeit(&["run", &file]).exits(1);
    assert!(untold.stderr.contains("is issued by `Lab Root`") && untold.stderr.contains("--ca FILE"), "{untold}");
    agent.terminate(PATIENCE).exits(0);
}

/// The certificates of `docs/TLS.md`, with this machine's name.
#[test]
fn the_documented_certificates_are_trusted_where_their_root_is_given() {
    if !nginx_is_here("the_documented_certificates_are_trusted_where_their_root_is_given") {
        return;
    }
    let document = include_str!("../../docs/TLS.md");
    let blocks: Vec<&str> = document.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [reach, authority, list, own] = blocks[..] else { panic!("{} blocks of commands", blocks.len()) };
    for (made, certificate, key) in [(authority, "hub.example.pem", "hub.example.key"), (own, "own.pem", "own.key")] {
        let proxied = Proxied::with(
            &[],
            |lab| {
                let folder = lab.file().parent().expect("a folder").to_owned();
                let script = made.replace("DNS:hub.example", "DNS:localhost");
                let made = Command::new("sh").args(["-euc", &script]).current_dir(&folder).output().expect("a shell");
                assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
                Certificate { pem: folder.join(certificate), key: folder.join(key) }
            },
            |text| text,
        );
        // The agent of the first block never ends.
        let reach = reach.replace("gleitzeit agent --role engine,provider\n", "");
        let script = match certificate {
            "own.pem" => format!("export GLEITZEIT_CA=own.pem\n{reach}"),
            _ => format!("{list}export GLEITZEIT_CA=ca.pem\n{reach}"),
        };
        let program = format!("{} list", env!("CARGO_BIN_EXE_gleitzeit"));
        let script = script.replace("https://hub.example", &proxied.nginx.url()).replace("gleitzeit list", &program);
        let mut command = Command::new("sh");
        command
            .args(["-euc", &script])
            .current_dir(proxied.cluster.sandbox.path())
            .env("HOME", proxied.cluster.sandbox.home());
        command.env_remove("GLEITZEIT_TOKEN").env_remove("GLEITZEIT_HUB_URL");
        let ran = command.output().expect("a shell");
        assert!(ran.status.success(), "{script}: {}", String::from_utf8_lossy(&ran.stderr));
    }
}

#[test]
fn a_provider_file_names_the_root_of_its_service() {
    if !nginx_is_here("a_provider_file_names_the_root_of_its_service") {
        return;
    }
    let proxied = Proxied::start(|text| text);
    let base_url = proxied.nginx.url();
    let provider = |ca: &str| {
        format!(
            "name: lab\nprotocol: http/v1\nexecutor: http\nconnection: {{base_url: '{base_url}', ca: {ca}, health_check: {{path: /healthz}}}}\n"
        )
    };
    let workflow = "name: Asked\ntasks: [{id: it, method: http/request, provider: lab, parameters: {url: /healthz}}]\n";
    let file = proxied.cluster.sandbox.file("lab.yaml", workflow);
    for (ca, code, told) in [
        ("ca.pem", 0, ""),
        ("none.pem", 1, "which `ca` of the provider names, cannot be read"),
        ("lab.yaml", 1, "holds no certificate"),
    ] {
        let provider = proxied.cluster.sandbox.file("provider.yaml", provider(ca));
        let ended = proxied.cluster.sandbox.gleitzeit(&["run", &file, "--provider", &provider]).exits(code);
        assert!(ended.stderr.contains(told), "`{told}`: {ended}");
    }
}

#[test]
fn agents_and_watches_survive_a_reload_and_a_restart_of_the_proxy() {
    if !nginx_is_here("agents_and_watches_survive_a_reload_and_a_restart_of_the_proxy") {
        return;
    }
    let mut proxied = Proxied::start(|text| text);
    let agent = proxied.agent();
    proxied.cluster.until_connected("engine", 1);
    let end = proxied.cluster.sandbox.path().join("end");
    let run = proxied.wait_for(&end);
    proxied.cluster.until_run(&run, "it runs", |run| run["tasks"]["it"]["status"] == "running");
    let url = proxied.nginx.url();
    let watch = proxied.cluster.sandbox.start(&proxied.reached(&url, &["watch", &run, "-o", "json"]));
    until("the watch has begun", PATIENCE, || watch.stdout().contains("workflow_submitted").then_some(()));

    proxied.nginx.reload();
    proxied.client(&["status", &run]).exits(0);
    assert!(!agent.stderr().contains("lost the control plane"), "a reload keeps its connection: {}", agent.stderr());

    drop(proxied.nginx.stop());
    until("the agent notices", PATIENCE, || agent.stderr().contains("lost the control plane").then_some(()));
    proxied.nginx.begin();
    proxied.cluster.until_connected("engine", 1);
    std::fs::write(&end, "").expect("writable");
    let ended = proxied.cluster.until_ended(&run);
    assert_eq!((&ended["status"], &ended["tasks"]["it"]["attempt"]), (&json!("completed"), &json!(1)), "{ended:#}");
    let watched = watch.wait(PATIENCE).exits(0);
    for event in ["workflow_submitted", "task_completed", "workflow_completed"] {
        assert_eq!(watched.stdout.matches(&format!("\"{event}\"")).count(), 1, "each event once: {watched}");
    }
    agent.terminate(PATIENCE).exits(0);
}

/// With a limit of 25 s instead of nginx's usual 60; the control plane sends a keep-alive every 20 s.
#[test]
fn an_idle_watch_is_not_closed_by_the_proxy() {
    if !nginx_is_here("an_idle_watch_is_not_closed_by_the_proxy") {
        return;
    }
    let proxied = Proxied::start(|text| {
        text.replace("  upstream gleitzeit_http", "  grpc_read_timeout 25s;\n  upstream gleitzeit_http")
    });
    let agent = proxied.agent();
    proxied.cluster.until_connected("engine", 1);
    let run = proxied.shell("sleep 31");
    let watched = proxied.client(&["watch", &run, "-v"]).exits(0);
    assert!(!watched.stderr.contains("does not answer"), "{watched}");
    assert!(!proxied.nginx.log().contains("timed out"), "{}", proxied.nginx.log());
    agent.terminate(PATIENCE).exits(0);
}

#[test]
fn a_proxy_that_blocks_gleitzeit_is_named_with_what_to_set() {
    if !nginx_is_here("a_proxy_that_blocks_gleitzeit_is_named_with_what_to_set") {
        return;
    }
    let without_http2 = |text: String| text.replace(" ssl http2", " ssl");
    let without_grpc = |text: String| {
        text.replace(
            "grpc_pass grpc://gleitzeit_grpc;",
            "proxy_pass http://gleitzeit_http;\n      proxy_http_version 1.1;\n      proxy_set_header Host $host;",
        )
    };
    let without_name = |text: String| text.replace("grpc_set_header Host $host;", "");
    let changes: [(&dyn Fn(String) -> String, _, _); 3] = [
        (&without_http2, "speaks HTTP/1 only, and gRPC needs HTTP/2", "ssl http2"),
        (&without_grpc, "forwards calls over HTTP/1", "`grpc_pass grpc://…`"),
        (&without_name, "this control plane is not called \"gleitzeit_grpc\"", "`grpc_set_header Host $host;`"),
    ];
    for (change, told, advice) in changes {
        let proxied = Proxied::start(change);
        let ended = proxied.client(&["list", "-o", "json"]).exits(3);
        assert_eq!(ended.json()["errors"][0]["name"], "CONNECTION_LOST", "{ended}");
        for part in ["(`nginx/", told, advice, &proxied.nginx.url()] {
            assert!(ended.stderr.contains(part), "`{part}`: {ended}");
        }
    }
    let proxied = Proxied::start(|text| text.replace("proxy_set_header Upgrade $http_upgrade;", ""));
    let agent = proxied.agent();
    let log = until("the agent says what is missing", PATIENCE, || {
        let log = agent.stderr();
        log.contains("does not forward WebSocket upgrades").then_some(log)
    });
    assert!(log.contains("(`nginx/") && log.contains("Upgrade $http_upgrade"), "{log}");
    agent.terminate(PATIENCE).exits(0);
}

type Maker<'a> = &'a dyn Fn(&Authority) -> Certificate;

#[test]
fn an_untrusted_certificate_is_reported_with_host_issuer_and_remedy() {
    if !nginx_is_here("an_untrusted_certificate_is_reported_with_host_issuer_and_remedy") {
        return;
    }
    let over = |params: &mut CertificateParams| {
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 2, 1));
    };
    let makers: [(Maker<'_>, _, _); 3] = [
        (
            &|authority| authority.quick(&["localhost"]),
            "is that of an authority (CA:TRUE",
            "subjectAltName=DNS:localhost",
        ),
        (
            &|authority| authority.issue(&["localhost"], over),
            "issued by `Lab Root`, expired at 2020-02-01T00:00:00Z",
            "renew it",
        ),
        (
            &|authority| authority.issue(&["hub.example"], |_| {}),
            "is for `hub.example` and not for `localhost`",
            "one of its names",
        ),
    ];
    for (maker, told, advice) in makers {
        let proxied = Proxied::with(&[], maker, |text| text);
        untrusted(&proxied.client(&["list", "-o", "json"]), &proxied, told, advice);
    }
    let proxied = Proxied::start(|text| text);
    let url = proxied.nginx.url();
    let told = "is issued by `Lab Root`, and no trusted root issued it";
    let advice = "the root certificate of `Lab Root` with --ca FILE or GLEITZEIT_CA";
    untrusted(&proxied.cluster.sandbox.gleitzeit(&["list", "--hub-url", &url, "-o", "json"]), &proxied, told, advice);
    let agent = proxied.cluster.sandbox.start(&["agent", "--hub-url", &url]);
    let log = until("the agent says so", PATIENCE, || {
        let log = agent.stderr();
        log.contains(told).then_some(log)
    });
    assert!(log.contains(advice) && log.contains("CERTIFICATE_NOT_TRUSTED"), "{log}");
    agent.terminate(PATIENCE).exits(0);

    let missing = proxied.cluster.sandbox.gleitzeit(&["list", "--ca", "/nowhere.pem"]).exits(2);
    assert!(missing.stderr.contains("`/nowhere.pem`, which --ca or GLEITZEIT_CA names, cannot be read"), "{missing}");
    proxied.cluster.sandbox.gleitzeit(&["version", "--ca", "/nowhere.pem"]).exits(0);
    let plain = format!("http://localhost:{}", proxied.nginx.port());
    let ended = proxied.cluster.sandbox.gleitzeit(&["list", "--hub-url", &plain]).exits(3);
    assert!(ended.stderr.contains("is a port for TLS (https)") && ended.stderr.contains("write `https://`"), "{ended}");
    let secure = proxied.cluster.url.replace("http:", "https:");
    let ended = proxied.cluster.sandbox.gleitzeit(&["list", "--hub-url", &secure]).exits(3);
    assert!(ended.stderr.contains("is not a port for TLS") && ended.stderr.contains("write `http://`"), "{ended}");
    assert!(Path::new(&proxied.ca).exists() && proxied.authority.file().exists());
}

#[track_caller]
fn untrusted(ended: &Ended, proxied: &Proxied, told: &str, advice: &str) {
    assert_eq!(ended.code(), 3, "{ended}");
    assert_eq!(ended.json()["errors"][0]["name"], "CERTIFICATE_NOT_TRUSTED", "{ended}");
    for part in [&*proxied.nginx.url(), "the certificate of `localhost`", told, advice] {
        assert!(ended.stderr.contains(part), "`{part}`: {ended}");
    }
}

#[test]
fn spans_are_sent_over_tls_to_a_receiver_that_is_trusted() {
    if !nginx_is_here("spans_are_sent_over_tls_to_a_receiver_that_is_trusted") {
        return;
    }
    let receiver = Receiver::start();
    let to = receiver.url.strip_prefix("http://").expect("an address").to_owned();
    // Only those pass that say for whom they send.
    let named = r#"if ($http_x_tenant != "lab team") { return 403; }"#;
    let mut proxied = Proxied::start(|text| {
        let receives = format!(
            "location /v1/ {{ {named} proxy_pass http://{to}; }}\n    location /opentelemetry. {{ {named} grpc_pass grpc://{to}; }}\n    location /socket.io/"
        );
        text.replace("location /socket.io/", &receives)
    });
    let url = proxied.nginx.url();
    proxied.cluster.sandbox.set("OTEL_EXPORTER_OTLP_ENDPOINT", &url);
    proxied.cluster.sandbox.set("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=lab%20team");
    let workflow = "name: Traced\ntasks: [{id: a, method: util/echo}]\n";
    let file = proxied.cluster.sandbox.file("traced.yaml", workflow);
    for (protocol, names_root) in [("http/protobuf", "GLEITZEIT_CA"), ("grpc", "OTEL_EXPORTER_OTLP_CERTIFICATE")] {
        proxied.cluster.sandbox.set("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        proxied.cluster.sandbox.set(names_root, &proxied.ca);
        let run = proxied.cluster.sandbox.gleitzeit(&["run", &file, "-o", "json"]).exits(0).json();
        proxied.cluster.sandbox.set(names_root, "");
        let trace_id = text(&run["run_id"]).replace('-', "");
        until(&format!("spans come over {protocol}"), PATIENCE, || {
            (!receiver.trace(&trace_id).is_empty()).then_some(())
        });
    }
    let hub = proxied.cluster.sandbox.start(&["start", "--port", "0", "--store", "memory:", "--no-auth"]);
    let log = until("the start says that nothing is exported", Duration::from_secs(20), || {
        let log = hub.stderr();
        let is_told = |what: &str| log.lines().any(|it| it.contains(what) && it.contains("no trusted root issued it"));
        (is_told("no traces will be exported") && is_told("no metrics will be exported")).then_some(log)
    });
    assert!(log.contains("--ca FILE"), "{log}");
}
