//! The end of processes that only a process group and their parents hold together.
//!
//! A process group's number is nobody else's as long as one of the group is there, be it a zombie; so a group is signalled
//! only while its leader is unreaped or one of it was seen just now.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};

use crate::platform::look;

/// Between looks at who still dies. Looking takes milliseconds itself.
const PAUSE: Duration = Duration::from_millis(2);
/// How often it is asked first whether a group is still there, and how long is waited in between.
const ASKS: u32 = 10;
const SHORT_PAUSE: Duration = Duration::from_micros(500);

/// The leader of a process group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::executors) enum Leader {
    /// A child that nobody has reaped: the number is its own.
    Held(u32),
    /// It has ended, or is no child of ours.
    Gone(u32),
}

/// Kills a process group, all below its processes, and all in groups of theirs; waits until they are dead. What has left the
/// group and lost its parent is not found. Whether nobody is left.
///
/// All are stopped before any is killed, so that none forks away from the search; whatever was stopped is killed, also if
/// this panics. The search takes half of the patience at most, and so does the wait. Blocks.
pub(in crate::executors) fn end(leader: Leader, patience: Duration) -> bool {
    let (number, is_held) = match leader {
        Leader::Held(number) => (number, true),
        Leader::Gone(number) => (number, false),
    };
    let mut stopped = Stopped { group: None, processes: BTreeSet::new() };
    // Of a leader that is gone somebody else, the watcher as a rule, keeps the number. So its group is ended also where nobody
    // can be looked at.
    if is_held || is_there(number) {
        stopped.stop_group(number);
    }
    let searched_by = Instant::now() + patience / 2;
    loop {
        let seen = match look() {
            Ok(seen) => seen,
            Err(error) => {
                tracing::warn!(%error, "what a call started outside of its process group may outlive it");
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
        // Stopped processes fork no more: a round that finds nobody new is the last.
        let is_new = stopped.processes.len() > had || stopped.group.is_some() && !had_group;
        if !is_new || Instant::now() >= searched_by {
            break;
        }
    }
    let (has_group, killed) = (stopped.group.is_some(), stopped.processes.clone());
    drop(stopped);
    all_die(has_group.then_some(number), &killed, Instant::now() + patience / 2)
}

/// Waits until nobody of a group, and none of these, lives; whether so in time.
fn all_die(group: Option<u32>, killed: &BTreeSet<u32>, deadline: Instant) -> bool {
    // Who is killed is reaped within a moment, and asking costs less than looking at all processes of the machine.
    for _ in 0..ASKS {
        if killed.is_empty() && !group.is_some_and(is_there) {
            return true;
        }
        sleep(SHORT_PAUSE);
    }
    loop {
        // Mostly it is gone at once, and looking costs more than asking for it.
        if killed.is_empty() && !group.is_some_and(is_there) {
            return true;
        }
        // Without a look nobody can tell; the signals were sent.
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

/// What was stopped, and is killed when this is dropped: nothing may stay stopped.
struct Stopped {
    group: Option<u32>,
    processes: BTreeSet<u32>,
}

impl Stopped {
    /// All of it at once, whoever is in it by then.
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
        // It has ended by itself, or runs as another user.
        let _ = kill_process(pid, signal);
    }
}

fn signal_group(leader: u32, signal: Signal) {
    if let Some(leader) = number(leader) {
        let _ = kill_process_group(leader, signal);
    }
}

/// Whether there is anybody in a group, a zombie perhaps.
fn is_there(leader: u32) -> bool {
    number(leader).is_some_and(|leader| test_kill_process_group(leader) != Err(Errno::SRCH))
}

fn number(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests;
