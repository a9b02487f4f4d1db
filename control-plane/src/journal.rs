//! The journal: one writer, its store, and the handle through which everything else reads and proposes. What may be
//! recorded is decided by the ledger, not here. Everything that leaves this module has been committed.

mod clock;
mod feed;
mod fold;
mod follow;
mod guard;
mod memory;
mod read_only;
mod readers;
mod recent;
mod runs;
mod size;
mod sqlite;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod writer;
mod writer_request;

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
pub use feed::Subscription;
pub use follow::RunWatch;
pub use memory::MemoryStore;
pub use runs::{RunCounts, RunFilter, RunRow};
pub use sqlite::{Checked, Copied, Holder, Look, SqliteStore, StoreLock, Wrong, backup, check, repair, restore};
pub use store::{
    FORMAT_VERSION, Pruned, PrunedProtocols, ReadLimit, Reader, Replay, Store, StoreError, Tail, Unreadable,
};
pub use writer::{WriterConfig, WriterError, WriterHandle};
pub use writer_request::Work;

use clock::RunIds;
use readers::Readers;
use runs::ending;

/// The delay that is suggested to a caller when too many are waiting already: a batch takes a few milliseconds.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A new random term id.
fn new_term() -> TermId {
    // A UUIDv7 begins with the time; only its second half is random.
    let id = Uuid::now_v7().simple().to_string();
    TermId::from(&id[id.len() / 2..])
}

/// The longest pause between two steps of pruning.
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// Why the journal did not answer.
#[derive(Debug, Error)]
pub enum JournalError {
    /// Too many callers are waiting.
    #[error("the journal is busy")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The writer has stopped. It is unknown whether a proposal was recorded.
    #[error("the journal is closed")]
    Closed,
    /// The store could not be read.
    #[error("the journal could not be read")]
    Store(#[from] StoreError),
}

/// The state of the journal after a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The position of the last committed entry.
    pub position: Position,
    /// The time of that entry.
    pub recorded_at: Timestamp,
    /// All runs, counted by status.
    pub counts: RunCounts,
    /// Entries up to this position may have been pruned with their runs.
    pub pruned: Position,
}

/// What a pruning call has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// The number of finished runs.
    pub runs: u64,
    /// The number of entries.
    pub entries: u64,
    /// Whether time ran out before everything was removed.
    pub more: bool,
}

/// The hub's connection to the journal.
///
/// While `inputs` is full the writer waits and takes no `work`. So a task that waits to send `work` must keep receiving
/// `inputs`; otherwise the two deadlock.
#[derive(Debug)]
pub struct HubPort {
    /// To the writer.
    pub work: mpsc::Sender<Work>,
    /// From the writer: `Committed`, `SliceState` and `EngineState`, in order.
    pub inputs: mpsc::Receiver<hub::Input>,
    /// The state in which the hub starts; `inputs` continues from there.
    pub start: hub::Start,
}

/// A handle on the journal; cheap to clone. The one without a writer is made in `read_only`.
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// `None` if another process, or none, writes the store.
    work: Option<mpsc::Sender<Work>>,
    /// In that case, the process that writes it.
    holder: Option<Holder>,
    readers: Readers,
    /// Limits the callers that wait for a verdict.
    proposing: Semaphore,
    /// Limits the watchers of runs.
    watching: Arc<Semaphore>,
    /// Limits the callers that wait for the end of a run. Separate from `watching`, so that many watchers cannot block
    /// them.
    awaiting: Semaphore,
    run_ids: RunIds,
    summary: watch::Receiver<Summary>,
    protocols: watch::Receiver<Arc<[ProtocolDefinition]>>,
    aside: watch::Receiver<Arc<BTreeMap<RunId, String>>>,
}

impl Journal {
    /// Replays all unfinished runs and starts the writer's thread.
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

    /// Proposes a request and waits until it is durable. A submission's `known` is filled in on the way. If the caller
    /// stops waiting, the request may still be recorded.
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

    /// A new run id, greater than all earlier ones.
    pub fn new_run_id(&self) -> RunId {
        self.shared.run_ids.next()
    }

    /// The current state of a run, including every entry that was committed before this call; `None` if there is no
    /// such run.
    ///
    /// # Errors
    /// `Closed` if the writer has stopped; `Store` if the run had to be read and cannot be.
    pub async fn run(&self, run_id: RunId) -> Result<Option<Arc<State>>, JournalError> {
        if self.is_read_only() {
            return self.stored(run_id).await;
        }
        let (reply, held) = oneshot::channel();
        self.send(Work::ReadRun { run_id, reply }).await?;
        match held.await.map_err(|_| JournalError::Closed)? {
            Some(state) => Ok(Some(state)),
            None => self.stored(run_id).await,
        }
    }

    /// Reads a run that the writer no longer holds.
    async fn stored(&self, run_id: RunId) -> Result<Option<Arc<State>>, JournalError> {
        let folded = self.shared.readers.read(move |reader| fold::fold(reader, run_id)).await?;
        Ok(folded.map(Arc::new))
    }

    /// Waits until a run has ended, without reading its entries meanwhile; `None` if there is no such run. Cancel-safe.
    ///
    /// # Errors
    /// `Busy` if too many callers wait; otherwise as for [`Journal::run`].
    pub async fn ended(&self, run_id: RunId) -> Result<Option<Arc<State>>, JournalError> {
        let busy = |_| JournalError::Busy { retry_after: RETRY_AFTER };
        let _permit = self.shared.awaiting.try_acquire().map_err(busy)?;
        if self.is_read_only() {
            return self.poll_for_end(run_id).await;
        }
        let (reply, ended) = oneshot::channel();
        self.send(Work::AwaitEnd { run_id, reply }).await?;
        match ended.await.map_err(|_| JournalError::Closed)? {
            Some(state) => Ok(Some(state)),
            None => self.stored(run_id).await,
        }
    }

    /// The first `limit` runs after the run `after` that pass the filter, newest first.
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

    /// The run that was submitted under a request id, with the hash of the request body.
    ///
    /// # Errors
    /// `Store` if it cannot be read.
    pub async fn find_request(&self, request_id: String) -> Result<Option<(RunId, String)>, JournalError> {
        self.shared.readers.read(move |reader| reader.find_request(&request_id)).await
    }

    /// Consecutive entries from a position on: at most `limit`, fewer if they are large, and none only at the end.
    ///
    /// # Errors
    /// `Store` if they cannot be read.
    pub async fn entries(&self, from: Position, limit: usize) -> Result<Vec<Arc<Entry>>, JournalError> {
        let entries = self.shared.readers.read(move |reader| reader.read_from(from, limit.into())).await?;
        Ok(entries.into_iter().map(Arc::new).collect())
    }

    /// Like [`Journal::entries`], for the many callers that follow the whole journal: they share some of the readers.
    ///
    /// # Errors
    /// As for [`Journal::entries`].
    pub async fn follow(&self, from: Position, most: ReadLimit) -> Result<Vec<Arc<Entry>>, JournalError> {
        let entries = self.shared.readers.read_for_follower(move |reader| reader.read_from(from, most)).await?;
        Ok(entries.into_iter().map(Arc::new).collect())
    }

    /// Entries of a run from `from` on, for the many callers that follow runs: at most `most`, and none only at their
    /// end.
    ///
    /// # Errors
    /// `Store` if they cannot be read.
    pub async fn run_entries(
        &self,
        run_id: RunId,
        from: Seq,
        most: ReadLimit,
    ) -> Result<Vec<Arc<Entry>>, JournalError> {
        let entries = self.shared.readers.read_for_follower(move |reader| reader.read_run(run_id, from, most)).await?;
        Ok(entries.into_iter().map(Arc::new).collect())
    }

    /// Removes finished runs that ended at least `older_than` ago, in small steps between which the writer does other
    /// work. No new step begins after `time`. If the caller stops waiting, a later call continues the work.
    ///
    /// # Errors
    /// `Closed` if the writer has stopped; `Store` if there is no room to remove anything: everything else continues.
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
            // Leaves at least half of the writer's time to other work.
            tokio::time::sleep(begun.elapsed().min(MAX_PAUSE)).await;
        }
    }

    /// Removes registered protocols that no provider serves, no unfinished run needs and nobody has used for `unused`
    /// according to `served`, and entries about protocols that no longer matter. No new step begins after `time`.
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
            tokio::time::sleep(begun.elapsed().min(MAX_PAUSE)).await;
        }
    }

    /// Protects these protocols from being removed.
    ///
    /// # Errors
    /// `Closed` if the writer has stopped.
    pub async fn keep_protocols(&self, names: Vec<ProtocolName>) -> Result<(), JournalError> {
        self.send(Work::KeepProtocols(names)).await
    }

    /// Makes the writer check that its store is still in place; the writer ends if it is not.
    ///
    /// # Errors
    /// `Closed` if the writer has ended.
    pub async fn confirm(&self) -> Result<(), JournalError> {
        self.send(Work::Confirm).await
    }

    /// Waits until the writer reaches this request, which shows that it is still working.
    ///
    /// # Errors
    /// `Closed` if the writer has ended.
    pub async fn answers(&self) -> Result<(), JournalError> {
        let (reply, answer) = oneshot::channel();
        self.send(Work::Answer(reply)).await?;
        answer.await.map_err(|_| JournalError::Closed)
    }

    /// Follows a run: yields each entry with a `seq` of at least `from` once, in order, and new ones as they are
    /// committed.
    pub fn watch(&self, run_id: RunId, from: Seq) -> RunWatch {
        RunWatch::new(self.clone(), run_id, from)
    }

    /// Gives the caller a reader of its own, for a thread that may block. There are only a few, so use it for one
    /// long-running task.
    ///
    /// # Errors
    /// `Closed` if the journal is.
    pub async fn reader(&self) -> Result<Box<dyn Reader>, JournalError> {
        self.shared.readers.take().await
    }

    /// Subscribes to the journal's summary.
    pub fn changes(&self) -> watch::Receiver<Summary> {
        self.shared.summary.clone()
    }

    /// The current summary of the journal.
    pub fn summary(&self) -> Summary {
        *self.shared.summary.borrow()
    }

    /// The position of the last committed entry.
    pub fn position(&self) -> Position {
        self.summary().position
    }

    /// The number of runs by status.
    pub fn counts(&self) -> RunCounts {
        self.summary().counts
    }

    /// The tasks that wait in each queue now.
    ///
    /// # Errors
    /// `Closed` if the writer has stopped.
    pub async fn backlog(&self) -> Result<Vec<Backlog>, JournalError> {
        let (reply, backlog) = oneshot::channel();
        self.send(Work::Backlog { reply }).await?;
        backlog.await.map_err(|_| JournalError::Closed)
    }

    /// The runs that could not be replayed at startup, with the reason; without those that have been ended since.
    pub fn aside(&self) -> Arc<BTreeMap<RunId, String>> {
        self.shared.aside.borrow().clone()
    }

    /// The row of a run; `None` if there is no such run.
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

    /// Reserves a place among the watchers.
    ///
    /// # Errors
    /// `Busy` if all places are taken.
    pub(crate) fn permit_watch(&self) -> Result<OwnedSemaphorePermit, JournalError> {
        let busy = |_| JournalError::Busy { retry_after: RETRY_AFTER };
        self.shared.watching.clone().try_acquire_owned().map_err(busy)
    }

    async fn send(&self, work: Work) -> Result<(), JournalError> {
        let writer = self.shared.work.as_ref().ok_or(JournalError::Closed)?;
        writer.send(work).await.map_err(|_| JournalError::Closed)
    }
}
