//! A provider in another language, exactly as the documentation of the mesh shows it, with a stock Socket.IO client.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Cluster, Process, now_ms, python, shipped_providers};

/// A provider whose WebSocket drops is lost after 5 s. The death of one whose connection stays open is detected far
/// later.
const NOTICED_WITHIN_MS: u64 = 8_000;

/// The example of `docs/MESH.md`.
fn documented() -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/MESH.md");
    let text = fs::read_to_string(document).expect("readable");
    let mut blocks = text.split("```python\n").skip(1).filter_map(|rest| rest.split("```").next());
    let block = blocks.next().expect("an example in Python");
    assert!(blocks.next().is_none(), "which of the examples?");
    block.to_owned()
}

/// The text with one replacement.
#[track_caller]
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "`{from}` stands once in:\n{text}");
    text.replace(from, to)
}

/// A control plane and a worker whose own providers do not serve `math/add`.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    cluster.start_agent("worker", "all");
    cluster
}

fn start(cluster: &Cluster, example: &str) -> Process {
    let text = replaced(example, "http://localhost:8000", &cluster.url);
    let file = cluster.sandbox.file("provider.py", text);
    cluster.sandbox.start_command(python(&["-u", &file]))
}

fn sums(cluster: &Cluster, numbers: &Value) -> String {
    let task = |n| {
        json!({"id": format!("add{n}"), "method": "math/add", "parameters": {"numbers": numbers},
            "retry": {"max_attempts": 2, "initial_delay": 0.05}})
    };
    let workflow = json!({"name": "Sums", "tasks": (0..5).map(task).collect::<Vec<_>>()});
    cluster.submit(&cluster.sandbox.file("sums.json", workflow.to_string()))
}

#[track_caller]
fn completes(cluster: &Cluster, run: &str) {
    let run = cluster.until_ended(run);
    assert_eq!(run["status"], "completed", "{run:#}");
    for task in run["tasks"].as_object().expect("an object").values() {
        assert_eq!(task["result"], json!({"sum": 6.5}), "{run:#}");
    }
}

fn until_it_serves(cluster: &Cluster) {
    cluster.until_connected("provider", shipped_providers() + 1);
}

#[test]
fn the_documented_provider_serves_its_method_to_every_caller() {
    let cluster = cluster();
    let provider = start(&cluster, &documented());
    until_it_serves(&cluster);
    completes(&cluster, &sums(&cluster, &json!([1, 2.5, 3])));
    drop(provider);
}

#[test]
fn the_documented_provider_may_die_and_come_back() {
    let cluster = cluster();
    let mut provider = start(&cluster, &documented());
    until_it_serves(&cluster);
    // The provider dies during a call.
    provider.signal(Signal::STOP);
    let run = sums(&cluster, &json!([1, 2.5, 3]));
    let mut watch = cluster.watch(&run);
    watch.until("a call that is not answered", |events| {
        events.iter().any(|event| event.kind == "task_started").then_some(())
    });
    provider.kill_9();
    let killed_ms = now_ms();
    // Its method stays known, and tasks that call it wait.
    let later = sums(&cluster, &json!([2.5, 4]));
    let _provider = start(&cluster, &documented());
    completes(&cluster, &run);
    completes(&cluster, &later);
    let journal = watch.finish();
    assert!(journal.all("task_attempt_stopped").count() > 0, "it held a call");
    for stopped in journal.all("task_attempt_stopped") {
        assert_eq!(stopped.payload["reason"], "provider_lost");
        assert!(stopped.at_ms < killed_ms + NOTICED_WITHIN_MS, "it had no WebSocket: {stopped:?}");
    }
}

#[test]
fn the_documented_provider_finds_a_restarted_control_plane() {
    let mut cluster = cluster();
    let _provider = start(&cluster, &documented());
    until_it_serves(&cluster);
    cluster.kill_9_hub();
    cluster.start_hub();
    until_it_serves(&cluster);
    completes(&cluster, &sums(&cluster, &json!([1, 2.5, 3])));
}

#[test]
fn an_error_of_the_documented_provider_is_retried_only_if_it_says_so() {
    for (example, failures) in
        [(documented(), 1), (replaced(&documented(), "\"retryable\": False", "\"retryable\": True"), 2)]
    {
        let cluster = cluster();
        let _provider = start(&cluster, &example);
        until_it_serves(&cluster);
        let run = sums(&cluster, &json!(["one", 2]));
        let journal = cluster.watch(&run).finish();
        for task in ["add0", "add4"] {
            let failed: Vec<_> = journal.of(task).filter(|event| event.kind == "task_attempt_failed").collect();
            assert_eq!(failed.len(), failures, "{failed:#?}");
        }
        let error = &cluster.until_ended(&run)["tasks"]["add0"]["error"];
        assert!(error.to_string().contains("unsupported operand type"), "what Python said: {error:#}");
    }
}
