//! Telling where a run's time went.

use gleitzeit_core::trace::{Recorder, Span};
use gleitzeit_core::{RunId, Seq};
use gleitzeit_proto::convert;
use gleitzeit_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::api::batch::batches;
use crate::api::{State, journal_status, run_id};

/// Messages that may wait for a slow reader; then it delays itself.
const BUFFERED: usize = 2;
/// So many entries are read at once.
const PAGE: usize = 1_000;
/// So many spans are gathered, of about 600 bytes each.
const SPANS: usize = 1_000;

type Messages = mpsc::Sender<Result<v1::TraceRunResponse, Status>>;

impl State {
    pub(super) async fn trace(
        &self,
        request: v1::TraceRunRequest,
    ) -> Result<<Self as v1::workflow_service_server::WorkflowService>::TraceRunStream, Status> {
        let id = run_id(&request.run_id)?;
        self.find(id).await?;
        let (messages, stream) = mpsc::channel(BUFFERED);
        let state = self.clone();
        // Ends with the run's entries, with the reader (its channel closes) or with the server (`stopping`).
        tokio::spawn(async move {
            tokio::select! {
                () = state.tell(id, &messages) => {}
                () = messages.closed() => {}
                () = state.0.stopping.cancelled() => {
                    // What was told is not all.
                    let why = "the control plane is shutting down; ask again when it is back";
                    messages.try_send(Err(Status::unavailable(why))).ok();
                }
            }
        });
        Ok(Box::pin(ReceiverStream::new(stream)))
    }

    async fn tell(&self, id: RunId, messages: &Messages) {
        let (mut recorder, mut next, mut spans, mut is_over) = (None, Seq(1), Vec::new(), false);
        loop {
            let entries = match self.0.journal.run_entries(id, next, PAGE).await {
                Ok(entries) => entries,
                Err(error) => {
                    messages.send(Err(journal_status(&error))).await.ok();
                    return;
                }
            };
            let Some(last) = entries.last() else { break };
            next = last.seq.next();
            for entry in &entries {
                match &mut recorder {
                    None => recorder = Recorder::begin(entry),
                    Some(recorder) => recorder.record(entry, &mut spans),
                }
            }
            is_over = spans.last().is_some_and(Span::is_of_run);
            if spans.len() >= SPANS && send(messages, &mut spans).await.is_err() {
                return;
            }
        }
        if let Some(recorder) = recorder.filter(|_| !is_over) {
            spans.extend(recorder.open());
        }
        send(messages, &mut spans).await.ok();
    }
}

async fn send(messages: &Messages, spans: &mut Vec<Span>) -> Result<(), ()> {
    let told: Vec<_> = spans.drain(..).map(|span| convert::span(&span)).collect();
    for spans in batches(told.into_iter()) {
        messages.send(Ok(v1::TraceRunResponse { spans })).await.map_err(drop)?;
    }
    Ok(())
}
