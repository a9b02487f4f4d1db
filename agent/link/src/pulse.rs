//! Detects that this process was suspended: it was stopped, its machine slept, or it got no CPU time for so long that
//! others may have taken over its work. Counts such stops; the caller decides what follows from one.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// A longer pause between two beats counts as a stop. A hub waits longer than this before it gives work away.
const STOP: Duration = Duration::from_secs(2);

/// Detects stops from the time between two calls of [`Pulse::beat`].
#[derive(Debug)]
pub struct Pulse {
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    at: Instant,
    /// Unlike the monotonic clock, this one continues while the machine sleeps.
    wall: SystemTime,
    stops: u64,
}

impl Pulse {
    /// How often [`Pulse::beat`] is to be called; a late call then means that the process was suspended.
    pub const EVERY: Duration = Duration::from_millis(500);

    /// Starts counting from now on.
    pub fn new() -> Self {
        Self { last: Mutex::new(Last { at: Instant::now(), wall: SystemTime::now(), stops: 0 }) }
    }

    /// The number of stops so far, including one that ends now. Call it before starting anything that may no longer be
    /// wanted: no other part of the process needs to have noticed the stop before.
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
        // A clock that was set forward looks like a sleep; that costs only one question to the hub.
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
    fn a_long_pause_by_either_clock_counts_as_one_stop() {
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
