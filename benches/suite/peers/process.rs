//! Processes of other engines: each starts in a process group of its own and is killed together with its children.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};

/// How long a server may take to become ready.
const START: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// A process and its children; dropping this kills them.
pub(super) struct Owned(Child);

impl Owned {
    /// Starts a process; `captured` keeps its stdout for [`Owned::output`].
    pub(super) fn start(mut command: Command, captured: bool) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stderr(Stdio::null()).process_group(0);
        command.stdout(if captured { Stdio::piped() } else { Stdio::null() });
        let name = command.get_program().to_string_lossy().into_owned();
        Ok(Self(command.spawn().with_context(|| format!("cannot start `{name}`"))?))
    }

    /// The stdout of the process, once it has exited successfully.
    pub(super) fn output(mut self, limit: Duration) -> anyhow::Result<String> {
        let end = Instant::now() + limit;
        let status = loop {
            // The output of a driver fits into the pipe.
            match self.0.try_wait()? {
                Some(status) => break status,
                None if Instant::now() >= end => bail!("it did not end within {limit:?}"),
                None => std::thread::sleep(POLL),
            }
        };
        ensure!(status.success(), "it ended with {status}");
        let mut text = String::new();
        self.0.stdout.take().context("it was to be heard")?.read_to_string(&mut text)?;
        Ok(text)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            // Its children may still be running after it has ended.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

/// Whether a program can be found by its name.
pub(super) fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

pub(super) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

pub(super) fn until_listening(port: u16) -> anyhow::Result<()> {
    until(&format!("something listens on port {port}"), || Ok(TcpStream::connect(("127.0.0.1", port)).is_ok()))
}

/// Polls until the condition holds.
pub(super) fn until(what: &str, mut is_so: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let end = Instant::now() + START;
    while !is_so()? {
        ensure!(Instant::now() < end, "not within {START:?}: {what}");
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Whether a server on this machine accepted a JSON body.
pub(super) fn post(port: u16, path: &str, body: &str) -> anyhow::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(START))?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 2"))
}
