//! Streams the entries and the progress of one run.

use std::collections::VecDeque;
use std::sync::Arc;

use gleitzeit_mesh::hub::Present;
use gleitzeit_proto::convert::{self, RunOptions};
use gleitzeit_proto::v1;
use gleitzeit_run as run;
use gleitzeit_run::{RunId, Seq};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use crate::api::batch::batches;
use crate::api::outlet::{Gone, Outlet};
use crate::api::{State, journal_status, run_id};
use crate::connection::Connection;
use crate::hub::Progress;
use crate::journal::RunWatch;

/// The most pieces of progress, of any run, that are taken in at once.
const PROGRESS_TOGETHER: usize = 1_024;
/// The most bytes of progress that are held for this run; what does not fit is dropped, as progress may be.
const PROGRESS_BYTES: usize = 256 * 1024;
/// The final run is sent without task results, and without the tasks that do not fit into this many bytes.
const FINAL_RUN_BYTES: usize = 3 * 1024 * 1024;

/// The reader resumes from the last `seq` that it has.
const STOPPED: &str = "the control plane is shutting down; watch again from the next seq";

impl State {
    pub(super) async fn watch(
        &self,
        request: v1::WatchRunRequest,
        connection: Option<Connection>,
    ) -> Result<<Self as v1::workflow_service_server::WorkflowService>::WatchRunStream, Status> {
        let id = run_id(&request.run_id)?;
        self.refuse_aside(id)?;
        let from = Seq(request.from_seq.max(1));
        let (so_far, progress) = match (request.include_progress, request.include_progress_so_far) {
            (false, _) => (Vec::new(), None),
            (true, false) => (Vec::new(), Some(self.0.hub.progress())),
            (true, true) => {
                let (so_far, progress) = self.0.hub.progress_so_far(id);
                (so_far, Some(progress))
            }
        };
        // Read after the progress so far was taken: the state then includes the dispatch of each attempt that has sent
        // progress.
        let run = self.find(id).await?;
        let held = so_far.into_iter().filter(|progress| is_open(&run, progress)).collect();
        let (outlet, stream) = self.0.outlets.open(connection)?;
        let (watch, state, behind) =
            (self.0.journal.watch(id, from), self.clone(), (run.seq >= from).then_some(run.seq));
        outlet.fill(self.0.stopping.clone(), STOPPED, move |outlet| async move {
            let quiet_until = outlet.quiet_until();
            Follow { state, id, watch, progress, held, behind, quiet_until, outlet }.follow().await;
        });
        Ok(Box::pin(stream))
    }

    /// The progress so far of a run's open attempts.
    pub(super) async fn progress(
        &self,
        request: v1::ReadProgressRequest,
        connection: Option<Connection>,
    ) -> Result<<Self as v1::workflow_service_server::WorkflowService>::ReadProgressStream, Status> {
        let id = run_id(&request.run_id)?;
        self.refuse_aside(id)?;
        let (mut said, _) = self.0.hub.progress_so_far(id);
        let run = self.find(id).await?;
        let is_wanted = |task: &str| request.task_ids.is_empty() || request.task_ids.iter().any(|id| id == task);
        said.retain(|progress| is_open(&run, progress) && is_wanted(progress.at.task_id.as_str()));
        let (outlet, stream) = self.0.outlets.open(connection)?;
        outlet.fill(self.0.stopping.clone(), STOPPED, move |outlet| async move {
            for events in batches(said.into_iter().map(|progress| progress_event(&progress))) {
                if outlet.send(v1::ReadProgressResponse { events }).await.is_err() {
                    return;
                }
            }
        });
        Ok(Box::pin(stream))
    }
}

/// Whether the attempt that sent this progress is open.
fn is_open(run: &run::State, progress: &Progress) -> bool {
    run.index_of(progress.at.task_id.as_str())
        .is_some_and(|at| run.tasks[at].open().is_some_and(|lease| lease.attempt == progress.at.attempt))
}

struct Follow {
    state: State,
    id: RunId,
    watch: RunWatch,
    progress: Option<broadcast::Receiver<Arc<Progress>>>,
    /// Progress that was received and not yet passed on, in order.
    held: Vec<Arc<Progress>>,
    /// Progress is held until the entry with this number was passed on: before that, it may come from attempts whose
    /// start the reader has not seen.
    behind: Option<Seq>,
    /// When a keepalive message is due.
    quiet_until: Instant,
    outlet: Arc<Outlet<v1::WatchRunResponse>>,
}

impl Follow {
    async fn follow(&mut self) {
        if self.pass_on(Vec::new()).await.is_err() {
            return;
        }
        loop {
            tokio::select! {
                biased;
                next = self.watch.next() => match next {
                    Ok(Some(entries)) => {
                        let last = entries.last().map(|entry| entry.seq);
                        self.behind = self.behind.filter(|seq| last.is_none_or(|last| last < *seq));
                        self.take_progress(None);
                        if self.pass_on(entries).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => {
                        self.behind = None;
                        self.take_progress(None);
                        if self.pass_on(Vec::new()).await.is_ok() {
                            self.finish().await;
                        }
                        return;
                    }
                    Err(error) => {
                        self.outlet.fail(journal_status(&error)).await;
                        return;
                    }
                },
                first = next_progress(&mut self.progress) => {
                    self.take_progress(first);
                    if self.pass_on(Vec::new()).await.is_err() {
                        return;
                    }
                }
                () = sleep_until(self.quiet_until) => {
                    self.outlet.send_keepalive(v1::WatchRunResponse::default());
                    self.quiet_until = self.outlet.quiet_until();
                }
            }
        }
    }

    /// Takes in the progress received since the last time, beginning with `first`.
    fn take_progress(&mut self, first: Option<Arc<Progress>>) {
        let mut room = PROGRESS_BYTES;
        if self.behind.is_some() {
            // Progress is then held beyond this call, so what is held already counts too.
            room = room.saturating_sub(self.held.iter().map(|progress| progress.data.size_bytes()).sum());
        }
        self.hold(first, &mut room);
        // Progress of other runs counts too: this loop must end even if components never stop sending.
        for _ in 0..PROGRESS_TOGETHER {
            let Some(progress) = &mut self.progress else { break };
            match progress.try_recv() {
                Ok(progress) => self.hold(Some(progress), &mut room),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
    }

    /// Keeps a piece of progress if it belongs to this run and there is room.
    fn hold(&mut self, progress: Option<Arc<Progress>>, room: &mut usize) {
        if let Some(progress) = progress.filter(|it| it.at.run_id == self.id && it.data.size_bytes() <= *room) {
            *room -= progress.data.size_bytes();
            self.held.push(progress);
        }
    }

    /// Passes on the entries, and the held progress if the reader has seen the start of its attempts.
    async fn pass_on(&mut self, entries: Vec<Arc<run::Entry>>) -> Result<(), Gone> {
        let mut held = std::mem::take(&mut self.held);
        let entries = entries.into_iter().map(|entry| convert::event(&entry));
        let events = in_order(entries, &mut held, self.behind.is_none());
        self.send_all(events).await?;
        self.held = held;
        Ok(())
    }

    /// Sends all events; each message is built only when there is room for it.
    async fn send_all(&mut self, events: impl Iterator<Item = v1::RunEvent>) -> Result<(), Gone> {
        let mut messages = batches(events);
        loop {
            let room = self.outlet.room().await?;
            let Some(events) = messages.next() else { return Ok(()) };
            room.fill(v1::WatchRunResponse { events, run: None });
            self.quiet_until = self.outlet.quiet_until();
        }
    }

    async fn finish(&self) {
        let last = self.state.find(self.id).await.map(|run| {
            // The run is final, so nothing waits.
            let present = Present::default();
            let options = RunOptions { present: &present, include_results: false, max_bytes: FINAL_RUN_BYTES };
            v1::WatchRunResponse { events: Vec::new(), run: Some(self.state.known_run(convert::run(&run, &options))) }
        });
        match last {
            // The reader may be gone.
            Ok(last) => drop(self.outlet.send(last).await),
            Err(why) => self.outlet.fail(why).await,
        }
    }
}

/// The next piece of progress; `None` if the receiver lagged or the channel was closed. Stays pending if no more can
/// come. Cancel-safe.
async fn next_progress(progress: &mut Option<broadcast::Receiver<Arc<Progress>>>) -> Option<Arc<Progress>> {
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

/// Orders entries and progress that arrived together: the progress of an attempt goes before its end. The rest follows
/// the entries if `is_due`, because those entries may start its attempt.
fn in_order(
    mut entries: impl Iterator<Item = v1::RunEvent>,
    said: &mut Vec<Arc<Progress>>,
    is_due: bool,
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
                        let of_it = |it: &mut Arc<Progress>| {
                            it.at.task_id.as_str() == entry.task_id && it.at.attempt == entry.attempt
                        };
                        ready.extend(said.extract_if(.., of_it).map(|progress| progress_event(&progress)));
                    }
                    ready.push_back(entry);
                }
                None if is_due => ready.extend(said.drain(..).map(|progress| progress_event(&progress))),
                None => {}
            }
        }
        ready.pop_front()
    })
}

fn progress_event(progress: &Progress) -> v1::RunEvent {
    v1::RunEvent {
        time: Some(convert::timestamp(progress.received_at)),
        r#type: "method_progress".to_owned(),
        task_id: progress.at.task_id.to_string(),
        attempt: progress.at.attempt,
        payload_json: Some(progress.data.get().to_owned()),
        ..v1::RunEvent::default()
    }
}

#[cfg(test)]
mod tests {
    use gleitzeit_run::AttemptRef;
    use gleitzeit_workflow::{Payload, TaskId, Timestamp};
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn progress_is_sent_after_the_start_and_before_the_end_of_its_attempt() {
        let event = |kind: &str, task: &str, attempt, seq| v1::RunEvent {
            r#type: kind.to_owned(),
            task_id: task.to_owned(),
            attempt,
            seq,
            ..v1::RunEvent::default()
        };
        let entries = || {
            [
                event("task_completed", "a", 1, 1),
                event("task_dispatched", "b", 2, 2),
                event("task_attempt_failed", "c", 1, 3),
                event("workflow_failed", "", 0, 4),
            ]
        };
        let piece = |(task, attempt): (&str, u32)| {
            let at = AttemptRef { run_id: RunId(Uuid::nil()), task_id: TaskId::from(task), attempt };
            Arc::new(Progress { at, received_at: Timestamp(7), data: Payload::from_value(&Value::Null) })
        };
        let said = || [("b", 2), ("a", 1), ("c", 2), ("a", 1), ("c", 1)].map(piece).to_vec();
        let told = |said: &mut Vec<Arc<Progress>>, is_due| {
            let told = in_order(entries().into_iter(), said, is_due);
            told.map(|it| format!("{}{}{}", it.task_id, it.attempt, it.seq)).collect::<Vec<_>>()
        };
        assert_eq!(told(&mut said(), true), ["a10", "a10", "a11", "b22", "c10", "c13", "04", "b20", "c20"]);
        let mut held = said();
        assert_eq!(told(&mut held, false), ["a10", "a10", "a11", "b22", "c10", "c13", "04"]);
        assert_eq!(held.len(), 2, "the rest is held until its attempts have begun");
    }
}
