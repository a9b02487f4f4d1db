//! A journal whose store another process writes, or nobody: it is read and nothing else. What the writer would tell is
//! found by looking again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gleitzeit_run::{RunId, State};
use gleitzeit_workflow::Timestamp;
use tokio::sync::{Semaphore, watch};

use super::clock::{Clock, Clocks, RunIds};
use super::readers::Readers;
use super::{Journal, JournalError, Look, Shared, Summary, WriterConfig};

/// How often it is looked whether something was written: a person who follows a run sees no delay, and each look takes a
/// fraction of a millisecond.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl Journal {
    /// A journal to read a store with that is looked at.
    pub(crate) fn looked_at(look: Look) -> Self {
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

    /// Whether the store is only looked at.
    pub(super) fn is_looked_at(&self) -> bool {
        self.shared.holder.is_some()
    }

    /// Whether another process writes the store that is looked at.
    pub(crate) fn is_written(&self) -> bool {
        self.shared.holder.as_ref().is_some_and(super::Holder::is_there)
    }

    /// Whether a run's end is listed, or the run is not known.
    pub(super) async fn has_ended(&self, run_id: RunId) -> Result<bool, JournalError> {
        Ok(self.row(run_id).await?.is_none_or(|row| row.status.is_final()))
    }

    /// The run once it has ended, or nobody works on it any more. Cancel-safe.
    pub(super) async fn look_for_end(&self, run_id: RunId) -> Result<Option<Arc<State>>, JournalError> {
        loop {
            let is_written = self.is_written();
            let found = self.stored(run_id).await?;
            if !is_written || found.as_ref().is_none_or(|state| state.status.is_final()) {
                return Ok(found);
            }
            self.look_again().await;
        }
    }

    /// Waits until it is worth looking again. Cancel-safe.
    pub(super) async fn look_again(&self) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
