//! Large parameters and results: within the limit they pass, above it there is an error with size and limit, and
//! neither costs anybody a connection.

use serde_json::json;

use crate::support::{Cluster, Sandbox, text};

const FIVE_MB: usize = 5_000_000;

/// A task whose result has this size, and one that takes it as its parameter.
fn large(sandbox: &Sandbox, bytes: usize) -> String {
    let code = format!("result = 'x' * {bytes}");
    let tasks = json!([
        {"id": "make", "method": "python/execute", "parameters": {"code": code}},
        {"id": "pass", "method": "util/echo", "parameters": {"it": "${make.result}"}},
        {"id": "beside", "method": "util/sleep", "parameters": {"seconds": 0.5}},
    ]);
    sandbox.file("large.json", json!({"name": "Large", "tasks": tasks}).to_string())
}

/// A Python provider whose own limit is higher than any size here.
fn generous(sandbox: &Sandbox) -> String {
    let options = "options: {max_result_bytes: 8388608}";
    let text = format!("name: python_local\nprotocol: python/v1\nexecutor: python-local\n{options}\n");
    sandbox.file("generous.yaml", text)
}

#[test]
fn five_megabytes_pass_if_the_limit_allows_them() {
    let sandbox = Sandbox::new();
    let (file, provider) = (large(&sandbox, FIVE_MB), generous(&sandbox));
    let limit = ["--max-payload-bytes", "8388608"];
    let run = sandbox.gleitzeit(&[&["run", &file, "--provider", &provider, "-o", "json"], &limit[..]].concat());
    let run = run.exits(0).json();
    assert_eq!(run["tasks"]["pass"]["result"]["it"].as_str().map(str::len), Some(FIVE_MB));
}

#[test]
fn five_megabytes_over_the_limit_are_an_error_and_close_no_connection() {
    let mut cluster = Cluster::new();
    let (file, provider) = (large(&cluster.sandbox, FIVE_MB), generous(&cluster.sandbox));
    cluster.start_hub();
    cluster.start_agent("rest", "queue,resolver,engine");
    cluster.start_agent_with("hands", "provider", &["--provider", &provider]);
    let run = cluster.submit(&file);
    let run = cluster.until_ended(&run);
    let error = &run["tasks"]["make"]["error"];
    let message = text(&error["message"]);
    assert_eq!(error["name"], "TASK_RESULT_INVALID", "{error}");
    assert!(message.contains("the limit is 1048576") && message.contains("result"), "{message}");
    assert_eq!(run["tasks"]["beside"]["attempt"], 1, "nothing was lost");
    assert_eq!(
        (&run["tasks"]["beside"]["status"], &run["tasks"]["pass"]["status"]),
        (&json!("completed"), &json!("skipped"))
    );
    let log = cluster.kill_9_hub();
    assert!(!log.contains("silent") && !log.contains("closed"), "{log}");
}

#[test]
fn a_limit_above_the_maximum_is_refused() {
    let sandbox = Sandbox::new();
    for command in ["hub", "agent"] {
        let ended = sandbox.gleitzeit(&[command, "--max-payload-bytes", "9000000"]).exits(2);
        assert!(ended.stderr.contains("8") && ended.stderr.contains("payload"), "{ended}");
    }
    let ended = sandbox.gleitzeit(&["hub", "--engine-patience", "10ms"]).exits(2);
    assert!(ended.stderr.contains("--engine-patience") && ended.stderr.contains("at least 100ms"), "{ended}");
}
