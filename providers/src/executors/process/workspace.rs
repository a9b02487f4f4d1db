//! Temporary folders: one for the executor, in it one for each call. The executor's is locked while its process lives;
//! whoever starts later removes those that nobody locks any more, so that even a killed agent leaves nothing for long.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

const PREFIX: &str = "gleitzeit-calls-";
const LOCK: &str = ".lock";
/// Between making a folder and locking it, its owner must not be robbed.
const GRACE: Duration = Duration::from_secs(30);

/// The executor's folder; removed when dropped.
#[derive(Debug)]
pub(in crate::executors) struct Workspace {
    folder: TempDir,
    _lock: File,
}

impl Workspace {
    /// Makes the folder and removes those of dead agents.
    pub(in crate::executors) fn create(temp: &Path) -> io::Result<Self> {
        sweep(temp, GRACE);
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(temp)?;
        let lock = File::create(folder.path().join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => io::Error::from(io::ErrorKind::WouldBlock),
        })?;
        Ok(Self { folder, _lock: lock })
    }

    /// A folder for one call; removed when dropped.
    pub(in crate::executors) fn call_folder(&self) -> io::Result<TempDir> {
        tempfile::Builder::new().prefix("call-").tempdir_in(self.folder.path())
    }

    pub(in crate::executors) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes folders whose owner is gone; what cannot be removed (another user's) stays.
pub(in crate::executors) fn sweep(temp: &Path, grace: Duration) {
    let Ok(entries) = std::fs::read_dir(temp) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let Ok(lock) = File::open(entry.path().join(LOCK)) else { continue };
        let age = lock.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|at| at.elapsed().ok());
        if age.is_some_and(|age| age >= grace)
            && lock.try_lock().is_ok()
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::debug!(%error, folder = %entry.path().display(), "stale folder stays");
        }
    }
}
