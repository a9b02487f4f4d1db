//! Linux: process information in `/proc` and its protection, glibc's allocator.
//!
//! The kernel hides the memory and the environment of a process that is not dumpable. As a second defence, the token is
//! also removed from the environment.
//!
//! The allocator keeps free memory. A large run is built on one thread and dropped on another; with an arena for each
//! thread, up to eight for each core, its memory was returned late or not at all.

use std::ffi::{CStr, c_char};
use std::{fs, io};

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tokio::signal::unix::SignalKind;

/// The same number of arenas on every machine; glibc takes eight for each core. Fewer arenas return more memory, but
/// cost more than they save (measured on two cores, workflows a second: 2 arenas 12 % fewer, 4 arenas 5 % fewer, 8 as
/// many as before).
#[cfg(target_env = "gnu")]
const ARENAS: i32 = 8;
/// Larger allocations get their own pages, which are returned when they are freed. glibc raises this threshold to 32
/// MiB as large pieces are freed; once set it stays.
#[cfg(target_env = "gnu")]
const OWN_PAGES_BYTES: i32 = 1024 * 1024;
/// How much free memory at the end of an arena is kept. glibc raises it to twice the other threshold; once set it
/// stays.
#[cfg(target_env = "gnu")]
const KEPT_BYTES: i32 = 8 * 1024 * 1024;

/// Configures the allocator; to be called before there are threads. The user can override this with `MALLOC_ARENA_MAX`
/// and the other variables of glibc. Returns whether the settings were made here.
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
    // SAFETY: the call takes two numbers, and changes the allocator's settings under its own lock.
    wanted.into_iter().all(|(what, value)| unsafe { libc::mallopt(what, value) } == 1)
}

/// Returns free memory between used pieces to the system; says whether there was any. An arena is locked while it is
/// processed.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "only a call of the C library does this")]
pub(crate) fn give_back_memory() -> bool {
    // SAFETY: the call takes a number, and works under the allocator's own locks.
    unsafe { libc::malloc_trim(0) == 1 }
}

/// Other allocators return memory by themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn give_back_memory() -> bool {
    false
}

/// Other allocators are left as they are.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn settle_allocator() -> bool {
    false
}

/// Protects a process that holds a token and works for others. Must be called before there are threads that might read
/// the environment.
///
/// # Errors
/// If the kernel does not hide the memory of this process.
pub(crate) fn conceal() -> io::Result<()> {
    forget_variable("GLEITZEIT_TOKEN");
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Overwrites the value of a variable where the kernel shows it: removing the variable would only hide it from this
/// process.
#[expect(unsafe_code, reason = "what `/proc/PID/environ` shows is the memory that the process was started with")]
fn forget_variable(name: &str) {
    // SAFETY: `environ` points to NUL-terminated strings, with a null pointer after the last one; no other thread
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

/// The number of open files and connections of this process; `None` if the system does not say.
pub(crate) fn open_files() -> Option<i64> {
    fs::read_dir("/proc/self/fd").ok().and_then(|open| i64::try_from(open.count()).ok())
}

/// The resident memory of this process in bytes.
pub(crate) fn resident() -> Option<i64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = text.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(i64::try_from(rustix::param::page_size()).ok()?)
}

/// The CPU time of this process in seconds: in user mode and in the kernel.
pub(crate) fn cpu() -> Option<(f64, f64)> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The process name, in parentheses, may contain blanks.
    let mut fields = text.rsplit(')').next()?.split_whitespace().skip(11);
    let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / rustix::param::clock_ticks_per_second() as f64);
    Some((seconds()?, seconds()?))
}

/// Whether this process was started with SIGHUP ignored, a setting that is inherited.
pub(crate) fn ignores_hang_up() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores(&status, SignalKind::hangup()))
}

/// Reads the mask of ignored signals, hexadecimal digits whose lowest bit is signal 1.
fn ignores(status: &str, signal: SignalKind) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signal.as_raw_value() - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_status_of_the_process() {
        let status = "Name:\tgleitzeit\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert!(ignores(status, SignalKind::hangup()) && ignores(status, SignalKind::pipe()));
        assert!(!ignores(status, SignalKind::terminate()) && !ignores("", SignalKind::hangup()));
    }

    #[cfg(target_env = "gnu")]
    #[test]
    fn the_allocator_accepts_its_settings() {
        let otherwise = ["GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"];
        let is_set = otherwise.into_iter().any(|name| std::env::var_os(name).is_some());
        assert_eq!(settle_allocator(), !is_set);
    }
}
