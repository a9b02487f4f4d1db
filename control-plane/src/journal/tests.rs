//! Tests of the handle and the writer together, on a real file.

use std::path::Path;

use gleitzeit_mesh::hub::{Input, Token};
use gleitzeit_run::command::{
    CancelWorkflow, Command, CompleteAttempt, DispatchTask, Fence, ReadyTask, RequeueTask, StopAttempt,
};
use gleitzeit_run::event::{CancelCause, ProtocolRegistered, RequestKey, StopReason, WorkflowSubmitted};
use gleitzeit_run::{AttemptRef, Epoch, History, RunStatus, Slice, TermId};
use gleitzeit_workflow::{Payload, QueueName};
use serde_json::json;

use super::*;

mod clocks;
mod held;
mod protocols;
pub(crate) mod store_suite;

use store_suite::{labelled, run_id, submission};

struct Desk {
    journal: Journal,
    port: HubPort,
    handle: WriterHandle,
}

impl Desk {
    fn open(folder: &Path, config: WriterConfig) -> Self {
        let store = SqliteStore::open(&folder.join("store.db")).expect("a store");
        Self::start(store, config)
    }

    fn in_memory(config: WriterConfig) -> Self {
        Self::start(MemoryStore::default(), config)
    }

    fn start(store: impl Store + 'static, config: WriterConfig) -> Self {
        let (journal, port, handle) = Journal::start(Box::new(store), config).expect("started");
        Self { journal, port, handle }
    }

    async fn submit(&self, n: u128, submitted: Arc<WorkflowSubmitted>) -> Verdict {
        let request = Request::Submit { run_id: run_id(n), submitted, known: None };
        self.journal.propose(request).await.expect("answered")
    }

    async fn ok(&self, request: Request) -> Position {
        match self.journal.propose(request.clone()).await.expect("answered") {
            Verdict::Ok { position } => position,
            other => panic!("{request:?}: {other:?}"),
        }
    }

    /// Makes `r` and `q` the owners of the slices that run `n` needs, and gives engine `e` a slot.
    async fn own(&self, n: u128) {
        let queue = Slice::Queue(QueueName::default_queue());
        self.ok(Request::Grant { slice: Slice::Shard(run_id(n).shard()), component_id: "r".into() }).await;
        self.ok(Request::Grant { slice: queue, component_id: "q".into() }).await;
        self.port.work.send(Work::EngineConnected { engine: "e".into(), slots: 1 }).await.expect("taken");
    }

    /// Makes the only task of run `n` ready, dispatches it to the engine and completes it.
    async fn finish(&self, n: u128, result: Payload) {
        let shard = Slice::Shard(run_id(n).shard());
        let queue = QueueName::default_queue();
        let parameters = Payload::from(json!({}));
        let (run_id, task_id) = (run_id(n), gleitzeit_workflow::TaskId::from("only"));
        let ready = ReadyTask {
            run_id,
            task_id: task_id.clone(),
            queue: queue.clone(),
            priority: Default::default(),
            parameters,
        };
        self.ok(component("r", Some(shard), Command::ReadyTask(ready))).await;
        let dispatch = DispatchTask { run_id, task_id: task_id.clone(), attempt: 1, engine: "e".into() };
        self.ok(component("q", Some(Slice::Queue(queue)), Command::DispatchTask(dispatch))).await;
        let at = AttemptRef { run_id, task_id, attempt: 1 };
        self.ok(component("e", None, Command::CompleteAttempt(CompleteAttempt { at, result, ran_ms: 1 }))).await;
    }

    async fn close(self) {
        drop(self.port);
        self.handle.stop().await.expect("a clean end");
    }
}

fn component(id: &str, slice: Option<Slice>, command: Command) -> Request {
    let fence = slice.map(|slice| Fence { slice, epoch: Epoch(1) });
    Request::Component { component_id: id.into(), fence, command }
}

fn cancel(n: u128) -> Request {
    let cancel =
        CancelWorkflow { run_id: run_id(n), cause: CancelCause::Requested, reason: "no longer needed".to_owned() };
    Request::Cancel { cancel }
}

#[tokio::test]
async fn a_run_is_read_live_after_its_end_and_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let desk = Desk::open(folder.path(), WriterConfig::default());
    desk.own(1).await;
    assert!(matches!(desk.submit(1, submission("w")).await, Verdict::Ok { .. }));
    let live = desk.journal.run(run_id(1)).await.expect("read").expect("known");
    assert_eq!(live.status, RunStatus::Running);
    let again = desk.journal.run(run_id(1)).await.expect("read").expect("known");
    assert!(Arc::ptr_eq(&live, &again), "an unchanged run is not copied again");
    desk.finish(1, Payload::from(json!(42))).await;
    let ended = desk.journal.run(run_id(1)).await.expect("read").expect("known");
    assert_eq!(ended.status, RunStatus::Completed);
    assert_eq!(ended.tasks[0].result(), Some(&Payload::from(json!(42))));
    assert_eq!(desk.journal.run(run_id(2)).await.expect("read"), None);
    let summary = desk.journal.summary();
    assert_eq!((summary.counts.completed, summary.counts.running), (1, 0));
    desk.close().await;

    let desk = Desk::open(folder.path(), WriterConfig::default());
    assert_eq!(desk.journal.summary(), summary);
    assert_eq!(desk.port.start.position, summary.position);
    let folded = desk.journal.run(run_id(1)).await.expect("read").expect("known");
    assert_eq!(*folded, *ended);
    let next = desk.ok(Request::Submit { run_id: run_id(3), submitted: submission("w"), known: None }).await;
    assert_eq!(next, summary.position.next(), "the journal goes on where it ended");
    desk.close().await;
}

#[tokio::test]
async fn unfinished_runs_are_restored_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let desk = Desk::open(folder.path(), WriterConfig::default());
    desk.own(1).await;
    desk.submit(1, submission("w")).await;
    desk.submit(2, submission("w")).await;
    desk.ok(cancel(2)).await;
    let methods = Payload::from(json!({"math/add": {}}));
    let protocol = ProtocolRegistered { name: "math".to_owned(), version: "v1".to_owned(), methods };
    desk.ok(Request::RegisterProtocol { protocol }).await;
    let protocols = desk.journal.protocols();
    assert_eq!(protocols.len(), 1);
    let before = desk.journal.run(run_id(1)).await.expect("read").expect("known");
    desk.close().await;

    let desk = Desk::open(folder.path(), WriterConfig::default());
    assert_eq!(desk.journal.protocols(), protocols);
    assert_eq!(desk.port.start.protocols, protocols.to_vec());
    let expected = vec![
        (Slice::Shard(run_id(1).shard()), "r".into(), Epoch(1)),
        (Slice::Queue("default".into()), "q".into(), Epoch(1)),
    ];
    assert_eq!(desk.port.start.owners, expected);
    assert_eq!(desk.journal.run(run_id(1)).await.expect("read").expect("known"), before);
    let counts = desk.journal.counts();
    assert_eq!((counts.running, counts.cancelled), (1, 1));
    desk.port.work.send(Work::EngineConnected { engine: "e".into(), slots: 1 }).await.expect("taken");
    desk.finish(1, Payload::null()).await;
    assert_eq!(desk.journal.counts().completed, 1);
    desk.close().await;
}

#[tokio::test]
async fn a_request_id_is_known_during_and_after_its_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let desk = Desk::open(folder.path(), WriterConfig { recent_runs: 0, ..WriterConfig::default() });
    let first = labelled("w", &[], "mine");
    assert!(matches!(desk.submit(1, first.clone()).await, Verdict::Ok { .. }));
    let duplicate = Verdict::Duplicate { run_id: Some(run_id(1)) };
    assert_eq!(desk.submit(2, first.clone()).await, duplicate);
    desk.ok(cancel(1)).await;
    assert_eq!(desk.submit(3, first.clone()).await, duplicate);
    let request = Some(RequestKey { request_id: "mine".to_owned(), body_hash: "other".to_owned() });
    let other = Arc::new(WorkflowSubmitted { request, ..WorkflowSubmitted::clone(&first) });
    assert!(matches!(desk.submit(4, other).await, Verdict::Invalid(_)));
    let found = desk.journal.find_request("mine".to_owned()).await.expect("read");
    assert_eq!(found, Some((run_id(1), "hash of mine".to_owned())));
    let runs = desk.journal.list_runs(RunFilter::default(), None, 9).await.expect("listed");
    assert_eq!(runs.iter().map(|row| row.run_id).collect::<Vec<_>>(), [run_id(1)]);
    desk.close().await;
}

#[tokio::test]
async fn the_hub_receives_batches_and_answers_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut desk = Desk::open(folder.path(), WriterConfig::default());
    let grant = |slice| Request::Grant { slice, component_id: "q".into() };
    let queue = Slice::Queue(QueueName::default_queue());
    let work = [
        Work::Request { token: Token(1), request: grant(queue.clone()) },
        Work::Request { token: Token(2), request: grant(queue.clone()) },
        Work::QuerySlice { token: Token(3), slice: queue.clone() },
        Work::QueryEngine { token: Token(4), engine: "e".into() },
        Work::Request { token: Token(5), request: grant(queue) },
    ];
    for work in work {
        desk.port.work.send(work).await.expect("taken");
    }
    let (mut positions, mut answers, mut heard) = (Vec::new(), Vec::new(), Vec::new());
    while answers.len() < 3 {
        match desk.port.inputs.recv().await.expect("the writer lives") {
            Input::Committed(batch) => {
                positions.extend(batch.entries.iter().map(|entry| entry.position.0));
                answers.extend(batch.answers.iter().cloned());
                heard.push("batch".to_owned());
            }
            Input::SliceState { token, state } => heard.push(format!("slice {} at {}", token.0, state.position)),
            Input::EngineState { token, effects } => heard.push(format!("engine {}: {}", token.0, effects.len())),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(positions, [1]);
    let duplicate = Verdict::Duplicate { run_id: None };
    assert_eq!(
        answers,
        [(Token(1), Verdict::Ok { position: Position(1) }), (Token(2), duplicate.clone()), (Token(5), duplicate)]
    );
    heard.dedup();
    assert_eq!(heard, ["batch", "slice 3 at 1", "engine 4: 0", "batch"]);
    assert_eq!(desk.journal.position(), Position(1), "a batch of refusals writes nothing");
    desk.close().await;
}

#[tokio::test]
async fn too_many_callers_get_busy_and_a_closed_journal_returns_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    let desk = Desk::open(folder.path(), WriterConfig { waiting: 0, ..WriterConfig::default() });
    let refused = desk.journal.propose(cancel(1)).await;
    assert!(matches!(refused, Err(JournalError::Busy { .. })), "{refused:?}");
    let journal = desk.journal.clone();
    desk.close().await;
    assert!(matches!(journal.run(run_id(1)).await, Err(JournalError::Closed)));
}

fn seqs(entries: &[Arc<Entry>]) -> Vec<u64> {
    entries.iter().map(|entry| entry.seq.0).collect()
}

/// All remaining entries of a watched run.
async fn rest(watch: &mut RunWatch) -> Vec<u64> {
    let mut seen = Vec::new();
    while let Some(entries) = watch.next().await.expect("read") {
        assert!(!entries.is_empty());
        seen.extend(seqs(&entries));
    }
    seen
}

#[tokio::test]
async fn a_watcher_gets_every_entry_once_whenever_it_starts() {
    let desk = Desk::in_memory(WriterConfig::default());
    desk.own(1).await;
    desk.submit(1, submission("w")).await;
    let mut early = desk.journal.watch(run_id(1), Seq(0));
    let mut ahead = desk.journal.watch(run_id(1), Seq(3));
    assert_eq!(seqs(&early.next().await.expect("read").expect("entries")), [1]);
    let waiting = tokio::spawn(async move { rest(&mut ahead).await });
    desk.finish(1, Payload::null()).await;
    assert_eq!(rest(&mut early).await, [2, 3, 4, 5]);
    assert_eq!(waiting.await.expect("ended"), [3, 4, 5]);
    assert_eq!(early.next().await.expect("read"), None, "the end is the end");
    assert_eq!(rest(&mut desk.journal.watch(run_id(1), Seq(2))).await, [2, 3, 4, 5]);
    assert_eq!(rest(&mut desk.journal.watch(run_id(1), Seq(9))).await, [0_u64; 0]);
    assert_eq!(rest(&mut desk.journal.watch(run_id(7), Seq(0))).await, [0_u64; 0]);
    desk.close().await;
}

#[tokio::test]
async fn a_watcher_that_lags_reads_the_rest_from_the_store() {
    let desk = Desk::in_memory(WriterConfig::default());
    desk.own(1).await;
    desk.submit(1, submission("w")).await;
    let mut watch = desk.journal.watch(run_id(1), Seq(0));
    assert_eq!(seqs(&watch.next().await.expect("read").expect("entries")), [1]);
    // The watcher is registered, and now misses more batches than its channel holds.
    let (shard, queue) = (Slice::Shard(run_id(1).shard()), Slice::Queue(QueueName::default_queue()));
    let task_id = gleitzeit_workflow::TaskId::from("only");
    let parameters = Payload::from(json!({}));
    let ready = ReadyTask {
        run_id: run_id(1),
        task_id: task_id.clone(),
        queue: QueueName::default_queue(),
        priority: Default::default(),
        parameters,
    };
    desk.ok(component("r", Some(shard), Command::ReadyTask(ready))).await;
    for attempt in 1..=9 {
        let dispatch = DispatchTask { run_id: run_id(1), task_id: task_id.clone(), attempt, engine: "e".into() };
        desk.ok(component("q", Some(queue.clone()), Command::DispatchTask(dispatch))).await;
        let at = AttemptRef { run_id: run_id(1), task_id: task_id.clone(), attempt };
        let stop = StopAttempt { at, reason: StopReason::NotTaken };
        desk.ok(Request::HubStop { stop }).await;
        let requeue = RequeueTask { run_id: run_id(1), task_id: task_id.clone(), attempt };
        desk.ok(component("q", Some(queue.clone()), Command::RequeueTask(requeue))).await;
    }
    desk.ok(cancel(1)).await;
    let last = desk.journal.run(run_id(1)).await.expect("read").expect("known").seq.0;
    assert!(last > 30);
    assert_eq!(rest(&mut watch).await, (2..=last).collect::<Vec<_>>());
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_and_callers_in_parallel_lose_nothing() {
    const RUNS: u128 = 200;
    let folder = tempfile::tempdir().expect("a folder");
    // Nothing is cached and every queue is short, so that each way of reading is used.
    let config = WriterConfig { recent_runs: 0, queue: 8, hub_queue: 1, ..WriterConfig::default() };
    let desk = Desk::open(folder.path(), config);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 1..=RUNS {
        let journal = desk.journal.clone();
        tasks.spawn(async move {
            let request = Request::Submit { run_id: run_id(n), submitted: submission("w"), known: None };
            journal.propose(request).await.expect("answered");
            let mut watch = journal.watch(run_id(n), Seq(0));
            let (seen, verdict) = tokio::join!(rest(&mut watch), journal.propose(cancel(n)));
            assert!(matches!(verdict.expect("answered"), Verdict::Ok { .. }));
            let state = journal.run(run_id(n)).await.expect("read").expect("known");
            assert_eq!(state.status, RunStatus::Cancelled);
            assert_eq!(seen, (1..=state.seq.0).collect::<Vec<_>>());
        });
    }
    let mut port = desk.port;
    let hub = tokio::spawn(async move {
        let mut next = port.start.position.next();
        while let Some(input) = port.inputs.recv().await {
            let Input::Committed(batch) = input else { panic!("{input:?}") };
            for entry in &batch.entries {
                assert_eq!(entry.position, next, "the hub sees every entry once, in order");
                next = next.next();
            }
        }
        next
    });
    while let Some(task) = tasks.join_next().await {
        task.expect("it lost nothing");
    }
    assert_eq!(u128::from(desk.journal.counts().cancelled), RUNS);
    let position = desk.journal.position();
    desk.handle.stop().await.expect("a clean end");
    assert_eq!(hub.await.expect("ended"), position.next());
}

#[tokio::test]
async fn too_many_watchers_get_busy() {
    let desk = Desk::in_memory(WriterConfig { watchers: 1, ..WriterConfig::default() });
    desk.submit(1, submission("w")).await;
    let mut first = desk.journal.watch(run_id(1), Seq(0));
    first.next().await.expect("read");
    let mut second = desk.journal.watch(run_id(1), Seq(0));
    assert!(matches!(second.next().await, Err(JournalError::Busy { .. })));
    drop(first);
    assert!(second.next().await.expect("there is room now").is_some());
    desk.close().await;
}

#[tokio::test]
async fn the_end_of_a_run_can_be_waited_for() {
    let desk = Desk::in_memory(WriterConfig::default());
    desk.own(1).await;
    desk.submit(1, submission("w")).await;
    let journal = desk.journal.clone();
    let waiting = tokio::spawn(async move { journal.ended(run_id(1)).await });
    desk.finish(1, Payload::null()).await;
    let ended = waiting.await.expect("ended").expect("read").expect("known");
    assert_eq!(ended.status, RunStatus::Completed);
    assert_eq!(desk.journal.ended(run_id(1)).await.expect("read"), Some(ended));
    assert_eq!(desk.journal.ended(run_id(2)).await.expect("read"), None);
    desk.close().await;
}

/// The wall clock is set back, both while the journal is being written and between two starts.
#[tokio::test]
async fn the_newest_run_has_the_greatest_id_even_if_the_clock_steps() {
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
    let folder = tempfile::tempdir().expect("a folder");
    let wall = Arc::new(AtomicI64::new(1_800_000_000_000));
    let monotonic = Arc::new(AtomicU64::new(0));
    let config = || {
        let (wall, monotonic) = (wall.clone(), monotonic.clone());
        let clocks = Clocks {
            wall: Arc::new(move || Timestamp(wall.load(Ordering::SeqCst))),
            monotonic: Arc::new(move || Duration::from_millis(monotonic.load(Ordering::SeqCst))),
        };
        WriterConfig { clocks, ..WriterConfig::default() }
    };
    let mut submitted = Vec::new();
    for _ in 0..3 {
        let desk = Desk::open(folder.path(), config());
        // A year back, which nobody has to wait out.
        wall.fetch_sub(31_536_000_000, Ordering::SeqCst);
        for _ in 0..3 {
            monotonic.fetch_add(7, Ordering::SeqCst);
            let run_id = desk.journal.new_run_id();
            desk.ok(Request::Submit { run_id, submitted: submission("w"), known: None }).await;
            submitted.push(run_id);
        }
        desk.close().await;
    }
    assert!(submitted.is_sorted(), "{submitted:?}");
    let desk = Desk::open(folder.path(), config());
    let listed = desk.journal.list_runs(RunFilter::default(), None, 99).await.expect("listed");
    submitted.reverse();
    assert_eq!(listed.iter().map(|row| row.run_id).collect::<Vec<_>>(), submitted, "newest first");
    assert!(listed.iter().map(|row| row.submitted_at).is_sorted_by(|a, b| a >= b));
    desk.close().await;
}

/// The store's file disappears while it is in use.
#[tokio::test]
async fn nothing_is_acknowledged_in_a_store_that_was_removed() {
    for known in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let desk = Desk::open(folder.path(), WriterConfig::default());
        desk.submit(1, labelled("w", &[], "mine")).await;
        std::fs::remove_file(folder.path().join("store.db")).expect("removed");
        // A new request, and one that was recorded before and would be acknowledged again.
        let submitted = if known { labelled("w", &[], "mine") } else { submission("w") };
        let asked = desk.journal.propose(Request::Submit { run_id: run_id(2), submitted, known: None }).await;
        assert!(matches!(asked, Err(JournalError::Closed)), "{asked:?}");
        let Desk { port, mut handle, .. } = desk;
        drop(port);
        let why = handle.ended().await.expect_err("it cannot go on");
        assert!(matches!(&why, WriterError::Store(StoreError::Gone { .. })), "{why:?}");
    }
}

#[tokio::test]
async fn an_idle_writer_ends_once_its_store_was_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut desk = Desk::open(folder.path(), WriterConfig::default());
    desk.submit(1, submission("w")).await;
    desk.journal.confirm().await.expect("asked");
    desk.submit(2, submission("w")).await;
    std::fs::rename(folder.path().join("store.db"), folder.path().join("elsewhere.db")).expect("moved");
    desk.journal.confirm().await.expect("asked");
    let why = desk.handle.ended().await.expect_err("it cannot go on");
    assert!(why.to_string().contains("journal") && matches!(why, WriterError::Store(StoreError::Gone { .. })));
}
