//! One run's state machine: `decide` may refuse a command, `apply` only records an event, `outstanding` says what the
//! world still owes. Its three inputs are the state, the command or event, and the time.

pub mod command;
pub mod event;
mod state;

pub use command::{Command, Fence, Request, Verdict};
pub use event::{Entry, Event};
pub use state::{RunStatus, State, TaskState, TaskStatus};
