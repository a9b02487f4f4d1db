//! One lane: a Python process that forks a worker for one call after the other and ends what the call leaves behind.
//! Whoever drops a lane kills it, and with it everything of its current call.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::time::timeout;

use super::server::{Namespaces, Server};
use super::wire;
use crate::executors::process::readiness::PATIENCE;

/// A killed family is dead within milliseconds; a process that the kernel cannot end now holds nobody up.
const DEAD: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

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
    process: OwnedFd,
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
        let socket = UnixStream::from_std(ours)?;
        let theirs = OwnedFd::from(theirs);
        server.fork(&theirs).await?;
        drop(theirs);
        let process = timeout(PATIENCE, wire::receive_handle(&socket, b'P')).await??;
        let mut lane =
            Self { socket, process, contained: server.namespaces != Namespaces::None, worker: None, generation };
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

    /// Its process handle, for looking at its family.
    pub(super) fn handle(&self) -> &OwnedFd {
        &self.process
    }

    fn kill(&self) {
        // A lane without a namespace ends its family itself. Fails only if it is dead already.
        let _ = pidfd_send_signal(&self.process, if self.contained { Signal::KILL } else { Signal::TERM });
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.kill();
        // Blocks for the millisecond or two that dying takes: what owned the call then removes its folder.
        let _ = poll(&mut [PollFd::new(&self.process, PollFlags::IN)], Some(&DEAD));
    }
}
