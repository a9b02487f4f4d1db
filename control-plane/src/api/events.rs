//! Following all that is recorded.

use gleitzeit_core::Position;
use gleitzeit_core::run::Entry;
use gleitzeit_proto::convert;
use gleitzeit_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::api::batch::batches;
use crate::api::{State, journal_status};
use crate::journal::JournalError;

/// Messages that may wait for a slow reader, besides the one that is being sent; then it delays itself.
const BUFFERED: usize = 1;
/// So many entries are read at once.
const PAGE: usize = 1_000;

type Messages = mpsc::Sender<Result<v1::WatchEventsResponse, Status>>;

impl State {
    pub(super) fn watch_all(
        &self,
        request: v1::WatchEventsRequest,
    ) -> Result<ReceiverStream<Result<v1::WatchEventsResponse, Status>>, Status> {
        let permit = self.0.journal.permit_watch().map_err(|error| journal_status(&error))?;
        let from = match request.from_position {
            0 => self.0.journal.position().next(),
            position => Position(position),
        };
        let (messages, stream) = mpsc::channel(BUFFERED);
        let state = self.clone();
        // Ends with the reader (its channel closes) or with the server (`stopping`).
        tokio::spawn(async move {
            let _permit = permit;
            tokio::select! {
                told = state.tell_all(from, &messages) => if let Err(error) = told {
                    messages.send(Err(journal_status(&error))).await.ok();
                },
                () = messages.closed() => {}
                () = state.0.stopping.cancelled() => {
                    let why = "the control plane is shutting down; watch again from the next position";
                    messages.try_send(Err(Status::unavailable(why))).ok();
                }
            }
        });
        Ok(ReceiverStream::new(stream))
    }

    /// Until nobody reads any more.
    async fn tell_all(&self, mut next: Position, messages: &Messages) -> Result<(), JournalError> {
        let mut changes = self.0.journal.changes();
        loop {
            let there = changes.wait_for(|summary| summary.position >= next).await;
            let there = there.map_err(|_| JournalError::Closed)?.position;
            let entries = self.0.journal.entries(next, PAGE).await?;
            let Some(last) = entries.last() else {
                // All up to there was removed.
                next = there.next();
                continue;
            };
            next = last.position.next();
            let events: Vec<_> = entries.iter().map(|entry| recorded(entry)).collect();
            for events in batches(events.into_iter()) {
                if messages.send(Ok(v1::WatchEventsResponse { events })).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

fn recorded(entry: &Entry) -> v1::RecordedEvent {
    v1::RecordedEvent {
        position: entry.position.0,
        run_id: entry.run_id.map(|run_id| run_id.to_string()).unwrap_or_default(),
        event: Some(convert::event(entry)),
    }
}
