//! What runs the pure role machines: one loop for all of them ([`session`]) and one small file per role.
//!
//! A host moves messages and time and does a role's work; it decides nothing that the machine could decide. The
//! invariant: events reach the machine one at a time, those of the link in the order in which the hub sent them, and
//! the machine's outputs leave in the order in which it made them.

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

/// What happens to a hosted machine.
pub(crate) enum Event<R> {
    /// About its connection, or its time has come.
    Hub(Input),
    /// Work of the host has something to say.
    Report(R),
    /// Take nothing more and end within this time.
    Drain {
        /// In milliseconds.
        grace_ms: u64,
    },
}

/// What a machine wants done by the loop.
#[derive(Default)]
pub(crate) struct Todo {
    /// In this order.
    pub(crate) outputs: Vec<Output>,
    /// Everything is said: disconnect.
    pub(crate) drained: bool,
}

/// A role machine together with the work it asks for, as the loop sees it.
pub(crate) trait Machine: Send {
    /// What the work reports.
    type Report: Send;

    /// What must be known before the first word to the hub; bounded in time; may be cut short.
    fn prepare(&mut self, _now: Instant) -> impl Future<Output = ()> + Send {
        ready(())
    }

    /// Takes an event; never waits. What follows from it may be said only by [`Machine::flush`].
    fn accept(&mut self, now: Instant, event: Event<Self::Report>, todo: &mut Todo);

    /// Says what follows from the events accepted so far.
    fn flush(&mut self, now: Instant, todo: &mut Todo);

    /// When [`Input::Tick`] is due.
    fn next_deadline(&self) -> Option<Instant>;

    /// The next report; stays pending while there is nothing to report. Cancel-safe.
    fn next_report(&mut self) -> impl Future<Output = Self::Report> + Send;

    /// A report that is ready now.
    fn try_report(&mut self) -> Option<Self::Report>;
}
