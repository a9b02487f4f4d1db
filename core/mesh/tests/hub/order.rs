//! The order of what the hub requests in response to one input. Roles and the writer may rely on it, and a seed of the
//! simulation leads elsewhere if it changes.
//!
//! Each line is the answer to one input; `3 < events` is an event to socket 3.

use gleitzeit_fixtures::run_id;
use gleitzeit_mesh::hub::SocketId;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::calls::{answer, call, call_id, provider, taken};
use crate::leases::{SECRET, Sent, propose, sent};

/// Checks what followed from the inputs since the last look.
#[track_caller]
fn check(bench: &mut Bench, expected: &[&str]) {
    let outputs: Vec<String> = bench.take_outputs().iter().map(|of_input| of_input.join(", ")).collect();
    assert_eq!(outputs, expected, "{outputs:#?}");
}

#[test]
fn registration_of_an_owner() {
    let mut bench = Bench::new();
    bench.join("engine", "e", json!({"slots": 1, "queues": ["gpu"]}));
    provider(&mut bench, "p", 1);
    bench.take_outputs();
    bench.join("queue", "q", json!({}));
    check(
        &mut bench,
        &[
            "3 < welcome",
            "3 < component_registered, log: component registered, 3 < component_status, 3 < component_status, \
             3 < heartbeat, request Grant, request Grant",
            "query slice",
            "3 < ownership, 3 < state",
            "query slice",
            "3 < ownership, 3 < state",
        ],
    );
    bench.join("queue", "q2", json!({}));
    check(
        &mut bench,
        &[
            "4 < welcome",
            "4 < component_registered, log: component registered, 4 < component_status, 4 < component_status, \
             4 < heartbeat, request Grant",
            "3 < ownership, query slice",
            "4 < ownership, 4 < state",
        ],
    );
}

#[test]
fn return_of_an_owner() {
    let mut bench = Bench::new();
    bench.join("engine", "e", json!({"slots": 1, "queues": ["gpu"]}));
    let socket = bench.join("queue", "q", json!({}));
    let position = bench.head().0;
    bench.leave(socket, false);
    bench.take_outputs();
    let owned = json!({"owned": [
        {"slice": {"queue": "default"}, "epoch": 1, "position": position},
        {"slice": {"queue": "other"}, "epoch": 7, "position": position},
    ]});
    bench.join("queue", "q", owned);
    check(
        &mut bench,
        &[
            "3 < welcome",
            "3 < component_registered, log: component registered, 3 < component_status, 3 < ownership, \
             3 < ownership, query slice, 3 < heartbeat",
            "3 < ownership, 3 < state",
        ],
    );
}

#[test]
fn a_committed_batch() {
    let Sent { mut bench, engine, at } = sent(1);
    provider(&mut bench, "p", 1);
    let watcher = bench.connect();
    bench.send(watcher, "watch", &json!({"from_position": 0}));
    bench.send(engine, "task_taken", &json!({"attempts": at}));
    call(&mut bench, engine, &at[0], &["p"]);
    bench.take_outputs();
    let complete = json!({"ref": at[0], "result": 1, "ran_ms": 1});
    assert_eq!(propose(&mut bench, engine, None, "complete_attempt", &complete), "ok");
    check(
        &mut bench,
        &["request Component", "4 < cancel_method, 1 < events, 2 < events, 3 < append_result, 5 < events"],
    );
}

#[test]
fn a_dispatch_is_sent_before_its_entry_and_its_answer() {
    let Sent { mut bench, engine, at } = sent(1);
    bench.leave(engine, false);
    let engine = bench.join("engine", "e", json!({"slots": 2, "secret": SECRET}));
    bench.send(engine, "task_taken", &json!({"attempts": at}));
    let stop = json!({"ref": at[0], "reason": "drain"});
    assert_eq!(propose(&mut bench, engine, None, "stop_attempt", &stop), "ok");
    bench.take_outputs();
    let (queue, fence) = (SocketId(2), json!({"slice": {"queue": "default"}, "epoch": 1}));
    let requeue = json!({"run_id": run_id(1), "task_id": "t0", "attempt": 1});
    assert_eq!(propose(&mut bench, queue, Some(fence.clone()), "requeue_task", &requeue), "ok");
    let dispatch = json!({"run_id": run_id(1), "task_id": "t0", "attempt": 2, "engine": "e"});
    assert_eq!(propose(&mut bench, queue, Some(fence), "dispatch_task", &dispatch), "ok");
    check(
        &mut bench,
        &[
            "request Component",
            "2 < events, 2 < append_result",
            "request Component",
            "4 < execute_task, 2 < events, 2 < append_result",
        ],
    );
}

#[test]
fn an_append() {
    let Sent { mut bench, engine, at } = taken(2);
    bench.take_outputs();
    let complete = |id: &str, number: usize, result: Value| {
        let data = json!({"ref": at[number], "result": result, "ran_ms": 1});
        json!({"proposal_id": id, "command": {"type": "complete_attempt", "data": data}})
    };
    let proposals = [complete("1", 0, json!("x".repeat(2 << 20))), complete("2", 1, json!(1))];
    bench.send(engine, "append", &json!({"proposals": proposals}));
    check(&mut bench, &["request Component, 3 < append_result", "1 < events, 2 < events, 3 < append_result"]);
    let proposals: Vec<_> = (0..1_001).map(|number| complete(&number.to_string(), 0, json!(1))).collect();
    bench.send(engine, "append", &json!({"proposals": proposals}));
    check(
        &mut bench,
        &["3 < mesh_error, 3 closed, log: component is silent, 2 < component_status, \
             engine e is gone"],
    );
}

#[test]
fn a_disconnect_of_an_engine_and_its_loss() {
    let Sent { mut bench, engine, at } = taken(2);
    provider(&mut bench, "p", 1);
    at.iter().for_each(|at| call(&mut bench, engine, at, &["p"]));
    bench.take_outputs();
    bench.leave(engine, false);
    check(&mut bench, &["log: component is silent, 2 < component_status, engine e is gone"]);
    bench.send(SocketId(1), "heartbeat_response", &json!({}));
    bench.take_outputs();
    for _ in 0..3 {
        bench.pass(4_999);
        bench.take_outputs();
    }
    bench.pass(3);
    check(
        &mut bench,
        &[
            "log: component is lost, 2 < component_status, engine e is gone, request HubStop, request HubStop, \
             2 < heartbeat, 4 < heartbeat",
            "4 < cancel_method, 4 < execute_method, 2 < events",
            "4 < cancel_method, 2 < events",
        ],
    );
}

#[test]
fn a_disconnect_of_a_provider_that_leaves() {
    let Sent { mut bench, engine, at } = taken(3);
    let p = provider(&mut bench, "p", 2);
    at.iter().for_each(|at| call(&mut bench, engine, at, &["p"]));
    bench.take_outputs();
    bench.leave(p, true);
    check(&mut bench, &["log: component left, 3 < component_status, 2 < component_status, 3 < method_result"]);
}

#[test]
fn a_provider_that_comes_back_and_one_that_takes_over_its_id() {
    let Sent { mut bench, engine, at } = taken(3);
    let p = provider(&mut bench, "p", 2);
    at.iter().for_each(|at| call(&mut bench, engine, at, &["p"]));
    bench.take_outputs();
    let listed = json!({"methods": ["m/x"], "max_concurrency": 2, "calls": ["1/1/gone/e", call_id(&at[1])]});
    let back = bench.join("provider", "p", listed.clone());
    check(
        &mut bench,
        &[
            "5 < welcome",
            "4 closed for good, 3 < component_status, 2 < component_status, log: component registered, \
             5 < cancel_method, 5 < component_registered, 5 < heartbeat, 5 < execute_method, 3 < method_started",
        ],
    );
    assert!(bench.closed.contains(&p));
    answer(&mut bench, back, &at[1]);
    check(&mut bench, &["3 < method_result"]);
    bench.pass(5_000);
    check(
        &mut bench,
        &["1 < heartbeat, 2 < heartbeat, 3 < heartbeat, 5 < heartbeat, log: a call was lost, 3 < method_result"],
    );
}

#[test]
fn an_engine_that_comes_back() {
    let Sent { mut bench, engine, at } = taken(3);
    let p = provider(&mut bench, "p", 1);
    at.iter().for_each(|at| call(&mut bench, engine, at, &["p"]));
    bench.leave(engine, false);
    answer(&mut bench, p, &at[0]);
    bench.take_outputs();
    let held = json!({"slots": 3, "secret": SECRET, "attempts": [at[0], at[2]], "calls": [call_id(&at[2])]});
    bench.join("engine", "e", held);
    check(
        &mut bench,
        &[
            "5 < welcome",
            "5 < component_registered, 2 < component_status, log: component registered, 5 < protocols, \
             5 < component_status, engine e has 3 slots, query engine e, 4 < cancel_method, 5 < heartbeat, \
             4 < execute_method, 5 < method_result",
            "5 < execute_task",
        ],
    );
}
