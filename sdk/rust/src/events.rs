//! Follows the recorded events of all runs.

use std::collections::VecDeque;

use gleitzeit_proto::v1;
use tonic::Streaming;

use crate::convert;
use crate::error::{Error, Result};
use crate::run::RunEvent;

/// An event with its position in the journal of all runs.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedEvent {
    /// The position in the whole journal, from 1; positions of removed runs are left out.
    pub position: u64,
    /// The run that the event belongs to; `None` if it belongs to none.
    pub run_id: Option<String>,
    /// What happened.
    pub event: RunEvent,
}

/// A stream of the events of all runs, in order.
#[derive(Debug)]
pub struct Events {
    stream: Streaming<v1::WatchEventsResponse>,
    ready: VecDeque<v1::RecordedEvent>,
}

impl Events {
    pub(crate) fn new(stream: Streaming<v1::WatchEventsResponse>) -> Self {
        Self { stream, ready: VecDeque::new() }
    }

    /// The next event; waits until there is one. Cancel-safe.
    ///
    /// # Errors
    /// If the stream breaks. It is over then; [`crate::Client::events`] continues after the last position.
    pub async fn next(&mut self) -> Result<RecordedEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                let inner = event.event.ok_or_else(|| Error::answer("a recorded event is empty"))?;
                let run_id = convert::filled(event.run_id);
                return Ok(RecordedEvent { position: event.position, run_id, event: convert::event(inner)? });
            }
            let message = self.stream.message().await?.ok_or_else(Error::broken_stream)?;
            self.ready.extend(message.events);
        }
    }
}
