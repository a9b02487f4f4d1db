//! Timing: priorities, delays before another attempt, and time limits that reach the running code.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Beat, Cluster, Journal, PATIENCE, beat, gone, text};

/// How long a time limit may take to reach the code, in milliseconds.
const REACH_MS: u64 = 1_000;
/// How much later than requested another attempt may start, on a busy machine.
const LATE_MS: u64 = 2_000;

/// A workflow of one task whose code beats in a file and never ends.
fn endless(cluster: &Cluster, file: &Path, of_run: &str, of_task: &str) -> String {
    let code = beat(file);
    let text = format!(
        "name: Endless\n{of_run}tasks:\n  - id: beat\n    method: python/execute\n{of_task}    parameters:\n      code: |\n{code}"
    );
    cluster.sandbox.file("endless.yaml", text)
}

/// A cluster that has run Python before, so that a time limit covers only the code.
fn warm() -> Cluster {
    let cluster = Cluster::all_in_one(&[]);
    let first = "name: First\ntasks: [{id: a, method: python/execute, parameters: {code: result = 1}}]\n";
    cluster.until_ended(&cluster.submit(&cluster.sandbox.file("first.yaml", first)));
    cluster
}

#[test]
fn higher_priorities_go_first_and_equal_ones_in_the_order_of_submission() {
    let cluster = Cluster::all_in_one(&["--slots", "1"]);
    let sleep = "name: Holds the slot\ntasks: [{id: hold, method: util/sleep, parameters: {seconds: 1.5}}]\n";
    let holding = cluster.submit(&cluster.sandbox.file("hold.yaml", sleep));
    cluster.until_run(&holding, "the slot is taken", |run| run["tasks"]["hold"]["status"] == "running");
    let line = |(id, priority): (&str, &str)| format!("  - {{id: {id}, method: util/echo{priority}}}\n");
    let tasks = [
        ("low", ", priority: low"),
        ("first", ""),
        ("urgent", ", priority: urgent"),
        ("second", ", priority: 2"),
        ("high", ", priority: high"),
        ("seven", ", priority: 7"),
    ];
    let file = format!("name: Mixed\ntasks:\n{}", tasks.map(line).concat());
    let run = cluster.submit(&cluster.sandbox.file("mixed.yaml", file));
    cluster.until_run(&run, "all wait for the slot", |run| {
        run["tasks"].as_object().expect("an object").values().all(|task| task["status"] == "ready")
    });
    let journal = Journal::watch(&cluster.sandbox, &cluster.url, &run);
    let order: Vec<&str> = journal.all("task_dispatched").map(|event| event.task.as_str()).collect();
    assert_eq!(order, ["seven", "urgent", "high", "first", "second", "low"]);
}

#[test]
fn retries_follow_the_configured_delays() {
    let cluster = Cluster::all_in_one(&[]);
    for (backoff, expected) in [("exponential", [200, 400, 500]), ("linear", [200, 400, 500]), ("fixed", [200; 3])] {
        let file = format!(
            "name: Retries\ntasks:\n  - id: flaky\n    method: util/fail\n    parameters: {{message: not yet, until_attempt: 4}}\n    \
             retry: {{max_attempts: 4, backoff: {backoff}, initial_delay: 200ms, max_delay: 500ms}}\n"
        );
        let run = cluster.submit(&cluster.sandbox.file("retries.yaml", file));
        let journal = Journal::watch(&cluster.sandbox, &cluster.url, &run);
        assert_eq!(journal.only("task_completed").attempt, 4, "{backoff}");
        let dispatched: Vec<u64> = journal.all("task_dispatched").map(|event| event.at_ms).collect();
        let scheduled: Vec<_> = journal.all("task_retry_scheduled").collect();
        let stated: Vec<u64> = scheduled.iter().map(|it| it.payload["delay_ms"].as_u64().expect("a delay")).collect();
        assert_eq!(stated, expected, "{backoff}");
        for (number, it) in scheduled.iter().enumerate() {
            let waited = dispatched[number + 1] - it.at_ms;
            assert!((stated[number]..=stated[number] + LATE_MS).contains(&waited), "{backoff}: {waited} ms");
        }
    }
}

#[test]
fn attempts_are_limited_and_the_last_error_is_reported() {
    let cluster = Cluster::all_in_one(&[]);
    let file = "name: Never\ntasks:\n  - id: never\n    method: util/fail\n    parameters: {message: no luck}\n    \
                retry: {max_attempts: 3, initial_delay: 10ms}\n";
    let run = cluster.submit(&cluster.sandbox.file("never.yaml", file));
    let journal = Journal::watch(&cluster.sandbox, &cluster.url, &run);
    assert_eq!(journal.all("task_attempt_failed").count(), 3);
    let message = text(&journal.only("task_failed").payload["error"]["message"]);
    assert!(message.contains("no luck") && message.contains("after 3 failed attempts"), "{message}");
}

/// The run's error, and how long the code went on after the entry that ended it.
fn ended_by(cluster: &Cluster, file: &Path, run: &str, kind: &str) -> (Value, u64) {
    let journal = Journal::watch(&cluster.sandbox, &cluster.url, run);
    let last_beat = gone(file, PATIENCE);
    let ended = journal.all(kind).next().unwrap_or_else(|| panic!("no {kind}: {:?}", journal.0));
    (cluster.until_ended(run)["error"].clone(), last_beat.saturating_sub(ended.at_ms))
}

#[test]
fn the_timeout_of_a_task_stops_its_code_within_a_second() {
    let cluster = warm();
    let file = cluster.sandbox.path().join("beat");
    let run = cluster.submit(&endless(&cluster, &file, "", "    timeout: 3\n"));
    Beat::first(&file);
    let (error, went_on) = ended_by(&cluster, &file, &run, "task_attempt_failed");
    assert!(went_on <= REACH_MS, "the code went on for {went_on} ms");
    assert_eq!(error["name"], "WORKFLOW_EXECUTION_FAILED");
    let run = cluster.until_ended(&run);
    assert_eq!(run["tasks"]["beat"]["error"]["name"], "TASK_TIMEOUT", "{run:#}");
}

#[test]
fn the_timeout_of_a_run_stops_its_code_within_a_second() {
    let cluster = warm();
    let file = cluster.sandbox.path().join("beat");
    let run = cluster.submit(&endless(&cluster, &file, "timeout: 6s\n", ""));
    Beat::first(&file);
    let (error, went_on) = ended_by(&cluster, &file, &run, "workflow_failed");
    assert!(went_on <= REACH_MS, "the code went on for {went_on} ms");
    assert_eq!(error["name"], "WORKFLOW_TIMEOUT");
    let run = cluster.until_ended(&run);
    assert_eq!(run["status"], "failed", "{run:#}");
}

#[test]
fn a_cancel_reports_the_outcome_of_each_task() {
    let cluster = Cluster::all_in_one(&["--slots", "1"]);
    let sleep = |id: &str, priority: u32, seconds: f64| json!({"id": id, "method": "util/sleep", "priority": priority, "parameters": {"seconds": seconds}});
    let workflow =
        json!({"name": "Three", "tasks": [sleep("done", 9, 0.01), sleep("open", 5, 300.0), sleep("later", 1, 1.0)]});
    let run = cluster.submit(&cluster.sandbox.file("three.json", workflow.to_string()));
    cluster.until_run(&run, "the second is at work", |run| run["tasks"]["open"]["status"] == "running");
    let answer = cluster.ask(&["cancel", &run]);
    assert_eq!((&answer["status"], &answer["open_attempts"]), (&json!("cancelled"), &json!(1)), "{answer:#}");
    let task = |status: &str, attempt: u32| json!({"status": status, "attempt": attempt});
    let tasks = json!({"done": task("completed", 1), "later": task("cancelled", 0), "open": task("cancelled", 1)});
    assert_eq!(answer["tasks"], tasks);
    // A second cancel changes nothing.
    let again = cluster.client(&["cancel", &run]).exits(0).stdout;
    let expected = ["is cancelled", "completed before: done", "stopped while running: open", "never started: later"];
    assert!(expected.iter().all(|part| again.contains(part)), "{again}");
    let completed = cluster.submit(&cluster.sandbox.file("w.yaml", "name: W\ntasks: [{id: a, method: util/echo}]\n"));
    cluster.until_ended(&completed);
    let refused = cluster.client(&["cancel", &completed, "-o", "json"]).exits(1).json();
    assert_eq!(refused["errors"][0]["name"], "WORKFLOW_INVALID_STATE");
}

#[test]
fn a_cancel_stops_the_code_within_a_second() {
    let cluster = Cluster::all_in_one(&[]);
    let file = cluster.sandbox.path().join("beat");
    let run = cluster.submit(&endless(&cluster, &file, "", ""));
    Beat::first(&file);
    let answer = cluster.ask(&["cancel", &run, "--reason", "enough of it"]);
    assert_eq!(answer["run_id"], run.as_str());
    let (error, went_on) = ended_by(&cluster, &file, &run, "workflow_cancel_requested");
    assert!(went_on <= REACH_MS, "the code went on for {went_on} ms");
    assert_eq!(error["name"], "WORKFLOW_CANCELLED");
    assert!(text(&error["message"]).contains("enough of it"), "{error}");
}

/// The built-in methods, one call at a time.
const ONE_AT_A_TIME: &str = "name: util\nprotocol: util/v1\nexecutor: builtin\nmax_concurrency: 1\n";

#[test]
fn the_timeout_of_a_task_does_not_count_time_in_a_queue() {
    // Two in a row take longer than the timeout, each alone takes much less.
    let task =
        |n: u32| json!({"id": format!("t{n}"), "method": "util/sleep", "timeout": 3.5, "parameters": {"seconds": 2}});
    let workflow = json!({"name": "Line", "tasks": (0..3).map(task).collect::<Vec<_>>()}).to_string();
    for (slots, is_narrow) in [("1", false), ("8", true)] {
        let mut cluster = Cluster::new();
        let provider = cluster.sandbox.file("util.yaml", ONE_AT_A_TIME);
        let narrow: &[&str] = if is_narrow { &["--provider", &provider] } else { &[] };
        cluster.start_all(&[&["--slots", slots], narrow].concat());
        let run = cluster.submit(&cluster.sandbox.file("line.json", &workflow));
        let ended = cluster.until_ended(&run);
        assert_eq!(ended["status"], "completed", "{slots} slots: {ended:#}");
        let journal = Journal::watch(&cluster.sandbox, &cluster.url, &run);
        for completed in journal.all("task_completed") {
            let ran_ms = completed.payload["ran_ms"].as_u64().expect("a duration");
            assert!((2_000..3_500).contains(&ran_ms), "it is the time of the work alone: {ran_ms} ms");
            assert_eq!(completed.attempt, 1);
        }
    }
}

#[test]
fn a_new_provider_gets_calls_that_wait_for_a_busy_one() {
    let mut cluster = Cluster::new();
    let provider = cluster.sandbox.file("util.yaml", ONE_AT_A_TIME);
    cluster.start_all(&["--slots", "8", "--provider", &provider]);
    let sleep = |id: &str, priority: u32, seconds: f64| json!({"id": id, "method": "util/sleep", "priority": priority, "parameters": {"seconds": seconds}});
    let submit = |name: &str, tasks: Value| {
        cluster.submit(&cluster.sandbox.file("rescue.json", json!({"name": name, "tasks": tasks}).to_string()))
    };
    let long = submit("Long", json!([sleep("long", 5, 600.0)]));
    cluster.until_run(&long, "it is at work", |run| run["tasks"]["long"]["status"] == "running");
    let run = submit("Rescue", json!([sleep("first", 5, 0.1), sleep("second", 1, 0.1)]));
    // One task is running, the next one waits for it at the hub, and the last one waits in the queue.
    cluster.until_run(&run, "one waits at the hub", |run| {
        let reason = |task: &str| run["tasks"][task]["waiting"]["reason"].as_str().unwrap_or_default().to_owned();
        reason("first").contains("is next") && reason("second").contains("are busy with 1 call")
    });
    cluster.start_agent("hands", "provider");
    cluster.until_run(&run, "both are done", |run| {
        ["first", "second"].iter().all(|task| run["tasks"][task]["status"] == "completed")
    });
    assert_eq!(cluster.ask(&["status", &long])["status"], "running");
}
