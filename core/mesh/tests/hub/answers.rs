//! Answers to calls: which component may send one, and how all others are refused.

use gleitzeit_mesh::hub::SocketId;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::calls::*;
use crate::leases::Sent;

/// Checks that the engine has received exactly this answer.
#[track_caller]
fn check_continues(bench: &mut Bench, engine: SocketId, provider: SocketId, at: &Value) {
    assert!(bench.take_sent(engine, "method_result").is_empty(), "the engine hears nothing of what was refused");
    assert!(bench.take_sent(provider, "cancel_method").is_empty(), "the call goes on");
    answer(bench, provider, at);
    assert!(bench.take_sent(provider, "mesh_error").is_empty());
    assert_eq!(ids(&bench.take_sent(engine, "method_result")), [call_id(at)]);
}

#[test]
fn a_component_cannot_answer_for_another() {
    let Sent { mut bench, engine, at } = taken(1);
    let (p, p2) = (provider(&mut bench, "p", 1), provider(&mut bench, "p2", 1));
    let (nobody, other_engine) = (bench.connect(), bench.join("engine", "e2", json!({"slots": 1})));
    call(&mut bench, engine, &at[0], &["p", "p2"]);
    for impostor in [p2, nobody, engine, other_engine] {
        answer(&mut bench, impostor, &at[0]);
        refused(&mut bench, impostor, "CALL_NOT_YOURS");
    }
    check_continues(&mut bench, engine, p, &at[0]);
}

#[test]
fn an_answer_to_an_unassigned_call_is_refused() {
    let Sent { mut bench, engine, at } = taken(2);
    let p = provider(&mut bench, "p", 1);
    let early = bench.join("provider", "p2", json!({"methods": ["m/other"]}));
    answer(&mut bench, early, &at[1]);
    refused(&mut bench, early, "CALL_NOT_FOUND");
    call(&mut bench, engine, &at[0], &["p"]);
    call(&mut bench, engine, &at[1], &["p"]);
    // It waits at the hub for `p` to have room.
    for impostor in [p, early] {
        answer(&mut bench, impostor, &at[1]);
        refused(&mut bench, impostor, "CALL_NOT_YOURS");
    }
    check_continues(&mut bench, engine, p, &at[0]);
    check_continues(&mut bench, engine, p, &at[1]);
}

#[test]
fn an_answer_to_an_unknown_call_is_refused() {
    let Sent { mut bench, engine, at } = taken(1);
    let p = provider(&mut bench, "p", 1);
    call(&mut bench, engine, &at[0], &["p"]);
    for (id, name) in [
        ("", "CALL_NOT_FOUND"),
        ("1", "CALL_NOT_FOUND"),
        ("a/b/c/d", "CALL_NOT_FOUND"),
        // An attempt that is not open.
        ("01930a5c-7e31-7c3d-9b4f-2a6d5e8f9c01/1/t0/e", "CALL_ENDED"),
        (&call_id(&at[0]).replace("/e", "/e2"), "CALL_ENDED"),
    ] {
        bench.send(p, "method_result", &json!({"jsonrpc": "2.0", "id": id, "result": 1}));
        refused(&mut bench, p, name);
    }
    check_continues(&mut bench, engine, p, &at[0]);
}

#[test]
fn no_answer_counts_twice() {
    let Sent { mut bench, engine, at } = taken(2);
    let p = provider(&mut bench, "p", 2);
    call(&mut bench, engine, &at[0], &["p"]);
    call(&mut bench, engine, &at[1], &["p"]);
    answer(&mut bench, p, &at[0]);
    assert_eq!(ids(&bench.take_sent(engine, "method_result")), [call_id(&at[0])]);
    // The attempt stays open until the engine has reported its end, but its call has ended.
    answer(&mut bench, p, &at[0]);
    refused(&mut bench, p, "CALL_ENDED");
    let complete = json!({"ref": at[0], "result": 1, "ran_ms": 1});
    assert_eq!(crate::leases::propose(&mut bench, engine, None, "complete_attempt", &complete), "ok");
    answer(&mut bench, p, &at[0]);
    refused(&mut bench, p, "CALL_ENDED");
    // Twice in one event.
    let end = json!({"jsonrpc": "2.0", "id": call_id(&at[1]), "result": 1});
    bench.send(p, "method_result", &json!({"results": [end, end]}));
    refused(&mut bench, p, "CALL_ENDED");
    assert_eq!(ids(&bench.take_sent(engine, "method_result")), [call_id(&at[1])]);
}

#[test]
fn a_late_answer_is_refused() {
    let Sent { mut bench, engine, at } = taken(3);
    let p = provider(&mut bench, "p", 3);
    at.iter().for_each(|at| call(&mut bench, engine, at, &["p"]));
    // Cancelled by its engine, timed out, and lost with its provider.
    bench.send(engine, "cancel_method", &json!({"id": call_id(&at[0])}));
    answer(&mut bench, p, &at[0]);
    refused(&mut bench, p, "CALL_ENDED");
    let error = json!({"code": -29003, "message": "too slow"});
    let fail = json!({"ref": at[1], "error": error, "retryable": true, "ran_ms": 1});
    assert_eq!(crate::leases::propose(&mut bench, engine, None, "fail_attempt", &fail), "ok");
    answer(&mut bench, p, &at[1]);
    refused(&mut bench, p, "CALL_ENDED");
    bench.leave(p, false);
    bench.pass(5_000);
    assert_eq!(bench.take_sent(engine, "method_result")[0]["error"]["data"]["lost"], true);
    let p = bench.join("provider", "p", json!({"methods": ["m/x"], "calls": [call_id(&at[2])]}));
    assert_eq!(bench.take_sent(p, "cancel_method")[0]["id"], call_id(&at[2]), "it need not go on");
    answer(&mut bench, p, &at[2]);
    refused(&mut bench, p, "CALL_ENDED");
    assert!(bench.take_sent(engine, "method_result").is_empty());
}

#[test]
fn a_provider_may_answer_before_it_has_registered_again() {
    let Sent { mut bench, engine, at } = taken(1);
    let (p, p2) = (provider(&mut bench, "p", 1), provider(&mut bench, "p2", 1));
    call(&mut bench, engine, &at[0], &["p"]);
    bench.leave(p, false);
    answer(&mut bench, p2, &at[0]);
    refused(&mut bench, p2, "CALL_NOT_YOURS");
    let back = bench.connect();
    check_continues(&mut bench, engine, back, &at[0]);
}

#[test]
fn the_end_of_an_attempt_cancels_its_call() {
    let Sent { mut bench, engine, at } = taken(1);
    let p = provider(&mut bench, "p", 1);
    call(&mut bench, engine, &at[0], &["p"]);
    let stop = json!({"ref": at[0], "reason": "drain"});
    assert_eq!(crate::leases::propose(&mut bench, engine, None, "stop_attempt", &stop), "ok");
    assert_eq!(bench.take_sent(p, "cancel_method")[0]["id"], call_id(&at[0]));
}

#[test]
fn an_error_of_any_size_reaches_the_engine_and_is_cut() {
    let Sent { mut bench, engine, at } = taken(1);
    let p = provider(&mut bench, "p", 1);
    call(&mut bench, engine, &at[0], &["p"]);
    let data = json!({"retryable": false, "dump": "x".repeat(3 << 20)});
    let error = json!({"code": 17, "message": "m".repeat(1 << 20), "data": data});
    bench.send(p, "method_result", &json!({"jsonrpc": "2.0", "id": call_id(&at[0]), "error": error}));
    let heard = bench.take_sent(engine, "method_result");
    let [answer] = heard.as_slice() else { panic!("one answer, heard {}", heard.len()) };
    assert!(answer.to_string().len() < 10_000, "{} bytes", answer.to_string().len());
    assert_eq!((&answer["error"]["code"], &answer["error"]["data"]["retryable"]), (&json!(17), &json!(false)));
}

#[test]
fn a_protocol_larger_than_a_payload_is_refused() {
    let mut bench = Bench::new();
    let socket = bench.connect();
    let methods = json!({"big/x": {"description": "x".repeat(2 << 20)}});
    let protocols = json!([{"name": "big", "version": "v1", "methods": methods}]);
    bench.register(socket, "provider", "p", json!({"protocols": protocols}));
    let rejected = bench.take_sent(socket, "registration_rejected");
    assert!(rejected[0].to_string().contains("`big/v1` has"), "{rejected:?}");
}
