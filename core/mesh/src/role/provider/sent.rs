//! Answers that were sent and may still be lost: with the hub that received them, or on their way from it to an engine.
//! They are offered again at the next connection.

use std::collections::BTreeMap;

use gleitzeit_workflow::time::Instant;

use crate::id::CallId;
use crate::wire::CallEnd;

/// After this time, in milliseconds, the caller has recorded the answer, or the attempt was ended because its engine
/// was lost.
const KEPT_MS: u64 = 20_000;
/// More than are ever in transit at a time. Their ids are part of a registration, and the hub may cancel each of them.
const MAX_COUNT: usize = 1_000;
/// The maximum total size in bytes, as counted for frames.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The latest answers, bounded by age, number and size.
#[derive(Debug, Default)]
pub(super) struct Sent {
    next: u64,
    /// In the order of sending.
    answers: BTreeMap<u64, (Instant, CallEnd)>,
    by_id: BTreeMap<CallId, u64>,
    bytes: usize,
}

impl Sent {
    pub(super) fn keep(&mut self, now: Instant, end: CallEnd) {
        self.remove(&end.id);
        self.bytes += size(&end);
        self.by_id.insert(end.id.clone(), self.next);
        self.answers.insert(self.next, (now, end));
        self.next += 1;
        while self.answers.len() > MAX_COUNT || self.bytes > MAX_BYTES {
            self.remove_first();
        }
    }

    pub(super) fn remove(&mut self, id: &CallId) -> Option<CallEnd> {
        let number = self.by_id.remove(id)?;
        let (_, end) = self.answers.remove(&number)?;
        self.bytes -= size(&end);
        Some(end)
    }

    /// Drops answers that are old enough.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.deadline().is_some_and(|at| at <= now) {
            self.remove_first();
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.answers.values().next().map(|(since, _)| since.plus_ms(KEPT_MS))
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &CallId> {
        self.answers.values().map(|(_, end)| &end.id)
    }

    /// Takes all of them, in the order of sending.
    pub(super) fn take(&mut self) -> impl Iterator<Item = CallEnd> {
        std::mem::take(self).answers.into_values().map(|(_, end)| end)
    }

    fn remove_first(&mut self) {
        if let Some((_, (_, end))) = self.answers.pop_first() {
            self.by_id.remove(&end.id);
            self.bytes -= size(&end);
        }
    }
}

/// The estimated size of an answer in a frame.
pub(super) fn size(end: &CallEnd) -> usize {
    256 + end.id.as_str().len() + end.outcome.size_bytes()
}
