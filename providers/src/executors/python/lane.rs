//! A lane is a Python process that forks a worker for one call after the other and ends whatever the call leaves
//! behind. Dropping a lane kills it, and with it everything of its current call.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::time::timeout;

use super::server::{Namespaces, Server};
use super::wire;
use crate::executors::process::group::{self, Leader};
use crate::executors::process::readiness::PATIENCE;
use crate::platform::Handle;

/// How long to wait, in seconds, until a killed family is dead. A process that the kernel cannot end now must not
/// block.
const DEAD_SECONDS: i64 = 2;
/// How long, in seconds, a lane in the portable way may search for processes to kill; it takes longer if `ps` is slow
/// (`_LEAVE_SECONDS` in `server.py`). It is killed only long after it should have finished, because it would leave
/// behind what it has stopped.
const LEAVING_SECONDS: i64 = 4;
/// The size of a lane's message in bytes: a letter and a number.
const FRAME: usize = 5;

/// A lane's process, as the agent knows it.
#[derive(Debug)]
enum Process {
    /// Known by a handle of the kernel.
    Held(Handle),
    /// Known by its number. The process ends when its socket is closed, and its end of the socket is closed when it
    /// ends.
    Numbered(u32),
}

/// A lane's message about itself or its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Report {
    /// The number of its worker; sent in the portable way.
    Worker(u32),
    /// The worker and everything that it started have ended.
    Ended(ExitStatus),
    /// The worker has ended, but something that it started cannot be ended; the lane then ends itself.
    Spent(ExitStatus),
    /// All processes of the call are dead; sent in the portable way before the lane ends itself.
    Left,
}

impl Report {
    fn read([letter, number @ ..]: [u8; FRAME]) -> io::Result<Self> {
        let status = || ExitStatus::from_raw(i32::from_be_bytes(number));
        match letter {
            b'W' => Ok(Self::Worker(u32::from_be_bytes(number))),
            b'E' => Ok(Self::Ended(status())),
            b'S' => Ok(Self::Spent(status())),
            b'L' => Ok(Self::Left),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
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
    /// The part of a message that has been read; kept here so that a read can be cancelled.
    frame: Vec<u8>,
    /// The worker's number while it, or what it started, may be alive. The lane should end it; if the lane is dead, the
    /// agent does.
    unended: Option<u32>,
    /// Whether the lane serves no further call.
    pub(super) is_spent: bool,
    /// The start of the server that it belongs to.
    pub(super) generation: u64,
}

impl Lane {
    /// Asks the server for a lane with its first worker.
    ///
    /// # Errors
    /// `TimedOut` if the lane does not answer; any other error if there can be none.
    pub(super) async fn open(server: &Server, generation: u64) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut socket = UnixStream::from_std(ours)?;
        let theirs = OwnedFd::from(theirs);
        server.fork(&theirs).await?;
        drop(theirs);
        let process = timeout(PATIENCE, receive_identity(&mut socket, server.namespaces)).await??;
        let contained = matches!(server.namespaces, Namespaces::Root | Namespaces::User);
        let (frame, unended, is_spent) = (Vec::with_capacity(FRAME), None, false);
        let mut lane = Self { socket, process, contained, worker: None, frame, unended, is_spent, generation };
        lane.prepare().await?;
        Ok(lane)
    }

    /// Makes the lane fork the next worker, which then waits for its call.
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

    /// Takes the prepared worker.
    pub(super) fn take_worker(&mut self) -> Option<Worker> {
        self.worker.take()
    }

    /// Waits until the worker and everything that it started have ended; returns how the worker ended.
    ///
    /// # Errors
    /// If the lane itself is gone, and with it the call.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        loop {
            let mut part = [0; FRAME];
            let missing = FRAME - self.frame.len();
            match self.socket.read(&mut part[..missing]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.frame.extend_from_slice(&part[..read]),
            }
            match self.take_report()? {
                Some(Report::Ended(status)) => return Ok(status),
                Some(Report::Spent(status)) => {
                    tracing::warn!("a process that the code of a task started cannot be ended");
                    self.is_spent = true;
                    return Ok(status);
                }
                Some(Report::Left) => return Err(io::ErrorKind::InvalidData.into()),
                Some(Report::Worker(_)) | None => {}
            }
        }
    }

    /// The message that has been read, if it is complete.
    fn take_report(&mut self) -> io::Result<Option<Report>> {
        let Ok(frame) = <[u8; FRAME]>::try_from(self.frame.as_slice()) else { return Ok(None) };
        self.frame.clear();
        let report = Report::read(frame)?;
        self.unended = match report {
            Report::Worker(number) => Some(number),
            Report::Ended(_) | Report::Spent(_) | Report::Left => None,
        };
        Ok(Some(report))
    }

    /// Ends the lane and everything of its call; waits until they are dead, but not forever.
    pub(super) async fn end(self) {
        self.kill();
        // Dropping waits, which may take long and must not block a worker thread of the runtime.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }

    /// Returns a function that gives the number of the lane's process while it is alive, for watching its family.
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
        // Either call fails only if the process is dead already.
        match &self.process {
            // A lane without a namespace ends its family itself.
            Process::Held(handle) => drop(handle.signal(if self.contained { Signal::KILL } else { Signal::TERM })),
            Process::Numbered(_) => drop(shutdown(&self.socket, Shutdown::Write)),
        }
    }

    /// Waits until the process is dead, but not forever.
    fn wait(&mut self) {
        let number = match &self.process {
            Process::Held(handle) => return handle.wait(DEAD_SECONDS),
            Process::Numbered(number) => *number,
        };
        if !self.has_left()
            && let Some(pid) = i32::try_from(number).ok().and_then(Pid::from_raw)
        {
            // It is stopped or hangs. The number is still its own, because its end of the socket is open.
            let _ = kill_process(pid, Signal::KILL);
            tracing::warn!(pid = number, "a Python lane did not end in time and was killed");
            self.has_left();
        }
        // It was killed before it could end its worker.
        if let Some(worker) = self.unended.take() {
            group::end(Leader::Gone(worker), Duration::from_secs(DEAD_SECONDS.cast_unsigned()));
        }
    }

    /// Reads the remaining messages; returns whether the lane closed its end of the socket in time.
    fn has_left(&mut self) -> bool {
        let limit = Timespec { tv_sec: LEAVING_SECONDS, tv_nsec: 0 };
        loop {
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&limit)) {
                Err(rustix::io::Errno::INTR) => continue,
                Ok(1..) => {}
                Ok(0) | Err(_) => return false,
            }
            let mut part = [0; FRAME];
            let missing = FRAME - self.frame.len();
            match rustix::io::read(&self.socket, &mut part[..missing]) {
                Ok(0) => return true,
                Ok(read) => self.frame.extend_from_slice(&part[..read]),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => continue,
                // Its end was closed with unread data.
                Err(_) => return true,
            }
            if self.take_report().is_err() {
                return false;
            }
        }
    }
}

/// Receives the identity of a new lane's process.
async fn receive_identity(socket: &mut UnixStream, namespaces: Namespaces) -> io::Result<Process> {
    if namespaces != Namespaces::Portable {
        return wire::receive_handle(socket, b'P').await.map(Process::Held);
    }
    let mut report = [0; FRAME];
    socket.read_exact(&mut report).await?;
    let [b'P', number @ ..] = report else { return Err(io::ErrorKind::InvalidData.into()) };
    Ok(Process::Numbered(u32::from_be_bytes(number)))
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.kill();
        // Blocks for the millisecond or two that dying takes, because the owner of the call then removes its folder.
        self.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A number that no process has.
    const NOBODY: u32 = u32::MAX;

    #[tokio::test]
    async fn messages_of_a_lane_may_arrive_in_parts_and_a_wait_may_be_repeated() {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("set");
        let mut lane = Lane {
            socket: UnixStream::from_std(ours).expect("taken"),
            process: Process::Numbered(NOBODY),
            contained: false,
            worker: None,
            frame: Vec::new(),
            unended: None,
            is_spent: false,
            generation: 1,
        };
        let mut write = |bytes: &[u8]| theirs.write_all(bytes).expect("written");
        write(&[b"W".as_slice(), &NOBODY.to_be_bytes(), b"E\0"].concat());
        while lane.unended != Some(NOBODY) || lane.frame.len() < 2 {
            tokio::select! {
                biased;
                _ = lane.ended() => panic!("it has said half of it"),
                () = tokio::task::yield_now() => {}
            }
        }
        write(b"\0\x03\0");
        assert_eq!(lane.ended().await.expect("said").code(), Some(3));
        assert_eq!((lane.unended, lane.is_spent), (None, false));
        write(b"S\0\0\0\x09");
        assert_eq!(lane.ended().await.expect("said").signal(), Some(9));
        assert!(lane.is_spent, "what could not be ended is no other call's");
        write(b"X\0\0\0\0");
        assert_eq!(lane.ended().await.expect_err("no such word").kind(), io::ErrorKind::InvalidData);
        drop(theirs);
        assert!(lane.has_left());
    }
}
