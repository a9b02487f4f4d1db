//! Sockets that send invalid messages in large numbers: they get answers, then they are cut off, and nobody else is
//! affected.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Cluster, PATIENCE, Socket, text, until};

/// The control plane works.
#[track_caller]
fn all_is_well(cluster: &Cluster) {
    let echo = "name: e\ntasks: [{id: a, method: util/echo}]\n";
    let run = cluster.submit(&cluster.sandbox.file("echo.yaml", echo));
    assert_eq!(cluster.until_ended(&run)["status"], "completed");
}

/// JSON of this many nested arrays.
fn deep(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

#[test]
fn invalid_events_are_answered_and_repeated_ones_close_the_connection() {
    let cluster = Cluster::all_in_one(&[]);
    let mut socket = Socket::connect(&cluster.url);
    for (event, body, expected) in [
        ("nonsense", json!({}), "unknown mesh event `nonsense`"),
        ("append", json!({"proposals": 7}), "malformed mesh event `append`"),
        ("append", json!(7), "`append` takes one JSON object"),
        ("append", json!({"proposals": []}), "before `register_component`"),
        ("task_taken", json!({"attempts": deep(100)}), "malformed mesh event `task_taken`"),
        ("watch", json!({"from_position": "first"}), "malformed mesh event `watch`"),
        ("watch", json!({"from_position": 1_u64 << 60}), ""),
    ] {
        socket.send(event, &body);
        if !expected.is_empty() {
            let error = socket.receive("mesh_error");
            assert!(text(&error["message"]).contains(expected), "{event}: {error}");
            assert_eq!(error["name"], "INVALID_REQUEST", "{error}");
        }
    }
    for role in ["king", "engine", "provider"] {
        socket.send("register_component", &json!({"component_type": role, "methods": deep(50), "slots": -1}));
        let error = socket.receive("mesh_error");
        assert!(text(&error["message"]).contains("malformed"), "{error}");
    }
    all_is_well(&cluster);
    // The connection may end before everything was sent.
    for _ in 0..200 {
        if !socket.try_send("nonsense", &json!({})) {
            break;
        }
    }
    until("it is cut off", PATIENCE, || {
        cluster.hub_log().contains("it keeps sending events that are refused").then_some(())
    });
    all_is_well(&cluster);
}

#[test]
fn endless_large_events_are_cut_off_and_do_not_disturb_others() {
    let cluster = Cluster::all_in_one(&[]);
    let mut sockets: Vec<Socket> = (0..4).map(|_| Socket::connect(&cluster.url)).collect();
    let large = json!({"text": "x".repeat(256 << 10)});
    std::thread::scope(|scope| {
        for socket in &mut sockets {
            let large = &large;
            scope.spawn(move || (0..120).all(|_| socket.try_send("nonsense", large)));
        }
        all_is_well(&cluster);
    });
    until("they are cut off", PATIENCE, || {
        let said = cluster.hub_log();
        let reasons = ["it keeps sending events that are refused", "sends faster than it is served"];
        (reasons.iter().map(|why| said.matches(why).count()).sum::<usize>() >= sockets.len()).then_some(())
    });
    all_is_well(&cluster);
    let resident = cluster.hub_resident_mib();
    assert!(resident < 600, "{resident} MiB");
}

/// The ids of all connected components, with their roles.
fn connected(cluster: &Cluster) -> Vec<(String, String)> {
    let all = cluster.components().into_iter().filter(|it| it["status"] == "connected");
    all.map(|it| (text(&it["component_id"]), text(&it["role"]))).collect()
}

#[test]
fn a_component_id_cannot_be_taken_over_and_its_owner_notices_nothing() {
    let cluster = Cluster::all_in_one(&[]);
    let registration = |role: &str, id: &str| json!({"component_type": role, "component_id": id, "slots": 4, "methods": ["stolen/it"], "max_concurrency": 4});
    // Two components from outside: one that brings its secret, and one that was given it.
    let mut brings = registration("provider", "mine");
    brings["secret"] = json!("known to its owner alone");
    let mut owner = Socket::register(&cluster.url, &brings);
    let mut given = Socket::connect(&cluster.url);
    given.send("register_component", &registration("provider", "given"));
    let secret = text(&given.receive("component_registered")["secret"]);
    let before = connected(&cluster);
    assert!(before.len() > 5, "{before:?}");
    let mut tried = BTreeMap::new();
    for (id, own_role) in &before {
        // One of each role, and both from outside.
        if !["mine", "given"].contains(&id.as_str()) && tried.insert(own_role, id).is_some() {
            continue;
        }
        let other_role = if own_role == "queue" { "engine" } else { "queue" };
        for (role, secret) in [(own_role.as_str(), None), (other_role, None), (own_role, Some("guessed by a thief"))] {
            let mut registration = registration(role, id);
            if let Some(secret) = secret {
                registration["secret"] = json!(secret);
            }
            let mut thief = Socket::connect(&cluster.url);
            thief.send("register_component", &registration);
            let rejected = thief.receive("registration_rejected");
            assert_eq!(rejected["error"]["name"], "COMPONENT_ID_TAKEN", "{id} ({own_role}) as {role}: {rejected}");
        }
    }
    assert_eq!(connected(&cluster), before);
    all_is_well(&cluster);
    // The owners are served as before.
    let stolen = "name: s\ntasks: [{id: a, method: stolen/it}]\n";
    let run = cluster.submit(&cluster.sandbox.file("stolen.yaml", stolen));
    until("one of the owners is called", PATIENCE, || {
        let called = [&mut owner, &mut given]
            .into_iter()
            .find_map(|it| it.so_far("execute_method").pop().map(|call| (it, call)));
        called.map(|(socket, call)| socket.answer(&call, &json!(1)))
    });
    assert_eq!(cluster.until_ended(&run)["status"], "completed");
    // A component with the secret can return, even while its previous connection is still open.
    let mut again = registration("provider", "given");
    again["secret"] = json!(secret);
    Socket::register(&cluster.url, &again);
    assert!(!cluster.hub_log().contains(&secret), "secrets are not logged");
}
