//! Following a run.

use std::sync::Arc;

use gleitzeit_core::hub::Present;
use gleitzeit_core::{RunId, Seq};
use gleitzeit_proto::convert::{self, RunOptions};
use gleitzeit_proto::v1;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::api::{State, journal_status, run_id};
use crate::hub::Progress;
use crate::journal::RunWatch;

/// Messages that may wait for a slow reader; then it delays itself.
const BUFFERED: usize = 4;
/// No message is filled beyond this.
const MESSAGE_BYTES: usize = 1024 * 1024;
/// The final run travels without task results, and without the tasks that do not fit.
const FINAL_RUN_BYTES: usize = 3 * 1024 * 1024;

type Messages = mpsc::Sender<Result<v1::WatchRunResponse, Status>>;

impl State {
    pub(super) async fn watch(
        &self,
        request: v1::WatchRunRequest,
    ) -> Result<<Self as v1::workflow_service_server::WorkflowService>::WatchRunStream, Status> {
        let id = run_id(&request.run_id)?;
        self.find(id).await?;
        let progress = request.include_progress.then(|| self.0.hub.progress());
        let watch = self.0.journal.watch(id, Seq(request.from_seq.max(1)));
        let (messages, stream) = mpsc::channel(BUFFERED);
        let follow = Follow { state: self.clone(), id, watch, progress, messages };
        // Ends with the run, with the reader (its channel closes) or with the server (`stopping`).
        tokio::spawn(follow.run());
        Ok(Box::pin(ReceiverStream::new(stream)))
    }
}

struct Follow {
    state: State,
    id: RunId,
    watch: RunWatch,
    progress: Option<broadcast::Receiver<Arc<Progress>>>,
    messages: Messages,
}

impl Follow {
    async fn run(mut self) {
        let stopping = self.state.0.stopping.clone();
        let messages = self.messages.clone();
        tokio::select! {
            () = self.follow() => {}
            () = messages.closed() => {}
            () = stopping.cancelled() => {
                // Resumed by the reader from the last `seq` it has.
                messages.try_send(Err(Status::unavailable("the control plane is shutting down; watch again from the next seq"))).ok();
            }
        }
    }

    async fn follow(&mut self) {
        loop {
            let next = match &mut self.progress {
                None => self.watch.next().await,
                Some(progress) => tokio::select! {
                    biased;
                    next = self.watch.next() => next,
                    said = progress.recv() => {
                        match said {
                            Ok(said) if said.at.run_id == self.id => {
                                if self.send(vec![progress_event(&said)]).await.is_err() {
                                    return;
                                }
                            }
                            Ok(_) | Err(RecvError::Lagged(_)) => {}
                            Err(RecvError::Closed) => self.progress = None,
                        }
                        continue;
                    }
                },
            };
            match next {
                Ok(Some(entries)) => {
                    if self.send_all(entries.iter().map(|entry| convert::event(entry))).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return self.finish().await,
                Err(error) => {
                    self.messages.send(Err(journal_status(&error))).await.ok();
                    return;
                }
            }
        }
    }

    async fn send_all(&self, events: impl Iterator<Item = v1::RunEvent>) -> Result<(), ()> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for event in events {
            let size = prost::Message::encoded_len(&event);
            if bytes > 0 && bytes + size > MESSAGE_BYTES {
                self.send(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
            bytes += size;
            batch.push(event);
        }
        if batch.is_empty() { Ok(()) } else { self.send(batch).await }
    }

    async fn send(&self, events: Vec<v1::RunEvent>) -> Result<(), ()> {
        self.messages.send(Ok(v1::WatchRunResponse { events, run: None })).await.map_err(drop)
    }

    async fn finish(&self) {
        let last = self.state.find(self.id).await.map(|run| {
            // It is final: nothing waits.
            let present = Present::default();
            let options = RunOptions { present: &present, include_results: false, max_bytes: FINAL_RUN_BYTES };
            v1::WatchRunResponse { events: Vec::new(), run: Some(convert::run(&run, &options)) }
        });
        self.messages.send(last).await.ok();
    }
}

fn progress_event(progress: &Progress) -> v1::RunEvent {
    v1::RunEvent {
        r#type: "method_progress".to_owned(),
        task_id: progress.at.task_id.to_string(),
        attempt: progress.at.attempt,
        payload_json: Some(progress.data.get().to_owned()),
        ..v1::RunEvent::default()
    }
}
