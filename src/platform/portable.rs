//! The portable fallbacks off Linux: they do less, and say or leave out what is missing.

use std::io;

/// Only glibc's allocator needs settings.
pub(crate) fn settle_allocator() -> bool {
    false
}

/// Other allocators return free memory by themselves.
pub(crate) fn give_back_memory() -> bool {
    false
}

/// Only root can read the memory of a process that the caller may not debug.
#[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
pub(crate) fn conceal() -> io::Result<()> {
    Ok(())
}

/// The number of open files and connections of this process; `None` if the system does not say.
pub(crate) fn open_files() -> Option<i64> {
    std::fs::read_dir("/dev/fd").ok().and_then(|open| i64::try_from(open.count()).ok())
}

/// `None`: there is no cheap way to read the resident memory here.
pub(crate) fn resident() -> Option<i64> {
    None
}

/// The CPU time of this process in seconds: in user mode and in the kernel.
#[expect(unsafe_code, reason = "no library that is used here asks for it")]
pub(crate) fn cpu() -> Option<(f64, f64)> {
    // SAFETY: all fields are numbers, for which zero is valid.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: only the call writes to `used`.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut used) } != 0 {
        return None;
    }
    let seconds = |time: libc::timeval| time.tv_sec as f64 + f64::from(time.tv_usec) / 1e6;
    Some((seconds(used.ru_utime), seconds(used.ru_stime)))
}

/// Whether this process was started with SIGHUP ignored, a setting that is inherited.
#[expect(unsafe_code, reason = "no library that is used here asks for it")]
pub(crate) fn ignores_hang_up() -> bool {
    // SAFETY: all fields are numbers and addresses, for which zero is valid.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: the call changes nothing and only writes to `now`.
    let asked = unsafe { libc::sigaction(libc::SIGHUP, std::ptr::null(), &raw mut now) };
    asked == 0 && now.sa_sigaction == libc::SIG_IGN
}
