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
//! | [`meaning`] | what each event means to those who hear of it |
//! | `state`, `instance`, [`phase`] | what is known of a run, what happened to each of its tasks, and what is true of it now |
//! | [`dependencies`] | which tasks are final, and what that means for those behind them |
//! | `chunks` | a list that copies share |
//! | `transition` | one file for each: which events a command leads to, and what they change |
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

mod chunks;
pub mod command;
pub mod dependencies;
pub mod event;
mod explain;
pub mod id;
mod instance;
pub mod ledger;
pub mod meaning;
mod outstanding;
mod payload_limit;
pub mod phase;
#[doc(hidden)]
pub mod planted_bugs;
pub mod retry;
pub mod route;
mod scope;
pub mod secret;
mod state;
pub mod submission;
pub mod term;
pub mod trace;
mod transition;

pub use chunks::Chunks;
pub use command::{Command, Fence, ProtocolUse, Request, Verdict};
pub use event::{Entry, Event};
pub use explain::Waiting;
pub use id::*;
pub use instance::{Entered, Instance, Stop};
pub use outstanding::Owed;
pub use payload_limit::Limits;
pub use phase::{Lease, Outcome, Phase, TaskStatus};
pub use scope::{Read, RunScope};
pub use secret::Secret;
pub use state::{RunStatus, State};
pub use term::{History, Seen, Term};
pub use transition::{ApplyError, MAX_LOSSES, Refusal};
