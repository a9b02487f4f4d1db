//! Reports where a run spent its time.

use gleitzeit_proto::convert;
use gleitzeit_proto::v1;
use gleitzeit_run::trace::{Recorder, Span};
use gleitzeit_run::{RunId, Seq};
use tonic::Status;

use crate::api::batch::batches;
use crate::api::outlet::{Gone, Outlet};
use crate::api::{State, journal_status, run_id};
use crate::connection::Connection;

/// How many entries are read at once.
const PAGE: usize = 1_000;
/// How many spans are collected before they are sent; each takes about 600 bytes.
const SPANS: usize = 1_000;

/// The stream ended before the trace was complete.
const STOPPED: &str = "the control plane is shutting down; ask again when it is back";

impl State {
    pub(super) async fn trace(
        &self,
        request: v1::TraceRunRequest,
        connection: Option<Connection>,
    ) -> Result<<Self as v1::workflow_service_server::WorkflowService>::TraceRunStream, Status> {
        let id = run_id(&request.run_id)?;
        self.find(id).await?;
        let (outlet, stream) = self.0.outlets.open(connection)?;
        let state = self.clone();
        outlet.fill(
            self.0.stopping.clone(),
            STOPPED,
            move |outlet| async move { state.stream_spans(id, &outlet).await },
        );
        Ok(Box::pin(stream))
    }

    async fn stream_spans(&self, id: RunId, outlet: &Outlet<v1::TraceRunResponse>) {
        let (mut recorder, mut next, mut spans, mut is_over) = (None, Seq(1), Vec::new(), false);
        loop {
            let entries = match self.0.journal.run_entries(id, next, PAGE.into()).await {
                Ok(entries) => entries,
                Err(error) => {
                    outlet.fail(journal_status(&error)).await;
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
            if spans.len() >= SPANS && send(outlet, &mut spans).await.is_err() {
                return;
            }
        }
        if let Some(recorder) = recorder.filter(|_| !is_over) {
            spans.extend(recorder.open());
        }
        send(outlet, &mut spans).await.ok();
    }
}

async fn send(outlet: &Outlet<v1::TraceRunResponse>, spans: &mut Vec<Span>) -> Result<(), Gone> {
    let told: Vec<_> = spans.drain(..).map(|span| convert::span(&span)).collect();
    for spans in batches(told.into_iter()) {
        outlet.send(v1::TraceRunResponse { spans }).await?;
    }
    Ok(())
}
