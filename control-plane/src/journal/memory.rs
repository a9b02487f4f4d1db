//! A store in memory: for tests, and where nothing needs to survive the process.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use gleitzeit_run::{Entry, Event, History, Position, RunId, RunStatus, Seq, Term, TermId};
use gleitzeit_workflow::Timestamp;

use super::{Pruned, ReadLimit, Reader, Replay, RunCounts, RunFilter, RunRow, Store, StoreError, Tail, ending};

/// How many runs one pruning step removes at most.
const STEP_RUNS: usize = 100;

/// A store in memory. Clones share its content, so a test can start a second writer on what the first one left.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    held: Arc<RwLock<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    entries: BTreeMap<Position, Arc<Entry>>,
    /// The positions of the entries of each run.
    places: HashMap<RunId, Vec<Position>>,
    tail: Tail,
    pruned: Position,
    terms: Vec<Term>,
    rows: BTreeMap<RunId, RunRow>,
    requests: HashMap<String, (RunId, String)>,
}

impl MemoryStore {
    fn read(&self) -> RwLockReadGuard<'_, Held> {
        // A panicking writer may have left half a batch, but that does not matter: the data is lost with the process.
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn push(&mut self, entry: &Arc<Entry>) {
        if let Some(run_id) = entry.run_id {
            self.places.entry(run_id).or_default().push(entry.position);
        }
        self.entries.insert(entry.position, entry.clone());
        self.tail = Tail { position: entry.position, recorded_at: entry.recorded_at };
        if let Some(row) = RunRow::submitted(entry) {
            self.rows.insert(row.run_id, row);
        }
        if let (Event::WorkflowSubmitted(submitted), Some(run_id)) = (&entry.event, entry.run_id)
            && let Some(key) = &submitted.request
        {
            self.requests.insert(key.request_id.clone(), (run_id, key.body_hash.clone()));
        }
        let row = entry.run_id.and_then(|run_id| self.rows.get_mut(&run_id));
        if let (Some(row), Some((status, error))) = (row, ending(&entry.event)) {
            row.status = status;
            row.error = error;
            row.finished_at = Some(entry.recorded_at);
        }
    }
}

impl Store for MemoryStore {
    fn tail(&self) -> Tail {
        self.read().tail
    }

    fn begin_term(&mut self, id: TermId) -> Result<History, StoreError> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let number = held.terms.last().map_or(1, |last| last.number + 1);
        let after = held.tail.position;
        held.terms.push(Term { number, id, after });
        Ok(History::new(held.terms.clone()))
    }

    fn append(&mut self, entries: &[Arc<Entry>]) -> Result<(), StoreError> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let mut expected = held.tail.position.next();
        for entry in entries {
            if entry.position != expected {
                let why = format!("expected {expected}");
                return Err(StoreError::Entry { position: entry.position.0, why });
            }
            expected = expected.next();
        }
        for entry in entries {
            held.push(entry);
        }
        Ok(())
    }

    fn confirm(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn pruned(&self) -> Position {
        self.read().pruned
    }

    fn prune(&mut self, ended: Timestamp) -> Result<Pruned, StoreError> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let old = held.rows.values().filter(|row| row.finished_at.is_some_and(|at| at <= ended));
        let mut runs: Vec<_> = old.map(|row| (row.finished_at, row.run_id, row.status)).collect();
        runs.sort_unstable_by_key(|(finished_at, ..)| *finished_at);
        let more = runs.len() > STEP_RUNS;
        runs.truncate(STEP_RUNS);
        let mut entries = 0;
        for (_, run_id, _) in &runs {
            held.rows.remove(run_id);
            held.requests.retain(|_, (of, _)| of != run_id);
            for position in held.places.remove(run_id).unwrap_or_default() {
                held.entries.remove(&position);
                held.pruned = held.pruned.max(position);
                entries += 1;
            }
        }
        Ok(Pruned { runs: runs.into_iter().map(|(_, run_id, status)| (run_id, status)).collect(), entries, more })
    }

    fn remove(&mut self, positions: &[Position]) -> Result<u64, StoreError> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let mut removed = 0;
        for position in positions {
            if held.entries.get(position).is_some_and(|entry| entry.run_id.is_none()) {
                held.entries.remove(position);
                held.pruned = held.pruned.max(*position);
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(self.clone()))
    }
}

impl Reader for MemoryStore {
    fn another(&self) -> Result<Box<dyn Reader>, StoreError> {
        self.reader()
    }

    fn read_from(&self, from: Position, most: ReadLimit) -> Result<Vec<Entry>, StoreError> {
        let held = self.read();
        Ok(held.entries.range(from..).take(most.entries).map(|(_, entry)| Entry::clone(entry)).collect())
    }

    fn read_run(&self, run_id: RunId, from: Seq, most: ReadLimit) -> Result<Vec<Entry>, StoreError> {
        let held = self.read();
        let places = held.places.get(&run_id).map_or(&[][..], Vec::as_slice);
        let entries = places.iter().filter_map(|place| held.entries.get(place)).map(Arc::as_ref);
        Ok(entries.filter(|entry| entry.seq >= from).take(most.entries).cloned().collect())
    }

    fn replay(&self, _: usize, each: &mut Replay<'_>) -> Result<(), StoreError> {
        let held = self.read();
        let finished = |run_id| held.rows.get(&run_id).is_some_and(|row| row.status != RunStatus::Running);
        let wanted = held.entries.values().filter(|entry| !entry.run_id.is_some_and(finished));
        wanted.map(|entry| Ok(Entry::clone(entry))).try_for_each(each)
    }

    fn find_request(&self, request_id: &str) -> Result<Option<(RunId, String)>, StoreError> {
        Ok(self.read().requests.get(request_id).cloned())
    }

    fn list_runs(&self, filter: &RunFilter, after: Option<RunId>, limit: usize) -> Result<Vec<RunRow>, StoreError> {
        let held = self.read();
        let rows = held.rows.values().rev().filter(|row| after.is_none_or(|after| row.run_id < after));
        Ok(rows.filter(|row| row.passes(filter)).take(limit).cloned().collect())
    }

    fn ended_since(&self, from: Timestamp, limit: usize) -> Result<Vec<(RunId, Timestamp)>, StoreError> {
        let held = self.read();
        let ended = held.rows.values().filter_map(|row| Some((row.run_id, row.finished_at?)));
        let mut ended: Vec<_> = ended.filter(|(_, at)| *at >= from).collect();
        ended.sort_unstable_by_key(|(run_id, at)| (*at, *run_id));
        ended.truncate(limit);
        Ok(ended)
    }

    fn counts(&self) -> Result<RunCounts, StoreError> {
        let mut counts = RunCounts::default();
        for row in self.read().rows.values() {
            *counts.of(row.status) += 1;
        }
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::store_suite::store_suite;

    store_suite!(((), MemoryStore::default()));
}
