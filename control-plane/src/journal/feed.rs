//! Following runs. The writer pushes committed entries to the watchers of a run; a watcher that lags or comes late
//! reads what it missed from the store. Nothing is lost in between, because the writer registers a watcher between two
//! batches and tells it up to which entry the store has the run.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gleitzeit_run::{Entry, Event, RunId, Seq, State};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::{Journal, JournalError, ReadLimit, Work, ending};

/// How many batches may wait for a watcher; one that lags further has to read from the store.
const WAITING_BATCHES: usize = 16;
/// How many bytes may wait for a watcher, roughly: they are kept in memory only for the slowest.
const WAITING_BYTES: usize = 1024 * 1024;
/// How much a watcher gets at once, roughly.
const PAGE: ReadLimit = ReadLimit { entries: 1_000, bytes: 256 * 1024 };

/// Entries of one run, in order.
pub(super) type Entries = Vec<Arc<Entry>>;

/// The subscription of one watcher to one run.
#[derive(Debug)]
pub struct Subscription {
    /// The store contains the run up to this entry.
    upto: Seq,
    /// The later entries; ends with the run, or when the watcher lags.
    live: Live,
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

/// The memory that an entry takes, in bytes, roughly.
fn rough_bytes(entry: &Entry) -> usize {
    const FLAT: usize = 512;
    FLAT + match &entry.event {
        Event::WorkflowSubmitted(it) => it.inputs.size_bytes(),
        Event::TaskReady(it) => it.parameters.size_bytes(),
        Event::TaskCompleted(it) => it.result.size_bytes(),
        Event::WorkflowCompleted(it) => it.outputs.size_bytes(),
        // Failures, reasons and names are short texts.
        _ => 0,
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
            let bytes = entries.iter().map(|entry| rough_bytes(entry)).sum();
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

/// Follows one run from a given entry to its last.
#[derive(Debug)]
pub struct RunWatch {
    journal: Journal,
    run_id: RunId,
    /// The `seq` of the first entry that was not yielded yet.
    next: Seq,
    stage: Stage,
    permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum Stage {
    /// Not registered with the writer.
    Apart,
    /// The store contains the wanted entries up to `upto`, or to the end of the run.
    Behind { upto: Seq, live: Option<Live> },
    /// All entries before those from `live` were yielded.
    Live(Live),
    /// The last entry was yielded.
    Ended,
}

impl RunWatch {
    pub(super) fn new(journal: Journal, run_id: RunId, from: Seq) -> Self {
        Self { journal, run_id, next: from.max(Seq(1)), stage: Stage::Apart, permit: None }
    }

    /// The next entries, at least one; waits until there are some. `None` after the run's last entry, and at once if
    /// there is no such run. Cancel-safe.
    ///
    /// # Errors
    /// `Busy` if there are too many watchers; `Closed` if the writer has stopped; `Store` if the run cannot be read.
    pub async fn next(&mut self) -> Result<Option<Vec<Arc<Entry>>>, JournalError> {
        loop {
            match &mut self.stage {
                Stage::Apart => self.subscribe().await?,
                Stage::Behind { upto, live } if self.next > *upto => {
                    self.stage = live.take().map_or(Stage::Ended, Stage::Live);
                }
                Stage::Behind { live, .. } => {
                    // Checked before reading, so that everything written by then is read below.
                    let may_grow =
                        live.is_none() && self.journal.is_written() && !self.journal.has_ended(self.run_id).await?;
                    let page = self.journal.run_entries(self.run_id, self.next, PAGE).await?;
                    if page.is_empty() && may_grow {
                        self.journal.wait_for_poll().await;
                        continue;
                    }
                    if page.is_empty() {
                        // An unfinished run has all entries up to `upto`, so this one has ended or does not exist.
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
        if self.journal.is_read_only() {
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

    /// Drops entries that were yielded before or precede the first wanted one.
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
