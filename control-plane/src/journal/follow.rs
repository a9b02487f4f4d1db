//! Following a run, on the reader's side: from the store what was missed, then from the writer what it commits.

use std::sync::Arc;

use gleitzeit_run::{Entry, RunId, Seq};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::feed::{Entries, Live, PAGE, Subscription};
use super::{Journal, JournalError, Work, ending};

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
