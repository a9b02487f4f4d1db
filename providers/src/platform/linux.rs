//! Linux: process handles, capabilities, system call filters, and what `/proc` shows.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg};
use rustix::process::{Signal, pidfd_send_signal};

use super::Instruction;
use super::table::{Process, Processes};

/// One argument or variable may have 32 pages of 4 KiB (`MAX_ARG_STRLEN`).
pub(crate) const MAX_ONE_TEXT: usize = 128 * 1024;

/// When a call is first looked at: most calls are over by then.
pub(crate) const FIRST_LOOK: Duration = Duration::from_millis(20);
/// The longest pause between looks. A fork bomb doubles every few milliseconds at first; later the kernel's limit on
/// process numbers slows it down.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_millis(150);
/// How long one look serves all calls that need one.
pub(crate) const SAME_LOOK: Duration = Duration::from_millis(10);

/// A handle on a process: as long as it is held, the process's number is not reused.
#[derive(Debug)]
pub(crate) struct Handle(OwnedFd);

impl Handle {
    /// Sends a signal. Fails only if the process is already dead.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.0, signal)?)
    }

    /// Waits until the process is dead, but at most this many seconds.
    pub(crate) fn wait(&self, seconds: i64) {
        let _ = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&Timespec { tv_sec: seconds, tv_nsec: 0 }));
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// The process's number in `/proc`; `None` if it is dead.
    pub(crate) fn number(&self) -> Option<u32> {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.0.as_raw_fd())).ok()?;
        info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
    }
}

/// Receives one byte with the handle of a process.
pub(crate) fn receive_handle(stream: impl AsFd, byte: u8) -> io::Result<Handle> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut said = [0];
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut said)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let handle = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut handles) => handles.next(),
        _ => None,
    });
    match handle {
        Some(handle) if received.bytes == 1 && said == [byte] => Ok(Handle(handle)),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Flags for sending to a peer that may be gone: that is then an error instead of a signal.
pub(crate) fn send_flags() -> SendFlags {
    SendFlags::NOSIGNAL
}

/// Whether this process could pass on the right to inspect other processes; root can.
pub(crate) fn may_trace() -> bool {
    use rustix::thread::{CapabilitySet, capability_is_in_bounding_set};
    let is_permitted = |sets: rustix::thread::CapabilitySets| sets.permitted.contains(CapabilitySet::SYS_PTRACE);
    rustix::thread::capabilities(None).is_ok_and(is_permitted)
        && capability_is_in_bounding_set(CapabilitySet::SYS_PTRACE).unwrap_or(true)
}

/// Removes that right from everything that this thread starts from now on. Fails only if the thread does not have the
/// right, so that nothing has to be removed.
pub(crate) fn drop_tracing_right() {
    use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
    if let Err(error) = remove_capability_from_bounding_set(CapabilitySet::SYS_PTRACE) {
        tracing::debug!(%error, "the right to trace stays as it is");
    }
}

/// Loads a system call filter for this thread and everything that it starts.
pub(crate) fn load_filter(filter: &[Instruction]) -> io::Result<()> {
    let mut program: Vec<libc::sock_filter> =
        filter.iter().map(|(code, jt, jf, k)| libc::sock_filter { code: *code, jt: *jt, jf: *jf, k: *k }).collect();
    let len = u16::try_from(program.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    rustix::thread::set_no_new_privs(true)?;
    #[expect(
        unsafe_code,
        reason = "no library that is used here loads filters; the kernel copies the program and checks it"
    )]
    // SAFETY: `program` points to `len` instructions that live until the call returns.
    let loaded = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if loaded == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether a file is a view of the kernel and not stored on a disk.
pub(crate) fn shows_the_kernel(file: &File) -> io::Result<bool> {
    // PROC_SUPER_MAGIC and SYSFS_MAGIC of `linux/magic.h`.
    let kind = rustix::fs::fstatfs(file)?.f_type;
    Ok([0x9fa0, 0x6265_6572].contains(&kind))
}

/// The limit on all arguments and variables of a process together, in bytes: a quarter of the stack limit, between 128
/// KiB and three quarters of the default stack of 8 MiB.
pub(crate) fn max_total_text_bytes() -> u64 {
    const LEAST: u64 = 128 << 10;
    const MOST: u64 = 6 << 20;
    let stack = rustix::process::getrlimit(rustix::process::Resource::Stack).current;
    stack.map_or(MOST, |stack| (stack / 4).clamp(LEAST, MOST))
}

/// All current processes. Blocks for milliseconds.
///
/// # Errors
/// If `/proc` cannot be read.
pub(crate) fn look() -> io::Result<Processes> {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let pids = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    Ok(Processes(pids.filter_map(|pid| Some((pid, read(pid, page)?))).collect()))
}

fn read(pid: u32, page: u64) -> Option<Process> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse(&String::from_utf8_lossy(&stat), page)
}

/// Parses a line of `/proc/PID/stat`; `None` if the process has ended. A process whose first thread has ended has the
/// state of a zombie, but lives as long as it has other threads.
fn parse(stat: &str, page: u64) -> Option<Process> {
    // The name may contain spaces and brackets; the last bracket ends it. After it, the state is the first field, the
    // parent the second, the group the third, the number of threads the 18th, and the resident pages the 22nd.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let threads: u32 = fields.nth(14)?.parse().ok()?;
    let pages: u64 = fields.nth(3)?.parse().ok()?;
    let has_ended = state == "X" || state == "Z" && threads <= 1;
    (!has_ended).then_some(Process { parent, group, resident: pages.saturating_mul(page) })
}

/// The memory of these processes in bytes, with their share of shared memory; ended processes count as 0.
pub(crate) async fn held(family: BTreeSet<u32>, _seen: &Processes) -> u64 {
    tokio::task::spawn_blocking(move || family.iter().filter_map(|pid| proportional(*pid)).sum()).await.unwrap_or(0)
}

fn proportional(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zombie_with_threads_lives() {
        let stat = |state: &str, threads: u32| {
            format!(
                "7 (a b) c) {state} 3 5 5 0 -1 4194304 90 0 0 0 1 2 0 0 20 0 {threads} 0 8899 9000 12 18446744073709551615"
            )
        };
        let expected = Some(Process { parent: 3, group: 5, resident: 12 * 4096 });
        for (state, threads, lives) in
            [("S", 1, true), ("R", 3, true), ("T", 1, true), ("Z", 2, true), ("Z", 1, false), ("X", 1, false)]
        {
            assert_eq!(parse(&stat(state, threads), 4096), expected.filter(|_| lives), "{state} {threads}");
        }
    }

    #[test]
    fn the_table_describes_this_process_as_the_system_does() {
        let own = look().expect("readable").0[&std::process::id()];
        let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned());
        assert_eq!(Some(own.parent), parent);
        assert_eq!(own.group, rustix::process::getpgrp().as_raw_nonzero().get().cast_unsigned());
        assert!(own.resident > 100_000, "{own:?}");
    }
}
