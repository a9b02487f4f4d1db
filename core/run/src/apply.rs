//! Applying events: each event changes only its own task, the task's neighbours in the graph and the run's counters.

use gleitzeit_workflow::id::TaskId;
use gleitzeit_workflow::time::Timestamp;
use thiserror::Error;

use crate::dependencies::Became;
use crate::event::{Entry, Event, TaskAttemptFailed, TaskAttemptStopped, TaskCompleted, TaskDispatched, TaskReady};
use crate::id::{Attempt, Position, Seq};
use crate::instance::{Entered, Instance, Stop};
use crate::phase::{Lease, Outcome};
use crate::state::{RunStatus, State};

/// Why an entry cannot follow what was recorded before: the journal is corrupt.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// An entry of a run is missing or occurs twice.
    #[error("expected entry {expected} of run {run}, found {found} (`{kind}`)")]
    Sequence {
        /// The run.
        run: crate::id::RunId,
        /// The sequence number that should have come next.
        expected: Seq,
        /// The sequence number that was found.
        found: Seq,
        /// The kind of the entry's event.
        kind: &'static str,
    },
    /// An entry names a task that its run does not have.
    #[error("entry {position} (`{kind}`) names unknown task `{task}`")]
    UnknownTask {
        /// The entry's position in the journal.
        position: Position,
        /// The kind of the entry's event.
        kind: &'static str,
        /// The unknown task.
        task: TaskId,
    },
    /// An entry contradicts the state.
    #[error("entry {position} (`{kind}`) contradicts the entries before it: {why}")]
    Contradiction {
        /// The entry's position in the journal.
        position: Position,
        /// The kind of the entry's event.
        kind: &'static str,
        /// A description of the contradiction.
        why: String,
    },
}

impl State {
    /// Applies an entry of this run (any entry but `workflow_submitted`, which creates the state).
    ///
    /// # Errors
    /// If the entry cannot follow this state. The journal is then corrupt and the state must not be used.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), ApplyError> {
        if entry.seq != self.seq.next() {
            return Err(ApplyError::Sequence {
                run: self.run_id,
                expected: self.seq.next(),
                found: entry.seq,
                kind: entry.event.kind(),
            });
        }
        self.seq = entry.seq;
        self.record(entry)
    }

    fn record(&mut self, entry: &Entry) -> Result<(), ApplyError> {
        let now = entry.recorded_at;
        match &entry.event {
            Event::WorkflowCancelRequested(event) => {
                self.cancel.get_or_insert_with(|| event.clone());
            }
            Event::TaskReady(event) => self.make_ready(entry, event)?,
            Event::TaskDispatched(event) => self.open_attempt(entry, event)?,
            Event::TaskStarted(event) => {
                self.open_mut(entry, &event.task_id, event.attempt)?.start(now.minus_ms(event.ran_ms));
            }
            Event::TaskCompleted(event) => self.complete(entry, event)?,
            Event::TaskAttemptFailed(event) => self.fail_attempt(entry, event)?,
            Event::TaskAttemptStopped(event) => self.stop_attempt(entry, event)?,
            Event::TaskRequeued(event) => self.idle_mut(entry, &event.task_id)?.requeue(None),
            Event::TaskRetryScheduled(event) => {
                let not_before = now.plus_ms(event.delay_ms);
                self.idle_mut(entry, &event.task_id)?.requeue(Some(not_before));
            }
            Event::TaskFailed(event) => {
                let at = self.finish(entry, &event.task_id, Outcome::Failed { error: event.error.clone() })?;
                self.failed.get_or_insert(at);
            }
            Event::TaskSkipped(event) => {
                self.finish(entry, &event.task_id, Outcome::Skipped { because: event.because.clone() })?;
            }
            Event::TaskCancelled(event) => {
                self.finish(entry, &event.task_id, Outcome::Cancelled)?;
            }
            Event::WorkflowCompleted(event) => {
                self.end(RunStatus::Completed, now);
                self.outputs = Some(event.outputs.clone());
            }
            Event::WorkflowFailed(event) => {
                self.end(RunStatus::Failed, now);
                self.error = Some(event.error.clone());
            }
            Event::WorkflowCancelled(event) => {
                self.end(RunStatus::Cancelled, now);
                self.error = Some(event.failure());
            }
            Event::WorkflowSubmitted(_)
            | Event::OwnershipGranted(_)
            | Event::ProtocolRegistered(_)
            | Event::ProtocolsUsed(_)
            | Event::ProtocolRemoved(_) => {
                return Err(contradiction(entry, "it is not an event of a run that exists".to_owned()));
            }
        }
        Ok(())
    }

    fn make_ready(&mut self, entry: &Entry, event: &TaskReady) -> Result<(), ApplyError> {
        self.idle_mut(entry, &event.task_id)?.make_ready(Entered {
            queue: event.queue.clone(),
            priority: event.priority,
            at: entry.recorded_at,
            position: entry.position,
            parameters: Some(event.parameters.clone()),
        });
        Ok(())
    }

    fn open_attempt(&mut self, entry: &Entry, event: &TaskDispatched) -> Result<(), ApplyError> {
        self.idle_mut(entry, &event.task_id)?.dispatch(Lease {
            attempt: event.attempt,
            engine: event.engine.clone(),
            position: entry.position,
            dispatched_at: entry.recorded_at,
            started_at: None,
        });
        self.open += 1;
        Ok(())
    }

    fn fail_attempt(&mut self, entry: &Entry, event: &TaskAttemptFailed) -> Result<(), ApplyError> {
        let task = self.open_mut(entry, &event.task_id, event.attempt)?;
        task.start(entry.recorded_at.minus_ms(event.ran_ms));
        task.fail(event.error.clone(), event.retryable, event.retry_after_ms);
        self.open -= 1;
        Ok(())
    }

    fn stop_attempt(&mut self, entry: &Entry, event: &TaskAttemptStopped) -> Result<(), ApplyError> {
        let stop = Stop { attempt: event.attempt, engine: event.engine.clone(), reason: event.reason };
        self.open_mut(entry, &event.task_id, event.attempt)?.stop(stop);
        self.open -= 1;
        Ok(())
    }

    fn complete(&mut self, entry: &Entry, event: &TaskCompleted) -> Result<(), ApplyError> {
        if event.carried {
            self.idle_mut(entry, &event.task_id)?;
        } else {
            let started_at = entry.recorded_at.minus_ms(event.ran_ms);
            self.open_mut(entry, &event.task_id, event.attempt)?.start(started_at);
            self.open -= 1;
        }
        self.finish(entry, &event.task_id, Outcome::Completed { result: event.result.clone() })?;
        Ok(())
    }

    /// Makes a task final, and counts it for those that depend on it.
    fn finish(&mut self, entry: &Entry, id: &TaskId, outcome: Outcome) -> Result<usize, ApplyError> {
        let at = self.at(entry, id)?;
        if self.tasks[at].is_final() {
            return Err(contradiction(entry, format!("task `{id}` is final")));
        }
        self.dependencies.end(at, Became::of(&outcome));
        self.tasks[at].finish(outcome, entry.recorded_at);
        self.unfinished -= 1;
        Ok(at)
    }

    fn end(&mut self, status: RunStatus, now: Timestamp) {
        self.status = status;
        self.finished_at = Some(now);
    }

    fn at(&self, entry: &Entry, id: &TaskId) -> Result<usize, ApplyError> {
        self.index_of(id.as_str()).ok_or_else(|| ApplyError::UnknownTask {
            position: entry.position,
            kind: entry.event.kind(),
            task: id.clone(),
        })
    }

    /// A task that is neither final nor open.
    fn idle_mut(&mut self, entry: &Entry, id: &TaskId) -> Result<&mut Instance, ApplyError> {
        let at = self.at(entry, id)?;
        let task = &mut self.tasks[at];
        let status = task.status();
        if status.is_final() || status.is_open() {
            return Err(contradiction(entry, format!("task `{id}` is {status:?}")));
        }
        Ok(task)
    }

    /// A task whose attempt of this number is open.
    fn open_mut(&mut self, entry: &Entry, id: &TaskId, attempt: Attempt) -> Result<&mut Instance, ApplyError> {
        let at = self.at(entry, id)?;
        let task = &mut self.tasks[at];
        if task.open().is_none_or(|lease| lease.attempt != attempt) {
            let (status, latest) = (task.status(), task.attempt());
            let why = format!("task `{id}` is {status:?} in attempt {latest}, not open in {attempt}");
            return Err(contradiction(entry, why));
        }
        Ok(task)
    }
}

fn contradiction(entry: &Entry, why: String) -> ApplyError {
    ApplyError::Contradiction { position: entry.position, kind: entry.event.kind(), why }
}
