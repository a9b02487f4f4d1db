//! Starts processes with fewer rights than this one. The rights are removed from a thread that exists only for the
//! start: the kernel counts rights and filters per thread, and a child inherits those of the thread that starts it.

use std::io;

use tokio::process::{Child, Command};

use super::limits::Sandbox;
use crate::platform::{Instruction, drop_tracing_right, load_filter, may_trace};

/// What a process and its descendants must do without.
#[derive(Clone, Debug)]
pub(in crate::executors) enum Confinement {
    /// The right to inspect and change processes, including those of this agent.
    NoTracing,
    /// The same, and the system calls that the filter refuses.
    Filtered(Vec<Instruction>),
}

impl Confinement {
    /// The confinement of a sandbox; its own programs do the rest.
    pub(in crate::executors) fn of(
        sandbox: Sandbox,
        filter: impl FnOnce() -> io::Result<Vec<Instruction>>,
    ) -> io::Result<Self> {
        match sandbox {
            Sandbox::Limits => Ok(Self::NoTracing),
            Sandbox::Strict => filter().map(Self::Filtered),
        }
    }

    /// Starts a command with this confinement.
    ///
    /// # Errors
    /// If it cannot be started, or a filter cannot be loaded; then nothing is started.
    pub(in crate::executors) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        if matches!(self, Self::NoTracing) && !may_trace() {
            return command.spawn();
        }
        let runtime = tokio::runtime::Handle::current();
        std::thread::scope(|scope| {
            let starting = std::thread::Builder::new().name("confined-start".to_owned()).spawn_scoped(scope, || {
                let _inside = runtime.enter();
                drop_tracing_right();
                if let Self::Filtered(filter) = self {
                    load_filter(filter)?;
                }
                command.spawn()
            })?;
            starting.join().unwrap_or_else(|_| Err(io::Error::other("the thread that starts it panicked")))
        })
    }
}
