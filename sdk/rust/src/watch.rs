//! Following a run. A broken stream is resumed where it broke; every event is delivered once and in order.

use std::collections::VecDeque;
use std::time::Instant;

use gleitzeit_proto::v1;
use tonic::Streaming;

use crate::call;
use crate::client::Client;
use crate::convert;
use crate::error::{Error, Result};
use crate::run::{Run, RunEvent};

/// The events of a run, one after the other.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    run_id: String,
    include_progress: bool,
    /// Asked for once: after a break it would come again.
    include_progress_so_far: bool,
    /// The `seq` of the next recorded event wanted.
    next_seq: u64,
    stream: Option<Streaming<v1::WatchRunResponse>>,
    /// Events that arrived together and were not taken yet: at most one message's.
    ready: VecDeque<RunEvent>,
    run: Option<Run>,
    /// Since when there is no stream, and how often that was tried to change since the last message.
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

    /// Also delivers what providers say while attempts run (`method_progress`); that is not recorded and may be lost.
    /// [`RunEvent::output`] reads what of it is output.
    #[must_use]
    pub fn with_progress(mut self) -> Self {
        self.include_progress = true;
        self
    }

    /// As [`Watch::with_progress`], and begins with what the open attempts have said so far, as far as it is kept: each
    /// attempt's after its begin, unless that lies before what is watched.
    #[must_use]
    pub fn with_progress_so_far(mut self) -> Self {
        self.include_progress_so_far = true;
        self.with_progress()
    }

    /// The next event, or `None` once the run is final and every event was delivered; then [`Watch::run`] has the run.
    ///
    /// While the control plane is away it goes on trying for the client's `patience`. Cancel-safe: a call that is
    /// dropped loses no event.
    ///
    /// # Errors
    /// If there is no such run, access is refused, or the control plane stays away. The next call tries again.
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
                    // Up to now it was there, even if it had nothing to say.
                    if let (Some(_), Some((since, _))) = (self.stream.take(), &mut self.trouble) {
                        *since = Instant::now();
                    }
                    self.pause(error).await?;
                }
            }
        }
    }

    /// The final run without task results, once [`Watch::next`] returned `None`.
    pub fn run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// Since when the control plane does not answer, while [`Watch::next`] goes on trying.
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

    /// Keeps what is new of a message.
    fn take(&mut self, message: v1::WatchRunResponse) -> Result<()> {
        for event in message.events {
            if event.seq == 0 || event.seq >= self.next_seq {
                self.ready.push_back(convert::event(event)?);
            }
        }
        self.run = message.run.map(convert::run).transpose()?;
        Ok(())
    }

    /// Waits before the next try, or gives up.
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
