//! Waiting for conditions.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long anything may take that does not say otherwise: far more than it needs on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Looks at a condition until it holds, and returns what it found.
///
/// # Panics
/// If it does not hold within the limit.
#[track_caller]
pub(crate) fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        sleep(POLL);
    }
}
