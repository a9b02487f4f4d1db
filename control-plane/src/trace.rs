//! Exports the trace of every run once it has ended. Traces are derived from the journal, so a restarted control plane
//! continues where it stopped, and a receiver that is away misses nothing as long as the journal keeps the runs.

mod cursor;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gleitzeit_run::trace::{Recorder, Span, TraceId};
use gleitzeit_run::{RunId, Seq};
use gleitzeit_workflow::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::journal::{Journal, JournalError, Reader, StoreError, Summary};
use crate::platform;

pub(crate) use cursor::Cursor;

/// Runs that end within this time are exported together.
const LINGER: Duration = Duration::from_millis(100);
/// How many ended runs are looked up at once.
const RUNS: usize = 500;
/// How many entries of a run are read at once.
const PAGE: usize = 1_000;
/// How many spans are sent together.
const SPANS: usize = 512;
/// The first pause after the receiver has refused; doubled each time up to `MAX_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// How far before the start the export goes back at most, in milliseconds.
const LOOK_BACK_MS: u64 = 3_600_000;
/// Spans that the receiver refuses for this long are skipped, since it may accept others.
const GIVE_UP: Duration = Duration::from_secs(3_600);

/// Receives spans.
#[async_trait]
pub trait SpanSink: Send + Sync {
    /// Whether to export a trace. `is_sampled` is the caller's choice; `None` if it made none.
    fn wants(&self, trace_id: TraceId, is_sampled: Option<bool>) -> bool;

    /// Exports spans.
    ///
    /// # Errors
    /// If they did not arrive, with a message for people. The same spans are then exported again.
    async fn export(&self, spans: Vec<Span>) -> Result<(), String>;
}

/// The thread that exports traces.
#[derive(Debug)]
pub(crate) struct Exporter {
    thread: std::thread::JoinHandle<()>,
}

impl Exporter {
    /// Starts the thread. It ends once everything that ended before `stop` is exported, or `grace` after `stop`.
    pub(crate) async fn start(
        journal: Journal,
        mut cursor: Cursor,
        sink: Arc<dyn SpanSink>,
        stop: CancellationToken,
        grace: Duration,
    ) -> Result<Self, JournalError> {
        let reader = journal.reader().await?;
        let mut changes = journal.changes();
        drop(journal);
        // Read here and not in the thread, which may first run long after the first run has ended.
        let now = changes.borrow_and_update().recorded_at;
        cursor.begin(now, now.minus_ms(LOOK_BACK_MS));
        let work = move || {
            // Exporting must not slow down runs.
            if let Err(error) = platform::yield_to_others() {
                tracing::debug!(%error, "the priority of the export of traces cannot be lowered");
            }
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            let stop = stop.child_token();
            let mut follower = Follower { reader, cursor, sink, stop, at_cursor: HashSet::new(), is_refused: false };
            runtime.block_on(follower.follow(changes, grace));
        };
        let thread = std::thread::Builder::new().name("traces".to_owned()).spawn(work);
        thread.map(|thread| Self { thread }).map_err(|error| StoreError::Thread(error).into())
    }

    /// Waits until the thread has ended.
    pub(crate) async fn ended(self) {
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the export of traces ended with a panic");
        }
    }
}

struct Follower {
    reader: Box<dyn Reader>,
    cursor: Cursor,
    sink: Arc<dyn SpanSink>,
    stop: CancellationToken,
    /// The exported runs that ended exactly at the cursor's time.
    at_cursor: HashSet<RunId>,
    is_refused: bool,
}

impl Follower {
    async fn follow(&mut self, mut changes: watch::Receiver<Summary>, grace: Duration) {
        let stop = self.stop.clone();
        let too_late = async {
            stop.cancelled().await;
            sleep(grace).await;
        };
        // An export in progress when the stop comes is awaited: if it were repeated, its spans would arrive twice.
        let until_stopped = async {
            loop {
                let is_last = stop.is_cancelled();
                self.export_all().await;
                if is_last {
                    return;
                }
                tokio::select! {
                    changed = changes.changed() => {
                        if changed.is_err() {
                            stop.cancel();
                        }
                    }
                    () = stop.cancelled() => {}
                }
                stop.run_until_cancelled(sleep(LINGER)).await;
                changes.mark_unchanged();
            }
        };
        tokio::select! {
            () = until_stopped => {}
            // The rest is exported after the next start.
            () = too_late => tracing::warn!("some traces are not exported: the receiver does not accept them"),
        }
    }

    /// Exports all ended runs that are not exported yet.
    async fn export_all(&mut self) {
        loop {
            let limit = RUNS + self.at_cursor.len();
            let ended = match self.reader.ended_since(self.cursor.at(), limit) {
                Ok(ended) => ended,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot read which runs have ended");
                    return;
                }
            };
            let new: Vec<_> = ended.into_iter().filter(|(run_id, _)| !self.at_cursor.contains(run_id)).collect();
            let Some(&(_, last)) = new.last() else { return };
            let mut spans = Vec::new();
            for (run_id, _) in &new {
                if let Err(error) = self.export_run(*run_id, &mut spans).await {
                    // A run that cannot be read must not hold up the others.
                    tracing::warn!(%run_id, error = &error as &dyn std::error::Error, "its trace cannot be read");
                }
            }
            self.send(&mut spans).await;
            self.passed(&new, last);
        }
    }

    fn passed(&mut self, runs: &[(RunId, Timestamp)], last: Timestamp) {
        if last != self.cursor.at() {
            self.at_cursor.clear();
        }
        self.at_cursor.extend(runs.iter().filter(|(_, at)| *at == last).map(|(run_id, _)| *run_id));
        self.cursor.advance(last);
    }

    /// Adds the spans of a run, and sends them when there are enough for a batch.
    async fn export_run(&mut self, run_id: RunId, spans: &mut Vec<Span>) -> Result<(), StoreError> {
        let (mut recorder, mut next) = (None::<Recorder>, Seq(1));
        loop {
            let entries = self.reader.read_run(run_id, next, PAGE.into())?;
            let Some(last) = entries.last() else { return Ok(()) };
            next = last.seq.next();
            for entry in &entries {
                match &mut recorder {
                    Some(recorder) => recorder.record(entry, spans),
                    None => recorder = Recorder::begin(entry),
                }
            }
            let Some(recorder) = &recorder else { return Ok(()) };
            if !self.sink.wants(recorder.trace_id(), recorder.is_sampled()) {
                spans.retain(|span| span.trace_id != recorder.trace_id());
                return Ok(());
            }
            if spans.len() >= SPANS {
                self.send(spans).await;
            }
            if entries.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// Sends all spans, retrying until the receiver takes them.
    async fn send(&mut self, spans: &mut Vec<Span>) {
        while !spans.is_empty() {
            let some: Vec<Span> = spans.drain(..spans.len().min(SPANS)).collect();
            let mut pause = FIRST_PAUSE;
            let begun = Instant::now();
            while let Err(why) = self.sink.export(some.clone()).await {
                if begun.elapsed() > GIVE_UP {
                    tracing::warn!(why, spans = some.len(), "spans are skipped: the receiver did not accept them");
                    break;
                }
                if !std::mem::replace(&mut self.is_refused, true) {
                    tracing::warn!(why, "traces cannot be exported, trying again; the journal keeps them");
                }
                self.rest(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
            if std::mem::replace(&mut self.is_refused, false) {
                tracing::info!("traces are exported again");
            }
        }
    }

    /// Waits before the next try. If it is stopped during the wait, the next try happens at once.
    async fn rest(&self, pause: Duration) {
        if self.stop.is_cancelled() {
            sleep(pause).await;
        } else {
            self.stop.run_until_cancelled(sleep(pause)).await;
        }
    }
}

#[cfg(test)]
mod tests;
