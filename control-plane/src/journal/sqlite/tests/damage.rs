//! Tests of damaged files: truncated, overwritten, or with flipped bits. Reading them must return everything that was
//! stored, or an error.

use std::path::{Path, PathBuf};

use gleitzeit_run::{Entry, Position, RunId, RunStatus, Seq};
use gleitzeit_workflow::Timestamp;

use super::super::list_sums::SCANS;
use super::super::{SqliteStore, Store, StoreError, Tail, backup, check, number, repair, restore};
use crate::journal::fold::fold;
use crate::journal::tests::store_suite::{Feeder, labelled, run_id, submission};
use crate::journal::{Reader, RunCounts, RunFilter, RunRow};

/// Everything that a control plane ever reads from a store.
#[derive(Debug, PartialEq)]
struct All {
    replayed: Vec<Entry>,
    entries: Vec<Entry>,
    rows: Vec<RunRow>,
    /// The lists by each status, by two names and a label, by end, and one by one.
    lists: Vec<Vec<RunRow>>,
    ended: Vec<(RunId, Timestamp)>,
    statuses: Vec<String>,
    requests: Vec<Option<(RunId, String)>>,
    tail: Tail,
    pruned: Position,
    counts: RunCounts,
}

fn read_all(path: &Path) -> Result<All, StoreError> {
    let store = SqliteStore::open(path)?;
    let reader = store.reader()?;
    let (tail, pruned, counts) = (store.tail(), store.pruned(), reader.counts()?);
    let mut replayed = Vec::new();
    reader.replay(usize::MAX, &mut |entry| {
        replayed.push(entry.map_err(|it| StoreError::Unreadable(Box::new(it)))?);
        Ok(())
    })?;
    let rows = reader.list_runs(&RunFilter::default(), None, 999)?;
    let finished = rows.iter().filter(|row| row.finished_at.is_some());
    let statuses = finished.map(|row| status(reader.as_ref(), row.run_id)).collect::<Result<_, _>>()?;
    let entries = reader.read_from(Position(0), 9_999.into())?;
    let mut filters: Vec<RunFilter> = [RunStatus::Running, RunStatus::Failed, RunStatus::Completed]
        .map(|status| RunFilter { statuses: vec![status], ..RunFilter::default() })
        .into();
    filters.push(RunFilter { name: Some("w".to_owned()), ..RunFilter::default() });
    filters.push(RunFilter { labels: [("a".to_owned(), "b".to_owned())].into(), ..RunFilter::default() });
    filters.extend((1..=61).map(|n| RunFilter { id_prefix: run_id(n).to_string(), ..RunFilter::default() }));
    let lists = filters.iter().map(|filter| reader.list_runs(filter, None, 999)).collect::<Result<_, _>>()?;
    let ended = reader.ended_since(Timestamp(0), 999)?;
    let requests = (1..=61).map(|n| reader.find_request(&request_id(n))).collect::<Result<_, _>>()?;
    Ok(All { replayed, entries, rows, lists, ended, statuses, requests, tail, pruned, counts })
}

fn request_id(n: u128) -> String {
    format!("request {n} of somebody")
}

fn status(reader: &dyn Reader, run_id: RunId) -> Result<String, StoreError> {
    let run = fold(reader, run_id)?;
    Ok(run.map_or_else(|| "none".to_owned(), |run| format!("{:?} at {}", run.status, run.seq)))
}

/// Finished and unfinished runs that fill several pages of every kind.
fn fill(store: &mut SqliteStore) {
    let mut feed = Feeder::default();
    store.append(&[feed.granted(), feed.submitted(1, labelled("w", &[("a", "b")], &request_id(1)))]).expect("written");
    for n in 2..=60 {
        let mut batch = vec![feed.submitted(n, labelled("w", &[], &request_id(n)))];
        if n % 3 == 0 {
            batch.push(feed.failed(n));
        }
        store.append(&batch).expect("written");
    }
    // Large bodies continue on overflow pages.
    store.append(&[feed.submitted(61, submission(&"large ".repeat(2_000))), feed.failed(61)]).expect("written");
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn damaged(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Damaged { .. }
            | StoreError::Incomplete { .. }
            | StoreError::Lists { .. }
            | StoreError::Entry { .. }
            | StoreError::Run(_)
            | StoreError::Database { .. }
            | StoreError::Unusable { .. }
            | StoreError::Format { .. }
    )
}

/// One bit every few bytes, never the same bit in neighbours.
fn flips(length: usize, samples: usize) -> impl Iterator<Item = (usize, u8)> {
    let step = (length / samples).max(1) | 1;
    (0..length).step_by(step).enumerate().map(|(n, at)| (at, 1 << (n % 8)))
}

/// Reads a cleanly closed file after one of its bits was flipped.
#[test]
fn a_flipped_bit_anywhere_in_the_file_is_an_error_or_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    fill(&mut SqliteStore::open(&path).expect("a store"));
    let whole = std::fs::read(&path).expect("read");
    let expected = read_all(&path).expect("whole");
    assert_eq!((expected.rows.len(), expected.entries.len()), (61, 83));
    let (mut errors, mut tried) = (0, 0);
    for (at, bit) in flips(whole.len(), 1_000) {
        let mut flipped = whole.clone();
        flipped[at] ^= bit;
        std::fs::write(&path, flipped).expect("written");
        let _ = std::fs::remove_file(beside(&path, "-wal"));
        tried += 1;
        match read_all(&path) {
            Ok(all) => assert!(all == expected, "byte {at}: something was lost or changed without an error"),
            Err(error) => {
                assert!(damaged(&error), "byte {at}: {error:?}");
                errors += 1;
            }
        }
    }
    assert!(errors > tried / 4, "only {errors} of {tried} were noticed: is anything compared?");
}

/// The pages of the lists and of their indexes, which decide what would run twice and what is shown.
fn pages_of_lists(path: &Path) -> Vec<usize> {
    let db = rusqlite::Connection::open(path).expect("opened");
    let size = db.query_row("PRAGMA page_size", [], |row| number(row, 0)).expect("read");
    let sql = "SELECT rootpage FROM sqlite_master WHERE tbl_name IN ('runs', 'requests', 'state') AND rootpage > 0";
    let mut statement = db.prepare(sql).expect("a query");
    let roots = statement.query_map([], |row| number(row, 0)).expect("rows");
    roots.map(|root| usize::try_from((root.expect("a page") - 1) * size).expect("small")).collect()
}

/// Any damage in the lists is reported by a start, a check, a backup and a restore, or it changes nothing; and the
/// lists are repaired from the entries.
#[test]
fn a_flipped_bit_in_the_lists_is_reported_and_repaired() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, copy) = (folder.path().join("store.db"), folder.path().join("copy.db"));
    fill(&mut SqliteStore::open(&path).expect("a store"));
    let whole = std::fs::read(&path).expect("read");
    let expected = read_all(&path).expect("whole");
    let pages = pages_of_lists(&path);
    assert_eq!(pages.len(), 7, "runs with three indexes, requests with one, state");
    let (mut told, mut repaired) = (0, 0);
    for (n, page) in
        pages.iter().flat_map(|page| [3_usize, 8, 12, 200, 1_900, 3_000, 3_700, 4_050].map(|at| page + at)).enumerate()
    {
        let mut flipped = whole.clone();
        flipped[page] ^= 1 << (n % 8);
        let _ = std::fs::remove_file(beside(&path, "-wal"));
        std::fs::write(&path, &flipped).expect("written");
        let checked = check(&path);
        let is_told = !matches!(&checked, Ok(checked) if checked.wrong.is_empty());
        told += usize::from(is_told);
        let made = backup(&path, &copy);
        match read_all(&path) {
            Ok(all) => assert!(all == expected, "byte {page}: something changed without an error"),
            Err(error) => {
                assert!(damaged(&error), "byte {page}: {error:?}");
                assert!(is_told, "byte {page}: a start says {error} and a check nothing");
                let refused = made.as_ref().map(|_| ()).map_err(StoreError::is_damage);
                assert!(
                    refused.err().unwrap_or_else(|| read_all(&copy).is_ok_and(|all| all == expected)),
                    "byte {page}: {made:?}"
                );
                std::fs::copy(&path, folder.path().join("damaged.db")).expect("copied");
                let restored = restore(&folder.path().join("damaged.db"), &folder.path().join("restored.db"), true);
                assert!(restored.as_ref().is_err_and(StoreError::is_damage), "byte {page}: {restored:?} but {error}");
            }
        }
        let _ = std::fs::remove_file(&copy);
        std::fs::write(&path, &flipped).expect("written");
        // The state rows cannot be derived from the entries, so they are not invented.
        match repair(&path) {
            Ok(old) => {
                assert_eq!(std::fs::read(&old).expect("kept"), flipped, "byte {page}");
                assert!(read_all(&path).expect("made good") == expected, "byte {page}");
                assert_eq!(check(&path).expect("read").wrong, [], "byte {page}");
                std::fs::remove_file(old).expect("removed");
                repaired += 1;
            }
            Err(error) => assert!(error.is_damage(), "byte {page}: {error:?}"),
        }
    }
    assert!(told >= 24 && repaired >= 40, "{told} were told and {repaired} made good");
}

#[test]
fn lists_are_added_up_by_reading_each_table_and_index_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(&folder.path().join("store.db")).expect("a store");
    let plan = |sql: &str| -> String {
        let mut statement = store.db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("prepared");
        statement.query_row([], |row| row.get(3)).expect("a plan")
    };
    let plans = SCANS.map(plan);
    let index = |name: &str| format!("SCAN runs USING COVERING INDEX {name}");
    let expected = [
        "SCAN runs".to_owned(),
        index("runs_by_status"),
        index("runs_by_name"),
        "SEARCH runs USING COVERING INDEX runs_by_end (finished_at>?)".to_owned(),
        "SCAN requests".to_owned(),
        "SCAN requests USING COVERING INDEX requests_of_run".to_owned(),
    ];
    assert_eq!(plans, expected);
}

/// The same for the log of a store whose process was killed.
#[test]
fn a_flipped_bit_anywhere_in_the_log_is_an_error_or_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (living, path) = (folder.path().join("living.db"), folder.path().join("killed.db"));
    let mut store = SqliteStore::open(&living).expect("a store");
    fill(&mut store);
    let parts: Vec<(&str, Vec<u8>)> =
        ["", "-wal", ".lock"].map(|part| (part, std::fs::read(beside(&living, part)).expect("read"))).into();
    let log = parts[1].1.len();
    assert!(log > 100_000, "what is to be damaged is in the log");
    let restore = |flip: Option<(usize, u8)>| {
        let _ = std::fs::remove_file(beside(&path, "-shm"));
        for (part, content) in &parts {
            let mut content = content.clone();
            if let Some((at, bit)) = flip.filter(|_| *part == "-wal") {
                content[at] ^= bit;
            }
            std::fs::write(beside(&path, part), content).expect("written");
        }
    };
    restore(None);
    let expected = read_all(&path).expect("whole");
    let mut errors = 0;
    for flip in flips(log, 400) {
        restore(Some(flip));
        match read_all(&path) {
            Ok(all) => assert!(all == expected, "byte {}: something was lost or changed without an error", flip.0),
            Err(error) => {
                assert!(damaged(&error), "byte {}: {error:?}", flip.0);
                errors += 1;
            }
        }
    }
    assert!(errors > 100, "only {errors} were noticed");
    // And without the log.
    restore(None);
    std::fs::remove_file(beside(&path, "-wal")).expect("removed");
    let error = read_all(&path).expect_err("the log is missing");
    assert!(error.to_string().contains("is incomplete"), "{error}");
}

/// The file truncated to any shorter length.
#[test]
fn a_file_that_is_cut_off_anywhere_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    fill(&mut SqliteStore::open(&path).expect("a store"));
    let whole = std::fs::read(&path).expect("read");
    for part in 0..60 {
        std::fs::write(&path, &whole[..whole.len() * part / 60]).expect("written");
        let error = read_all(&path).map(|all| all.entries.len()).expect_err("cut off");
        assert!(damaged(&error), "part {part}: {error:?}");
    }
}

/// The files as they are after each write, and with the last write only begun: everything acknowledged is there, and of
/// anything else either a whole batch or nothing.
#[test]
fn a_crash_between_any_two_writes_leaves_whole_and_all_acknowledged_batches() {
    let folder = tempfile::tempdir().expect("a folder");
    let (living, path) = (folder.path().join("living.db"), folder.path().join("crashed.db"));
    let mut store = SqliteStore::open(&living).expect("a store");
    // Frequent checkpoints, which are writes like any other.
    store.db.execute_batch("PRAGMA wal_autocheckpoint = 8").expect("set");
    let mut feed = Feeder::default();
    let mut written: Vec<Entry> = Vec::new();
    let mut ends = vec![0];
    let read = |part: &str| std::fs::read(beside(&living, part)).expect("read");
    let mut before = read("-wal");
    for n in 1..=40 {
        let batch = [feed.submitted(n, submission("w")), feed.granted(), feed.failed(n)];
        let base = read("");
        store.append(&batch).expect("written");
        let acknowledged = written.len();
        written.extend(batch.iter().map(|entry| Entry::clone(entry)));
        ends.push(written.len());
        let (after, base_after) = (read("-wal"), read(""));
        // The process died while writing the log: its file is as before, and the log contains part of the batch.
        let same = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
        for part in 0..=6 {
            let upto = same + (after.len() - same) * part / 6;
            let mut log = before.clone();
            log.resize(log.len().max(upto), 0);
            log[same..upto].copy_from_slice(&after[same..upto]);
            let base = if part == 6 { &base_after } else { &base };
            let least = if part == 6 { written.len() } else { acknowledged };
            crashed(&path, base, &log, least, &written, &ends);
        }
        before = after;
    }
}

fn crashed(path: &Path, base: &[u8], log: &[u8], least: usize, written: &[Entry], ends: &[usize]) {
    let _ = std::fs::remove_file(beside(path, "-shm"));
    let _ = std::fs::remove_file(beside(path, ".lock"));
    std::fs::write(path, base).expect("written");
    std::fs::write(beside(path, "-wal"), log).expect("written");
    let all = read_all(path).expect("recovered");
    let count = all.entries.len();
    assert!(count >= least, "{count} entries are there and {least} were acknowledged");
    assert!(ends.contains(&count), "{count} entries are no whole batches");
    assert!(all.entries == written[..count], "they are others");
    assert_eq!(all.rows.len(), count / 3);
    assert_eq!(all.statuses.len(), count / 3, "each of them has ended");
}

/// The mark detects an acknowledged end that is missing, and removing it accepts the loss.
#[test]
fn a_missing_acknowledged_end_is_reported_and_can_be_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let mut store = SqliteStore::open(&path).expect("a store");
    let mut feed = Feeder::default();
    store.append(&[feed.submitted(1, submission("w"))]).expect("written");
    drop(store);
    let earlier = std::fs::read(&path).expect("read");
    let mut store = SqliteStore::open(&path).expect("a store");
    store.append(&[feed.submitted(2, submission("w"))]).expect("written");
    drop(store);
    std::fs::write(&path, earlier).expect("written");
    let error = SqliteStore::open(&path).expect_err("entry 2 is missing").to_string();
    assert!(error.contains("up to 2") && error.contains("store.db.lock"), "{error}");
    std::fs::remove_file(beside(&path, ".lock")).expect("removed");
    let store = SqliteStore::open(&path).expect("gone without");
    assert_eq!(store.tail().position, Position(1));
    assert_eq!(store.reader().and_then(|it| it.read_run(run_id(2), Seq(1), 9.into())).expect("read"), []);
}

/// Copies made while a store is being written contain a snapshot of it, and can be restored as a store.
#[test]
fn a_backup_under_load_is_a_whole_prefix_and_can_be_restored() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let mut store = SqliteStore::open(&path).expect("a store");
    let mut feed = Feeder::default();
    let all: Vec<_> = (1..=400).map(|n| [feed.submitted(n, submission("w")), feed.granted(), feed.failed(n)]).collect();
    store.append(&all[0]).expect("written");
    let written = std::sync::atomic::AtomicUsize::new(3);
    let backups: Vec<(usize, PathBuf)> = std::thread::scope(|scope| {
        scope.spawn(|| {
            for batch in &all[1..] {
                store.append(batch).expect("written");
                written.fetch_add(3, std::sync::atomic::Ordering::SeqCst);
            }
        });
        (0..5)
            .map(|n| {
                let least = written.load(std::sync::atomic::Ordering::SeqCst);
                let to = folder.path().join(format!("backup{n}.db"));
                backup(&path, &to).expect("backed up");
                (least, to)
            })
            .collect()
    });
    let all: Vec<Entry> = all.iter().flatten().map(|entry| Entry::clone(entry)).collect();
    for (least, from) in &backups {
        let restored = folder.path().join("restored.db");
        let (copied, old) = restore(from, &restored, true).expect("restored");
        assert_eq!(old.is_some(), least > &backups[0].0 || from != &backups[0].1, "the one before is kept");
        let there = read_all(&restored).expect("whole");
        let count = there.entries.len();
        assert!(
            count >= *least && count.is_multiple_of(3) && there.entries == all[..count],
            "{count} entries of {least}"
        );
        assert_eq!(copied.entries, u64::try_from(count).expect("small"));
    }
    let refused = restore(&backups[0].1, &path, true).expect_err("in use");
    assert!(matches!(refused, StoreError::InUse(_)), "{refused:?}");
    drop(store);
    restore(&backups[0].1, &path, false).expect_err("it is there");
    let (_, old) = restore(&backups[0].1, &path, true).expect("replaced");
    assert_eq!(read_all(&old.expect("kept")).expect("whole").entries, all);
    backup(&path, &backups[0].1).expect_err("a file that is there");
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("read").flatten().map(|it| it.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains(".part")), "{left:?}");
}

#[test]
fn a_damaged_backup_is_neither_written_nor_restored() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, copy) = (folder.path().join("store.db"), folder.path().join("copy.db"));
    fill(&mut SqliteStore::open(&path).expect("a store"));
    backup(&path, &copy).expect("whole");
    let db = rusqlite::Connection::open(&path).expect("opened");
    db.execute("UPDATE entries SET body = replace(body, 'luck', 'lack') WHERE position = 5", []).expect("changed");
    drop(db);
    let error = backup(&path, &folder.path().join("other.db")).expect_err("entry 5 is another");
    assert!(error.is_damage() && error.to_string().contains("entry 5"), "{error}");
    let mut damaged = std::fs::read(&copy).expect("read");
    let middle = damaged.len() / 2;
    damaged[middle..middle + 4_096].fill(0xA5);
    std::fs::write(&copy, damaged).expect("written");
    let before = std::fs::read(&path).expect("read");
    let error = restore(&copy, &path, true).expect_err("damaged");
    assert!(error.is_damage(), "{error:?}");
    assert_eq!(std::fs::read(&path).expect("read"), before, "what was there stays");
}
