//! What happens: the state machine of one run, and the ledger of all that are not finished.
//!
//! Three functions carry a run. `decide` looks at the state and a [`Command`] and answers with events, or refuses.
//! `apply` records an event that has happened and can only fail on a corrupt journal. `outstanding` says what the world
//! still owes the run: what a role must do next. A run's state is a fold of its events, so it can be built again from
//! the journal alone, on any machine.
//!
//! `gleitzeit-workflow` says what a definition is; `gleitzeit-mesh` says who sends the commands and who carries out what
//! is outstanding. Like both, this crate has no clock, no randomness and no I/O.
//!
//! # What lives where
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`command`], [`event`] | what can be asked of a run, and what can happen to it, as they travel and are stored |
//! | `state`, `tasks`, `task` | what is known of a run, of all its tasks and of each: [`State`], [`Tasks`], [`TaskState`] |
//! | `decide`, `apply`, `end` | which events a command leads to; how an event changes the state; when a run is over |
//! | `outstanding`, `explain` | what must happen next, and in words why a task waits |
//! | `scope` | the values that references of a run's tasks see |
//! | [`retry`] | how long to wait before the next attempt |
//! | [`submission`] | a checked workflow with its inputs, files and environment: the first event of a run |
//! | [`ledger`] | all unfinished runs, ownerships and protocols: what the one writer of the journal needs to decide |
//! | [`trace`] | a run's spans, from its entries alone |
//! | [`term`] | which history a position belongs to |
//! | [`route`] | who may serve a call |
//! | [`id`], [`secret`] | names of runs, attempts, entries and components; how a component proves that it is itself |
//!
//! # The way of a command
//!
//! 1. A [`Request`] reaches [`ledger::Ledger::propose`] with the time. Who sends it is checked first: owners speak under
//!    an epoch, engines of an attempt whose lease they hold. What is stale is refused with a [`Refusal`].
//! 2. `decide` turns it into events; each gets its place in the journal and in its run, and is applied at once.
//! 3. The caller makes the entries durable, and only then acts on the outcome: nothing leaves before it is on disk.
//!
//! # Rules
//!
//! - `decide` may refuse, `apply` may not. What `apply` cannot record was a mistake of `decide`.
//! - Nothing is stored that a fold of the events could not give again; counters are sizes of sets.
//! - Events that were written by any earlier version can be read for ever.

mod apply;
pub mod command;
mod decide;
mod end;
pub mod event;
mod explain;
pub mod id;
pub mod ledger;
mod limits;
mod outstanding;
#[doc(hidden)]
pub mod planted;
pub mod retry;
pub mod route;
mod scope;
pub mod secret;
mod state;
pub mod submission;
mod task;
mod tasks;
pub mod term;
pub mod trace;

pub use apply::ApplyError;
pub use command::{Command, Fence, ProtocolUse, Request, Verdict};
pub use decide::{MAX_LOSSES, Refusal};
pub use event::{Entry, Event};
pub use id::*;
pub use limits::Limits;
pub use outstanding::{Owed, Waiting};
pub use scope::{Read, RunScope};
pub use secret::Secret;
pub use state::{RunStatus, State};
pub use task::{TaskState, TaskStatus};
pub use tasks::Tasks;
pub use term::{History, Seen, Term};
