//! Clients in trouble: the control plane goes away, a request makes no sense, a limit is exceeded.

use std::thread;

use serde_json::json;

use crate::support::{Cluster, PATIENCE, Sandbox, example, free_port, until};

const SLOW: &str = "name: Slow\ntasks: [{id: only, method: util/sleep, parameters: {seconds: 2}}]\n";

#[test]
fn a_wait_for_a_run_reports_an_outage_and_sees_the_end_after_it() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    let file = cluster.sandbox.file("slow.yaml", SLOW);
    let mut submit = cluster.sandbox.start(&["submit", &file, "--wait", "--hub-url", &cluster.url]);
    let listed = |cluster: &Cluster| cluster.ask(&["list"])["items"][0]["run_id"].as_str().map(str::to_owned);
    let run = until("the run", PATIENCE, || listed(&cluster));
    until("its id is told", PATIENCE, || submit.stderr().contains(&run).then_some(()));
    let mut watch = cluster.sandbox.start(&["watch", &run, "--hub-url", &cluster.url]);
    until("it watches", PATIENCE, || watch.stdout().contains("run submitted").then_some(()));

    cluster.kill_9_hub();
    for client in [&mut submit, &mut watch] {
        until("the outage is told", PATIENCE, || client.stderr().contains("does not answer").then_some(()));
        assert!(client.is_running());
    }
    cluster.start_hub();
    cluster.start_agent("all", "all");
    let submit = submit.wait(PATIENCE).exits(0);
    assert!(submit.stdout.contains("slept_seconds"), "{submit}");
    assert!(watch.wait(PATIENCE).exits(0).stdout.contains("run completed"));
}

#[test]
fn stop_may_be_repeated_and_running_work_finishes() {
    let (sandbox, port) = (Sandbox::new(), free_port().to_string());
    let url = format!("http://127.0.0.1:{port}");
    let hub = ["--hub-url", url.as_str()];
    let start = || sandbox.gleitzeit(&["start", "--background", "--port", &port]).exits(0);
    start();
    let file = sandbox.file("slow.yaml", SLOW);
    sandbox.gleitzeit(&[&["submit", &file], &hub[..]].concat()).exits(0);
    let status = || sandbox.gleitzeit(&[&["status", "last", "-o", "json"], &hub[..]].concat()).exits(0).json();
    until("it runs", PATIENCE, || (status()["tasks"]["only"]["status"] == "running").then_some(()));
    let stops: Vec<_> = (0..3).map(|_| sandbox.start(&["stop", "--port", &port])).collect();
    for stop in stops {
        stop.wait(PATIENCE).exits(0);
    }
    start();
    let run = until("its end", PATIENCE, || Some(status()).filter(|run| run["status"] != "running"));
    assert_eq!((&run["status"], &run["tasks"]["only"]["attempt"]), (&json!("completed"), &json!(1)), "{run}");
    sandbox.gleitzeit(&["stop", "--force", "--port", &port]).exits(0);
}

#[test]
fn a_failure_is_one_document_if_one_is_requested() {
    let sandbox = Sandbox::new();
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let file = example("parallel.yaml");
    let ended = sandbox.gleitzeit(&["run", &file, "--hub-url", &nobody, "-o", "json"]).exits(3);
    assert_eq!(ended.json()["errors"][0]["name"], "CONNECTION_REFUSED", "{ended}");
    let ended = sandbox.gleitzeit(&["run", &file, "--hub-url", &nobody, "--slots", "3", "-o", "json"]).exits(2);
    assert!(ended.stderr.contains("`--slots` has no effect"), "{ended}");
    let ended = sandbox.gleitzeit(&["run", &file, "--max-tasks", "2", "-o", "json"]).exits(2);
    assert!(ended.json()["errors"][0]["message"].as_str().is_some_and(|it| it.contains('2')), "{ended}");
}

#[test]
fn validate_finds_a_declared_file_that_is_missing() {
    let sandbox = Sandbox::new();
    let text = "name: F\nfiles:\n  here: here.txt\n  gone: gone.txt\ntasks:\n  - {id: a, method: util/echo, \
                parameters: {x: \"${files.gone}${files.here}\"}}\n";
    sandbox.file("here.txt", "x");
    let file = sandbox.file("files.yaml", text);
    for command in ["validate", "run"] {
        let ended = sandbox.gleitzeit(&[command, &file, "-o", "json"]).exits(2);
        let errors = ended.json()["errors"].clone();
        assert_eq!(errors.as_array().map(Vec::len), Some(1), "{ended}");
        assert_eq!((&errors[0]["line"], &errors[0]["field"]), (&json!(4), &json!("files.gone")), "{ended}");
    }
}

#[test]
fn every_problem_of_a_large_file_comes_back_from_a_control_plane() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    let tasks: String = (0..80).map(|n| format!("  - {{id: t{n}, method: nothing/like-this-{n}}}\n")).collect();
    let file = cluster.sandbox.file("many.yaml", format!("name: Many\ntasks:\n{tasks}"));
    let ended = cluster.client(&["submit", &file, "-o", "json"]).exits(2);
    assert_eq!(ended.json()["errors"].as_array().map(Vec::len), Some(80), "{ended}");
}

#[test]
fn a_reader_that_goes_away_ends_a_watch() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    let run = cluster.submit(&cluster.sandbox.file("slow.yaml", SLOW));
    let mut command = cluster.sandbox.command(&["watch", &run, "--hub-url", &cluster.url]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut watch = command.spawn().expect("it starts");
    drop(watch.stdout.take());
    let waiting = thread::spawn(move || watch.wait());
    // No task can run, but every change of the run is an event, and nobody reads them any more.
    cluster.client(&["cancel", &run]).exits(0);
    until("the watch ended", PATIENCE, || waiting.is_finished().then_some(()));
    assert!(waiting.join().expect("no panic").expect("waited for").success());
}
