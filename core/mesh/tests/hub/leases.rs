//! Leases: attempts on their engines.

use gleitzeit_fixtures::{run_id, submitted, task, workflow};
use gleitzeit_mesh::hub::SocketId;
use gleitzeit_run::command::CancelWorkflow;
use gleitzeit_run::event::{CancelCause, StopReason};
use gleitzeit_run::{ComponentId, Event, Request, Secret};
use gleitzeit_workflow::spec::Task;
use serde_json::{Value, json};

use crate::bench::Bench;

/// The engine's secret.
pub(crate) const SECRET: &str = "what only e knows";

/// A hub with one component of each role but no provider, and attempts that were sent to the engine `e`.
pub(crate) struct Sent {
    pub(crate) bench: Bench,
    pub(crate) engine: SocketId,
    /// The attempts by name.
    pub(crate) at: Vec<Value>,
}

pub(crate) fn sent(count: usize) -> Sent {
    sent_on(Bench::new(), count)
}

/// As `sent`, on a bench that the caller made and that has no component yet.
pub(crate) fn sent_on(bench: Bench, count: usize) -> Sent {
    sent_of(bench, count, "e")
}

/// As `sent`, with the caller's engine id.
fn sent_of(bench: Bench, count: usize, engine_id: &str) -> Sent {
    sent_to(bench, engine_id, &vec![None; count])
}

/// One attempt for each of these provider names, which the attempts' tasks ask for.
pub(crate) fn sent_to(mut bench: Bench, engine_id: &str, providers: &[Option<&str>]) -> Sent {
    let count = providers.len();
    let resolver = bench.join("resolver", "r", json!({}));
    let queue = bench.join("queue", "q", json!({}));
    let engine = bench.join("engine", engine_id, json!({"slots": count, "secret": SECRET}));
    let run_id = run_id(1);
    let ids: Vec<String> = (0..count).map(|number| format!("t{number}")).collect();
    let one = |(id, provider): (&String, &Option<&str>)| Task { provider: provider.map(Into::into), ..task(id, &[]) };
    let definition = workflow(ids.iter().zip(providers).map(one).collect(), &[]);
    bench.record(&Request::Submit { run_id, submitted: submitted(definition), known: None });
    for id in &ids {
        let fence = json!({"slice": {"shard": run_id.shard().0}, "epoch": 1});
        let ready = json!({"run_id": run_id, "task_id": id, "queue": "default", "priority": 2, "parameters": {}});
        assert_eq!(propose(&mut bench, resolver, Some(fence), "ready_task", &ready), "ok");
        let fence = json!({"slice": {"queue": "default"}, "epoch": 1});
        let dispatch = json!({"run_id": run_id, "task_id": id, "attempt": 1, "engine": engine_id});
        assert_eq!(propose(&mut bench, queue, Some(fence), "dispatch_task", &dispatch), "ok");
    }
    let tasks = bench.take_sent(engine, "execute_task");
    let at = tasks.iter().flat_map(|it| it["tasks"].as_array().expect("a list").clone()).map(|it| it["ref"].clone());
    Sent { at: at.collect(), bench, engine }
}

/// Proposes a command; returns the verdict.
pub(crate) fn propose(bench: &mut Bench, socket: SocketId, fence: Option<Value>, command: &str, data: &Value) -> Value {
    // Owners acknowledge what they were sent.
    let position = bench.head();
    let proposal = json!({"proposal_id": "1", "fence": fence, "command": {"type": command, "data": data}});
    bench.send(socket, "append", &json!({"proposals": [proposal], "position": position}));
    bench.take_sent(socket, "append_result").pop().map(|it| it["results"][0]["verdict"].clone()).unwrap_or_default()
}

fn stops(bench: &Bench) -> Vec<StopReason> {
    let stopped = bench.journal.iter().filter_map(|it| match &it.event {
        Event::TaskAttemptStopped(stopped) => Some(stopped.reason),
        _ => None,
    });
    stopped.collect()
}

fn cancel(bench: &mut Bench) {
    let cancel = CancelWorkflow { run_id: run_id(1), cause: CancelCause::Requested, reason: "enough".to_owned() };
    bench.record(&Request::Cancel { cancel });
}

#[test]
fn an_attempt_that_is_not_accepted_ends_and_its_engine_is_disconnected() {
    let Sent { mut bench, engine, at } = sent(2);
    bench.send(engine, "task_taken", &json!({"attempts": [at[0]]}));
    bench.pass(4_999);
    assert!(bench.closed.is_empty());
    bench.pass(1);
    assert_eq!(stops(&bench), [StopReason::NotTaken], "the one that was taken goes on");
    assert_eq!(bench.closed, [engine]);
}

#[test]
fn an_attempt_named_at_a_registration_is_taken_and_others_are_sent_again() {
    let Sent { mut bench, engine, at } = sent(2);
    bench.leave(engine, false);
    let engine = bench.join("engine", "e", json!({"slots": 2, "attempts": [at[1]]}));
    let again = bench.take_sent(engine, "execute_task");
    assert_eq!(again[0]["tasks"].as_array().expect("a list").len(), 1);
    assert_eq!(again[0]["tasks"][0]["ref"], at[0]);
}

#[test]
fn a_silent_engine_is_lost_after_fifteen_seconds_and_a_leaving_one_at_once() {
    for (clean, after) in [(false, 15_000), (true, 0)] {
        let Sent { mut bench, engine, at } = sent(2);
        bench.send(engine, "task_taken", &json!({"attempts": at}));
        bench.leave(engine, clean);
        if !clean {
            bench.pass(after - 1);
            assert!(stops(&bench).is_empty(), "it may come back");
            bench.pass(1);
        }
        assert_eq!(stops(&bench), [StopReason::EngineLost; 2], "clean: {clean}");
    }
}

#[test]
fn an_engine_that_leaves_a_heartbeat_unanswered_is_lost_fifteen_seconds_after_it_was_asked() {
    let Sent { mut bench, engine, at } = sent(1);
    bench.send(engine, "task_taken", &json!({"attempts": at}));
    bench.send(engine, "heartbeat_response", &json!({}));
    bench.take_sent(engine, "heartbeat");
    bench.pass(5_000);
    assert_eq!(bench.take_sent(engine, "heartbeat").len(), 1, "it is asked, and does not answer");
    bench.pass(14_999);
    assert!(stops(&bench).is_empty(), "it may come back");
    bench.pass(1);
    assert_eq!(stops(&bench), [StopReason::EngineLost]);
}

#[test]
fn an_attempt_that_is_not_open_is_cancelled_at_the_engine_that_names_it() {
    let mut bench = Bench::new();
    let at = json!({"run_id": run_id(7), "task_id": "x", "attempt": 3});
    let engine = bench.join("engine", "e", json!({"slots": 1, "attempts": [at]}));
    assert_eq!(bench.take_sent(engine, "cancel_task")[0]["attempts"], json!([at]));
}

#[test]
fn an_attempt_that_is_ending_is_cancelled_if_its_engine_accepts_it_late() {
    let Sent { mut bench, engine, at } = sent(1);
    bench.is_held = true;
    bench.pass(5_000);
    assert_eq!(bench.closed, [engine]);
    bench.leave(engine, false);
    // The journal has not ended it yet.
    let engine = bench.join("engine", "e", json!({"slots": 1, "attempts": at}));
    assert_eq!(bench.take_sent(engine, "cancel_task")[0]["attempts"], json!(at));
    bench.release();
    assert_eq!(stops(&bench), [StopReason::NotTaken]);
    bench.pass(10_000);
    assert!(!bench.closed[1..].contains(&engine), "nothing more is expected of it");
}

#[test]
fn a_cancel_reaches_the_engine_and_an_unanswered_one_ends_the_run() {
    let Sent { mut bench, engine, at } = sent(2);
    bench.send(engine, "task_taken", &json!({"attempts": at}));
    cancel(&mut bench);
    let told = bench.take_sent(engine, "cancel_task");
    assert_eq!(told[0]["attempts"], json!(at));
    let stop = json!({"ref": at[0], "reason": "cancelled"});
    assert_eq!(propose(&mut bench, engine, None, "stop_attempt", &stop), "ok");
    bench.pass(5_000);
    assert_eq!(stops(&bench), [StopReason::Cancelled, StopReason::NotTaken]);
    assert!(matches!(bench.journal.last().expect("entries").event, Event::WorkflowCancelled(_)));
}

#[test]
fn a_cancel_is_repeated_to_an_engine_that_was_away() {
    let Sent { mut bench, engine, at } = sent(1);
    bench.send(engine, "task_taken", &json!({"attempts": at}));
    bench.leave(engine, false);
    cancel(&mut bench);
    let engine = bench.join("engine", "e", json!({"slots": 1, "attempts": at}));
    assert_eq!(bench.take_sent(engine, "cancel_task")[0]["attempts"], json!(at));
}

#[test]
fn a_draining_engine_receives_no_more_attempts() {
    let Sent { mut bench, engine, at } = sent(1);
    bench.register(engine, "engine", "e", json!({"slots": 0, "attempts": at}));
    assert_eq!(bench.hub.components()[0].capacity, 0);
    let engine = "e".into();
    assert_eq!(bench.ledger.used_slots(&engine), 1, "what it holds it goes on with");
    assert!(bench.closed.is_empty());
}

#[test]
fn attempts_of_a_local_engine_of_the_previous_hub_are_reassigned_at_once() {
    for (is_within_hub, waits_ms) in [(false, 15_000), (true, 0)] {
        let id = ComponentId::of_secret("e", &Secret::new(SECRET), is_within_hub);
        let Sent { mut bench, .. } = sent_of(Bench::new(), 2, id.as_str());
        bench.restart();
        bench.connect();
        if waits_ms > 0 {
            bench.pass(waits_ms - 1);
            assert_eq!(stops(&bench), [], "{id} may come back");
            bench.pass(1);
        }
        assert_eq!(stops(&bench), [StopReason::EngineLost; 2], "{id}");
    }
}
