//! Checks which registered protocols are removed, and that a journal without its obsolete entries replays to the same
//! state.

use gleitzeit_fixtures::{Desk, task, workflow};
use gleitzeit_run::event::ProtocolRegistered;
use gleitzeit_run::ledger::Ledger;
use gleitzeit_run::{Entry, Limits, ProtocolUse, Request, Verdict};
use gleitzeit_workflow::{Payload, ProtocolName, Timestamp};
use serde_json::json;

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
/// How long a protocol must have been unused, in milliseconds.
const UNUSED: u64 = 8 * DAY;

fn register(desk: &mut Desk, name: &str, version: &str) {
    let method = format!("{name}/echo");
    let methods = Payload::from_value(&json!({ method: {} }));
    let protocol = ProtocolRegistered { name: name.to_owned(), version: version.to_owned(), methods };
    desk.ok(Request::RegisterProtocol { protocol });
}

/// Prunes, and returns the kinds of the recorded events.
fn prune(desk: &mut Desk, unused_ms: u64, served: &[(&str, u64)]) -> Vec<&'static str> {
    let served =
        served.iter().map(|(name, ago_ms)| ProtocolUse { protocol: ProtocolName::new(name, "v1"), ago_ms: *ago_ms });
    let outcome = desk.propose(Request::PruneProtocols { unused_ms, served: served.collect() });
    assert_eq!(outcome.entries.is_empty(), matches!(outcome.verdict, Verdict::Duplicate { .. }), "{outcome:?}");
    outcome.entries.iter().map(|entry| entry.event.kind()).collect()
}

fn known(ledger: &Ledger) -> Vec<String> {
    ledger.protocols().map(|(name, version, _)| format!("{name}/{version}")).collect()
}

fn replayed<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Ledger {
    let mut ledger = Ledger::new(Limits::default());
    for entry in entries {
        ledger.apply(entry).expect("it applies");
    }
    ledger
}

#[test]
fn a_protocol_is_pruned_when_it_is_not_served_needed_or_recently_used() {
    let mut desk = Desk::new(1);
    for name in ["idle", "served", "left", "kept", "util"] {
        register(&mut desk, name, "v1");
    }
    register(&mut desk, "util", "v2");
    desk.ledger.keep_protocols([ProtocolName::new("kept", "v1")]);
    // The task names `util/echo` of v1.
    desk.submit(workflow(vec![task("a", &[])], &[]));
    assert_eq!(prune(&mut desk, UNUSED, &[]), [""; 0], "they are new");
    desk.now = desk.now.plus_ms(UNUSED + UNUSED / 8);
    let served = [("served", 0), ("left", UNUSED - 1)];
    assert_eq!(prune(&mut desk, UNUSED, &served), ["protocol_removed", "protocol_removed", "protocols_used"]);
    assert_eq!(known(&desk.ledger), ["kept/v1", "left/v1", "served/v1", "util/v1"]);
    assert_eq!(prune(&mut desk, UNUSED, &served), [""; 0], "once is enough");
    // The end of its run is the last use of a protocol. A use counts from when it was recorded.
    desk.through("a", json!({}));
    desk.ledger.evict(desk.run);
    assert_eq!(
        prune(&mut desk, 1, &served[..1]),
        ["protocols_used"],
        "util was needed until now, left is noted as of now"
    );
    desk.now = desk.now.plus_ms(1);
    assert_eq!(prune(&mut desk, 1, &served[..1]), ["protocol_removed", "protocol_removed"], "left and util");
    assert_eq!(prune(&mut desk, 0, &[]), ["protocol_removed"], "served, once it is not");
    register(&mut desk, "idle", "v1");
    assert_eq!(known(&desk.ledger), ["idle/v1", "kept/v1"], "who comes back registers again");
    assert_eq!(known(&replayed(&desk.journal)), known(&desk.ledger));
}

#[test]
fn nothing_is_pruned_while_a_set_aside_run_has_unknown_needs() {
    let mut desk = Desk::new(1);
    register(&mut desk, "util", "v1");
    desk.submit(workflow(vec![task("a", &[])], &[]));
    let seq = desk.state().seq;
    desk.ledger.set_aside(desk.run, seq, "it cannot be read".to_owned());
    assert_eq!(prune(&mut desk, 0, &[]), [""; 0]);
    desk.ok(Request::CancelSetAside { run_id: desk.run, reason: String::new() });
    assert_eq!(prune(&mut desk, 0, &[]), ["protocol_removed"]);
}

#[test]
fn a_use_survives_a_restart_and_is_recorded_periodically() {
    let mut desk = Desk::new(1);
    register(&mut desk, "math", "v1");
    let mut notes = 0;
    for _ in 0..20 {
        desk.now = desk.now.plus_ms(DAY / 2);
        notes += prune(&mut desk, UNUSED, &[("math", 0)]).len();
    }
    assert!((5..=7).contains(&notes), "an eighth of eight days lies between two: {notes}");
    // The process ends right after, and with it what it had seen of the use.
    desk.ledger = replayed(&desk.journal);
    desk.now = desk.now.plus_ms(UNUSED - DAY);
    assert_eq!(prune(&mut desk, UNUSED, &[]), [""; 0]);
    desk.now = desk.now.plus_ms(2 * DAY + HOUR);
    assert_eq!(prune(&mut desk, UNUSED, &[]), ["protocol_removed"]);
}

#[test]
fn a_compacted_journal_gives_the_same_state() {
    let mut desk = Desk::new(1);
    for round in 0..6 {
        register(&mut desk, "gone", "v1");
        if round == 0 {
            register(&mut desk, "math", "v1");
        }
        desk.now = desk.now.plus_ms(2 * DAY);
        prune(&mut desk, UNUSED, &[("math", 0), ("gone", 0)]);
        desk.now = desk.now.plus_ms(1);
        assert_eq!(prune(&mut desk, 0, &[("math", 0)]), ["protocol_removed"]);
    }
    let all = desk.journal.clone();
    let mut left = all.clone();
    let mut ledger = desk.ledger.clone();
    // Whatever was removed so far, a start in the middle has the same protocols and continues with the rest.
    loop {
        let obsolete = ledger.obsolete(desk.now, 3);
        if obsolete.is_empty() {
            break;
        }
        left.retain(|entry| !obsolete.contains(&entry.position));
        ledger.forget_obsolete(&obsolete);
        let started = replayed(&left);
        assert_eq!(known(&started), known(&desk.ledger));
        assert_eq!(started.obsolete(desk.now, 99), ledger.obsolete(desk.now, 99));
    }
    let kinds: Vec<&str> = left.iter().map(|entry| entry.event.kind()).collect();
    assert_eq!(kinds, ["ownership_granted", "ownership_granted", "protocol_registered", "protocols_used"]);
    assert!(all.len() > 20, "{}", all.len());
    assert_eq!(ledger.obsolete(Timestamp(i64::MAX), 1), []);
    assert_eq!(desk.ledger.obsolete(Timestamp(0), 1), [], "those of late stay");
}
