//! Sockets and the components behind them.

use gleitzeit_mesh::hub::Input;
use serde_json::json;

use crate::bench::Bench;

#[test]
fn events_before_a_registration_are_refused() {
    let mut bench = Bench::new();
    let socket = bench.connect();
    assert_eq!(bench.take_sent(socket, "welcome").len(), 1);
    bench.send(socket, "append", &json!({"proposals": []}));
    let errors = bench.take_sent(socket, "mesh_error");
    assert_eq!((&errors[0]["name"], &errors[0]["in_reply_to"]), (&json!("INVALID_REQUEST"), &json!("append")));
}

#[test]
fn an_invalid_registration_is_refused_with_its_reason() {
    let long = "x".repeat(201);
    for (role, id, rest, why) in [
        ("provider", "p", json!({}), "`methods`"),
        ("provider", "p", json!({"methods": ["add"]}), "PROTOCOL/METHOD"),
        ("engine", "", json!({}), "empty"),
        ("engine", long.as_str(), json!({}), "at most 200 bytes"),
        ("engine", "e", json!({"name": "a\u{7}b"}), "control characters"),
        ("engine", "taken", json!({}), "is a queue"),
        ("engine", "e", json!({"capabilities": ["fast", "a\u{7}b"]}), "control characters"),
        ("engine", "e", json!({"capabilities": vec!["fast"; 101]}), "at most 100 capabilities"),
        ("provider", "p", json!({"methods": vec!["m/x"; 1_001]}), "at most 1000 methods, and this one has 1001"),
    ] {
        let mut bench = Bench::new();
        bench.join("queue", "taken", json!({}));
        let socket = bench.join(role, id, rest);
        let rejected = bench.take_sent(socket, "registration_rejected");
        assert!(rejected[0]["error"]["message"].as_str().expect("text").contains(why), "{rejected:?}");
        assert_eq!(bench.hub.components().len(), 1, "{why}");
    }
}

#[test]
fn the_same_protocol_with_other_schemas_is_refused() {
    let mut bench = Bench::new();
    let protocol = |schema| json!({"protocols": [{"name": "math", "version": "v1", "methods": {"math/add": schema}}]});
    let one = bench.join("provider", "p1", protocol(json!({"returns": {"type": "integer"}})));
    assert_eq!(bench.take_sent(one, "component_registered").len(), 1);
    let same = bench.join("provider", "p2", protocol(json!({"returns": {"type": "integer"}})));
    assert_eq!(bench.take_sent(same, "component_registered").len(), 1);
    let other = bench.join("provider", "p3", protocol(json!({"returns": {"type": "string"}})));
    let rejected = bench.take_sent(other, "registration_rejected");
    assert_eq!(rejected[0]["error"]["name"], "PROTOCOL_VERSION_MISMATCH");
}

#[test]
fn a_second_socket_of_the_same_component_closes_the_first() {
    let mut bench = Bench::new();
    let first = bench.join("engine", "e", json!({"slots": 2}));
    let second = bench.join("engine", "e", json!({"slots": 3}));
    assert_eq!(bench.closed, [first]);
    bench.leave(first, false);
    let components = bench.hub.components();
    assert_eq!((components.len(), components[0].capacity), (1, 3));
    assert_eq!(components[0].status, gleitzeit_mesh::wire::PresenceStatus::Connected, "socket {second} holds it");
}

#[test]
fn a_component_that_stops_answering_heartbeats_is_silent_until_its_next_message() {
    let mut bench = Bench::new();
    let queue = bench.join("queue", "q", json!({}));
    let engine = bench.join("engine", "e", json!({"slots": 1}));
    for _ in 0..2 {
        bench.pass(5_000);
        for socket in [queue, engine] {
            bench.send(socket, "heartbeat_response", &json!({}));
        }
    }
    bench.sent.clear();
    bench.pass(5_000);
    bench.send(queue, "heartbeat_response", &json!({}));
    assert!(bench.take_sent(queue, "component_status").is_empty(), "until the next is due it has time");
    bench.pass(5_000);
    let told = bench.take_sent(queue, "component_status");
    assert_eq!((&told[0]["component_id"], &told[0]["status"]), (&json!("e"), &json!("silent")));
    bench.send(engine, "heartbeat_response", &json!({}));
    assert_eq!(bench.take_sent(queue, "component_status")[0]["status"], "connected");
}

#[test]
fn a_component_that_never_answered_heartbeats_is_judged_by_its_socket() {
    let mut bench = Bench::new();
    bench.join("provider", "p", json!({"methods": ["m/x"]}));
    bench.pass(60_000);
    assert_eq!(bench.hub.components()[0].status, gleitzeit_mesh::wire::PresenceStatus::Connected);
}

#[test]
fn malformed_events_are_answered_and_have_no_other_effect() {
    let mut bench = Bench::new();
    let socket = bench.join("engine", "e", json!({"slots": 1}));
    let message = "missing field `attempts`".to_owned();
    bench.input(Input::Malformed { socket, in_reply_to: Some("task_taken".to_owned()), message });
    let errors = bench.take_sent(socket, "mesh_error");
    assert_eq!(
        (&errors[0]["in_reply_to"], &errors[0]["message"]),
        (&json!("task_taken"), &json!("missing field `attempts`"))
    );
    assert_eq!(bench.hub.components().len(), 1);
}

#[test]
fn a_draining_engine_is_answered_after_the_writer_knows() {
    let mut bench = Bench::new();
    let engine = bench.join("engine", "e", json!({"slots": 1}));
    bench.take_sent(engine, "component_registered");
    bench.is_held = true;
    bench.send(engine, "register_component", &json!({"component_type": "engine", "component_id": "e", "slots": 0}));
    assert!(bench.take_sent(engine, "component_registered").is_empty(), "an attempt may be on its way");
    bench.release();
    assert_eq!(bench.take_sent(engine, "component_registered").len(), 1);
}

#[test]
fn a_socket_that_sends_only_malformed_events_is_disconnected() {
    let mut bench = Bench::new();
    let (engine, watcher) = (bench.join("engine", "e", json!({"slots": 1})), bench.connect());
    bench.send(watcher, "watch", &json!({"from_position": 0}));
    let garbage = |bench: &mut Bench, socket, count| {
        for _ in 0..count {
            bench.input(Input::Malformed { socket, in_reply_to: None, message: "no JSON".to_owned() });
        }
    };
    // An occasional mistake is no reason to disconnect.
    for _ in 0..3 {
        garbage(&mut bench, engine, 90);
        bench.pass(5_000);
    }
    assert!(bench.closed.is_empty());
    assert_eq!(bench.take_sent(engine, "mesh_error").len(), 270);
    garbage(&mut bench, engine, 101);
    garbage(&mut bench, watcher, 101);
    assert_eq!(bench.closed, [engine, watcher]);
}

#[test]
fn a_socket_that_neither_registers_nor_watches_is_disconnected() {
    let mut bench = Bench::new();
    let stranger = bench.connect();
    let rejected = bench.join("provider", "p", json!({}));
    let watcher = bench.connect();
    bench.send(watcher, "watch", &json!({"from_position": 0}));
    bench.join("engine", "e", json!({"slots": 1}));
    bench.pass(29_000);
    assert!(bench.closed.is_empty());
    bench.pass(2_000);
    assert_eq!(bench.closed, [stranger, rejected]);
    bench.pass(60_000);
    assert_eq!(bench.closed.len(), 2);
}

#[test]
fn the_health_of_a_provider_is_shown_and_sent_to_engines() {
    let mut bench = Bench::new();
    let engine = bench.join("engine", "e", json!({}));
    let health = json!({"state": "starting"});
    let rest = json!({"name": "local", "methods": ["m/x"], "capabilities": ["sandbox:strict"], "health": health});
    let provider = bench.join("provider", "p", rest.clone());
    let view = bench.hub.components().pop().expect("it is there");
    assert_eq!((view.name.as_str(), view.capabilities), ("local", vec!["sandbox:strict".to_owned()]));
    let told = bench.take_sent(engine, "component_status").pop().expect("told");
    assert_eq!((&told["name"], &told["health"]), (&json!("local"), &health));

    // Registering again replaces the previous registration.
    let well = json!({"name": "local", "methods": ["m/x"], "health": {"state": "healthy"}});
    bench.register(provider, "provider", "p", well);
    assert_eq!(bench.hub.components().pop().expect("it is there").capabilities, Vec::<String>::new());
    assert_eq!(bench.take_sent(engine, "component_status").pop().expect("told")["health"], json!({"state": "healthy"}));
}
