//! What there is off Linux: less, and what is missing is said or left out.

use std::io;

/// Only the allocator of Linux is settled.
pub(crate) fn settle_allocator() -> bool {
    false
}

/// Other allocators give free memory back by themselves.
pub(crate) fn give_back_memory() -> bool {
    false
}

/// Nobody but root may read the memory of a process that is not theirs to debug.
#[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
pub(crate) fn conceal() -> io::Result<()> {
    Ok(())
}

/// Open files and connections of this process; none if the system does not say.
pub(crate) fn open_files() -> Option<i64> {
    std::fs::read_dir("/dev/fd").ok().and_then(|open| i64::try_from(open.count()).ok())
}

/// Nobody says at no cost how many bytes of this process are in memory at the moment.
pub(crate) fn resident() -> Option<i64> {
    None
}

/// Seconds that processors worked for this process: of its own, and in the system for it.
#[expect(unsafe_code, reason = "no library that is used here asks for it")]
pub(crate) fn cpu() -> Option<(f64, f64)> {
    // SAFETY: all of it are numbers, for which zeros are values.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `used` is written by the call alone.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut used) } != 0 {
        return None;
    }
    let seconds = |time: libc::timeval| time.tv_sec as f64 + f64::from(time.tv_usec) / 1e6;
    Some((seconds(used.ru_utime), seconds(used.ru_stime)))
}

/// Whether this process was started so that a hang-up does not end it: what is ignored is inherited.
#[expect(unsafe_code, reason = "no library that is used here asks for it")]
pub(crate) fn ignores_hang_up() -> bool {
    // SAFETY: all of it are numbers and addresses, for which zeros are values.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: nothing is set, and `now` is written by the call alone.
    let asked = unsafe { libc::sigaction(libc::SIGHUP, std::ptr::null(), &raw mut now) };
    asked == 0 && now.sa_sigaction == libc::SIG_IGN
}
