//! Temporary folders: one for the executor, in it one for each call. The executor's is locked while its process lives;
//! whoever starts later removes those that nobody locks any more, so that even a killed agent leaves nothing for long.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
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
    let Ok(entries) = fs::read_dir(temp) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let Ok(lock) = File::open(entry.path().join(LOCK)) else { continue };
        let age = lock.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|at| at.elapsed().ok());
        if age.is_some_and(|age| age >= grace)
            && lock.try_lock().is_ok()
            && let Err(error) = remove(&entry.path())
        {
            tracing::debug!(%error, folder = %entry.path().display(), "stale folder stays");
        }
    }
}

/// Removes the folder of a call; what was left in it may be much and must not hold up other calls.
pub(in crate::executors) async fn clear(folder: TempDir) {
    if fs::remove_dir(folder.path()).is_ok() {
        // Nothing is left for the guard to remove.
        let _ = folder.keep();
        return;
    }
    let removed = tokio::task::spawn_blocking(move || {
        remove(folder.path()).map_err(|error| (folder.path().to_owned(), error))?;
        let _ = folder.keep();
        Ok(())
    });
    if let Ok(Err((folder, error))) = removed.await {
        let folder: PathBuf = folder;
        tracing::warn!(%error, folder = %folder.display(), "the folder of a call stays");
    }
}

/// Removes a folder with all that is in it, also what was made unreadable.
fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open(folder);
            fs::remove_dir_all(folder)
        }
        result => result,
    }
}

/// Gives the owner back the rights on all folders below, following no links.
fn open(folder: &Path) {
    let mut below = vec![folder.to_owned()];
    while let Some(folder) = below.pop() {
        let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o700));
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        below.extend(folders.map(|entry| entry.path()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_without_rights_are_removed_and_links_are_not_followed() {
        let temp = tempfile::tempdir().expect("a folder");
        let (outside, folder) = (temp.path().join("outside"), temp.path().join("call"));
        fs::create_dir_all(folder.join("a/b")).expect("writable");
        fs::create_dir(&outside).expect("writable");
        fs::write(folder.join("a/b/file"), "x").expect("writable");
        std::os::unix::fs::symlink(&outside, folder.join("a/link")).expect("writable");
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
        mode(&outside, 0o500);
        mode(&folder.join("a/b"), 0);
        mode(&folder.join("a"), 0);
        // Root may read anything, so that this is what others would need.
        open(&folder);
        let rights = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!([rights(&folder.join("a")), rights(&folder.join("a/b")), rights(&outside)], [0o700, 0o700, 0o500]);
        remove(&folder).expect("removable");
        assert!(!folder.exists() && outside.exists());
    }
}
