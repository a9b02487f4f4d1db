//! What runs the pure role machines: one loop for all of them ([`session`]) and one small file per role.
//!
//! A host moves messages and time and does a role's work; every decision that the machine can make is the machine's.
//! The invariant: events reach the machine one at a time, those of the link in the order in which the hub sent them,
//! and the machine's outputs leave in the order in which it made them.

mod call_span;
mod clock;
pub(crate) mod engine;
pub(crate) mod health;
pub(crate) mod owners;
pub(crate) mod provider;

pub(crate) mod session;

pub use call_span::{CALL_TARGET, LOG_FIELDS, attribute_value};

use std::future::{Future, ready};

use gleitzeit_mesh::role::{Input, Output};
use gleitzeit_workflow::time::Instant;

pub(crate) use clock::Clock;

/// An input for a hosted machine.
pub(crate) enum Event<R> {
    /// A change of its connection, a message, or a deadline.
    Hub(Input),
    /// The host's work reports something.
    Report(R),
    /// Take on no more work, and end within this time.
    Drain {
        /// The time limit in milliseconds.
        grace_ms: u64,
    },
}

/// What a machine wants the loop to do.
#[derive(Default)]
pub(crate) struct Todo {
    /// To be carried out in this order.
    pub(crate) outputs: Vec<Output>,
    /// The drain is complete: disconnect.
    pub(crate) drained: bool,
}

/// A role machine together with the work it asks for, as the loop sees it.
pub(crate) trait Machine: Send {
    /// What the work reports.
    type Report: Send;

    /// Prepares what the first message to the hub must contain. Bounded in time; may be cut short.
    fn prepare(&mut self, _now: Instant) -> impl Future<Output = ()> + Send {
        ready(())
    }

    /// Takes an event; never waits. Resulting messages may be held back until [`Machine::flush`].
    fn accept(&mut self, now: Instant, event: Event<Self::Report>, todo: &mut Todo);

    /// Emits what follows from the events accepted so far.
    fn flush(&mut self, now: Instant, todo: &mut Todo);

    /// When [`Input::Tick`] is due.
    fn next_deadline(&self) -> Option<Instant>;

    /// The next report; pending while there is none. Cancel-safe.
    fn next_report(&mut self) -> impl Future<Output = Self::Report> + Send;

    /// A report that is ready now, if there is one.
    fn try_report(&mut self) -> Option<Self::Report>;
}
