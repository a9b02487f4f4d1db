//! The first process of a container. The kernel makes it the parent of every orphaned process, and only it can reap
//! those after their end. It also receives only signals that it handles.
//!
//! So a process that finds itself in that position starts the program a second time and does nothing else: it reaps
//! ended processes and forwards signals.

use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode, ExitStatus};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, wait};
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};

use crate::platform;

/// The signals that are forwarded.
const PASSED: [Signal; 6] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];
/// The wait status of exit code 1.
const UNKNOWN_END: i32 = 1 << 8;
/// Added to the number of the signal that ended a program, as shells do.
const BY_SIGNAL: i32 = 128;

/// If this is the first process, runs this program as a child and returns the child's exit code. `None` for every other
/// process, and if no child could be started.
pub(crate) fn run_as_init() -> Option<ExitCode> {
    if !getpid().is_init() {
        return None;
    }
    match run() {
        Ok(status) => {
            let code = status.code().unwrap_or_else(|| BY_SIGNAL + status.signal().unwrap_or_default());
            Some(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
        }
        Err(error) => {
            // The program works without a child, except that orphaned processes are not reaped.
            crate::output::note(&format!(
                "this is the first process of its container but cannot reap other processes: {error}"
            ));
            None
        }
    }
}

fn run() -> io::Result<ExitStatus> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let mut ended = signal(SignalKind::child())?;
        let mut signals = Signals::new()?;
        let child = start()?;
        // The child has the environment that it needs.
        let concealed = platform::conceal();
        if let Err(error) = concealed {
            crate::output::note(&format!("other processes of this container can read the token of this one: {error}"));
        }
        loop {
            tokio::select! {
                _ = ended.recv() => {
                    if let Some(status) = reap(child) {
                        return Ok(status);
                    }
                }
                // The child may have ended, which the loop notices next.
                number = signals.next() => drop(kill_process(child, number)),
            }
        }
    })
}

/// Starts this program again with the same arguments, in a process group of its own, so that Ctrl-C at a terminal
/// reaches it only once.
fn start() -> io::Result<Pid> {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "gleitzeit".into());
    let child = Command::new(std::env::current_exe()?).arg0(name).args(arguments).process_group(0).spawn()?;
    let pid = Pid::from_child(&child);
    // Without this, if the terminal does not belong to this session, Ctrl-C arrives here and is forwarded.
    if rustix::termios::isatty(io::stdin())
        && let Err(error) = rustix::termios::tcsetpgrp(io::stdin(), pid)
    {
        crate::output::note(&format!("cannot hand the terminal to the program: {error}"));
    }
    Ok(pid)
}

/// Reaps all ended processes; returns the child's status if it is among them.
fn reap(child: Pid) -> Option<ExitStatus> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => return Some(ExitStatus::from_raw(status.as_raw())),
            Ok(Some(_)) => {}
            Ok(None) => return None,
            // The child is gone without a status; it must not run a second time.
            Err(_) => return Some(ExitStatus::from_raw(UNKNOWN_END)),
        }
    }
}

/// The signals that are forwarded, with their handlers.
struct Signals(Vec<(Signal, SignalStream)>);

impl Signals {
    fn new() -> io::Result<Self> {
        // A signal that is ignored here, as `nohup` does, must be ignored by the program as well; installing a handler
        // would undo that.
        let ignored = platform::ignores_hang_up();
        let passed = PASSED.into_iter().filter(|number| *number != Signal::HUP || !ignored);
        let heard = passed.map(|number| Ok((number, signal(SignalKind::from_raw(number.as_raw()))?)));
        heard.collect::<io::Result<_>>().map(Self)
    }

    /// The next signal. Cancel-safe.
    async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            let came =
                self.0.iter_mut().find_map(|(number, heard)| heard.poll_recv(context).is_ready().then_some(*number));
            came.map_or(std::task::Poll::Pending, std::task::Poll::Ready)
        })
        .await
    }
}
