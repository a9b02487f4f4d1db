//! Components that freeze and wake up later: meanwhile others did their work, and the components must notice that.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Cluster, Journal, PATIENCE, Process, text, until};

/// Shorter timeouts than usual, so that the tests are short.
const HASTY: [&str; 6] = ["--heartbeat-interval", "1s", "--engine-patience", "3s", "--owner-patience", "1s"];

/// A hub, an agent with only this role, and one with the rest.
fn with_one(role: &str, rest: &str) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.start_hub_with(&HASTY);
    cluster.start_agent("old", role);
    cluster.start_agent("rest", rest);
    cluster.until_connected(role, 1);
    cluster
}

fn submit(cluster: &Cluster, tasks: &Value) -> String {
    cluster.submit(&cluster.sandbox.file("frozen.json", json!({"name": "Frozen", "tasks": tasks}).to_string()))
}

#[track_caller]
fn completes(cluster: &Cluster, run: &str) -> Journal {
    let ended = cluster.until_ended(run);
    assert_eq!(ended["status"], "completed", "{ended:#}");
    Journal::watch(&cluster.sandbox, &cluster.url, run)
}

#[track_caller]
fn says(agent: &Process, expected: &str) {
    until(expected, PATIENCE, || agent.stderr().contains(expected).then_some(()));
}

#[test]
fn an_engine_that_wakes_up_is_fenced_and_logs_it() {
    let mut cluster = with_one("engine", "queue,resolver,provider");
    let run = submit(&cluster, &json!([{"id": "long", "method": "util/sleep", "parameters": {"seconds": 5}}]));
    cluster.until_run(&run, "it is at work", |run| run["tasks"]["long"]["status"] == "running");
    let old = cluster.take_agent("old");
    old.signal(Signal::STOP);
    cluster.start_agent("new", "engine");
    let journal = completes(&cluster, &run);
    assert_eq!(journal.only("task_completed").attempt, 2);
    assert_eq!(text(&journal.only("task_attempt_stopped").payload["reason"]), "engine_lost");

    old.signal(Signal::CONT);
    says(&old, "a report is ignored: the attempt was ended without this engine");
    cluster.until_connected("engine", 2);
    // Nothing that it sent was recorded, and it works again.
    assert_eq!(Journal::watch(&cluster.sandbox, &cluster.url, &run).0.len(), journal.0.len());
    cluster.take_agent("new").terminate(PATIENCE).exits(0);
    completes(&cluster, &submit(&cluster, &json!([{"id": "a", "method": "util/echo"}])));
    old.terminate(PATIENCE).exits(0);
}

#[test]
fn an_owner_that_wakes_up_has_been_replaced_and_logs_it() {
    for (role, rest) in [("queue", "resolver,engine,provider"), ("resolver", "queue,engine,provider")] {
        let mut cluster = with_one(role, rest);
        completes(&cluster, &submit(&cluster, &json!([{"id": "a", "method": "util/echo"}])));
        let old = cluster.take_agent("old");
        old.signal(Signal::STOP);
        cluster.start_agent("new", role);
        let chain = json!([
            {"id": "a", "method": "util/echo", "parameters": {"n": 1}},
            {"id": "b", "method": "util/echo", "parameters": {"n": "${a.n}"}},
        ]);
        completes(&cluster, &submit(&cluster, &chain));
        old.signal(Signal::CONT);
        says(&old, "another component owns the slices that this one owned");
        cluster.until_connected(role, 2);
        completes(&cluster, &submit(&cluster, &chain));
        // It takes over again.
        cluster.take_agent("new").terminate(PATIENCE).exits(0);
        completes(&cluster, &submit(&cluster, &chain));
        old.terminate(PATIENCE).exits(0);
    }
}

#[test]
fn a_provider_does_not_begin_calls_that_were_reassigned_while_it_was_frozen() {
    let mut cluster = Cluster::new();
    cluster.start_hub_with(&[&HASTY[..], &["--provider-patience", "1s"]].concat());
    cluster.start_agent("old", "provider");
    cluster.start_agent("rest", "queue,resolver,engine");
    cluster.until_connected("engine", 1);
    let marks = cluster.sandbox.path().join("marks");
    let mark = json!([{"id": "mark", "method": "shell/run", "parameters": {"command": format!("echo begun >>'{}'", marks.display())}}]);
    let begun = || std::fs::read_to_string(&marks).unwrap_or_default().lines().count();
    // The provider is connected and has served a call before.
    completes(&cluster, &submit(&cluster, &mark));
    assert_eq!(begun(), 1);

    let old = cluster.take_agent("old");
    old.signal(Signal::STOP);
    let run = submit(&cluster, &mark);
    // By then the call is in the old provider's socket, so only the loss of that provider can move it to another.
    cluster.until_run(&run, "it is given to the old one", |run| run["tasks"]["mark"]["status"] == "running");
    cluster.start_agent("new", "provider");
    let journal = completes(&cluster, &run);
    assert_eq!(journal.only("task_completed").attempt, 2);
    assert_eq!(begun(), 2);

    old.signal(Signal::CONT);
    says(&old, "the process stood still");
    cluster.take_agent("new").terminate(PATIENCE).exits(0);
    // The provider works again, and the message that was in its socket is handled.
    completes(&cluster, &submit(&cluster, &mark));
    assert_eq!(begun(), 3, "it began what another had done");
    old.terminate(PATIENCE).exits(0);
}
