//! The tests that every store must pass, and the entries that they use.

use std::sync::Arc;

use gleitzeit_run::event::{
    OwnershipGranted, RequestKey, TaskCompleted, WorkflowCompleted, WorkflowFailed, WorkflowSubmitted,
};
use gleitzeit_run::{Entry, Epoch, Event, Position, RunId, RunStatus, Seq, Slice};
use gleitzeit_workflow::spec::{Priority, RetryPolicy, Task, Workflow};
use gleitzeit_workflow::{ErrorCode, Failure, Payload, QueueName, Timestamp};
use serde_json::json;

use super::super::{Reader, RunCounts, RunFilter, Store, StoreError, Tail};

/// An id that sorts by `n`.
pub(crate) fn run_id(n: u128) -> RunId {
    RunId(uuid::Uuid::from_u128(n << 64))
}

/// A workflow with one task.
pub(crate) fn submission(name: &str) -> Arc<WorkflowSubmitted> {
    let task = Task {
        id: "only".into(),
        method: "util/echo".into(),
        provider: None,
        protocol_version: "v1".to_owned(),
        priority: Priority::default(),
        queue: QueueName::default_queue(),
        timeout_ms: None,
        retry: RetryPolicy::default(),
        dependencies: Vec::new(),
        parameters: json!({}),
        code: Default::default(),
    };
    let workflow = Workflow {
        name: name.to_owned(),
        description: None,
        version: None,
        labels: Default::default(),
        inputs: Default::default(),
        files: Default::default(),
        timeout_ms: None,
        tasks: vec![task],
        outputs: Default::default(),
    };
    Arc::new(WorkflowSubmitted {
        workflow,
        inputs: Payload::from(json!({})),
        files: Default::default(),
        env: Default::default(),
        labels: Default::default(),
        correlation_id: "c".to_owned(),
        traceparent: None,
        retry_of: None,
        request: None,
        prepared: Default::default(),
    })
}

/// The same, with labels and a request id.
pub(crate) fn labelled(name: &str, labels: &[(&str, &str)], request_id: &str) -> Arc<WorkflowSubmitted> {
    let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
    let request = Some(RequestKey { request_id: request_id.to_owned(), body_hash: format!("hash of {request_id}") });
    Arc::new(WorkflowSubmitted { labels, request, ..WorkflowSubmitted::clone(&submission(name)) })
}

/// Creates consecutive entries.
#[derive(Default)]
pub(crate) struct Feeder {
    position: Position,
    seqs: std::collections::BTreeMap<RunId, Seq>,
}

impl Feeder {
    pub(crate) fn entry(&mut self, run_id: Option<RunId>, event: impl Into<Event>) -> Arc<Entry> {
        self.position = self.position.next();
        let seq = run_id.map_or(Seq(0), |run_id| {
            let seq = self.seqs.entry(run_id).or_default();
            *seq = seq.next();
            *seq
        });
        let at = i64::try_from(self.position.0).expect("small");
        let event = event.into();
        let queue = matches!(event, Event::TaskCompleted(_)).then(QueueName::default_queue);
        Arc::new(Entry { position: self.position, run_id, seq, recorded_at: Timestamp(1_000 * at), queue, event })
    }

    pub(crate) fn granted(&mut self) -> Arc<Entry> {
        let slice = Slice::Queue("default".into());
        let epoch = Epoch(self.position.0 + 1);
        self.entry(None, OwnershipGranted { slice, component_id: "q".into(), epoch })
    }

    pub(crate) fn submitted(&mut self, n: u128, submitted: Arc<WorkflowSubmitted>) -> Arc<Entry> {
        self.entry(Some(run_id(n)), submitted)
    }

    pub(crate) fn task_completed(&mut self, n: u128, result: Payload) -> Arc<Entry> {
        let event = TaskCompleted { task_id: "only".into(), attempt: 1, result, ran_ms: 0, carried: false };
        self.entry(Some(run_id(n)), event)
    }

    pub(crate) fn completed(&mut self, n: u128) -> Arc<Entry> {
        self.entry(Some(run_id(n)), WorkflowCompleted { outputs: Payload::null() })
    }

    pub(crate) fn failed(&mut self, n: u128) -> Arc<Entry> {
        let error = Failure::new(ErrorCode::WorkflowExecutionFailed, "no \"luck\"");
        self.entry(Some(run_id(n)), WorkflowFailed { error })
    }
}

fn read(store: &dyn Store) -> Box<dyn Reader> {
    store.reader().expect("a reader")
}

fn positions<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<u64> {
    entries.into_iter().map(|entry| entry.position.0).collect()
}

fn listed(store: &dyn Store, filter: &RunFilter, after: Option<u128>, limit: usize) -> Vec<RunId> {
    let rows = read(store).list_runs(filter, after.map(run_id), limit).expect("listed");
    rows.into_iter().map(|row| row.run_id).collect()
}

/// Entries are read back as they were written, by position and by run, in pages; a reader that was opened earlier sees
/// them too.
pub(crate) fn what_is_appended_is_read(mut store: Box<dyn Store>) {
    let reader = read(store.as_ref());
    let mut feed = Feeder::default();
    let first =
        [feed.granted(), feed.submitted(1, labelled("w", &[("a", "b")], "r1")), feed.submitted(2, submission("v"))];
    let second = [feed.task_completed(1, Payload::from(json!({"π": [1, 2.50, "\u{0}"]}))), feed.failed(2)];
    assert_eq!(store.tail(), Tail::default());
    store.append(&first).expect("written");
    store.append(&second).expect("written");
    assert_eq!(store.tail(), Tail { position: Position(5), recorded_at: Timestamp(5_000) });
    let all: Vec<Entry> = first.iter().chain(&second).map(|entry| Entry::clone(entry)).collect();
    assert_eq!(reader.read_from(Position(0), 99.into()).expect("read"), all);
    assert_eq!(positions(&reader.read_from(Position(2), 2.into()).expect("read")), [2, 3]);
    assert_eq!(reader.read_from(Position(6), 9.into()).expect("read"), []);
    assert_eq!(positions(&reader.read_run(run_id(1), Seq(0), 9.into()).expect("read")), [2, 4]);
    assert_eq!(positions(&reader.read_run(run_id(1), Seq(2), 9.into()).expect("read")), [4]);
    assert_eq!(positions(&reader.read_run(run_id(2), Seq(1), 1.into()).expect("read")), [3]);
    assert_eq!(reader.read_run(run_id(9), Seq(0), 9.into()).expect("read"), []);
}

/// A batch with a gap is refused as a whole.
pub(crate) fn a_batch_with_a_gap_leaves_nothing_behind(mut store: Box<dyn Store>) {
    let mut feed = Feeder::default();
    let (first, _, third) = (feed.granted(), feed.granted(), feed.granted());
    let refused = store.append(&[first.clone(), third]);
    assert!(matches!(refused, Err(StoreError::Entry { position: 3, .. })), "{refused:?}");
    assert_eq!(store.tail(), Tail::default());
    assert_eq!(read(store.as_ref()).read_from(Position(0), 9.into()).expect("read"), []);
    store.append(&[first]).expect("the next one is accepted");
}

/// A term covers what is appended from then on.
pub(crate) fn a_term_begins_after_the_last_entry(mut store: Box<dyn Store>) {
    let mut feed = Feeder::default();
    store.begin_term("first".into()).expect("it begins");
    store.append(&[feed.granted(), feed.granted()]).expect("written");
    let history = store.begin_term("second".into()).expect("it begins");
    let of = |position| history.of(Position(position)).map(|term| (term.number, term.id.as_str().to_owned()));
    assert_eq!((of(2), of(3)), (Some((1, "first".to_owned())), Some((2, "second".to_owned()))));
}

/// A request id leads to its run and hash, even after the run has ended.
pub(crate) fn a_request_is_found(mut store: Box<dyn Store>) {
    let mut feed = Feeder::default();
    let entries =
        [feed.submitted(1, labelled("w", &[], "mine")), feed.submitted(2, submission("v")), feed.completed(1)];
    store.append(&entries).expect("written");
    let reader = read(store.as_ref());
    let expected = Some((run_id(1), "hash of mine".to_owned()));
    assert_eq!(reader.find_request("mine").expect("read"), expected);
    assert_eq!(reader.find_request("other").expect("read"), None);
}

/// A replay leaves out the entries of finished runs and keeps the rest in order.
pub(crate) fn a_replay_leaves_out_finished_runs(mut store: Box<dyn Store>) {
    let mut feed = Feeder::default();
    let entries = [
        feed.submitted(1, submission("w")),
        feed.submitted(2, submission("w")),
        feed.granted(),
        feed.task_completed(2, Payload::null()),
        feed.task_completed(1, Payload::null()),
        feed.completed(1),
        feed.granted(),
    ];
    store.append(&entries).expect("written");
    let mut seen = Vec::new();
    let replayed = read(store.as_ref()).replay(usize::MAX, &mut |entry| {
        seen.push(entry.expect("readable").position.0);
        Ok(())
    });
    replayed.expect("read");
    assert_eq!(seen, [2, 3, 4, 7]);
    let mut first = None;
    let stopped = read(store.as_ref()).replay(usize::MAX, &mut |entry| {
        let position = entry.expect("readable").position.0;
        assert_eq!(first.replace(position), None, "it goes on after an error");
        Err(StoreError::Entry { position, why: "enough".to_owned() })
    });
    assert!(matches!(stopped, Err(StoreError::Entry { position: 2, .. })));
}

/// Lists show runs newest first, with every filter, in pages that neither repeat nor miss a run.
pub(crate) fn runs_are_listed(mut store: Box<dyn Store>) {
    let mut feed = Feeder::default();
    let entries = [
        feed.submitted(1, labelled("etl", &[("team", "a"), ("it's \"q\"", "$.x")], "r1")),
        feed.submitted(3, labelled("etl", &[("team", "b")], "r3")),
        feed.submitted(2, submission("other")),
        feed.completed(1),
        feed.failed(2),
    ];
    store.append(&entries).expect("written");
    let all = RunFilter::default();
    let ids = |ns: &[u128]| ns.iter().copied().map(run_id).collect::<Vec<_>>();
    assert_eq!(listed(store.as_ref(), &all, None, 9), ids(&[3, 2, 1]));
    assert_eq!(listed(store.as_ref(), &all, None, 2), ids(&[3, 2]));
    assert_eq!(listed(store.as_ref(), &all, Some(2), 2), ids(&[1]));
    let label = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into_iter().collect();
    let filters = [
        (RunFilter { statuses: vec![RunStatus::Failed], ..all.clone() }, &[2][..]),
        (RunFilter { statuses: vec![RunStatus::Running, RunStatus::Completed], ..all.clone() }, &[3, 1]),
        (RunFilter { statuses: vec![RunStatus::Cancelled], ..all.clone() }, &[]),
        (RunFilter { name: Some("etl".to_owned()), ..all.clone() }, &[3, 1]),
        (RunFilter { name: Some("et".to_owned()), ..all.clone() }, &[]),
        (RunFilter { labels: label("team", "b"), ..all.clone() }, &[3]),
        (RunFilter { labels: label("team", "c"), ..all.clone() }, &[]),
        (RunFilter { labels: label("it's \"q\"", "$.x"), ..all.clone() }, &[1]),
        (RunFilter { submitted_after: Some(Timestamp(2_000)), ..all.clone() }, &[3, 2]),
        (RunFilter { submitted_before: Some(Timestamp(2_000)), ..all.clone() }, &[1]),
        (RunFilter { id_prefix: "00000000-0000-0003".to_owned(), ..all.clone() }, &[3]),
        (RunFilter { id_prefix: "0".to_owned(), ..all.clone() }, &[3, 2, 1]),
        (RunFilter { id_prefix: "last".to_owned(), ..all.clone() }, &[]),
    ];
    for (filter, expected) in filters {
        assert_eq!(listed(store.as_ref(), &filter, None, 9), ids(expected), "{filter:?}");
    }
    let rows = read(store.as_ref()).list_runs(&all, None, 9).expect("listed");
    assert_eq!(rows[1].error.as_ref().map(|error| error.message.as_str()), Some("no \"luck\""));
    assert_eq!(rows[1].finished_at, Some(Timestamp(5_000)));
    assert_eq!((rows[2].status, rows[2].task_count, rows[2].submitted_at), (RunStatus::Completed, 1, Timestamp(1_000)));
    assert_eq!(rows[2].labels.get("team").map(String::as_str), Some("a"));
    assert_eq!(rows[0].finished_at, None);
    let counts = read(store.as_ref()).counts().expect("counted");
    assert_eq!(counts, RunCounts { running: 1, completed: 1, failed: 1, cancelled: 0 });
}

/// Runs that ended long enough ago are removed in steps; the rest stays, and the journal continues where it was.
pub(crate) fn finished_runs_are_pruned_and_nothing_else(mut store: Box<dyn Store>) {
    let mut feed = Feeder::default();
    store.append(&[feed.granted(), feed.submitted(1, labelled("w", &[], "first"))]).expect("written");
    for n in 2..=300 {
        let mut batch = vec![feed.submitted(n, labelled("w", &[], &format!("request {n}")))];
        batch.extend((0..4).map(|_| feed.task_completed(n, Payload::from(json!("x".repeat(200))))));
        batch.push(if n % 2 == 0 { feed.completed(n) } else { feed.failed(n) });
        store.append(&batch).expect("written");
    }
    let tail = store.tail();
    let reader = read(store.as_ref());
    let replayed = |reader: &dyn Reader| {
        let mut seen = Vec::new();
        reader.replay(usize::MAX, &mut |entry| {
            seen.push(entry);
            Ok(())
        })?;
        Ok::<_, StoreError>(seen)
    };
    let before = replayed(reader.as_ref()).expect("read");
    // Run 200 ended with the entry at position 2 + 6 * 199.
    let ended = Timestamp(1_000 * (2 + 6 * 199));
    let since = reader.ended_since(ended, 2).expect("listed");
    assert_eq!(since, [(run_id(200), ended), (run_id(201), ended.plus_ms(6_000))]);
    let (mut runs, mut entries, mut steps) = (Vec::new(), 0, 0);
    loop {
        let step = store.prune(ended).expect("pruned");
        steps += 1;
        entries += step.entries;
        runs.extend(step.runs);
        // Every listed run can be read, and a run that is being removed loses its last entries first.
        for row in reader.list_runs(&RunFilter::default(), None, 999).expect("listed") {
            let of_run = reader.read_run(row.run_id, Seq(1), 9.into()).expect("read");
            assert_eq!(of_run.len(), if row.run_id == run_id(1) { 1 } else { 6 });
        }
        if !step.more {
            break;
        }
        assert!(steps < 999, "it does not end");
    }
    assert!(steps > 1, "one step removed everything");
    assert_eq!((runs.len(), entries), (199, 199 * 6));
    assert!(runs.contains(&(run_id(2), RunStatus::Completed)) && runs.contains(&(run_id(3), RunStatus::Failed)));
    assert_eq!(store.prune(ended).expect("again"), crate::journal::Pruned::default(), "once is enough");
    assert_eq!(store.tail(), tail);
    assert_eq!(store.pruned(), Position(2 + 6 * 199));
    assert_eq!(replayed(reader.as_ref()).expect("read"), before);
    let left = listed(store.as_ref(), &RunFilter::default(), None, 999);
    assert_eq!((left.len(), left[99], left[100]), (101, run_id(201), run_id(1)));
    assert_eq!(reader.counts().expect("counted"), RunCounts { running: 1, completed: 50, failed: 50, cancelled: 0 });
    assert_eq!(reader.read_run(run_id(200), Seq(1), 9.into()).expect("read"), []);
    assert_eq!(reader.find_request("request 200").expect("read"), None);
    assert!(reader.find_request("request 201").expect("read").is_some());
    assert!(reader.find_request("first").expect("read").is_some());
    // All runs go, even the one with the last entry; the journal still continues where it was.
    while store.prune(Timestamp(i64::MAX)).expect("pruned").more {}
    assert_eq!((store.tail(), store.pruned()), (tail, tail.position));
    store.append(&[feed.completed(1)]).expect("it goes on");
    assert_eq!(positions(&reader.read_from(Position(0), 9.into()).expect("read")), [1, 2, tail.position.0 + 1]);
}

/// Entries that belong to no run are removed when they no longer matter; those of runs are not.
pub(crate) fn entries_of_no_run_are_removed(mut store: Box<dyn Store>) {
    let mut feed = Feeder::default();
    let entries = [feed.granted(), feed.submitted(1, submission("w")), feed.granted(), feed.granted()];
    store.append(&entries).expect("written");
    assert_eq!(store.remove(&[Position(1), Position(2), Position(9)]).expect("removed"), 1);
    assert_eq!((store.pruned(), store.tail().position), (Position(1), Position(4)));
    let reader = read(store.as_ref());
    assert_eq!(positions(&reader.read_from(Position(0), 9.into()).expect("read")), [2, 3, 4]);
    // Even the last entry.
    assert_eq!(store.remove(&[Position(4)]).expect("removed"), 1);
    assert_eq!(store.remove(&[Position(4)]).expect("removed"), 0);
    store.append(&[feed.completed(1)]).expect("it goes on");
    let mut replayed = Vec::new();
    reader
        .replay(usize::MAX, &mut |entry| {
            replayed.push(entry.expect("readable").position.0);
            Ok(())
        })
        .expect("read");
    assert_eq!(replayed, [3]);
}

/// Runs the suite for a store: `$new` creates an empty one, with whatever must outlive it.
macro_rules! store_suite {
    ($new:expr) => {
        store_suite!($new;
            what_is_appended_is_read,
            a_batch_with_a_gap_leaves_nothing_behind,
            a_request_is_found,
            a_term_begins_after_the_last_entry,
            a_replay_leaves_out_finished_runs,
            runs_are_listed,
            finished_runs_are_pruned_and_nothing_else,
            entries_of_no_run_are_removed
        );
    };
    ($new:expr; $($test:ident),*) => {
        $(#[test]
        fn $test() {
            let (_keep, store) = $new;
            $crate::journal::tests::store_suite::$test(Box::new(store));
        })*
    };
}

pub(crate) use store_suite;
