//! A run's journal as `watch -o json` prints it, and the rules that every journal keeps.

use std::collections::BTreeMap;

use serde_json::Value;

use super::process::Process;
use super::sandbox::Sandbox;
use super::wait::{PATIENCE, until};

/// One entry.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) seq: u64,
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
    pub(crate) kind: String,
    /// Empty if the entry is about the run.
    pub(crate) task: String,
    pub(crate) attempt: u64,
    pub(crate) payload: Value,
}

/// All entries of a run that has ended.
pub(crate) struct Journal(pub(crate) Vec<Event>);

/// A run's growing journal. It continues over a restart of the control plane.
pub(crate) struct Watch(Process);

/// The entries of one task, summed up.
#[derive(Default)]
struct Account {
    attempts: u64,
    open: bool,
    completed: u64,
    ended: bool,
}

impl Journal {
    /// Watches a run to its end and checks that its journal keeps all rules.
    #[track_caller]
    pub(crate) fn watch(sandbox: &Sandbox, hub_url: &str, run: &str) -> Self {
        Watch::start(sandbox, hub_url, run).finish()
    }

    pub(crate) fn of<'a>(&'a self, task: &'a str) -> impl Iterator<Item = &'a Event> {
        self.0.iter().filter(move |event| event.task == task)
    }

    pub(crate) fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Event> {
        self.0.iter().filter(move |event| event.kind == kind)
    }

    /// The only entry of a kind.
    #[track_caller]
    pub(crate) fn only<'a>(&'a self, kind: &'a str) -> &'a Event {
        let mut found = self.all(kind);
        let first = found.next().unwrap_or_else(|| panic!("no {kind}"));
        assert!(found.next().is_none(), "more than one {kind}");
        first
    }

    /// Asserts that every task became ready after its dependencies had completed.
    #[track_caller]
    pub(crate) fn keeps_the_order_of<'a>(&self, dependencies: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>) {
        let seqs = |kind| self.all(kind).map(|event| (event.task.as_str(), event.seq)).collect::<BTreeMap<_, _>>();
        let (ready, completed) = (seqs("task_ready"), seqs("task_completed"));
        for (task, on) in dependencies {
            for dependency in on {
                let (from, to) = (completed.get(dependency), ready.get(task));
                assert!(from.is_some() && from < to, "`{task}` ({to:?}) after `{dependency}` ({from:?})");
            }
        }
    }

    /// The kinds of a task's entries, in order.
    pub(crate) fn kinds<'a>(&'a self, task: &'a str) -> Vec<&'a str> {
        self.of(task).map(|event| event.kind.as_str()).collect()
    }

    /// Asserts that nothing is missing or out of order; that attempts are numbered from 1, open one at a time, end once
    /// and are not forgotten; and that a task completes once and nothing follows its end.
    #[track_caller]
    fn audit(&self) {
        let mut accounts: BTreeMap<&str, Account> = BTreeMap::new();
        let mut before_ms = 0;
        for (index, event) in self.0.iter().enumerate() {
            assert_eq!(event.seq, index as u64 + 1, "{event:?}");
            assert!(event.at_ms >= before_ms, "time went back: {event:?}");
            before_ms = event.at_ms;
            if event.task.is_empty() {
                continue;
            }
            let account = accounts.entry(&event.task).or_default();
            assert!(!account.ended, "after its end: {event:?}");
            match event.kind.as_str() {
                "task_dispatched" => {
                    account.attempts += 1;
                    assert!(!account.open, "two attempts at once: {event:?}");
                    assert_eq!(event.attempt, account.attempts, "{event:?}");
                    account.open = true;
                }
                "task_completed" if event.attempt == 0 => account.completed += 1,
                "task_started" | "task_completed" | "task_attempt_failed" | "task_attempt_stopped" => {
                    assert!(account.open && event.attempt == account.attempts, "of no open attempt: {event:?}");
                    account.open = event.kind == "task_started";
                    account.completed += u64::from(event.kind == "task_completed");
                }
                _ => assert!(!account.open, "while an attempt is open: {event:?}"),
            }
            account.ended =
                matches!(event.kind.as_str(), "task_completed" | "task_failed" | "task_skipped" | "task_cancelled");
        }
        for (task, account) in &accounts {
            assert!(account.ended && !account.open && account.completed <= 1, "`{task}` has no proper end");
        }
        assert!(self.0.last().is_some_and(|event| event.kind.starts_with("workflow_")), "the run has an end");
    }
}

impl Watch {
    pub(crate) fn start(sandbox: &Sandbox, hub_url: &str, run: &str) -> Self {
        Self(sandbox.start(&["watch", run, "--hub-url", hub_url, "-o", "json"]))
    }

    /// All entries so far; each is durable.
    pub(crate) fn so_far(&self) -> Vec<Event> {
        let said = self.0.stdout();
        let whole = said.rfind('\n').map_or("", |end| &said[..end]);
        whole.lines().filter_map(read).collect()
    }

    /// Waits until the entries so far satisfy the condition.
    #[track_caller]
    pub(crate) fn until<T>(&mut self, what: &str, wanted: impl Fn(&[Event]) -> Option<T>) -> T {
        until(what, PATIENCE, || {
            let found = wanted(&self.so_far());
            assert!(found.is_some() || self.0.is_running(), "the run ended before: {what}\n{}", self.0.stderr());
            found
        })
    }

    /// Waits for an entry of this kind about an attempt of a task, and returns it.
    #[track_caller]
    pub(crate) fn until_task(&mut self, task: &str, attempt: u64, kind: &str) -> Event {
        self.until(&format!("{kind} {attempt} of {task}"), |events| {
            events.iter().find(|it| it.task == task && it.attempt == attempt && it.kind == kind).cloned()
        })
    }

    /// Waits for the run's end and checks that its journal keeps all rules.
    #[track_caller]
    pub(crate) fn finish(self) -> Journal {
        let ended = self.0.wait(PATIENCE);
        assert!(matches!(ended.code(), 0 | 1), "{ended}");
        let journal = Journal(ended.stdout.lines().filter_map(read).collect());
        journal.audit();
        journal
    }
}

/// `None` for events that are not recorded.
#[track_caller]
fn read(line: &str) -> Option<Event> {
    let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}"));
    let seq = event["seq"].as_u64().expect("a number");
    (seq > 0).then(|| Event {
        seq,
        at_ms: time_ms(&event["time"]),
        kind: event["type"].as_str().expect("text").to_owned(),
        task: event["task_id"].as_str().unwrap_or_default().to_owned(),
        attempt: event["attempt"].as_u64().expect("a number"),
        payload: event["payload"].clone(),
    })
}

/// An RFC 3339 time in milliseconds since 1970.
#[track_caller]
pub(crate) fn time_ms(time: &Value) -> u64 {
    let text = time.as_str().unwrap_or_else(|| panic!("no time: {time}"));
    let time: prost_types::Timestamp = text.parse().unwrap_or_else(|_| panic!("not RFC 3339: {text}"));
    let ms = time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000;
    u64::try_from(ms).expect("after 1970")
}
