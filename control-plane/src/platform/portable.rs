//! What there is off Linux: less, and what is missing is said.

use std::fs::File;
use std::io;
use std::path::Path;

use super::Identity;

/// Lets this thread have only what other threads leave on a machine that is busy.
///
/// # Errors
/// If the system refuses, or has no priorities of single threads.
#[cfg(target_os = "macos")]
#[expect(unsafe_code, reason = "only a call of the C library sets this")]
pub fn yield_to_others() -> io::Result<()> {
    // SAFETY: the call takes two numbers, and sets only what the calling thread is.
    match unsafe { libc::pthread_set_qos_class_self_np(libc::qos_class_t::QOS_CLASS_UTILITY, 0) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Lets this thread have only what other threads leave on a machine that is busy.
///
/// # Errors
/// Always: there are no priorities of single threads.
#[cfg(not(target_os = "macos"))]
pub fn yield_to_others() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Which file stands at a path.
///
/// # Errors
/// If there is none, or nobody may ask.
pub(crate) fn identity(path: &Path) -> io::Result<Identity> {
    std::fs::metadata(path).map(|found| Identity::of(&found))
}

/// There is no lock that belongs to an open file and leaves those of the database alone: a file has no second name here but
/// links, which are found without a lock.
#[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
pub(crate) fn lock(_: &File) -> io::Result<()> {
    Ok(())
}

/// A claim is seen by its lock file alone.
///
/// # Errors
/// Always.
pub(crate) fn is_claimed(_: &File) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}
