//! Method calls between engines and providers.

use serde_json::{Value, json};

use crate::bench::Bench;
use crate::leases::{Sent, sent};

/// Attempts that the engine has taken.
fn taken(count: usize) -> Sent {
    let mut sent = sent(count);
    sent.bench.say(sent.engine, "task_taken", &json!({"attempts": sent.at}));
    sent
}

fn call_id(at: &Value) -> String {
    let text = |field: &str| at[field].as_str().expect("text").to_owned();
    format!("{}/{}/{}/e", text("run_id"), at["attempt"], text("task_id"))
}

fn call(bench: &mut Bench, engine: u64, at: &Value, providers: &[&str]) {
    let meta = json!({
        "run_id": at["run_id"], "task_id": at["task_id"], "attempt": at["attempt"], "correlation_id": "",
        "traceparent": "", "timeout_ms": 9_000,
    });
    let call = json!({
        "jsonrpc": "2.0", "id": call_id(at), "method": "m/x", "params": {}, "meta": meta, "providers": providers,
    });
    bench.say(engine, "execute_method", &call);
}

fn provider(bench: &mut Bench, id: &str, max_concurrency: u32) -> u64 {
    bench.join("provider", id, json!({"methods": ["m/x"], "max_concurrency": max_concurrency}))
}

fn answer(bench: &mut Bench, provider: u64, at: &Value) {
    bench.say(provider, "method_result", &json!({"jsonrpc": "2.0", "id": call_id(at), "result": 1}));
}

fn ids(calls: &[Value]) -> Vec<String> {
    calls.iter().map(|it| it["id"].as_str().expect("text").to_owned()).collect()
}

#[test]
fn a_call_goes_to_the_provider_with_the_fewest_and_waits_while_none_has_room() {
    let Sent { mut bench, engine, at } = taken(4);
    let (p, p2) = (provider(&mut bench, "p", 2), provider(&mut bench, "p2", 1));
    for at in &at {
        call(&mut bench, engine, at, &["p", "p2"]);
    }
    let (of_p, of_p2) = (bench.heard(p, "execute_method"), bench.heard(p2, "execute_method"));
    assert_eq!(ids(&of_p), [call_id(&at[0]), call_id(&at[2])]);
    assert_eq!(ids(&of_p2), [call_id(&at[1])]);
    assert_eq!(of_p2[0].get("providers"), None, "providers need not know of each other");
    answer(&mut bench, p2, &at[1]);
    assert_eq!(ids(&bench.heard(p2, "execute_method")), [call_id(&at[3])], "it has room again");
    assert_eq!(ids(&bench.heard(engine, "method_result")), [call_id(&at[1])]);
}

#[test]
fn the_calls_of_a_lost_provider_are_answered_as_lost() {
    let Sent { mut bench, engine, at } = taken(2);
    let p = provider(&mut bench, "p", 1);
    call(&mut bench, engine, &at[0], &["p"]);
    call(&mut bench, engine, &at[1], &["p"]);
    bench.leave(p, false);
    bench.pass(4_999);
    assert!(bench.heard(engine, "method_result").is_empty(), "it may come back");
    bench.pass(1);
    let answers = bench.heard(engine, "method_result");
    let results = answers[0]["results"].as_array().expect("both at once");
    for result in results {
        assert_eq!(result["error"]["name"], "PROVIDER_NOT_AVAILABLE");
        assert_eq!(result["error"]["data"], json!({"lost": true}));
    }
    assert_eq!(results.len(), 2, "the one it held and the one that waited for it");
}

#[test]
fn a_provider_that_blinks_keeps_what_it_lists_and_loses_what_it_does_not() {
    let Sent { mut bench, engine, at } = taken(2);
    let p = provider(&mut bench, "p", 2);
    call(&mut bench, engine, &at[0], &["p"]);
    call(&mut bench, engine, &at[1], &["p"]);
    bench.leave(p, false);
    let p = bench.join("provider", "p", json!({"methods": ["m/x"], "max_concurrency": 2, "calls": [call_id(&at[0])]}));
    bench.pass(5_000);
    let lost = bench.heard(engine, "method_result");
    assert_eq!((ids(&lost), &lost[0]["error"]["data"]["lost"]), (vec![call_id(&at[1])], &json!(true)));
    answer(&mut bench, p, &at[0]);
    assert_eq!(bench.heard(engine, "method_result")[0]["result"], 1);
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
    assert_eq!(ids(&bench.heard(engine, "method_result")), [call_id(&at[0])]);
}

#[test]
fn an_answer_finds_its_engine_after_the_hub_was_away() {
    let Sent { mut bench, engine, at } = taken(1);
    // The hub knows nothing of the call, as after a restart; and the answer comes before its provider is known.
    let nobody = bench.connect();
    answer(&mut bench, nobody, &at[0]);
    assert_eq!(ids(&bench.heard(engine, "method_result")), [call_id(&at[0])]);
}

#[test]
fn a_call_that_nobody_can_serve_is_answered_at_once() {
    let Sent { mut bench, engine, at } = taken(1);
    call(&mut bench, engine, &at[0], &["gone"]);
    assert_eq!(bench.heard(engine, "method_result")[0]["error"]["data"]["lost"], true);
}

#[test]
fn nobody_answers_for_another_and_no_answer_counts_twice() {
    let Sent { mut bench, engine, at } = taken(1);
    let (p, p2) = (provider(&mut bench, "p", 1), provider(&mut bench, "p2", 1));
    call(&mut bench, engine, &at[0], &["p"]);
    answer(&mut bench, p2, &at[0]);
    assert!(bench.heard(p2, "mesh_error")[0]["message"].as_str().expect("text").contains("not yours"));
    assert!(bench.heard(engine, "method_result").is_empty());
    answer(&mut bench, p, &at[0]);
    assert_eq!(bench.heard(engine, "method_result").len(), 1);
}

#[test]
fn the_end_of_an_attempt_cancels_its_call() {
    let Sent { mut bench, engine, at } = taken(1);
    let p = provider(&mut bench, "p", 1);
    call(&mut bench, engine, &at[0], &["p"]);
    let stop = json!({"ref": at[0], "reason": "drain"});
    assert_eq!(crate::leases::propose(&mut bench, engine, None, "stop_attempt", &stop), "ok");
    assert_eq!(bench.heard(p, "cancel_method")[0]["id"], call_id(&at[0]));
}
