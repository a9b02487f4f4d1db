//! Attempts that are cancelled, and engines that drain or lose their hub.

use super::*;

#[test]
fn a_cancel_is_answered_at_once_even_for_an_unknown_attempt() {
    let mut bench = Bench::new();
    bench.execute(1, None);
    bench.said();
    bench.receive(FromHub::CancelTask(CancelTask { attempts: vec![at(1), at(9)] }));
    assert_eq!(bench.said(), ["cancel call", "stop 1 Cancelled", "stop 9 Cancelled"]);
    bench.end(1, MethodOutcome::Result(Payload::null()));
    assert_eq!(bench.said(), [""; 0]);
}

#[test]
fn reports_survive_a_short_absence_of_the_hub_and_work_does_not_survive_a_long_one() {
    let mut bench = Bench::new();
    bench.execute(1, None);
    bench.execute(2, None);
    bench.end(1, MethodOutcome::Result(Payload::null()));
    bench.hub(role::Input::Disconnected);
    bench.said();
    bench.connect();
    assert_eq!(bench.said(), ["register 64 [2, 1]", "complete 1 null"]);
    bench.hub(role::Input::Disconnected);
    bench.now = bench.now.plus_ms(MAX_DISCONNECTED_MS - 1);
    bench.tick();
    assert_eq!(bench.engine.working_on().count(), 0, "the timeout of 5 s came first");
    bench.connect();
    assert_eq!(bench.said().last().map(String::as_str), Some("fail 2 TASK_TIMEOUT true None"));
    bench.answer_all(ProposalVerdict::Fenced);
    bench.execute(3, None);
    assert_eq!(bench.engine.unanswered().count(), 0);
}

#[test]
fn a_draining_engine_finishes_stops_the_rest_and_waits_for_answers() {
    let mut bench = Bench::new();
    bench.execute(1, None);
    bench.execute(2, None);
    bench.said();
    bench.input(Input::Drain { grace_ms: 500 });
    assert_eq!(bench.said(), ["register 0 [1, 2]"]);
    bench.end(1, MethodOutcome::Result(Payload::null()));
    bench.now = bench.now.plus_ms(500);
    bench.tick();
    assert_eq!(bench.said(), ["complete 1 null", "cancel call", "started 2 500", "stop 2 Drain"],);
    bench.answer_all(ProposalVerdict::Ok);
    assert_eq!(bench.said(), [""; 0], "more may be on their way until the hub has heard of it");
    bench.registered();
    assert_eq!(bench.said(), ["drained"]);
}

#[test]
fn a_draining_engine_runs_attempts_that_were_already_in_transit() {
    let mut bench = Bench::new();
    bench.input(Input::Drain { grace_ms: 500 });
    bench.execute(1, None);
    bench.registered();
    bench.end(1, MethodOutcome::Result(Payload::null()));
    assert!(bench.said().contains(&"complete 1 null".to_owned()));
    bench.answer_all(ProposalVerdict::Ok);
    assert_eq!(bench.said(), ["drained"]);
}

#[test]
fn a_draining_engine_leaves_a_hub_that_does_not_answer() {
    let mut bench = Bench::new();
    bench.input(Input::Drain { grace_ms: 500 });
    bench.now = bench.now.plus_ms(500 + LAST_ANSWERS_MS);
    bench.said();
    bench.tick();
    assert_eq!(bench.said(), ["drained"]);
}

#[test]
fn a_drain_during_registration_is_sent_after_it() {
    let mut bench = Bench::new();
    bench.execute(1, None);
    bench.hub(role::Input::Disconnected);
    bench.hub(role::Input::Connected);
    bench.said();
    bench.input(Input::Drain { grace_ms: 5_000 });
    assert_eq!(bench.said(), Vec::<String>::new(), "one registration at a time");
    bench.registered();
    assert!(bench.said().contains(&"register 0 [1]".to_owned()));
}

#[test]
fn attempts_of_a_lost_journal_are_dropped_silently_and_can_be_assigned_again() {
    let mut bench = Bench::new();
    bench.execute(1, None);
    bench.execute(2, None);
    bench.end(2, MethodOutcome::Result(Payload::null()));
    bench.hub(role::Input::Disconnected);
    bench.hub(role::Input::Connected);
    bench.said();
    let registered = ComponentRegistered::new("e1".into(), "e", 5_000);
    let registered = ComponentRegistered { term: Some("t2".into()), starts_anew: true, ..registered };
    bench.receive(FromHub::ComponentRegistered(registered));
    assert_eq!(bench.said(), [""; 0], "nobody waits for them");
    assert_eq!((bench.engine.working_on().count(), bench.engine.unanswered().count()), (0, 0));
    bench.status(PresenceStatus::Connected, Health::default());
    bench.execute(2, None);
    assert_eq!(bench.said(), ["taken 2", "call [\"p\"]"]);
    bench.hub(role::Input::Disconnected);
    bench.hub(role::Input::Connected);
    let seen = bench.engine.past.seen().expect("a term");
    assert_eq!((seen.term.as_str(), seen.position), ("t2", Position(2)));
}
