//! Method calls between engines and providers.

use gleitzeit_mesh::hub::{Input, SocketId};
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::leases::{Sent, sent};

/// Attempts that the engine has taken.
pub(crate) fn taken(count: usize) -> Sent {
    let mut sent = sent(count);
    sent.bench.send(sent.engine, "task_taken", &json!({"attempts": sent.at}));
    sent
}

pub(crate) fn call_id(at: &Value) -> String {
    let text = |field: &str| at[field].as_str().expect("text").to_owned();
    format!("{}/{}/{}/e", text("run_id"), at["attempt"], text("task_id"))
}

pub(crate) fn call(bench: &mut Bench, engine: SocketId, at: &Value, providers: &[&str]) {
    call_with(bench, engine, at, providers, 2);
}

pub(crate) fn call_with(bench: &mut Bench, engine: SocketId, at: &Value, providers: &[&str], priority: i32) {
    let meta = json!({
        "run_id": at["run_id"], "task_id": at["task_id"], "attempt": at["attempt"], "correlation_id": "",
        "traceparent": "", "timeout_ms": 9_000,
    });
    let call = json!({
        "jsonrpc": "2.0", "id": call_id(at), "method": "m/x", "params": {}, "meta": meta, "providers": providers,
        "priority": priority,
    });
    bench.send(engine, "execute_method", &call);
}

pub(crate) fn provider(bench: &mut Bench, id: &str, max_concurrency: u32) -> SocketId {
    bench.join("provider", id, json!({"methods": ["m/x"], "max_concurrency": max_concurrency}))
}

pub(crate) fn answer(bench: &mut Bench, provider: SocketId, at: &Value) {
    bench.send(provider, "method_result", &json!({"jsonrpc": "2.0", "id": call_id(at), "result": 1}));
}

pub(crate) fn ids(calls: &[Value]) -> Vec<String> {
    calls.iter().map(|it| it["id"].as_str().expect("text").to_owned()).collect()
}

/// Checks that exactly one refusal, of this name, was sent since the last look.
#[track_caller]
pub(crate) fn refused(bench: &mut Bench, socket: SocketId, name: &str) {
    let errors = bench.take_sent(socket, "mesh_error");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!((&errors[0]["name"], &errors[0]["in_reply_to"]), (&json!(name), &json!("method_result")), "{errors:?}");
}

#[test]
fn a_call_goes_to_the_least_loaded_provider_and_waits_while_all_are_full() {
    let Sent { mut bench, engine, at } = taken(4);
    let (p, p2) = (provider(&mut bench, "p", 2), provider(&mut bench, "p2", 1));
    for at in &at {
        call(&mut bench, engine, at, &["p", "p2"]);
    }
    let (of_p, of_p2) = (bench.take_sent(p, "execute_method"), bench.take_sent(p2, "execute_method"));
    assert_eq!(ids(&of_p), [call_id(&at[0]), call_id(&at[2])]);
    assert_eq!(ids(&of_p2), [call_id(&at[1])]);
    assert_eq!(of_p2[0].get("providers"), None, "providers need not know of each other");
    answer(&mut bench, p2, &at[1]);
    assert_eq!(ids(&bench.take_sent(p2, "execute_method")), [call_id(&at[3])], "it has room again");
    assert_eq!(ids(&bench.take_sent(engine, "method_result")), [call_id(&at[1])]);
}

#[test]
fn the_calls_of_a_lost_provider_are_answered_as_lost() {
    let Sent { mut bench, engine, at } = taken(2);
    let p = provider(&mut bench, "p", 1);
    call(&mut bench, engine, &at[0], &["p"]);
    call(&mut bench, engine, &at[1], &["p"]);
    bench.leave(p, false);
    bench.pass(4_999);
    assert!(bench.take_sent(engine, "method_result").is_empty(), "it may come back");
    bench.pass(1);
    let answers = bench.take_sent(engine, "method_result");
    let results = answers[0]["results"].as_array().expect("both at once");
    for result in results {
        assert_eq!(result["error"]["name"], "PROVIDER_NOT_AVAILABLE");
        assert_eq!(result["error"]["data"], json!({"lost": true}));
    }
    assert_eq!(results.len(), 2, "the one it held and the one that waited for it");
}

/// The calls that the engine was sent this event for since the last look.
pub(crate) fn call_ids(bench: &mut Bench, engine: SocketId, kind: &str) -> Vec<String> {
    let ids = bench.take_sent(engine, kind).into_iter().flat_map(|it| it["ids"].as_array().expect("a list").clone());
    ids.map(|id| id.as_str().expect("text").to_owned()).collect()
}

#[test]
fn an_engine_receives_which_calls_wait_and_when_they_start() {
    let Sent { mut bench, engine, at } = taken(3);
    let p = provider(&mut bench, "p", 1);
    call(&mut bench, engine, &at[0], &["p"]);
    assert!(!bench.order(engine).contains(&"method_started"), "what is given at once needs no word");
    call(&mut bench, engine, &at[1], &["p"]);
    call(&mut bench, engine, &at[2], &["p"]);
    assert_eq!(call_ids(&mut bench, engine, "method_waiting"), [call_id(&at[1]), call_id(&at[2])]);
    answer(&mut bench, p, &at[0]);
    assert_eq!(call_ids(&mut bench, engine, "method_started"), [call_id(&at[1])]);
    // On a new connection, calls that wait are announced again; all others count as being worked on.
    bench.leave(engine, false);
    let calls = json!([call_id(&at[1]), call_id(&at[2])]);
    let engine = bench.join("engine", "e", json!({"slots": 3, "attempts": at, "calls": calls}));
    assert_eq!(call_ids(&mut bench, engine, "method_waiting"), [call_id(&at[2])]);
    // No provider is left: the final message is that the call is lost.
    bench.pass(5_000);
    bench.leave(p, true);
    let lost = bench.take_sent(engine, "method_result")[0]["results"].as_array().expect("both").clone();
    assert_eq!(ids(&lost).len(), 2);
    assert!(call_ids(&mut bench, engine, "method_started").is_empty());
}

#[test]
fn calls_that_start_while_their_engine_is_away_are_reported_on_its_return() {
    let Sent { mut bench, engine, at } = taken(2);
    let p = provider(&mut bench, "p", 1);
    call(&mut bench, engine, &at[0], &["p"]);
    call(&mut bench, engine, &at[1], &["p"]);
    bench.leave(engine, false);
    answer(&mut bench, p, &at[0]);
    let calls = json!([call_id(&at[0]), call_id(&at[1])]);
    let engine = bench.join("engine", "e", json!({"slots": 2, "attempts": at, "calls": calls}));
    assert!(call_ids(&mut bench, engine, "method_waiting").is_empty(), "it does not wait any more");
    answer(&mut bench, p, &at[1]);
    assert_eq!(ids(&bench.take_sent(engine, "method_result")).len(), 2);
}

#[test]
fn a_provider_that_cannot_start_a_call_reports_it_to_the_engine() {
    let Sent { mut bench, engine, at } = taken(2);
    let (p, other) = (provider(&mut bench, "p", 2), provider(&mut bench, "p2", 1));
    call(&mut bench, engine, &at[0], &["p"]);
    let body = json!({"ids": [call_id(&at[0]), call_id(&at[1]), "x"]});
    bench.send(other, "method_waiting", &body);
    assert!(call_ids(&mut bench, engine, "method_waiting").is_empty(), "it is not that one's");
    bench.send(p, "method_waiting", &body);
    assert_eq!(call_ids(&mut bench, engine, "method_waiting"), [call_id(&at[0])]);
    bench.send(p, "method_started", &body);
    assert_eq!(call_ids(&mut bench, engine, "method_started"), [call_id(&at[0])]);
    // A provider that reports nothing about the call on a new connection works on it.
    bench.send(p, "method_waiting", &body);
    bench.leave(p, false);
    let back = json!({"methods": ["m/x"], "max_concurrency": 2, "calls": [call_id(&at[0])]});
    let p = bench.join("provider", "p", back);
    assert_eq!(call_ids(&mut bench, engine, "method_started"), [call_id(&at[0])]);
    // A provider that does not know the call has lost it; the time continues.
    bench.send(p, "method_waiting", &body);
    bench.leave(p, false);
    bench.take_sent(engine, "method_waiting");
    bench.join("provider", "p", json!({"methods": ["m/x"], "max_concurrency": 2, "calls": []}));
    assert_eq!(call_ids(&mut bench, engine, "method_started"), [call_id(&at[0])]);
    bench.pass(5_000);
    assert_eq!(bench.take_sent(engine, "method_result")[0]["error"]["data"]["lost"], true);
}

#[test]
fn waiting_calls_are_served_by_priority_then_age_without_starvation() {
    let Sent { mut bench, engine, at } = taken(6);
    let p = provider(&mut bench, "p", 1);
    call(&mut bench, engine, &at[0], &["p"]);
    call_with(&mut bench, engine, &at[1], &["p"], 1);
    call_with(&mut bench, engine, &at[2], &["p"], 2);
    call_with(&mut bench, engine, &at[3], &["p"], 4);
    call_with(&mut bench, engine, &at[4], &["p"], 2);
    bench.pass(60_001);
    call_with(&mut bench, engine, &at[5], &["p"], 2);
    let mut served = Vec::new();
    for _ in 0..6 {
        let calls = bench.take_sent(p, "execute_method");
        assert!(calls[0].get("priority").is_none(), "providers need not know of it");
        served.extend(ids(&calls));
        let last = served.last().expect("one").clone();
        let last = at.iter().find(|at| call_id(at) == last).expect("ours").clone();
        answer(&mut bench, p, &last);
    }
    let expected = [0, 3, 2, 4, 1, 5].map(|number: usize| call_id(&at[number]));
    assert_eq!(served, expected, "a minute is worth a level");
}

#[test]
fn waiting_calls_go_to_the_first_free_provider_even_a_new_one() {
    let Sent { mut bench, engine, at } = taken(3);
    let p = provider(&mut bench, "p", 1);
    at.iter().for_each(|at| call(&mut bench, engine, at, &["p"]));
    let (elsewhere, late) = (
        bench.join("provider", "elsewhere", json!({"methods": ["m/other"], "max_concurrency": 9})),
        provider(&mut bench, "late", 1),
    );
    assert_eq!(ids(&bench.take_sent(late, "execute_method")), [call_id(&at[1])]);
    // A full provider gets more room.
    bench.register(late, "provider", "late", json!({"methods": ["m/x"], "max_concurrency": 2}));
    assert_eq!(ids(&bench.take_sent(late, "execute_method")), [call_id(&at[2])]);
    assert_eq!(ids(&bench.take_sent(p, "execute_method")), [call_id(&at[0])]);
    assert!(bench.take_sent(elsewhere, "execute_method").is_empty());
}

#[test]
fn a_call_is_lost_if_its_provider_stops_serving_the_method() {
    let Sent { mut bench, engine, at } = taken(2);
    let p = provider(&mut bench, "p", 1);
    call(&mut bench, engine, &at[0], &["p"]);
    call(&mut bench, engine, &at[1], &["p"]);
    bench.pass(5_000);
    bench.register(p, "provider", "p", json!({"methods": ["m/other"], "max_concurrency": 1}));
    let lost = bench.take_sent(engine, "method_result");
    assert_eq!((ids(&lost), &lost[0]["error"]["data"]["lost"]), (vec![call_id(&at[1])], &json!(true)));
}

#[test]
fn a_reconnecting_provider_keeps_only_the_calls_that_it_lists() {
    let Sent { mut bench, engine, at } = taken(2);
    let p = provider(&mut bench, "p", 2);
    call(&mut bench, engine, &at[0], &["p"]);
    call(&mut bench, engine, &at[1], &["p"]);
    bench.leave(p, false);
    let p = bench.join("provider", "p", json!({"methods": ["m/x"], "max_concurrency": 2, "calls": [call_id(&at[0])]}));
    bench.pass(5_000);
    let lost = bench.take_sent(engine, "method_result");
    assert_eq!((ids(&lost), &lost[0]["error"]["data"]["lost"]), (vec![call_id(&at[1])], &json!(true)));
    answer(&mut bench, p, &at[0]);
    assert_eq!(bench.take_sent(engine, "method_result")[0]["result"], 1);
}

pub(crate) fn health(bench: &mut Bench, provider: SocketId, id: &str, state: &str) {
    let rest = json!({"methods": ["m/x"], "max_concurrency": 1, "health": {"state": state}});
    bench.register(provider, "provider", id, rest);
}

#[test]
fn calls_of_an_unhealthy_provider_move_to_others_or_return() {
    let Sent { mut bench, engine, at } = taken(5);
    // The hub no longer waits for any provider.
    bench.pass(5_000);
    let (p, p2) = (provider(&mut bench, "p", 1), provider(&mut bench, "p2", 1));
    call(&mut bench, engine, &at[0], &["p"]);
    call(&mut bench, engine, &at[1], &["p2"]);
    call(&mut bench, engine, &at[2], &["p"]);
    call(&mut bench, engine, &at[3], &["p", "p2"]);
    assert_eq!(ids(&bench.take_sent(p, "execute_method")), [call_id(&at[0])]);
    assert_eq!(ids(&bench.take_sent(p2, "execute_method")), [call_id(&at[1])]);
    health(&mut bench, p, "p", "unhealthy");
    answer(&mut bench, p, &at[0]);
    assert_eq!(ids(&bench.take_sent(engine, "method_result")), [call_id(&at[0])], "what it holds it may finish");
    // The engine did not know yet.
    call(&mut bench, engine, &at[4], &["p"]);
    assert!(bench.take_sent(p, "execute_method").is_empty(), "but nothing else");
    answer(&mut bench, p2, &at[1]);
    assert_eq!(ids(&bench.take_sent(p2, "execute_method")), [call_id(&at[2])], "in the order of arrival");
    bench.take_sent(engine, "method_result");
    health(&mut bench, p2, "p2", "unhealthy");
    let back = bench.take_sent(engine, "method_result")[0]["results"].as_array().expect("both together").clone();
    assert_eq!(ids(&back), [call_id(&at[3]), call_id(&at[4])]);
    assert!(back.iter().all(|end| end["error"]["data"]["lost"] == true), "{back:?}");
}

#[test]
fn calls_of_a_draining_provider_move_to_its_replacement() {
    let Sent { mut bench, engine, at } = taken(3);
    let old = provider(&mut bench, "old", 1);
    call(&mut bench, engine, &at[0], &["old"]);
    call(&mut bench, engine, &at[1], &["old"]);
    let new = provider(&mut bench, "new", 2);
    assert_eq!(ids(&bench.take_sent(new, "execute_method")), [call_id(&at[1])], "although the engine named another");
    bench.register(old, "provider", "old", json!({"methods": ["m/x"], "max_concurrency": 0}));
    call(&mut bench, engine, &at[2], &["old"]);
    assert_eq!(ids(&bench.take_sent(new, "execute_method")), [call_id(&at[2])]);
    answer(&mut bench, old, &at[0]);
    assert_eq!(ids(&bench.take_sent(engine, "method_result")), [call_id(&at[0])]);
}

#[test]
fn a_recovered_provider_receives_the_calls_that_wait_for_it() {
    let Sent { mut bench, engine, at } = taken(1);
    let p = provider(&mut bench, "p", 1);
    health(&mut bench, p, "p", "starting");
    call(&mut bench, engine, &at[0], &["p"]);
    assert!(bench.take_sent(p, "execute_method").is_empty() && bench.take_sent(engine, "method_result").is_empty());
    bench.send(p, "heartbeat_response", &json!({"health": {"state": "healthy"}}));
    assert_eq!(ids(&bench.take_sent(p, "execute_method")), [call_id(&at[0])]);
}

#[test]
fn an_answer_waits_for_an_engine_that_is_away() {
    let Sent { mut bench, engine, at } = taken(1);
    let p = provider(&mut bench, "p", 1);
    call(&mut bench, engine, &at[0], &["p"]);
    bench.leave(engine, false);
    answer(&mut bench, p, &at[0]);
    let back = json!({"slots": 1, "attempts": at, "calls": [call_id(&at[0])]});
    let engine = bench.join("engine", "e", back);
    assert_eq!(ids(&bench.take_sent(engine, "method_result")), [call_id(&at[0])]);
}

#[test]
fn an_answer_finds_its_engine_after_the_hub_was_away() {
    let Sent { mut bench, engine, at } = taken(1);
    let p = provider(&mut bench, "p", 1);
    call(&mut bench, engine, &at[0], &["p"]);
    assert_eq!(ids(&bench.take_sent(p, "execute_method")), [call_id(&at[0])]);
    bench.restart();
    let engine = bench.join("engine", "e", json!({"slots": 1, "attempts": at}));
    answer(&mut bench, engine, &at[0]);
    refused(&mut bench, engine, "CALL_NOT_YOURS");
    // The answer arrives before its provider has registered again.
    let nobody = bench.connect();
    answer(&mut bench, nobody, &at[0]);
    assert_eq!(ids(&bench.take_sent(engine, "method_result")), [call_id(&at[0])]);
    answer(&mut bench, nobody, &at[0]);
    refused(&mut bench, nobody, "CALL_ENDED");
    assert!(bench.take_sent(engine, "method_result").is_empty());
}

#[test]
fn a_provider_offers_its_answers_again_to_a_new_hub() {
    let Sent { mut bench, engine, at } = taken(2);
    let p = provider(&mut bench, "p", 2);
    call(&mut bench, engine, &at[0], &["p"]);
    call(&mut bench, engine, &at[1], &["p"]);
    answer(&mut bench, p, &at[0]);
    bench.leave(p, false);
    let both = [call_id(&at[0]), call_id(&at[1])];
    let again = json!({"methods": ["m/x"], "max_concurrency": 2, "calls": both});
    let p = bench.join("provider", "p", again.clone());
    let order = bench.order(p);
    assert_eq!(order[..3], ["welcome", "cancel_method", "component_registered"], "what is not wanted is said first");
    assert_eq!(ids(&bench.take_sent(p, "cancel_method")), [call_id(&at[0])]);
    answer(&mut bench, p, &at[1]);
    assert_eq!(ids(&bench.take_sent(engine, "method_result")), both);
    // This hub has received neither.
    bench.restart();
    let engine = bench.join("engine", "e", json!({"slots": 2, "attempts": at, "calls": both}));
    let p = bench.join("provider", "p", again);
    assert!(bench.take_sent(p, "cancel_method").is_empty());
    answer(&mut bench, p, &at[0]);
    assert_eq!(ids(&bench.take_sent(engine, "method_result")), [call_id(&at[0])]);
}

#[test]
fn a_hub_that_has_just_started_waits_for_the_providers_that_are_named() {
    for comes_back in [true, false] {
        let Sent { mut bench, engine: _, at } = taken(1);
        bench.restart();
        let engine = bench.join("engine", "e", json!({"slots": 1, "attempts": at}));
        call(&mut bench, engine, &at[0], &["p"]);
        bench.pass(4_999);
        assert!(bench.take_sent(engine, "method_result").is_empty(), "it may come back");
        if comes_back {
            let p = provider(&mut bench, "p", 1);
            assert_eq!(ids(&bench.take_sent(p, "execute_method")), [call_id(&at[0])]);
        } else {
            bench.pass(1);
            assert_eq!(bench.take_sent(engine, "method_result")[0]["error"]["data"]["lost"], true);
        }
    }
}

#[test]
fn a_hub_that_stops_passes_on_calls_and_answers_but_no_tasks() {
    let Sent { mut bench, engine, at } = taken(2);
    let p = provider(&mut bench, "p", 2);
    bench.input(Input::Stopping);
    call(&mut bench, engine, &at[0], &["p"]);
    assert_eq!(ids(&bench.take_sent(p, "execute_method")), [call_id(&at[0])]);
    answer(&mut bench, p, &at[0]);
    assert_eq!(ids(&bench.take_sent(engine, "method_result")), [call_id(&at[0])]);
    bench.leave(engine, false);
    let engine = bench.join("engine", "e", json!({"slots": 2, "attempts": [at[0]]}));
    assert!(bench.take_sent(engine, "execute_task").is_empty(), "the next hub hands out the other one");
}

#[test]
fn a_call_without_a_possible_provider_is_answered_at_once() {
    let Sent { mut bench, engine, at } = taken(1);
    bench.pass(5_000);
    call(&mut bench, engine, &at[0], &["gone"]);
    assert_eq!(bench.take_sent(engine, "method_result")[0]["error"]["data"]["lost"], true);
}
