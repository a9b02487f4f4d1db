//! The clock of the journal. It starts at the wall clock, or at the last entry's time if that is later, and then
//! follows the monotonic clock. So its time never goes back, and setting the wall clock has no effect until the next
//! start.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gleitzeit_run::RunId;
use gleitzeit_workflow::Timestamp;
use uuid::{ContextV7, Uuid};

/// The sources of time.
#[derive(Clone)]
pub struct Clocks {
    /// The wall clock, which may be set at any moment.
    pub wall: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// The time since some arbitrary moment; never decreases.
    pub monotonic: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl fmt::Debug for Clocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clocks")
    }
}

impl Clocks {
    /// The clocks of this machine.
    pub fn system() -> Self {
        let origin = Instant::now();
        Self { wall: Arc::new(wall_clock), monotonic: Arc::new(move || origin.elapsed()) }
    }
}

/// The time on the wall clock of this machine.
pub(crate) fn wall_clock() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// The journal's clock.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    clocks: Clocks,
    start: Timestamp,
    since: Duration,
}

impl Clock {
    pub(super) fn new(clocks: Clocks, last: Timestamp) -> Self {
        let (start, since) = ((clocks.wall)().max(last), (clocks.monotonic)());
        Self { clocks, start, since }
    }

    pub(super) fn now(&self) -> Timestamp {
        let passed = (self.clocks.monotonic)().saturating_sub(self.since);
        self.start.plus_ms(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Creates run ids that sort by the journal's clock, as entries do: a newer run always has a greater id, even after
/// restarts and whatever happens to the wall clock.
#[derive(Debug)]
pub(super) struct RunIds {
    clock: Clock,
    /// Orders the ids of one millisecond.
    context: Mutex<ContextV7>,
}

impl RunIds {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, context: Mutex::new(ContextV7::new()) }
    }

    pub(super) fn next(&self) -> RunId {
        let now = Duration::from_millis(u64::try_from(self.clock.now().0).unwrap_or(0));
        let at = uuid::Timestamp::from_unix(&self.context, now.as_secs(), now.subsec_nanos());
        RunId(Uuid::new_v7(at))
    }
}
