//! A journal that is behind what components have seen: a backup was restored, or the store was removed, while they
//! stayed up.

use gleitzeit_mesh::hub::SocketId;
use gleitzeit_run::{Event, Position};
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::leases::{Sent, propose, sent_on};

/// A hub in its first term, with an attempt that the engine has taken and for which it has called the provider `p`.
struct Called {
    sent: Sent,
    /// The last entry before the attempt was dispatched.
    before: Position,
    /// The call's id, as the provider knows it.
    call: String,
}

fn called() -> Called {
    let mut bench = Bench::new();
    bench.begin("a", Position(0));
    let mut sent = sent_on(bench, 1);
    sent.bench.send(sent.engine, "task_taken", &json!({"attempts": sent.at}));
    let provider = join_provider(&mut sent.bench, json!([]));
    call(&mut sent);
    let told = sent.bench.take_sent(provider, "execute_method").remove(0);
    let dispatch = sent.bench.journal.iter().find(|entry| matches!(entry.event, Event::TaskDispatched(_)));
    let before = Position(dispatch.expect("it is dispatched").position.0 - 1);
    Called { before, call: told["id"].as_str().expect("an id").to_owned(), sent }
}

fn call(sent: &mut Sent) {
    let at = &sent.at[0];
    let meta = json!({
        "run_id": at["run_id"], "task_id": at["task_id"], "attempt": at["attempt"], "correlation_id": "",
        "traceparent": "", "timeout_ms": 9_000,
    });
    let text = |field: &str| at[field].as_str().expect("text").to_owned();
    let id = format!("{}/{}/{}/e", text("run_id"), at["attempt"], text("task_id"));
    let call = json!({"id": id, "method": "m/x", "params": {}, "meta": meta, "providers": ["p"]});
    sent.bench.send(sent.engine, "execute_method", &call);
}

fn join_provider(bench: &mut Bench, calls: Value) -> SocketId {
    bench.join("provider", "p", json!({"methods": ["m/x"], "max_concurrency": 4, "calls": calls}))
}

fn registered(bench: &mut Bench, socket: SocketId) -> Value {
    bench.take_sent(socket, "component_registered").pop().expect("it is registered")
}

fn codes(bench: &mut Bench, socket: SocketId) -> Vec<Value> {
    bench.take_sent(socket, "mesh_error").into_iter().map(|it| it["name"].clone()).collect()
}

#[test]
fn an_owner_ahead_of_a_restored_journal_receives_its_state_again() {
    let mut bench = Bench::new();
    bench.begin("a", Position(0));
    let socket = bench.join("queue", "q", json!({}));
    assert_eq!(registered(&mut bench, socket)["term"], "a");
    let seen = bench.head().0;
    // The journal continues, the owner sees that, and an earlier backup is restored.
    bench.begin("b", Position(seen));
    let owned = |position: u64| json!([{"slice": {"queue": "default"}, "epoch": 1, "position": position}]);
    for (term, position, starts_anew) in [("a", seen, false), ("a", seen + 1, true), ("other", 0, true)] {
        let rest = json!({"seen": {"term": term, "position": position}, "owned": owned(position)});
        let socket = bench.join("queue", "q", rest);
        let answer = registered(&mut bench, socket);
        assert_eq!(answer.get("starts_anew").is_some(), starts_anew, "{term} {position}");
        assert_eq!(answer["term"], "b");
        let ownership = bench.take_sent(socket, "ownership").remove(0);
        assert_eq!(ownership["state_follows"], starts_anew, "{term} {position}");
        assert_eq!(bench.take_sent(socket, "state").len(), usize::from(starts_anew));
        bench.leave(socket, false);
    }
}

#[test]
fn an_engine_of_a_lost_history_is_reset_to_the_journal() {
    let Called { sent: Sent { mut bench, at, .. }, before, .. } = called();
    let seen = json!({"term": "a", "position": bench.head().0});
    // In the backup the attempt is not dispatched yet, so nobody asks the engine to stop it.
    bench.begin("b", before);
    let rest = json!({"slots": 1, "attempts": at, "calls": [], "seen": seen});
    let engine = bench.join("engine", "e", rest.clone());
    assert_eq!(registered(&mut bench, engine)["starts_anew"], true);
    assert_eq!(bench.take_sent(engine, "cancel_task"), [0; 0]);
    let queue = bench.join("queue", "q", json!({}));
    let fence = json!({"slice": {"queue": "default"}, "epoch": 1});
    let dispatch = json!({"run_id": at[0]["run_id"], "task_id": at[0]["task_id"], "attempt": 1, "engine": "e"});
    assert_eq!(propose(&mut bench, queue, Some(fence), "dispatch_task", &dispatch), "ok");
    let given = bench.take_sent(engine, "execute_task").remove(0);
    assert_eq!(
        (&given["tasks"][0]["ref"], &given["tasks"][0]["dispatched"]),
        (&at[0], &json!(before.0 + 1)),
        "at the place of the lost one"
    );
    // If the history is shared, the same registration keeps the attempt.
    bench.begin("c", bench.head());
    let seen = json!({"term": "b", "position": bench.head().0});
    let engine = bench.join("engine", "e", json!({"slots": 1, "attempts": at, "calls": [], "seen": seen}));
    assert_eq!(registered(&mut bench, engine).get("starts_anew"), None);
    assert_eq!(bench.take_sent(engine, "execute_task"), [0; 0]);
}

#[test]
fn an_answer_from_a_lost_history_is_refused_and_the_current_call_is_answered() {
    let Called { sent: Sent { mut bench, at, .. }, before, call: lost } = called();
    bench.begin("b", before);
    let engine = bench.join("engine", "e", json!({"slots": 1}));
    let queue = bench.join("queue", "q", json!({}));
    let fence = json!({"slice": {"queue": "default"}, "epoch": 1});
    let dispatch = json!({"run_id": at[0]["run_id"], "task_id": at[0]["task_id"], "attempt": 1, "engine": "e"});
    assert_eq!(propose(&mut bench, queue, Some(fence), "dispatch_task", &dispatch), "ok");
    bench.send(engine, "task_taken", &json!({"attempts": at}));
    // The same attempt by name: the calls of the lost one that the provider lists are cancelled.
    let provider = join_provider(&mut bench, json!([lost]));
    assert_eq!(bench.take_sent(provider, "cancel_method"), [json!({"id": lost})]);
    let mut sent = Sent { bench, engine, at };
    call(&mut sent);
    let bench = &mut sent.bench;
    let present = bench.take_sent(provider, "execute_method").remove(0)["id"].clone();
    assert_ne!(present, lost);
    let answer = |id: &Value| json!({"jsonrpc": "2.0", "id": id, "result": 1});
    bench.send(provider, "method_result", &answer(&json!(lost)));
    assert_eq!(codes(bench, provider), ["HISTORY_LOST"]);
    assert_eq!(bench.take_sent(engine, "method_result"), [0; 0]);
    bench.send(provider, "method_progress", &json!({"id": lost, "data": 1}));
    bench.send(provider, "method_waiting", &json!({"ids": [lost]}));
    assert_eq!(bench.take_sent(engine, "method_waiting"), [0; 0]);
    // The engine's own id, which has no term, is not the id of a call that was given to a provider either.
    let own = present.as_str().and_then(|id| id.split_once('/')).expect("a name before the id").1.to_owned();
    bench.send(provider, "method_result", &answer(&json!(own)));
    assert_eq!(codes(bench, provider), ["CALL_NOT_FOUND"]);
    bench.send(provider, "method_result", &answer(&present));
    let result = bench.take_sent(engine, "method_result").remove(0);
    assert_eq!(result["id"], own, "the engine knows its call by its own id");
    // A refusal names the call by the provider's id.
    bench.send(provider, "method_result", &answer(&present));
    let refused = bench.take_sent(provider, "mesh_error").remove(0);
    assert_eq!(refused["name"], "CALL_ENDED");
    assert!(refused["message"].as_str().is_some_and(|it| it.contains(present.as_str().expect("an id"))), "{refused}");
}

#[test]
fn a_call_continues_in_a_new_term_of_the_same_history() {
    let Called { sent: Sent { mut bench, at, .. }, call, .. } = called();
    bench.begin("b", bench.head());
    let seen = json!({"term": "a", "position": bench.head().0});
    let own = call.split_once('/').expect("a name before the id").1.to_owned();
    let rest = json!({"slots": 1, "attempts": at, "calls": [own], "seen": seen});
    let engine = bench.join("engine", "e", rest);
    let provider = join_provider(&mut bench, json!([call]));
    assert_eq!(bench.take_sent(provider, "cancel_method"), [0; 0]);
    bench.send(provider, "method_result", &json!({"jsonrpc": "2.0", "id": call, "result": 1}));
    assert_eq!(bench.take_sent(engine, "method_result").remove(0)["id"], own);
}

#[test]
fn a_component_with_work_but_no_term_must_start_anew() {
    let Called { sent: Sent { mut bench, at, .. }, .. } = called();
    let holds = json!({"slots": 1, "attempts": at});
    // The journal cannot be lost under a running hub.
    let engine = bench.join("engine", "e", holds.clone());
    assert_eq!(registered(&mut bench, engine).get("starts_anew"), None);
    bench.begin("b", bench.head());
    let engine = bench.join("engine", "e", holds);
    let rejected = bench.take_sent(engine, "registration_rejected");
    assert_eq!(rejected[0]["error"]["name"], "HISTORY_LOST");
    assert_eq!(bench.take_sent(engine, "component_registered"), [0; 0]);
    let engine = bench.join("engine", "e", json!({"slots": 1}));
    assert_eq!(bench.take_sent(engine, "component_registered").len(), 1, "what holds nothing has nothing to lose");
}

#[test]
fn a_journal_without_terms_accepts_components_as_they_are() {
    let mut bench = Bench::new();
    bench.join("queue", "q", json!({}));
    let position = bench.head().0;
    bench.begin("a", bench.head());
    for (position, is_taken) in [(position, true), (position + 1, false)] {
        let owned = json!([{"slice": {"queue": "default"}, "epoch": 1, "position": position}]);
        let socket = bench.join("queue", &format!("q{position}"), json!({"owned": owned}));
        assert_eq!(bench.take_sent(socket, "component_registered").len(), usize::from(is_taken), "{position}");
    }
}

#[test]
fn a_watcher_names_the_term_in_which_it_read() {
    let mut bench = Bench::new();
    bench.begin("a", Position(0));
    bench.join("queue", "q", json!({}));
    let head = bench.head().0;
    bench.begin("b", bench.head());
    for (term, from, is_known) in [("a", head + 1, true), ("a", head + 2, false), ("c", 0, false)] {
        let socket = bench.connect();
        assert_eq!(bench.take_sent(socket, "welcome").remove(0)["term"], "b");
        bench.send(socket, "watch", &json!({"from_position": from, "term": term}));
        let refused = if is_known { vec![] } else { vec!["HISTORY_LOST"] };
        assert_eq!(codes(&mut bench, socket), refused, "{term} {from}");
    }
}
