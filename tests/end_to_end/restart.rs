//! A control plane with its worker that is stopped or killed and started again: it does not wait for roles that ended
//! with it.

use gleitzeit_sdk::{Client, ClientConfig, RecordedEvent};

use crate::support::{Cluster, PATIENCE};

const ECHO: &str = "name: e\ntasks: [{id: a, method: util/echo, parameters: {text: hello}}]\n";

/// The whole journal so far.
fn journal(cluster: &Cluster) -> Vec<RecordedEvent> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = Client::connect(ClientConfig::new(cluster.url.clone())).await.expect("it listens");
        let head = client.status().await.expect("it answers").journal_position;
        let mut events = client.events(1).await.expect("they can be read");
        let mut read = Vec::new();
        while read.last().is_none_or(|event: &RecordedEvent| event.position < head) {
            read.push(tokio::time::timeout(PATIENCE, events.next()).await.expect("in time").expect("an event"));
        }
        read
    })
}

fn run(cluster: &Cluster) {
    let run = cluster.submit(&cluster.sandbox.path().join("e.yaml").display().to_string());
    assert_eq!(cluster.until_ended(&run)["status"], "completed");
}

#[test]
fn the_first_run_after_a_restart_starts_without_delay() {
    let mut cluster = Cluster::new();
    cluster.sandbox.file("e.yaml", ECHO);
    for again in 0..3 {
        cluster.start_all(&[]);
        run(&cluster);
        let kinds: Vec<String> = journal(&cluster).into_iter().map(|event| event.event.kind).collect();
        let last = |wanted: &str| kinds.iter().rposition(|kind| kind == wanted);
        // All shards and the queue have their owners before the run exists: a hub that waits for previous owners
        // reassigns them two seconds later.
        let granted = last("ownership_granted");
        assert!(granted.is_some() && granted < last("workflow_submitted"), "start {again}: {kinds:?}");
        if again == 0 {
            cluster.terminate_hub();
        } else {
            cluster.kill_9_hub();
        }
    }
}
