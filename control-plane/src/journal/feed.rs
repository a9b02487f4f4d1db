//! Following runs: the writer pushes what it commits to whoever watches the run; whoever lags or comes late reads from
//! the store what it has missed. Nothing is lost between the two: the writer registers a watcher between two batches and
//! says up to where the store has the run.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gleitzeit_run::{Entry, RunId, Seq, State};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::{Journal, JournalError, Most, Work, ending, size};

/// How many batches may wait for a watcher; one that lags further is left to read from the store.
const WAITING_BATCHES: usize = 16;
/// And how many bytes, roughly: what waits is kept for the slowest alone.
const WAITING_BYTES: usize = 1024 * 1024;
/// What an entry occupies beside its payloads.
const ENTRY_BYTES: usize = 512;
/// How much a watcher gets at once, roughly.
const PAGE: Most = Most { entries: 1_000, bytes: 256 * 1024 };

/// Entries of one run, in order.
pub(super) type Entries = Vec<Arc<Entry>>;

/// A run that is being watched.
#[derive(Debug)]
pub struct Subscription {
    /// The store has the run up to here.
    upto: Seq,
    /// What comes after; it ends with the run, or when the watcher lags.
    live: Live,
}

/// What was published together of one run.
#[derive(Clone, Debug)]
struct Published {
    entries: Entries,
    bytes: usize,
}

/// Where a watcher is told, on the writer's side.
#[derive(Debug)]
struct Watcher {
    batches: mpsc::Sender<Published>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// The same on the watcher's side.
#[derive(Debug)]
struct Live {
    batches: mpsc::Receiver<Published>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Watcher {
    fn pair() -> (Self, Live) {
        let (batches, live) = mpsc::channel(WAITING_BATCHES);
        let waiting_bytes = Arc::<AtomicUsize>::default();
        (Self { batches, waiting_bytes: waiting_bytes.clone() }, Live { batches: live, waiting_bytes })
    }

    /// False if it lags too far, or is gone.
    fn tell(&self, published: &Published) -> bool {
        let bytes = published.bytes;
        if self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > WAITING_BYTES {
            return false;
        }
        self.batches.try_send(published.clone()).is_ok()
    }
}

impl Live {
    /// What was published next and, up to a page, after that. None if nothing more comes. Cancel-safe.
    async fn next(&mut self) -> Option<Entries> {
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

/// The watchers, on the writer's side.
#[derive(Debug, Default)]
pub(super) struct Feed {
    watchers: HashMap<RunId, Vec<Watcher>>,
    /// Those who wait for a run's end only.
    waiters: HashMap<RunId, Vec<oneshot::Sender<Option<Arc<State>>>>>,
}

impl Feed {
    /// From now on a watcher gets what is published of a run.
    pub(super) fn subscribe(&mut self, run_id: RunId, upto: Seq) -> Subscription {
        let (watcher, live) = Watcher::pair();
        let watchers = self.watchers.entry(run_id).or_default();
        watchers.retain(|watcher| !watcher.batches.is_closed());
        watchers.push(watcher);
        Subscription { upto, live }
    }

    /// Somebody gets a run once it has ended.
    pub(super) fn await_end(&mut self, run_id: RunId, reply: oneshot::Sender<Option<Arc<State>>>) {
        let waiters = self.waiters.entry(run_id).or_default();
        waiters.retain(|waiter| !waiter.is_closed());
        waiters.push(reply);
    }

    /// A run has ended.
    pub(super) fn publish_end(&mut self, state: &Arc<State>) {
        for waiter in self.waiters.remove(&state.run_id).into_iter().flatten() {
            // Whoever no longer waits loses nothing.
            let _ = waiter.send(Some(state.clone()));
        }
    }

    /// Pushes what was committed to those who watch; an entry of any other run costs one look-up.
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
            // Whoever has no room is dropped: its channel ends after what it holds, and it reads the rest.
            watchers.retain(|watcher| watcher.tell(&published));
            if watchers.is_empty() || has_ended {
                self.watchers.remove(&run_id);
            }
        }
    }
}

/// Follows one run from an entry on to its last.
#[derive(Debug)]
pub struct RunWatch {
    journal: Journal,
    run_id: RunId,
    /// The first entry that was not given out.
    next: Seq,
    stage: Stage,
    permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum Stage {
    /// Not registered with the writer.
    Apart,
    /// The store has what is wanted up to `upto`, or to the end of the run.
    Behind { upto: Seq, live: Option<Live> },
    /// Everything before what `live` brings was given out.
    Live(Live),
    /// The last entry was given out.
    Ended,
}

impl RunWatch {
    pub(super) fn new(journal: Journal, run_id: RunId, from: Seq) -> Self {
        Self { journal, run_id, next: from.max(Seq(1)), stage: Stage::Apart, permit: None }
    }

    /// The next entries, at least one; waits until there are some. None after the run's last entry, and at once if the
    /// run is not known. Cancel-safe.
    ///
    /// # Errors
    /// `Busy` if too many watch; `Closed` if the writer has stopped; `Store` if the run cannot be read.
    pub async fn next(&mut self) -> Result<Option<Vec<Arc<Entry>>>, JournalError> {
        loop {
            match &mut self.stage {
                Stage::Apart => self.subscribe().await?,
                Stage::Behind { upto, live } if self.next > *upto => {
                    self.stage = live.take().map_or(Stage::Ended, Stage::Live);
                }
                Stage::Behind { live, .. } => {
                    // Asked before: what was written until then is read.
                    let may_grow =
                        live.is_none() && self.journal.is_written() && !self.journal.has_ended(self.run_id).await?;
                    let page = self.journal.run_entries(self.run_id, self.next, PAGE).await?;
                    if page.is_empty() && may_grow {
                        self.journal.look_again().await;
                        continue;
                    }
                    if page.is_empty() {
                        // A run that goes on has all entries up to `upto`, so this one has ended or is not known.
                        self.stage = live.take().map_or(Stage::Ended, Stage::Live);
                    }
                    if let Some(page) = self.take(page) {
                        return Ok(Some(page));
                    }
                }
                Stage::Live(live) => {
                    let Some(entries) = live.next().await else {
                        self.stage = Stage::Apart;
                        continue;
                    };
                    if let Some(entries) = self.take(entries) {
                        return Ok(Some(entries));
                    }
                }
                Stage::Ended => {
                    self.permit = None;
                    return Ok(None);
                }
            }
        }
    }

    async fn subscribe(&mut self) -> Result<(), JournalError> {
        if self.permit.is_none() {
            self.permit = Some(self.journal.permit_watch()?);
        }
        if self.journal.is_looked_at() {
            self.stage = Stage::Behind { upto: Seq(u64::MAX), live: None };
            return Ok(());
        }
        let (reply, subscription) = oneshot::channel();
        self.journal.send(Work::Watch { run_id: self.run_id, reply }).await?;
        self.stage = match subscription.await.map_err(|_| JournalError::Closed)? {
            Some(Subscription { upto, live }) => Stage::Behind { upto, live: Some(live) },
            None => Stage::Behind { upto: Seq(u64::MAX), live: None },
        };
        Ok(())
    }

    /// Leaves out what was given out before or lies before what is wanted.
    fn take(&mut self, mut entries: Entries) -> Option<Entries> {
        entries.retain(|entry| entry.seq >= self.next);
        let last = entries.last()?;
        self.next = last.seq.next();
        if ending(&last.event).is_some() {
            self.stage = Stage::Ended;
        }
        Some(entries)
    }
}
