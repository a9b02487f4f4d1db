//! What every system of the POSIX family has: process groups, sessions and `ps`. Compiled and tested on Linux too.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::SendFlags;
use rustix::process::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::Instruction;
use super::table::{Process, Processes};

/// A look is the start of a program here: fewer of them, and none for most calls.
pub(crate) const FIRST_LOOK: Duration = Duration::from_millis(200);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_millis(600);
/// One look serves all calls that want one within this time.
const SAME: Duration = Duration::from_millis(150);
/// `ps` takes milliseconds; who does not answer for so long tells nothing.
const PATIENCE: Duration = Duration::from_secs(5);
/// A line has some 40 bytes: a hundred thousand processes.
const MOST_SAID: u64 = 4 << 20;

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

/// What `ps` says at the moment, or said just now.
///
/// # Errors
/// If it cannot be started, or does not answer.
pub(crate) async fn processes() -> io::Result<Arc<Processes>> {
    static LAST: Mutex<Option<(Instant, Arc<Processes>)>> = Mutex::const_new(None);
    let mut last = LAST.lock().await;
    if let Some((at, processes)) = &*last
        && at.elapsed() < SAME
    {
        return Ok(processes.clone());
    }
    let processes = Arc::new(ask().await?);
    *last = Some((Instant::now(), processes.clone()));
    Ok(processes)
}

/// What `ps` says now.
///
/// # Errors
/// If it cannot be started, or does not answer.
pub(crate) async fn fresh_processes() -> io::Result<Arc<Processes>> {
    ask().await.map(Arc::new)
}

/// Whether anybody of a process group lives, of which somebody can be sent signals. To zombies alone nobody can send any here,
/// and the first process reaps them at once.
pub(crate) fn group_lives(_leader: u32) -> bool {
    true
}

async fn ask() -> io::Result<Processes> {
    let mut command = Command::new("ps");
    command.args(["-A", "-o", "pid=,ppid=,pgid=,rss=,stat="]).stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let own = child.id();
    let output = child.stdout.take().ok_or_else(|| io::Error::other("`ps` has no output"))?;
    let mut text = String::new();
    timeout(PATIENCE, output.take(MOST_SAID).read_to_string(&mut text)).await.map_err(io::Error::other)??;
    let mut processes = read_all(&text);
    if let Some(own) = own {
        processes.0.remove(&own);
    }
    // It has said all; kept as a child it would be a zombie.
    let _ = timeout(PATIENCE, child.wait()).await;
    Ok(processes)
}

/// Reads lines of `pid ppid pgid rss stat`, where memory is in KiB.
fn read_all(text: &str) -> Processes {
    let read = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let pid = fields.next()?.parse().ok()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let kib: u64 = fields.next()?.parse().ok()?;
        let has_ended = fields.next()?.starts_with('Z');
        (!has_ended).then_some((pid, Process { parent, group, resident: kib.saturating_mul(1024) }))
    };
    Processes(text.lines().filter_map(read).collect())
}

/// Bytes of memory of these processes. What they share is counted for each: nobody here says how much that is.
pub(crate) async fn held(family: Vec<u32>, seen: &Processes) -> u64 {
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
        let text = "    1     0     1  12000 Ss\n  20     1    20      0 Z+\n 21 20 20 5 R<+\nnonsense\n";
        let table = read_all(text);
        assert_eq!(table.0.len(), 2);
        assert_eq!(table.0[&21], Process { parent: 20, group: 20, resident: 5 * 1024 });
    }

    #[tokio::test]
    async fn ps_tells_of_this_process_what_the_system_says() {
        let table = match processes().await {
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
