//! A journal that is behind what workers have seen: a backup is restored, the store is removed, or it was only in
//! memory, while the workers keep running. They restart by themselves, nothing of the lost history counts, and the logs
//! name the cause.

use std::fs;

use serde_json::json;

use crate::support::{Cluster, PATIENCE, until};

const ECHO: &str = "name: e\ntasks: [{id: a, method: util/echo, parameters: {text: hello}}]\n";
const ROLES: [(&str, &str); 4] =
    [("queue-1", "queue"), ("resolver-1", "resolver"), ("engine-1", "engine"), ("provider-1", "provider")];
/// The messages of workers and of the control plane about it.
const OF_WORKER: &str = "is not in the control plane's journal: a backup was restored, or the store was removed";
const OF_HUB: &str = "the history that a component has seen is lost, and it starts anew";
const CUT_OFF: &str = "a consumer confirmed no entries";

/// A control plane and each role in its own process.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.sandbox.file("e.yaml", ECHO);
    cluster.start_hub();
    for (name, role) in ROLES {
        cluster.start_agent(name, role);
    }
    for (_, role) in &ROLES[..3] {
        cluster.until_connected(role, 1);
    }
    cluster
}

fn run(cluster: &Cluster) -> String {
    let file = cluster.sandbox.path().join("e.yaml").display().to_string();
    let run = cluster.submit(&file);
    assert_eq!(cluster.until_ended(&run)["status"], "completed");
    run
}

/// A run of code that ends only when it is stopped; returns once it runs.
fn hang(cluster: &Cluster) -> String {
    let code = "import time\nwhile True:\n    time.sleep(0.01)";
    let task = json!({"id": "work", "method": "python/execute", "parameters": {"code": code}});
    let file = cluster.sandbox.file("hang.json", json!({"name": "Hang", "tasks": [task]}).to_string());
    let run = cluster.submit(&file);
    cluster.until_run(&run, "it runs", |run| run["tasks"]["work"]["status"] == "running");
    run
}

/// The next run completes, no connection was cut on the way, and every worker that had seen lost entries says why it
/// restarts.
fn goes_on(cluster: &Cluster, hub_log_before: &str) {
    run(cluster);
    let log = cluster.hub_log();
    assert!(!log.contains(CUT_OFF), "{hub_log_before}\n{log}");
    assert!(log.contains(OF_HUB), "{log}");
    for (name, _) in ROLES {
        until(&format!("{name} says what happened"), PATIENCE, || {
            cluster.agent_log(name).contains(OF_WORKER).then_some(())
        });
    }
}

#[test]
fn running_workers_continue_with_a_restored_backup() {
    let mut cluster = cluster();
    run(&cluster);
    let store = format!("sqlite:{}", cluster.sandbox.path().join("hub.db").display());
    let backup = cluster.sandbox.path().join("backup.db").display().to_string();
    cluster.sandbox.gleitzeit(&["backup", &backup, "--store", &store]).exits(0);
    // The control plane restarts once more, so that workers that saw the rest of the journal report a term of their
    // own.
    let before = cluster.terminate_hub().stderr;
    cluster.start_hub();
    let lost = run(&cluster);
    let hanging = hang(&cluster);
    assert!(!cluster.hub_log().contains(OF_HUB), "a start on the same store loses nothing: {before}");

    let before = cluster.terminate_hub().stderr;
    cluster.sandbox.gleitzeit(&["restore", &backup, "--store", &store, "--replace"]).exits(0);
    cluster.start_hub();
    goes_on(&cluster, &before);
    for run in [lost, hanging] {
        cluster.client(&["status", &run]).exits(1);
    }
    // No worker works on lost tasks any more, and none is asked to.
    until("the lost call is stopped", PATIENCE, || {
        let idle = |it: &serde_json::Value| it["in_use"] == 0;
        cluster.components().iter().all(idle).then_some(())
    });
    let told = "calls were made for attempts that are not in this journal and are cancelled";
    assert!(cluster.hub_log().contains(told), "{}", cluster.hub_log());
}

#[test]
fn running_workers_continue_with_a_new_store_after_the_old_one_was_removed() {
    let mut cluster = cluster();
    run(&cluster);
    let before = cluster.terminate_hub().stderr;
    for ending in ["", "-wal", "-shm", ".lock"] {
        let _ = fs::remove_file(cluster.sandbox.path().join(format!("hub.db{ending}")));
    }
    cluster.start_hub();
    goes_on(&cluster, &before);
}

#[test]
fn running_workers_continue_with_a_new_journal_in_memory() {
    let mut cluster = Cluster::new();
    cluster.sandbox.file("e.yaml", ECHO);
    cluster.start_hub_on("memory:");
    for (name, role) in ROLES {
        cluster.start_agent(name, role);
    }
    for _ in 0..3 {
        run(&cluster);
    }
    let before = cluster.kill_9_hub();
    cluster.start_hub_on("memory:");
    goes_on(&cluster, &before);
}
