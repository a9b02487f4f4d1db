//! One lane: a Python process that forks a worker for one call after the other and ends what the call leaves behind.
//! Whoever drops a lane kills it, and with it everything of its current call.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::time::timeout;

use super::server::{Namespaces, Server};
use super::wire;
use crate::executors::process::readiness::PATIENCE;
use crate::platform::Handle;

/// A killed family is dead within so many seconds; a process that the kernel cannot end now holds nobody up.
const DEAD_SECONDS: i64 = 2;

/// A lane's process, as the agent knows it.
#[derive(Debug)]
enum Process {
    /// By a handle of the kernel.
    Held(Handle),
    /// By its number. It ends when its socket is closed, and the socket ends with it.
    Numbered(u32),
}

/// A worker that waits for its call.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) socket: UnixStream,
    pub(super) output: pipe::Receiver,
    pub(super) errors: pipe::Receiver,
}

#[derive(Debug)]
pub(super) struct Lane {
    socket: UnixStream,
    process: Process,
    contained: bool,
    worker: Option<Worker>,
    /// Which start of the server it belongs to.
    pub(super) generation: u64,
}

impl Lane {
    /// Asks the server for one, with its first worker.
    ///
    /// # Errors
    /// `TimedOut` if nobody answers, else that there can be none.
    pub(super) async fn open(server: &Server, generation: u64) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut socket = UnixStream::from_std(ours)?;
        let theirs = OwnedFd::from(theirs);
        server.fork(&theirs).await?;
        drop(theirs);
        let process = timeout(PATIENCE, introduced(&mut socket, server.namespaces)).await??;
        let contained = matches!(server.namespaces, Namespaces::Root | Namespaces::User);
        let mut lane = Self { socket, process, contained, worker: None, generation };
        lane.prepare().await?;
        Ok(lane)
    }

    /// Has the next worker forked, which then waits for its call.
    pub(super) async fn prepare(&mut self) -> io::Result<()> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (output, their_output) = io::pipe()?;
        let (errors, their_errors) = io::pipe()?;
        let worker = Worker {
            socket: UnixStream::from_std(ours)?,
            output: pipe::Receiver::from_owned_fd(output.into())?,
            errors: pipe::Receiver::from_owned_fd(errors.into())?,
        };
        wire::send_handles(&self.socket, b'W', &[theirs.as_fd(), their_output.as_fd(), their_errors.as_fd()]).await?;
        self.worker = Some(worker);
        Ok(())
    }

    /// The worker that was prepared.
    pub(super) fn take_worker(&mut self) -> Option<Worker> {
        self.worker.take()
    }

    /// Waits until the worker ended and nothing that it started is left; how the worker ended.
    ///
    /// # Errors
    /// If the lane itself is gone, and with it the call.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        let mut said = [0; 5];
        self.socket.read_exact(&mut said).await?;
        let [b'E', status @ ..] = said else { return Err(io::ErrorKind::InvalidData.into()) };
        Ok(ExitStatus::from_raw(i32::from_be_bytes(status)))
    }

    /// Ends the lane and everything of its call; waits until they are dead, but not for ever.
    pub(super) async fn end(self) {
        self.kill();
        // Dropping waits; a worker thread of the runtime should not, should it take long.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }

    /// What tells the number of its process as long as it is there, for looking at its family.
    ///
    /// # Errors
    /// If this process has too many open files.
    pub(super) fn number(&self) -> io::Result<impl Fn() -> Option<u32> + use<>> {
        let (handle, number) = match &self.process {
            Process::Held(handle) => (Some(handle.try_clone()?), None),
            Process::Numbered(number) => (None, Some(*number)),
        };
        Ok(move || handle.as_ref().map_or(number, Handle::number))
    }

    fn kill(&self) {
        // Either fails only if it is dead already.
        match &self.process {
            // A lane without a namespace ends its family itself.
            Process::Held(handle) => drop(handle.signal(if self.contained { Signal::KILL } else { Signal::TERM })),
            Process::Numbered(_) => drop(shutdown(&self.socket, Shutdown::Write)),
        }
    }

    /// Waits until it is dead, but not for ever.
    fn wait(&self) {
        let number = match &self.process {
            Process::Held(handle) => return handle.wait(DEAD_SECONDS),
            Process::Numbered(number) => *number,
        };
        let limit = Timespec { tv_sec: DEAD_SECONDS, tv_nsec: 0 };
        // What it has said until now does not matter any more; its end does.
        let mut rest = [0; 64];
        loop {
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&limit)) {
                Ok(1..) if matches!(rustix::io::read(&self.socket, &mut rest), Ok(1..)) => {}
                Ok(1..) => return,
                Err(rustix::io::Errno::INTR) => {}
                // It is stopped, or hangs: it has its number still, for its end of the socket is open.
                Ok(0) | Err(_) => break,
            }
        }
        if let Some(pid) = i32::try_from(number).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// How a lane says which process it is.
async fn introduced(socket: &mut UnixStream, namespaces: Namespaces) -> io::Result<Process> {
    if namespaces != Namespaces::Portable {
        return wire::receive_handle(socket, b'P').await.map(Process::Held);
    }
    let mut said = [0; 5];
    socket.read_exact(&mut said).await?;
    let [b'P', number @ ..] = said else { return Err(io::ErrorKind::InvalidData.into()) };
    Ok(Process::Numbered(u32::from_be_bytes(number)))
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.kill();
        // Blocks for the millisecond or two that dying takes: what owned the call then removes its folder.
        self.wait();
    }
}
