//! What every system of the POSIX family has: process groups, sessions and `ps`. Compiled and tested on Linux too.

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

/// A look is the start of a program here: fewer of them, and none for most calls.
pub(crate) const FIRST_LOOK: Duration = Duration::from_millis(200);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_millis(600);
/// One look serves all calls that want one within this time.
pub(crate) const SAME_LOOK: Duration = Duration::from_millis(150);
/// `ps` takes milliseconds; who does not answer for so long tells nothing.
const PATIENCE: Duration = Duration::from_secs(5);
/// A line has some 40 bytes: a hundred thousand processes.
const MOST_SAID: usize = 4 << 20;
/// Only the sum of arguments and variables is bounded.
pub(crate) const MOST_ONE_TEXT: usize = usize::MAX;

/// There are no handles of processes: nobody can hold one.
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

/// Sockets are told not to signal when they are made.
pub(crate) fn send_flags() -> SendFlags {
    SendFlags::empty()
}

/// Nobody but root may look into others, and its rights cannot be divided.
pub(crate) fn may_trace() -> bool {
    false
}

pub(crate) fn take_tracing() {}

/// # Errors
/// Always.
pub(crate) fn load_filter(_filter: &[Instruction]) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no filter of system calls"))
}

/// Files that show the kernel are a thing of Linux.
#[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
pub(crate) fn shows_the_kernel(_file: &File) -> io::Result<bool> {
    Ok(false)
}

/// All processes as `ps` shows them now. Blocks, for milliseconds as a rule and not for ever.
///
/// # Errors
/// If it cannot be started, or does not answer.
pub(crate) fn look() -> io::Result<Processes> {
    let mut command = std::process::Command::new("ps");
    command.args(["-A", "-o", "pid=,ppid=,pgid=,rss=,stat="]).stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let said = child.stdout.take().ok_or_else(|| io::Error::other("`ps` has no output")).and_then(read_in_time);
    if said.is_err() {
        // It has ended by itself, or does now.
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
            read if text.len() + read > MOST_SAID => return Err(io::Error::other("`ps` does not come to an end")),
            read => text.extend_from_slice(&part[..read]),
        }
    }
}

/// What every system with large arguments takes of them and of variables together (macOS, the BSDs), in bytes.
pub(crate) fn most_texts() -> u64 {
    1 << 20
}

/// Reads lines of `pid ppid pgid rss stat`, where memory is in KiB. A zombie with threads (`l`) is a process whose first
/// thread has ended, and lives.
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

/// Bytes of memory of these processes. What they share is counted for each: nobody here says how much that is.
pub(crate) async fn held(family: BTreeSet<u32>, seen: &Processes) -> u64 {
    seen.resident(&family)
}

/// Makes what a command starts the leader of a session of its own, and so of a process group. The program `setsid` does it
/// too, but is not on every system.
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
    fn what_does_not_end_is_not_read_for_ever() {
        let endless = File::open("/dev/zero").expect("opened");
        let error = read_in_time(endless).expect_err("too much");
        assert!(error.to_string().contains("does not come to an end"), "{error}");
    }

    #[test]
    fn ps_tells_of_this_process_what_the_system_says() {
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

    #[expect(clippy::print_stderr, reason = "who runs tests is to see it")]
    fn skipped(why: &str) {
        eprintln!("skipped: {why}");
    }
}
