//! Measures how long work stops after a failure: real processes on this machine, with the default timeouts. Each figure
//! is the median of several trials, from the fault to the moment that work goes on.
//!
//! `cargo bench --bench recovery -- [--trials N] [--json]`

#[path = "../../tests/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "shared with tests that need more of it")]
mod support;

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Cluster, Journal, PATIENCE, now_ms, text, until};

/// What fails, and how to measure the time until work goes on.
struct Case {
    name: &'static str,
    /// One trial, in milliseconds.
    trial: fn() -> u64,
}

const CASES: [Case; 9] = [
    Case { name: "engine stopped (SIGTERM, no drain): its attempt given to another", trial: || engine(Gone::Left) },
    Case { name: "engine killed: its attempt given to another", trial: || engine(Gone::Killed) },
    Case { name: "engine behind a partition: its attempt given to another", trial: || engine(Gone::Partitioned) },
    Case { name: "provider killed: its call given to another", trial: provider },
    Case { name: "queue owner killed: a new run completes", trial: || owner("queue") },
    Case { name: "resolver owner killed: new runs in all shards complete", trial: || owner("resolver") },
    Case { name: "control plane killed and started again: a new run completes", trial: control_plane },
    Case { name: "partition of the only engine healed: a waiting run completes", trial: healed },
    Case { name: "control plane started with 100,000 unfinished tasks: it answers", trial: started },
];

#[derive(Clone, Copy)]
enum Gone {
    Left,
    Killed,
    Partitioned,
}

#[expect(clippy::print_stdout, reason = "this is a program of its own")]
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let trials = arguments.iter().position(|it| it == "--trials").and_then(|at| arguments.get(at + 1)?.parse().ok());
    let trials: usize = trials.unwrap_or(5).max(1);
    let mut rows = Vec::new();
    for case in CASES {
        let mut took: Vec<u64> = (0..trials).map(|_| (case.trial)()).collect();
        took.sort_unstable();
        let (least, median, most) = (took[0], took[trials / 2], took[trials - 1]);
        if !arguments.iter().any(|it| it == "--json") {
            println!("{:<68} {median:>6} ms   ({least} – {most})", case.name);
        }
        rows.push(json!({"name": case.name, "median_ms": median, "least_ms": least, "most_ms": most}));
    }
    if arguments.iter().any(|it| it == "--json") {
        println!("{}", Value::from(rows));
    }
}

fn submit(cluster: &Cluster, seconds: f64) -> String {
    let task = json!({"id": "work", "method": "util/sleep", "parameters": {"seconds": seconds}});
    cluster.submit(&cluster.sandbox.file("w.json", json!({"name": "Work", "tasks": [task]}).to_string()))
}

fn until_at_work(cluster: &Cluster, run: &str) {
    cluster.until_run(run, "it is at work", |run| run["tasks"]["work"]["status"] == "running");
}

/// When the second attempt was assigned.
fn second_attempt(cluster: &Cluster, run: &str) -> u64 {
    cluster.until_run(run, "the second attempt", |run| run["tasks"]["work"]["attempt"] == 2);
    cluster.client(&["cancel", run]).exits(0);
    let journal = Journal::watch(&cluster.sandbox, &cluster.url, run);
    let second = journal.all("task_dispatched").nth(1).expect("a second attempt");
    second.at_ms
}

fn engine(gone: Gone) -> u64 {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    let relay = cluster.relay();
    cluster.start_agent("rest", "queue,resolver,provider");
    match gone {
        Gone::Left => cluster.start_agent_with("first", "engine", &["--drain-timeout", "0"]),
        Gone::Killed => cluster.start_agent("first", "engine"),
        Gone::Partitioned => cluster.start_agent_through(&relay, "first", "engine"),
    }
    cluster.until_connected("engine", 1);
    let run = submit(&cluster, 100.0);
    until_at_work(&cluster, &run);
    cluster.start_agent("second", "engine");
    cluster.until_connected("engine", 2);
    let at_ms = now_ms();
    match gone {
        Gone::Left => cluster.take_agent("first").signal(Signal::TERM),
        Gone::Killed => cluster.kill_9_agent("first"),
        Gone::Partitioned => relay.partition(),
    }
    second_attempt(&cluster, &run).saturating_sub(at_ms)
}

fn provider() -> u64 {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    cluster.start_agent("rest", "queue,resolver,engine");
    cluster.start_agent("first", "provider");
    let run = submit(&cluster, 100.0);
    until_at_work(&cluster, &run);
    cluster.start_agent("second", "provider");
    cluster.until_connected("provider", 2 * support::shipped_providers());
    let at_ms = now_ms();
    cluster.kill_9_agent("first");
    second_attempt(&cluster, &run).saturating_sub(at_ms)
}

/// The time until the runs that were submitted at that moment have completed.
fn completed_since(cluster: &Cluster, at_ms: u64, runs: usize) -> u64 {
    let runs: Vec<String> = (0..runs).map(|_| submit(cluster, 0.001)).collect();
    let ended = runs.iter().map(|run| {
        let journal = Journal::watch(&cluster.sandbox, &cluster.url, run);
        journal.only("workflow_completed").at_ms
    });
    ended.max().unwrap_or(at_ms).saturating_sub(at_ms)
}

fn owner(role: &str) -> u64 {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    cluster.start_agent("rest", if role == "queue" { "resolver,engine,provider" } else { "queue,engine,provider" });
    cluster.start_agent("first", role);
    cluster.until_connected(role, 1);
    completed_since(&cluster, 0, 1);
    cluster.start_agent("second", role);
    cluster.until_connected(role, 2);
    // The owner of the tasks' queue, or of half of the shards.
    let owns = until("somebody owns what is needed", PATIENCE, || {
        cluster.components().into_iter().find(|it| {
            let queues = it["owned_queues"].as_array().is_some_and(|queues| queues.contains(&json!("default")));
            let shards = it["owned_shards"].as_array().is_some_and(|shards| !shards.is_empty());
            it["role"] == role && (queues || shards)
        })
    });
    let at_ms = now_ms();
    cluster.kill_9_agent(&text(&owns["name"]));
    completed_since(&cluster, at_ms, if role == "queue" { 1 } else { 12 })
}

fn control_plane() -> u64 {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    cluster.start_agent("all", "all");
    completed_since(&cluster, 0, 1);
    let at_ms = now_ms();
    cluster.kill_9_hub();
    cluster.start_hub();
    completed_since(&cluster, at_ms, 1)
}

fn healed() -> u64 {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    let relay = cluster.relay();
    cluster.start_agent("rest", "queue,resolver,provider");
    cluster.start_agent_through(&relay, "far", "engine");
    completed_since(&cluster, 0, 1);
    relay.partition();
    until("it is given up", Duration::from_secs(90), || {
        let far = cluster.components().into_iter().find(|it| it["name"] == "far");
        far.is_none().then_some(())
    });
    let run = submit(&cluster, 0.001);
    let at_ms = now_ms();
    relay.heal();
    let journal = Journal::watch(&cluster.sandbox, &cluster.url, &run);
    journal.only("workflow_completed").at_ms.saturating_sub(at_ms)
}

/// The number of ready tasks, all of one run.
const UNFINISHED: u32 = 100_000;

fn started() -> u64 {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    cluster.start_agent("roles", "queue,resolver,provider");
    let task = |n: u32| json!({"id": format!("t{n}"), "method": "util/echo"});
    let workflow = json!({"name": "Many", "tasks": (0..UNFINISHED).map(task).collect::<Vec<_>>()});
    let run = cluster.submit(&cluster.sandbox.file("many.json", workflow.to_string()));
    let last = format!("t{}", UNFINISHED - 1);
    until("all tasks wait for an engine", Duration::from_secs(300), || {
        let explained = cluster.ask(&["explain", &run, &last]).to_string();
        explained.contains("no connected engine").then_some(())
    });
    cluster.kill_9_hub();
    let at_ms = now_ms();
    cluster.start_hub();
    let took = now_ms().saturating_sub(at_ms);
    cluster.client(&["cancel", &run]).exits(0);
    took
}
