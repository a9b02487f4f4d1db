//! Why a run has not ended, as people read it, while the processes that it needs are missing, busy or slow.

use serde_json::{Value, json};

use crate::support::{Cluster, PATIENCE, text, until};

/// Waits until the explanation of a task contains all of these texts.
#[track_caller]
fn until_explained(cluster: &Cluster, run: &str, task: &str, parts: &[&str]) -> Value {
    until(&format!("`{task}` waits as expected: {parts:?}"), PATIENCE, || {
        let said = cluster.ask(&["explain", run, task]);
        let waiting = said["tasks"][0]["waiting"].clone();
        let reason = waiting["reason"].as_str().unwrap_or_default();
        parts.iter().all(|part| reason.contains(part)).then_some(waiting)
    })
}

fn workflow(cluster: &Cluster, tasks: &Value) -> String {
    cluster.submit(&cluster.sandbox.file("waits.json", json!({"name": "Waits", "tasks": tasks}).to_string()))
}

#[test]
fn a_missing_component_is_named_with_what_to_start() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    let tasks = json!([
        {"id": "a", "method": "util/echo", "queue": "gpu", "parameters": {"n": 1}},
        {"id": "b", "method": "util/echo", "parameters": {"n": "${a.n}"}},
    ]);
    let run = workflow(&cluster, &tasks);
    let waiting = until_explained(&cluster, &run, "a", &["no resolver is connected"]);
    assert_eq!(waiting["remedy"], "start one with `gleitzeit agent --role resolver`");
    assert!(waiting["since"].is_string() && waiting["until"].is_null(), "{waiting}");

    cluster.start_agent("graph", "resolver");
    let waiting = until_explained(&cluster, &run, "a", &["no owner for queue `gpu` is connected"]);
    assert_eq!(waiting["remedy"], "start one with `gleitzeit agent --role queue`");

    cluster.start_agent("dispatch", "queue");
    until_explained(&cluster, &run, "a", &["no connected provider serves `util/echo`"]);
    cluster.start_agent("hands", "provider");
    let waiting = until_explained(&cluster, &run, "a", &["no connected engine works for queue `gpu`"]);
    assert_eq!(waiting["remedy"], "start one with `gleitzeit agent --role engine --queues gpu`");

    // An engine for another queue does not help; an engine that left is remembered.
    cluster.start_agent_with("cpu", "engine", &["--queues", "default"]);
    cluster.start_agent_with("gpu-1", "engine", &["--queues", "gpu", "--slots", "1"]);
    cluster.until_ended(&run);
    cluster.take_agent("gpu-1").terminate(PATIENCE).exits(0);
    let run = workflow(&cluster, &tasks);
    until_explained(&cluster, &run, "a", &["engine works for queue `gpu`; the last one (`gpu-1`) left ", " ago"]);

    // The whole run: what blocks it, and what only waits for that.
    let said = cluster.ask(&["explain", &run]);
    assert_eq!((&said["tasks"][0]["id"], said["tasks"].as_array().map(Vec::len)), (&json!("a"), Some(1)), "{said:#}");
    assert_eq!((&said["dependent_tasks"], &said["more_tasks"], &said["error"]), (&json!(1), &json!(0), &Value::Null));
    assert_eq!(said["waiting"]["reason"], "it continues with `a`");
    // The explanation of a dependent task names the task that blocks it.
    let said = cluster.ask(&["explain", &run, "b"]);
    assert_eq!(said["tasks"][0]["waiting"]["reason"], "its dependencies `a` are not done");
    assert_eq!(said["tasks"][1]["id"], "a", "{said:#}");
    let shown = cluster.client(&["explain", &run]).exits(0).stdout;
    let remedy = "remedy start one with `gleitzeit agent --role engine --queues gpu`";
    assert!(shown.contains("task a is ready: no connected engine") && shown.contains(remedy), "{shown}");
    assert!(shown.contains("1 task waits for others"), "{shown}");
    // `status` says the same.
    let status = cluster.ask(&["status", &run]);
    assert!(text(&status["tasks"]["a"]["waiting"]["reason"]).contains("`gpu-1`"), "{status:#}");
}

#[test]
fn explain_shows_where_work_is_until_when_and_what_blocks_it() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    cluster.start_agent("rest", "queue,resolver");
    cluster.start_agent_with("small", "engine", &["--slots", "1"]);
    cluster.start_agent("hands", "provider");
    let sleep = |id: &str, priority: u32| json!({"id": id, "method": "util/sleep", "timeout": 300, "priority": priority, "parameters": {"seconds": 200}});
    let run = workflow(&cluster, &json!([sleep("first", 9), sleep("second", 1)]));
    let waiting = until_explained(&cluster, &run, "first", &["attempt 1 is open on engine", "running on provider"]);
    assert!(waiting["until"].is_string() && waiting["since"].is_string(), "{waiting}");
    let reason = format!("all 1 slots of the engines for queue `default` are in use, by `first` of run {run}");
    let waiting = until_explained(&cluster, &run, "second", &[&reason]);
    assert!(text(&waiting["remedy"]).contains("--slots"), "{waiting}");

    // Its engine falls silent: the explanation says until when it is waited for.
    cluster.kill_9_agent("small");
    let waiting = until_explained(&cluster, &run, "first", &["(small), which is silent"]);
    assert!(waiting["until"].is_string(), "{waiting}");
    cluster.ask(&["cancel", &run, "--reason", "enough"]);
    let said = cluster.ask(&["explain", &run]);
    if said["status"] == "running" {
        assert!(text(&said["waiting"]["reason"]).starts_with("it is ending (enough)"), "{said:#}");
    }
    cluster.until_ended(&run);
    let said = cluster.ask(&["explain", &run]);
    assert_eq!(
        (&said["status"], &said["waiting"], &said["error"]["name"]),
        (&json!("cancelled"), &Value::Null, &json!("WORKFLOW_CANCELLED")),
        "{said:#}"
    );
}

#[test]
fn a_call_that_waits_for_a_busy_provider_says_so_and_has_not_begun() {
    let mut cluster = Cluster::new();
    let provider = "name: util\nprotocol: util/v1\nexecutor: builtin\nmax_concurrency: 1\n";
    let provider = cluster.sandbox.file("util.yaml", provider);
    cluster.start_all(&["--slots", "8", "--provider", &provider]);
    let sleep = |id: &str, priority: u32| json!({"id": id, "method": "util/sleep", "timeout": 300, "priority": priority, "parameters": {"seconds": 200}});
    let run = workflow(&cluster, &json!([sleep("first", 9), sleep("second", 5), sleep("third", 1)]));
    let busy = "all providers of `util/sleep` (util) are busy with 1 call of at most 1; 1 call ready for them";
    let parts = ["attempt 1 on engine", "is next", busy];
    let waiting = until_explained(&cluster, &run, "second", &parts);
    assert!(waiting["until"].is_null(), "its time does not run: {waiting}");
    let waiting = until_explained(&cluster, &run, "third", &[busy]);
    assert_eq!(waiting["remedy"], "wait, raise `max_concurrency` of the provider, or start another one");
    let status = cluster.until_run(&run, "the first is at work", |run| run["tasks"]["first"]["status"] == "running");
    assert_eq!(status["tasks"]["second"]["status"], "dispatched", "nobody works on it: {status:#}");
    let told = text(&status["tasks"]["third"]["waiting"]["reason"]);
    assert!(told.contains("busy with 1 call of at most 1"), "`status` says that it is full: {status:#}");
    let remedy = text(&status["tasks"]["third"]["waiting"]["remedy"]);
    assert!(remedy.contains("`max_concurrency`"), "and what to raise: {status:#}");
    cluster.ask(&["cancel", &run]);
    cluster.until_ended(&run);
}

#[test]
fn a_delay_is_explained_with_the_error_before_it() {
    let cluster = Cluster::all_in_one(&[]);
    let fail = json!({"id": "fails", "method": "util/fail", "parameters": {"message": "out of ink"},
        "retry": {"max_attempts": 2, "initial_delay": 300}});
    let run = workflow(&cluster, &json!([fail]));
    let waiting = until_explained(&cluster, &run, "fails", &["attempt 1 failed: ", "out of ink", "after a delay"]);
    assert!(waiting["until"].is_string(), "{waiting}");

    let refused = |arguments: &[&str]| cluster.client(arguments).exits(1).json()["errors"][0].clone();
    let misspelt = refused(&["explain", &run, "fail", "-o", "json"]);
    assert_eq!(misspelt["name"], "TASK_NOT_FOUND");
    assert!(text(&misspelt["message"]).contains("did you mean `fails`?"), "{misspelt}");
    let unknown = refused(&["explain", "01930000-0000-7000-8000-000000000001", "-o", "json"]);
    assert_eq!(unknown["name"], "WORKFLOW_NOT_FOUND");
    cluster.ask(&["cancel", &run]);
    cluster.until_ended(&run);
}
