//! Calls that only providers of a given name may serve.

use serde_json::json;

use crate::bench::Bench;
use crate::calls::{answer, call, call_id, call_ids, ids};
use crate::leases::{SECRET, Sent, sent_to};

#[test]
fn a_call_for_a_named_provider_waits_for_that_provider() {
    let one = Some("one");
    let Sent { mut bench, engine, at } = sent_to(Bench::new(), "e", &[one, one, None, one]);
    bench.send(engine, "task_taken", &json!({"attempts": at}));
    let join = |bench: &mut Bench, id: &str, name: &str| {
        bench.join("provider", id, json!({"methods": ["m/x"], "max_concurrency": 1, "name": name}))
    };
    let (other, one) = (join(&mut bench, "p1", "other"), join(&mut bench, "p2", "one"));
    // An engine that does not support names lists another provider: the journal takes precedence.
    call(&mut bench, engine, &at[0], &["p1"]);
    assert_eq!(ids(&bench.take_sent(one, "execute_method")), [call_id(&at[0])]);
    call(&mut bench, engine, &at[1], &["p2"]);
    call(&mut bench, engine, &at[2], &["p1", "p2"]);
    assert_eq!(
        ids(&bench.take_sent(other, "execute_method")),
        [call_id(&at[2])],
        "any may serve it, and this one is free"
    );
    assert_eq!(call_ids(&mut bench, engine, "method_waiting"), [call_id(&at[1])]);
    answer(&mut bench, other, &at[2]);
    assert!(bench.take_sent(other, "execute_method").is_empty(), "it waits for another");
    answer(&mut bench, one, &at[0]);
    assert_eq!(ids(&bench.take_sent(one, "execute_method")), [call_id(&at[1])]);
    // When the last provider of the name leaves, its waiting calls are returned.
    call(&mut bench, engine, &at[3], &["p2"]);
    bench.take_sent(engine, "method_result");
    bench.leave(one, true);
    assert_eq!(ids(&bench.take_sent(engine, "method_result")), [call_id(&at[1])]);
    // Another provider of the name may reconnect to a new hub.
    bench.pass(60_000);
    let lost = bench.take_sent(engine, "method_result");
    assert_eq!((ids(&lost), &lost[0]["error"]["data"]["lost"]), (vec![call_id(&at[3])], &json!(true)));
    assert!(bench.take_sent(other, "execute_method").is_empty());
}

#[test]
fn a_restarted_hub_still_knows_the_named_providers() {
    let Sent { mut bench, at, .. } = sent_to(Bench::new(), "e", &[Some("one")]);
    bench.restart();
    let back = json!({"slots": 1, "secret": SECRET, "attempts": [at[0]]});
    let engine = bench.join("engine", "e", back);
    let other = bench.join("provider", "p1", json!({"methods": ["m/x"], "name": "other"}));
    call(&mut bench, engine, &at[0], &["p1"]);
    assert!(bench.take_sent(other, "execute_method").is_empty());
    let one = bench.join("provider", "p2", json!({"methods": ["m/x"], "name": "one"}));
    assert_eq!(ids(&bench.take_sent(one, "execute_method")), [call_id(&at[0])]);
}
