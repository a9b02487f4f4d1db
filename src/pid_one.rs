//! The first process of a container. The kernel gives it every process whose parent has ended, and it alone can put an end
//! to those that have ended themselves; and signals that it does not ask for do not reach it.
//!
//! So whoever finds itself there starts the program a second time and does nothing but that: it waits for whatever ends,
//! and passes signals on.

use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode, ExitStatus};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, wait};
use tokio::signal::unix::{Signal as Heard, SignalKind, signal};

use crate::platform;

/// What is passed on.
const PASSED: [Signal; 6] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];
/// What `wait` gives for an exit code of 1.
const UNKNOWN_END: i32 = 1 << 8;
/// Added to the signal that ended a program, as shells do it.
const BY_SIGNAL: i32 = 128;

/// Runs this program as a child if this is the first process, and gives what it ended with. `None` for every other process,
/// and where no child could be started.
pub(crate) fn stand_in() -> Option<ExitCode> {
    if !getpid().is_init() {
        return None;
    }
    match run() {
        Ok(status) => {
            let code = status.code().unwrap_or_else(|| BY_SIGNAL + status.signal().unwrap_or_default());
            Some(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
        }
        Err(error) => {
            // It works as well without, but for what nobody waits for.
            crate::output::note(&format!(
                "as the first process of its container this does not wait for others: {error}"
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
        // The child has what it needs of the environment.
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
                // It may have ended, which is heard next.
                number = signals.next() => drop(kill_process(child, number)),
            }
        }
    })
}

/// This program again, with the same arguments, in a process group of its own: so Ctrl-C at a terminal reaches it once.
fn start() -> io::Result<Pid> {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "gleitzeit".into());
    let child = Command::new(std::env::current_exe()?).arg0(name).args(arguments).process_group(0).spawn()?;
    let pid = Pid::from_child(&child);
    // Without it, where it is not this session's terminal, Ctrl-C comes here and is passed on.
    if rustix::termios::isatty(io::stdin())
        && let Err(error) = rustix::termios::tcsetpgrp(io::stdin(), pid)
    {
        crate::output::note(&format!("the terminal is not handed to the program: {error}"));
    }
    Ok(pid)
}

/// Waits for all that has ended; how the child did if it is among them.
fn reap(child: Pid) -> Option<ExitStatus> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => return Some(ExitStatus::from_raw(status.as_raw())),
            Ok(Some(_)) => {}
            Ok(None) => return None,
            // There is no child, so how it ended is not known; it must not run a second time.
            Err(_) => return Some(ExitStatus::from_raw(UNKNOWN_END)),
        }
    }
}

/// The signals that are passed on.
struct Signals(Vec<(Signal, Heard)>);

impl Signals {
    fn new() -> io::Result<Self> {
        // What is ignored here, as `nohup` wants it, the program is to ignore as well; a handler would be undone for it.
        let ignored = platform::ignores_hang_up();
        let passed = PASSED.into_iter().filter(|number| *number != Signal::HUP || !ignored);
        let heard = passed.map(|number| Ok((number, signal(SignalKind::from_raw(number.as_raw()))?)));
        heard.collect::<io::Result<_>>().map(Self)
    }

    /// The next that comes. Cancel-safe.
    async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            let came =
                self.0.iter_mut().find_map(|(number, heard)| heard.poll_recv(context).is_ready().then_some(*number));
            came.map_or(std::task::Poll::Pending, std::task::Poll::Ready)
        })
        .await
    }
}
