//! Networks that lose, delay and block messages between the control plane and one of the others.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Cluster, Condition, Direction, Journal, PATIENCE, Relay, text, until};

/// Shorter timeouts than usual, so that the tests are short.
const HASTY: [&str; 6] = ["--heartbeat-interval", "1s", "--engine-patience", "3s", "--provider-patience", "2s"];

/// A hub, and two agents with a role, of which the first reaches the hub through a relay; the rest is in one agent.
fn behind_relay(role: &str, rest: &str, patience: &[&str]) -> (Cluster, Relay) {
    let mut cluster = Cluster::new();
    cluster.start_hub_with(patience);
    let relay = cluster.relay();
    cluster.start_agent_through(&relay, "far", role);
    cluster.start_agent("rest", rest);
    cluster.until_connected(role, if role == "provider" { crate::support::shipped_providers() } else { 1 });
    (cluster, relay)
}

fn submit(cluster: &Cluster, tasks: &Value) -> String {
    cluster.submit(&cluster.sandbox.file("net.json", json!({"name": "Net", "tasks": tasks}).to_string()))
}

/// Short tasks that depend on each other, so that every component has many messages to send.
fn chain(cluster: &Cluster) -> String {
    let link = |n: u32| {
        let parameters = if n == 0 { json!({"n": 0}) } else { json!({"n": format!("${{t{}.n}}", n - 1)}) };
        json!({"id": format!("t{n}"), "method": "util/echo", "parameters": parameters})
    };
    submit(cluster, &(0..20).map(link).collect())
}

#[track_caller]
fn completes(cluster: &Cluster, run: &str) -> Journal {
    let ended = until("the run's end", PATIENCE, || {
        let run = cluster.ask(&["status", run]);
        (run["status"] != "running").then_some(run)
    });
    assert_eq!(ended["status"], "completed", "{ended:#}");
    // The journal checks that attempts follow each other and that each task completed once.
    Journal::watch(&cluster.sandbox, &cluster.url, run)
}

#[test]
fn an_engine_behind_a_partition_loses_its_work_to_another_and_is_fenced_when_it_returns() {
    let (mut cluster, relay) = behind_relay("engine", "queue,resolver,provider", &HASTY);
    let run = submit(&cluster, &json!([{"id": "long", "method": "util/sleep", "parameters": {"seconds": 5}}]));
    cluster.until_run(&run, "it is at work", |run| run["tasks"]["long"]["status"] == "running");
    cluster.start_agent("near", "engine");
    cluster.until_connected("engine", 2);
    relay.partition();
    let journal = completes(&cluster, &run);
    assert_eq!(journal.only("task_completed").attempt, 2);
    assert_eq!(text(&journal.only("task_attempt_stopped").payload["reason"]), "engine_lost");

    relay.heal();
    cluster.until_connected("engine", 2);
    // Nothing of the old attempt is recorded, and the component works as before.
    let run = chain(&cluster);
    completes(&cluster, &run);
    cluster.take_agent("near").terminate(PATIENCE).exits(0);
    let run = chain(&cluster);
    completes(&cluster, &run);
}

#[test]
fn a_queue_owner_behind_a_partition_is_replaced_and_is_fenced_when_it_returns() {
    let (mut cluster, relay) = behind_relay("queue", "resolver,engine,provider", &HASTY);
    completes(&cluster, &chain(&cluster));
    cluster.start_agent("near", "queue");
    cluster.until_connected("queue", 2);
    relay.partition();
    let runs: Vec<String> = (0..5).map(|_| chain(&cluster)).collect();
    runs.iter().for_each(|run| drop(completes(&cluster, run)));
    relay.heal();
    cluster.until_connected("queue", 2);
    completes(&cluster, &chain(&cluster));
}

#[test]
fn a_provider_behind_a_partition_loses_its_calls_to_another() {
    let (mut cluster, relay) = behind_relay("provider", "queue,resolver,engine", &HASTY);
    let run = submit(&cluster, &json!([{"id": "long", "method": "util/sleep", "parameters": {"seconds": 3}}]));
    cluster.until_run(&run, "it is at work", |run| run["tasks"]["long"]["status"] == "running");
    relay.partition();
    cluster.start_agent("near", "provider");
    let journal = completes(&cluster, &run);
    assert_eq!(journal.only("task_completed").attempt, 2);
    relay.heal();
    cluster.until_connected("provider", 2 * crate::support::shipped_providers());
    completes(&cluster, &chain(&cluster));
}

/// An attempt either completes and is recorded, or is lost and repeated; never both.
fn one_way(way: Direction) {
    let (mut cluster, relay) = behind_relay("engine", "queue,resolver,provider", &HASTY);
    let run = submit(&cluster, &json!([{"id": "long", "method": "util/sleep", "parameters": {"seconds": 5}}]));
    cluster.until_run(&run, "it is at work", |run| run["tasks"]["long"]["status"] == "running");
    cluster.start_agent("near", "engine");
    cluster.until_connected("engine", 2);
    relay.set(way, Condition::Lost);
    let journal = completes(&cluster, &run);
    assert!(journal.only("task_completed").attempt <= 2, "{way:?}");
    relay.heal();
    cluster.until_connected("engine", 2);
    completes(&cluster, &chain(&cluster));
}

#[test]
fn an_engine_that_is_not_heard_loses_its_work() {
    one_way(Direction::Up);
}

#[test]
fn an_engine_that_does_not_hear_loses_its_work() {
    one_way(Direction::Down);
}

#[test]
fn a_slow_or_stalling_network_costs_only_time() {
    let (cluster, relay) = behind_relay("engine", "queue,resolver,provider", &[]);
    relay.set(Direction::Up, Condition::Slow(Duration::from_millis(40)));
    relay.set(Direction::Down, Condition::Slow(Duration::from_millis(40)));
    let journal = completes(&cluster, &chain(&cluster));
    assert_eq!(journal.all("task_attempt_stopped").count(), 0);

    let run = chain(&cluster);
    relay.set(Direction::Down, Condition::Stalled);
    // Less than any timeout, and long enough to block everything.
    until("a second of silence", PATIENCE, {
        let since = std::time::Instant::now();
        move || (since.elapsed() > Duration::from_secs(1)).then_some(())
    });
    relay.set(Direction::Down, Condition::Fine);
    let journal = completes(&cluster, &run);
    assert_eq!(journal.all("task_attempt_stopped").count(), 0, "nobody was given up");
    // A connection that drops in the middle is made again, and open work continues.
    let run = submit(&cluster, &json!([{"id": "long", "method": "util/sleep", "parameters": {"seconds": 2}}]));
    cluster.until_run(&run, "it is at work", |run| run["tasks"]["long"]["status"] == "running");
    relay.cut();
    let journal = completes(&cluster, &run);
    assert_eq!(journal.only("task_completed").attempt, 1, "the attempt survived");
}
