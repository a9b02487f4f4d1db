//! The monotonic clock of this process in the machines' milliseconds.

use std::time::Duration;

use gleitzeit_workflow::time::Instant;

/// Counts from its creation; copies agree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    base: tokio::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { base: tokio::time::Instant::now() }
    }

    /// Rounded down, so that sleeping until an instant never wakes before it.
    pub(crate) fn now(self) -> Instant {
        Instant(millis(self.base.elapsed()))
    }

    /// `None` if it is beyond what the clock can represent.
    pub(crate) fn to_tokio(self, at: Instant) -> Option<tokio::time::Instant> {
        self.base.checked_add(Duration::from_millis(at.0))
    }
}

/// The duration in milliseconds; saturates.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
