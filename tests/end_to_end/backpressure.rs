//! Much work and few workers, slow readers, and an idle system.

use std::time::{Duration, Instant};

use gleitzeit_proto::v1::system_service_client::SystemServiceClient;
use gleitzeit_proto::v1::workflow_service_client::WorkflowServiceClient;
use gleitzeit_proto::v1::{WatchEventsRequest, WatchRunRequest, WatchRunResponse};
use serde_json::json;
use tonic::transport::{Channel, Endpoint};

use crate::support::{Cluster, PATIENCE, until};

/// How many tasks wait; the benchmarks use more.
const TASKS: u32 = 20_000;
const MOST_MIB: u64 = 400;

/// Independent tasks on a queue that one engine with one slot serves.
fn many(cluster: &Cluster) -> String {
    let task = |n: u32| json!({"id": format!("t{n}"), "method": "util/sleep", "queue": "slow", "parameters": {"seconds": 600}});
    let workflow = json!({"name": "Many", "tasks": (0..TASKS).map(task).collect::<Vec<_>>()});
    cluster.submit(&cluster.sandbox.file("many.json", workflow.to_string()))
}

#[test]
fn many_tasks_that_wait_for_one_slow_engine_block_no_others() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    cluster.start_agent("rest", "queue,resolver,provider");
    cluster.start_agent_with("slow", "engine", &["--slots", "1", "--queues", "slow"]);
    cluster.start_agent_with("other", "engine", &["--queues", "default"]);
    cluster.until_connected("engine", 2);
    let run = many(&cluster);
    let waiting = until("all are ready and one is at work", PATIENCE * 2, || {
        let explained = cluster.ask(&["explain", &run]);
        let counts = explained.to_string();
        counts.contains("slot").then_some(explained)
    });
    assert!(waiting.to_string().contains("slow"), "{waiting:#}");
    let other = "name: Other\ntasks: [{id: a, method: util/echo}]\n";
    let other = cluster.submit(&cluster.sandbox.file("other.yaml", other));
    assert_eq!(cluster.until_ended(&other)["status"], "completed");
    let listed = cluster.ask(&["list", "--status", "running"]);
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1), "{listed:#}");
    let resident = cluster.hub_resident_mib();
    assert!(resident < MOST_MIB, "the hub has {resident} MiB");
    let cancelled = cluster.ask(&["cancel", &run]);
    assert_eq!(cancelled["status"], "cancelled");
    assert!(cluster.terminate(PATIENCE).iter().all(|ended| ended.status.success()));
}

/// A run whose tasks take a little time and have a result of half a megabyte each.
fn large(cluster: &Cluster) -> String {
    let text = "x".repeat(500_000);
    let task =
        |n: usize| json!({"id": format!("t{n}"), "method": "util/echo", "parameters": {"text": "${inputs.text}"}});
    let hold = json!({"id": "hold", "method": "util/sleep", "parameters": {"seconds": 1}});
    let tasks: Vec<_> = (0..LARGE_TASKS).map(task).chain([hold]).collect();
    let workflow = json!({"name": "Large", "inputs": {"text": text}, "tasks": tasks});
    cluster.submit(&cluster.sandbox.file("large.json", workflow.to_string()))
}

const LARGE_TASKS: usize = 40;

async fn channel(cluster: &Cluster) -> Channel {
    let endpoint = Endpoint::from_shared(cluster.url.clone()).expect("an address");
    // Small windows, so that little is read ahead.
    let endpoint = endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    endpoint.connect().await.expect("it listens")
}

/// Watches a run from an event on.
async fn watch(cluster: &Cluster, run: &str, from_seq: u64) -> tonic::Streaming<WatchRunResponse> {
    let request = WatchRunRequest { run_id: run.to_owned(), from_seq, ..WatchRunRequest::default() };
    let mut client = WorkflowServiceClient::new(channel(cluster).await);
    client.watch_run(request).await.expect("it is there").into_inner()
}

#[test]
fn watchers_that_never_read_block_no_others_and_miss_nothing() {
    let cluster = Cluster::all_in_one(&["--max-payload-bytes", "1048576"]);
    let run = large(&cluster);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut streams = runtime.block_on(async {
        let mut streams = Vec::new();
        for _ in 0..20 {
            streams.push(watch(&cluster, &run, 1).await);
        }
        streams
    });
    assert_eq!(cluster.until_ended(&run)["status"], "completed");
    let resident = cluster.hub_resident_mib();
    // The unread events of 20 readers are 400 MB and more.
    assert!(resident < MOST_MIB / 2, "the hub has {resident} MiB");
    let mut last = streams.swap_remove(7);
    let (mut seqs, mut end) = (Vec::<u64>::new(), None);
    runtime.block_on(async {
        while end.is_none() {
            match last.message().await {
                Ok(Some(message)) => {
                    seqs.extend(message.events.iter().map(|event| event.seq));
                    end = message.run;
                }
                // On a busy machine the reader was cut off; it resumes where it was.
                _ => last = watch(&cluster, &run, seqs.last().map_or(1, |seq| seq + 1)).await,
            }
        }
    });
    assert!(seqs.iter().copied().eq(1..=seqs.last().copied().unwrap_or_default()), "{seqs:?}");
    assert_eq!(end.map(|run| run.tasks.len()), Some(LARGE_TASKS + 1));
}

#[test]
fn readers_of_all_events_that_never_read_take_little_memory_and_are_cut_off() {
    const READERS: usize = 200;
    let cluster = Cluster::all_in_one(&["--confirm-timeout", "5s"]);
    let tasks: Vec<_> = (0..200)
        .map(|n| json!({"id": format!("t{n}"), "method": "util/echo", "parameters": {"text": "${inputs.text}"}}))
        .collect();
    let workflow = json!({"name": "Many", "inputs": {"text": "x".repeat(20_000)}, "tasks": tasks});
    let run = cluster.submit(&cluster.sandbox.file("many.json", workflow.to_string()));
    assert_eq!(cluster.until_ended(&run)["status"], "completed");
    let before = cluster.hub_resident_mib();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let most = runtime.block_on(async {
        let mut streams = Vec::new();
        let mut most = 0;
        for _ in 0..READERS {
            let mut client = SystemServiceClient::new(channel(&cluster).await);
            let request = WatchEventsRequest { from_position: 1 };
            streams.push(client.watch_events(request).await.expect("it is there").into_inner());
            most = most.max(cluster.hub_resident_mib());
        }
        // The events for all of them are 1.6 GB.
        until("they are cut off", PATIENCE, || {
            most = most.max(cluster.hub_resident_mib());
            let cut = cluster.hub_log().matches("does not receive them and is disconnected").count();
            (cut >= READERS).then_some(())
        });
        // They only receive what was already on its way.
        for mut stream in streams {
            while let Ok(Some(_)) = stream.message().await {}
        }
        most
    });
    let each_kib = most.saturating_sub(before) * 1024 / u64::try_from(READERS).expect("a small number");
    assert!(each_kib < 768, "{before} MiB grew to {most} MiB: {each_kib} KiB for each reader");
    let other = "name: Other\ntasks: [{id: a, method: util/echo}]\n";
    let other = cluster.submit(&cluster.sandbox.file("other.yaml", other));
    assert_eq!(cluster.until_ended(&other)["status"], "completed");
}

/// Ticks of CPU time that a process has used, in hundredths of a second.
fn cpu_ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    // User and system time are the 14th and 15th field; index 0 is the third, the first after the name.
    [11, 12].iter().map(|at| fields[*at].parse::<u64>().expect("a number")).sum()
}

#[test]
fn idle_processes_use_no_cpu() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    cluster.start_agent("agent", "all");
    cluster.until_connected("engine", 1);
    let echo = "name: e\ntasks: [{id: a, method: python/execute, parameters: {code: result = 1}}]\n";
    let run = cluster.submit(&cluster.sandbox.file("e.yaml", echo));
    assert_eq!(cluster.until_ended(&run)["status"], "completed");
    let pids = cluster.pids();
    let used = |pids: &[i32]| pids.iter().map(|pid| cpu_ticks(*pid)).collect::<Vec<_>>();
    // Ongoing work may take a moment to settle; then there is a quiet window.
    let window = Duration::from_secs(3);
    until("three seconds in which hub and agent together use less than a hundredth of a core", PATIENCE, || {
        let (before, since) = (used(&pids), Instant::now());
        until("the window is over", PATIENCE, || (since.elapsed() >= window).then_some(()));
        let spent: u64 = used(&pids).iter().zip(&before).map(|(after, before)| after - before).sum();
        (spent <= 3).then_some(())
    });
}
