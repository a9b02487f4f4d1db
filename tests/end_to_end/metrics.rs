//! `/metrics`: what Prometheus reads, and that the dashboard uses no other metrics.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Cluster, PATIENCE, get, shipped_providers, until};

/// The value of a sample, by its name and labels as written there.
fn sample(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(line.parse().expect("a number"))
}

fn metrics(cluster: &Cluster) -> String {
    let (status, text) = get(&cluster.url, "/metrics", &[]);
    assert_eq!(status, 200, "{text}");
    text
}

#[test]
fn counters_and_gauges_are_exposed() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    cluster.start_agent("agent", "all");
    cluster.until_connected("provider", shipped_providers());
    let workflow = json!({"name": "Counted", "tasks": [
        {"id": "a", "method": "util/echo"},
        {"id": "b", "method": "util/fail", "parameters": {"message": "no"}, "retry": {"max_attempts": 2, "initial_delay": 0.01}},
        {"id": "c", "method": "util/echo", "dependencies": ["b"]},
    ]});
    let file = cluster.sandbox.file("counted.json", workflow.to_string());
    for _ in 0..3 {
        let run = cluster.submit(&file);
        assert_eq!(cluster.until_ended(&run)["status"], "failed");
    }
    // Runs are counted after they are answered.
    let text = until("the last run is counted", PATIENCE, || {
        Some(metrics(&cluster))
            .filter(|text| sample(text, "gleitzeit_runs_ended_total{status=\"failed\"}") == Some(3.0))
    });
    for (name, expected) in [
        ("gleitzeit_runs_submitted_total", 3.0),
        ("gleitzeit_runs_running", 0.0),
        ("gleitzeit_run_duration_seconds_count{status=\"failed\"}", 3.0),
        ("gleitzeit_tasks_ended_total{status=\"completed\"}", 3.0),
        ("gleitzeit_tasks_ended_total{status=\"failed\"}", 3.0),
        ("gleitzeit_tasks_ended_total{status=\"skipped\"}", 3.0),
        ("gleitzeit_attempt_duration_seconds_count{method=\"util/echo\",outcome=\"completed\"}", 3.0),
        ("gleitzeit_attempt_duration_seconds_count{method=\"util/fail\",outcome=\"failed\"}", 6.0),
        ("gleitzeit_task_retries_total", 3.0),
        ("gleitzeit_dispatch_latency_seconds_count", 6.0),
        ("gleitzeit_components{role=\"engine\",status=\"connected\"}", 1.0),
        ("gleitzeit_component_registrations_total{role=\"queue\"}", 1.0),
        ("gleitzeit_provider_healthy{provider=\"util\"}", 1.0),
        ("gleitzeit_provider_unhealthy{provider=\"ollama\"}", 1.0),
    ] {
        assert_eq!(sample(&text, name), Some(expected), "{name} in:\n{text}");
    }
    for name in [
        "gleitzeit_journal_commit_duration_seconds_count",
        "gleitzeit_journal_batch_entries_sum",
        "gleitzeit_mesh_messages_total{direction=\"in\"}",
        "gleitzeit_mesh_resyncs_total",
        "gleitzeit_mesh_transferred_bytes_total{direction=\"out\"}",
        "process_memory_usage_bytes",
        "process_cpu_time_seconds_total{cpu_mode=\"user\"}",
        "process_unix_file_descriptor_count",
        "process_start_time_seconds",
    ] {
        assert!(sample(&text, name).is_some_and(|value| value > 0.0), "{name} in:\n{text}");
    }
    the_dashboard_asks_for_what_there_is(&text);
}

fn the_dashboard_asks_for_what_there_is(text: &str) {
    let known: BTreeSet<&str> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next()).collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/observability/grafana/gleitzeit.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(file).expect("readable")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let asked = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("questions"));
    let mut names = BTreeSet::new();
    for question in asked {
        let question = question["expr"].as_str().expect("a text");
        let words = question.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        names.extend(words.filter(|word| word.starts_with("gleitzeit_") || word.starts_with("process_")));
    }
    assert!(names.len() > 15, "{names:?}");
    // Nothing waits and nothing was stopped, so these metrics do not exist yet.
    let quiet = ["gleitzeit_attempts_stopped_total", "gleitzeit_queue_depth", "gleitzeit_queue_age_seconds"];
    let unknown: Vec<_> = names.into_iter().filter(|name| !known.contains(name) && !quiet.contains(name)).collect();
    assert_eq!(unknown, [""; 0], "known: {known:?}");
}

#[test]
fn waiting_work_is_exposed_by_queue_and_only_with_the_token() {
    let mut cluster = Cluster::new();
    cluster.sandbox.set("GLEITZEIT_TOKEN", "secret");
    cluster.start_hub();
    cluster.start_agent("owners", "queue,resolver");
    let task = |n: u32| json!({"id": format!("t{n}"), "method": "util/echo", "queue": "slow"});
    let workflow = json!({"name": "Waiting", "tasks": (0..5).map(task).collect::<Vec<_>>()});
    cluster.submit(&cluster.sandbox.file("waiting.json", workflow.to_string()));
    let asked = |headers: &[(&str, &str)]| get(&cluster.url, "/metrics", headers);
    until("they wait", PATIENCE, || {
        let (status, text) = asked(&[("authorization", "Bearer secret")]);
        assert_eq!(status, 200);
        (sample(&text, "gleitzeit_queue_depth{queue=\"slow\"}") == Some(5.0)).then_some(())
    });
    for headers in [&[][..], &[("authorization", "Bearer wrong")]] {
        let (status, text) = asked(headers);
        assert_eq!(status, 401);
        assert!(text.contains("GLEITZEIT_TOKEN") && !text.contains("gleitzeit_"), "{text}");
    }
}
