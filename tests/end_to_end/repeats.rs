//! Answers that are lost in transit: a repeated request gets the same answer, and nothing happens twice.
//!
//! A command first asks whether a control plane is there; that answer arrives.

use gleitzeit_sdk::{Client, ClientConfig, Submission};

use crate::support::{Cluster, Condition, Direction, PATIENCE, Relay, text, until};

const ECHO: &str = "name: e\ntasks: [{id: a, method: util/echo}]\n";

/// All runs, listed without the relay.
fn runs(cluster: &Cluster) -> Vec<String> {
    let list = cluster.ask(&["list"])["items"].as_array().expect("a list").clone();
    list.iter().map(|run| text(&run["run_id"])).collect()
}

/// Requests arrive and answers do not, until there are `count` runs; then the connection breaks and comes back.
fn lose_answers(cluster: &Cluster, relay: &Relay, count: usize) {
    until("it has arrived", PATIENCE, || (runs(cluster).len() == count).then_some(()));
    relay.heal();
}

#[test]
fn a_repeated_submission_after_a_lost_answer_gives_the_same_run() {
    let cluster = Cluster::all_in_one(&[]);
    let relay = cluster.relay();
    let file = cluster.sandbox.file("echo.yaml", ECHO);
    relay.set(Direction::Down, Condition::LostAfterAnswer);
    let command = cluster.sandbox.start(&["submit", &file, "--hub-url", &relay.url(), "-o", "json"]);
    lose_answers(&cluster, &relay, 1);
    let said = command.wait(PATIENCE).exits(0).json();
    assert_eq!(runs(&cluster), [text(&said["run_id"])]);

    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let client = runtime.block_on(Client::connect(ClientConfig::new(relay.url()))).expect("it listens");
    relay.set(Direction::Down, Condition::Lost);
    let submitted = runtime.spawn(async move { client.submit(Submission::yaml(ECHO)).await });
    lose_answers(&cluster, &relay, 2);
    let run = runtime.block_on(submitted).expect("no panic").expect("acknowledged");
    assert_eq!(runs(&cluster).iter().filter(|it| *it == run.id()).count(), 1);
    assert_eq!(runs(&cluster).len(), 2);
}

#[test]
fn a_retry_and_a_cancel_may_be_repeated_too() {
    let cluster = Cluster::all_in_one(&[]);
    let relay = cluster.relay();
    let fail = "name: f\ntasks: [{id: a, method: util/fail, parameters: {message: no, retryable: false}}]\n";
    let failed = cluster.submit(&cluster.sandbox.file("fail.yaml", fail));
    cluster.until_ended(&failed);
    relay.set(Direction::Down, Condition::LostAfterAnswer);
    let command = cluster.sandbox.start(&["retry", &failed, "--hub-url", &relay.url(), "-o", "json"]);
    lose_answers(&cluster, &relay, 2);
    let said = command.wait(PATIENCE).exits(0).json();
    assert!(runs(&cluster).contains(&text(&said["run_id"])) && runs(&cluster).len() == 2);

    let sleep = "name: s\ntasks: [{id: a, method: util/sleep, parameters: {seconds: 600}}]\n";
    let run = cluster.submit(&cluster.sandbox.file("sleep.yaml", sleep));
    relay.set(Direction::Down, Condition::LostAfterAnswer);
    let command = cluster.sandbox.start(&["cancel", &run, "--hub-url", &relay.url(), "-o", "json"]);
    assert_eq!(cluster.until_ended(&run)["status"], "cancelled");
    relay.heal();
    assert_eq!(command.wait(PATIENCE).exits(0).json()["status"], "cancelled");
}
