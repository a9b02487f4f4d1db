//! The Rust SDK: its own examples, and calls from this process.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use gleitzeit_sdk::provider::{CallError, Provider, Schemas};
use gleitzeit_sdk::{Client, ClientConfig, RunStatus, Submission, TaskBuilder, WorkflowBuilder};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::support::{Cluster, PATIENCE, until};

/// An example of the SDK, connected to this control plane. `cargo test --workspace` has built it with the tests;
/// otherwise it is built now.
fn example(cluster: &Cluster, name: &str) -> Command {
    let built = Path::new(env!("CARGO_BIN_EXE_gleitzeit")).with_file_name("examples").join(name);
    let mut command = if built.exists() { Command::new(built) } else { Command::new(env!("CARGO")) };
    if command.get_program() == env!("CARGO") {
        command.args(["run", "--quiet", "--locked", "--offline", "--package", "gleitzeit-sdk", "--example", name]);
    }
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("GLEITZEIT_HUB_URL", &cluster.url)
        .env_remove("GLEITZEIT_TOKEN")
        .stdin(Stdio::null());
    command
}

/// The number of lines without comments, attributes and the like.
fn program_lines(name: &str) -> usize {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk/rust/examples").join(name);
    let text = std::fs::read_to_string(file).expect("readable");
    text.lines().filter(|line| !line.starts_with("//!") && !line.starts_with("#![")).count()
}

#[test]
fn the_examples_are_short_and_work() {
    assert!(program_lines("hello.rs") <= 10 && program_lines("provider.rs") <= 15);
    let cluster = Cluster::all_in_one(&[]);
    let said = example(&cluster, "hello").output().expect("it starts");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(String::from_utf8_lossy(&said.stdout), "\"Hello, Ada\"\n");

    let provider = cluster.sandbox.start_command(example(&cluster, "provider"));
    until("it serves", 5 * PATIENCE, || cluster.ask(&["protocols"]).to_string().contains("squares/area").then_some(()));
    let area = |a: f64| {
        let task = json!({"id": "area", "method": "squares/area", "parameters": {"a": a, "b": 2.5}});
        let workflow = json!({"name": "Area", "tasks": [task]}).to_string();
        let run = cluster.submit(&cluster.sandbox.file("area.json", workflow));
        cluster.until_ended(&run)["tasks"]["area"].clone()
    };
    assert_eq!(area(3.0)["result"], 7.5);
    let failed = area(-3.0);
    assert_eq!((&failed["error"]["message"], &failed["attempt"]), (&json!("a side is negative"), &json!(1)));
    drop(provider);
}

/// A provider whose methods fail once, panic, never end, and take a moment. `dropped` receives a message when the call
/// that never ends is dropped.
fn lab(url: &str, dropped: mpsc::Sender<()>) -> Provider {
    Provider::new("lab")
        .at(url, None)
        .address("https://lab.example.com/v1")
        .method("lab/flaky", Schemas::default(), async |_: Value, call| match call.attempt() {
            1 => Err(CallError::retryable("not yet").after(Duration::from_millis(10))),
            attempt => Ok(attempt),
        })
        .method("lab/panics", Schemas::default(), async |_: Value, _| -> Result<(), CallError> { panic!("on purpose") })
        .method("lab/slow", Schemas::default(), move |_: Value, call| {
            let dropped = dropped.clone();
            async move {
                // Signals when the call's future is dropped, as a cancel does.
                let _signal = DropSignal(dropped);
                call.progress(&json!({"text": "waiting"}));
                tokio::time::sleep(Duration::from_secs(600)).await;
                Ok(())
            }
        })
        .method("lab/short", Schemas::default(), async |_: Value, _| {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            Ok("done")
        })
        .drain_timeout(Duration::from_secs(30))
}

/// A workflow with one task, `t`, which calls a method of the provider `lab`.
fn calling(method: &str) -> WorkflowBuilder {
    let retry = json!({"max_attempts": 2, "initial_delay": 0.01});
    WorkflowBuilder::new("Lab").task(TaskBuilder::new("t", method).provider("lab").with("retry", retry))
}

/// Runs what blocks beside the test.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_in_a_program_serves_fails_is_cancelled_survives_the_control_plane_and_drains() {
    let mut cluster = blocking(|| {
        let mut cluster = Cluster::new();
        cluster.start_hub();
        cluster.start_agent("all", "all");
        cluster
    })
    .await;
    let (stop, stopped) = oneshot::channel::<()>();
    let (dropped, mut was_dropped) = mpsc::channel(4);
    let serving = tokio::spawn(lab(&cluster.url, dropped).serve(async { stopped.await.unwrap_or_default() }));
    let client = Client::connect(ClientConfig::new(&*cluster.url)).await.expect("connected");
    until_registered(&client).await;
    let listed = client.providers(Some("lab/flaky"), None).await.expect("a list");
    assert_eq!(listed.items[0].address.as_deref(), Some("https://lab.example.com/v1"));

    let flaky = client.submit(calling("lab/flaky")).await.expect("taken");
    assert_eq!(flaky.result::<u32>("t").await.expect("a result"), 2);
    let broken = client.submit(calling("lab/panics")).await.expect("taken").wait(None).await.expect("ended");
    assert_eq!(broken.status, RunStatus::Failed);
    assert!(broken.error.expect("why").message.contains("ended the call without a result"));

    let slow = client.submit(calling("lab/slow")).await.expect("taken");
    let mut events = slow.watch().with_progress();
    while events.next().await.expect("an event").expect("it goes on").kind != "method_progress" {}
    slow.cancel("enough").await.expect("asked");
    tokio::time::timeout(PATIENCE, was_dropped.recv()).await.expect("the call is dropped");
    assert_eq!(slow.wait(None).await.expect("ended").status, RunStatus::Cancelled);

    // A call survives the death of the control plane, and its result is recorded.
    let short = client.submit(calling("lab/short")).await.expect("taken");
    until_in_flight(&client).await;
    let cluster = blocking(move || {
        cluster.kill_9_hub();
        cluster.start_hub();
        cluster
    })
    .await;
    let run = short.wait(None).await.expect("ended");
    assert_eq!((run.status, run.tasks[0].attempt), (RunStatus::Completed, 1));

    // The provider finishes its open call, and then ends.
    let last = client.submit(calling("lab/short")).await.expect("taken");
    until_in_flight(&client).await;
    stop.send(()).expect("it serves");
    tokio::time::timeout(PATIENCE, serving).await.expect("in time").expect("no panic").expect("served");
    assert_eq!(last.result::<String>("t").await.expect("a result"), "done");
    blocking(|| drop(cluster)).await;
}

/// Waits until the control plane knows the provider's methods.
async fn until_registered(client: &Client) {
    let registered = async {
        while !client.validate(&calling("lab/flaky").to_string(), "").await.expect("checked").problems.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, registered).await.expect("in time");
}

/// Waits until the provider `lab` works on a call.
async fn until_in_flight(client: &Client) {
    let running = async {
        while in_flight(client).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, running).await.expect("in time");
}

/// How many calls the provider `lab` is working on.
async fn in_flight(client: &Client) -> u32 {
    let providers = client.providers(None, None).await.expect("listed").items;
    providers.iter().filter(|it| it.name == "lab").map(|it| it.in_flight).sum()
}

struct DropSignal(mpsc::Sender<()>);

impl Drop for DropSignal {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_recorded_events_are_received_once_and_in_order_from_any_position() {
    let cluster = blocking(|| Cluster::all_in_one(&[])).await;
    let client = Client::connect(ClientConfig::new(&*cluster.url)).await.expect("connected");
    let from_now = client.events(0).await.expect("followed");
    let echo = || WorkflowBuilder::new("Echo").task(TaskBuilder::new("t", "util/echo"));
    let first = client.submit(echo()).await.expect("taken");
    first.wait(None).await.expect("ended");
    let heard = async |mut events: gleitzeit_sdk::Events, run: &str| {
        let mut heard = Vec::new();
        loop {
            let event = tokio::time::timeout(PATIENCE, events.next()).await.expect("in time").expect("told");
            let is_end = event.run_id.as_deref() == Some(run) && event.event.kind == "workflow_completed";
            heard.push(event);
            if is_end {
                return heard;
            }
        }
    };
    let all = heard(client.events(1).await.expect("followed"), first.id()).await;
    let positions: Vec<u64> = all.iter().map(|event| event.position).collect();
    assert_eq!(positions, (1..=positions.len() as u64).collect::<Vec<_>>());
    assert!(all.iter().any(|it| it.run_id.is_none() && it.event.kind == "ownership_granted"));
    let of_run = |all: &[gleitzeit_sdk::RecordedEvent]| -> Vec<(u64, String)> {
        let of_it = all.iter().filter(|it| it.run_id.as_deref() == Some(first.id()));
        of_it.map(|it| (it.event.seq, it.event.kind.clone())).collect()
    };
    assert_eq!(of_run(&heard(from_now, first.id()).await), of_run(&all));
    let submitted = all.iter().find(|it| it.event.kind == "workflow_submitted").expect("it was submitted");
    let payload = submitted.event.payload.as_ref().expect("small").get();
    assert!(payload.contains("\"name\":\"Echo\"") && !payload.contains("util/echo"), "never the definition: {payload}");
    let last = *positions.last().expect("some");
    let second = client.submit(echo()).await.expect("taken");
    let rest = heard(client.events(last + 1).await.expect("followed"), second.id()).await;
    assert_eq!(rest[0].position, last + 1);
    blocking(|| drop(cluster)).await;
}

#[tokio::test]
async fn problems_of_a_provider_or_a_file_are_reported_immediately() {
    let none = Provider::new("none").serve(std::future::pending()).await.expect_err("no method");
    assert!(none.to_string().contains("serves no method"), "{none}");
    let method = Provider::new("odd").method("add", Schemas::default(), async |_: Value, _| Ok(()));
    let odd = method.serve(std::future::pending()).await.expect_err("no protocol");
    assert!(odd.to_string().contains("PROTOCOL/METHOD"), "{odd}");
    let folder = tempfile::tempdir().expect("a folder");
    let missing = Submission::read_file(folder.path().join("no.yaml")).expect_err("missing");
    assert!(missing.to_string().contains("no.yaml"), "{missing}");
    let file = folder.path().join("w.yaml");
    std::fs::write(&file, "name: W\ntasks:\n  - {id: a, methd: util/echo}\n").expect("written");
    let wrong = Submission::read_file(&file).expect_err("misspelt");
    assert_eq!(wrong.problems()[0].line, Some(3), "{wrong}");
    std::fs::write(&file, "name: W\nfiles: {a: a.txt}\ntasks:\n  - {id: a, method: util/echo}\n").expect("written");
    assert!(Submission::read_file(&file).expect_err("no file").to_string().contains("a.txt"));
    std::fs::write(folder.path().join("a.txt"), "text").expect("written");
    Submission::read_file(&file).expect("complete");
}
