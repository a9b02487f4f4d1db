//! Attempts whose engine or provider goes away: what the journal records, what they cost, and that the code of one
//! attempt is gone when that of the next begins.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Cluster, Event, Journal, PATIENCE, Sandbox, Watch, now_ms, shipped_providers, text, until};

/// Less than any grace period and any timeout for silence.
const PROMPTLY: Duration = Duration::from_secs(5);

/// How long code may still run after its attempt has ended.
const KILLED_WITHIN_MS: u64 = 1_000;

/// Code that leaves a trail while it runs, until a file says how to end.
struct Trail {
    file: PathBuf,
    orders: PathBuf,
}

/// The trail of one execution, in milliseconds since 1970.
#[derive(Debug)]
struct Span {
    from_ms: u64,
    to_ms: u64,
}

impl Trail {
    fn new(sandbox: &Sandbox) -> Self {
        Self { file: sandbox.path().join("trail"), orders: sandbox.path().join("orders") }
    }

    fn code(&self) -> String {
        format!(
            "import os, time\n\
             while True:\n\
             \u{20}   with open({file:?}, 'a') as trail:\n\
             \u{20}       trail.write(f'{{os.readlink(\"/proc/self\")}} {{time.time_ns() // 1000000}}\\n')\n\
             \u{20}   if os.path.exists({orders:?}):\n\
             \u{20}       break\n\
             \u{20}   time.sleep(0.01)\n\
             assert open({orders:?}).read() == 'succeed', 'as told'\n\
             result = 'done'\n",
            file = self.file,
            orders = self.orders,
        )
    }

    fn submit(&self, cluster: &Cluster, retry: &Value) -> String {
        let task = json!({
            "id": "work", "method": "python/execute", "retry": retry, "parameters": {"code": self.code()},
        });
        let workflow = json!({"name": "Trail", "tasks": [task], "outputs": {"said": "${work.result}"}});
        cluster.submit(&cluster.sandbox.file("trail.json", workflow.to_string()))
    }

    /// Makes all executions from now on end in this way, including running ones.
    fn order(&self, how: &str) {
        let new = self.orders.with_extension("new");
        fs::write(&new, how).expect("writable");
        fs::rename(&new, &self.orders).expect("writable");
    }

    /// The executions by process, in the order of their start.
    fn spans(&self) -> Vec<Span> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let mut spans: BTreeMap<&str, Span> = BTreeMap::new();
        for (pid, ms) in text.lines().filter_map(|line| line.split_once(' ')) {
            let at_ms = ms.parse().expect("a number");
            spans.entry(pid).or_insert(Span { from_ms: at_ms, to_ms: at_ms }).to_ms = at_ms;
        }
        let mut spans: Vec<Span> = spans.into_values().collect();
        spans.sort_by_key(|span| span.from_ms);
        spans
    }

    /// Waits until an attempt is recorded as running and its code has left a trail.
    #[track_caller]
    fn until_runs(&self, watch: &mut Watch, attempt: u64) {
        watch.until_task("work", attempt, "task_started");
        until("the code runs", PATIENCE, || (self.spans().len() as u64 >= attempt).then_some(()));
    }

    /// Waits until the code of an attempt has left no trail for so long that it must be gone.
    #[track_caller]
    fn until_gone(&self, attempt: usize) {
        until("the code is gone", PATIENCE, || {
            (now_ms() > self.spans()[attempt - 1].to_ms + KILLED_WITHIN_MS).then_some(())
        });
    }

    /// Every attempt ran once, and none for longer than its lease and the moment that it takes to kill code.
    #[track_caller]
    fn ran_one_at_a_time(&self, journal: &Journal) {
        let ends = ["task_completed", "task_attempt_failed", "task_attempt_stopped"];
        let of = |kinds: &[&str]| -> Vec<Event> {
            journal.of("work").filter(|event| kinds.contains(&event.kind.as_str())).cloned().collect()
        };
        let (spans, leases) = (self.spans(), of(&["task_dispatched"]).into_iter().zip(of(&ends)));
        let leases: Vec<_> = leases.map(|(from, to)| (from.at_ms, to.at_ms)).collect();
        assert_eq!(spans.len(), leases.len(), "{spans:?} {leases:?}");
        for (span, (from_ms, to_ms)) in spans.iter().zip(&leases) {
            assert!(span.from_ms >= *from_ms && span.to_ms <= to_ms + KILLED_WITHIN_MS, "{spans:?} {leases:?}");
        }
    }
}

/// The entries of an attempt that was running when it was lost, and of one that completed.
const LOST: [&str; 4] = ["task_dispatched", "task_started", "task_attempt_stopped", "task_requeued"];
const COMPLETED: [&str; 3] = ["task_dispatched", "task_started", "task_completed"];

fn attempts_of(max: u32) -> Value {
    json!({"max_attempts": max, "initial_delay": 0.1})
}

fn reasons(journal: &Journal) -> Vec<String> {
    journal.all("task_attempt_stopped").map(|event| text(&event.payload["reason"])).collect()
}

/// An agent that returns its work at once when it is stopped.
fn hasty(cluster: &mut Cluster, name: &str, role: &str) {
    cluster.start_agent_with(name, role, &["--drain-timeout", "0"]);
}

#[track_caller]
fn leaves(cluster: &mut Cluster, name: &str) {
    cluster.take_agent(name).terminate(PROMPTLY).exits(0);
}

#[test]
fn an_attempt_on_a_killed_engine_is_lost_and_the_task_gets_another_attempt() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    cluster.start_agent("rest", "queue,resolver,provider");
    cluster.start_agent("engine-1", "engine");
    cluster.start_agent("engine-2", "engine");
    let trail = Trail::new(&cluster.sandbox);
    let run = trail.submit(&cluster, &attempts_of(1));
    let mut watch = cluster.watch(&run);
    let engine = text(&watch.until_task("work", 1, "task_dispatched").payload["engine"]);
    trail.until_runs(&mut watch, 1);
    cluster.kill_9_agent(&cluster.name_of(&engine));
    trail.until_runs(&mut watch, 2);
    trail.until_gone(1);
    trail.order("succeed");

    let journal = watch.finish();
    assert_eq!(journal.kinds("work"), [&["task_ready"], &LOST[..], &COMPLETED].concat());
    assert_eq!(reasons(&journal), ["engine_lost"]);
    assert_eq!(journal.only("task_attempt_stopped").payload["engine"], engine);
    assert_ne!(journal.of("work").last().expect("an entry").payload["engine"], engine);
    trail.ran_one_at_a_time(&journal);
    assert_eq!(cluster.until_ended(&run)["outputs"], json!({"said": "done"}));
}

#[test]
fn an_attempt_on_a_killed_provider_is_lost_and_the_task_gets_another_attempt() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    cluster.start_agent("rest", "queue,resolver,engine");
    cluster.start_agent("provider-1", "provider");
    let trail = Trail::new(&cluster.sandbox);
    let run = trail.submit(&cluster, &attempts_of(1));
    let mut watch = cluster.watch(&run);
    trail.until_runs(&mut watch, 1);
    cluster.start_agent("provider-2", "provider");
    cluster.until_connected("provider", 2 * shipped_providers());
    cluster.kill_9_agent("provider-1");
    let killed_ms = now_ms();
    trail.until_runs(&mut watch, 2);
    trail.order("succeed");

    let journal = watch.finish();
    assert_eq!(journal.kinds("work"), [&["task_ready"], &LOST[..], &COMPLETED].concat());
    assert_eq!(reasons(&journal), ["provider_lost"]);
    trail.ran_one_at_a_time(&journal);
    assert!(trail.spans()[0].to_ms < killed_ms + KILLED_WITHIN_MS, "code dies with its provider");
    assert_eq!(cluster.until_ended(&run)["outputs"], json!({"said": "done"}));
}

#[test]
fn losses_do_not_use_up_the_attempts_of_a_task() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    cluster.start_agent("rest", "queue,resolver");
    hasty(&mut cluster, "provider-1", "provider");
    hasty(&mut cluster, "engine-1", "engine");
    let trail = Trail::new(&cluster.sandbox);
    let run = trail.submit(&cluster, &attempts_of(2));
    let mut watch = cluster.watch(&run);
    trail.until_runs(&mut watch, 1);
    hasty(&mut cluster, "provider-2", "provider");
    leaves(&mut cluster, "provider-1");
    trail.until_runs(&mut watch, 2);
    hasty(&mut cluster, "engine-2", "engine");
    leaves(&mut cluster, "engine-1");
    trail.until_runs(&mut watch, 3);
    trail.order("fail");

    let journal = watch.finish();
    let mut kinds = journal.kinds("work");
    // An attempt that fails before it is reported as running has no such entry.
    kinds.retain(|kind| *kind != "task_started");
    let lost = ["task_dispatched", "task_attempt_stopped", "task_requeued"];
    let failed = ["task_dispatched", "task_attempt_failed"];
    let expected =
        [&["task_ready"], &lost[..], &lost, &failed, &["task_retry_scheduled"], &failed, &["task_failed"]].concat();
    assert_eq!(kinds, expected, "lost twice, failed once, tried again");
    assert_eq!(reasons(&journal), ["provider_lost", "drain"]);
    let run = cluster.until_ended(&run);
    assert_eq!((&run["tasks"]["work"]["status"], &run["tasks"]["work"]["attempt"]), (&json!("failed"), &json!(4)));
    let error = &run["tasks"]["work"]["error"];
    assert!(error.to_string().contains("as told"), "what the code said: {error:#}");
}

#[test]
fn a_task_that_is_lost_ten_times_fails_and_names_the_losses() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    cluster.start_agent("rest", "queue,resolver,engine");
    let trail = Trail::new(&cluster.sandbox);
    let run = trail.submit(&cluster, &attempts_of(1));
    let mut watch = cluster.watch(&run);
    for attempt in 1..=10 {
        hasty(&mut cluster, "provider", "provider");
        watch.until_task("work", attempt, "task_started");
        leaves(&mut cluster, "provider");
    }

    let journal = watch.finish();
    let mut expected = vec!["task_ready"];
    (0..10).for_each(|_| expected.extend(LOST));
    *expected.last_mut().expect("entries") = "task_failed";
    assert_eq!(journal.kinds("work"), expected);
    assert_eq!(reasons(&journal), ["provider_lost"; 10]);
    let error = &cluster.until_ended(&run)["tasks"]["work"]["error"];
    assert_eq!(error["name"], "TASK_RETRY_EXHAUSTED", "{error:#}");
    assert_eq!(error["message"].as_str().expect("text").matches("the provider was lost").count(), 10, "{error:#}");
}

#[test]
fn a_cancel_while_the_engine_is_dead_ends_the_run_once_the_engine_is_lost() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    cluster.start_agent("rest", "queue,resolver,provider");
    cluster.start_agent("engine", "engine");
    let trail = Trail::new(&cluster.sandbox);
    let run = trail.submit(&cluster, &attempts_of(1));
    let mut watch = cluster.watch(&run);
    trail.until_runs(&mut watch, 1);
    cluster.kill_9_agent("engine");
    let cancel = cluster.ask(&["cancel", &run, "--reason", "changed my mind"]);
    assert_eq!((&cancel["status"], &cancel["open_attempts"]), (&json!("running"), &json!(1)));

    let journal = watch.finish();
    let expected = ["task_ready", "task_dispatched", "task_started", "task_attempt_stopped", "task_cancelled"];
    assert_eq!(journal.kinds("work"), expected);
    assert_eq!(reasons(&journal), ["engine_lost"]);
    trail.until_gone(1);
    trail.ran_one_at_a_time(&journal);
    let run = cluster.until_ended(&run);
    assert_eq!(run["status"], "cancelled");
    assert!(run["error"]["message"].as_str().expect("text").contains("changed my mind"), "{run:#}");
}

/// Two agents with all roles, and four tasks that run until a file says so: two on each agent, or as many as
/// there are processors.
fn two_agents(drain_timeout: &str) -> (Cluster, Trail, Watch) {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    for name in ["agent-1", "agent-2"] {
        cluster.start_agent_with(name, "all", &["--drain-timeout", drain_timeout]);
    }
    cluster.until_connected("provider", 2 * shipped_providers());
    cluster.until_connected("engine", 2);
    let trail = Trail::new(&cluster.sandbox);
    let task = |n| json!({"id": format!("work{n}"), "method": "python/execute", "parameters": {"code": trail.code()}});
    let workflow = json!({"name": "Four", "tasks": (0..4).map(task).collect::<Vec<_>>()});
    let run = cluster.submit(&cluster.sandbox.file("four.json", workflow.to_string()));
    let mut watch = cluster.watch(&run);
    // Calls go to the provider with the fewest open ones, so each provider has one of any two.
    watch.until("two run", |events| {
        (events.iter().filter(|event| event.kind == "task_started").count() >= 2).then_some(())
    });
    (cluster, trail, watch)
}

#[test]
fn an_agent_that_leaves_hands_its_attempts_back_at_once() {
    let (mut cluster, trail, mut watch) = two_agents("0");
    leaves(&mut cluster, "agent-1");
    let left_ms = now_ms();
    watch.until("what was handed back is given to another", |events| {
        events.iter().any(|event| event.kind == "task_dispatched" && event.attempt > 1).then_some(())
    });
    trail.order("succeed");

    let journal = watch.finish();
    journal.only("workflow_completed");
    let reasons = reasons(&journal);
    assert!(!reasons.is_empty() && reasons.iter().all(|why| why == "drain" || why == "provider_lost"), "{reasons:?}");
    for stopped in journal.all("task_attempt_stopped") {
        assert!(stopped.at_ms <= left_ms + KILLED_WITHIN_MS, "{stopped:?}");
    }
    leaves(&mut cluster, "agent-2");
}

#[test]
fn an_agent_that_leaves_finishes_what_runs_if_there_is_time() {
    let (mut cluster, trail, watch) = two_agents("30s");
    let agent = cluster.take_agent("agent-1");
    agent.signal(Signal::TERM);
    until("it takes nothing new", PATIENCE, || {
        let of_it = |it: &&Value| it["role"] == "engine" && it["name"] == "agent-1";
        cluster.components().iter().filter(of_it).all(|it| it["capacity"] == 0).then_some(())
    });
    trail.order("succeed");
    agent.wait(PROMPTLY).exits(0);

    let journal = watch.finish();
    journal.only("workflow_completed");
    assert_eq!(journal.all("task_dispatched").count(), 4, "nothing was lost");
    leaves(&mut cluster, "agent-2");
}

#[test]
fn the_patience_for_silent_components_can_be_set() {
    let mut cluster = Cluster::new();
    cluster.start_hub_with(&["--engine-patience", "300ms", "--provider-patience", "200ms"]);
    cluster.start_agent("rest", "queue,resolver,provider");
    cluster.start_agent("engine-1", "engine");
    cluster.until_connected("engine", 1);
    let trail = Trail::new(&cluster.sandbox);
    let run = trail.submit(&cluster, &attempts_of(1));
    let mut watch = cluster.watch(&run);
    trail.until_runs(&mut watch, 1);
    cluster.start_agent("engine-2", "engine");
    cluster.until_connected("engine", 2);
    let killed_at = now_ms();
    cluster.kill_9_agent("engine-1");
    trail.order("succeed");
    let journal = watch.finish();
    let stopped = journal.only("task_attempt_stopped");
    assert!(stopped.at_ms - killed_at < 10_000, "sooner than the usual 15 s: {} ms", stopped.at_ms - killed_at);
    let kinds = journal.kinds("work");
    assert_eq!((&kinds[1..5], kinds.last()), (&LOST[..], Some(&"task_completed")));
}
