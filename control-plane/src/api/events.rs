//! Streams every journal entry to a watcher.

use gleitzeit_proto::convert;
use gleitzeit_proto::v1;
use gleitzeit_run::{Entry, Position};
use tokio::time::sleep_until;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::api::batch::batches;
use crate::api::outlet::Outlet;
use crate::api::{State, journal_status};
use crate::connection::Connection;
use crate::journal::{JournalError, ReadLimit};

/// How much is read from the journal at once: about one message.
const PAGE: ReadLimit = ReadLimit { entries: 1_000, bytes: 128 * 1024 };

const STOPPED: &str = "the control plane is shutting down; watch again from the next position";

impl State {
    pub(super) fn watch_all(
        &self,
        request: v1::WatchEventsRequest,
        connection: Option<Connection>,
    ) -> Result<ReceiverStream<Result<v1::WatchEventsResponse, Status>>, Status> {
        let permit = self.0.journal.permit_watch().map_err(|error| journal_status(&error))?;
        let (outlet, stream) = self.0.outlets.open(connection)?;
        let from = match request.from_position {
            0 => self.0.journal.position().next(),
            position => Position(position),
        };
        let state = self.clone();
        outlet.fill(self.0.stopping.clone(), STOPPED, |outlet| async move {
            let _permit = permit;
            if let Err(error) = state.stream_entries(from, &outlet).await {
                outlet.fail(journal_status(&error)).await;
            }
        });
        Ok(stream)
    }

    /// Streams entries from `next` on until the reader is gone.
    async fn stream_entries(
        &self,
        mut next: Position,
        outlet: &Outlet<v1::WatchEventsResponse>,
    ) -> Result<(), JournalError> {
        let mut changes = self.0.journal.changes();
        loop {
            let there = loop {
                let quiet_until = outlet.quiet_until();
                tokio::select! {
                    there = changes.wait_for(|summary| summary.position >= next) => {
                        break there.map_err(|_| JournalError::Closed)?.position;
                    }
                    () = sleep_until(quiet_until) => outlet.send_keepalive(v1::WatchEventsResponse::default()),
                }
            };
            // Nothing is read from the journal until the reader has taken the previous message.
            if outlet.room().await.is_err() {
                return Ok(());
            }
            let entries = self.0.journal.follow(next, PAGE).await?;
            let Some(last) = entries.last() else {
                // Every entry up to there was removed.
                next = there.next();
                continue;
            };
            next = last.position.next();
            let mut messages = batches(entries.into_iter().map(|entry| recorded(&entry)));
            loop {
                let Ok(room) = outlet.room().await else { return Ok(()) };
                let Some(events) = messages.next() else { break };
                room.fill(v1::WatchEventsResponse { events });
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
