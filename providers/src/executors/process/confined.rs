//! Starts processes that have less than this one. What is taken is taken from a thread that ends with the start, since
//! the kernel counts both rights and filters by thread, and children have those of the thread that starts them.

use std::io;

use tokio::process::{Child, Command};

use super::limits::Sandbox;
use crate::platform::{Instruction, load_filter, may_trace, take_tracing};

/// What a process and all that it starts do without.
#[derive(Clone, Debug)]
pub(in crate::executors) enum Confinement {
    /// The right to look into processes and to change them: those of this agent among them.
    NoTracing,
    /// The same, and what the filter refuses.
    Filtered(Vec<Instruction>),
}

impl Confinement {
    /// Of a sandbox that its own programs complete.
    pub(in crate::executors) fn of(
        sandbox: Sandbox,
        filter: impl FnOnce() -> io::Result<Vec<Instruction>>,
    ) -> io::Result<Self> {
        match sandbox {
            Sandbox::Limits => Ok(Self::NoTracing),
            Sandbox::Strict => filter().map(Self::Filtered),
        }
    }

    /// Starts a command so.
    ///
    /// # Errors
    /// If it cannot be started, or a filter cannot be loaded: then nothing is started.
    pub(in crate::executors) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        if matches!(self, Self::NoTracing) && !may_trace() {
            return command.spawn();
        }
        let runtime = tokio::runtime::Handle::current();
        std::thread::scope(|scope| {
            let starting = std::thread::Builder::new().name("confined-start".to_owned()).spawn_scoped(scope, || {
                let _inside = runtime.enter();
                take_tracing();
                if let Self::Filtered(filter) = self {
                    load_filter(filter)?;
                }
                command.spawn()
            })?;
            starting.join().unwrap_or_else(|_| Err(io::Error::other("the thread that starts it broke off")))
        })
    }
}
