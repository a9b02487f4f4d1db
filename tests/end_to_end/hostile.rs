//! Sockets that send what makes no sense, and much of it: they are answered, then cut off, and nobody else notices.

use serde_json::{Value, json};

use crate::support::{Cluster, PATIENCE, Socket, text, until};

/// The control plane works.
#[track_caller]
fn all_is_well(cluster: &Cluster) {
    let echo = "name: e\ntasks: [{id: a, method: util/echo}]\n";
    let run = cluster.submit(&cluster.sandbox.file("echo.yaml", echo));
    assert_eq!(cluster.until_ended(&run)["status"], "completed");
}

/// JSON of so many arrays in each other.
fn deep(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

#[test]
fn what_makes_no_sense_is_answered_and_whoever_goes_on_is_cut_off() {
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
        socket.say(event, &body);
        if !expected.is_empty() {
            let error = socket.hear("mesh_error");
            assert!(text(&error["message"]).contains(expected), "{event}: {error}");
            assert_eq!(error["name"], "INVALID_REQUEST", "{error}");
        }
    }
    for role in ["king", "engine", "provider"] {
        socket.say("register_component", &json!({"component_type": role, "methods": deep(50), "slots": -1}));
        let error = socket.hear("mesh_error");
        assert!(text(&error["message"]).contains("malformed"), "{error}");
    }
    all_is_well(&cluster);
    // It may be gone before it has said everything.
    for _ in 0..200 {
        if !socket.try_say("nonsense", &json!({})) {
            break;
        }
    }
    until("it is cut off", PATIENCE, || cluster.hub_log().contains("it goes on sending what is refused").then_some(()));
    all_is_well(&cluster);
}

#[test]
fn large_events_without_end_are_cut_off_and_disturb_nobody() {
    let cluster = Cluster::all_in_one(&[]);
    let mut sockets: Vec<Socket> = (0..4).map(|_| Socket::connect(&cluster.url)).collect();
    let large = json!({"text": "x".repeat(256 << 10)});
    std::thread::scope(|scope| {
        for socket in &mut sockets {
            let large = &large;
            scope.spawn(move || (0..120).all(|_| socket.try_say("nonsense", large)));
        }
        all_is_well(&cluster);
    });
    until("they are cut off", PATIENCE, || {
        let said = cluster.hub_log();
        let reasons = ["it goes on sending what is refused", "sends faster than it is served"];
        (reasons.iter().map(|why| said.matches(why).count()).sum::<usize>() >= sockets.len()).then_some(())
    });
    all_is_well(&cluster);
    let resident = cluster.hub_resident_mib();
    assert!(resident < 600, "{resident} MiB");
}
