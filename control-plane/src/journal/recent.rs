//! A cache of folded runs that were read or have just ended, so that reading them again needs neither a copy nor a
//! fold. It is bounded by number and size and evicts the least recently used run first. The most recently used run is
//! kept whatever its size: a client reads a large run page by page, and each page would fold it again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use gleitzeit_run::{RunId, State};

use super::size;

/// The cache.
#[derive(Debug)]
pub(super) struct Recent {
    runs: HashMap<RunId, Kept>,
    /// Runs by their latest use.
    uses: BTreeMap<u64, RunId>,
    last_use: u64,
    bytes: usize,
    max_runs: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Kept {
    state: Arc<State>,
    bytes: usize,
    used: u64,
}

impl Recent {
    pub(super) fn new(max_runs: usize, max_bytes: usize) -> Self {
        Self { runs: HashMap::new(), uses: BTreeMap::new(), last_use: 0, bytes: 0, max_runs, max_bytes }
    }

    pub(super) fn get(&mut self, run_id: RunId) -> Option<Arc<State>> {
        let kept = self.runs.get_mut(&run_id)?;
        self.uses.remove(&kept.used);
        self.last_use += 1;
        kept.used = self.last_use;
        self.uses.insert(kept.used, run_id);
        Some(kept.state.clone())
    }

    pub(super) fn put(&mut self, state: Arc<State>) {
        let (run_id, bytes) = (state.run_id, size::of_run(&state));
        self.remove(run_id);
        self.last_use += 1;
        self.bytes += bytes;
        self.uses.insert(self.last_use, run_id);
        self.runs.insert(run_id, Kept { state, bytes, used: self.last_use });
        while self.runs.len() > self.max_runs || (self.bytes > self.max_bytes && self.runs.len() > 1) {
            let Some((_, oldest)) = self.uses.pop_first() else { break };
            self.remove(oldest);
        }
    }

    pub(super) fn remove(&mut self, run_id: RunId) {
        if let Some(kept) = self.runs.remove(&run_id) {
            self.uses.remove(&kept.used);
            self.bytes -= kept.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use gleitzeit_workflow::Timestamp;

    use super::*;
    use crate::journal::tests::store_suite::{run_id, submission};

    fn state(n: u128) -> Arc<State> {
        Arc::new(State::new(run_id(n), submission("w"), Timestamp(0)))
    }

    #[test]
    fn the_least_recently_used_run_goes_first() {
        let mut recent = Recent::new(2, usize::MAX);
        recent.put(state(1));
        recent.put(state(2));
        assert!(recent.get(run_id(1)).is_some());
        recent.put(state(3));
        assert!(recent.get(run_id(2)).is_none());
        assert!(recent.get(run_id(1)).is_some() && recent.get(run_id(3)).is_some());
    }

    #[test]
    fn a_run_above_the_limit_is_kept_until_another_is_used() {
        let mut recent = Recent::new(usize::MAX, 1);
        recent.put(state(1));
        assert!(recent.get(run_id(1)).is_some());
        recent.put(state(2));
        assert!(recent.get(run_id(1)).is_none() && recent.get(run_id(2)).is_some());
    }

    #[test]
    fn cached_runs_stay_below_the_limit_of_bytes() {
        let mut recent = Recent::new(usize::MAX, 3 * size::of_run(&state(1)));
        for n in 1..=9 {
            recent.put(state(n));
            recent.put(state(n));
        }
        assert_eq!(recent.runs.len(), 3);
        assert_eq!(recent.uses.len(), 3);
        assert_eq!(recent.bytes, 3 * size::of_run(&state(1)));
    }
}
