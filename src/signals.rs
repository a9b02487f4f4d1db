//! Signals: the first requests an orderly shutdown, the second ends the process at once.

use std::future::Future;

use rustix::process::Signal as Unix;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::{CommandError, CommandResult, Exit};
use crate::{platform, sink};

/// Whether a command has something to clean up when it is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnSignal {
    /// The command ends by itself once its token is cancelled.
    Finish,
    /// The command may be dropped at once; nothing is lost.
    Drop,
}

/// How many worker threads a process uses, unless `TOKIO_WORKER_THREADS` says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// One for each processor: this process does all the work.
    All,
    /// One for every second processor: the process at the other end of each message, or the journal, needs one too.
    /// With more threads than processors, messages wait until a thread is woken (measured on two processors, `hub` and
    /// `agent` with one thread each instead of two: 26 % less latency, 27 % more workflows a second).
    Half,
}

impl Threads {
    fn count(self) -> Option<usize> {
        if std::env::var_os("TOKIO_WORKER_THREADS").is_some() || self == Self::All {
            return None;
        }
        std::thread::available_parallelism().ok().map(|processors| (processors.get() / 2).max(1))
    }
}

/// Runs a command until it ends or is interrupted.
///
/// # Errors
/// The command's error; also if the runtime or the signal handlers cannot be set up.
pub(crate) fn block_on<F: Future<Output = CommandResult>>(
    on_signal: OnSignal,
    command: impl FnOnce(CancellationToken) -> F,
) -> CommandResult {
    block_on_threads(Threads::Half, on_signal, command)
}

/// As [`block_on`], with a choice of threads.
///
/// # Errors
/// As [`block_on`].
pub(crate) fn block_on_threads<F: Future<Output = CommandResult>>(
    threads: Threads,
    on_signal: OnSignal,
    command: impl FnOnce(CancellationToken) -> F,
) -> CommandResult {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(count) = threads.count() {
        runtime.worker_threads(count);
    }
    let runtime = runtime
        .enable_all()
        .build()
        .map_err(|error| CommandError::internal(format!("cannot start the runtime: {error}")))?;
    let result = runtime.block_on(async {
        // With this handler, writing beyond the file size limit (`ulimit -f`) is an error instead of the end of the
        // process. Child processes still get the default.
        let _too_large = signal(SignalKind::from_raw(Unix::XFSZ.as_raw())).ok();
        let (stop, stop_now) = (CancellationToken::new(), CancellationToken::new());
        // On a separate thread, since the command may be waiting for a reader of its output.
        let mut interrupts = Interrupts::new()?;
        let (first, second) = (stop.clone(), stop_now.clone());
        tokio::spawn(async move {
            interrupts.next().await;
            first.cancel();
            sink::end();
            interrupts.next().await;
            second.cancel();
        });
        // On the heap: a command's future is large, and this one is polled in place.
        let mut command = Box::pin(command(stop.clone()));
        tokio::select! {
            result = &mut command => return result,
            () = stop.cancelled() => {}
        }
        if on_signal == OnSignal::Drop {
            return Ok(Exit::Interrupted);
        }
        tokio::select! {
            result = &mut command => result,
            () = stop_now.cancelled() => Ok(Exit::Interrupted),
        }
    });
    // A call that still blocks (a read from a terminal) must not delay the exit.
    runtime.shutdown_background();
    result
}

/// SIGINT, SIGTERM and SIGHUP, which a closing terminal sends.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    /// `None` if this process was started with SIGHUP ignored, as by `nohup`.
    hang_up: Option<Signal>,
}

impl Interrupts {
    fn new() -> Result<Self, CommandError> {
        let listen =
            |kind| signal(kind).map_err(|error| CommandError::internal(format!("cannot listen for signals: {error}")));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: (!platform::ignores_hang_up()).then(|| listen(SignalKind::hangup())).transpose()?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = heard(&mut self.hang_up) => {}
        }
    }
}

async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
