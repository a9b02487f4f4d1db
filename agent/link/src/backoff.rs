//! When to try again. Pure except for the jitter.

use std::time::Duration;

/// Doubling delays with a cap. Never gives up.
#[derive(Debug)]
pub(crate) struct Backoff {
    initial: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max, next: initial }
    }

    /// The delay before the next attempt: between half and all of the current step.
    pub(crate) fn delay(&mut self) -> Duration {
        self.step(rand::random::<f64>())
    }

    /// Starts over with the first delay, after a connection that worked.
    pub(crate) fn reset(&mut self) {
        self.next = self.initial;
    }

    fn step(&mut self, jitter: f64) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.max);
        step.mul_f64(0.5 + jitter / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_restart_after_a_reset() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(50), ms(2000));
        let delays: Vec<_> = (0..8).map(|_| backoff.step(1.0).as_millis()).collect();
        assert_eq!(delays, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(backoff.step(0.0), ms(1000));
        backoff.reset();
        assert_eq!(backoff.step(0.0), ms(25));
    }
}
