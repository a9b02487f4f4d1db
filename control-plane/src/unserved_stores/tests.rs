//! Tests of stores as runs leave them, of damaged stores, and of what is removed when.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gleitzeit_run::{RunStatus, Seq};
use gleitzeit_workflow::ErrorCode;
use rusqlite::Connection;
use uuid::Uuid;

use super::*;
use crate::journal::tests::store_suite::{Feeder, labelled, run_id, submission};
use crate::journal::{Journal, SqliteStore, Store as _};

/// The state of a run in a store that is made for a test.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Completed,
    Failed,
    None,
}

/// The folder of a run that was made this many milliseconds after 1970.
fn folder_at(runs: &Path, made_ms: u64, n: u64) -> PathBuf {
    let id = Uuid::from_u128(u128::from(made_ms) << 80 | 0x7000_8000_0000_0000_0000 | u128::from(n));
    let folder = runs.join(format!("run-{}", id.simple()));
    fs::create_dir_all(&folder).expect("made");
    folder
}

/// Fills the store of a folder with run `n`; the store stays open until it is dropped.
fn fill(folder: &Path, n: u64, end: End) -> SqliteStore {
    let mut store = SqliteStore::open(&folder.join(STORE)).expect("a store");
    let mut feed = Feeder::default();
    let mut entries = vec![feed.submitted(n.into(), labelled(&format!("w{n}"), &[("n", &n.to_string())], "r"))];
    match end {
        End::Completed => entries.push(feed.completed(n.into())),
        End::Failed => entries.push(feed.failed(n.into())),
        End::None => {}
    }
    store.append(&entries).expect("written");
    store
}

fn run(runs: &Path, n: u64, end: End) -> PathBuf {
    let folder = folder_at(runs, 0, n);
    drop(fill(&folder, n, end));
    folder
}

fn ids(kept: &Kept, filter: &RunFilter, after: Option<RunId>, limit: usize) -> Vec<RunId> {
    kept.list(filter, after, limit).iter().map(|row| row.run_id).collect()
}

/// Every file below a folder, with its content.
fn content(of: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(of).expect("readable") {
        let path = entry.expect("readable").path();
        match path.is_dir() {
            true => found.extend(content(&path)),
            false => drop(found.insert(path.clone(), fs::read(&path).expect("readable"))),
        }
    }
    found
}

#[test]
fn runs_of_many_stores_are_one_list_and_reading_changes_no_file() {
    let home = tempfile::tempdir().expect("a folder");
    for n in 1..=5 {
        run(home.path(), n, if n % 2 == 0 { End::Failed } else { End::Completed });
    }
    let before = content(home.path());
    let kept = Kept::new(home.path().to_owned(), None);
    let all = RunFilter::default();
    assert_eq!(ids(&kept, &all, None, 9), [5, 4, 3, 2, 1].map(run_id));
    assert_eq!(ids(&kept, &all, Some(run_id(4)), 2), [3, 2].map(run_id));
    let failed = RunFilter { statuses: vec![RunStatus::Failed], ..all.clone() };
    assert_eq!(ids(&kept, &failed, None, 1), [run_id(4)]);
    let labels = [("n".to_owned(), "3".to_owned())].into_iter().collect();
    assert_eq!(ids(&kept, &RunFilter { labels, ..all.clone() }, None, 9), [run_id(3)]);
    let prefix = RunFilter { id_prefix: run_id(2).to_string(), ..all };
    assert_eq!(ids(&kept, &prefix, None, 9), [run_id(2)]);
    assert!(kept.state_of(run_id(5)).is_some() && kept.state_of(run_id(6)).is_none());
    let place = kept.whereabouts(run_id(5)).expect("it was listed");
    assert_eq!((place.kind, place.is_held), (Kind::Run, false));
    assert!(kept.take_trouble().is_empty());
    assert_eq!(content(home.path()), before);
}

#[test]
fn an_interrupted_run_is_marked_and_a_running_one_is_not() {
    let home = tempfile::tempdir().expect("a folder");
    let left = run(home.path(), 1, End::None);
    let in_work = fill(&folder_at(home.path(), 0, 2), 2, End::None);
    let kept = Kept::new(home.path().to_owned(), None);
    let rows = kept.list(&RunFilter::default(), None, 9);
    assert_eq!(rows.iter().map(|row| row.status).collect::<Vec<_>>(), [RunStatus::Running; 2]);
    assert!(rows[0].error.is_none(), "{rows:?}");
    let error = rows[1].error.clone().expect("an error");
    assert_eq!(error.known(), Some(ErrorCode::WorkflowInterrupted));
    let store = format!("gleitzeit start --store sqlite:{}", left.join(STORE).display());
    assert!(error.message.contains(&store), "{error}");
    assert!(kept.whereabouts(run_id(2)).is_some_and(|place| place.is_held));
    // Inspecting the store did not lock its writer out.
    drop(in_work);
    drop(SqliteStore::open(&left.join(STORE)).expect("nobody holds it"));
}

#[tokio::test]
async fn a_run_that_another_writes_is_followed_to_its_end() {
    let home = tempfile::tempdir().expect("a folder");
    let path = home.path().join(STORE);
    let mut store = SqliteStore::open(&path).expect("a store");
    let mut feed = Feeder::default();
    store.append(&[feed.submitted(1, submission("w"))]).expect("written");
    let journal = Journal::read_only(Look::open(&path).expect("read").expect("a store"));
    let mut watch = journal.watch(run_id(1), Seq(1));
    let next = |entries: Option<Vec<Arc<gleitzeit_run::Entry>>>| entries.map(|it| it.len());
    assert_eq!(next(watch.next().await.expect("read")), Some(1));
    store.append(&[feed.completed(1)]).expect("written");
    assert_eq!(next(watch.next().await.expect("read")), Some(1));
    assert_eq!(next(watch.next().await.expect("read")), None);
    let ended = journal.ended(run_id(1)).await.expect("read").expect("there");
    assert_eq!(ended.status, RunStatus::Completed);
}

#[tokio::test]
async fn following_a_run_ends_when_its_writer_ends() {
    let home = tempfile::tempdir().expect("a folder");
    let path = home.path().join(STORE);
    let mut store = SqliteStore::open(&path).expect("a store");
    let mut feed = Feeder::default();
    store.append(&[feed.submitted(1, submission("w"))]).expect("written");
    let journal = Journal::read_only(Look::open(&path).expect("read").expect("a store"));
    let mut watch = journal.watch(run_id(1), Seq(1));
    assert!(watch.next().await.expect("read").is_some());
    drop(store);
    assert!(watch.next().await.expect("read").is_none());
    assert_eq!(journal.ended(run_id(1)).await.expect("read").expect("there").status, RunStatus::Running);
}

#[test]
fn an_unreadable_store_is_reported_and_the_others_are_listed() {
    let home = tempfile::tempdir().expect("a folder");
    run(home.path(), 1, End::Completed);
    let damaged = folder_at(home.path(), 0, 2);
    fs::write(damaged.join(STORE), "no database at all, and long enough to be looked at".repeat(50)).expect("written");
    let foreign = folder_at(home.path(), 0, 3);
    let other = Connection::open(foreign.join(STORE)).expect("a database");
    other.execute_batch("CREATE TABLE songs (name TEXT)").expect("made");
    drop(other);
    // The store of a run that has just begun, or was killed while beginning.
    fs::write(folder_at(home.path(), 0, 4).join(STORE), "").expect("written");
    folder_at(home.path(), 0, 5);
    fs::write(home.path().join("notes.txt"), "mine").expect("written");
    // Opening it would wait for a writer.
    let pipe = folder_at(home.path(), 0, 7);
    let made = std::process::Command::new("mkfifo").arg(pipe.join(STORE)).status().expect("mkfifo");
    assert!(made.success());
    fs::write(pipe.join("journal.db.lock"), "").expect("written");
    // Its type cannot be determined, as in a folder that this user may not enter.
    let closed = folder_at(home.path(), 0, 8);
    for name in [STORE, "journal.db.lock"] {
        std::os::unix::fs::symlink(closed.join(name), closed.join(name)).expect("made");
    }
    let cut = run(home.path(), 6, End::Completed);
    fs::write(cut.join(STORE), "").expect("written");

    let kept = Kept::new(home.path().to_owned(), None);
    assert_eq!(ids(&kept, &RunFilter::default(), None, 9), [run_id(1)]);
    let mut trouble: Vec<_> = kept.take_trouble().into_iter().map(|it| it.store).collect();
    trouble.sort();
    assert_eq!(trouble, [damaged, foreign, cut, pipe, closed].map(|folder| folder.join(STORE)));
    assert!(kept.take_trouble().is_empty(), "told once");
}

#[test]
fn a_pipe_in_place_of_a_lock_does_not_block() {
    let home = tempfile::tempdir().expect("a folder");
    let folder = run(home.path(), 1, End::Completed);
    let lock = folder.join("journal.db.lock");
    fs::remove_file(&lock).expect("it was there");
    let made = std::process::Command::new("mkfifo").arg(&lock).status().expect("mkfifo");
    assert!(made.success());
    run(home.path(), 2, End::Completed);
    let kept = Kept::new(home.path().to_owned(), None);
    assert!(ids(&kept, &RunFilter::default(), None, 9).contains(&run_id(2)));
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("small")
}

fn is_there(folders: &[&PathBuf]) -> Vec<bool> {
    folders.iter().map(|folder| folder.exists()).collect()
}

#[test]
fn only_stores_that_ended_long_ago_are_removed_and_never_locked_ones() {
    let home = tempfile::tempdir().expect("a folder");
    let keep = Keep { age: Some(Duration::from_secs(60)), count: None };
    let old = run(home.path(), 1, End::Completed);
    let failed = run(home.path(), 2, End::Failed);
    let unfinished = run(home.path(), 3, End::None);
    let held_at = folder_at(home.path(), 0, 4);
    let held = fill(&held_at, 4, End::Completed);
    let young = folder_at(home.path(), now_ms(), 5);
    drop(fill(&young, 5, End::Completed));
    let (empty, begun) = (folder_at(home.path(), 0, 6), folder_at(home.path(), now_ms(), 7));
    let half = home.path().join("gone-00000000000070008000000000000008");
    fs::create_dir(&half).expect("made");
    fs::write(half.join("journal.db.lock"), "").expect("written");
    let all = [&old, &failed, &unfinished, &held_at, &young, &empty, &begun, &half];

    let removed = prune(home.path(), keep, Effort::ALL);
    assert!(removed.failed.is_empty(), "{removed:?}");
    assert_eq!(is_there(&all), [false, false, true, true, true, false, true, false]);
    assert_eq!(removed.stores, 3);
    drop(held);
    assert_eq!(prune(home.path(), keep, Effort::ALL).stores, 1);
    assert_eq!(is_there(&all), [false, false, true, false, true, false, true, false]);
    assert_eq!(prune(home.path(), Keep { age: None, count: None }, Effort::ALL).stores, 0);
}

#[test]
fn the_oldest_of_too_many_stores_are_removed_in_small_steps() {
    let home = tempfile::tempdir().expect("a folder");
    let folders: Vec<PathBuf> = (1..=6).map(|n| folder_at(home.path(), n, n)).collect();
    for (n, folder) in (1..=6).zip(&folders) {
        drop(fill(folder, n, if n == 1 { End::None } else { End::Completed }));
    }
    let held = SqliteStore::open(&folders[1].join(STORE)).expect("a store");
    let keep = Keep { age: None, count: Some(2) };
    let effort = Effort { looks: 0, removals: 2 };
    assert_eq!(prune(home.path(), keep, effort).stores, 2);
    assert_eq!(is_there(&folders.iter().collect::<Vec<_>>()), [false, true, false, true, true, true]);
    drop(held);
    assert_eq!(prune(home.path(), keep, effort).stores, 2);
    assert_eq!(is_there(&folders.iter().collect::<Vec<_>>()), [false, false, false, false, true, true]);
}

#[test]
fn a_store_that_cannot_be_removed_is_reported_and_the_others_are_removed() {
    let home = tempfile::tempdir().expect("a folder");
    let locked: Vec<PathBuf> = (1..=3).map(|n| folder_at(home.path(), n, n)).collect();
    for folder in &locked {
        // A folder instead of a file to lock.
        fs::create_dir(folder.join("journal.db.lock")).expect("made");
    }
    let folders: Vec<PathBuf> = (4..=6).map(|n| folder_at(home.path(), n, n)).collect();
    for (n, folder) in (4..=6).zip(&folders) {
        drop(fill(folder, n, End::Completed));
    }
    let keep = Keep { age: None, count: Some(1) };
    let removed = prune(home.path(), keep, Effort { looks: 0, removals: 1 });
    assert_eq!(removed.failed.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>(), locked);
    assert_eq!((removed.stores, is_there(&folders.iter().collect::<Vec<_>>())), (1, vec![false, true, true]));
}
