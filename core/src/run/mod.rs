//! One run's state machine: `decide` may refuse a command, `apply` only records an event, `outstanding` says what the
//! world still owes. Its three inputs are the state, the command or event, and the time.

mod apply;
pub mod command;
mod decide;
mod end;
pub mod event;
mod explain;
mod outstanding;
mod scope;
mod state;
mod tasks;

pub use apply::ApplyError;
pub use command::{Command, Fence, ProtocolUse, Request, Verdict};
pub use decide::{Limits, MAX_LOSSES, Refusal};
pub use event::{Entry, Event};
pub use outstanding::{Owed, Waiting};
pub use scope::{Read, RunScope};
pub use state::{RunStatus, State, TaskState, TaskStatus};
pub use tasks::Tasks;
