//! What only a file can do wrong, and the suite for all stores.

use gleitzeit_run::Seq;
use gleitzeit_workflow::Payload;
use serde_json::json;

use super::*;
use crate::journal::tests::store_suite::{self, Feeder, labelled, store_suite, submission};
use crate::journal::{FORMAT_VERSION, RunFilter};

mod damage;
mod lost;
mod set_aside;

fn fresh() -> (tempfile::TempDir, SqliteStore) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(&folder.path().join("made/store.db")).expect("a new store");
    (folder, store)
}

store_suite!(fresh());

#[test]
fn appended_entries_are_there_after_reopening() {
    let (_keep, mut store) = fresh();
    let mut feed = Feeder::default();
    let entries = [feed.granted(), feed.submitted(1, submission("w"))];
    store.append(&entries).expect("written");
    let path = store.path.clone();
    drop(store);
    let store = SqliteStore::open(&path).expect("reopened");
    assert_eq!(store.tail(), Tail { position: Position(2), recorded_at: Timestamp(2_000) });
    let read = store.reader().and_then(|reader| reader.read_from(Position(2), 9.into())).expect("read");
    assert_eq!(read, vec![Entry::clone(&entries[1])]);
}

/// Copies what a crash leaves behind: nothing was closed, and the log was not written back.
fn crash(store: &SqliteStore, to: &Path) {
    std::fs::copy(&store.path, to).expect("copied");
    std::fs::copy(log_of(&store.path), log_of(to)).expect("copied");
}

/// Reads all entries and returns their number.
fn read_all(path: &Path) -> Result<u64, StoreError> {
    let reader = SqliteStore::open(path)?.reader()?;
    reader.list_runs(&RunFilter::default(), None, 99)?;
    let mut count = 0;
    reader.replay(usize::MAX, &mut |_| {
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

#[test]
fn a_log_that_is_cut_off_anywhere_leaves_whole_batches() {
    let (keep, mut store) = fresh();
    let mut feed = Feeder::default();
    for _ in 0..20 {
        store.append(&[feed.granted(), feed.granted(), feed.granted()]).expect("written");
    }
    let crashed = keep.path().join("crashed.db");
    crash(&store, &crashed);
    let whole = std::fs::read(log_of(&crashed)).expect("read");
    let base = std::fs::read(&crashed).expect("read");
    let mut seen = Vec::new();
    for part in 0..=12 {
        std::fs::write(&crashed, &base).expect("written");
        std::fs::write(log_of(&crashed), &whole[..whole.len() * part / 12]).expect("written");
        seen.push(read_all(&crashed).expect("recovered"));
    }
    assert!(seen.iter().all(|count| count % 3 == 0), "{seen:?}");
    assert!(seen.is_sorted() && seen[0] == 0 && seen[12] == 60 && seen[6] > 0, "{seen:?}");
}

#[test]
fn an_overwritten_page_is_an_error_or_not_needed() {
    let (_keep, mut store) = fresh();
    let mut feed = Feeder::default();
    let entries: Vec<_> = (1..=60).map(|n| feed.submitted(n, submission("w"))).collect();
    store.append(&entries).expect("written");
    let path = store.path.clone();
    drop(store);
    let whole = std::fs::read(&path).expect("read");
    let pages = whole.len() / 4_096;
    let mut not_needed = 0;
    for page in 0..pages {
        let mut damaged = whole.clone();
        damaged[page * 4_096..(page + 1) * 4_096].fill(0xA5);
        std::fs::write(&path, damaged).expect("written");
        match read_all(&path) {
            Ok(count) => {
                assert_eq!(count, 60, "something is missing without an error");
                not_needed += 1;
            }
            Err(error) if error.is_damage() => {}
            Err(other) => panic!("page {page}: {other:?}"),
        }
    }
    assert!(not_needed < pages / 3, "{not_needed} of {pages} pages: of lists by name and of request ids");
}

#[test]
fn a_copy_of_the_files_of_an_open_store_contains_all_entries() {
    let (keep, mut store) = fresh();
    let mut feed = Feeder::default();
    store.append(&[feed.submitted(1, submission("w")), feed.completed(1)]).expect("written");
    let crashed = keep.path().join("crashed.db");
    crash(&store, &crashed);
    let copy = SqliteStore::open(&crashed).expect("recovered");
    assert_eq!(copy.tail().position, Position(2));
    assert_eq!(copy.reader().and_then(|reader| reader.counts()).expect("counted").completed, 1);
}

#[test]
fn a_page_of_large_entries_ends_early_but_not_empty() {
    let (_keep, mut store) = fresh();
    let mut feed = Feeder::default();
    let large = Payload::from(json!("x".repeat(768 * 1024)));
    let mut entries = vec![feed.submitted(1, submission("w"))];
    entries.extend((0..4).map(|_| feed.task_completed(1, large.clone())));
    store.append(&entries).expect("written");
    let reader = store.reader().expect("a reader");
    let (mut next, mut pages) = (Seq(1), Vec::new());
    loop {
        let page = reader.read_run(store_suite::run_id(1), next, 99.into()).expect("read");
        let Some(last) = page.last() else { break };
        next = last.seq.next();
        pages.push(page.len());
    }
    assert_eq!(pages, [3, 2]);
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_what_is_stored() {
    use std::os::unix::fs::PermissionsExt;
    let (_keep, mut store) = fresh();
    store.append(&[Feeder::default().granted()]).expect("written");
    for ending in ["", "-wal", ".lock"] {
        let mut path = store.path.as_os_str().to_owned();
        path.push(ending);
        let mode = std::fs::metadata(path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_store_in_use_is_refused() {
    let (_keep, store) = fresh();
    assert!(matches!(SqliteStore::open(&store.path), Err(StoreError::InUse(_))));
}

#[test]
fn a_later_format_or_event_version_is_refused_by_number() {
    let (_keep, mut store) = fresh();
    store.append(&[Feeder::default().granted()]).expect("written");
    store.db.execute("UPDATE entries SET version = 99", []).expect("changed");
    let read = store.reader().and_then(|reader| reader.read_from(Position(1), 1.into()));
    assert!(read.expect_err("refused").to_string().contains("version 99"));
    store.db.execute("UPDATE meta SET format_version = 7", []).expect("changed");
    let path = store.path.clone();
    drop(store);
    assert!(matches!(SqliteStore::open(&path), Err(StoreError::Format { found: 7, known: FORMAT_VERSION })));
}

#[test]
fn rows_of_another_version_are_rebuilt_from_the_entries() {
    let (_keep, mut store) = fresh();
    let mut feed = Feeder::default();
    let entries =
        [feed.submitted(1, labelled("w", &[("a", "b")], "mine")), feed.submitted(2, submission("v")), feed.failed(1)];
    store.append(&entries).expect("written");
    let rows = |store: &SqliteStore| {
        let reader = store.reader().expect("a reader");
        (reader.list_runs(&RunFilter::default(), None, 9).expect("listed"), reader.find_request("mine").expect("read"))
    };
    let before = rows(&store);
    assert!(before.0.len() == 2 && before.1 == Some((store_suite::run_id(1), "hash of mine".to_owned())));
    store.db.execute_batch("DROP TABLE runs; DELETE FROM requests; UPDATE meta SET rows_version = 0").expect("changed");
    let path = store.path.clone();
    drop(store);
    assert_eq!(rows(&SqliteStore::open(&path).expect("reopened")), before);
}

/// Covers a store from before the lists had checksums, and one that such a version used afterwards.
#[test]
fn lists_without_sums_get_them_and_may_lose_them_again() {
    let (_keep, mut store) = fresh();
    let mut feed = Feeder::default();
    let entries =
        [feed.submitted(1, labelled("w", &[("a", "b")], "mine")), feed.submitted(2, submission("v")), feed.failed(1)];
    store.append(&entries).expect("written");
    let path = store.path.clone();
    drop(store);
    let old = "DROP TABLE requests;
      CREATE TABLE requests (request_id TEXT PRIMARY KEY, run_id BLOB NOT NULL, body_hash TEXT NOT NULL) WITHOUT ROWID;
      CREATE INDEX requests_of_run ON requests (run_id);
      INSERT INTO requests SELECT 'mine', run_id, 'hash of mine' FROM runs WHERE name = 'w';
      UPDATE meta SET rows_version = 3";
    let narrow =
        "ALTER TABLE state RENAME TO wide; CREATE TABLE state (only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
      store_id TEXT NOT NULL, position INTEGER NOT NULL, recorded_at INTEGER NOT NULL, live INTEGER NOT NULL,
      runs INTEGER NOT NULL, pruned INTEGER NOT NULL);
      INSERT INTO state SELECT * FROM wide WHERE only_row = 1; DROP TABLE wide";
    for sums in [narrow, "UPDATE state SET position = 1, recorded_at = 2, live = 3 WHERE only_row = 2"] {
        let db = Connection::open(&path).expect("opened");
        db.execute_batch(old).and_then(|()| db.execute_batch(sums)).expect("changed");
        drop(db);
        assert!(matches!(check(&path), Err(StoreError::Backup(_))), "a start brings them to this version");
        for _ in 0..2 {
            let store = SqliteStore::open(&path).expect("brought to this version");
            let reader = store.reader().expect("a reader");
            let found = reader.find_request("mine").expect("read");
            assert_eq!(found, Some((store_suite::run_id(1), "hash of mine".to_owned())));
            assert_eq!(reader.counts().expect("counted").failed, 1);
        }
        assert_eq!(check(&path).expect("read").wrong, []);
    }
}

#[test]
fn a_file_that_is_not_a_store_is_refused_and_not_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notes.txt");
    let text = "not a database, but more than a hundred bytes of somebody's notes\n".repeat(99);
    std::fs::write(&path, &text).expect("written");
    let error = SqliteStore::open(&path).expect_err("refused");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("notes.txt"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), text);
}

#[test]
fn a_folder_in_place_of_the_file_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    std::fs::create_dir(&path).expect("made");
    let error = SqliteStore::open(&path).expect_err("refused");
    assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
    assert!(error.to_string().contains("store.db"), "{error}");
}

#[test]
fn a_replay_reads_indexes_and_not_the_whole_file() {
    let (_keep, store) = fresh();
    let plan = |sql: &str| -> String {
        let mut statement = store.db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("prepared");
        let rows = statement.query_map([], |row| row.get::<_, String>(3)).expect("explained");
        rows.collect::<Result<Vec<_>, _>>().expect("read").join("\n")
    };
    let replay = plan(read::UNFINISHED);
    assert!(replay.contains("USING COVERING INDEX runs_by_status"), "{replay}");
    assert!(replay.contains("USING COVERING INDEX entries_of_run (run_id=?)"), "{replay}");
    assert!(replay.contains("INDEX entries_of_no_run"), "{replay}");
}

#[test]
fn a_truncated_file_is_an_error_at_open_or_at_reading() {
    let (_keep, mut store) = fresh();
    let mut feed = Feeder::default();
    let entries: Vec<_> = (0..2_000).map(|_| feed.granted()).collect();
    store.append(&entries).expect("written");
    let path = store.path.clone();
    drop(store);
    let full = std::fs::metadata(&path).expect("there").len();
    for keep in [full / 2, 5_000, 100] {
        let file = File::options().write(true).open(&path).expect("opened");
        file.set_len(keep).expect("cut");
        drop(file);
        let read = read_all(&path);
        let error = read.expect_err("an error");
        assert!(matches!(error, StoreError::Damaged { .. } | StoreError::Database { .. }), "{keep}: {error:?}");
    }
}

/// A store with many finished runs and one unfinished run.
fn with_finished_runs(store: &mut SqliteStore) -> Feeder {
    let mut feed = Feeder::default();
    store.append(&[feed.submitted(1, submission("w"))]).expect("written");
    for n in 2..=400 {
        let result = Payload::from(json!("x".repeat(3_000)));
        store
            .append(&[feed.submitted(n, submission("w")), feed.task_completed(n, result), feed.completed(n)])
            .expect("ok");
    }
    feed
}

#[test]
fn pruning_frees_space_and_continues_after_a_crash() {
    let (keep, mut store) = fresh();
    let mut feed = with_finished_runs(&mut store);
    let path = store.path.clone();
    let size = || {
        let db = Connection::open(&path).expect("opened");
        db.query_row("PRAGMA page_count", [], |row| row.get::<_, u32>(0)).expect("counted")
    };
    let before = size();
    for steps in 1.. {
        let crashed = keep.path().join(format!("crashed{steps}.db"));
        let more = store.prune(Timestamp(i64::MAX)).expect("pruned").more;
        crash(&store, &crashed);
        let mut copy = SqliteStore::open(&crashed).expect("recovered");
        assert_eq!(copy.tail(), store.tail());
        while copy.prune(Timestamp(i64::MAX)).expect("pruned").more {}
        let left = copy.reader().and_then(|reader| reader.read_from(Position(0), 9_999.into())).expect("read");
        assert_eq!(left.len(), 1, "after {steps} steps");
        if !more {
            break;
        }
    }
    assert!(size() < before / 4, "{} of {before} pages are still there", size());
    store.append(&[feed.completed(1)]).expect("it goes on");
    let tail = store.tail();
    while store.prune(Timestamp(i64::MAX)).expect("pruned").more {}
    drop(store);
    let store = SqliteStore::open(&path).expect("reopened, though nothing is left");
    assert_eq!((store.tail(), store.pruned()), (tail, tail.position));
}

/// Removing needs room first. A lack of it is an error that stops nothing else.
#[tokio::test]
async fn pruning_without_room_is_an_error_and_the_writer_continues() {
    use std::time::Duration;

    use gleitzeit_run::{Request, Verdict};
    use gleitzeit_workflow::ErrorCode;

    use crate::journal::{Journal, JournalError, WriterConfig};
    let (_keep, mut store) = fresh();
    let _ = with_finished_runs(&mut store);
    let path = store.path.clone();
    // Each run that leaves the list takes a lot of room, and there is little.
    let small = "CREATE TABLE ballast (body BLOB); CREATE TRIGGER takes_room AFTER DELETE ON runs
      BEGIN INSERT INTO ballast VALUES (zeroblob(1000000)); END";
    store.db.execute_batch(small).expect("made");
    let pages: i64 = store.db.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("counted");
    store.db.execute_batch(&format!("PRAGMA max_page_count = {}", pages + 50)).expect("set");
    let (journal, port, handle) = Journal::start(Box::new(store), WriterConfig::default()).expect("started");
    let prune = || journal.prune(Duration::ZERO, Duration::from_secs(60));
    let before = (journal.counts(), journal.summary().pruned);
    for _ in 0..2 {
        let error = prune().await.expect_err("no room");
        let JournalError::Store(cause) = &error else { panic!("{error:?}") };
        assert_eq!(cause.code(), Some(ErrorCode::PersistenceWriteFailed), "{cause}");
        assert!(cause.to_string().contains("disk is full") && cause.to_string().contains("make some room"), "{cause}");
    }
    assert_eq!((journal.counts(), journal.summary().pruned), before);
    let submit = Request::Submit { run_id: store_suite::run_id(999), submitted: submission("w"), known: None };
    assert!(matches!(journal.propose(submit).await, Ok(Verdict::Ok { .. })), "it goes on");
    // Room is made while the journal is running.
    Connection::open(&path).and_then(|db| db.execute_batch("DROP TRIGGER takes_room")).expect("changed");
    assert_eq!(prune().await.expect("pruned").runs, 399);
    assert_eq!(journal.counts().running, 2);
    drop((journal, port));
    handle.stop().await.expect("a clean end");
    assert_eq!(check(&path).expect("read").wrong, []);
    drop(SqliteStore::open(&path).expect("its sums are right"));
}

#[test]
fn a_store_of_format_1_becomes_one_of_this_format() {
    let (_keep, mut store) = fresh();
    let mut feed = Feeder::default();
    let entries = [
        feed.granted(),
        feed.submitted(1, labelled("w", &[("a", "b")], "mine")),
        feed.submitted(2, submission("v")),
        feed.failed(2),
    ];
    store.append(&entries).expect("written");
    // The tables as they were in format 1.
    let old = "DROP TABLE state; DROP TABLE pruning; DROP TABLE runs; DROP TABLE requests;
      CREATE TABLE runs (run_id BLOB PRIMARY KEY); CREATE TABLE requests (request_id TEXT PRIMARY KEY);
      CREATE TABLE old (position INTEGER PRIMARY KEY, run_id BLOB, seq INTEGER NOT NULL, recorded_at INTEGER NOT NULL,
        queue TEXT, version INTEGER NOT NULL, type TEXT NOT NULL, body TEXT NOT NULL);
      INSERT INTO old SELECT position, run_id, seq, recorded_at, queue, version, type, body FROM entries;
      DROP TABLE entries; ALTER TABLE old RENAME TO entries;
      CREATE UNIQUE INDEX entries_of_run ON entries (run_id, seq) WHERE run_id IS NOT NULL;
      CREATE INDEX entries_of_no_run ON entries (position) WHERE run_id IS NULL;
      UPDATE meta SET format_version = 1, rows_version = 2";
    store.db.execute_batch(old).expect("changed");
    let path = store.path.clone();
    drop(store);
    std::fs::write(part_file::beside(&path, ".lock"), "").expect("nothing was marked then");
    for _ in 0..2 {
        let store = SqliteStore::open(&path).expect("migrated");
        let reader = store.reader().expect("a reader");
        let read = reader.read_from(Position(0), 9.into()).expect("read");
        assert_eq!(read, entries.iter().map(|entry| Entry::clone(entry)).collect::<Vec<_>>());
        assert_eq!(reader.find_request("mine").expect("read").map(|(run, _)| run), Some(store_suite::run_id(1)));
        assert_eq!(reader.list_runs(&RunFilter::default(), None, 9).expect("listed").len(), 2);
        let format: u32 = store.db.query_row("SELECT format_version FROM meta", [], |row| row.get(0)).expect("read");
        assert_eq!(format, FORMAT_VERSION);
    }
    let mut store = SqliteStore::open(&path).expect("opened");
    store.append(&[feed.completed(1)]).expect("it goes on");
}
