//! The state machine of one run, and the ledger of all unfinished runs.
//!
//! Three functions carry a run. `decide` takes the state and a [`Command`] and returns events, or refuses. `apply`
//! records an event that has happened and fails only on a corrupt journal. `outstanding` lists what must happen next,
//! and which role must do it. A run's state is a fold of its events, so it can be rebuilt from the journal alone, on
//! any machine.
//!
//! `gleitzeit-workflow` defines what a definition is. `gleitzeit-mesh` defines who sends the commands and who does the
//! outstanding work. Like both, this crate has no clock, no randomness and no I/O.
//!
//! # Modules
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`command`], [`event`] | what can be asked of a run, and what can happen to it, as they travel and are stored |
//! | `state`, `tasks`, `task` | what is known of a run, of all its tasks and of each: [`State`], [`Tasks`], [`TaskState`] |
//! | `decide`, `apply`, `end` | which events a command leads to; how an event changes the state; when a run is over |
//! | `outstanding`, `explain` | what must happen next, and in words why a task waits |
//! | `scope` | the values that a run's references can name |
//! | [`retry`] | how long to wait before the next attempt |
//! | [`submission`] | a checked workflow with its inputs, files and environment: the first event of a run |
//! | [`ledger`] | all unfinished runs, ownerships and protocols: what the single writer of the journal needs to decide |
//! | [`trace`] | a run's spans, derived from its entries alone |
//! | [`term`] | which history a position belongs to |
//! | [`route`] | which providers may serve a call |
//! | [`id`], [`secret`] | ids of runs, attempts, entries and components; how a component proves its identity |
//!
//! # How a command is processed
//!
//! 1. A [`Request`] reaches [`ledger::Ledger::propose`] with the time. Its sender is checked first: an owner acts under
//!    an epoch, an engine on an attempt whose lease it holds. A stale request is refused with a [`Refusal`].
//! 2. `decide` turns it into events. Each gets its position in the journal and its number in the run, and is applied at
//!    once.
//! 3. The caller makes the entries durable and only then acts on the outcome: nothing is released before it is on disk.
//!
//! # Rules
//!
//! - `decide` may refuse, `apply` may not. An entry that `apply` cannot record is a bug in `decide`.
//! - Nothing is stored that a fold of the events could not reproduce; counters are sizes of sets.
//! - Events written by any earlier version stay readable.

mod apply;
pub mod command;
mod decide;
mod end;
pub mod event;
mod explain;
pub mod id;
pub mod ledger;
mod outstanding;
mod payload_limit;
#[doc(hidden)]
pub mod planted_bugs;
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
pub use explain::Waiting;
pub use id::*;
pub use outstanding::Owed;
pub use payload_limit::Limits;
pub use scope::{Read, RunScope};
pub use secret::Secret;
pub use state::{RunStatus, State};
pub use task::{TaskState, TaskStatus};
pub use tasks::Tasks;
pub use term::{History, Seen, Term};
