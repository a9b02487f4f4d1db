//! What the executors that start processes share: the limits of a call, its folder and its streams, watching what its
//! processes use together, ending processes that only a process group holds together, and why a process could not
//! start.

pub(super) mod capture;
pub(super) mod confined;
pub(super) mod group;
pub(super) mod limits;
mod live;
pub(super) mod readiness;
pub(super) mod system_calls;
pub(super) mod watch;
pub(super) mod workspace;

use std::io;

use gleitzeit_workflow::error::ErrorCode;

use crate::call::CallError;

/// Turns an error of the system into the error of a call; `what` says what failed.
pub(super) fn failed(what: &'static str) -> impl Fn(io::Error) -> CallError {
    move |error| CallError::new(ErrorCode::TaskExecutionFailed, format!("{what}: {error}"))
}
