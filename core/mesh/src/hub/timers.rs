//! Deadlines of the hub.

use std::collections::BTreeSet;

use gleitzeit_run::id::{AttemptRef, ComponentId};
use gleitzeit_workflow::time::Instant;

use crate::hub::SocketId;
use crate::id::CallId;

/// What a deadline was set for. When the deadline passes, the state decides whether it still matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Silence(ComponentId),
    Heartbeat(SocketId),
    Accept(AttemptRef),
    Orphan(CallId),
    Slow(SocketId),
    Unregistered(SocketId),
}

/// The deadlines that have not passed.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Instant, Timer)>);

impl Timers {
    pub(super) fn set(&mut self, at: Instant, timer: Timer) {
        self.0.insert((at, timer));
    }

    /// The next deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes what the next deadline was set for, if it has passed.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        self.next().filter(|at| *at <= now)?;
        self.0.pop_first().map(|(_, timer)| timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_pass_in_order_and_not_before_their_time() {
        let (mut timers, timer) = (Timers::default(), |number| Timer::Slow(SocketId(number)));
        for (at, number) in [(5, 1), (3, 2), (3, 2)] {
            timers.set(Instant(at), timer(number));
        }
        assert_eq!((timers.next(), timers.take_due(Instant(2))), (Some(Instant(3)), None));
        assert_eq!(timers.take_due(Instant(9)), Some(timer(2)));
        assert_eq!(timers.take_due(Instant(9)), Some(timer(1)), "the same deadline is set once");
        assert_eq!((timers.next(), timers.take_due(Instant(9))), (None, None));
    }
}
