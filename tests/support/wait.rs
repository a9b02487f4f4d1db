//! Waiting for conditions.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// The default limit for anything: far more than it needs on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is checked.
const POLL: Duration = Duration::from_millis(10);

/// Polls a condition until it holds, and returns its value.
///
/// # Panics
/// If it does not hold within the limit.
#[track_caller]
pub(crate) fn until<T>(what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
    until_or(limit, look).unwrap_or_else(|| panic!("not within {limit:?}: {what}"))
}

/// Polls a condition until it holds, and returns its value; `None` if it does not hold within the limit.
pub(crate) fn until_or<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        let found = look();
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        sleep(POLL);
    }
}
