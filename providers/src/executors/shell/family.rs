//! The processes of one call, from the agent's side: their start, their end. `outer.sh` is the only child of the agent;
//! it ends when all others have, and ends all others when its standard input ends.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::interpreter::Interpreter;
use super::namespaces::Namespaces;
use super::options::Options;
use crate::executors::process::confined::Confinement;
use crate::executors::process::limits::Sandbox;
use crate::executors::process::system_calls::{self, Stage};
use crate::factory::Settings;
use crate::platform::{fresh_processes, group_lives, own_session};

const OUTER: &str = include_str!("outer.sh");
const FIRST: &str = include_str!("first.sh");
const STRICT: &str = include_str!("strict.sh");
const INNER: &str = include_str!("inner.sh");
/// Killing is quick; longer and something hangs in the kernel.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same where nobody may wait for long.
const LAST_PATIENCE: Duration = Duration::from_secs(1);
/// Each finds what forked during the one before; stopped processes fork no more.
const MOST_SEARCHES: usize = 10;
/// Of our own processes within the family: the watcher, `unshare`, the first process of the namespace.
pub(super) const OURS: u64 = 3;

/// What a family is started with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start<'a> {
    pub(super) folder: &'a Path,
    pub(super) namespaces: Namespaces,
    pub(super) options: &'a Options,
    pub(super) settings: &'a Settings,
    pub(super) interpreter: &'a Interpreter,
    pub(super) arguments: &'a [String],
}

/// The processes of a call. All die when it is dropped.
#[derive(Debug)]
pub(super) struct Family {
    child: Child,
    /// Held open as long as the family may live.
    life: Option<ChildStdin>,
    namespaces: Namespaces,
}

impl Family {
    pub(super) fn start(start: Start<'_>) -> io::Result<(Self, ChildStdout, ChildStderr)> {
        let Start { folder, namespaces, options, settings, interpreter, arguments } = start;
        let sandbox = match (options.limits.sandbox, namespaces) {
            (Sandbox::Limits, _) => "limits",
            (Sandbox::Strict, Namespaces::User) => "strict-user",
            (Sandbox::Strict, _) => "strict",
        };
        let stage = if namespaces == Namespaces::User { Stage::MountingAsUser } else { Stage::Mounting };
        let filter = || system_calls::filter(stage).map_err(|why| io::Error::other(why.into_text()));
        let confinement = Confinement::of(options.limits.sandbox, filter)?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", OUTER, "sh"]).arg(folder).arg(namespaces.kind());
        if namespaces != Namespaces::None {
            command.arg("unshare").args(namespaces.arguments(options.limits.sandbox)).arg("setsid");
        }
        command.args(["/bin/sh", "-c", FIRST, "sh"]).arg(folder).args([sandbox, INNER, STRICT]);
        let (numbers, processes) = namespaces.bounds(options.limits.max_processes);
        command
            .arg(numbers)
            .args(limits(options).map(|limit| limit.to_string()))
            .arg(processes)
            .arg(&interpreter.path)
            .args(interpreter.options)
            .args(arguments);
        command
            .env_clear()
            .env("PATH", &settings.path)
            .env("LANG", "C.UTF-8")
            .env("TMPDIR", folder.join("work"))
            .current_dir(folder.join("work"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // Of the whole call, where only the group holds it together; else of the processes around it.
        match namespaces {
            Namespaces::None => own_session(&mut command),
            _ => drop(command.process_group(0)),
        }
        if let Some(home) = &settings.home {
            command.env("HOME", home);
        }
        let mut child = confinement.spawn(&mut command)?;
        let missing = || io::Error::other("a stream of the process is missing");
        let life = child.stdin.take();
        let output = child.stdout.take().ok_or_else(missing)?;
        let errors = child.stderr.take().ok_or_else(missing)?;
        Ok((Self { child, life, namespaces }, output, errors))
    }

    /// The number of the process below which all others are.
    pub(super) fn root(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until all are dead.
    pub(super) async fn ended(&mut self) -> io::Result<()> {
        let root = self.child.id();
        let ended = self.child.wait().await.map(|_| ());
        // It ends its group with itself, unless it was ended from within by a signal that others in the group ignore.
        if let (Namespaces::None, Some(root)) = (self.namespaces, root) {
            end_group(root).await;
        }
        ended
    }

    /// Kills all and waits until they are dead.
    pub(super) async fn end(mut self) {
        let group = self.child.id().filter(|_| self.namespaces == Namespaces::None);
        if let Some(root) = group {
            // All of the group at once: what multiplies does so no more while the rest is looked for.
            signal_group(root, Signal::STOP);
            end_leavers(root).await;
            signal_group(root, Signal::KILL);
        }
        self.life = None;
        if timeout(PATIENCE, self.child.wait()).await.is_err() {
            tracing::warn!(pid = self.child.id(), "a command did not die in time");
        }
        if let Some(root) = group {
            end_group(root).await;
        }
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        let group = self.child.id().filter(|_| self.namespaces == Namespaces::None);
        self.life = None;
        // Dropped without `end`, which is rare: the few milliseconds that dying takes are waited for here, so that the
        // folder can be removed afterwards.
        let deadline = Instant::now() + LAST_PATIENCE;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid
            && matches!(self.child.try_wait(), Ok(None))
            && let Err(error) = rustix::process::kill_process_group(pid, Signal::KILL)
        {
            tracing::debug!(%error, "the processes of a command were gone");
        }
        if let Some(leader) = group {
            while signal_group(leader, Signal::KILL) && Instant::now() < deadline && group_lives(leader) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// Kills what is below a process and has left its group: the end of the group would not reach it. What is found is stopped
/// first, so that none forks away from the search.
async fn end_leavers(root: u32) {
    let mut stopped = BTreeSet::new();
    for _ in 0..MOST_SEARCHES {
        let seen = match fresh_processes().await {
            Ok(seen) => seen,
            Err(error) => {
                tracing::warn!(%error, "what a command started outside of its group may outlive it");
                break;
            }
        };
        let group = |pid: &u32| seen.0.get(pid).map(|process| process.group);
        let family = seen.family(root).into_iter().filter(|pid| group(pid) != Some(root));
        let found: Vec<u32> = family.filter(|pid| stopped.insert(*pid)).collect();
        if found.is_empty() {
            break;
        }
        found.into_iter().for_each(|pid| signal(pid, Signal::STOP));
    }
    stopped.iter().for_each(|pid| signal(*pid, Signal::KILL));
    // Nobody else waits for them.
    let deadline = Instant::now() + LAST_PATIENCE;
    while !stopped.is_empty() && Instant::now() < deadline {
        match fresh_processes().await {
            Ok(seen) if stopped.iter().any(|pid| seen.0.contains_key(pid)) => {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            _ => break,
        }
    }
}

/// Kills a group and waits until all of it are dead. Its number is nobody else's as long as there is one of it.
async fn end_group(leader: u32) {
    let deadline = Instant::now() + LAST_PATIENCE;
    while signal_group(leader, Signal::KILL) && Instant::now() < deadline {
        // Zombies are of the group until somebody reaps them, which not every first process of a container does.
        match fresh_processes().await {
            Ok(seen) if seen.0.values().any(|process| process.group == leader) => {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            _ => break,
        }
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It has ended by itself, or changed its user.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Whether there was anybody.
fn signal_group(leader: u32, signal: Signal) -> bool {
    let leader = i32::try_from(leader).ok().and_then(Pid::from_raw);
    leader.is_some_and(|leader| rustix::process::kill_process_group(leader, signal).is_ok())
}

/// As `inner.sh` takes them.
fn limits(options: &Options) -> [u64; 4] {
    let memory = options.limits.max_memory_bytes.div_ceil(1024);
    [memory, options.limits.max_cpu_seconds, options.limits.max_open_files, options.limits.max_file_bytes.div_ceil(512)]
}
