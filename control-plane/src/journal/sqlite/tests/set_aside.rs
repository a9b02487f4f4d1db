//! Tests of runs whose entries cannot be replayed: everything else starts as usual, and these runs are reported, listed
//! and can be ended.

use std::path::Path;

use gleitzeit_mesh::hub::Token;
use gleitzeit_run::{Position, Request, RunStatus, Verdict};
use gleitzeit_workflow::{ErrorCode, Payload};
use rusqlite::{Connection, params};
use serde_json::json;

use super::super::entries::{COLUMNS, entry, sum_of};
use super::super::list_sums::Lists;
use super::super::read::UNFINISHED;
use super::super::state::State;
use super::super::sum::{Checksum, loaded, stored};
use super::super::{SqliteStore, Store, backup, check};
use crate::journal::tests::store_suite::{Feeder, labelled, run_id, submission};
use crate::journal::{Journal, RunFilter, StoreError, Work, WriterConfig};

/// Run 1 is fine, run 2 completes a task that never began, and run 3 has an entry of an unknown kind.
fn fill(path: &Path) {
    let mut store = SqliteStore::open(path).expect("a store");
    let mut feed = Feeder::default();
    let entries = [
        feed.granted(),
        feed.submitted(1, submission("fine")),
        feed.submitted(2, labelled("contradicts", &[("a", "b")], "mine")),
        feed.submitted(3, submission("unreadable")),
        feed.task_completed(2, Payload::from(json!(1))),
        feed.task_completed(3, Payload::from(json!(1))),
        feed.task_completed(2, Payload::from(json!(2))),
        feed.task_completed(3, Payload::from(json!(2))),
    ];
    store.append(&entries).expect("written");
    drop(store);
    let db = Connection::open(path).expect("a database");
    db.execute("UPDATE entries SET type = 'task_dreamt' WHERE position = 6", []).expect("changed");
    let sum = |db: &Connection| {
        let sql = format!("{COLUMNS} WHERE position = 6");
        db.query_row(&sql, [], sum_of).expect("a sum")
    };
    let sum = sum(&db);
    db.execute("UPDATE entries SET checksum = ?1 WHERE position = 6", [stored(sum)]).expect("changed");
    let mut statement = db.prepare(UNFINISHED).expect("a query");
    let live = statement
        .query_map([], |row| Ok(loaded(row.get(1)?)))
        .expect("rows")
        .fold(Checksum::default(), |live, sum| live.plus(sum.expect("a sum")));
    db.execute("UPDATE state SET live = ?1 WHERE only_row = 1", params![stored(live)]).expect("changed");
    seal(&db);
}

/// Recomputes the checksum of the state rows after a test has changed them.
fn seal(db: &Connection) {
    let mut state = State::read(db, false).expect("read").expect("there");
    state.lists = Lists::read(db).expect("read").expect("there").0;
    state.write(db).expect("written");
}

fn open(path: &Path) -> (Journal, crate::journal::HubPort, crate::journal::WriterHandle) {
    let store = SqliteStore::open(path).expect("a store");
    Journal::start(Box::new(store), WriterConfig::default()).expect("it starts")
}

#[tokio::test]
async fn a_run_that_cannot_be_replayed_is_set_aside_until_it_is_ended_by_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    fill(&path);

    let checked = check(&path).expect("it can be read");
    assert_eq!((checked.position, checked.entries, checked.runs), (Position(8), 8, 3));
    let wrong: Vec<_> = checked.wrong.iter().map(|it| (it.run_id, it.status)).collect();
    let running = Some(RunStatus::Running);
    assert_eq!(wrong, [(Some(run_id(2)), running), (Some(run_id(3)), running)]);
    assert!(checked.wrong[0].why.contains("entry 5"), "{checked:?}");
    assert!(checked.wrong[1].why.contains("entry 6"), "{checked:?}");

    let copy = folder.path().join("copy.db");
    assert_eq!(backup(&path, &copy).expect("copied").entries, 8);

    let (journal, port, handle) = open(&path);
    let aside = journal.aside();
    assert_eq!(aside.keys().copied().collect::<Vec<_>>(), [run_id(2), run_id(3)]);
    assert!(aside[&run_id(2)].contains("entry 5") && aside[&run_id(3)].contains("entry 6"), "{aside:?}");
    assert_eq!(port.start.position, Position(8));
    assert!(port.start.open.is_empty());
    assert_eq!(journal.counts().running, 3);
    let fine = journal.run(run_id(1)).await.expect("answered").expect("there");
    assert_eq!(fine.status, RunStatus::Running);
    // The owner of the slice receives nothing about these runs.
    let shard = gleitzeit_run::Slice::Shard(run_id(2).shard());
    port.work.send(Work::QuerySlice { token: Token(1), slice: shard }).await.expect("taken");

    // Their request ids are still known, and an ordinary cancel cannot end them.
    let submit = Request::Submit { run_id: run_id(9), submitted: labelled("x", &[], "mine"), known: None };
    let known = journal.propose(submit).await.expect("answered");
    assert!(matches!(known, Verdict::Duplicate { run_id: Some(first) } if first == run_id(2)), "{known:?}");
    let end = |n| Request::CancelSetAside { run_id: run_id(n), reason: "enough".to_owned() };
    assert!(matches!(journal.propose(end(1)).await, Ok(Verdict::Invalid(_))), "it is not set aside");
    for n in [2, 3] {
        assert!(matches!(journal.propose(end(n)).await, Ok(Verdict::Ok { .. })), "{n}");
        assert!(matches!(journal.propose(end(n)).await, Ok(Verdict::Invalid(_))), "{n} again");
    }
    assert!(journal.aside().is_empty());
    assert_eq!((journal.counts().running, journal.counts().cancelled), (1, 2));
    let rows = journal.list_runs(RunFilter::default(), None, 9).await.expect("listed");
    let error = rows.iter().find(|row| row.run_id == run_id(3)).and_then(|row| row.error.clone()).expect("an error");
    assert_eq!(error.known(), Some(ErrorCode::PersistenceIntegrityError));
    assert!(error.message.starts_with("enough; it was set aside") && error.message.contains("entry 6"), "{error}");
    drop((journal, port));
    handle.stop().await.expect("stopped");

    // No run is set aside any more, the check finds nothing wrong, and they are pruned with the others.
    assert_eq!(check(&path).expect("read").wrong, []);
    let (journal, port, handle) = open(&path);
    assert!(journal.aside().is_empty());
    assert_eq!(journal.counts().running, 1);
    let removed = journal.prune(std::time::Duration::ZERO, std::time::Duration::from_secs(5)).await.expect("pruned");
    assert_eq!(removed.runs, 2);
    drop((journal, port));
    handle.stop().await.expect("stopped");
    assert_eq!(check(&path).expect("read").runs, 1);
}

/// Rewrites an entry as a later version could have written it.
fn rewrite(path: &Path, position: i64, body: &str) {
    let db = Connection::open(path).expect("a database");
    db.execute("UPDATE entries SET body = ?2 WHERE position = ?1", params![position, body]).expect("changed");
    let sql = format!("{COLUMNS} WHERE position = ?1");
    let sum = db.query_row(&sql, [position], sum_of).expect("a sum");
    db.execute("UPDATE entries SET checksum = ?2 WHERE position = ?1", params![position, stored(sum)])
        .expect("changed");
    let mut statement = db.prepare(UNFINISHED).expect("a query");
    let sums = statement.query_map([], |row| Ok(loaded(row.get(1)?))).expect("rows");
    let live = sums.fold(Checksum::default(), |live, sum| live.plus(sum.expect("a sum")));
    db.execute("UPDATE state SET live = ?1 WHERE only_row = 1", params![stored(live)]).expect("changed");
    seal(&db);
}

#[tokio::test]
async fn a_run_with_an_unreadable_submission_does_not_prevent_the_lists() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let mut store = SqliteStore::open(&path).expect("a store");
    let mut feed = Feeder::default();
    let entries = [
        feed.submitted(1, submission("fine")),
        feed.submitted(2, labelled("later", &[("a", "b")], "mine")),
        feed.submitted(3, submission("nothing of it")),
        feed.submitted(4, submission("ended")),
        feed.failed(4),
    ];
    store.append(&entries).expect("written");
    drop(store);
    let later = r#"{"workflow": {"name": "later", "shape": "of tomorrow"}, "request": {"request_id": "mine",
      "body_hash": "hash of mine"}}"#;
    rewrite(&path, 2, later);
    rewrite(&path, 3, "[]");
    rewrite(&path, 5, r#"{"why": "in other words"}"#);
    // Their rows say more than can be derived from the entries now, which is not damage.
    assert!(!check(&path).expect("read").lists_damaged);
    assert_eq!(backup(&path, &folder.path().join("copy.db")).expect("copied").entries, 5);

    for forced in [false, true] {
        Connection::open(&path).and_then(|db| db.execute("UPDATE meta SET rows_version = 0", [])).expect("changed");
        let (journal, port, handle) = open(&path);
        let expected = if forced { vec![] } else { vec![run_id(2), run_id(3)] };
        assert_eq!(journal.aside().keys().copied().collect::<Vec<_>>(), expected);
        let rows = journal.list_runs(RunFilter::default(), None, 9).await.expect("listed");
        let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["ended", "unreadable", "later", "fine"]);
        assert_eq!(rows[0].status, RunStatus::Failed, "what its entry says by its kind");
        assert!(rows[0].error.as_ref().is_some_and(|error| error.message.contains("entry 5")), "{rows:?}");
        let submit = Request::Submit { run_id: run_id(9), submitted: labelled("x", &[], "mine"), known: None };
        let known = journal.propose(submit).await.expect("answered");
        assert!(matches!(known, Verdict::Duplicate { run_id: Some(first) } if first == run_id(2)), "{known:?}");
        for n in if forced { vec![] } else { vec![2, 3] } {
            let end = Request::CancelSetAside { run_id: run_id(n), reason: "enough".to_owned() };
            assert!(matches!(journal.propose(end).await, Ok(Verdict::Ok { .. })), "{n}");
        }
        drop((journal, port));
        handle.stop().await.expect("stopped");
    }
}

#[tokio::test]
async fn a_run_over_the_replay_limit_is_set_aside_until_the_limit_is_raised() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let mut store = SqliteStore::open(&path).expect("a store");
    let mut feed = Feeder::default();
    let large = json!({"workflow": {"name": "large", "tasks": []}, "inputs": {}, "correlation_id": "x".repeat(20_000)});
    let large: gleitzeit_run::event::WorkflowSubmitted =
        serde_json::from_str(&large.to_string()).expect("a submission");
    let large = std::sync::Arc::new(large);
    store.append(&[feed.submitted(1, submission("fine")), feed.submitted(2, large)]).expect("written");
    drop(store);
    for (replay_bytes, expected) in [(10_000, 1), (WriterConfig::default().replay_bytes, 0), (10_000, 1)] {
        let store = SqliteStore::open(&path).expect("a store");
        let config = WriterConfig { replay_bytes, ..WriterConfig::default() };
        let (journal, port, handle) = Journal::start(Box::new(store), config).expect("it starts");
        let aside = journal.aside();
        assert_eq!(aside.len(), expected, "{aside:?}");
        if let Some(why) = aside.get(&run_id(2)) {
            assert!(why.contains("10000 bytes") && why.contains("--max-replay-bytes"), "{why}");
        }
        let fine = journal.run(run_id(1)).await.expect("answered").expect("there");
        assert_eq!(fine.status, RunStatus::Running);
        drop((journal, port));
        handle.stop().await.expect("stopped");
    }
}

#[test]
fn damage_is_named_by_a_check_and_refused_by_a_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    fill(&path);
    let db = Connection::open(&path).expect("a database");
    db.execute("UPDATE entries SET body = '{}' WHERE position = 2", []).expect("changed");
    let sql = format!("{COLUMNS} WHERE position = 2");
    let read = db.prepare(&sql).expect("a query").query_row([], |row| Ok(entry(row).map(drop))).expect("a row");
    assert!(matches!(read, Err(StoreError::Entry { position: 2, .. })), "{read:?}");
    drop(db);
    let checked = check(&path).expect("it can be read");
    assert!(checked.wrong.iter().any(|it| it.run_id == Some(run_id(1)) && it.why.contains("damaged")), "{checked:?}");
    let store = SqliteStore::open(&path).expect("its lists are whole");
    let started = Journal::start(Box::new(store), WriterConfig::default());
    assert!(matches!(started, Err(StoreError::Entry { position: 2, .. })));
}
