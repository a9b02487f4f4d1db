//! What every POSIX system has: process groups, sessions and `ps`. Compiled and tested on Linux too.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::process::Signal;
use tokio::process::Command;

use super::Instruction;
use super::table::{Process, Processes};

/// When a call is first looked at. Here a look starts a program, so there are fewer looks, and none at most calls.
pub(crate) const FIRST_LOOK: Duration = Duration::from_millis(200);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_millis(600);
/// How long one look serves all calls that need one.
pub(crate) const SAME_LOOK: Duration = Duration::from_millis(150);
/// How long to wait for `ps`, which normally takes milliseconds; after that it counts as failed.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most output of `ps` in bytes: at about 40 bytes per line, a hundred thousand processes.
const MAX_OUTPUT_BYTES: usize = 4 << 20;
/// Single arguments are not limited, only the sum of arguments and variables.
pub(crate) const MAX_ONE_TEXT: usize = usize::MAX;

/// There are no process handles here, so this type has no values.
#[derive(Debug)]
pub(crate) enum Handle {}

impl Handle {
    pub(crate) fn signal(&self, _signal: Signal) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn wait(&self, _seconds: i64) {
        match *self {}
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        match *self {}
    }

    pub(crate) fn number(&self) -> Option<u32> {
        match *self {}
    }
}

/// # Errors
/// Always.
pub(crate) fn receive_handle(_stream: impl AsFd, _byte: u8) -> io::Result<Handle> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no handles of processes"))
}

/// No flags: the sockets are configured not to signal when they are created.
pub(crate) fn send_flags() -> SendFlags {
    SendFlags::empty()
}

/// Only root may inspect other processes, and its rights cannot be divided.
pub(crate) fn may_trace() -> bool {
    false
}

pub(crate) fn drop_tracing_right() {}

/// # Errors
/// Always.
pub(crate) fn load_filter(_filter: &[Instruction]) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no filter of system calls"))
}

/// Only Linux has files that are views of the kernel.
#[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
pub(crate) fn shows_the_kernel(_file: &File) -> io::Result<bool> {
    Ok(false)
}

/// All current processes according to `ps`. Blocks, normally for milliseconds, and not forever.
///
/// # Errors
/// If `ps` cannot be started, or does not answer.
pub(crate) fn look() -> io::Result<Processes> {
    let mut command = std::process::Command::new("ps");
    command.args(["-A", "-o", "pid=,ppid=,pgid=,rss=,stat="]).stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let said = child.stdout.take().ok_or_else(|| io::Error::other("`ps` has no output")).and_then(read_in_time);
    if said.is_err() {
        // It has ended on its own, or ends now.
        let _ = child.kill();
    }
    child.wait()?;
    let mut processes = read_all(&String::from_utf8_lossy(&said?));
    processes.0.remove(&child.id());
    Ok(processes)
}

fn read_in_time(mut output: impl Read + AsFd) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    let (mut text, mut part) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
        let ready = match poll(&mut [PollFd::new(&output, PollFlags::IN)], Some(&left)) {
            Err(Errno::INTR) => continue,
            polled => polled?,
        };
        if ready == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match output.read(&mut part)? {
            0 => return Ok(text),
            read if text.len() + read > MAX_OUTPUT_BYTES => {
                return Err(io::Error::other("`ps` does not come to an end"));
            }
            read => text.extend_from_slice(&part[..read]),
        }
    }
}

/// The limit of other systems (macOS, the BSDs) on arguments and variables together, in bytes.
pub(crate) fn max_total_text_bytes() -> u64 {
    1 << 20
}

/// Parses lines of `pid ppid pgid rss stat`, with memory in KiB. A zombie with threads (`l`) is a process whose first
/// thread has ended; it is alive.
fn read_all(text: &str) -> Processes {
    let read = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let pid = fields.next()?.parse().ok()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let kib: u64 = fields.next()?.parse().ok()?;
        let state = fields.next()?;
        let has_ended = state.starts_with('Z') && !state.contains('l');
        (!has_ended).then_some((pid, Process { parent, group, resident: kib.saturating_mul(1024) }))
    };
    Processes(text.lines().filter_map(read).collect())
}

/// The memory of these processes in bytes. Shared memory is counted for each of them, because these systems do not
/// report its share.
pub(crate) async fn held(family: BTreeSet<u32>, seen: &Processes) -> u64 {
    seen.resident(&family)
}

/// Makes the process of a command the leader of its own session, and thus of its own process group. The program
/// `setsid` does the same, but not every system has it.
#[expect(unsafe_code, reason = "the standard library does not offer it yet")]
pub(crate) fn own_session(command: &mut Command) {
    // SAFETY: between fork and start only this system call is made, which allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ps_are_read_and_zombies_left_out() {
        let text =
            "    1     0     1  12000 Ss\n  20     1    20      0 Z+\n 21 20 20 5 R<+\n 22 20 20 0 Zl\nnonsense\n";
        let table = read_all(text);
        assert_eq!(table.0.len(), 3);
        assert_eq!(table.0[&22].parent, 20, "its other threads live");
        assert_eq!(table.0[&21], Process { parent: 20, group: 20, resident: 5 * 1024 });
    }

    #[test]
    fn reading_endless_output_is_limited() {
        let endless = File::open("/dev/zero").expect("opened");
        let error = read_in_time(endless).expect_err("too much");
        assert!(error.to_string().contains("does not come to an end"), "{error}");
    }

    #[test]
    fn ps_describes_this_process_as_the_system_does() {
        let table = match look() {
            Ok(table) => table,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return skipped("there is no `ps` here"),
            Err(error) => panic!("{error}"),
        };
        let own = table.0[&std::process::id()];
        let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned());
        assert_eq!(Some(own.parent), parent);
        assert_eq!(own.group, rustix::process::getpgrp().as_raw_nonzero().get().cast_unsigned());
        assert!(own.resident > 100_000, "{own:?}");
    }

    #[expect(clippy::print_stderr, reason = "the person running the tests must see it")]
    fn skipped(why: &str) {
        eprintln!("skipped: {why}");
    }
}
