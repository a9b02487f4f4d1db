//! Removes old data in small steps between two batches: finished runs, and unused protocols with the entries about them
//! that no longer matter.

use std::sync::Arc;
use std::time::Duration;

use gleitzeit_mesh::hub::Input;
use gleitzeit_run::{Event, ProtocolUse, Request};

use super::{Writer, WriterError};
use crate::journal::{Pruned, PrunedProtocols, StoreError};

/// How many entries that no longer matter one step removes.
const STEP_ENTRIES: usize = 500;
/// The room in bytes that recording a step may need. A failed write would end the writer, so the room is checked first.
const ROOM: u64 = 16 * 1024 * 1024;
/// How long such entries are kept in any case, for clients that follow the journal from the store.
const KEPT: Duration = Duration::from_secs(24 * 3_600);

/// Separates a lack of room from other errors: the store is unchanged then, and the writer continues.
pub(super) fn unless_full<T>(step: Result<T, StoreError>) -> Result<Result<T, StoreError>, StoreError> {
    match step {
        Err(error @ StoreError::NoRoom { .. }) => Ok(Err(error)),
        step => step.map(Ok),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Writer {
    /// One step, between two batches.
    pub(super) fn prune(&mut self, older_than: Duration) -> Result<Pruned, StoreError> {
        let step = self.store.prune(self.clock.now().minus_ms(millis(older_than)))?;
        for (run_id, status) in &step.runs {
            let count = self.counts.of(*status);
            *count = count.saturating_sub(1);
            self.recent.remove(*run_id);
        }
        if !step.runs.is_empty() {
            self.summary.send_modify(|summary| {
                summary.counts = self.counts;
                summary.pruned = self.store.pruned();
            });
            self.send_to_hub(Input::Pruned { through: self.store.pruned() });
        }
        Ok(step)
    }

    /// One step: records which protocols are removed, and removes entries that no longer matter from the store.
    pub(super) fn prune_protocols(
        &mut self,
        unused: Duration,
        served: Vec<ProtocolUse>,
    ) -> Result<Result<PrunedProtocols, StoreError>, WriterError> {
        if let Err(error) = self.store.check_room(ROOM) {
            return unless_full(Err(error)).map_err(WriterError::from);
        }
        let now = self.clock.now();
        let outcome = self.ledger.propose(&Request::PruneProtocols { unused_ms: millis(unused), served }, now)?;
        let is_removal = |event: &Event| matches!(event, Event::ProtocolRemoved(_));
        let protocols = outcome.entries.iter().filter(|entry| is_removal(&entry.event)).count();
        self.pending.batch.entries.extend(outcome.entries.into_iter().map(Arc::new));
        self.commit()?;
        let obsolete = self.ledger.obsolete(now.minus_ms(millis(unused.max(KEPT))), STEP_ENTRIES);
        let mut step = PrunedProtocols {
            protocols: u64::try_from(protocols).unwrap_or(u64::MAX),
            entries: 0,
            more: protocols > 0 || obsolete.len() == STEP_ENTRIES,
        };
        if obsolete.is_empty() {
            return Ok(Ok(step));
        }
        let removed = unless_full(self.store.remove(&obsolete))?;
        if let Ok(removed) = &removed {
            step.entries = *removed;
            self.ledger.forget_obsolete(&obsolete);
            self.summary.send_modify(|summary| summary.pruned = self.store.pruned());
            self.send_to_hub(Input::Pruned { through: self.store.pruned() });
        }
        Ok(removed.map(|_| step))
    }
}
