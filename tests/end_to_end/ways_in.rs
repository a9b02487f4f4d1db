//! How commands find what they need, and their errors if it is missing or does not answer.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::support::{Cluster, PATIENCE, Sandbox, free_port};

#[test]
fn a_silent_port_is_reported_within_ten_seconds() {
    let sandbox = Sandbox::new();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    let begun = Instant::now();
    let ended = sandbox.gleitzeit(&["list", "--hub-url", &url]);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(ended.stderr.contains("accepts connections but sends nothing"), "{ended}");
    assert!(!ended.stderr.contains("gleitzeit start"), "nothing can be started there: {ended}");
    assert_ne!(ended.code(), 0);
}

#[test]
fn an_address_means_the_same_to_every_command() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    let host = cluster.url.strip_prefix("http://").expect("an address").to_owned();
    for url in [host.clone(), format!("{host}/"), format!("http://{host}//")] {
        cluster.sandbox.gleitzeit(&["list", "--hub-url", &url]).exits(0);
        let mut agent = cluster.sandbox.start(&["agent", "--role", "queue", "--name", &url, "--hub-url", &url]);
        cluster.until_connected("queue", 1);
        assert!(agent.is_running());
        agent.terminate(PATIENCE).exits(0);
        cluster.until_connected("queue", 0);
    }
    for url in [format!("http://{host}/path"), format!("https://{host}/path"), "redis://x".to_owned()] {
        let (list, agent) = (["list", "--hub-url", &url], ["agent", "--role", "queue", "--hub-url", &url]);
        for command in [&list[..], &agent] {
            let ended = cluster.sandbox.gleitzeit(command);
            assert_ne!(ended.code(), 0, "{ended}");
            assert!(ended.stderr.contains(&url), "{ended}");
        }
    }
}

#[test]
fn a_missing_temporary_folder_is_reported_at_the_start() {
    let mut sandbox = Sandbox::new();
    let missing = sandbox.path().join("missing").display().to_string();
    sandbox.set("TMPDIR", &missing);
    let port = free_port().to_string();
    for command in [&["start", "--store", "memory:", "--port", &port][..], &["agent", "--hub-url", "localhost:1"]] {
        let ended = sandbox.gleitzeit(command);
        assert!(ended.stderr.contains(&missing) && ended.stderr.contains("TMPDIR"), "{ended}");
        assert_ne!(ended.code(), 0);
    }
}

#[test]
fn a_second_start_names_the_first() {
    let sandbox = Sandbox::new();
    let port = free_port().to_string();
    let start = || sandbox.start(&["start", "--background", "--port", &port]);
    let ended = [start(), start()].map(|it| it.wait(PATIENCE));
    let (won, lost): (Vec<_>, Vec<_>) = ended.into_iter().partition(|ended| ended.status.success());
    assert_eq!((won.len(), lost.len()), (1, 1));
    assert!(lost[0].stderr.contains(&format!("already runs on port {port}")), "{}", lost[0]);
    sandbox.gleitzeit(&["stop", "--port", &port]).exits(0);
}

#[test]
fn a_store_that_cannot_grow_is_a_clear_error() {
    let sandbox = Sandbox::new();
    let port = free_port();
    let store = sandbox.path().join("small.db");
    let command =
        sandbox.command(&["start", "--store", &format!("sqlite:{}", store.display()), "--port", &port.to_string()]);
    let mut limited = std::process::Command::new("bash");
    // In KiB.
    limited.args(["-c", "ulimit -f 512; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    limited.env_clear().envs(command.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
    let mut plane = sandbox.start_command(limited);
    let url = plane.said("ready at ", PATIENCE);
    let text = "x".repeat(100_000);
    let file = sandbox
        .file("large.yaml", format!("name: e\ninputs: {{text: {text}}}\ntasks: [{{id: a, method: util/echo}}]\n"));
    for _ in 0..20 {
        if !plane.is_running() {
            break;
        }
        drop(sandbox.gleitzeit(&["submit", &file, "--hub-url", &url]));
    }
    let ended = plane.wait(PATIENCE);
    assert!(ended.status.code().is_some(), "no signal ends it: {ended}");
    assert!(ended.stderr.contains("limit of file sizes") && ended.stderr.contains("ulimit -f"), "{ended}");
}

#[test]
fn a_run_reports_that_it_waits_for_a_telemetry_receiver_and_does_not_wait_long() {
    let mut sandbox = Sandbox::new();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let file = sandbox.file("echo.yaml", "name: e\ntasks: [{id: a, method: util/echo}]\n");
    let begun = Instant::now();
    sandbox.gleitzeit(&["run", &file]).exits(0);
    let without = begun.elapsed();
    sandbox.set("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{}", silent.local_addr().expect("an address")));
    let begun = Instant::now();
    let ended = sandbox.gleitzeit(&["run", &file]).exits(0);
    assert!(ended.stderr.contains("waiting for at most 2s"), "{ended}");
    let with = begun.elapsed();
    // The rest allows for a busy machine.
    assert!(with < 3 * without + Duration::from_secs(4), "{with:?} instead of {without:?}");
}
