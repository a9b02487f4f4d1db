//! Follows a run. A broken stream resumes where it broke off; every event is delivered once and in order.

use std::collections::VecDeque;
use std::time::Instant;

use gleitzeit_proto::v1;
use tonic::Streaming;

use crate::call;
use crate::client::Client;
use crate::convert;
use crate::error::{Error, Result};
use crate::run::{Run, RunEvent};

/// A stream of the events of a run.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    run_id: String,
    include_progress: bool,
    /// Requested only once: after a reconnect the same events would come again.
    include_progress_so_far: bool,
    /// The `seq` of the next recorded event to deliver.
    next_seq: u64,
    stream: Option<Streaming<v1::WatchRunResponse>>,
    /// Events that arrived together and were not delivered yet: those of one message at most.
    ready: VecDeque<RunEvent>,
    run: Option<Run>,
    /// While there is no stream: since when, and the number of tries since the last message.
    trouble: Option<(Instant, u32)>,
}

impl Client {
    /// Follows a run: every recorded event once, from `from_seq` on; 0: from the beginning. Nothing is sent before the
    /// first [`Watch::next`].
    pub fn watch(&self, run_id: &str, from_seq: u64) -> Watch {
        Watch::new(self.clone(), run_id, from_seq)
    }
}

impl Watch {
    pub(crate) fn new(client: Client, run_id: &str, from_seq: u64) -> Self {
        Self {
            client,
            run_id: run_id.to_owned(),
            include_progress: false,
            include_progress_so_far: false,
            next_seq: from_seq.max(1),
            stream: None,
            ready: VecDeque::new(),
            run: None,
            trouble: None,
        }
    }

    /// Also delivers the progress that providers report while attempts run (`method_progress`). Progress is not
    /// recorded and may be lost. [`RunEvent::output`] extracts the output from an event.
    #[must_use]
    pub fn with_progress(mut self) -> Self {
        self.include_progress = true;
        self
    }

    /// Like [`Watch::with_progress`], and starts with the progress that the open attempts have reported so far, as far
    /// as it is kept. The progress of an attempt comes after the event that begins it, unless that event lies before
    /// `from_seq`.
    #[must_use]
    pub fn with_progress_so_far(mut self) -> Self {
        self.include_progress_so_far = true;
        self.with_progress()
    }

    /// The next event, or `None` once the run is final and every event was delivered; [`Watch::run`] then returns the
    /// run.
    ///
    /// While the control plane is unreachable, this keeps trying for the client's `patience`. Cancel-safe: dropping the future
    /// loses no event.
    ///
    /// # Errors
    /// If there is no such run, access is refused, or the control plane remains unreachable. The next call tries again.
    pub async fn next(&mut self) -> Result<Option<RunEvent>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                if event.seq > 0 {
                    self.next_seq = event.seq + 1;
                }
                return Ok(Some(event));
            }
            if self.run.is_some() {
                return Ok(None);
            }
            match self.receive().await {
                Ok(message) => {
                    self.trouble = None;
                    self.take(message)?;
                }
                Err(error) => {
                    // The control plane was there until now, even if it had nothing to send.
                    if let (Some(_), Some((since, _))) = (self.stream.take(), &mut self.trouble) {
                        *since = Instant::now();
                    }
                    self.pause(error).await?;
                }
            }
        }
    }

    /// The final run without task results, once [`Watch::next`] has returned `None`.
    pub fn run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// Since when the control plane has not answered, while [`Watch::next`] keeps trying.
    pub fn away_since(&self) -> Option<Instant> {
        self.trouble.filter(|(_, tries)| *tries > 0).map(|(since, _)| since)
    }

    async fn receive(&mut self) -> Result<v1::WatchRunResponse> {
        if self.stream.is_none() {
            let request = v1::WatchRunRequest {
                run_id: self.run_id.clone(),
                from_seq: self.next_seq,
                include_progress: self.include_progress,
                include_progress_so_far: self.include_progress_so_far,
            };
            self.stream = Some(self.client.open_watch(request).await?);
        }
        let stream = self.stream.as_mut().ok_or_else(Error::broken_stream)?;
        let message = stream.message().await?.ok_or_else(Error::broken_stream)?;
        self.include_progress_so_far = false;
        Ok(message)
    }

    /// Keeps the new events of a message.
    fn take(&mut self, message: v1::WatchRunResponse) -> Result<()> {
        for event in message.events {
            if event.seq == 0 || event.seq >= self.next_seq {
                self.ready.push_back(convert::event(event)?);
            }
        }
        self.run = message.run.map(convert::run).transpose()?;
        Ok(())
    }

    /// Waits before the next try, or returns the error if a further try is pointless or the patience is exhausted.
    async fn pause(&mut self, error: Error) -> Result<()> {
        let (since, tries) = *self.trouble.get_or_insert_with(|| (Instant::now(), 0));
        if !call::worth_repeating(&error) {
            self.trouble = None;
            return Err(error);
        }
        if since.elapsed() > self.client.config().patience {
            self.trouble = None;
            return Err(error.away(&self.client.config().url, since.elapsed()));
        }
        self.trouble = Some((since, tries + 1));
        tokio::time::sleep(call::delay(tries, &error)).await;
        Ok(())
    }
}
