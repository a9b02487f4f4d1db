//! Calls that only providers of a name may serve.

use serde_json::{Value, json};

use crate::bench::Bench;
use crate::calls::{answer, call, call_id, ids, taken, told};
use crate::leases::Sent;

/// A call that only providers of a name may serve; the registrations name themselves.
fn call_named(bench: &mut Bench, engine: u64, at: &Value, name: &str, providers: &[&str]) {
    let meta = json!({
        "run_id": at["run_id"], "task_id": at["task_id"], "attempt": at["attempt"], "correlation_id": "",
        "traceparent": "", "timeout_ms": 9_000,
    });
    let call = json!({
        "jsonrpc": "2.0", "id": call_id(at), "method": "m/x", "params": {}, "meta": meta, "providers": providers,
        "provider": name,
    });
    bench.say(engine, "execute_method", &call);
}

#[test]
fn a_call_that_names_a_provider_is_given_to_nobody_else_and_waits_for_it() {
    let Sent { mut bench, engine, at } = taken(4);
    let join = |bench: &mut Bench, id: &str, name: &str| {
        bench.join("provider", id, json!({"methods": ["m/x"], "max_concurrency": 1, "name": name}))
    };
    let (other, one) = (join(&mut bench, "p1", "other"), join(&mut bench, "p2", "one"));
    // Its engine is out of date: the name goes before what it lists.
    call_named(&mut bench, engine, &at[0], "one", &["p1"]);
    let given = bench.heard(one, "execute_method");
    assert_eq!(ids(&given), [call_id(&at[0])]);
    assert_eq!(given[0].get("provider"), None, "that is the hub's matter");
    call_named(&mut bench, engine, &at[1], "one", &["p2"]);
    call(&mut bench, engine, &at[2], &["p1", "p2"]);
    assert_eq!(ids(&bench.heard(other, "execute_method")), [call_id(&at[2])], "any may serve it, and this one is free");
    assert_eq!(told(&mut bench, engine, "method_waiting"), [call_id(&at[1])]);
    answer(&mut bench, other, &at[2]);
    assert!(bench.heard(other, "execute_method").is_empty(), "it waits for another");
    answer(&mut bench, one, &at[0]);
    assert_eq!(ids(&bench.heard(one, "execute_method")), [call_id(&at[1])]);
    // With the last of the name goes what waits for it.
    call_named(&mut bench, engine, &at[3], "one", &["p2"]);
    bench.heard(engine, "method_result");
    bench.leave(one, true);
    assert_eq!(ids(&bench.heard(engine, "method_result")), [call_id(&at[1])]);
    // Another of its name may come back to a hub that is new.
    bench.pass(60_000);
    let lost = bench.heard(engine, "method_result");
    assert_eq!((ids(&lost), &lost[0]["error"]["data"]["lost"]), (vec![call_id(&at[3])], &json!(true)));
    assert!(bench.heard(other, "execute_method").is_empty());
}
