//! Which file a store is: noted when it is opened, and compared with what stands at its path before anything that was
//! written counts as kept. A file that was deleted or moved away can be written as before, and no later start finds it.
//!
//! The file itself is locked too: by another name, such as that of a file mounted alone, it has another lock file.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::journal::StoreError;

use super::log_of;

/// A store's file, which nobody else may open as a store.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    itself: Identity,
    /// Of the write-ahead log. Without it the latest entries are lost, as without the file.
    log: Option<Identity>,
    /// Kept open, since it holds the lock, and since closing it would give up the locks that the database has on the file.
    file: File,
}

/// A file under whatever name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(file: &Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino() }
    }
}

impl Claim {
    /// Claims the file at `path`, which is its real name.
    ///
    /// # Errors
    /// `InUse` if another store has it; `Open` if it cannot be opened for writing or has a second name: each name would
    /// have a log of its own, and entries in one are missing under the other.
    pub(super) fn new(path: &Path) -> Result<Self, StoreError> {
        let claim = Self::of_any(path)?;
        let found = claim.file.metadata().map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
        match found.nlink() {
            0 | 1 => Ok(claim),
            names => Err(StoreError::Linked { path: path.to_owned(), names }),
        }
    }

    /// The same for a file that is only to be moved away, whatever it is.
    ///
    /// # Errors
    /// As for [`Claim::new`], except that it may have several names.
    pub(super) fn of_any(path: &Path) -> Result<Self, StoreError> {
        let refused = |source| StoreError::Open { path: path.to_owned(), source };
        let file = File::options().read(true).write(true).open(path).map_err(refused)?;
        let found = file.metadata().map_err(refused)?;
        match lock(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(StoreError::InUse(path.to_owned())),
            Err(error) => {
                tracing::warn!(%error, "the store itself cannot be locked here; its lock file alone keeps others out");
            }
        }
        Ok(Self { path: path.to_owned(), itself: Identity::of(&found), log: None, file })
    }

    /// Notes which log the database writes now.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn note_log(&mut self) -> io::Result<()> {
        self.log = Some(identity(&log_of(&self.path))?);
        Ok(())
    }

    /// Whether a start would find the file and its log that are being written.
    ///
    /// # Errors
    /// `Gone` if not.
    pub(super) fn confirm(&self) -> Result<(), StoreError> {
        let found = check(&self.path, self.itself)
            .and_then(|()| self.log.map_or(Ok(()), |log| check(&log_of(&self.path), log)));
        found.map_err(|why| StoreError::Gone { path: self.path.clone(), why })
    }

    /// Forces the file to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// Whether a path leads to a file; if not, why.
fn check(path: &Path, expected: Identity) -> Result<(), String> {
    match identity(path) {
        Ok(found) if found == expected => Ok(()),
        Ok(_) => Err(format!("another file stands at `{}`", path.display())),
        Err(error) => Err(format!("`{}` cannot be found: {error}", path.display())),
    }
}

/// Which file stands at a path. Only that is asked for: where somebody has asked for its times, the next write must note
/// a new one, and a commit took a tenth longer.
#[cfg(target_os = "linux")]
fn identity(path: &Path) -> io::Result<Identity> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::INO)?;
    Ok(Identity { device: makedev(found.stx_dev_major, found.stx_dev_minor), inode: found.stx_ino })
}

/// Which file stands at a path.
#[cfg(not(target_os = "linux"))]
fn identity(path: &Path) -> io::Result<Identity> {
    std::fs::metadata(path).map(|found| Identity::of(&found))
}

/// Locks one byte far beyond the end, which no database reads: the lock belongs to this open file and not to the process.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no library at hand offers locks of open files")]
fn lock(file: &File) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let wanted = far_byte()?;
    // SAFETY: the descriptor is open as long as `file` is borrowed, and the call only reads `wanted`.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const wanted) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether somebody has claimed a file, which may be open for reading only. No lock is taken for it: whoever claims the
/// file at this moment gets it.
///
/// # Errors
/// If the file cannot have such a lock.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no library at hand asks for locks of open files")]
pub(super) fn is_claimed(file: &File) -> io::Result<bool> {
    use std::os::fd::AsRawFd as _;
    let mut found = far_byte()?;
    // SAFETY: the descriptor is open as long as `file` is borrowed, and `found` is written by the call alone.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut found) } {
        0 => Ok(i32::from(found.l_type) != libc::F_UNLCK),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The lock that [`lock`] sets.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the structure has fields that differ between machines")]
fn far_byte() -> io::Result<libc::flock> {
    const FAR: libc::off_t = 1 << 62;
    // SAFETY: all of it are numbers, for which zeros are values.
    let mut wanted: libc::flock = unsafe { std::mem::zeroed() };
    wanted.l_type = libc::c_short::try_from(libc::F_WRLCK).map_err(io::Error::other)?;
    wanted.l_whence = libc::c_short::try_from(libc::SEEK_SET).map_err(io::Error::other)?;
    (wanted.l_start, wanted.l_len) = (FAR, 1);
    Ok(wanted)
}

/// Elsewhere a claim is seen by its lock file alone.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_claimed(_: &File) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Elsewhere a file has no second name but links, which are found without a lock.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
fn lock(_: &File) -> io::Result<()> {
    Ok(())
}
