//! The journal's logic: everything the one writer needs to decide, apply and derive, without I/O.

mod assignment;
mod slice;

pub use assignment::{Assignment, Effect};
pub use slice::{AttemptEnd, OpenAttempt, QueueTask, QueueTaskStatus, RunHeader, SliceItem, SliceState, TaskFact};
