//! Removes the stores that runs left behind. A folder is first renamed, while no other process can open its store, and
//! then removed. After the rename no process finds a store in it, and what a crash leaves of it is removed the next
//! time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gleitzeit_workflow::Timestamp;

use super::places::{Folder, REMOVED_PREFIX, STORE, folders};
use crate::journal::{Look, StoreError, StoreLock};

/// A folder younger than this may still be about to get its store.
const MIN_FOLDER_AGE: Duration = Duration::from_secs(3_600);

/// Which stores to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Keep runs that ended at most this long ago; `None` keeps runs of any age.
    pub age: Option<Duration>,
    /// Keep at most this many stores, whatever they contain; `None` keeps any number.
    pub count: Option<usize>,
}

/// Limits the work of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// The most stores that are opened to see when their runs ended.
    pub looks: usize,
    /// The most folders that are removed.
    pub removals: usize,
}

impl Effort {
    /// No limit.
    pub const ALL: Self = Self { looks: usize::MAX, removals: usize::MAX };
}

/// The result of removing stores.
#[derive(Debug, Default)]
pub struct Removed {
    /// How many stores were removed.
    pub stores: u64,
    /// Folders that should have been removed but could not be, with the reason.
    pub failed: Vec<(PathBuf, Box<dyn std::error::Error + Send + Sync>)>,
}

/// Removes the stores of `folder` that are not to be kept, but never one that a process has open. An unfinished run is
/// removed only if there are too many stores. May block.
pub fn prune(folder: &Path, keep: Keep, effort: Effort) -> Removed {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (mut runs, gone) = folders(folder);
    let mut removed = Removed::default();
    // Failed removals are not counted: they cost next to nothing and must not keep other folders from being removed.
    let mut left = effort.removals;
    for path in gone {
        if left == 0 {
            break;
        }
        match fs::remove_dir_all(&path) {
            Ok(()) => left -= 1,
            Err(error) => removed.failed.push((path, error.into())),
        }
    }
    let surplus = keep.count.map_or(0, |count| runs.len().saturating_sub(count));
    let newer = runs.split_off(surplus);
    let old = keep.age.map_or_else(Vec::new, |age| ended_before(newer, now.saturating_sub(age), effort.looks));
    for Folder { made_ms, path } in runs.into_iter().chain(old) {
        if left == 0 {
            break;
        }
        let is_young = Duration::from_millis(made_ms) + MIN_FOLDER_AGE > now;
        if is_young && !path.join(STORE).exists() {
            continue;
        }
        match remove(folder, &path) {
            Ok(true) => {
                removed.stores += 1;
                left -= 1;
            }
            Ok(false) => {}
            Err(error) => removed.failed.push((path, error)),
        }
    }
    removed
}

/// The folders whose runs had all ended by `then`. If there are more than `looks`, each call inspects different ones.
fn ended_before(runs: Vec<Folder>, then: Duration, looks: usize) -> Vec<Folder> {
    let then_ms = u64::try_from(then.as_millis()).unwrap_or(u64::MAX);
    let mut runs: Vec<Folder> = runs.into_iter().take_while(|run| run.made_ms <= then_ms).collect();
    if runs.len() > looks {
        let turn = usize::try_from(then_ms).unwrap_or_default() % runs.len();
        runs.rotate_left(turn);
        runs.truncate(looks);
    }
    runs.retain(|run| has_ended(&run.path.join(STORE), then_ms));
    runs
}

/// Whether all runs of a store had ended by then. False for a store that cannot be read: its user has to look at it.
fn has_ended(store: &Path, then_ms: u64) -> bool {
    let look = match Look::open(store) {
        Ok(Some(look)) => look,
        Ok(None) => return true,
        Err(StoreError::Open { source, .. }) => return source.kind() == io::ErrorKind::NotFound,
        Err(_) => return false,
    };
    let later = Timestamp(i64::try_from(then_ms).unwrap_or(i64::MAX).saturating_add(1));
    !look.holder().is_there()
        && look.reader().counts().is_ok_and(|counts| counts.running == 0)
        && look.reader().ended_since(later, 1).is_ok_and(|ended| ended.is_empty())
}

/// Removes a folder unless a process has its store open; returns whether it was removed.
fn remove(folder: &Path, run: &Path) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let alone = match StoreLock::with(&run.join(STORE)) {
        Ok(alone) => alone,
        Err(StoreError::InUse(_)) => return Ok(false),
        // Another process is removing it.
        Err(_) if !run.exists() => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let gone = folder.join(super::folder_name().replacen("run-", REMOVED_PREFIX, 1));
    match fs::rename(run, &gone) {
        // Another process has just removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        renamed => renamed?,
    }
    let removed = fs::remove_dir_all(&gone);
    drop(alone);
    removed?;
    Ok(true)
}
