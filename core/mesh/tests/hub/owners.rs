//! Ownership of slices, and the entries that owners are sent.

use std::collections::BTreeMap;

use gleitzeit_mesh::hub::{Config, SocketId};
use gleitzeit_run::{ComponentId, Event, Request, Secret};
use serde_json::{Value, json};

use crate::bench::Bench;

/// The number of slices that each component of a role owns.
fn shares(bench: &Bench, role: &str) -> BTreeMap<String, usize> {
    let components = bench.hub.components().into_iter().filter(|it| it.role.as_str() == role);
    components.map(|it| (it.component_id.to_string(), it.owned.len())).collect()
}

fn statuses(ownerships: &[Value], status: &str) -> usize {
    ownerships.iter().filter(|it| it["status"] == status).count()
}

#[test]
fn an_ownership_is_recorded_before_it_is_granted() {
    let mut bench = Bench::new();
    bench.is_held = true;
    let socket = bench.join("queue", "q", json!({}));
    assert_eq!(bench.take_sent(socket, "component_registered").len(), 1);
    assert!(bench.take_sent(socket, "ownership").is_empty(), "nothing is recorded yet");
    bench.release();
    let granted = bench.take_sent(socket, "ownership");
    assert_eq!((&granted[0]["status"], &granted[0]["epoch"]), (&json!("granted"), &json!(1)));
    assert!(
        bench
            .journal
            .iter()
            .any(|it| matches!(&it.event, Event::OwnershipGranted(it) if it.component_id.as_str() == "q"))
    );
    let pages = bench.take_sent(socket, "state");
    assert_eq!((pages.len(), &pages[0]["last"]), (1, &json!(true)));
}

#[test]
fn shards_are_balanced_and_a_new_owner_takes_only_its_share() {
    let mut bench = Bench::new();
    let (a, b) = (bench.join("resolver", "a", json!({})), bench.join("resolver", "b", json!({})));
    assert_eq!(shares(&bench, "resolver"), BTreeMap::from([("a".into(), 32), ("b".into(), 32)]));
    bench.sent.clear();
    let before = bench.head();
    let c = bench.join("resolver", "c", json!({}));
    let mut shares: Vec<usize> = shares(&bench, "resolver").into_values().collect();
    shares.sort_unstable();
    assert_eq!(shares, [21, 21, 22]);
    let granted = statuses(&bench.take_sent(c, "ownership"), "granted");
    let revoked = [a, b].map(|socket| statuses(&bench.take_sent(socket, "ownership"), "revoked")).iter().sum::<usize>();
    assert!((21..=22).contains(&granted) && granted == revoked, "{granted} granted, {revoked} revoked");
    assert_eq!(bench.head().0 - before.0, u64::try_from(granted).expect("small"), "nothing else moved");
}

#[test]
fn a_silent_owner_is_replaced_after_two_seconds_and_a_leaving_one_at_once() {
    for (clean, after) in [(false, 2_000), (true, 0)] {
        let mut bench = Bench::new();
        let a = bench.join("queue", "a", json!({}));
        let b = bench.join("queue", "b", json!({}));
        bench.sent.clear();
        bench.leave(a, clean);
        if !clean {
            bench.pass(after - 1);
            assert!(bench.take_sent(b, "ownership").is_empty(), "it may come back");
            bench.pass(1);
        }
        let granted = bench.take_sent(b, "ownership");
        assert_eq!((granted.len(), &granted[0]["epoch"]), (1, &json!(2)), "clean: {clean}");
    }
}

#[test]
fn a_reconnecting_owner_keeps_its_slices() {
    let mut bench = Bench::new();
    let socket = bench.join("queue", "q", json!({}));
    let position = bench.head().0;
    bench.leave(socket, false);
    bench.pass(1_999);
    let owned = json!({"owned": [
        {"slice": {"queue": "default"}, "epoch": 1, "position": position},
        {"slice": {"queue": "other"}, "epoch": 7, "position": position},
    ]});
    let socket = bench.join("queue", "q", owned);
    let mut ownerships = bench.take_sent(socket, "ownership");
    ownerships.sort_by_key(|it| it["slice"].to_string());
    let shown: Vec<_> =
        ownerships.iter().map(|it| (&it["slice"]["queue"], &it["status"], &it["state_follows"])).collect();
    let (granted, revoked, no) = (json!("granted"), json!("revoked"), json!(false));
    assert_eq!(shown[0], (&json!("default"), &granted, &no));
    assert_eq!((shown[1].0, shown[1].1), (&json!("other"), &revoked), "what it does not own it is told to leave");
    assert!(bench.take_sent(socket, "state").is_empty());
}

#[test]
fn a_queue_exists_from_the_first_engine_that_names_it() {
    let mut bench = Bench::new();
    let socket = bench.join("queue", "q", json!({}));
    bench.sent.clear();
    bench.join("engine", "e", json!({"slots": 1, "queues": ["gpu"]}));
    let granted = bench.take_sent(socket, "ownership");
    assert_eq!((granted.len(), &granted[0]["slice"]["queue"]), (1, &json!("gpu")));
}

/// A watcher, and a journal with this many entries.
fn watched(config: Config, entries: usize) -> (Bench, SocketId) {
    let mut bench = Bench::with(config);
    let socket = bench.connect();
    bench.send(socket, "watch", &json!({"from_position": 0}));
    for number in 0..entries {
        let component_id = format!("c{number}").as_str().into();
        let slice = gleitzeit_run::Slice::Queue("default".into());
        bench.record(&Request::Grant { slice, component_id });
    }
    (bench, socket)
}

fn positions(bench: &mut Bench, socket: SocketId) -> Vec<u64> {
    let events = bench.take_sent(socket, "events");
    let entries = events.iter().flat_map(|it| it["entries"].as_array().expect("a list").clone());
    entries.map(|it| it["position"].as_u64().expect("a number")).collect()
}

#[test]
fn a_cursor_stops_at_its_window_and_continues_from_there() {
    for kept_bytes in [1, 1_000_000] {
        let (mut bench, socket) = watched(Config { window_entries: 3, kept_bytes, ..Config::default() }, 8);
        assert_eq!(positions(&mut bench, socket), [1, 2, 3]);
        bench.send(socket, "events_ack", &json!({"position": 2}));
        assert_eq!(positions(&mut bench, socket), [4, 5], "kept: {kept_bytes}");
        bench.send(socket, "events_ack", &json!({"position": 5}));
        assert_eq!(positions(&mut bench, socket), [6, 7, 8]);
        bench.send(socket, "events_ack", &json!({"position": 8}));
        assert_eq!(positions(&mut bench, socket), [0; 0]);
    }
}

#[test]
fn a_consumer_that_confirms_nothing_is_disconnected_and_may_continue_later() {
    let (mut bench, socket) = watched(Config { window_entries: 2, ..Config::default() }, 4);
    bench.pass(29_999);
    assert!(bench.closed.is_empty());
    bench.pass(1);
    assert_eq!(bench.closed, [socket]);
    let socket = bench.connect();
    bench.send(socket, "watch", &json!({"from_position": 3}));
    assert_eq!(positions(&mut bench, socket), [3, 4]);
}

#[test]
fn a_hub_that_starts_waits_for_owners_that_may_come_back_and_not_for_those_of_its_own_process() {
    let secret = "the secret of its process";
    for (is_within_hub, waits_ms) in [(false, 2_000), (true, 0)] {
        let mut bench = Bench::new();
        let id = ComponentId::of_secret("q1", &Secret::new(secret), is_within_hub);
        let before = bench.join("queue", id.as_str(), json!({"secret": secret}));
        // The journal names the component whether it left cleanly or not.
        bench.leave(before, waits_ms == 0);
        bench.restart();
        let socket = bench.join("queue", "q2", json!({}));
        if waits_ms > 0 {
            bench.pass(waits_ms - 1);
            assert_eq!(bench.take_sent(socket, "ownership"), [0; 0], "{id} may come back");
            bench.pass(1);
        }
        let granted = bench.take_sent(socket, "ownership");
        assert_eq!((granted.len(), &granted[0]["epoch"]), (1, &json!(2)), "{id}");
    }
}
