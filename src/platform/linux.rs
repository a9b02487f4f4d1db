//! Linux: what a process says of itself in `/proc`, what it hides there, glibc's allocator.
//!
//! A process that does not look like one to be debugged has its memory and its environment hidden by the kernel. The token is
//! removed from the environment as well, for whoever may look all the same.
//!
//! The allocator keeps memory that is free. A large run is built on one thread and dropped on another; with an arena for each
//! thread, up to eight for each core, what it leaves behind was given back late or not at all.

use std::ffi::{CStr, c_char};
use std::{fs, io};

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tokio::signal::unix::SignalKind;

/// As many arenas on every machine: glibc takes eight for each core. Fewer give more back, and cost more than they give
/// (measured on two cores, workflows a second: 2 arenas 12 % fewer, 4 arenas 5 % fewer, 8 as many as before).
#[cfg(target_env = "gnu")]
const ARENAS: i32 = 8;
/// What is larger has pages of its own, which are given back when it is freed. glibc raises this to 32 MiB as large
/// pieces are freed; once set it stays.
#[cfg(target_env = "gnu")]
const OWN_PAGES_BYTES: i32 = 1024 * 1024;
/// So much that is free at the end of an arena is kept. glibc raises it to twice the other; once set it stays.
#[cfg(target_env = "gnu")]
const KEPT_BYTES: i32 = 8 * 1024 * 1024;

/// Settles it, before there are threads; whoever starts the process can settle it otherwise, with `MALLOC_ARENA_MAX` and the
/// other variables of glibc. Whether it was settled here.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "only a call of the C library sets this")]
pub(crate) fn settle_allocator() -> bool {
    const OTHERWISE: [&str; 4] =
        ["GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"];
    if OTHERWISE.into_iter().any(|name| std::env::var_os(name).is_some()) {
        return false;
    }
    let wanted =
        [(libc::M_ARENA_MAX, ARENAS), (libc::M_TRIM_THRESHOLD, KEPT_BYTES), (libc::M_MMAP_THRESHOLD, OWN_PAGES_BYTES)];
    // SAFETY: the call takes two numbers, and sets the allocator under its own lock.
    wanted.into_iter().all(|(what, value)| unsafe { libc::mallopt(what, value) } == 1)
}

/// Gives back what is free between pieces that are in use, everywhere; whether something was given back. An arena whose
/// turn it is answers nobody meanwhile.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "only a call of the C library does this")]
pub(crate) fn give_back_memory() -> bool {
    // SAFETY: the call takes a number, and works under the allocator's own locks.
    unsafe { libc::malloc_trim(0) == 1 }
}

/// Other allocators do it by themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn give_back_memory() -> bool {
    false
}

/// Other allocators are left as they are.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn settle_allocator() -> bool {
    false
}

/// For processes that keep a token and work for others. Called before there are threads that might read the environment.
///
/// # Errors
/// If the kernel does not hide the memory of this process.
pub(crate) fn conceal() -> io::Result<()> {
    forget_variable("GLEITZEIT_TOKEN");
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Overwrites the value of a variable where the kernel shows it: removing it would only hide it from this process.
#[expect(unsafe_code, reason = "what `/proc/PID/environ` shows is the memory that the process was started with")]
fn forget_variable(name: &str) {
    // SAFETY: `environ` points to texts that end with NUL, behind the last of which stands a null pointer; no other thread
    // writes to them, since nothing here ever sets a variable.
    unsafe {
        let mut next: *mut *mut c_char = libc::environ;
        while !next.is_null() && !(*next).is_null() {
            let entry = *next;
            let length = CStr::from_ptr(entry).to_bytes().len();
            let text = std::slice::from_raw_parts_mut(entry.cast::<u8>(), length);
            if text.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"=")) {
                text[name.len() + 1..].fill(0);
            }
            next = next.add(1);
        }
    }
}

/// Open files and connections of this process; none if the system does not say.
pub(crate) fn open_files() -> Option<i64> {
    fs::read_dir("/proc/self/fd").ok().and_then(|open| i64::try_from(open.count()).ok())
}

/// Bytes of this process that are in memory.
pub(crate) fn resident() -> Option<i64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = text.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(i64::try_from(rustix::param::page_size()).ok()?)
}

/// Seconds that processors worked for this process: of its own, and in the system for it.
pub(crate) fn cpu() -> Option<(f64, f64)> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may hold blanks.
    let mut fields = text.rsplit(')').next()?.split_whitespace().skip(11);
    let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / rustix::param::clock_ticks_per_second() as f64);
    Some((seconds()?, seconds()?))
}

/// Whether this process was started so that a hang-up does not end it: what is ignored is inherited.
pub(crate) fn ignores_hang_up() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores(&status, SignalKind::hangup()))
}

/// Reads the mask of ignored signals, in hexadecimal digits, where the lowest bit is signal 1.
fn ignores(status: &str, signal: SignalKind) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signal.as_raw_value() - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_the_status_of_the_process() {
        let status = "Name:\tgleitzeit\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert!(ignores(status, SignalKind::hangup()) && ignores(status, SignalKind::pipe()));
        assert!(!ignores(status, SignalKind::terminate()) && !ignores("", SignalKind::hangup()));
    }

    #[cfg(target_env = "gnu")]
    #[test]
    fn the_allocator_takes_what_it_is_told() {
        let otherwise = ["GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"];
        let is_set = otherwise.into_iter().any(|name| std::env::var_os(name).is_some());
        assert_eq!(settle_allocator(), !is_set);
    }
}
