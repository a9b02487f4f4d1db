//! The life cycle of a run, as recorded in the journal.

use std::sync::Arc;

use gleitzeit_fixtures::{Desk, run_id, submitted, task, workflow};
use gleitzeit_run::command::{CancelWorkflow, FailTask, RequeueTask, ScheduleRetry, StopAttempt};
use gleitzeit_run::event::{CancelCause, ProtocolRegistered, RequestKey, StopReason, WorkflowSubmitted};
use gleitzeit_run::ledger::Effect;
use gleitzeit_run::{Event, MAX_LOSSES, Request, RunStatus, Slice, TaskStatus, Verdict};
use gleitzeit_workflow::{ErrorCode, Failure, Payload, QueueName};
use serde_json::json;

fn kinds(events: &[gleitzeit_run::Entry]) -> Vec<&'static str> {
    events.iter().map(|entry| entry.event.kind()).collect()
}

fn fail_for_good(desk: &Desk, id: &str, attempt: u32) -> Request {
    let error = Failure::new(ErrorCode::TaskExecutionFailed, "no luck");
    desk.queue(FailTask { run_id: desk.run, task_id: id.into(), attempt, error }.into())
}

fn cancel(desk: &Desk, reason: &str) -> Request {
    let cancel = CancelWorkflow { run_id: desk.run, cause: CancelCause::Requested, reason: reason.to_owned() };
    Request::Cancel { cancel }
}

#[test]
fn a_chain_completes_with_its_outputs() {
    let mut desk = Desk::new(4);
    desk.submit(workflow(vec![task("a", &[]), task("b", &["a"])], &[("n", "${b.n}"), ("t", "a said ${a.n}")]));
    assert!(matches!(desk.propose(desk.ready("b")).verdict, Verdict::Invalid(_)), "b waits for a");
    desk.through("a", json!({"n": 1}));
    desk.ok(desk.ready("b"));
    desk.ok(desk.dispatch("b", 1));
    let outcome = desk.ok(desk.complete("b", 1, json!({"n": 2})));
    assert_eq!(kinds(&outcome.entries), ["task_completed", "workflow_completed"]);
    let state = desk.state();
    assert_eq!(state.status, RunStatus::Completed);
    assert_eq!(state.outputs.as_ref().expect("outputs").to_value().expect("JSON"), json!({"n": 2, "t": "a said 1"}));
    desk.check_replay();
}

#[test]
fn an_output_without_a_value_fails_the_run_and_is_named() {
    let mut desk = Desk::new(4);
    desk.submit(workflow(vec![task("a", &[])], &[("x", "${a.missing}")]));
    desk.through("a", json!({"n": 1}));
    let error = desk.state().error.clone().expect("the run failed");
    assert_eq!(error.known(), Some(ErrorCode::TaskParameterError));
    assert!(error.message.contains("output `x`") && error.message.contains("`missing`"), "{}", error.message);
}

#[test]
fn an_output_that_is_not_json_fails_the_run_with_its_place() {
    let mut deep = json!([]);
    for _ in 1..gleitzeit_workflow::json::MAX_DEPTH {
        deep = json!([deep]);
    }
    let mut desk = Desk::new(4);
    desk.submit(workflow(vec![task("a", &[])], &[("x", "${a}")]));
    desk.through("a", deep);
    let error = desk.state().error.clone().expect("the run failed");
    assert_eq!(error.known(), Some(ErrorCode::TaskParameterError));
    assert!(error.message.starts_with("output `x[0][0]") && error.message.contains("128 levels"), "{}", error.message);
    desk.check_replay();
}

#[test]
fn a_failed_task_skips_its_dependents_while_other_branches_finish_first() {
    let mut desk = Desk::new(4);
    desk.submit(workflow(vec![task("a", &[]), task("b", &["a"]), task("c", &["b"]), task("d", &[])], &[]));
    desk.ok(desk.ready("a"));
    desk.ok(desk.dispatch("a", 1));
    desk.ok(desk.fail("a", 1));
    let outcome = desk.ok(fail_for_good(&desk, "a", 1));
    assert_eq!(kinds(&outcome.entries), ["task_failed", "task_skipped", "task_skipped"]);
    assert_eq!(desk.state().status, RunStatus::Running);
    desk.ok(desk.ready("d"));
    desk.ok(desk.dispatch("d", 1));
    let outcome = desk.ok(desk.complete("d", 1, json!(1)));
    assert_eq!(kinds(&outcome.entries), ["task_completed", "workflow_failed"]);
    assert!(desk.state().error.as_ref().expect("an error").message.contains("`a`"));
    assert_eq!(desk.status("c"), TaskStatus::Skipped);
    desk.check_replay();
}

#[test]
fn slots_are_open_attempts_and_never_more_than_the_engine_has() {
    let mut desk = Desk::new(1);
    desk.submit(workflow(vec![task("a", &[]), task("b", &[])], &[]));
    desk.ok(desk.ready("a"));
    desk.ok(desk.ready("b"));
    desk.ok(desk.dispatch("a", 1));
    assert_eq!(desk.propose(desk.dispatch("b", 1)).verdict, Verdict::NoSlot);
    desk.ok(desk.complete("a", 1, json!(0)));
    desk.ok(desk.dispatch("b", 1));
    desk.ledger.engine_gone(&"e".into());
    assert_eq!(desk.ledger.used_slots(&"e".into()), 1, "an absent engine keeps its leases until they are ended");
    desk.check_replay();
}

#[test]
fn a_stale_request_is_fenced_and_changes_nothing() {
    let mut desk = Desk::new(4);
    desk.submit(workflow(vec![task("a", &[])], &[]));
    desk.ok(desk.ready("a"));
    desk.ok(desk.dispatch("a", 1));
    desk.ok(desk.stop("a", 1, StopReason::EngineLost));
    let requeue =
        |desk: &Desk, attempt| desk.queue(RequeueTask { run_id: desk.run, task_id: "a".into(), attempt }.into());
    desk.ok(requeue(&desk, 1));
    assert_eq!(desk.propose(requeue(&desk, 1)).verdict, Verdict::Duplicate { run_id: None });
    desk.ok(desk.dispatch("a", 2));
    assert_eq!(desk.propose(desk.complete("a", 1, json!(1))).verdict, Verdict::Fenced, "a lost attempt reports late");
    assert_eq!(desk.propose(desk.dispatch("a", 2)).verdict, Verdict::Duplicate { run_id: None });
    desk.ok(Request::Grant { slice: Slice::Queue(QueueName::default_queue()), component_id: "q2".into() });
    assert_eq!(desk.propose(desk.dispatch("a", 3)).verdict, Verdict::Fenced, "q was deposed");
    desk.ok(desk.complete("a", 2, json!(2)));
    assert_eq!(desk.propose(desk.complete("a", 2, json!(2))).verdict, Verdict::Duplicate { run_id: None });
    desk.check_replay();
}

#[test]
fn a_stop_for_a_cancellation_in_a_lost_history_counts_as_an_engine_loss() {
    let mut desk = Desk::new(4);
    desk.submit(workflow(vec![task("a", &[])], &[]));
    desk.ok(desk.ready("a"));
    desk.ok(desk.dispatch("a", 1));
    let heard = StopAttempt { at: desk.at("a", 1), reason: StopReason::Cancelled };
    let outcome = desk.ok(desk.engine(heard.into()));
    let stopped = outcome.entries.iter().find_map(|entry| match &entry.event {
        Event::TaskAttemptStopped(stopped) => Some(stopped.reason),
        _ => None,
    });
    assert_eq!(stopped, Some(StopReason::EngineLost), "the run goes on");
    desk.ok(desk.queue(RequeueTask { run_id: desk.run, task_id: "a".into(), attempt: 1 }.into()));
    desk.check_replay();
}

#[test]
fn losses_are_requeued_ten_times_and_then_the_task_must_fail() {
    let mut desk = Desk::new(4);
    desk.submit(workflow(vec![task("a", &[])], &[]));
    desk.ok(desk.ready("a"));
    for attempt in 1..=MAX_LOSSES {
        desk.ok(desk.dispatch("a", attempt));
        desk.ok(desk.stop("a", attempt, StopReason::NotTaken));
        let requeue = desk.queue(RequeueTask { run_id: desk.run, task_id: "a".into(), attempt }.into());
        let verdict = desk.propose(requeue).verdict;
        assert_eq!(matches!(verdict, Verdict::Ok { .. }), attempt < MAX_LOSSES, "attempt {attempt}: {verdict:?}");
    }
    desk.ok(fail_for_good(&desk, "a", MAX_LOSSES));
    assert_eq!(desk.state().status, RunStatus::Failed);
    assert_eq!(desk.state().tasks[0].failures(), 0, "losses do not count as failures");
}

#[test]
fn a_retry_waits_for_its_delay_by_the_journals_clock() {
    let mut desk = Desk::new(4);
    desk.submit(workflow(vec![task("a", &[])], &[]));
    desk.ok(desk.ready("a"));
    desk.ok(desk.dispatch("a", 1));
    desk.ok(desk.fail("a", 1));
    desk.ok(desk.queue(ScheduleRetry { run_id: desk.run, task_id: "a".into(), attempt: 1, delay_ms: 500 }.into()));
    assert!(matches!(desk.propose(desk.dispatch("a", 2)).verdict, Verdict::Invalid(_)));
    desk.now = desk.now.plus_ms(500);
    desk.ok(desk.dispatch("a", 2));
    desk.check_replay();
}

#[test]
fn cancel_ends_idle_tasks_at_once_and_open_ones_with_their_report() {
    let mut desk = Desk::new(4);
    desk.submit(workflow(vec![task("a", &[]), task("b", &["a"])], &[]));
    desk.ok(desk.ready("a"));
    desk.ok(desk.dispatch("a", 1));
    let outcome = desk.ok(cancel(&desk, "enough"));
    assert_eq!(kinds(&outcome.entries), ["workflow_cancel_requested", "task_cancelled"]);
    assert_eq!(outcome.effects, [Effect::Cancel { engine: "e".into(), at: desk.at("a", 1) }]);
    assert_eq!(desk.propose(cancel(&desk, "again")).verdict, Verdict::Duplicate { run_id: None });
    let outcome = desk.ok(desk.complete("a", 1, json!(1)));
    assert_eq!(kinds(&outcome.entries), ["task_attempt_stopped", "task_cancelled", "workflow_cancelled"]);
    let Event::TaskAttemptStopped(stopped) = &outcome.entries[0].event else { panic!("stopped") };
    assert!(stopped.late_report);
    assert_eq!(desk.state().status, RunStatus::Cancelled);
    assert_eq!(desk.state().tasks[0].result(), None);
    assert!(matches!(desk.propose(cancel(&desk, "late")).verdict, Verdict::Invalid(_)));
    desk.check_replay();
}

#[test]
fn a_run_past_its_timeout_fails() {
    let mut desk = Desk::new(4);
    let mut definition = workflow(vec![task("a", &[])], &[]);
    definition.timeout_ms = Some(50);
    desk.submit(definition);
    let cancel = CancelWorkflow { run_id: desk.run, cause: CancelCause::Timeout, reason: "time is up".to_owned() };
    desk.ok(desk.resolver(cancel.into()));
    assert_eq!(desk.state().error.as_ref().and_then(Failure::known), Some(ErrorCode::WorkflowTimeout));
    assert_eq!(desk.state().status, RunStatus::Failed);
}

#[test]
fn a_retried_run_keeps_completed_results_in_its_own_entries() {
    let mut desk = Desk::new(4);
    desk.submit(workflow(vec![task("a", &[]), task("b", &["a"])], &[("b", "${b}")]));
    desk.through("a", json!(1));
    desk.ok(cancel(&desk, "pause"));
    let old = Arc::new(desk.ledger.evict(desk.run).expect("the run has ended"));
    let retry = Request::Retry {
        old: old.clone(),
        run_id: run_id(65),
        all: false,
        correlation_id: "1".repeat(32),
        traceparent: None,
        request: None,
        known: None,
    };
    let outcome = desk.ok(retry);
    assert_eq!(kinds(&outcome.entries), ["workflow_submitted", "task_completed"]);
    assert!(outcome.effects.is_empty(), "a carried result ends no attempt");
    desk.run = run_id(65);
    assert_eq!(desk.state().submitted.retry_of, Some(run_id(1)));
    desk.through("b", json!(2));
    assert_eq!(desk.state().status, RunStatus::Completed);
    let anew = Request::Retry {
        old,
        run_id: run_id(129),
        all: true,
        correlation_id: "2".repeat(32),
        traceparent: None,
        request: None,
        known: None,
    };
    assert_eq!(kinds(&desk.ok(anew).entries), ["workflow_submitted"], "nothing is carried");
}

#[test]
fn the_same_request_id_gives_the_same_run_and_another_body_is_an_error() {
    let mut desk = Desk::new(4);
    let with_key = |n, hash: &str| Request::Submit {
        run_id: run_id(n),
        submitted: Arc::new(WorkflowSubmitted {
            request: Some(RequestKey { request_id: "k".to_owned(), body_hash: hash.to_owned() }),
            ..WorkflowSubmitted::clone(&submitted(workflow(vec![task("a", &[])], &[])))
        }),
        known: None,
    };
    desk.ok(with_key(1, "h"));
    assert_eq!(desk.propose(with_key(2, "h")).verdict, Verdict::Duplicate { run_id: Some(run_id(1)) });
    assert!(matches!(desk.propose(with_key(3, "other")).verdict, Verdict::Invalid(_)));
}

#[test]
fn effects_for_an_engine_can_be_derived_again() {
    let mut desk = Desk::new(4);
    desk.submit(workflow(vec![task("a", &[]), task("b", &[])], &[]));
    desk.ok(desk.ready("a"));
    let sent = desk.ok(desk.dispatch("a", 1)).effects;
    assert_eq!(desk.ledger.outstanding(&"e".into(), desk.now), sent);
    desk.ok(cancel(&desk, "stop"));
    let stop = [Effect::Cancel { engine: "e".into(), at: desk.at("a", 1) }];
    assert_eq!(desk.ledger.outstanding(&"e".into(), desk.now), stop);
}

#[test]
fn outputs_that_would_be_too_large_are_never_built() {
    let mut desk = Desk::new(1);
    let many = "${a}".repeat(3_000);
    desk.submit(workflow(vec![task("a", &[])], &[("first", "${a}"), ("many", &many)]));
    desk.ok(desk.ready("a"));
    desk.ok(desk.dispatch("a", 1));
    desk.ok(desk.complete("a", 1, json!("x".repeat(400_000))));
    let error = desk.state().error.clone().expect("it failed");
    assert_eq!(error.known(), Some(ErrorCode::TaskParameterError));
    assert_eq!(
        error.message,
        "output `many`: ${a} does not fit: of the limit of 1048576 bytes of JSON, 800004 stand before it"
    );
}

#[test]
fn protocols_are_bounded_in_number_and_bytes_and_those_that_are_known_stay() {
    let protocol = |n: usize, bytes: usize| {
        let methods = Payload::from_value(&json!({"m/x": {"description": "x".repeat(bytes)}}));
        Request::RegisterProtocol {
            protocol: ProtocolRegistered { name: "m".to_owned(), version: format!("any.{n}"), methods },
        }
    };
    let rejected = |desk: &mut Desk, request: Request, why: &str| {
        let Verdict::Invalid(failure) = desk.propose(request).verdict else { panic!("{why}: it is taken") };
        assert_eq!(failure.known(), Some(ErrorCode::ResourceExhausted));
        assert!(failure.message.contains(why), "{failure}");
    };
    let mut many = Desk::new(1);
    (0..10_000).for_each(|n| drop(many.ok(protocol(n, 0))));
    rejected(&mut many, protocol(10_000, 0), "at most 10000 protocol versions");
    assert!(matches!(many.propose(protocol(7, 0)).verdict, Verdict::Duplicate { .. }), "a known one is known");

    let mut large = Desk::new(1);
    (0..63).for_each(|n| drop(large.ok(protocol(n, 1 << 20))));
    rejected(&mut large, protocol(64, 1 << 20), "bytes of schemas");
    large.ok(protocol(65, 0));
}

#[test]
fn a_built_in_protocol_replaces_that_of_another_release() {
    let protocol = |schema: &str| ProtocolRegistered {
        name: "m".to_owned(),
        version: "v1".to_owned(),
        methods: Payload::from_value(&json!({"m/x": {"parameters": {"type": schema}}})),
    };
    let mut desk = Desk::new(1);
    desk.ok(Request::ShipProtocol { protocol: protocol("object") });
    let again = desk.propose(Request::ShipProtocol { protocol: protocol("object") }).verdict;
    assert!(matches!(again, Verdict::Duplicate { .. }), "{again:?}");
    desk.ok(Request::ShipProtocol { protocol: protocol("array") });
    let verdict =
        |desk: &mut Desk, schema| desk.propose(Request::RegisterProtocol { protocol: protocol(schema) }).verdict;
    assert!(matches!(verdict(&mut desk, "array"), Verdict::Duplicate { .. }), "a worker of this release");
    let Verdict::Invalid(failure) = verdict(&mut desk, "object") else { panic!("a worker of another release") };
    assert_eq!(failure.known(), Some(ErrorCode::ProtocolVersionMismatch));
}
