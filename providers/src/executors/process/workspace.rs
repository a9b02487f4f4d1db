//! Temporary folders: one per executor, and in it one per call. The executor's folder is locked while its process
//! lives. Later agents remove the folders that nobody locks any more, so that even a killed agent leaves nothing for
//! long.
//!
//! All of them are in one folder that only this user can enter. Whatever other users may have placed in the temporary
//! folder under our names (pipes, links, folders) is never waited for, followed or removed.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use tempfile::TempDir;

const PREFIX: &str = "gleitzeit-calls-";
const LOCK: &str = ".lock";
/// Protects a new folder before its owner has locked it.
const GRACE: Duration = Duration::from_secs(30);

/// The folder of an executor; removed when dropped.
#[derive(Debug)]
pub(in crate::executors) struct Workspace {
    folder: TempDir,
    _lock: File,
}

impl Workspace {
    /// Creates the folder and removes those of dead agents.
    pub(in crate::executors) fn create(temp: &Path) -> io::Result<Self> {
        sweep(temp, GRACE);
        let parent = private_parent(temp)?;
        let parent = match &parent {
            Some(parent) => {
                sweep(parent, GRACE);
                parent
            }
            None => temp,
        };
        let folder = private().prefix(PREFIX).tempdir_in(parent)?;
        let lock = File::create(folder.path().join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => io::Error::from(io::ErrorKind::WouldBlock),
        })?;
        Ok(Self { folder, _lock: lock })
    }

    /// Creates the folder on a blocking thread.
    ///
    /// # Errors
    /// Why there can be no folder, in words.
    pub(in crate::executors) async fn create_in(temp: &Path) -> Result<Self, String> {
        let owned = temp.to_owned();
        let created = tokio::task::spawn_blocking(move || Self::create(&owned)).await;
        created
            .map_err(io::Error::other)
            .flatten()
            .map_err(|error| format!("no temporary folder can be made in `{}`: {error}", temp.display()))
    }

    /// Creates a folder for one call; removed when dropped.
    pub(in crate::executors) fn call_folder(&self) -> io::Result<TempDir> {
        private().prefix("call-").tempdir_in(self.folder.path())
    }

    pub(in crate::executors) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Creates folders that only this user can enter.
fn private<'a>() -> tempfile::Builder<'a, 'a> {
    let mut builder = tempfile::Builder::new();
    builder.permissions(Permissions::from_mode(0o700));
    builder
}

/// The common folder for all agents of this user. `None` if its name is taken by something that does not belong to this
/// user alone; then each agent's folder is created beside it, and is just as private.
fn private_parent(temp: &Path) -> io::Result<Option<PathBuf>> {
    let path = temp.join(format!("gleitzeit-{}", rustix::process::geteuid().as_raw()));
    match DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if is_own_folder(&path) && fs::symlink_metadata(&path)?.mode() & 0o077 == 0 {
        return Ok(Some(path));
    }
    let folder = path.display();
    tracing::warn!(%folder, "this folder is not private to this user (mode 0700); temporary folders are made beside it");
    Ok(None)
}

/// Whether the path is a folder of this user, and not a link to one.
fn is_own_folder(path: &Path) -> bool {
    let is_own = |metadata: fs::Metadata| metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw();
    fs::symlink_metadata(path).is_ok_and(is_own)
}

/// The lock file of an own folder, if it is a regular file of this user. Opening it never waits and follows no link.
fn open_lock(folder: &Path) -> Option<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let lock = File::options().read(true).custom_flags(flags).open(folder.join(LOCK)).ok()?;
    let metadata = lock.metadata().ok()?;
    (metadata.is_file() && metadata.uid() == rustix::process::geteuid().as_raw()).then_some(lock)
}

/// Removes folders whose owner is gone; those that cannot be removed (another user's) stay.
pub(in crate::executors) fn sweep(temp: &Path, grace: Duration) {
    let Ok(entries) = fs::read_dir(temp) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if !is_ours || !is_own_folder(&entry.path()) {
            continue;
        }
        let Some(lock) = open_lock(&entry.path()) else { continue };
        let age = lock.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|at| at.elapsed().ok());
        if age.is_some_and(|age| age >= grace)
            && lock.try_lock().is_ok()
            && let Err(error) = remove(&entry.path())
        {
            tracing::debug!(%error, folder = %entry.path().display(), "a stale folder cannot be removed");
        }
    }
}

/// Removes the folder of a call; it may contain much, which must not hold up other calls.
pub(in crate::executors) async fn clear(folder: TempDir) {
    if fs::remove_dir(folder.path()).is_ok() {
        // The guard has nothing left to remove.
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
        tracing::warn!(%error, folder = %folder.display(), "the folder of a call cannot be removed");
    }
}

/// Removes a folder with its content, even if that was made unreadable.
fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open(folder);
            fs::remove_dir_all(folder)
        }
        result => result,
    }
}

/// Restores the owner's rights on all folders below, without following links.
fn open(folder: &Path) {
    let mut below = vec![folder.to_owned()];
    while let Some(folder) = below.pop() {
        let _ = fs::set_permissions(&folder, Permissions::from_mode(0o700));
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        below.extend(folders.map(|entry| entry.path()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("there").mode() & 0o7777
    }

    #[test]
    fn all_folders_are_their_users_alone_and_stale_ones_are_removed() {
        let temp = tempfile::tempdir().expect("a folder");
        let workspace = Workspace::create(temp.path()).expect("made");
        let parent = workspace.path().parent().expect("a parent").to_owned();
        let call = workspace.call_folder().expect("made");
        assert_eq!([mode(&parent), mode(workspace.path()), mode(call.path())], [0o700; 3]);
        assert_eq!(parent.parent(), Some(temp.path()));
        // A killed agent: nobody removes its folder or holds its lock.
        let stale = parent.join(format!("{PREFIX}stale"));
        fs::create_dir(&stale).expect("made");
        fs::write(stale.join(LOCK), "").expect("written");
        sweep(&parent, Duration::ZERO);
        assert!(!stale.exists() && workspace.path().exists());
    }

    #[test]
    fn planted_files_in_the_temporary_folder_have_no_effect() {
        let pipe = |path: &Path| {
            let made = std::process::Command::new("mkfifo").arg(path).status();
            assert!(made.is_ok_and(|made| made.success()), "a pipe");
        };
        let temp = tempfile::tempdir().expect("a folder");
        let planted = temp.path().join(format!("{PREFIX}pipe"));
        fs::create_dir(&planted).expect("made");
        pipe(&planted.join(LOCK));
        pipe(&temp.path().join(format!("{PREFIX}bare")));
        let link = temp.path().join(format!("{PREFIX}link"));
        fs::create_dir(&link).expect("made");
        fs::write(temp.path().join("precious"), "kept").expect("written");
        std::os::unix::fs::symlink(temp.path().join("precious"), link.join(LOCK)).expect("linked");
        sweep(temp.path(), Duration::ZERO);
        assert!(planted.exists() && link.exists(), "what is not certainly ours stays");

        // Taking the place of the common folder: a pipe, a link, a folder that others may enter.
        let parent = temp.path().join(format!("gleitzeit-{}", rustix::process::geteuid().as_raw()));
        pipe(&parent);
        let works = || {
            let workspace = Workspace::create(temp.path()).expect("works all the same");
            assert_eq!((workspace.path().parent(), mode(workspace.path())), (Some(temp.path()), 0o700));
        };
        works();
        fs::remove_file(&parent).expect("ours");
        let elsewhere = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink(elsewhere.path(), &parent).expect("linked");
        works();
        assert_eq!(fs::read_dir(elsewhere.path()).expect("readable").count(), 0, "the link was not followed");
        fs::remove_file(&parent).expect("ours");
        fs::create_dir(&parent).expect("made");
        fs::set_permissions(&parent, Permissions::from_mode(0o777)).expect("ours");
        works();
        assert_eq!(fs::read_to_string(temp.path().join("precious")).expect("there"), "kept");
    }

    #[test]
    fn folders_without_rights_are_removed_and_links_are_not_followed() {
        let temp = tempfile::tempdir().expect("a folder");
        let (outside, folder) = (temp.path().join("outside"), temp.path().join("call"));
        fs::create_dir_all(folder.join("a/b")).expect("writable");
        fs::create_dir(&outside).expect("writable");
        fs::write(folder.join("a/b/file"), "x").expect("writable");
        std::os::unix::fs::symlink(&outside, folder.join("a/link")).expect("writable");
        let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
        mode(&outside, 0o500);
        mode(&folder.join("a/b"), 0);
        mode(&folder.join("a"), 0);
        // Root may read anything, so this shows only what other users would need.
        open(&folder);
        let rights = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!([rights(&folder.join("a")), rights(&folder.join("a/b")), rights(&outside)], [0o700, 0o700, 0o500]);
        remove(&folder).expect("removable");
        assert!(!folder.exists() && outside.exists());
    }
}
