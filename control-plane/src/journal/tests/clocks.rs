//! What a wall clock that steps must not move.

use super::*;

/// A wall clock and a monotonic one that the test moves, in milliseconds.
pub(super) fn clocks_by_hand(wall: i64) -> (Clocks, Arc<std::sync::Mutex<(i64, u64)>>) {
    let hands = Arc::new(std::sync::Mutex::new((wall, 0)));
    let (of_wall, of_monotonic) = (hands.clone(), hands.clone());
    let clocks = Clocks {
        wall: Arc::new(move || Timestamp(of_wall.lock().expect("no panic").0)),
        monotonic: Arc::new(move || Duration::from_millis(of_monotonic.lock().expect("no panic").1)),
    };
    (clocks, hands)
}

pub(super) const HOUR: i64 = 3_600_000;

#[tokio::test]
async fn a_wall_clock_that_steps_moves_neither_the_time_of_entries_nor_retention() {
    let store = MemoryStore::default();
    let (clocks, hands) = clocks_by_hand(100 * HOUR);
    let config = WriterConfig { clocks, ..WriterConfig::default() };
    let desk = Desk::start(store.clone(), config.clone());
    desk.own(1).await;
    let mut ends = Vec::new();
    for (n, step) in [(1, 0), (2, HOUR), (3, -2 * HOUR), (4, 5_000 * HOUR)] {
        {
            let mut hands = hands.lock().expect("no panic");
            hands.0 += step;
            hands.1 += 1_000;
        }
        desk.submit(n, submission("w")).await;
        let cancel = CancelWorkflow { run_id: run_id(n), cause: CancelCause::Requested, reason: "x".to_owned() };
        desk.ok(Request::Cancel { cancel }).await;
        ends.push(desk.journal.summary().recorded_at);
    }
    let expected: Vec<_> = (1..=4).map(|n| Timestamp(100 * HOUR + 1_000 * n)).collect();
    assert_eq!(ends, expected, "a second each, whatever the wall clock says");
    // By the wall clock they are half a year old.
    let minute = Duration::from_secs(60);
    assert_eq!(desk.journal.prune(minute, minute).await.expect("pruned"), Removed::default());
    let removed = desk.journal.prune(Duration::from_secs(2), minute).await.expect("pruned");
    assert_eq!((removed.runs, removed.more), (2, false));
    desk.close().await;
    // Restarted with a clock an hour back, the journal continues from where it was.
    hands.lock().expect("no panic").0 = 99 * HOUR;
    let desk = Desk::start(store, config);
    desk.submit(5, submission("w")).await;
    assert_eq!(desk.journal.summary().recorded_at, Timestamp(100 * HOUR + 4_000));
    desk.close().await;
}

#[tokio::test]
async fn a_pruned_run_is_unknown_and_its_retry_is_unchanged() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut desk = Desk::open(folder.path(), WriterConfig::default());
    let cancel = |n| CancelWorkflow { run_id: run_id(n), cause: CancelCause::Requested, reason: "x".to_owned() };
    desk.submit(1, labelled("w", &[], "mine")).await;
    desk.submit(2, submission("w")).await;
    desk.ok(Request::Cancel { cancel: cancel(1) }).await;
    let old = desk.journal.run(run_id(1)).await.expect("read").expect("known");
    let retry = Request::Retry {
        old,
        run_id: run_id(3),
        all: false,
        correlation_id: "c".to_owned(),
        traceparent: None,
        request: None,
        known: None,
    };
    desk.ok(retry).await;
    let before = desk.journal.summary();
    let minute = Duration::from_secs(60);
    let removed = desk.journal.prune(Duration::ZERO, minute).await.expect("pruned");
    assert_eq!((removed.runs, removed.more), (1, false));
    assert_eq!(desk.journal.prune(Duration::ZERO, minute).await.expect("again"), Removed::default());
    assert_eq!(desk.journal.run(run_id(1)).await.expect("read"), None);
    assert_eq!(desk.journal.ended(run_id(1)).await.expect("read"), None, "whoever waits for it is told");
    assert_eq!(desk.journal.counts(), RunCounts { running: 2, ..RunCounts::default() });
    let summary = desk.journal.summary();
    assert_eq!((summary.position, summary.recorded_at), (before.position, before.recorded_at));
    assert!(summary.pruned > Position(0) && summary.pruned < summary.position);
    let mut heard = None;
    while let Ok(input) = desk.port.inputs.try_recv() {
        if let Input::Pruned { through } = input {
            heard = Some(through);
        }
    }
    assert_eq!(heard, Some(summary.pruned), "the hub is told");
    // Its request id is free again, and the run that retries it is complete, even after a restart.
    assert!(matches!(desk.submit(4, labelled("w", &[], "mine")).await, Verdict::Ok { .. }));
    desk.close().await;
    let desk = Desk::open(folder.path(), WriterConfig::default());
    assert_eq!(desk.port.start.pruned, summary.pruned);
    let repeated = desk.journal.run(run_id(3)).await.expect("read").expect("held");
    assert_eq!((repeated.status, repeated.submitted.retry_of), (RunStatus::Running, Some(run_id(1))));
    desk.ok(Request::Cancel { cancel: cancel(3) }).await;
    desk.close().await;
}
