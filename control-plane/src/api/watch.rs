//! Following a run.

use std::collections::VecDeque;
use std::sync::Arc;

use gleitzeit_core::hub::Present;
use gleitzeit_core::{RunId, Seq};
use gleitzeit_proto::convert::{self, RunOptions};
use gleitzeit_proto::v1;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tonic::Status;

use crate::api::batch::batches;
use crate::api::outlet::{Gone, Outlet};
use crate::api::{State, journal_status, run_id};
use crate::connection::Connection;
use crate::hub::Progress;
use crate::journal::RunWatch;

/// So much progress of whatever runs is taken in at once.
const PROGRESS_TOGETHER: usize = 1_024;
/// And of this run so many bytes; what does not fit is lost, as progress may be.
const PROGRESS_BYTES: usize = 256 * 1024;
/// The final run travels without task results, and without the tasks that do not fit.
const FINAL_RUN_BYTES: usize = 3 * 1024 * 1024;

/// Resumed by the reader from the last `seq` it has.
const STOPPED: &str = "the control plane is shutting down; watch again from the next seq";

impl State {
    pub(super) async fn watch(
        &self,
        request: v1::WatchRunRequest,
        connection: Option<Connection>,
    ) -> Result<<Self as v1::workflow_service_server::WorkflowService>::WatchRunStream, Status> {
        let id = run_id(&request.run_id)?;
        self.refuse_aside(id)?;
        self.find(id).await?;
        let (outlet, stream) = self.0.outlets.open(connection)?;
        let progress = request.include_progress.then(|| self.0.hub.progress());
        let watch = self.0.journal.watch(id, Seq(request.from_seq.max(1)));
        let state = self.clone();
        outlet.fill(self.0.stopping.clone(), STOPPED, move |outlet| async move {
            Follow { state, id, watch, progress, outlet }.follow().await;
        });
        Ok(Box::pin(stream))
    }
}

struct Follow {
    state: State,
    id: RunId,
    watch: RunWatch,
    progress: Option<broadcast::Receiver<Arc<Progress>>>,
    outlet: Arc<Outlet<v1::WatchRunResponse>>,
}

impl Follow {
    async fn follow(&mut self) {
        loop {
            tokio::select! {
                biased;
                next = self.watch.next() => match next {
                    Ok(Some(entries)) => {
                        let entries = entries.into_iter().map(|entry| convert::event(&entry));
                        let said = self.said();
                        if self.send_all(in_order(entries, said)).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => {
                        let said = self.said();
                        if self.send_all(said.into_iter()).await.is_ok() {
                            self.finish().await;
                        }
                        return;
                    }
                    Err(error) => {
                        self.outlet.fail(journal_status(&error)).await;
                        return;
                    }
                },
                first = heard(&mut self.progress) => {
                    let first = first.and_then(|progress| self.event(&progress));
                    let said = first.into_iter().chain(self.said());
                    if self.send_all(said).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// What was said and not passed on yet.
    fn said(&mut self) -> Vec<v1::RunEvent> {
        let (mut said, mut bytes) = (Vec::new(), 0);
        // Others' progress counts too: this must not go on for as long as somebody talks.
        for _ in 0..PROGRESS_TOGETHER {
            let Some(progress) = &mut self.progress else { break };
            match progress.try_recv() {
                Ok(progress) if progress.at.run_id == self.id => {
                    bytes += progress.data.size_bytes();
                    said.extend(self.event(&progress).filter(|_| bytes <= PROGRESS_BYTES));
                }
                Ok(_) => {}
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        said
    }

    /// If it is of this run.
    fn event(&self, progress: &Progress) -> Option<v1::RunEvent> {
        (progress.at.run_id == self.id).then(|| progress_event(progress))
    }

    /// Each message is made when there is room for it.
    async fn send_all(&self, events: impl Iterator<Item = v1::RunEvent>) -> Result<(), Gone> {
        let mut messages = batches(events);
        loop {
            let room = self.outlet.room().await?;
            let Some(events) = messages.next() else { return Ok(()) };
            room.fill(v1::WatchRunResponse { events, run: None });
        }
    }

    async fn finish(&self) {
        let last = self.state.find(self.id).await.map(|run| {
            // It is final: nothing waits.
            let present = Present::default();
            let options = RunOptions { present: &present, include_results: false, max_bytes: FINAL_RUN_BYTES };
            v1::WatchRunResponse { events: Vec::new(), run: Some(self.state.known_run(convert::run(&run, &options))) }
        });
        match last {
            // Nobody may read any more.
            Ok(last) => drop(self.outlet.send(last).await),
            Err(why) => self.outlet.fail(why).await,
        }
    }
}

/// The next piece of progress; none of what a slow reader missed. Stays pending if none can come. Cancel-safe.
async fn heard(progress: &mut Option<broadcast::Receiver<Arc<Progress>>>) -> Option<Arc<Progress>> {
    let Some(receiver) = progress else { return std::future::pending().await };
    match receiver.recv().await {
        Ok(progress) => Some(progress),
        Err(RecvError::Lagged(_)) => None,
        Err(RecvError::Closed) => {
            *progress = None;
            None
        }
    }
}

/// Entries and progress that arrived together: what an attempt said goes before its end, the rest after the entries, for
/// an attempt may begin with them.
fn in_order(
    mut entries: impl Iterator<Item = v1::RunEvent>,
    mut said: Vec<v1::RunEvent>,
) -> impl Iterator<Item = v1::RunEvent> {
    let mut ready = VecDeque::new();
    std::iter::from_fn(move || {
        if ready.is_empty() {
            match entries.next() {
                Some(entry) => {
                    if matches!(
                        entry.r#type.as_str(),
                        "task_completed" | "task_attempt_failed" | "task_attempt_stopped"
                    ) {
                        let of_it = |it: &mut v1::RunEvent| it.task_id == entry.task_id && it.attempt == entry.attempt;
                        ready.extend(said.extract_if(.., of_it));
                    }
                    ready.push_back(entry);
                }
                None => ready.extend(said.drain(..)),
            }
        }
        ready.pop_front()
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_attempt_says_stands_before_its_end_and_after_its_begin() {
        let event = |kind: &str, task: &str, attempt, seq| v1::RunEvent {
            r#type: kind.to_owned(),
            task_id: task.to_owned(),
            attempt,
            seq,
            ..v1::RunEvent::default()
        };
        let entries = [
            event("task_completed", "a", 1, 1),
            event("task_dispatched", "b", 2, 2),
            event("task_attempt_failed", "c", 1, 3),
            event("workflow_failed", "", 0, 4),
        ];
        let said = [("b", 2), ("a", 1), ("c", 2), ("a", 1), ("c", 1)].map(|(task, at)| event("said", task, at, 0));
        let told =
            in_order(entries.into_iter(), said.into()).map(|it| format!("{}{}{}", it.task_id, it.attempt, it.seq));
        assert_eq!(told.collect::<Vec<_>>(), ["a10", "a10", "a11", "b22", "c10", "c13", "04", "b20", "c20"]);
    }
}
