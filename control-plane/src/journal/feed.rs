//! Following runs: the writer pushes committed entries to the watchers of a run. A watcher that lags, or starts late,
//! reads the missed entries from the store, as `follow` does. Nothing is lost between the two: the writer registers a
//! watcher between two batches and reports up to where the store has the run.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gleitzeit_run::{Entry, RunId, Seq, State};
use tokio::sync::{mpsc, oneshot};

use super::{ReadLimit, ending, size};

/// How many batches may wait for a watcher; one that lags further has to read from the store.
const WAITING_BATCHES: usize = 16;
/// How many bytes may wait for a watcher, roughly: they are kept in memory only for the slowest.
const WAITING_BYTES: usize = 1024 * 1024;
/// The memory that an entry takes besides its payloads, in bytes, roughly.
const ENTRY_BYTES: usize = 512;
/// How much a watcher gets at once, roughly.
pub(super) const PAGE: ReadLimit = ReadLimit { entries: 1_000, bytes: 256 * 1024 };

/// Entries of one run, in order.
pub(super) type Entries = Vec<Arc<Entry>>;

/// The subscription of one watcher to one run.
#[derive(Debug)]
pub struct Subscription {
    /// The store contains the run up to this entry.
    pub(super) upto: Seq,
    /// The later entries; ends with the run, or when the watcher lags.
    pub(super) live: Live,
}

/// The entries of one run that were published together.
#[derive(Clone, Debug)]
struct Published {
    entries: Entries,
    bytes: usize,
}

/// The writer's end of a subscription.
#[derive(Debug)]
struct Watcher {
    batches: mpsc::Sender<Published>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// The watcher's end of a subscription.
#[derive(Debug)]
pub(super) struct Live {
    batches: mpsc::Receiver<Published>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Watcher {
    fn pair() -> (Self, Live) {
        let (batches, live) = mpsc::channel(WAITING_BATCHES);
        let waiting_bytes = Arc::<AtomicUsize>::default();
        (Self { batches, waiting_bytes: waiting_bytes.clone() }, Live { batches: live, waiting_bytes })
    }

    /// Sends entries to the watcher; false if it lags too far or is gone.
    fn push(&self, published: &Published) -> bool {
        let bytes = published.bytes;
        if self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > WAITING_BYTES {
            return false;
        }
        self.batches.try_send(published.clone()).is_ok()
    }
}

impl Live {
    /// The next published entries, with as many more as are waiting, up to a page. `None` if no more will come.
    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Entries> {
        let first = self.batches.recv().await?;
        let mut entries = self.taken(first);
        while entries.len() < PAGE.entries
            && let Ok(more) = self.batches.try_recv()
        {
            entries.extend(self.taken(more));
        }
        Some(entries)
    }

    fn taken(&self, published: Published) -> Entries {
        self.waiting_bytes.fetch_sub(published.bytes, Ordering::Relaxed);
        published.entries
    }
}

/// The registered watchers, on the writer's side.
#[derive(Debug, Default)]
pub(super) struct Feed {
    watchers: HashMap<RunId, Vec<Watcher>>,
    /// Callers that wait only for the end of a run.
    waiters: HashMap<RunId, Vec<oneshot::Sender<Option<Arc<State>>>>>,
}

impl Feed {
    /// Registers a watcher for what is published of a run from now on.
    pub(super) fn subscribe(&mut self, run_id: RunId, upto: Seq) -> Subscription {
        let (watcher, live) = Watcher::pair();
        let watchers = self.watchers.entry(run_id).or_default();
        watchers.retain(|watcher| !watcher.batches.is_closed());
        watchers.push(watcher);
        Subscription { upto, live }
    }

    /// Registers a caller that gets a run once it has ended.
    pub(super) fn await_end(&mut self, run_id: RunId, reply: oneshot::Sender<Option<Arc<State>>>) {
        let waiters = self.waiters.entry(run_id).or_default();
        waiters.retain(|waiter| !waiter.is_closed());
        waiters.push(reply);
    }

    /// Sends an ended run to the callers that wait for its end.
    pub(super) fn publish_end(&mut self, state: &Arc<State>) {
        for waiter in self.waiters.remove(&state.run_id).into_iter().flatten() {
            // A caller that no longer waits loses nothing.
            let _ = waiter.send(Some(state.clone()));
        }
    }

    /// Pushes committed entries to the watchers of their runs; an entry of an unwatched run costs one look-up.
    pub(super) fn publish(&mut self, entries: &[Arc<Entry>]) {
        if self.watchers.is_empty() {
            return;
        }
        let mut watched: HashMap<RunId, Entries> = HashMap::new();
        for entry in entries {
            if let Some(run_id) = entry.run_id.filter(|run_id| self.watchers.contains_key(run_id)) {
                watched.entry(run_id).or_default().push(entry.clone());
            }
        }
        for (run_id, entries) in watched {
            let Some(watchers) = self.watchers.get_mut(&run_id) else { continue };
            let has_ended = entries.iter().any(|entry| ending(&entry.event).is_some());
            let bytes = entries.iter().map(|entry| ENTRY_BYTES + size::of_payloads(&entry.event)).sum();
            let published = Published { entries, bytes };
            // A watcher without room is dropped: its channel ends after what it holds, and it reads the rest from the
            // store.
            watchers.retain(|watcher| watcher.push(&published));
            if watchers.is_empty() || has_ended {
                self.watchers.remove(&run_id);
            }
        }
    }
}
