//! Linux: locks of open files, priorities of single threads, and a question for a file's identity alone.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};

use super::Identity;

/// How nice a thread is that works only when others do not.
const NICENESS: i32 = 10;

/// Lets this thread have only what other threads leave on a machine that is busy.
///
/// # Errors
/// If the system refuses.
pub fn yield_to_others() -> io::Result<()> {
    Ok(rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS)?)
}

/// Which file stands at a path. Only that is asked for: where somebody has asked for its times, the next write must note
/// a new one, and a commit took a tenth longer.
pub(crate) fn identity(path: &Path) -> io::Result<Identity> {
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::INO)?;
    Ok(Identity { device: makedev(found.stx_dev_major, found.stx_dev_minor), inode: found.stx_ino })
}

/// Locks one byte far beyond the end, which no database reads: the lock belongs to this open file and not to the process.
#[expect(unsafe_code, reason = "no library at hand offers locks of open files")]
pub(crate) fn lock(file: &File) -> io::Result<()> {
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
#[expect(unsafe_code, reason = "no library at hand asks for locks of open files")]
pub(crate) fn is_claimed(file: &File) -> io::Result<bool> {
    let mut found = far_byte()?;
    // SAFETY: the descriptor is open as long as `file` is borrowed, and `found` is written by the call alone.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut found) } {
        0 => Ok(i32::from(found.l_type) != libc::F_UNLCK),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The lock that [`lock`] sets.
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
