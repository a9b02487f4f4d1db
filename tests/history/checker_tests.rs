//! The checker finds each kind of broken promise; otherwise a good verdict would mean nothing.

use gleitzeit_sdk::RunStatus;

use crate::checker::{Verdict, check};
use crate::record::{Ask, Event, Facts, Found, History, Listed, Read};

fn event(seq: u64, kind: &str, task: &str, attempt: u32) -> Event {
    Event { seq, kind: kind.to_owned(), task: task.to_owned(), attempt }
}

fn read(at_us: u128, status: RunStatus, seq: u64) -> Read {
    Read { run_id: "r".to_owned(), began_us: at_us, ended_us: at_us + 5, status, seq }
}

/// A correct run, and what its client saw.
fn good() -> (History, Found) {
    let ask = Ask { answers: vec!["r".to_owned(), "r".to_owned()], ..Ask::default() };
    let history = History {
        asks: [("q".to_owned(), ask)].into(),
        reads: vec![read(10, RunStatus::Running, 2), read(20, RunStatus::Completed, 5)],
        watched: vec![("r".to_owned(), vec![1, 2, 3, 4, 5])],
        ..History::default()
    };
    let events = vec![
        event(1, "workflow_submitted", "", 0),
        event(2, "task_ready", "first", 0),
        event(3, "task_dispatched", "first", 1),
        event(4, "task_completed", "first", 1),
        event(5, "workflow_completed", "", 0),
    ];
    let found = Found {
        runs: [("r".to_owned(), Facts { status: RunStatus::Completed, events })].into(),
        listed: vec![Listed { run_id: "r".to_owned(), name: "w".to_owned(), retry_of: None }],
        marks: vec![("r".to_owned(), "first".to_owned(), 1)],
        ..Found::default()
    };
    (history, found)
}

fn judged(change: impl FnOnce(&mut History, &mut Found)) -> Verdict {
    let (mut history, mut found) = good();
    change(&mut history, &mut found);
    check(&history, &found)
}

#[test]
fn a_history_as_it_should_be_is_good() {
    assert_eq!(judged(|_, _| {}), Verdict::default());
}

#[test]
fn lost_work_is_found() {
    assert_eq!(judged(|_, found| found.listed.clear()).lost.len(), 1);
    assert_eq!(judged(|_, found| drop(found.missing.insert("r".into(), "NOT_FOUND".into()))).lost.len(), 1);
    assert_eq!(judged(|_, found| found.marks.clear()).lost.len(), 1, "a result without an execution");
}

#[test]
fn duplicated_work_is_found() {
    let again = Listed { run_id: "s".to_owned(), name: "w".to_owned(), retry_of: None };
    assert_eq!(judged(|_, found| found.listed.push(again)).doubled.len(), 1, "a run that nobody was told of");
    let other = |history: &mut History, _: &mut Found| {
        history.asks.get_mut("q").expect("it is there").answers.push("s".to_owned());
    };
    assert_eq!(judged(other).doubled.len(), 1, "two answers");
    let repeat = Listed { run_id: "s".to_owned(), name: "w".to_owned(), retry_of: Some("r".to_owned()) };
    assert_eq!(judged(|_, found| found.listed.push(repeat)).doubled.len(), 1, "a retry that nobody asked for");
    let mark = ("r".to_owned(), "first".to_owned(), 1);
    assert_eq!(judged(|_, found| found.marks.push(mark)).doubled.len(), 1, "an attempt that ran twice");
    let twice = |_: &mut History, found: &mut Found| {
        let events = &mut found.runs.get_mut("r").expect("it is there").events;
        events.insert(4, event(5, "task_completed", "first", 1));
        events[5].seq = 6;
    };
    assert_eq!(judged(twice).doubled.len(), 2, "a result without an attempt, and the second of its task");
}

#[test]
fn stuck_work_is_found() {
    assert_eq!(judged(|_, found| drop(found.stuck.insert("r".into(), "first waits".into()))).stuck.len(), 1);
}

#[test]
fn every_other_broken_promise_is_found() {
    let back = |history: &mut History, _: &mut Found| history.reads.push(read(30, RunStatus::Running, 3));
    assert_eq!(judged(back).broken.len(), 1, "a read that went back");
    // Two concurrent reads may be answered in any order.
    let beside = |history: &mut History, _: &mut Found| history.reads.push(read(22, RunStatus::Running, 3));
    assert!(judged(beside).is_good());
    let gap = |history: &mut History, _: &mut Found| history.watched[0].1.retain(|seq| *seq != 3);
    assert_eq!(judged(gap).broken.len(), 1, "a watcher missed something");
    assert_eq!(judged(|history, _| history.cancelled.push("r".into())).broken.len(), 1, "it completed all the same");
    let ended =
        |_: &mut History, found: &mut Found| found.runs.get_mut("r").expect("it is there").status = RunStatus::Failed;
    assert_eq!(judged(ended).broken.len(), 2, "it was completed, and had to be");
}
