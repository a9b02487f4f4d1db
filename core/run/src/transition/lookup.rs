//! Finding the task that a transition is about, in the phase that it needs.

use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::id::TaskId;

use crate::dependencies::Became;
use crate::event::Entry;
use crate::id::{Attempt, AttemptRef, ComponentId};
use crate::instance::Instance;
use crate::phase::{Ended, Lease, Outcome, Phase};
use crate::planted_bugs;
use crate::planted_bugs::Bug;
use crate::state::State;
use crate::transition::refusal::{ApplyError, Refusal, contradiction};

/// What an engine says of an attempt.
pub(super) enum Report {
    /// It has a result.
    Result,
    /// It failed by itself.
    Failure,
    /// It started or stopped.
    Other,
}

/// To decide.
impl State {
    fn find(&self, id: &TaskId) -> Result<(usize, &Instance), Refusal> {
        match self.index_of(id.as_str()) {
            Some(at) => Ok((at, &self.tasks[at])),
            None => Err(Refusal::Invalid(Failure::new(
                ErrorCode::TaskNotFound,
                format!("run {} has no task `{id}`", self.run_id),
            ))),
        }
    }

    /// Looks up a task of a run that is not to end.
    pub(super) fn live(&self, id: &TaskId) -> Result<(usize, &Instance), Refusal> {
        let found = self.find(id)?;
        if self.status.is_final() || self.cancel.is_some() { Err(Refusal::Fenced) } else { Ok(found) }
    }

    /// Looks up a task whose latest attempt ended and whose owner has not decided the next step.
    pub(super) fn undecided(&self, id: &TaskId, attempt: Attempt) -> Result<(usize, &Instance, &Ended), Refusal> {
        let (at, task) = self.live(id)?;
        if task.attempt() != attempt {
            return Err(Refusal::Fenced);
        }
        match task.phase() {
            Phase::Ended(ended) => Ok((at, task, ended)),
            Phase::Queued { .. } | Phase::Final { outcome: Outcome::Failed { .. }, .. } => Err(Refusal::Duplicate),
            Phase::Waiting | Phase::Open(_) | Phase::Final { .. } => Err(Refusal::Fenced),
        }
    }

    /// Looks up an open attempt whose lease `engine` holds. A report on an attempt that ended is a duplicate if it says how
    /// the attempt ended, else it is fenced. (A start of an attempt that was stopped counts as said, too.)
    pub(super) fn held(
        &self,
        at: &AttemptRef,
        engine: Option<&ComponentId>,
        report: Report,
    ) -> Result<(usize, &Lease), Refusal> {
        let (index, task) = self.find(&at.task_id)?;
        let Some(lease) = task.latest().filter(|lease| lease.attempt == at.attempt) else {
            return Err(Refusal::Fenced);
        };
        if engine.is_some_and(|engine| lease.engine != *engine) && !planted_bugs::is(Bug::NoLease) {
            return Err(Refusal::Fenced);
        }
        if task.open().is_some() || planted_bugs::is(Bug::NoDuplicateCheck) {
            return Ok((index, lease));
        }
        let was_stopped = task.stops().last().is_some_and(|stop| stop.attempt == at.attempt);
        let is_repeated = match report {
            Report::Result => task.result().is_some(),
            Report::Failure => task.failures() > 0 && task.result().is_none() && !was_stopped,
            Report::Other => was_stopped,
        };
        Err(if is_repeated { Refusal::Duplicate } else { Refusal::Fenced })
    }
}

/// To apply.
impl State {
    fn at(&self, entry: &Entry, id: &TaskId) -> Result<usize, ApplyError> {
        self.index_of(id.as_str()).ok_or_else(|| ApplyError::UnknownTask {
            position: entry.position,
            kind: entry.event.kind(),
            task: id.clone(),
        })
    }

    /// A task that is neither final nor open.
    pub(super) fn idle_mut(&mut self, entry: &Entry, id: &TaskId) -> Result<&mut Instance, ApplyError> {
        let at = self.at(entry, id)?;
        let task = &mut self.tasks[at];
        let status = task.status();
        if status.is_final() || status.is_open() {
            return Err(contradiction(entry, format!("task `{id}` is {status:?}")));
        }
        Ok(task)
    }

    /// A task whose attempt of this number is open.
    pub(super) fn open_mut(
        &mut self,
        entry: &Entry,
        id: &TaskId,
        attempt: Attempt,
    ) -> Result<&mut Instance, ApplyError> {
        let at = self.at(entry, id)?;
        let task = &mut self.tasks[at];
        if task.open().is_none_or(|lease| lease.attempt != attempt) {
            let (status, latest) = (task.status(), task.attempt());
            let why = format!("task `{id}` is {status:?} in attempt {latest}, not open in {attempt}");
            return Err(contradiction(entry, why));
        }
        Ok(task)
    }

    /// Makes a task final, and counts it for those that depend on it.
    pub(super) fn finish(&mut self, entry: &Entry, id: &TaskId, outcome: Outcome) -> Result<usize, ApplyError> {
        let at = self.at(entry, id)?;
        if self.tasks[at].is_final() {
            return Err(contradiction(entry, format!("task `{id}` is final")));
        }
        if self.tasks[at].open().is_some() {
            self.open -= 1;
        }
        self.dependencies.note(at, Became::of(&outcome));
        self.tasks[at].finish(outcome, entry.recorded_at);
        self.unfinished -= 1;
        Ok(at)
    }
}
