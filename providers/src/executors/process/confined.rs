//! Starts processes that have less than this one. What is taken is taken from a thread that ends with the start, since
//! the kernel counts both rights and filters by thread, and children have those of the thread that starts them.

use std::io;

use tokio::process::{Child, Command};

use super::limits::Sandbox;
use super::system_calls::Instruction;

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
                    load(filter)?;
                }
                command.spawn()
            })?;
            starting.join().unwrap_or_else(|_| Err(io::Error::other("the thread that starts it broke off")))
        })
    }
}

/// Whether this process could hand on the right to look into others; root can.
#[cfg(target_os = "linux")]
fn may_trace() -> bool {
    use rustix::thread::{CapabilitySet, capability_is_in_bounding_set};
    let is_permitted = |sets: rustix::thread::CapabilitySets| sets.permitted.contains(CapabilitySet::SYS_PTRACE);
    rustix::thread::capabilities(None).is_ok_and(is_permitted)
        && capability_is_in_bounding_set(CapabilitySet::SYS_PTRACE).unwrap_or(true)
}

/// For what this thread starts from now on. Fails only for who has not got it: then there is nothing to take.
#[cfg(target_os = "linux")]
fn take_tracing() {
    use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
    if let Err(error) = remove_capability_from_bounding_set(CapabilitySet::SYS_PTRACE) {
        tracing::debug!(%error, "the right to trace stays as it is");
    }
}

/// Loads a filter of system calls for this thread and what it starts.
#[cfg(target_os = "linux")]
fn load(filter: &[Instruction]) -> io::Result<()> {
    let mut program: Vec<libc::sock_filter> =
        filter.iter().map(|(code, jt, jf, k)| libc::sock_filter { code: *code, jt: *jt, jf: *jf, k: *k }).collect();
    let len = u16::try_from(program.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    rustix::thread::set_no_new_privs(true)?;
    #[expect(
        unsafe_code,
        reason = "no library that is used here loads filters; the kernel copies the program and checks it"
    )]
    // SAFETY: `program` points to `len` instructions that live until the call returns.
    let loaded = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if loaded == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(target_os = "linux"))]
fn may_trace() -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn take_tracing() {}

#[cfg(not(target_os = "linux"))]
fn load(_filter: &[Instruction]) -> io::Result<()> {
    Err(io::Error::other("this system has no filter of system calls"))
}
