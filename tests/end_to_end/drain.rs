//! Graceful shutdown: started work is finished if there is time, and nothing is done twice because of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gleitzeit_sdk::{Client, ClientConfig, Submission};
use rustix::process::Signal;
use serde_json::json;

use crate::support::{Cluster, Journal, PATIENCE, shipped_providers, until};

const PROMPTLY: Duration = Duration::from_secs(5);
/// The pause between two submissions, so that the machine has time for the rest.
const PAUSE: Duration = Duration::from_millis(100);
/// Agents tolerate the absence of the control plane for as long as its restart may take on a busy machine.
const PATIENT: [&str; 2] = ["--alone-limit", "60s"];

#[test]
fn a_second_signal_ends_an_agent_at_once() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    cluster.start_agent_with("agent", "all", &["--drain-timeout", "5m"]);
    cluster.until_connected("engine", 1);
    let sleep = "name: s\ntasks: [{id: a, method: util/sleep, parameters: {seconds: 600}}]\n";
    let run = cluster.submit(&cluster.sandbox.file("sleep.yaml", sleep));
    cluster.until_run(&run, "it is at work", |run| run["tasks"]["a"]["status"] == "running");
    let agent = cluster.take_agent("agent");
    agent.signal(Signal::TERM);
    until("it takes nothing new", PATIENCE, || {
        let of_it: Vec<_> = cluster.components().into_iter().filter(|it| it["role"] == "engine").collect();
        of_it.iter().all(|it| it["capacity"] == 0).then_some(())
    });
    agent.signal(Signal::TERM);
    agent.wait(PROMPTLY).exits(130);
    cluster.client(&["cancel", &run]).exits(0);
}

/// Submits one run after another; returns their ids.
fn submit_until(stop: &AtomicBool, url: String, workflow: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let config = ClientConfig { max_retries: 100, ..ClientConfig::new(url) };
        let client = Client::connect(config).await.expect("it listens");
        let mut runs = Vec::new();
        while !stop.load(Ordering::SeqCst) {
            let run = client.submit(Submission::yaml(workflow)).await.expect("acknowledged in the end");
            runs.push(run.id().to_owned());
            tokio::time::sleep(PAUSE).await;
        }
        runs
    })
}

/// Every agent is replaced while work goes on, and the hub is restarted repeatedly: running attempts are finished, and
/// none is repeated.
#[test]
fn a_rolling_restart_under_load_loses_nothing_and_repeats_nothing() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    let roles = ["queue", "resolver", "engine", "provider"];
    for role in roles {
        for number in ["1", "2"] {
            cluster.start_agent_with(&format!("{role}-{number}"), role, &PATIENT);
        }
    }
    cluster.until_connected("engine", 2);
    let link = |n: u32| {
        let after: Vec<_> = (0..n).last().map(|before| format!("p{before}")).into_iter().collect();
        json!({"id": format!("p{n}"), "method": "util/sleep", "dependencies": after, "parameters": {"seconds": 0.1}})
    };
    let workflow = json!({"name": "Rolling", "tasks": (0..10).map(link).collect::<Vec<_>>()}).to_string();
    let (stop, url) = (AtomicBool::new(false), cluster.url.clone());
    let runs = std::thread::scope(|scope| {
        let load = scope.spawn(|| submit_until(&stop, url, &workflow));
        for role in roles {
            for number in ["1", "2"] {
                let name = format!("{role}-{number}");
                cluster.take_agent(&name).terminate(PATIENCE).exits(0);
                cluster.start_agent_with(&name, role, &PATIENT);
                let each = if role == "provider" { shipped_providers() } else { 1 };
                cluster.until_connected(role, 2 * each);
            }
            cluster.terminate_hub().exits(0);
            cluster.start_hub();
            cluster.until_connected("engine", 2);
            cluster.until_connected("provider", 2 * shipped_providers());
        }
        stop.store(true, Ordering::SeqCst);
        load.join().expect("no panic")
    });
    assert!(runs.len() > 8, "{} runs", runs.len());
    for run in &runs {
        assert_eq!(cluster.until_ended(run)["status"], "completed");
        let journal = Journal::watch(&cluster.sandbox, &cluster.url, run);
        let stopped: Vec<_> = journal.all("task_attempt_stopped").collect();
        assert!(stopped.is_empty(), "{run}: {stopped:?}");
        assert_eq!(journal.all("task_dispatched").count(), 10, "{run}");
    }
}
