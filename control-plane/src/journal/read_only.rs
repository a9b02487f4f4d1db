//! A read-only journal, whose store is written by another process or by none. What the writer would push is found by
//! polling.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gleitzeit_run::{RunId, State};
use gleitzeit_workflow::Timestamp;
use tokio::sync::{Semaphore, watch};

use super::clock::{Clock, Clocks, RunIds};
use super::readers::Readers;
use super::{Journal, JournalError, Look, Shared, Summary, WriterConfig};

/// How often to poll for new entries: a person following a run notices no delay, and each poll takes a fraction of a
/// millisecond.
const POLL_EVERY: Duration = Duration::from_millis(100);

impl Journal {
    /// A read-only journal over a store that is being inspected.
    pub(crate) fn read_only(look: Look) -> Self {
        let (reader, holder) = look.into_parts();
        let config = WriterConfig::default();
        let (_, summary) = watch::channel(Summary::default());
        let (_, protocols) = watch::channel(Arc::from([]));
        let (_, aside) = watch::channel(Arc::new(BTreeMap::new()));
        let shared = Shared {
            work: None,
            holder: Some(holder),
            readers: Readers::of(reader),
            proposing: Semaphore::new(0),
            watching: Arc::new(Semaphore::new(config.watchers)),
            awaiting: Semaphore::new(config.watchers),
            run_ids: RunIds::new(Clock::new(Clocks::system(), Timestamp(0))),
            summary,
            protocols,
            aside,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Whether the journal is read-only.
    pub(super) fn is_read_only(&self) -> bool {
        self.shared.holder.is_some()
    }

    /// Whether another process is writing to the inspected store.
    pub(crate) fn is_written(&self) -> bool {
        self.shared.holder.as_ref().is_some_and(super::Holder::is_there)
    }

    /// Whether a run is listed as ended, or does not exist.
    pub(super) async fn has_ended(&self, run_id: RunId) -> Result<bool, JournalError> {
        Ok(self.row(run_id).await?.is_none_or(|row| row.status.is_final()))
    }

    /// Waits until the run has ended or no process works on it any more. Cancel-safe.
    pub(super) async fn poll_for_end(&self, run_id: RunId) -> Result<Option<Arc<State>>, JournalError> {
        loop {
            let is_written = self.is_written();
            let found = self.stored(run_id).await?;
            if !is_written || found.as_ref().is_none_or(|state| state.status.is_final()) {
                return Ok(found);
            }
            self.wait_for_poll().await;
        }
    }

    /// Waits until the next poll. Cancel-safe.
    pub(super) async fn wait_for_poll(&self) {
        tokio::time::sleep(POLL_EVERY).await;
    }
}
