//! Tests of stores that are taken away, replaced, or opened under another name.

use std::path::{Path, PathBuf};

use gleitzeit_run::Position;
use gleitzeit_workflow::ErrorCode;

use super::super::part_file::{beside, part_of};
use super::super::swap::tests::cut_off;
use super::super::{SqliteStore, Store, StoreError, backup, check, restore};
use crate::journal::tests::store_suite::{Feeder, submission};

/// An open store with this many runs.
fn filled(path: &Path, runs: u128) -> (SqliteStore, Feeder) {
    let mut store = SqliteStore::open(path).expect("a store");
    let mut feed = Feeder::default();
    for n in 1..=runs {
        store.append(&[feed.submitted(n, submission("w"))]).expect("written");
    }
    (store, feed)
}

fn runs(path: &Path) -> u64 {
    let store = SqliteStore::open(path).expect("a store");
    store.reader().and_then(|reader| reader.counts()).expect("counted").running
}

#[test]
fn a_removed_store_is_noticed_before_anything_is_acknowledged() {
    type Taker = (&'static str, fn(&Path));
    let takers: [Taker; 5] = [
        ("deleted", |path| std::fs::remove_file(path).expect("removed")),
        ("its log deleted", |path| std::fs::remove_file(beside(path, "-wal")).expect("removed")),
        ("its folder moved", |path| {
            let folder = path.parent().expect("a folder");
            std::fs::rename(folder, beside(folder, "-moved")).expect("moved");
        }),
        ("its folder deleted", |path| std::fs::remove_dir_all(path.parent().expect("a folder")).expect("removed")),
        ("replaced", |path| {
            std::fs::copy(path, beside(path, ".copy")).expect("copied");
            std::fs::rename(beside(path, ".copy"), path).expect("moved");
        }),
    ];
    for (what, take) in takers {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("stores/store.db");
        let (mut store, mut feed) = filled(&path, 3);
        store.confirm().expect("there");
        take(&path);
        let error = store.confirm().expect_err(what);
        assert!(matches!(error, StoreError::Gone { .. }), "{what}: {error:?}");
        let error = store.append(&[feed.submitted(4, submission("w"))]).expect_err(what);
        assert_eq!(error.code(), Some(ErrorCode::PersistenceStoreLost), "{what}: {error:?}");
        let text = error.to_string();
        assert!(text.contains("stores/store.db") && text.contains("put it back"), "{what}: {text}");
        let again = store.append(&[feed.submitted(5, submission("w"))]).expect_err(what);
        assert!(matches!(again, StoreError::Broken(_)), "{what}: {again:?}");
    }
}

#[test]
fn a_store_that_is_missing_shorter_or_another_at_the_start_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let (other, earlier) = (folder.path().join("other.db"), folder.path().join("earlier.db"));
    drop(filled(&other, 9));
    drop(filled(&path, 1));
    std::fs::copy(&path, &earlier).expect("copied");
    let mut store = SqliteStore::open(&path).expect("a store");
    let mut feed = Feeder::default();
    let _ = feed.submitted(1, submission("w"));
    store.append(&[feed.submitted(2, submission("w"))]).expect("written");
    drop(store);
    let put: [(&str, &dyn Fn()); 4] = [
        ("its file is not there", &|| std::fs::remove_file(&path).expect("removed")),
        ("it is empty", &|| std::fs::write(&path, "").expect("emptied")),
        ("ends with entry 1", &|| assert!(std::fs::copy(&earlier, &path).is_ok())),
        ("not the store that was last used here", &|| assert!(std::fs::copy(&other, &path).is_ok())),
    ];
    for (what, put) in put {
        put();
        let was_there = path.exists();
        for _ in 0..2 {
            let error = SqliteStore::open(&path).expect_err(what);
            assert_eq!(error.code(), Some(ErrorCode::PersistenceIntegrityError), "{what}");
            let text = error.to_string();
            assert!(text.contains(what) && text.contains("up to 2"), "{what}: {text}");
            assert!(text.contains("restore a backup") && text.contains("store.db.lock"), "{what}: {text}");
            assert_eq!(path.exists(), was_there, "{what}: nothing is made");
        }
    }
    // What the error message says to do.
    std::fs::remove_file(beside(&path, ".lock")).expect("removed");
    assert_eq!(runs(&path), 9);
    std::fs::remove_file(&path).expect("removed");
    let copy = folder.path().join("copy.db");
    backup(&other, &copy).expect("copied");
    restore(&copy, &path, false).expect("in the place of what is missing");
    assert_eq!(runs(&path), 9);
    std::fs::remove_file(&path).expect("removed");
    std::fs::remove_file(beside(&path, ".lock")).expect("removed");
    assert_eq!(runs(&path), 0, "a new one");
}

#[test]
fn a_store_is_not_opened_twice_by_any_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let (store, _) = filled(&path, 1);
    let (link, hard) = (folder.path().join("link.db"), folder.path().join("hard.db"));
    std::os::unix::fs::symlink(&path, &link).expect("linked");
    std::fs::hard_link(&path, &hard).expect("linked");
    for name in [&path, &link, &hard] {
        let error = SqliteStore::open(name).expect_err("in use");
        assert!(matches!(error, StoreError::InUse(_) | StoreError::Linked { .. }), "{error:?}");
        assert_eq!(error.code(), Some(ErrorCode::ConfigurationError));
    }
    drop(store);
    // Nobody has the store open, but each name would get its own log.
    for name in [&path, &link, &hard] {
        let error = SqliteStore::open(name).expect_err("two names");
        assert!(matches!(error, StoreError::Linked { names: 2, .. }), "{error:?}");
        assert!(error.to_string().contains("hard links"), "{error}");
    }
    std::fs::remove_file(&hard).expect("removed");
    let store = SqliteStore::open(&link).expect("one name");
    // A bind-mounted single file has another lock file; here the lock file is removed for the same effect.
    #[cfg(target_os = "linux")]
    {
        std::fs::remove_file(beside(&path, ".lock")).expect("removed");
        let copy = folder.path().join("copy.db");
        backup(&path, &copy).expect("a backup is no second store");
        for error in [SqliteStore::open(&path).err(), restore(&copy, &path, true).err()] {
            assert!(matches!(error, Some(StoreError::InUse(_))), "{error:?}");
        }
    }
    drop(store);
}

/// A store with 2 runs in its file and 1 in its log, as a killed process leaves it, and a backup with 7.
fn before_a_restore(folder: &Path) -> (PathBuf, PathBuf) {
    let (living, path) = (folder.join("living.db"), folder.join("store.db"));
    let (copied, copy) = (folder.join("copied.db"), folder.join("copy.db"));
    drop(filled(&copied, 7));
    backup(&copied, &copy).expect("copied");
    drop(filled(&living, 2));
    let mut store = SqliteStore::open(&living).expect("a store");
    let mut feed = Feeder::default();
    let _ = (feed.submitted(1, submission("w")), feed.submitted(2, submission("w")));
    store.append(&[feed.submitted(3, submission("w"))]).expect("written");
    for part in ["", "-wal", "-shm", ".lock"] {
        std::fs::copy(beside(&living, part), beside(&path, part)).expect("copied");
    }
    (path, copy)
}

#[test]
fn a_restore_killed_at_any_moment_is_finished_by_the_next_start() {
    type Next = (&'static str, fn(&Path, &Path));
    let next: [Next; 4] = [
        ("start", |path, _| drop(SqliteStore::open(path).expect("finished"))),
        ("check", |path, _| assert_eq!(check(path).expect("finished").runs, 7)),
        ("backup", |path, _| assert_eq!(backup(path, &beside(path, ".b")).expect("finished").counts.running, 7)),
        ("restore", |path, copy| {
            let refused = restore(copy, path, false).expect_err("it is there");
            assert!(matches!(refused, StoreError::Backup(_)), "{refused:?}");
        }),
    ];
    let mut steps = Vec::new();
    for at in 0.. {
        let mut done = false;
        for (name, next) in next {
            let folder = tempfile::tempdir().expect("a folder");
            let (path, copy) = before_a_restore(folder.path());
            let step = cut_off(&copy, &path, at);
            done = step.is_none();
            steps.extend(step.filter(|_| name == "start"));
            next(&path, &copy);
            assert_eq!(runs(&path), 7, "{name} after step {at}");
            let names: Vec<String> = std::fs::read_dir(folder.path())
                .expect("read")
                .map(|it| it.expect("read").file_name().to_string_lossy().into_owned())
                .collect();
            assert!(!names.iter().any(|name| name.contains(".part") || name.ends_with(".restore")), "{names:?}");
            // The previous store is complete, including what its log contained.
            let old = names.iter().find(|name| name.ends_with(".old")).expect("kept");
            assert_eq!(runs(&folder.path().join(old)), 3, "{name} after step {at}");
        }
        if done {
            break;
        }
    }
    let all =
        ["move the log", "move the index", "move the old store", "name the new store", "mark it", "forget the note"];
    assert_eq!(steps, all);
}

#[test]
fn a_restore_killed_before_it_began_has_changed_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, copy) = before_a_restore(folder.path());
    let id = "0".repeat(32);
    for ending in ["", "-wal", ".lock"] {
        std::fs::copy(&copy, beside(&part_of(&path, &id), ending)).expect("left behind");
    }
    std::fs::write(beside(&path, ".restore.new"), "half a no").expect("left behind");
    assert_eq!(runs(&path), 3);
    restore(&copy, &path, true).expect("restored");
    assert!(!part_of(&path, &id).exists(), "what was left behind is swept up");
    assert_eq!(runs(&path), 7);
}

#[test]
fn an_unreadable_note_is_reported_and_moves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, copy) = before_a_restore(folder.path());
    for note in ["", "../../somewhere store 7 0123456789abcdef\n", "\u{0}\u{1}"] {
        std::fs::write(beside(&path, ".restore"), note).expect("written");
        for error in [SqliteStore::open(&path).err(), restore(&copy, &path, true).err(), check(&path).err()] {
            let text = error.expect("refused").to_string();
            assert!(text.contains("store.db.restore") && text.contains("remove that file"), "{text}");
        }
    }
    std::fs::remove_file(beside(&path, ".restore")).expect("removed");
    assert_eq!(SqliteStore::open(&path).expect("as it was").tail().position, Position(3));
}
