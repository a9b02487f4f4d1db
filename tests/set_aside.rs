//! A run that cannot be replayed, as its users see it: named, shown, refused, and ended by force.

mod plane;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use gleitzeit_control_plane::journal::{SqliteStore, Store};
use gleitzeit_control_plane::{Config, StoreConfig};
use gleitzeit_run::event::{TaskCompleted, WorkflowSubmitted};
use gleitzeit_run::{Entry, Event, Position, RunId, Seq};
use gleitzeit_sdk::{Client, ClientConfig, RunFilter, RunStatus};
use gleitzeit_workflow::{Payload, Timestamp};
use plane::Plane;
use serde_json::{Value, json};

/// A store with one run that completed a task which never began.
fn broken_store(path: &Path) -> RunId {
    let run_id: RunId = "0198f0c1-2345-7abc-8def-0123456789ab".parse().expect("an id");
    let text = json!({
        "workflow": {"name": "broken", "tasks": [{"id": "a", "method": "util/echo", "protocol_version": "v1",
            "queue": "default", "parameters": {}}]},
        "inputs": {}, "correlation_id": "c",
    });
    let submitted: WorkflowSubmitted = serde_json::from_str(&text.to_string()).expect("a submission");
    let completed =
        TaskCompleted { task_id: "a".into(), attempt: 3, result: Payload::null(), ran_ms: 0, carried: false };
    let events = [Event::WorkflowSubmitted(Arc::new(submitted)), completed.into()];
    let entries: Vec<Arc<Entry>> = (1..)
        .zip(events)
        .map(|(at, event)| {
            let (position, seq) = (Position(at), Seq(at));
            Arc::new(Entry { position, run_id: Some(run_id), seq, recorded_at: Timestamp(1_000), queue: None, event })
        })
        .collect();
    SqliteStore::open(path).expect("a store").append(&entries).expect("written");
    run_id
}

fn gleitzeit(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gleitzeit"));
    command.args(arguments).env_clear().env("HOME", folder).env("PATH", "/usr/bin:/bin").output().expect("it starts")
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("a document")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_set_aside_is_shown_as_such_until_it_is_ended_by_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let run_id = broken_store(&path).to_string();
    let store = format!("sqlite:{}", path.display());

    let checked = gleitzeit(folder.path(), &["store", "check", "--store", &store, "-o", "json"]);
    assert_eq!(checked.status.code(), Some(1), "{checked:?}");
    let found = document(&checked);
    assert_eq!((&found["whole"], &found["runs"], &found["entries"]), (&json!(false), &json!(1), &json!(2)));
    assert_eq!(found["wrong"][0]["run_id"], json!(run_id));
    assert_eq!(found["wrong"][0]["status"], "running");
    assert!(found["wrong"][0]["why"].as_str().is_some_and(|why| why.contains("not open in 3")), "{found}");

    let plane = Plane::start_on(Config { store: StoreConfig::Sqlite(path.clone()), ..Config::default() }).await;
    let url = format!("http://{}", plane.address);
    let client = Client::connect(ClientConfig::new(&url)).await.expect("connected");
    let listed = client.list_runs(&RunFilter::default()).await.expect("listed");
    assert!(listed.items[0].is_set_aside(), "{listed:?}");
    let shown = client.get_run(&run_id).await.expect("shown");
    assert!(shown.is_set_aside() && shown.tasks.is_empty(), "{shown:?}");
    let why = shown.error.expect("why").message;
    assert!(why.contains("is set aside") && why.contains("cancel --force"), "{why}");
    for (what, refused) in [
        ("cancel", client.cancel(&run_id, "").await.err()),
        ("wait", client.wait(&run_id, None).await.err()),
        ("explain", client.explain(&run_id, None).await.err()),
        ("retry", client.retry(&run_id, None, false).await.err()),
    ] {
        let refused = refused.unwrap_or_else(|| panic!("`{what}` was not refused"));
        assert_eq!(refused.name(), "PERSISTENCE_INTEGRITY_ERROR", "{what}: {refused}");
    }

    let status = gleitzeit(folder.path(), &["status", &run_id, "--hub-url", &url]);
    let text = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success() && text.contains("set aside"), "{status:?}");
    let list = gleitzeit(folder.path(), &["list", "--hub-url", &url]);
    assert!(String::from_utf8_lossy(&list.stdout).contains("set aside"), "{list:?}");
    let ended = gleitzeit(folder.path(), &["cancel", &run_id, "--force", "--hub-url", &url, "-o", "json"]);
    assert_eq!((ended.status.code(), &document(&ended)["status"]), (Some(0), &json!("cancelled")), "{ended:?}");

    // Another request gets the answer for any cancelled run, and the run is shown with its reason.
    let again = client.cancel_by_force(&run_id, "").await.expect("cancelled before");
    assert_eq!(again.status, RunStatus::Cancelled);
    let shown = client.get_run(&run_id).await.expect("shown");
    assert_eq!(shown.status, RunStatus::Cancelled);
    assert!(shown.error.is_some_and(|error| error.message.contains("it was set aside")));
    plane.stop().await;

    let checked = gleitzeit(folder.path(), &["store", "check", "--store", &store]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    assert!(String::from_utf8_lossy(&checked.stdout).contains("without damage"), "{checked:?}");
}
