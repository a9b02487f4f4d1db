//! Linux: locks that belong to open files, priorities of single threads, and file identities without other metadata.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};

use super::Identity;

/// The nice value of a thread that runs only when other threads do not.
const NICENESS: i32 = 10;

/// Lowers the priority of this thread, so that on a busy machine it gets only the time that other threads leave.
///
/// # Errors
/// If the system refuses.
pub fn yield_to_others() -> io::Result<()> {
    Ok(rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS)?)
}

/// The identity of the file at a path. Nothing else is queried: after a query for a file's times, the next write has to
/// record a new one, which made a commit take a tenth longer.
pub(crate) fn identity(path: &Path) -> io::Result<Identity> {
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::INO)?;
    Ok(Identity { device: makedev(found.stx_dev_major, found.stx_dev_minor), inode: found.stx_ino })
}

/// Locks one byte far beyond the end of the file, which no database reads. The lock belongs to this open file and not
/// to the process.
#[expect(unsafe_code, reason = "no library at hand offers locks of open files")]
pub(crate) fn lock(file: &File) -> io::Result<()> {
    let wanted = far_byte()?;
    // SAFETY: the descriptor is open as long as `file` is borrowed, and the call only reads `wanted`.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const wanted) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether a process has claimed a file, which may be open for reading only. This takes no lock, so a process that
/// claims the file at the same moment succeeds.
///
/// # Errors
/// If the file does not support such locks.
#[expect(unsafe_code, reason = "no library at hand queries locks of open files")]
pub(crate) fn is_claimed(file: &File) -> io::Result<bool> {
    let mut found = far_byte()?;
    // SAFETY: the descriptor is open as long as `file` is borrowed, and `found` is written by the call alone.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut found) } {
        0 => Ok(i32::from(found.l_type) != libc::F_UNLCK),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The lock that [`lock`] takes.
#[expect(unsafe_code, reason = "the structure has fields that differ between machines")]
fn far_byte() -> io::Result<libc::flock> {
    const FAR: libc::off_t = 1 << 62;
    // SAFETY: all fields are numbers, for which zero is a valid value.
    let mut wanted: libc::flock = unsafe { std::mem::zeroed() };
    wanted.l_type = libc::c_short::try_from(libc::F_WRLCK).map_err(io::Error::other)?;
    wanted.l_whence = libc::c_short::try_from(libc::SEEK_SET).map_err(io::Error::other)?;
    (wanted.l_start, wanted.l_len) = (FAR, 1);
    Ok(wanted)
}
