//! The functions for systems other than Linux. What a system lacks is reported as an error.

use std::fs::File;
use std::io;
use std::path::Path;

use super::Identity;

/// Lowers the priority of this thread, so that on a busy machine it gets only the time that other threads leave.
///
/// # Errors
/// If the system refuses, or has no priorities of single threads.
#[cfg(target_os = "macos")]
#[expect(unsafe_code, reason = "only a call of the C library sets this")]
pub fn yield_to_others() -> io::Result<()> {
    // SAFETY: the call takes two numbers and changes only the class of the calling thread.
    match unsafe { libc::pthread_set_qos_class_self_np(libc::qos_class_t::QOS_CLASS_UTILITY, 0) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Lowers the priority of this thread, so that on a busy machine it gets only the time that other threads leave.
///
/// # Errors
/// Always: this system has no priorities of single threads.
#[cfg(not(target_os = "macos"))]
pub fn yield_to_others() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The identity of the file at a path.
///
/// # Errors
/// If there is no file, or this user may not query it.
pub(crate) fn identity(path: &Path) -> io::Result<Identity> {
    std::fs::metadata(path).map(|found| Identity::of(&found))
}

/// Takes no lock: no lock here belongs to an open file without disturbing those of the database. The only second names
/// that a file can have here are links, which are detected without a lock.
#[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
pub(crate) fn lock(_: &File) -> io::Result<()> {
    Ok(())
}

/// A claim can only be detected by the lock file here.
///
/// # Errors
/// Always.
pub(crate) fn is_claimed(_: &File) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}
