//! The fork server's process: starting it, checking that it is alive, and asking it for lanes. The other end is
//! `server.py`.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use super::interpreter::Interpreter;
use super::wire;
use crate::executors::process::confined::Confinement;
use crate::executors::process::limits::Limits;
use crate::executors::process::readiness::NotReady;

/// Reads the program from standard input, so that it is neither a file nor an argument.
pub(super) const BOOTSTRAP: &str = include_str!("bootstrap.py");
const COMMON: &str = concat!(include_str!("worker.py"), "\n", include_str!("server.py"), "\n");
const KERNEL: &str = concat!(include_str!("kernel.py"), "\n", include_str!("strict.py"), "\n");
const LINUX: &str = include_str!("linux.py");
const PORTABLE: &str = include_str!("portable.py");
const PLAIN_JSON: &str = include_str!("plain_json.py");
const NO_PROCESSES: &str = "no process namespaces: the processes of a call are found only by their parents";
const ONLY_GROUPS: &str =
    "the portable way: the processes of a call are found only by their process group and their parents";
const NO_MOUNTS: &str = "no mount namespace: what the code of a task mounts is visible to this machine";

/// The complete program of the Python side, for an interpreter that may lack modules.
fn program(namespaces: Namespaces, interpreter: &Interpreter) -> String {
    let is_portable = namespaces == Namespaces::Portable;
    let json = if interpreter.lacks("json") { PLAIN_JSON } else { "import json\n" };
    let resource = if interpreter.lacks("resource") { "resource = None\n" } else { "import resource\n" };
    let (kernel, way) = if is_portable { ("", PORTABLE) } else { (KERNEL, LINUX) };
    [json, resource, kernel, COMMON, way, "\nmain()\n"].concat()
}

/// Starts the rest of its arguments within limits: KiB of data and of address space, seconds, open files, blocks of 512
/// bytes.
const WITHIN_LIMITS: &str = r#"
{ ulimit -c 0; ulimit -d "$1"; ulimit -v "$2"; ulimit -n "$4"; ulimit -f "$5"
  ulimit -S -t "$3"; ulimit -H -t "$(($3 + 2))"; } 2>/dev/null
shift 5; exec "$@""#;

/// The command prefix that starts an interpreter within the limits of a call, where Python cannot set them itself.
pub(super) fn within(limits: &Limits) -> Vec<String> {
    let kib = |bytes: u64| bytes.div_ceil(1024);
    let numbers = [
        kib(limits.max_memory_bytes),
        kib(limits.max_memory_bytes.saturating_mul(4)),
        limits.max_cpu_seconds,
        limits.max_open_files,
        limits.max_file_bytes.div_ceil(512),
    ];
    let command = ["/bin/sh", "-c", WITHIN_LIMITS, "sh"].map(str::to_owned);
    command.into_iter().chain(numbers.map(|number| number.to_string())).collect()
}
/// The most bytes that are read of what the server writes while it starts.
const MAX_OUTPUT_BYTES: usize = 64 * 1024;

/// How lanes get their own process namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Namespaces {
    /// Whatever works; only used in a request.
    #[default]
    Auto,
    /// With the rights of root.
    Root,
    /// With a user namespace.
    User,
    /// Not at all: the family is found by its parents, and orphans are adopted.
    None,
    /// Not at all, and no other feature that only the Linux kernel has is used.
    Portable,
}

/// The settings that the Python side receives when it starts.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ServerConfig {
    pub(super) namespaces: Namespaces,
    /// Why the portable way is used, if it is.
    pub(super) reason: Option<String>,
    /// The bootstrap program for a fresh interpreter, if each call gets one.
    pub(super) fresh: Option<&'static str>,
    /// The command prefix that starts a fresh interpreter; may be empty.
    pub(super) within: Vec<String>,
    pub(super) max_processes: u64,
    pub(super) max_memory_bytes: u64,
    pub(super) max_result_bytes: usize,
    /// The nesting levels of lists and objects that a result may have.
    pub(super) max_depth: usize,
    pub(super) max_cpu_seconds: u64,
    pub(super) max_open_files: u64,
    pub(super) max_file_bytes: u64,
    /// Whether the sandbox is strict and not only limits.
    pub(super) strict: bool,
    /// The system call filter for the code then, in the form that `strict.py` reads.
    pub(super) filter: Option<String>,
}

/// The settings, with a folder in which a strict server proves that the sandbox holds.
#[derive(Serialize)]
struct Introduction<'a> {
    #[serde(flatten)]
    server_config: &'a ServerConfig,
    proof: &'a Path,
}

/// The server's answer.
#[derive(Debug, Deserialize)]
struct Hello {
    namespaces: Option<Namespaces>,
    reason: Option<String>,
    /// Why code that mounts something mounts it for the whole machine.
    shared_mounts: Option<String>,
    error: Option<String>,
}

impl Hello {
    /// What this machine does not provide, each with the reason; the most important first.
    fn lacks(&self) -> Vec<(&'static str, &str)> {
        let reason = self.reason.as_deref().unwrap_or_default();
        let processes = match self.namespaces.unwrap_or(Namespaces::None) {
            Namespaces::None => Some((NO_PROCESSES, reason)),
            Namespaces::Portable => Some((ONLY_GROUPS, reason)),
            Namespaces::Auto | Namespaces::Root | Namespaces::User => None,
        };
        let mounts = self.shared_mounts.as_deref().map(|reason| (NO_MOUNTS, reason));
        processes.into_iter().chain(mounts).collect()
    }
}

/// How to start a server.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) interpreter: Interpreter,
    pub(super) folder: PathBuf,
    pub(super) path: OsString,
    pub(super) home: Option<OsString>,
    pub(super) server_config: ServerConfig,
    /// How long a start may take.
    pub(super) patience: Duration,
}

/// A running fork server. It dies when this is dropped, with all its lanes.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    control: UnixStream,
    /// Whether the kernel keeps the families of calls together.
    pub(super) namespaces: Namespaces,
    /// What this machine does not provide, in words.
    pub(super) lacks: Option<String>,
}

impl Server {
    pub(super) async fn start(start: &Start) -> Result<Self, NotReady> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(refused)?;
        ours.set_nonblocking(true).map_err(refused)?;
        let mut control = UnixStream::from_std(ours).map_err(refused)?;
        let proof = tempfile::Builder::new().prefix("proof-").tempdir_in(&start.folder);
        let proof = proof.map_err(|error| NotReady::Refused(format!("no temporary folder can be made: {error}")))?;
        let mut child = spawn(start, theirs)?;
        let mut hello = introduce(&mut control, &mut child, start, proof.path()).await?;
        if let Some(error) = hello.error.take() {
            return Err(NotReady::Refused(error));
        }
        let lacks = hello.lacks();
        for (what, reason) in &lacks {
            tracing::warn!(reason, "{what}");
        }
        let lacks = lacks.first().map(|(what, reason)| format!("{what} ({reason})"));
        Ok(Self { child, control, namespaces: hello.namespaces.unwrap_or(Namespaces::None), lacks })
    }

    /// Whether it has not ended on its own.
    pub(super) fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Forks a lane that serves this end of a socket.
    pub(super) async fn fork(&self, theirs: &OwnedFd) -> io::Result<()> {
        use std::os::fd::AsFd;
        wire::send_handles(&self.control, b'L', &[theirs.as_fd()]).await
    }

    #[cfg(test)]
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }
}

fn refused(error: io::Error) -> NotReady {
    NotReady::Refused(error.to_string())
}

/// Starts the process. Our copy of the server's end of the socket is closed when this returns, so that the death of the
/// server ends the stream.
fn spawn(start: &Start, theirs: std::os::unix::net::UnixStream) -> Result<Child, NotReady> {
    let mut command = Command::new(&start.interpreter.path);
    command
        .args(["-X", "utf8", "-c", BOOTSTRAP])
        .env_clear()
        .env("PATH", &start.path)
        .env("LANG", "C.UTF-8")
        .env("TMPDIR", &start.folder)
        .current_dir(&start.folder)
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(home) = &start.home {
        command.env("HOME", home);
    }
    Confinement::NoTracing
        .spawn(&mut command)
        .map_err(|error| NotReady::Refused(format!("Python cannot be started: {error}")))
}

/// Sends the program and its settings, and waits for the answer.
async fn introduce(
    control: &mut UnixStream,
    child: &mut Child,
    start: &Start,
    proof: &Path,
) -> Result<Hello, NotReady> {
    let introduction = Introduction { server_config: &start.server_config, proof };
    let program = program(start.server_config.namespaces, &start.interpreter);
    match timeout(start.patience, exchange(control, &program, &introduction)).await {
        Ok(Ok(hello)) => Ok(hello),
        Ok(Err(error)) => {
            let reason = last_words(child.stderr.take()).await;
            Err(NotReady::Refused(format!("the fork server did not start ({error}): {reason}")))
        }
        Err(_) => {
            let limit = start.patience.as_secs_f64();
            Err(NotReady::Slow(format!("the fork server did not start within {limit} s")))
        }
    }
}

async fn exchange(control: &mut UnixStream, program: &str, introduction: &Introduction<'_>) -> io::Result<Hello> {
    wire::write_sized(control, program.as_bytes()).await?;
    wire::write_sized(control, &serde_json::to_vec(introduction)?).await?;
    let hello = wire::read_sized(control, MAX_OUTPUT_BYTES).await?;
    Ok(serde_json::from_slice(&hello)?)
}

/// The end of what it wrote to standard error before it died.
async fn last_words(stderr: Option<ChildStderr>) -> String {
    let Some(stderr) = stderr else { return String::new() };
    let mut bytes = Vec::new();
    let mut limited = stderr.take(u64::try_from(MAX_OUTPUT_BYTES).unwrap_or(u64::MAX));
    // Whatever arrived by then is better than nothing.
    let _ = timeout(Duration::from_secs(1), limited.read_to_end(&mut bytes)).await;
    let text = String::from_utf8_lossy(&bytes);
    text.trim().lines().last().unwrap_or("no output").chars().take(300).collect()
}
