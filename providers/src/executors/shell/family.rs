//! The processes of one call, from the agent's side: how they start and end. `outer.sh` is the only child of the agent;
//! it ends when all others have ended, and it ends all others when its standard input ends.

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
use crate::executors::process::group::{self, Leader};
use crate::executors::process::limits::Sandbox;
use crate::executors::process::system_calls::{self, Stage};
use crate::platform::own_session;
use crate::settings::Settings;

const OUTER: &str = include_str!("outer.sh");
const FIRST: &str = include_str!("first.sh");
const STRICT: &str = include_str!("strict.sh");
const INNER: &str = include_str!("inner.sh");
/// Killing is quick; if it takes longer, something hangs in the kernel.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same in a place that must not wait for long.
const LAST_PATIENCE: Duration = Duration::from_secs(1);
/// Our own processes within the family: the watcher, `unshare`, and the first process of the namespace.
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

/// The processes of a call. All of them die when this is dropped.
#[derive(Debug)]
pub(super) struct Family {
    child: Child,
    /// The standard input of `outer.sh`, held open as long as the family may live.
    life: Option<ChildStdin>,
    /// The process group that may have living members, if only the group holds the family together.
    group: Option<u32>,
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
        // A group for the whole call, if only the group holds it together; otherwise one for the processes around it.
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
        let group = child.id().filter(|_| namespaces == Namespaces::None);
        Ok((Self { child, life, group }, output, errors))
    }

    /// The number of the process below which all others are.
    pub(super) fn root(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until all processes are dead. May be dropped: those still alive then die in `end`.
    pub(super) async fn ended(&mut self) -> io::Result<()> {
        let ended = self.child.wait().await.map(drop);
        self.end_group().await;
        ended
    }

    /// Kills all processes and waits until they are dead. May be dropped: dropping then ends the rest at once.
    pub(super) async fn end(mut self) {
        self.end_group().await;
        self.life = None;
        if timeout(PATIENCE, self.child.wait()).await.is_err() {
            tracing::warn!(pid = self.child.id(), "a command did not die in time");
        }
    }

    /// Does nothing if namespaces hold the family together.
    async fn end_group(&mut self) {
        let Some(leader) = self.leader() else { return };
        // It continues even if this future is dropped, so that what is stopped is killed.
        match tokio::task::spawn_blocking(move || group::end(leader, PATIENCE)).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!(group = self.group, "processes of a command did not die in time"),
            Err(error) => tracing::warn!(%error, "ending the processes of a command failed"),
        }
        self.group = None;
    }

    fn leader(&self) -> Option<Leader> {
        let is_held = self.child.id().is_some();
        self.group.map(if is_held { Leader::Held } else { Leader::Gone })
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        if let Some(leader) = self.leader() {
            group::end(leader, LAST_PATIENCE);
        }
        self.life = None;
        // Dropped without `end`, which is rare: waits here for the few milliseconds that dying takes, so that the
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
            tracing::debug!(%error, "the processes of a command had already ended");
        }
    }
}

/// The limits as `inner.sh` expects them.
fn limits(options: &Options) -> [u64; 4] {
    let memory = options.limits.max_memory_bytes.div_ceil(1024);
    [memory, options.limits.max_cpu_seconds, options.limits.max_open_files, options.limits.max_file_bytes.div_ceil(512)]
}
