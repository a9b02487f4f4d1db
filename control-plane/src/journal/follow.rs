//! Following a run, on the reader's side: from the store what was missed, then from the writer what it commits.

use std::sync::Arc;

use gleitzeit_run::{Entry, RunId, Seq};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::feed::{Entries, Live, PAGE, Subscription};
use super::{Journal, JournalError, Work, ending};

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
