//! Ends processes that are held together only by a process group and by their parents.
//!
//! The number of a process group is not reused as long as one of its processes exists, even as a zombie. So a group is
//! signalled only while its leader has not been reaped, or if a member was seen just now.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};

use crate::platform::look;

/// The pause between looks at the dying processes. A look itself takes milliseconds.
const PAUSE: Duration = Duration::from_millis(2);
/// How often to first ask only whether the group still exists, and the pause in between.
const QUICK_CHECKS: u32 = 10;
const SHORT_PAUSE: Duration = Duration::from_micros(500);

/// The leader of a process group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::executors) enum Leader {
    /// A child that has not been reaped, so its number cannot be reused.
    Held(u32),
    /// It has ended, or is not our child.
    Gone(u32),
}

/// Kills a process group, all descendants of its processes, and the process groups of those; waits until they are dead.
/// A process that has left the group and lost its parent is not found. Returns whether all are dead.
///
/// All processes are stopped before any is killed, so that none can fork and escape the search. Whatever was stopped is
/// killed, even if this panics. The search and the wait take at most half of `patience` each. Blocks.
pub(in crate::executors) fn end(leader: Leader, patience: Duration) -> bool {
    let (number, is_held) = match leader {
        Leader::Held(number) => (number, true),
        Leader::Gone(number) => (number, false),
    };
    let mut stopped = Stopped { group: None, processes: BTreeSet::new() };
    // If the leader is gone, another process, usually the watcher, keeps the number in use. So its group is ended even
    // where processes cannot be listed.
    if is_held || is_there(number) {
        stopped.stop_group(number);
    }
    let searched_by = Instant::now() + patience / 2;
    loop {
        let seen = match look() {
            Ok(seen) => seen,
            Err(error) => {
                tracing::warn!(%error, "processes that a call started outside of its process group may outlive it");
                break;
            }
        };
        let is_member = |pid: &u32| seen.0.get(pid).is_some_and(|process| process.group == number);
        let (members, outside): (Vec<u32>, Vec<u32>) = seen.group(number).into_iter().partition(is_member);
        let (had_group, had) = (stopped.group.is_some(), stopped.processes.len());
        if !members.is_empty() {
            stopped.stop_group(number);
        }
        outside.into_iter().for_each(|pid| stopped.stop(pid));
        // Stopped processes do not fork, so a round that finds no new process is the last.
        let is_new = stopped.processes.len() > had || stopped.group.is_some() && !had_group;
        if !is_new || Instant::now() >= searched_by {
            break;
        }
    }
    let (has_group, killed) = (stopped.group.is_some(), stopped.processes.clone());
    drop(stopped);
    wait_until_dead(has_group.then_some(number), &killed, Instant::now() + patience / 2)
}

/// Waits until no process of the group and none of `killed` is alive; returns whether that happened in time.
fn wait_until_dead(group: Option<u32>, killed: &BTreeSet<u32>, deadline: Instant) -> bool {
    // Killed processes are reaped within a moment, and asking costs less than listing all processes of the machine.
    for _ in 0..QUICK_CHECKS {
        if killed.is_empty() && !group.is_some_and(is_there) {
            return true;
        }
        sleep(SHORT_PAUSE);
    }
    loop {
        // The group is usually gone at once, and listing costs more than asking.
        if killed.is_empty() && !group.is_some_and(is_there) {
            return true;
        }
        // Without a list this is unknown; the signals were sent.
        let Ok(seen) = look() else { return false };
        if !seen.0.iter().any(|(pid, process)| Some(process.group) == group || killed.contains(pid)) {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(PAUSE);
    }
}

/// What was stopped. It is killed when this is dropped, so that nothing stays stopped.
struct Stopped {
    group: Option<u32>,
    processes: BTreeSet<u32>,
}

impl Stopped {
    /// Stops the whole group at once, including members that joined meanwhile.
    fn stop_group(&mut self, leader: u32) {
        self.group = Some(leader);
        signal_group(leader, Signal::STOP);
    }

    fn stop(&mut self, pid: u32) {
        if self.processes.insert(pid) {
            signal(pid, Signal::STOP);
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Some(leader) = self.group {
            signal_group(leader, Signal::KILL);
        }
        self.processes.iter().for_each(|pid| signal(*pid, Signal::KILL));
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = number(pid) {
        // An error means that it has ended on its own, or runs as another user.
        let _ = kill_process(pid, signal);
    }
}

fn signal_group(leader: u32, signal: Signal) {
    if let Some(leader) = number(leader) {
        let _ = kill_process_group(leader, signal);
    }
}

/// Whether a group has any member, perhaps a zombie.
fn is_there(leader: u32) -> bool {
    number(leader).is_some_and(|leader| test_kill_process_group(leader) != Err(Errno::SRCH))
}

fn number(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests;
