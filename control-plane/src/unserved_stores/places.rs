//! Where the stores are and when they were written, as far as file names and times show. So most stores need not be
//! opened to find a run or the newest ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use gleitzeit_run::RunId;
use uuid::Uuid;

use crate::api::Kind;

/// The name of the store file in a run's folder.
pub const STORE: &str = "journal.db";
/// The prefix of the folder names; a UUIDv7 follows.
const PREFIX: &str = "run-";
/// The prefix of folders that are being removed.
pub(super) const REMOVED_PREFIX: &str = "gone-";
/// How far file times and ids may differ: file systems may record a time that is a few milliseconds old.
const SLACK_MS: u64 = 1_000;

/// The folder name for a run that begins now.
pub fn folder_name() -> String {
    format!("{PREFIX}{}", Uuid::now_v7().simple())
}

/// The folder of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Folder {
    /// When it was created, in milliseconds since 1970.
    pub(super) made_ms: u64,
    pub(super) path: PathBuf,
}

/// The folders of runs, oldest first, and the remains of folders whose removal was interrupted. Other files and folders
/// are ignored.
pub(super) fn folders(of: &Path) -> (Vec<Folder>, Vec<PathBuf>) {
    let (mut runs, mut gone) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(of).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|_| entry.file_type().is_ok_and(|kind| kind.is_dir())) else { continue };
        if let Some(made_ms) = name.strip_prefix(PREFIX).and_then(made_ms) {
            runs.push(Folder { made_ms, path: entry.path() });
        } else if name.strip_prefix(REMOVED_PREFIX).and_then(made_ms).is_some() {
            gone.push(entry.path());
        }
    }
    runs.sort();
    (runs, gone)
}

/// The time in a UUIDv7 of 32 hexadecimal digits.
fn made_ms(id: &str) -> Option<u64> {
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    Uuid::try_parse(id).ok().filter(|id| is_id && id.get_version_num() == 7).map(ms_of)
}

fn ms_of(id: Uuid) -> u64 {
    u64::try_from(id.as_u128() >> 80).unwrap_or(u64::MAX)
}

/// A store, and the period in which its runs were submitted. What callers see of it is made in `unserved_stores`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) store: PathBuf,
    pub(super) kind: Kind,
    /// The start of the period, in milliseconds since 1970.
    pub(super) from_ms: u64,
    /// The end of the period, in milliseconds since 1970.
    pub(super) upto_ms: u64,
}

impl Place {
    fn new(store: PathBuf, kind: Kind, from_ms: u64) -> Option<Self> {
        // Each commit updates the lock file. Without one, an existing store may be of any age.
        let mut lock = store.as_os_str().to_owned();
        lock.push(".lock");
        let written_ms = match fs::metadata(&lock).and_then(|found| found.modified()) {
            Ok(time) => u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).ok()?,
            Err(_) if matches!(store.try_exists(), Ok(false)) => return None,
            // Includes stores that this user may not read: the error is reported when one is opened.
            Err(_) => u64::MAX,
        };
        Some(Self { store, kind, from_ms, upto_ms: written_ms.saturating_add(SLACK_MS) })
    }

    /// The store of a control plane, if it exists.
    pub(super) fn of_control_plane(store: &Path) -> Option<Self> {
        Self::new(store.to_owned(), Kind::ControlPlane, 0)
    }

    /// Whether it may contain runs with ids between these two.
    pub(super) fn may_hold(&self, first: RunId, last: RunId) -> bool {
        ms_of(first.0) <= self.upto_ms && self.from_ms.saturating_sub(SLACK_MS) <= ms_of(last.0)
    }

    /// Whether it may contain a run that is newer than this one.
    pub(super) fn may_hold_newer(&self, than: RunId) -> bool {
        self.upto_ms >= ms_of(than.0)
    }
}

/// The stores of the runs in a folder.
pub(super) fn places(folder: &Path) -> Vec<Place> {
    let place = |run: Folder| Place::new(run.path.join(STORE), Kind::Run, run.made_ms);
    folders(folder).0.into_iter().filter_map(place).collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn only_folders_of_runs_are_read_and_their_names_give_the_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = [
            "run-01930000000070008000000000000001",
            "run-01930000000070008000000000000000",
            "run-0193000000004000800000000000000f",
            "run-0193000000007000800000000000000F",
            "run-x",
            "gone-01930000000070008000000000000002",
            "notes.txt",
        ];
        for name in names {
            fs::create_dir(folder.path().join(name)).expect("made");
        }
        let link = folder.path().join("run-01930000000070008000000000000003");
        std::os::unix::fs::symlink(folder.path().join(names[0]), link).expect("made");
        let (runs, gone) = folders(folder.path());
        let paths: Vec<_> = runs.iter().map(|run| (run.made_ms, run.path.file_name().expect("a name"))).collect();
        assert_eq!(paths, [(0x0193_0000_0000, OsStr::new(names[1])), (0x0193_0000_0000, OsStr::new(names[0]))]);
        assert_eq!(gone, [folder.path().join(names[5])]);
        assert_eq!(folders(&folder.path().join("nowhere")), (vec![], vec![]));
    }

    #[test]
    fn a_store_may_contain_runs_submitted_between_its_creation_and_its_last_write() {
        let place = Place { store: "s".into(), kind: Kind::Run, from_ms: 10_000, upto_ms: 20_000 };
        let id = |ms: u128| RunId(Uuid::from_u128(ms << 80 | 0x7000_8000_0000_0000_0000));
        let holds = |first, last| place.may_hold(id(first), id(last));
        assert!(holds(0, 10_000) && holds(20_000, 90_000) && holds(15_000, 15_000) && holds(0, u128::from(u32::MAX)));
        assert!(!holds(0, 8_000) && !holds(20_001, 90_000));
        assert!(place.may_hold_newer(id(20_000)) && !place.may_hold_newer(id(20_001)));
    }
}
