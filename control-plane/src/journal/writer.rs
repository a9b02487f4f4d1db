//! The writer: one thread that owns the ledger and the store. It takes the requests that are waiting, decides and
//! applies each of them, writes one transaction, and only then publishes and answers. A batch consists of what is
//! already waiting; nothing is delayed to fill it.

mod load;
mod prune;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use gleitzeit_mesh::hub::{self, Batch, Input};
use gleitzeit_mesh::wire::ProtocolDefinition;
use gleitzeit_run::ledger::Ledger;
use gleitzeit_run::{ApplyError, Event, History, Limits, Position, Request, RunId, State, Verdict};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use super::clock::{Clock, Clocks};
use super::feed::Feed;
use super::recent::Recent;
use super::{HubPort, Reader, RunCounts, Store, StoreError, Subscription, Summary, Work, ending, new_term, size};
use crate::metrics::Metrics;

/// A batch ends after this many entries,
const BATCH_ENTRIES: usize = 1_000;
/// after this many bytes of JSON,
const BATCH_BYTES: usize = 1024 * 1024;
/// or after this many requests, recorded or not, so that none of them waits long for the rest.
const BATCH_WORK: usize = 1_000;

/// The limits of the writer.
#[derive(Clone, Debug)]
pub struct WriterConfig {
    /// Limits on what may be recorded.
    pub limits: Limits,
    /// How many requests can wait in the channel; further senders wait.
    pub queue: usize,
    /// How many batches can wait for the hub; then the writer waits.
    pub hub_queue: usize,
    /// How many API callers can wait for verdicts; others get an error and may retry.
    pub waiting: usize,
    /// How many watchers of runs there can be; others get an error and may retry.
    pub watchers: usize,
    /// How many folded runs are cached for readers, besides the unfinished ones.
    pub recent_runs: usize,
    /// How many bytes of them are cached, roughly.
    pub recent_bytes: usize,
    /// How many bytes of entries of one unfinished run are replayed at startup. A run with more is set aside, so that
    /// it cannot keep the others from starting. In memory the entries take a few times as much.
    pub replay_bytes: usize,
    /// The sources of time.
    pub clocks: Clocks,
    /// Counts what is committed; `None` if metrics are disabled.
    pub(crate) metrics: Option<Metrics>,
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            queue: 4_096,
            hub_queue: 64,
            waiting: 1_024,
            watchers: 4_096,
            recent_runs: 256,
            recent_bytes: 32 * 1024 * 1024,
            replay_bytes: 2 * 1024 * 1024 * 1024,
            clocks: Clocks::system(),
            metrics: None,
        }
    }
}

/// Why the writer stopped. The process must stop too: only the store is still right, the state in memory may not be.
#[derive(Debug, Error)]
pub enum WriterError {
    /// A batch could not be written, or a request id not looked up.
    #[error("the journal could not be written")]
    Store(#[from] StoreError),
    /// A rule is wrong: what was decided could not be applied.
    #[error("a decision of the journal cannot be recorded")]
    Apply(#[from] ApplyError),
    /// The thread ended without reporting an error.
    #[error("the journal's thread ended unexpectedly")]
    Died,
}

/// A handle on the writer's thread.
#[derive(Debug)]
pub struct WriterHandle {
    work: mpsc::WeakSender<Work>,
    ended: oneshot::Receiver<Result<(), WriterError>>,
    has_ended: bool,
}

impl WriterHandle {
    /// Waits until the writer has ended: after `stop`, after all handles were dropped, or because it failed. The error
    /// is returned only once. Cancel-safe.
    ///
    /// # Errors
    /// Why the writer failed.
    pub async fn ended(&mut self) -> Result<(), WriterError> {
        if self.has_ended {
            return Ok(());
        }
        let ended = (&mut self.ended).await;
        self.has_ended = true;
        ended.unwrap_or(Err(WriterError::Died))
    }

    /// Makes the writer finish what is waiting and end. The hub's inputs must still be received, or their receiver
    /// dropped.
    ///
    /// # Errors
    /// Why the writer failed.
    pub async fn stop(mut self) -> Result<(), WriterError> {
        if let Some(work) = self.work.upgrade() {
            // If sending fails, the writer is ending already.
            let _ = work.send(Work::Stop).await;
        }
        self.ended().await
    }
}

/// A running writer.
pub(super) struct Started {
    pub(super) port: HubPort,
    pub(super) handle: WriterHandle,
    pub(super) clock: Clock,
    pub(super) summary: watch::Receiver<Summary>,
    pub(super) protocols: watch::Receiver<Arc<[ProtocolDefinition]>>,
    pub(super) aside: watch::Receiver<Arc<BTreeMap<RunId, String>>>,
}

/// Replays all unfinished runs and starts the thread.
pub(super) fn start(mut store: Box<dyn Store>, config: &WriterConfig) -> Result<Started, StoreError> {
    let reader = store.reader()?;
    let tail = store.tail();
    let ledger = load::ledger(reader.as_ref(), tail, config)?;
    load::report_set_aside(&ledger);
    let history = begin_term(store.as_mut())?;

    let (counts, pruned) = (reader.counts()?, store.pruned());
    let start = hub_start(&ledger, pruned, history);
    let clock = Clock::new(config.clocks.clone(), tail.recorded_at);
    let (work, received) = mpsc::channel(config.queue);
    let (hub, inputs) = mpsc::channel(config.hub_queue);
    let (summary, published_summary) =
        watch::channel(Summary { position: tail.position, recorded_at: tail.recorded_at, counts, pruned });
    let (aside, published_aside) = watch::channel(Arc::new(set_aside(&ledger)));
    let (protocols, published_protocols) = watch::channel(definitions(&ledger).into());
    let ended = spawn(Writer {
        clock: clock.clone(),
        recent: Recent::new(config.recent_runs, config.recent_bytes),
        ledger,
        store,
        reader,
        work: received,
        hub,
        counts,
        summary,
        protocols,
        aside,
        feed: Feed::default(),
        metrics: config.metrics.clone(),
        pending: Pending::default(),
    })?;
    Ok(Started {
        handle: WriterHandle { work: work.downgrade(), ended, has_ended: false },
        port: HubPort { work, inputs, start },
        clock,
        summary: published_summary,
        protocols: published_protocols,
        aside: published_aside,
    })
}

fn begin_term(store: &mut dyn Store) -> Result<History, StoreError> {
    let history = store.begin_term(new_term())?;
    if let Some(term) = history.current() {
        tracing::info!(term = term.number, id = %term.id, after = term.after.0, "a term of the journal begins");
    }
    Ok(history)
}

/// Starts the writer's thread; the receiver gets its result when it ends.
fn spawn(writer: Writer) -> Result<oneshot::Receiver<Result<(), WriterError>>, StoreError> {
    let (end, ended) = oneshot::channel();
    let serve = move || {
        let result = writer.serve();
        if let Err(error) = &result {
            tracing::error!(error = error as &dyn std::error::Error, "the journal cannot continue");
        }
        // If the handle was dropped, nobody needs the result.
        let _ = end.send(result);
    };
    std::thread::Builder::new().name("journal".to_owned()).spawn(serve).map_err(StoreError::Thread)?;
    Ok(ended)
}

fn set_aside(ledger: &Ledger) -> BTreeMap<RunId, String> {
    ledger.aside().map(|(run_id, aside)| (run_id, aside.why.clone())).collect()
}

fn hub_start(ledger: &Ledger, pruned: Position, history: History) -> hub::Start {
    hub::Start {
        owners: ledger.owners().map(|(slice, owner, epoch)| (slice.clone(), owner.clone(), epoch)).collect(),
        open: ledger.leases().collect(),
        queues: ledger.queues().cloned().collect(),
        protocols: definitions(ledger),
        position: ledger.position(),
        pruned,
        history,
        // The hub's shell fills it in.
        seed: [0; 32],
    }
}

fn definitions(ledger: &Ledger) -> Vec<ProtocolDefinition> {
    let protocols = ledger.protocols();
    protocols
        .map(|(name, version, methods)| ProtocolDefinition {
            name: name.to_owned(),
            version: version.to_owned(),
            methods: methods.clone(),
        })
        .collect()
}

/// What was decided but not yet written, and the callers that wait for it.
#[derive(Default)]
struct Pending {
    batch: Batch,
    bytes: usize,
    work: usize,
    replies: Vec<(oneshot::Sender<Verdict>, Verdict)>,
    reads: Vec<(RunId, oneshot::Sender<Option<Arc<State>>>)>,
    ends: Vec<(RunId, oneshot::Sender<Option<Arc<State>>>)>,
    watches: Vec<(RunId, oneshot::Sender<Option<Subscription>>)>,
}

impl Pending {
    fn is_full(&self) -> bool {
        self.batch.entries.len() >= BATCH_ENTRIES || self.bytes >= BATCH_BYTES || self.work >= BATCH_WORK
    }
}

/// What the thread owns. How it prunes stands in `prune`.
struct Writer {
    ledger: Ledger,
    store: Box<dyn Store>,
    reader: Box<dyn Reader>,
    clock: Clock,
    work: mpsc::Receiver<Work>,
    hub: mpsc::Sender<Input>,
    recent: Recent,
    counts: RunCounts,
    summary: watch::Sender<Summary>,
    protocols: watch::Sender<Arc<[ProtocolDefinition]>>,
    aside: watch::Sender<Arc<BTreeMap<RunId, String>>>,
    feed: Feed,
    metrics: Option<Metrics>,
    pending: Pending,
}

impl Writer {
    fn serve(mut self) -> Result<(), WriterError> {
        while let Some(work) = self.work.blocking_recv() {
            self.take(work)?;
            while !self.pending.is_full() {
                let Ok(work) = self.work.try_recv() else { break };
                self.take(work)?;
            }
            self.commit()?;
        }
        Ok(())
    }

    fn take(&mut self, work: Work) -> Result<(), WriterError> {
        self.pending.work += 1;
        match work {
            Work::Request { token, request } => {
                let verdict = self.decide(request)?;
                self.pending.batch.answers.push((token, verdict));
            }
            Work::Propose { request, reply } => {
                let verdict = self.decide(request)?;
                self.pending.replies.push((reply, verdict));
            }
            Work::Backlog { reply } => drop(reply.send(self.ledger.backlog(self.clock.now()))),
            Work::ReadRun { run_id, reply } => self.pending.reads.push((run_id, reply)),
            Work::AwaitEnd { run_id, reply } => self.pending.ends.push((run_id, reply)),
            Work::Watch { run_id, reply } => self.pending.watches.push((run_id, reply)),
            Work::QuerySlice { token, slice } => {
                self.commit()?;
                let state = self.ledger.slice_state(&slice, self.clock.now());
                self.send_to_hub(Input::SliceState { token, state });
            }
            Work::QueryEngine { token, engine } => {
                self.commit()?;
                let effects = self.ledger.outstanding(&engine, self.clock.now());
                self.send_to_hub(Input::EngineState { token, effects });
            }
            Work::EngineConnected { engine, slots } => self.ledger.engine_connected(engine, slots),
            Work::EngineGone { engine } => self.ledger.engine_gone(&engine),
            Work::Prune { older_than, reply } => {
                self.commit()?;
                let step = prune::unless_full(self.prune(older_than))?;
                // A caller that no longer waits loses only the answer.
                let _ = reply.send(step);
            }
            Work::PruneProtocols { unused, served, reply } => {
                let step = self.prune_protocols(unused, served)?;
                // As above.
                let _ = reply.send(step);
            }
            Work::KeepProtocols(names) => self.ledger.keep_protocols(names),
            Work::Confirm => self.store.confirm()?,
            // As above.
            Work::Answer(reply) => drop(reply.send(())),
            Work::Stop => self.work.close(),
        }
        Ok(())
    }

    fn decide(&mut self, mut request: Request) -> Result<Verdict, WriterError> {
        self.look_up(&mut request)?;
        let outcome = self.ledger.propose(&request, self.clock.now())?;
        for entry in outcome.entries {
            self.pending.bytes += size::of_event(&entry.event);
            self.pending.batch.entries.push(Arc::new(entry));
        }
        self.pending.batch.effects.extend(outcome.effects);
        Ok(outcome.verdict)
    }

    /// Looks up whether a request id belongs to a run that the ledger no longer holds.
    fn look_up(&self, request: &mut Request) -> Result<(), StoreError> {
        let (key, known) = match request {
            Request::Submit { submitted, known, .. } => (submitted.request.as_ref(), known),
            Request::Retry { request, known, .. } => (request.as_ref(), known),
            _ => return Ok(()),
        };
        if let (Some(key), None) = (key, &known) {
            *known = self.reader.find_request(&key.request_id)?;
        }
        Ok(())
    }

    /// Makes the decisions durable, then publishes and answers them.
    fn commit(&mut self) -> Result<(), WriterError> {
        let Pending { batch, replies, reads, ends, watches, .. } = std::mem::take(&mut self.pending);
        let batch = Arc::new(batch);
        let begun = Instant::now();
        if !batch.entries.is_empty() {
            self.store.append(&batch.entries)?;
            // Drops the prepared text if the store did not use it.
            for entry in &batch.entries {
                if let Event::WorkflowSubmitted(submitted) = &entry.event {
                    submitted.take_text();
                }
            }
        } else if !batch.answers.is_empty() || !replies.is_empty() {
            // A duplicate is acknowledged too, so the store must still be in place.
            self.store.confirm()?;
        }
        let took = begun.elapsed();
        if !batch.entries.is_empty() {
            self.publish(&batch);
        }
        if !batch.entries.is_empty() || !batch.answers.is_empty() {
            self.send_to_hub(Input::Committed(batch.clone()));
        }
        for (reply, verdict) in replies {
            // A caller that no longer waits loses only the answer.
            let _ = reply.send(verdict);
        }
        self.feed.publish(&batch.entries);
        if let Some(metrics) = self.metrics.as_ref().filter(|_| !batch.entries.is_empty()) {
            metrics.committed(&batch, &self.ledger, took);
        }
        for entry in batch.entries.iter().filter(|entry| ending(&entry.event).is_some()) {
            if let Some(state) = entry.run_id.and_then(|run_id| self.ledger.evict(run_id)) {
                let state = Arc::new(state);
                self.feed.publish_end(&state);
                self.recent.put(state);
            }
        }
        for (run_id, reply) in reads {
            // As above.
            let _ = reply.send(self.read(run_id));
        }
        for (run_id, reply) in ends {
            match self.ledger.run(run_id) {
                Some(_) => self.feed.await_end(run_id, reply),
                None => drop(reply.send(self.recent.get(run_id))),
            }
        }
        for (run_id, reply) in watches {
            let held = self.ledger.run(run_id).map(|state| state.seq);
            let _ = reply.send(held.map(|seq| self.feed.subscribe(run_id, seq)));
        }
        Ok(())
    }

    /// Publishes what can be read without asking the writer.
    fn publish(&mut self, batch: &Batch) {
        for entry in &batch.entries {
            self.counts.count(&entry.event);
        }
        self.summary.send_replace(Summary {
            position: self.ledger.position(),
            recorded_at: self.ledger.recorded_at(),
            counts: self.counts,
            pruned: self.store.pruned(),
        });
        if batch.entries.iter().any(|entry| matches!(&entry.event, Event::WorkflowCancelled(it) if it.set_aside)) {
            self.aside.send_replace(Arc::new(set_aside(&self.ledger)));
        }
        let is_of_protocols = |event: &Event| matches!(event, Event::ProtocolRegistered(_) | Event::ProtocolRemoved(_));
        if batch.entries.iter().any(|entry| is_of_protocols(&entry.event)) {
            self.protocols.send_replace(definitions(&self.ledger).into());
        }
    }

    fn send_to_hub(&self, input: Input) {
        // There is no hub during shutdown.
        let _ = self.hub.blocking_send(input);
    }

    /// A run that the writer holds. Must be called when nothing is pending, so that all of it is committed.
    fn read(&mut self, run_id: RunId) -> Option<Arc<State>> {
        let kept = self.recent.get(run_id);
        let Some(held) = self.ledger.run(run_id) else { return kept };
        if let Some(kept) = kept.filter(|kept| kept.seq == held.seq) {
            return Some(kept);
        }
        let copy = Arc::new(held.clone());
        self.recent.put(copy.clone());
        Some(copy)
    }
}

#[cfg(test)]
mod tests;
