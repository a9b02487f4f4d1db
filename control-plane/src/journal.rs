//! The journal: one writer, its storage, and the handle through which everybody else reads and proposes. Never here:
//! decisions about what may be recorded, which are the ledger's. Whatever leaves this module was committed before.

mod clock;
mod feed;
mod fold;
mod guard;
mod looking;
mod memory;
mod readers;
mod recent;
mod runs;
mod size;
mod sqlite;
mod store;
#[cfg(test)]
pub(crate) mod suite;
#[cfg(test)]
mod tests;
mod work;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gleitzeit_mesh::hub;
use gleitzeit_mesh::wire::ProtocolDefinition;
use gleitzeit_run::ledger::Backlog;
use gleitzeit_run::{Entry, Position, ProtocolUse, Request, RunId, Seq, State, TermId, Verdict};
use gleitzeit_workflow::{ProtocolName, Timestamp};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use uuid::Uuid;

pub use clock::Clocks;
pub(crate) use clock::wall_clock;
pub use feed::{RunWatch, Subscription};
pub use memory::MemoryStore;
pub use runs::{RunCounts, RunFilter, RunRow};
pub use sqlite::{Alone, Checked, Copied, Holder, Look, SqliteStore, Wrong, backup, check, repair, restore};
pub use store::{FORMAT_VERSION, Most, Pruned, PrunedProtocols, Reader, Replay, Store, StoreError, Tail, Unreadable};
pub use work::Work;
pub use writer::{WriterConfig, WriterError, WriterHandle};

use clock::RunIds;
use readers::Readers;
use runs::ending;

/// What a caller is told to wait when too much is waiting already: a batch takes a few milliseconds.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A random name for a term.
fn new_term() -> TermId {
    // The last half of it is random, the first is the time.
    let id = Uuid::now_v7().simple().to_string();
    TermId::from(&id[id.len() / 2..])
}

/// The longest pause between two steps of pruning.
const MOST_PAUSE: Duration = Duration::from_millis(100);

/// Why the journal did not answer.
#[derive(Debug, Error)]
pub enum JournalError {
    /// Too many callers are waiting.
    #[error("the journal is busy")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The writer has stopped. Whether a proposal was recorded is not known.
    #[error("the journal is closed")]
    Closed,
    /// The store could not be read.
    #[error("the journal could not be read")]
    Store(#[from] StoreError),
}

/// Where the journal stands after a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The last committed entry's place.
    pub position: Position,
    /// Its time.
    pub recorded_at: Timestamp,
    /// All runs, by status.
    pub counts: RunCounts,
    /// Entries up to here may be gone with their runs.
    pub pruned: Position,
}

/// What pruning has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many finished runs.
    pub runs: u64,
    /// How many entries.
    pub entries: u64,
    /// Whether the time was over before everything was done.
    pub more: bool,
}

/// What the hub is given of the journal.
///
/// The writer waits while `inputs` is full, and then takes no `work`: whoever waits to send `work` must go on taking
/// `inputs` meanwhile, or both wait forever.
#[derive(Debug)]
pub struct HubPort {
    /// To the writer.
    pub work: mpsc::Sender<Work>,
    /// From the writer: `Committed`, `SliceState` and `EngineState`, in order.
    pub inputs: mpsc::Receiver<hub::Input>,
    /// Where the hub starts; `inputs` goes on from there.
    pub start: hub::Start,
}

/// A handle on the journal; cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// None: the store is another process's, or nobody's.
    work: Option<mpsc::Sender<Work>>,
    /// Whose it is then.
    holder: Option<Holder>,
    readers: Readers,
    /// Callers who wait for a verdict.
    proposing: Semaphore,
    /// Who watches runs.
    watching: Arc<Semaphore>,
    /// Who waits for the end of runs: whoever watches many keeps nobody from it.
    awaiting: Semaphore,
    run_ids: RunIds,
    summary: watch::Receiver<Summary>,
    protocols: watch::Receiver<Arc<[ProtocolDefinition]>>,
    aside: watch::Receiver<Arc<BTreeMap<RunId, String>>>,
}

impl Journal {
    /// Replays what is unfinished and starts the writer's thread.
    ///
    /// # Errors
    /// If the store cannot be read, or contradicts itself.
    pub fn start(store: Box<dyn Store>, config: WriterConfig) -> Result<(Self, HubPort, WriterHandle), StoreError> {
        let readers = Readers::open(store.as_ref())?;
        let started = writer::start(store, &config)?;
        let shared = Shared {
            work: Some(started.port.work.clone()),
            holder: None,
            readers,
            proposing: Semaphore::new(config.waiting),
            watching: Arc::new(Semaphore::new(config.watchers)),
            awaiting: Semaphore::new(config.watchers),
            run_ids: RunIds::new(started.clock),
            summary: started.summary,
            protocols: started.protocols,
            aside: started.aside,
        };
        Ok((Self { shared: Arc::new(shared) }, started.port, started.handle))
    }

    /// Asks for something to be recorded and waits until it is durable. A submission's `known` is filled in on the way.
    /// If the caller stops waiting, it may be recorded all the same.
    ///
    /// # Errors
    /// `Busy` at once if too many are waiting; `Closed` if the writer has stopped.
    pub async fn propose(&self, request: Request) -> Result<Verdict, JournalError> {
        let busy = |_| JournalError::Busy { retry_after: RETRY_AFTER };
        let _waiting = self.shared.proposing.try_acquire().map_err(busy)?;
        let (reply, verdict) = oneshot::channel();
        self.send(Work::Propose { request, reply }).await?;
        verdict.await.map_err(|_| JournalError::Closed)
    }

    /// An id for a new run, greater than those before.
    pub fn new_run_id(&self) -> RunId {
        self.shared.run_ids.next()
    }

    /// A run as it stands, with every entry that was committed before this call; none if it is not known.
    ///
    /// # Errors
    /// `Closed` if the writer has stopped; `Store` if the run had to be read and cannot be.
    pub async fn run(&self, run_id: RunId) -> Result<Option<Arc<State>>, JournalError> {
        if self.is_looked_at() {
            return self.stored(run_id).await;
        }
        let (reply, held) = oneshot::channel();
        self.send(Work::ReadRun { run_id, reply }).await?;
        match held.await.map_err(|_| JournalError::Closed)? {
            Some(state) => Ok(Some(state)),
            None => self.stored(run_id).await,
        }
    }

    /// A run that the writer does not hold.
    async fn stored(&self, run_id: RunId) -> Result<Option<Arc<State>>, JournalError> {
        let folded = self.shared.readers.read(move |reader| fold::fold(reader, run_id)).await?;
        Ok(folded.map(Arc::new))
    }

    /// Waits until a run has ended, without reading what happens meanwhile; none if it is not known. Cancel-safe.
    ///
    /// # Errors
    /// `Busy` if too many wait; else as for [`Journal::run`].
    pub async fn ended(&self, run_id: RunId) -> Result<Option<Arc<State>>, JournalError> {
        let busy = |_| JournalError::Busy { retry_after: RETRY_AFTER };
        let _permit = self.shared.awaiting.try_acquire().map_err(busy)?;
        if self.is_looked_at() {
            return self.look_for_end(run_id).await;
        }
        let (reply, ended) = oneshot::channel();
        self.send(Work::AwaitEnd { run_id, reply }).await?;
        match ended.await.map_err(|_| JournalError::Closed)? {
            Some(state) => Ok(Some(state)),
            None => self.stored(run_id).await,
        }
    }

    /// At most `limit` runs that pass the filter, newest first, beginning after the run `after`.
    ///
    /// # Errors
    /// `Store` if they cannot be read.
    pub async fn list_runs(
        &self,
        filter: RunFilter,
        after: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunRow>, JournalError> {
        self.shared.readers.read(move |reader| reader.list_runs(&filter, after, limit)).await
    }

    /// The run submitted under a request id, with the hash of that request's body.
    ///
    /// # Errors
    /// `Store` if it cannot be read.
    pub async fn find_request(&self, request_id: String) -> Result<Option<(RunId, String)>, JournalError> {
        self.shared.readers.read(move |reader| reader.find_request(&request_id)).await
    }

    /// Consecutive entries from a position on: at most `limit`, fewer if they are large, none only at the end.
    ///
    /// # Errors
    /// `Store` if they cannot be read.
    pub async fn entries(&self, from: Position, limit: usize) -> Result<Vec<Arc<Entry>>, JournalError> {
        let entries = self.shared.readers.read(move |reader| reader.read_from(from, limit.into())).await?;
        Ok(entries.into_iter().map(Arc::new).collect())
    }

    /// The same for one of many who follow all that is recorded: they share a part of the readers.
    ///
    /// # Errors
    /// As for [`Journal::entries`].
    pub async fn follow(&self, from: Position, most: Most) -> Result<Vec<Arc<Entry>>, JournalError> {
        let entries = self.shared.readers.read_behind(move |reader| reader.read_from(from, most)).await?;
        Ok(entries.into_iter().map(Arc::new).collect())
    }

    /// Entries of a run from `from` on, for one of many who follow runs: at most `most`, none only at their end.
    ///
    /// # Errors
    /// `Store` if they cannot be read.
    pub async fn run_entries(&self, run_id: RunId, from: Seq, most: Most) -> Result<Vec<Arc<Entry>>, JournalError> {
        let entries = self.shared.readers.read_behind(move |reader| reader.read_run(run_id, from, most)).await?;
        Ok(entries.into_iter().map(Arc::new).collect())
    }

    /// Removes finished runs that ended at least so long ago, in small steps between which the writer does other work; no
    /// new step begins after `time`. If the caller stops waiting, it can be gone on with at any time.
    ///
    /// # Errors
    /// `Closed` if the writer has stopped; `Store` if there is no room to remove anything, and everything else goes on.
    pub async fn prune(&self, older_than: Duration, time: Duration) -> Result<Removed, JournalError> {
        let mut removed = Removed::default();
        let end = tokio::time::Instant::now() + time;
        loop {
            let (reply, step) = oneshot::channel();
            let begun = tokio::time::Instant::now();
            self.send(Work::Prune { older_than, reply }).await?;
            let step = step.await.map_err(|_| JournalError::Closed)??;
            removed.runs += u64::try_from(step.runs.len()).unwrap_or(u64::MAX);
            removed.entries += step.entries;
            removed.more = step.more;
            if !step.more || tokio::time::Instant::now() >= end {
                return Ok(removed);
            }
            // At least half of the time is for others.
            tokio::time::sleep(begun.elapsed().min(MOST_PAUSE)).await;
        }
    }

    /// Removes registered protocols that no provider serves, no unfinished run needs and nobody has used for so long, as
    /// far as that can be said of `served`, and entries about them that no longer matter; no new step begins after `time`.
    ///
    /// # Errors
    /// As for [`Journal::prune`].
    pub async fn prune_protocols(
        &self,
        unused: Duration,
        served: &[ProtocolUse],
        time: Duration,
    ) -> Result<PrunedProtocols, JournalError> {
        let mut removed = PrunedProtocols::default();
        let end = tokio::time::Instant::now() + time;
        loop {
            let (reply, step) = oneshot::channel();
            let begun = tokio::time::Instant::now();
            self.send(Work::PruneProtocols { unused, served: served.to_vec(), reply }).await?;
            let step = step.await.map_err(|_| JournalError::Closed)??;
            removed.protocols += step.protocols;
            removed.entries += step.entries;
            removed.more = step.more;
            if !step.more || tokio::time::Instant::now() >= end {
                return Ok(removed);
            }
            tokio::time::sleep(begun.elapsed().min(MOST_PAUSE)).await;
        }
    }

    /// Has these protocols never be removed.
    ///
    /// # Errors
    /// `Closed` if the writer has stopped.
    pub async fn keep_protocols(&self, names: Vec<ProtocolName>) -> Result<(), JournalError> {
        self.send(Work::KeepProtocols(names)).await
    }

    /// Has the writer see whether the store is still there; if not, it ends.
    ///
    /// # Errors
    /// `Closed` if it has ended.
    pub async fn confirm(&self) -> Result<(), JournalError> {
        self.send(Work::Confirm).await
    }

    /// Waits until the writer has come to this: it goes on.
    ///
    /// # Errors
    /// `Closed` if it has ended.
    pub async fn answers(&self) -> Result<(), JournalError> {
        let (reply, answer) = oneshot::channel();
        self.send(Work::Answer(reply)).await?;
        answer.await.map_err(|_| JournalError::Closed)
    }

    /// Follows a run: every entry with `seq` of at least `from` once, in order, those to come as they are committed.
    pub fn watch(&self, run_id: RunId, from: Seq) -> RunWatch {
        RunWatch::new(self.clone(), run_id, from)
    }

    /// A reader of the caller's own, for a thread that may block. There are few: for one long user.
    ///
    /// # Errors
    /// `Closed` if the journal is.
    pub async fn reader(&self) -> Result<Box<dyn Reader>, JournalError> {
        self.shared.readers.take().await
    }

    /// Where the journal stands, and whenever that changes.
    pub fn changes(&self) -> watch::Receiver<Summary> {
        self.shared.summary.clone()
    }

    /// Where the journal stands.
    pub fn summary(&self) -> Summary {
        *self.shared.summary.borrow()
    }

    /// The last committed entry's place.
    pub fn position(&self) -> Position {
        self.summary().position
    }

    /// How many runs there are, by status.
    pub fn counts(&self) -> RunCounts {
        self.summary().counts
    }

    /// What waits in each queue now.
    ///
    /// # Errors
    /// `Closed` if the writer has stopped.
    pub async fn backlog(&self) -> Result<Vec<Backlog>, JournalError> {
        let (reply, backlog) = oneshot::channel();
        self.send(Work::Backlog { reply }).await?;
        backlog.await.map_err(|_| JournalError::Closed)
    }

    /// The runs that could not be replayed at the start, and why; those that were ended since are left out.
    pub fn aside(&self) -> Arc<BTreeMap<RunId, String>> {
        self.shared.aside.borrow().clone()
    }

    /// A run as it is listed; none if it is not known.
    ///
    /// # Errors
    /// `Store` if it cannot be read.
    pub async fn row(&self, run_id: RunId) -> Result<Option<RunRow>, JournalError> {
        self.shared.readers.read(move |reader| fold::row(reader, run_id)).await
    }

    /// Every registered protocol, by name, then version.
    pub fn protocols(&self) -> Arc<[ProtocolDefinition]> {
        self.shared.protocols.borrow().clone()
    }

    /// A place among those who follow something.
    ///
    /// # Errors
    /// `Busy` if there is none.
    pub(crate) fn permit_watch(&self) -> Result<OwnedSemaphorePermit, JournalError> {
        let busy = |_| JournalError::Busy { retry_after: RETRY_AFTER };
        self.shared.watching.clone().try_acquire_owned().map_err(busy)
    }

    async fn send(&self, work: Work) -> Result<(), JournalError> {
        let writer = self.shared.work.as_ref().ok_or(JournalError::Closed)?;
        writer.send(work).await.map_err(|_| JournalError::Closed)
    }
}
