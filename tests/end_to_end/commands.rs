//! Commands with a running control plane: in the background, asked by clients, addressed by run ids.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::{Cluster, Journal, PATIENCE, Sandbox, default_port_is_used, example, free_port, text, until};

const DEFAULT_PORT: u16 = 8000;
/// Fails in its second task until a file exists.
const FLAKY: &str = "name: Flaky\ntasks:\n  - {id: one, method: util/echo, parameters: {n: 1}}\n  - id: two\n    method: \
                     python/execute\n    parameters: {code: \"result = open(${inputs.file}).read() + \
                     str(${one.n})\"}\noutputs: {both: \"${two.result}\"}\ninputs: {file: null}\n";

fn items(list: &Value) -> Vec<Value> {
    assert!(list["next_page_token"].is_null() || list["next_page_token"].is_string(), "{list}");
    list["items"].as_array().expect("a list").clone()
}

#[test]
fn a_control_plane_in_the_background_is_found_and_stopped() {
    let (sandbox, port) = (Sandbox::new(), free_port().to_string());
    let url = format!("http://127.0.0.1:{port}");
    let started = sandbox.gleitzeit(&["start", "--background", "--port", &port]).exits(0);
    assert!(started.stdout.starts_with(&format!("ready at {url}")), "{started}");
    let submitted = sandbox.gleitzeit(&["submit", &example("parallel.yaml"), "--wait", "--hub-url", &url]).exits(0);
    assert!(submitted.stdout.contains("280"), "{submitted}");

    let again = sandbox.gleitzeit(&["start", "--port", &port]).exits(1);
    assert!(again.stderr.contains(&port) && again.stderr.contains("hint:"), "the port is in use: {again}");
    let other = free_port().to_string();
    let again = sandbox.gleitzeit(&["hub", "--port", &other]).exits(1);
    assert!(again.stderr.contains("in use by another process"), "the store is in use: {again}");

    sandbox.gleitzeit(&["stop", "--port", &port]).exits(0);
    sandbox.gleitzeit(&["status", "--hub-url", &url]).exits(3);
    let nothing = sandbox.gleitzeit(&["stop", "--port", &port]).exits(0);
    assert!(nothing.stdout.contains("no control plane"), "{nothing}");
    // Completed work is still there.
    sandbox.gleitzeit(&["start", "--background", "--port", &port]).exits(0);
    let runs = sandbox.gleitzeit(&["list", "--hub-url", &url, "-o", "json"]).exits(0).json();
    assert_eq!(items(&runs)[0]["status"], "completed");
    sandbox.gleitzeit(&["stop", "--port", &port]).exits(0);
}

#[test]
fn submit_starts_a_control_plane_where_none_is_named_and_none_answers() {
    let _mine = default_port_is_used();
    let free = TcpListener::bind(("127.0.0.1", DEFAULT_PORT));
    drop(free.unwrap_or_else(|error| panic!("port {DEFAULT_PORT} must be free for this test: {error}")));
    let sandbox = Sandbox::new();
    let submitted = sandbox.gleitzeit(&["submit", &example("parallel.yaml"), "--wait", "-o", "json"]).exits(0);
    assert_eq!(submitted.json()["status"], "completed");
    assert!(submitted.stderr.contains(&DEFAULT_PORT.to_string()), "it says what it started: {submitted}");
    let status = sandbox.gleitzeit(&["status", "last", "-o", "json"]).exits(0);
    assert_eq!(status.json()["run_id"], submitted.json()["run_id"]);
    sandbox.gleitzeit(&["stop"]).exits(0);
    drop(TcpListener::bind(("127.0.0.1", DEFAULT_PORT)).expect("it is gone"));
}

#[test]
fn a_run_is_named_by_its_id_its_beginning_or_last() {
    let cluster = Cluster::all_in_one(&[]);
    let none = cluster.client(&["status", "last"]).exits(1);
    assert!(none.stderr.contains("no runs yet"), "{none}");
    let first = cluster.submit(&example("parallel.yaml"));
    cluster.until_ended(&first);
    let second = cluster.submit(&example("parallel.yaml"));
    for (name, expected) in [(&first[..], &first), (&first[..18], &first), ("last", &second)] {
        assert_eq!(cluster.ask(&["status", name])["run_id"], expected.as_str(), "{name}");
    }
    let common: String = first.chars().zip(second.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect();
    let ambiguous = cluster.client(&["status", &common]).exits(1);
    assert!(ambiguous.stderr.contains(&first) && ambiguous.stderr.contains(&second), "{ambiguous}");
    for (unknown, code) in [("ffff", 1), ("12345678-0000-7000-8000-000000000000", 1), ("zz", 2)] {
        let refused = cluster.client(&["status", unknown]).exits(code);
        assert!(refused.stderr.contains(unknown) && refused.stderr.contains("hint:"), "{refused}");
    }
    cluster.client(&["cancel", ""]).exits(2);
}

#[test]
fn watch_prints_each_event_once_in_order_and_continues_from_any() {
    let cluster = Cluster::all_in_one(&[]);
    let run = cluster.submit(&example("chain.yaml"));
    let journal = Journal::watch(&cluster.sandbox, &cluster.url, &run);
    assert_eq!(journal.0.first().expect("events").kind, "workflow_submitted");
    assert_eq!(journal.0.last().expect("events").kind, "workflow_completed");
    let count = journal.0.len();
    let from = (count - 2).to_string();
    let rest = cluster.client(&["watch", &run, "--from", &from, "-o", "json"]).exits(0);
    let seqs: Vec<u64> = rest
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["seq"].as_u64().expect("a number"))
        .collect();
    assert_eq!(seqs, [count - 2, count - 1, count].map(|seq| u64::try_from(seq).expect("small")));
}

#[test]
fn commands_that_wait_exit_by_the_outcome_of_the_run_and_queries_do_not() {
    let cluster = Cluster::all_in_one(&[]);
    let file = cluster.sandbox.file("flaky.yaml", FLAKY);
    let missing = format!("file={}", cluster.sandbox.path().join("missing").display());
    let failed = cluster.client(&["submit", &file, "--input", &missing, "--wait", "-o", "json"]).exits(1).json();
    assert_eq!(failed["status"], "failed");
    let run = text(&failed["run_id"]);
    cluster.client(&["watch", &run]).exits(1);
    cluster.client(&["status", &run]).exits(0);
    cluster.client(&["submit", &example("parallel.yaml"), "--wait"]).exits(0);
}

#[test]
fn a_retry_keeps_what_was_done_and_only_a_failed_run_can_be_retried() {
    let cluster = Cluster::all_in_one(&[]);
    let file = cluster.sandbox.file("flaky.yaml", FLAKY);
    let data = cluster.sandbox.path().join("data");
    let input = format!("file={}", data.display());
    let failed = cluster.client(&["submit", &file, "--input", &input, "--wait", "-o", "json"]).exits(1).json();
    let old = text(&failed["run_id"]);
    std::fs::write(&data, "number ").expect("writable");
    let retried = cluster.ask(&["retry", &old, "--request-id", "once"]);
    let new = text(&retried["run_id"]);
    assert_ne!(new, old);
    assert_eq!(cluster.ask(&["retry", &old, "--request-id", "once"])["run_id"], new.as_str(), "the same wish");
    let run = cluster.until_ended(&new);
    assert_eq!((&run["status"], &run["outputs"]), (&json!("completed"), &json!({"both": "number 1"})), "{run:#}");
    let journal = Journal::watch(&cluster.sandbox, &cluster.url, &new);
    assert_eq!(journal.kinds("one"), ["task_completed"], "it was not done again");
    assert_eq!((run["tasks"]["one"]["attempt"].as_u64(), &run["tasks"]["one"]["result"]), (Some(0), &json!({"n": 1})));
    let listed = items(&cluster.ask(&["list"]));
    let of_new = listed.iter().find(|it| it["run_id"] == new.as_str()).expect("it is listed");
    assert_eq!(of_new["retry_of"], old.as_str());
    for command in ["retry", "cancel"] {
        let refused = cluster.client(&[command, &new]).exits(1);
        assert!(refused.stderr.contains("is completed"), "{refused}");
    }
}

#[test]
fn lists_are_filtered_and_come_in_pages() {
    let cluster = Cluster::all_in_one(&[]);
    let parallel = example("parallel.yaml");
    let runs: Vec<String> = (0..3)
        .map(|number| text(&cluster.ask(&["submit", &parallel, "--label", &format!("n={number}")])["run_id"]))
        .collect();
    runs.iter().for_each(|run| drop(cluster.until_ended(run)));
    let ids = |list: &Value| items(list).iter().map(|it| text(&it["run_id"])).collect::<Vec<_>>();
    let newest: Vec<String> = runs.iter().rev().cloned().collect();
    assert_eq!(ids(&cluster.ask(&["list"])), newest);
    assert_eq!(ids(&cluster.ask(&["list", "--label", "n=1"])), runs[1..2]);
    assert_eq!(ids(&cluster.ask(&["list", "--status", "failed,cancelled"])), [""; 0]);
    let first = cluster.ask(&["list", "--limit", "2"]);
    assert_eq!(ids(&first), newest[..2]);
    let next = cluster.ask(&["list", "--limit", "2", "--page-token", &text(&first["next_page_token"])]);
    assert_eq!((ids(&next), &next["next_page_token"]), (newest[2..].to_vec(), &Value::Null));
    let bad = cluster.client(&["list", "--status", "done", "-o", "json"]).exits(2).json();
    assert!(text(&bad["errors"][0]["hint"]).contains("completed"), "{bad}");
}

#[test]
fn components_providers_and_methods_are_listed() {
    let cluster = Cluster::all_in_one(&[]);
    let mut roles: Vec<String> = cluster.components().iter().map(|it| text(&it["role"])).collect();
    roles.sort();
    roles.dedup();
    assert_eq!(roles, ["engine", "provider", "queue", "resolver"]);
    // Whether a language model is available depends on the machine.
    let own = ["python_local", "util"];
    let providers = until("both are healthy", PATIENCE, || {
        let providers = items(&cluster.ask(&["providers"]));
        let healthy = |it: &&Value| own.iter().any(|name| it["name"] == *name) && it["health"] == "healthy";
        (providers.iter().filter(healthy).count() == own.len()).then_some(providers)
    });
    let methods: Vec<&str> =
        providers.iter().flat_map(|it| it["methods"].as_array().expect("a list")).filter_map(Value::as_str).collect();
    for method in ["python/execute", "util/echo", "util/fail", "util/sleep"] {
        assert!(methods.contains(&method), "{providers:?}");
    }
    for offline in [&["protocols"][..], &["protocols", "--offline"]] {
        let protocols = items(&cluster.ask(offline));
        let names: Vec<&str> = protocols.iter().filter_map(|it| it["name"].as_str()).collect();
        assert!(names.contains(&"python") && names.contains(&"util"), "{names:?}");
        let named = |name: &'static str| items(&cluster.ask(&[offline, &[name]].concat()));
        for (name, methods) in [("util/echo", 1), ("util", 3), ("util/v1", 3)] {
            assert_eq!(named(name)[0]["methods"].as_array().map(Vec::len), Some(methods), "{name}");
        }
        let told = cluster.client(&[offline, &["llm/chat"]].concat()).exits(0);
        for part in ["llm/chat of llm/v1", "model", "llama3.2", "RETURNS", "usage"] {
            assert!(told.stdout.contains(part), "{part}: {told}");
        }
        let unknown = cluster.client(&[offline, &["util/eko"]].concat()).exits(1);
        assert!(unknown.stderr.contains("did you mean `util/echo`?"), "{unknown}");
    }
    let status = cluster.ask(&["status"]);
    assert_eq!((&status["ready"], &status["components"]["engine"]), (&json!(true), &json!(1)));
    let version = cluster.sandbox.gleitzeit(&["version", "-o", "json"]).exits(0).json();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(cluster.sandbox.gleitzeit(&["completions", shell]).exits(0).stdout.contains("gleitzeit"), "{shell}");
    }
}

#[test]
fn a_waiting_task_says_which_role_is_missing() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    let file = "name: Waits\ntasks: [{id: only, method: util/echo, parameters: {n: 1}}]\n";
    let run = cluster.submit(&cluster.sandbox.file("waits.yaml", file));
    // The roles in order, with what is missing before each is there.
    let steps = [
        ("resolver", "waiting", "no resolver is connected", "--role resolver"),
        ("queue", "ready", "no owner for queue `default`", "--role queue"),
        ("provider", "ready", "no connected provider serves `util/echo`", "providers"),
        ("engine", "ready", "no connected engine works for queue `default`", "--role engine"),
    ];
    for (role, status, reason, remedy) in steps {
        cluster.until_run(&run, reason, |run| {
            let task = &run["tasks"]["only"];
            task["status"] == status
                && task["waiting"]["reason"].as_str().is_some_and(|it| it.contains(reason))
                && task["waiting"]["remedy"].as_str().is_some_and(|it| it.contains(remedy))
                && task["waiting"]["since"].is_string()
        });
        cluster.start_agent(role, role);
    }
    let run = cluster.until_ended(&run);
    assert_eq!((&run["status"], &run["tasks"]["only"]["waiting"]), (&json!("completed"), &Value::Null));
}
