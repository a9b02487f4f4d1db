//! Ids and the secrets that they are bound to: another component that presents a known id is refused, and the id's
//! owner is not affected.

use gleitzeit_mesh::hub::SocketId;
use gleitzeit_run::{ComponentId, Secret};
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::leases::{Sent, sent};

/// Registers on a new socket; `secret` is sent unchanged, or left out.
fn register(bench: &mut Bench, role: &str, id: &str, secret: Option<&str>) -> SocketId {
    let socket = bench.connect();
    let mut body = json!({"component_type": role, "component_id": id, "methods": ["m/x"]});
    if let Some(secret) = secret {
        body["secret"] = json!(secret);
    }
    bench.send(socket, "register_component", &body);
    socket
}

/// The name of the error with which a socket's registration was refused; `None` if it was accepted.
fn refusal(bench: &mut Bench, socket: SocketId) -> Option<Value> {
    let rejected = bench.take_sent(socket, "registration_rejected").pop().map(|it| it["error"]["name"].clone());
    let accepted = bench.take_sent(socket, "component_registered").len();
    assert_eq!(accepted, usize::from(rejected.is_none()));
    rejected
}

#[test]
fn a_component_without_the_secret_of_an_id_is_refused_and_its_owner_continues() {
    let taken = Some(json!("COMPONENT_ID_TAKEN"));
    for is_connected in [true, false] {
        let Sent { mut bench, engine, at } = sent(1);
        bench.sent.clear();
        if !is_connected {
            bench.leave(engine, false);
        }
        for (role, secret) in [
            ("engine", None),
            ("engine", Some("some other secret")),
            ("provider", None),
            ("queue", Some("the secret of someone else")),
        ] {
            let thief = register(&mut bench, role, "e", secret);
            assert_eq!(refusal(&mut bench, thief), taken, "{role} {secret:?}");
            assert_eq!(bench.take_sent(thief, "execute_task"), [0; 0]);
        }
        if is_connected {
            assert!(bench.closed.is_empty(), "the owner keeps its socket");
            bench.send(engine, "task_taken", &json!({"attempts": at}));
            assert_eq!(bench.take_sent(engine, "mesh_error"), [0; 0]);
        }
        // It reconnects, even before the hub has noticed that its old connection is gone.
        let again = bench.join("engine", "e", json!({"slots": 1}));
        assert_eq!(refusal(&mut bench, again), None);
        assert_eq!(bench.take_sent(again, "execute_task").len(), 1);
    }
}

#[test]
fn a_component_without_a_secret_is_given_one_and_needs_it_from_then_on() {
    let mut bench = Bench::new();
    let socket = register(&mut bench, "provider", "p", None);
    let given = bench.take_sent(socket, "component_registered").remove(0)["secret"].clone();
    let given = given.as_str().expect("a secret").to_owned();
    // On its own socket it need not present the secret.
    bench.send(
        socket,
        "register_component",
        &json!({
            "component_type": "provider", "component_id": "p", "methods": ["m/x"], "max_concurrency": 0,
        }),
    );
    assert_eq!(bench.take_sent(socket, "component_registered").remove(0).get("secret"), None);
    bench.leave(socket, false);
    let other = register(&mut bench, "provider", "p", None);
    assert_eq!(refusal(&mut bench, other), Some(json!("COMPONENT_ID_TAKEN")));
    let socket = register(&mut bench, "provider", "p", Some(&given));
    assert_eq!(bench.take_sent(socket, "component_registered").remove(0).get("secret"), None, "it has one");
    // An id that no component holds any more is free.
    bench.leave(socket, true);
    let other = register(&mut bench, "provider", "p", None);
    let secret = bench.take_sent(other, "component_registered").remove(0)["secret"].clone();
    assert_ne!(secret, json!(given));
    // A component that names no id gets a new one each time.
    let nameless = bench.connect();
    bench.send(nameless, "register_component", &json!({"component_type": "provider", "methods": ["m/x"]}));
    assert_eq!(bench.take_sent(nameless, "component_registered").len(), 1);
}

#[test]
fn a_component_that_asks_for_a_taken_id_is_disconnected_soon_and_admitted_once_the_id_is_free() {
    let mut bench = Bench::new();
    let before = register(&mut bench, "provider", "p", Some("the secret of before"));
    bench.leave(before, false);
    let socket = register(&mut bench, "provider", "p", Some("the secret of today"));
    assert_eq!(refusal(&mut bench, socket), Some(json!("COMPONENT_ID_TAKEN")));
    bench.pass(1_000);
    assert_eq!(bench.closed, [socket], "so that its client comes back");
    bench.pass(4_000);
    let socket = register(&mut bench, "provider", "p", Some("the secret of today"));
    assert_eq!(refusal(&mut bench, socket), None);
}

#[test]
fn an_id_derived_from_a_secret_belongs_to_its_holder_only() {
    let secret = "the secret of its process";
    for is_within_hub in [false, true] {
        let mut bench = Bench::new();
        let id = ComponentId::of_secret("r", &Secret::new(secret), is_within_hub);
        let id = id.as_str();
        for wrong in [None, Some("some other secret")] {
            let thief = register(&mut bench, "resolver", id, wrong);
            assert_eq!(refusal(&mut bench, thief), Some(json!("COMPONENT_ID_TAKEN")));
        }
        let socket = register(&mut bench, "resolver", id, Some(secret));
        assert_eq!(refusal(&mut bench, socket), None);
        // A restarted hub knows no secrets.
        bench.restart();
        let thief = register(&mut bench, "resolver", id, Some("some other secret"));
        assert_eq!(refusal(&mut bench, thief), Some(json!("COMPONENT_ID_TAKEN")));
        let socket = register(&mut bench, "resolver", id, Some(secret));
        assert_eq!(refusal(&mut bench, socket), None);
        assert_eq!(bench.hub.components().len(), 1);
    }
}

#[test]
fn a_secret_that_can_be_guessed_or_that_changes_is_refused() {
    let mut bench = Bench::new();
    for secret in ["", "short", &"x".repeat(201)] {
        let socket = register(&mut bench, "provider", "p", Some(secret));
        assert_eq!(refusal(&mut bench, socket), Some(json!("INVALID_REQUEST")));
    }
    let socket = register(&mut bench, "provider", "p", Some("what only p knows"));
    assert_eq!(refusal(&mut bench, socket), None);
    let body = json!({
        "component_type": "provider", "component_id": "p", "methods": ["m/x"], "secret": "some other secret",
    });
    bench.send(socket, "register_component", &body);
    assert_eq!(refusal(&mut bench, socket), Some(json!("COMPONENT_ID_TAKEN")));
}
