//! Small runs beside a large one: they take turns. The test checks the order in the journal, not times.

use std::collections::BTreeMap;

use gleitzeit_proto::v1::system_service_client::SystemServiceClient;
use gleitzeit_proto::v1::{RecordedEvent, WatchEventsRequest};
use serde_json::json;
use tonic::transport::Endpoint;

use crate::support::{Cluster, PATIENCE};

/// The tasks of the large run; the slots need several seconds for all of them.
const TASKS: usize = 3_000;
const SLOTS: usize = 8;
/// How many tasks the resolver has in flight when a run arrives, and how many it takes before the run's turn.
const RESOLVED_BEFORE: usize = 128 + 2;
/// The same for the queue: the dispatches that it made before it learned of the task, and one more run's turn.
const DISPATCHED_BEFORE: usize = SLOTS + 2;

/// All entries from a position to the end of a run.
async fn entries_until_end(url: &str, run: &str) -> Vec<RecordedEvent> {
    let channel = Endpoint::from_shared(url.to_owned()).expect("an address").connect().await.expect("it listens");
    let mut client = SystemServiceClient::new(channel);
    let mut stream = client.watch_events(WatchEventsRequest { from_position: 1 }).await.expect("watched").into_inner();
    let mut entries = Vec::new();
    loop {
        let message = stream.message().await.expect("it goes on").expect("it goes on");
        for entry in message.events {
            let is_end = entry.run_id == run && kind(&entry) == "workflow_completed";
            entries.push(entry);
            if is_end {
                return entries;
            }
        }
    }
}

fn kind(entry: &RecordedEvent) -> &str {
    entry.event.as_ref().map(|event| event.r#type.as_str()).unwrap_or_default()
}

#[test]
fn a_small_run_is_dispatched_before_all_but_a_few_tasks_of_a_large_one() {
    let cluster = Cluster::all_in_one(&["--slots", &SLOTS.to_string()]);
    let task = |n: usize| json!({"id": format!("t{n}"), "method": "util/sleep", "parameters": {"seconds": 0.02}});
    let large = json!({"name": "Large", "tasks": (0..TASKS).map(task).collect::<Vec<_>>()});
    let large = cluster.submit(&cluster.sandbox.file("large.json", large.to_string()));
    cluster.until_run(&large, "the large run is at work", |run| run["tasks"]["t0"]["status"] == "completed");
    let small: BTreeMap<&str, String> = [("equal", ""), ("urgent", ", priority: urgent"), ("own", ", queue: own")]
        .into_iter()
        .map(|(name, more)| {
            let text = format!("name: Small\ntasks: [{{id: only, method: util/echo{more}}}]\n");
            let run = cluster.submit(&cluster.sandbox.file(&format!("{name}.yaml"), text));
            assert_eq!(cluster.until_ended(&run)["status"], "completed");
            (name, run)
        })
        .collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for (name, run) in &small {
        let entries = runtime.block_on(async {
            let entries = tokio::time::timeout(PATIENCE, entries_until_end(&cluster.url, run));
            entries.await.expect("the run has ended")
        });
        let place = |wanted: &str| entries.iter().position(|entry| entry.run_id == *run && kind(entry) == wanted);
        let [submitted, ready, dispatched] = ["workflow_submitted", "task_ready", "task_dispatched"]
            .map(|wanted| place(wanted).unwrap_or_else(|| panic!("no {wanted} of the run `{name}`")));
        let of_large = |range: std::ops::Range<usize>, wanted: &str| {
            entries[range].iter().filter(|entry| entry.run_id == large && kind(entry) == wanted).count()
        };
        let resolved = of_large(submitted..ready, "task_ready");
        assert!(resolved <= RESOLVED_BEFORE, "`{name}`: {resolved} tasks of the large run became ready before it");
        let overtaken = of_large(ready..dispatched, "task_dispatched");
        assert!(overtaken <= DISPATCHED_BEFORE, "`{name}`: {overtaken} tasks of the large run went before it");
        let ever = of_large(0..dispatched, "task_dispatched");
        assert!(ever < TASKS, "`{name}`: nothing of the large run was left, so that this shows nothing");
    }
    cluster.ask(&["cancel", &large]);
}
