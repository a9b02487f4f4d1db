//! Whether this process stood still: it was stopped, its machine slept, or it got no time for so long that others may
//! have given its work away. Counts such stops; what follows from one is for its user to say.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// A pause between two beats that is longer is a stop. A hub waits longer before it gives work away.
const STOP: Duration = Duration::from_secs(2);

/// Beats while its process runs.
#[derive(Debug)]
pub struct Pulse {
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    at: Instant,
    /// Goes on while the machine sleeps.
    wall: SystemTime,
    stops: u64,
}

impl Pulse {
    /// How often [`Pulse::beat`] is to be called, so that calling it late means something.
    pub const EVERY: Duration = Duration::from_millis(500);

    /// From now on.
    pub fn new() -> Self {
        Self { last: Mutex::new(Last { at: Instant::now(), wall: SystemTime::now(), stops: 0 }) }
    }

    /// How many stops there were, with one that ends now. Whoever is about to begin something that may not be wanted any
    /// more asks here first: no other part of the process needs to have noticed before.
    pub fn beat(&self) -> u64 {
        self.beat_at(Instant::now(), SystemTime::now())
    }

    /// Counts a stop, as if there had been one; for tests.
    #[doc(hidden)]
    pub fn stop(&self) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).stops += 1;
    }

    fn beat_at(&self, at: Instant, wall: SystemTime) -> u64 {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set forward looks like a sleep, which costs no more than a question.
        let slept = wall.duration_since(last.wall).unwrap_or_default();
        if at.saturating_duration_since(last.at).max(slept) > STOP {
            last.stops += 1;
        }
        (last.at, last.wall) = (at, wall);
        last.stops
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_pause_is_a_stop_whichever_clock_saw_it_and_counts_once() {
        let pulse = Pulse::new();
        let (mut at, mut wall) = {
            let last = pulse.last.lock().expect("no panic");
            (last.at, last.wall)
        };
        let mut after = |runs: u64, sleeps: u64| {
            at += Duration::from_millis(runs);
            wall += Duration::from_millis(runs + sleeps);
            pulse.beat_at(at, wall)
        };
        assert_eq!([after(500, 0), after(1_900, 0), after(2_100, 0), after(0, 0)], [0, 0, 1, 1]);
        assert_eq!([after(500, 5_000), after(500, 0)], [2, 2], "the machine slept");
        assert_eq!(pulse.beat_at(at, wall - Duration::from_secs(60)), 2, "a clock that was set back is no stop");
    }
}
