//! Events in every form that was ever written. A file here is never changed, only added: a new form of an event gets
//! its own file, `<kind>-<what is special>.json`. All of them must stay readable and applicable for as long as journals
//! are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use gleitzeit_run::ledger::Ledger;
use gleitzeit_run::{Entry, Event, Limits, Position, RunId, RunStatus, Seq};
use gleitzeit_workflow::Timestamp;
use uuid::Uuid;

/// The texts of the files, by name.
#[expect(clippy::disallowed_methods, reason = "the files are what is tested")]
fn golden() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/events");
    let files = std::fs::read_dir(folder).expect("the folder is there");
    files
        .map(|file| {
            let path = file.expect("it can be listed").path();
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a plain name").to_owned();
            (name, std::fs::read_to_string(&path).expect("it can be read"))
        })
        .collect()
}

fn event(name: &str) -> Event {
    let golden = golden();
    let text = golden.get(name).unwrap_or_else(|| panic!("no file for `{name}`"));
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn every_event_ever_written_is_read_and_written_the_same() {
    for (name, text) in golden() {
        let event: Event = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(Some(event.kind()), name.split('-').next(), "{name}");
        assert_eq!(serde_json::to_string(&event).expect("serializable"), text.trim_end(), "{name}");
        assert_eq!(Event::decode(event.kind(), &event.body()).expect("readable"), event, "{name}");
    }
}

#[test]
fn every_kind_of_event_has_a_file() {
    let golden = golden();
    let seen: BTreeSet<&str> = golden.keys().filter_map(|name| name.split('-').next()).collect();
    assert_eq!(seen, Event::KINDS.iter().copied().collect());
}

#[test]
fn optional_fields_may_be_missing_and_unknown_fields_are_ignored() {
    for (kind, body) in [
        ("task_started", r#"{"task_id":"a","attempt":1}"#),
        ("task_completed", r#"{"task_id":"a","attempt":1,"result":null,"later":{"x":[1]}}"#),
        ("task_attempt_failed", r#"{"attempt":2,"task_id":"a","error":{"code":-1},"retryable":false}"#),
        ("task_attempt_stopped", r#"{"task_id":"a","attempt":1,"reason":"drain","engine":"e"}"#),
    ] {
        Event::decode(kind, body).unwrap_or_else(|error| panic!("{error}"));
    }
    let unknown = Event::decode("task_paused", "{}").expect_err("refused");
    assert_eq!(unknown.to_string(), "unknown event `task_paused`");
}

/// Sequences of these files: each must apply and end with the given status.
const STORIES: &[(&[&str], RunStatus)] = &[
    (&["workflow_submitted", "task_ready", "task_dispatched", "task_started", "task_completed"], RunStatus::Running),
    (
        &["workflow_submitted-least", "task_ready", "task_dispatched", "task_completed", "workflow_completed"],
        RunStatus::Completed,
    ),
    (&["workflow_submitted-least", "task_completed-carried", "workflow_completed"], RunStatus::Completed),
    (
        &["workflow_submitted", "task_ready", "task_dispatched", "task_attempt_failed", "task_retry_scheduled"],
        RunStatus::Running,
    ),
    (
        &[
            "workflow_submitted",
            "task_ready",
            "task_dispatched",
            "task_attempt_failed-foreign",
            "task_failed",
            "task_skipped",
            "workflow_failed",
        ],
        RunStatus::Failed,
    ),
    (
        &["workflow_submitted", "task_ready", "task_dispatched", "task_attempt_stopped", "task_requeued"],
        RunStatus::Running,
    ),
    (
        &["workflow_submitted-least", "workflow_cancel_requested", "task_cancelled", "workflow_cancelled"],
        RunStatus::Cancelled,
    ),
    (
        &[
            "workflow_submitted-least",
            "task_ready",
            "task_dispatched",
            "workflow_cancel_requested-timeout",
            "task_attempt_stopped-cancelled",
            "task_cancelled",
            "workflow_failed",
        ],
        RunStatus::Failed,
    ),
];

#[test]
fn every_event_ever_written_still_applies() {
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for (story, status) in STORIES {
        told.extend(*story);
        let run_id = RunId(Uuid::from_u128(1));
        let mut ledger = Ledger::new(Limits::default());
        for (at, name) in (1_u32..).zip(*story) {
            let entry = Entry {
                position: Position(u64::from(at)),
                run_id: Some(run_id),
                seq: Seq(u64::from(at)),
                recorded_at: Timestamp(i64::from(at)),
                queue: None,
                event: event(name),
            };
            ledger.apply(&entry).unwrap_or_else(|error| panic!("{story:?}: {name}: {error}"));
        }
        assert_eq!(ledger.run(run_id).map(|run| run.status), Some(*status), "{story:?}");
    }
    let mut ledger = Ledger::new(Limits::default());
    for name in ["ownership_granted", "ownership_granted-queue", "protocol_registered", "protocols_used"] {
        told.insert(name);
        let (position, recorded_at) = (ledger.position().next(), Timestamp(1));
        let entry = Entry { position, run_id: None, seq: Seq(0), recorded_at, queue: None, event: event(name) };
        ledger.apply(&entry).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert_eq!((ledger.owners().count(), ledger.protocols().count()), (2, 1));
    told.insert("protocol_removed");
    let (position, recorded_at) = (ledger.position().next(), Timestamp(1));
    let event = event("protocol_removed");
    let entry = Entry { position, run_id: None, seq: Seq(0), recorded_at, queue: None, event };
    ledger.apply(&entry).expect("it applies");
    assert_eq!(ledger.protocols().count(), 0);
    let kinds: BTreeSet<&str> = told.iter().filter_map(|name| name.split('-').next()).collect();
    assert_eq!(kinds, Event::KINDS.iter().copied().collect(), "each kind stands in a story");
}
