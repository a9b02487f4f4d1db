//! Every role twice, each in its own process: a workflow of 1,000 tasks survives the death of any of them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Cluster, Event, Journal, PATIENCE, Watch, shipped_providers, text, until};

/// How many `util/echo` tasks come before and after the gates, and how many gates and sums there are.
const BEFORE: usize = 500;
const AFTER: usize = 490;
const GATES: usize = 4;
const SUMS: usize = 4;
/// All tasks, including those between and at the end.
const ALL: usize = BEFORE + GATES + 1 + AFTER + SUMS + 1;

/// How many of the first tasks have completed before something is killed; others are queued and running then.
const MIDDLE: usize = 150;

/// Less than any grace period.
const PROMPTLY: Duration = Duration::from_secs(5);

/// A workflow of 1,000 tasks. Nothing after the gates begins before the file `open` exists.
struct Thousand {
    run: String,
    watch: Watch,
    /// The dependencies of each task, in the order of the file.
    dependencies: Vec<(String, Vec<String>)>,
}

impl Thousand {
    fn submit(cluster: &Cluster) -> Self {
        let named = |name: &str, count: usize| (0..count).map(|n| format!("{name}{n}")).collect::<Vec<_>>();
        let gate = format!(
            "import os, time\nwhile not os.path.exists('{}'):\n    time.sleep(0.01)\nresult = ${{before0.n}}",
            cluster.sandbox.path().join("open").display()
        );
        let mut tasks: Vec<Value> = Vec::new();
        let mut dependencies = Vec::new();
        let mut add = |id: &str, method: &str, parameters: Value, on: Vec<String>| {
            tasks.push(json!({"id": id, "method": method, "parameters": parameters, "dependencies": on}));
            dependencies.push((id.to_owned(), on));
        };
        for (n, id) in named("before", BEFORE).iter().enumerate() {
            add(id, "util/echo", json!({"n": n}), vec![]);
        }
        for id in named("gate", GATES) {
            add(&id, "python/execute", json!({"code": gate}), vec!["before0".to_owned()]);
        }
        let half = named("before", BEFORE).into_iter().chain(named("gate", GATES)).collect();
        add("half", "util/echo", json!({"opened": "${gate0.result}"}), half);
        for (n, id) in named("after", AFTER).iter().enumerate() {
            add(id, "util/echo", json!({"n": n, "opened": "${half.opened}"}), vec!["half".to_owned()]);
        }
        let after: Vec<String> = named("after", AFTER).iter().map(|id| format!("${{{id}.n}}")).collect();
        for id in named("sum", SUMS) {
            let parameters = json!({"code": "result = sum(context['numbers'])", "context": {"numbers": after}});
            add(&id, "python/execute", parameters, named("after", AFTER));
        }
        let sums: Vec<String> = named("sum", SUMS).iter().map(|id| format!("${{{id}.result}}")).collect();
        add("join", "util/echo", json!({"sums": sums}), named("sum", SUMS));
        assert_eq!(tasks.len(), ALL);

        let workflow = json!({"name": "Thousand", "tasks": tasks, "outputs": {"sums": "${join.sums}"}});
        let run = cluster.submit(&cluster.sandbox.file("thousand.json", workflow.to_string()));
        Self { watch: cluster.watch(&run), run, dependencies }
    }

    /// Waits until some tasks are completed and two gates are running; returns the engine that has the first.
    #[track_caller]
    fn until_the_middle(&mut self) -> String {
        self.watch.until("the middle", |events| {
            let of = |kind: &str| events.iter().filter(|event| event.kind == kind).count();
            assert!(of("workflow_completed") == 0);
            let running: Vec<&Event> = events.iter().filter(|event| event.kind == "task_started").collect();
            let gate = running.iter().find(|event| event.task.starts_with("gate"))?;
            let gates = running.iter().filter(|event| event.task.starts_with("gate")).count();
            let dispatched = |event: &&Event| event.task == gate.task && event.kind == "task_dispatched";
            let engine = events.iter().find(dispatched)?.payload["engine"].as_str()?.to_owned();
            (of("task_completed") >= MIDDLE && gates >= 2).then_some(engine)
        })
    }

    /// Opens the gates.
    fn open(&self, cluster: &Cluster) {
        cluster.sandbox.file("open", "");
    }

    /// Waits for the end: every task completed, was recorded once, and in the right order.
    #[track_caller]
    fn completes(self, cluster: &Cluster) -> Journal {
        let journal = self.watch.finish();
        let dependencies = self.dependencies.iter();
        journal.keeps_the_order_of(dependencies.map(|(id, on)| (id.as_str(), on.iter().map(String::as_str).collect())));
        assert_eq!(journal.all("task_completed").count(), ALL);
        journal.only("workflow_completed");
        let run = cluster.ask(&["status", &self.run]);
        let sum = AFTER * (AFTER - 1) / 2;
        assert_eq!((&run["status"], &run["outputs"]), (&json!("completed"), &json!({"sums": vec![sum; SUMS]})));
        let tasks = run["tasks"].as_object().expect("an object");
        assert_eq!(tasks.values().filter(|task| task["status"] == "completed").count(), ALL);
        journal
    }
}

/// In the order of their start; the first three start before there is a hub.
const AGENTS: [(&str, &str); 8] = [
    ("engine-1", "engine"),
    ("provider-1", "provider"),
    ("queue-1", "queue"),
    ("resolver-1", "deps"),
    ("resolver-2", "resolver"),
    ("queue-2", "queue"),
    ("provider-2", "provider"),
    ("engine-2", "exec"),
];

/// Two processes of every role, the first ones started before the hub.
fn two_of_every_role() -> Cluster {
    let mut cluster = Cluster::new();
    AGENTS[..3].iter().for_each(|(name, role)| cluster.start_agent(name, role));
    cluster.start_hub();
    AGENTS[3..].iter().for_each(|(name, role)| cluster.start_agent(name, role));
    for (role, count) in [("engine", 2), ("queue", 2), ("resolver", 2), ("provider", 2 * shipped_providers())] {
        cluster.until_connected(role, count);
    }
    cluster
}

#[track_caller]
fn all_end_well(mut cluster: Cluster) {
    for ended in cluster.terminate(PROMPTLY) {
        ended.exits(0);
    }
}

#[test]
fn two_processes_of_every_role_complete_a_thousand_tasks() {
    let cluster = two_of_every_role();
    let mut thousand = Thousand::submit(&cluster);
    thousand.until_the_middle();
    thousand.open(&cluster);
    let journal = thousand.completes(&cluster);
    assert_eq!(journal.all("task_dispatched").count(), ALL, "nothing was lost, so nothing ran again");
    let engines: BTreeSet<String> = journal.all("task_dispatched").map(|it| text(&it.payload["engine"])).collect();
    assert_eq!(engines.len(), 2, "both engines worked");
    all_end_well(cluster);
}

#[test]
fn a_killed_engine_costs_its_attempts_and_nothing_else() {
    let mut cluster = two_of_every_role();
    let mut thousand = Thousand::submit(&cluster);
    let engine = thousand.until_the_middle();
    cluster.kill_9_agent(&cluster.name_of(&engine));
    thousand.open(&cluster);
    let journal = thousand.completes(&cluster);
    let mut lost = 0;
    for stopped in journal.all("task_attempt_stopped") {
        assert_eq!(stopped.payload["reason"], "engine_lost", "{stopped:?}");
        assert_eq!(stopped.payload["engine"], engine, "{stopped:?}");
        lost += 1;
    }
    assert!(lost > 0, "it held an attempt");
    assert_eq!(journal.all("task_dispatched").count(), ALL + lost, "only what was lost ran again");
    all_end_well(cluster);
}

#[test]
fn a_killed_provider_costs_its_calls_and_nothing_else() {
    let mut cluster = two_of_every_role();
    let mut thousand = Thousand::submit(&cluster);
    thousand.until_the_middle();
    // Calls go to the provider with the fewest open ones, so each provider has a gate.
    cluster.kill_9_agent("provider-2");
    thousand.open(&cluster);
    let journal = thousand.completes(&cluster);
    let mut lost = 0;
    for stopped in journal.all("task_attempt_stopped") {
        assert_eq!(stopped.payload["reason"], "provider_lost", "{stopped:?}");
        lost += 1;
    }
    assert!(lost > 0, "it held a call");
    assert_eq!(journal.all("task_dispatched").count(), ALL + lost, "only what was lost ran again");
    all_end_well(cluster);
}

#[test]
fn a_killed_queue_is_replaced_and_nothing_runs_again() {
    let mut cluster = two_of_every_role();
    let mut thousand = Thousand::submit(&cluster);
    thousand.until_the_middle();
    let owner = owner(&cluster, "queue", "owned_queues", &json!("default"));
    cluster.kill_9_agent(&owner);
    thousand.open(&cluster);
    let journal = thousand.completes(&cluster);
    assert_eq!(journal.all("task_dispatched").count(), ALL);
    all_end_well(cluster);
}

#[test]
fn a_killed_resolver_is_replaced_and_nothing_runs_again() {
    let mut cluster = two_of_every_role();
    let mut thousand = Thousand::submit(&cluster);
    thousand.until_the_middle();
    let last_byte = u8::from_str_radix(&thousand.run[thousand.run.len() - 2..], 16).expect("hexadecimal");
    let owner = owner(&cluster, "resolver", "owned_shards", &json!(last_byte % 64));
    cluster.kill_9_agent(&owner);
    thousand.open(&cluster);
    let journal = thousand.completes(&cluster);
    assert_eq!(journal.all("task_dispatched").count(), ALL);
    all_end_well(cluster);
}

/// The name of the component that owns a slice.
#[track_caller]
fn owner(cluster: &Cluster, role: &str, field: &str, slice: &Value) -> String {
    let mut owners = cluster.components();
    owners.retain(|it| it["role"] == role && it[field].as_array().is_some_and(|owned| owned.contains(slice)));
    assert_eq!(owners.len(), 1, "{owners:#?}");
    text(&owners[0]["name"])
}

#[test]
fn a_killed_hub_continues_where_it_was() {
    let mut cluster = two_of_every_role();
    let mut thousand = Thousand::submit(&cluster);
    thousand.until_the_middle();
    // More submissions are being acknowledged while it dies.
    let small = cluster.sandbox.file("small.yaml", "name: Small\ntasks: [{id: a, method: util/echo}]\n");
    let arguments = ["submit", &small, "--hub-url", &cluster.url, "-o", "json"];
    let mut submits: Vec<_> = (0..6).map(|_| cluster.sandbox.start(&arguments)).collect();
    until("the first acknowledgement", PATIENCE, || submits.iter_mut().any(|it| !it.is_running()).then_some(()));
    let seen = thousand.watch.so_far();
    cluster.kill_9_hub();
    cluster.start_hub();
    thousand.open(&cluster);

    let journal = thousand.completes(&cluster);
    assert_same(&seen, &journal);
    for gate in seen.iter().filter(|event| event.kind == "task_started" && event.task.starts_with("gate")) {
        let kinds = journal.kinds(&gate.task);
        assert_eq!(
            kinds,
            ["task_ready", "task_dispatched", "task_started", "task_completed"],
            "work outlives a restart"
        );
    }
    let acknowledged = submits.into_iter().map(|submit| submit.wait(PATIENCE)).filter(|ended| ended.code() == 0);
    let runs: Vec<String> = acknowledged.map(|ended| text(&ended.json()["run_id"])).collect();
    assert!(!runs.is_empty(), "one was acknowledged before");
    for run in runs {
        assert_eq!(cluster.until_ended(&run)["status"], "completed");
    }
    all_end_well(cluster);
}

#[test]
fn agents_without_a_hub_still_end_promptly() {
    let mut cluster = two_of_every_role();
    cluster.kill_9_hub();
    all_end_well(cluster);
}

#[test]
fn after_all_processes_are_killed_others_continue_from_the_store() {
    let mut cluster = two_of_every_role();
    let mut thousand = Thousand::submit(&cluster);
    thousand.until_the_middle();
    let seen = thousand.watch.so_far();
    cluster.kill_9_hub();
    AGENTS.iter().for_each(|(name, _)| cluster.kill_9_agent(name));
    thousand.open(&cluster);
    cluster.start_hub();
    for (_, role) in &AGENTS[..4] {
        cluster.start_agent(&format!("new-{role}"), role);
    }

    let journal = thousand.completes(&cluster);
    assert_same(&seen, &journal);
    let lost = journal.all("task_attempt_stopped").count();
    assert!(lost > 0 && journal.all("task_attempt_stopped").all(|stopped| stopped.payload["reason"] == "engine_lost"));
    assert_eq!(journal.all("task_dispatched").count(), ALL + lost, "only what was lost ran again");
    all_end_well(cluster);
}

/// The events that were visible before are still the beginning of the journal.
#[track_caller]
fn assert_same(seen: &[Event], journal: &Journal) {
    assert!(seen.len() <= journal.0.len());
    for (before, after) in seen.iter().zip(&journal.0) {
        assert_eq!(format!("{before:?}"), format!("{after:?}"));
    }
}
