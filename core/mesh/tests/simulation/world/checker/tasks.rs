//! The rules of one task: which entry may follow which.

use std::collections::BTreeMap;

use gleitzeit_run::event::{
    StopReason, TaskAttemptFailed, TaskAttemptStopped, TaskCompleted, TaskDispatched, TaskFailed, TaskRetryScheduled,
    TaskStarted,
};
use gleitzeit_run::{ComponentId, Entry, Event, Request};
use gleitzeit_workflow::{ProviderName, TaskId, Timestamp};
use serde_json::Value;

use super::{Run, Verified};

/// How often a task may be lost before it fails.
const MAX_LOSSES: u32 = 10;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    #[default]
    Waiting,
    Ready,
    Open,
    Undecided,
    Delayed,
    Completed,
    Failed,
    Skipped,
    Cancelled,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Task {
    pub(super) stage: Stage,
    dependencies: Vec<TaskId>,
    pub(super) provider: Option<ProviderName>,
    max_attempts: u32,
    pub(super) attempt: u32,
    engine: Option<ComponentId>,
    failures: u32,
    losses: u32,
    not_before: Timestamp,
    is_stopped: bool,
    is_final_failure: bool,
    result: Value,
    /// The dispatch that created the attempt.
    dispatch: String,
}

impl Task {
    /// A task of which nothing is recorded. `result` is what it must complete with.
    pub(super) fn new(definition: &gleitzeit_workflow::spec::Task, result: Value) -> Self {
        Self {
            dependencies: definition.dependencies.clone(),
            provider: definition.provider.clone(),
            max_attempts: definition.retry.max_attempts,
            result,
            ..Self::default()
        }
    }

    pub(super) fn is_final(&self) -> bool {
        matches!(self.stage, Stage::Completed | Stage::Failed | Stage::Skipped | Stage::Cancelled)
    }
}

/// An entry about a task.
pub(super) struct TaskEntry<'a> {
    pub(super) task_id: &'a str,
    pub(super) entry: &'a Entry,
    pub(super) request: &'a Request,
    pub(super) slots: u32,
    pub(super) tag: &'a str,
}

/// The open attempts of each engine.
type Used = BTreeMap<ComponentId, u32>;

/// What was true of a task and its run before an entry.
#[derive(Clone, Copy)]
struct Before {
    stage: Stage,
    /// Whether the end of the run was requested.
    is_ending: bool,
    /// Whether all its dependencies have completed.
    are_done: bool,
    /// Whether one of its dependencies failed or was skipped.
    any_failed: bool,
}

impl Before {
    fn of(run: &Run, task: &Task) -> Self {
        let stages = || task.dependencies.iter().map(|id| run.tasks.get(id).map(|task| task.stage));
        Self {
            stage: task.stage,
            is_ending: run.cancel.is_some(),
            are_done: stages().all(|stage| stage == Some(Stage::Completed)),
            any_failed: stages().any(|stage| matches!(stage, Some(Stage::Failed | Stage::Skipped))),
        }
    }

    fn is(self, stage: Stage) -> bool {
        self.stage == stage && !self.is_ending
    }
}

/// Checks an entry about a task and records it.
pub(super) fn check(run: &mut Run, new: &TaskEntry<'_>, used: &mut Used) -> Verified {
    let task_id = new.task_id;
    let before = run.tasks.get(task_id).map(|task| Before::of(run, task));
    let (Some(before), Some(task)) = (before, run.tasks.get_mut(task_id)) else {
        return Err(format!("`{task_id}` is no task of the run"));
    };
    rule!(!task.is_final(), "`{task_id}` was final: {:?}", task.stage);
    match &new.entry.event {
        Event::TaskReady(_) => task.ready(new, before),
        Event::TaskDispatched(event) => task.dispatched(event, new, before, used),
        Event::TaskStarted(event) => task.started(event, new, before),
        Event::TaskCompleted(event) if event.carried => task.carried(event, new, before),
        Event::TaskCompleted(event) => task.completed(event, new, before, used),
        Event::TaskAttemptFailed(event) => task.attempt_failed(event, new, before, used),
        Event::TaskAttemptStopped(event) => task.attempt_stopped(event, new, before, used),
        Event::TaskRequeued(_) => task.requeued(new, before),
        Event::TaskRetryScheduled(event) => task.retry_scheduled(event, new, before),
        Event::TaskFailed(event) => task.failed(event, new, before),
        Event::TaskSkipped(_) => task.skipped(new, before),
        Event::TaskCancelled(_) => task.cancelled(new, before),
        other => Err(format!("`{}` speaks of a task", other.kind())),
    }
}

impl Task {
    fn ready(&mut self, new: &TaskEntry<'_>, before: Before) -> Verified {
        let Before { stage, are_done, .. } = before;
        rule!(before.is(Stage::Waiting) && are_done, "`{}` became ready as {stage:?}", new.task_id);
        rule!(is_fenced(new.request), "nobody's shard");
        self.stage = Stage::Ready;
        Ok(())
    }

    fn dispatched(&mut self, event: &TaskDispatched, new: &TaskEntry<'_>, before: Before, used: &mut Used) -> Verified {
        let Before { stage, is_ending, are_done, .. } = before;
        let can_go = stage == Stage::Ready || stage == Stage::Delayed && self.not_before <= new.entry.recorded_at;
        rule!(can_go && are_done && !is_ending, "`{}` was dispatched as {stage:?}", new.task_id);
        rule!(event.attempt == self.attempt + 1, "attempt {} follows {}", event.attempt, self.attempt);
        rule!(is_fenced(new.request), "nobody's queue");
        let open = used.entry(event.engine.clone()).or_default();
        *open += 1;
        rule!(*open <= new.slots, "{} has {open} open attempts and {} slots", event.engine, new.slots);
        (self.stage, self.attempt, self.engine) = (Stage::Open, event.attempt, Some(event.engine.clone()));
        new.tag.clone_into(&mut self.dispatch);
        Ok(())
    }

    fn started(&mut self, event: &TaskStarted, new: &TaskEntry<'_>, before: Before) -> Verified {
        rule!(before.is(Stage::Open) && self.attempt == event.attempt, "it was {:?}", before.stage);
        rule!(reporter(new.request)? == self.engine.as_ref(), "somebody else reported the start");
        Ok(())
    }

    fn carried(&mut self, event: &TaskCompleted, new: &TaskEntry<'_>, before: Before) -> Verified {
        let is_retry = matches!(new.request, Request::Retry { .. });
        rule!(before.stage == Stage::Waiting && is_retry, "carried as {:?}", before.stage);
        let value = event.result.to_value().unwrap_or_default();
        rule!(value["value"] == self.result["value"], "`{}` carried {}", new.task_id, event.result.get());
        self.stage = Stage::Completed;
        Ok(())
    }

    fn completed(&mut self, event: &TaskCompleted, new: &TaskEntry<'_>, before: Before, used: &mut Used) -> Verified {
        self.end_attempt(event.attempt, new, before, used)?;
        let task_id = new.task_id;
        rule!(!before.is_ending, "`{task_id}` completed in a run that is to end");
        let value = event.result.to_value().unwrap_or_default();
        rule!(value["value"] == self.result["value"], "`{task_id}` has {}, not {}", event.result.get(), self.result);
        let (of, dispatch) = (&value["of"], self.dispatch.as_str());
        rule!(*of == dispatch, "`{task_id}` has the result of dispatch {of}, not of {dispatch}");
        self.stage = Stage::Completed;
        Ok(())
    }

    fn attempt_failed(
        &mut self,
        event: &TaskAttemptFailed,
        new: &TaskEntry<'_>,
        before: Before,
        used: &mut Used,
    ) -> Verified {
        self.end_attempt(event.attempt, new, before, used)?;
        rule!(!before.is_ending, "a failure was counted in a run that is to end");
        self.failures += 1;
        self.is_final_failure = !event.retryable;
        (self.stage, self.is_stopped) = (Stage::Undecided, false);
        Ok(())
    }

    fn attempt_stopped(
        &mut self,
        event: &TaskAttemptStopped,
        new: &TaskEntry<'_>,
        before: Before,
        used: &mut Used,
    ) -> Verified {
        self.end_attempt(event.attempt, new, before, used)?;
        let is_cancelled = event.reason == StopReason::Cancelled;
        rule!(!is_cancelled || before.is_ending, "an attempt was cancelled in a run that goes on");
        self.losses += 1;
        (self.stage, self.is_stopped) = (Stage::Undecided, true);
        Ok(())
    }

    fn requeued(&mut self, new: &TaskEntry<'_>, before: Before) -> Verified {
        rule!(before.is(Stage::Undecided) && self.is_stopped, "requeued as {:?}", before.stage);
        rule!(self.losses < MAX_LOSSES, "requeued after {} losses", self.losses);
        rule!(is_fenced(new.request), "nobody's queue");
        self.stage = Stage::Ready;
        Ok(())
    }

    fn retry_scheduled(&mut self, event: &TaskRetryScheduled, new: &TaskEntry<'_>, before: Before) -> Verified {
        rule!(before.is(Stage::Undecided) && !self.is_stopped, "retried as {:?}", before.stage);
        rule!(self.failures < self.max_attempts, "retried after {} failures", self.failures);
        rule!(!self.is_final_failure, "retried although it cannot help");
        rule!(is_fenced(new.request), "nobody's queue");
        (self.stage, self.not_before) = (Stage::Delayed, new.entry.recorded_at.plus_ms(event.delay_ms));
        Ok(())
    }

    fn failed(&mut self, event: &TaskFailed, new: &TaskEntry<'_>, before: Before) -> Verified {
        let Before { stage, is_ending, are_done, .. } = before;
        let before_any = stage == Stage::Waiting && are_done && event.attempt == 0;
        let exhausted = if self.is_stopped { self.losses >= MAX_LOSSES } else { self.failures >= self.max_attempts };
        let at_last = stage == Stage::Undecided && (exhausted || self.is_final_failure && !self.is_stopped);
        rule!((before_any || at_last) && !is_ending, "`{}` failed as {stage:?}: {self:?}", new.task_id);
        rule!(is_fenced(new.request), "nobody's task");
        self.stage = Stage::Failed;
        Ok(())
    }

    fn skipped(&mut self, new: &TaskEntry<'_>, before: Before) -> Verified {
        let can_skip = before.is(Stage::Waiting) && before.any_failed;
        rule!(can_skip, "`{}` was skipped as {:?}", new.task_id, before.stage);
        self.stage = Stage::Skipped;
        Ok(())
    }

    fn cancelled(&mut self, new: &TaskEntry<'_>, before: Before) -> Verified {
        let Before { stage, is_ending, .. } = before;
        rule!(is_ending && stage != Stage::Open, "`{}` was cancelled as {stage:?}", new.task_id);
        self.stage = Stage::Cancelled;
        Ok(())
    }

    /// Checks that the attempt was open and that its engine reports the end, and frees its slot.
    fn end_attempt(&self, attempt: u32, new: &TaskEntry<'_>, before: Before, used: &mut Used) -> Verified {
        let task_id = new.task_id;
        let is_open = before.stage == Stage::Open && self.attempt == attempt;
        rule!(is_open, "attempt {attempt} of `{task_id}` was not open");
        let engine = self.engine.clone().unwrap_or_else(|| "?".into());
        if let Some(by) = reporter(new.request)? {
            rule!(*by == engine, "{by} reported attempt {attempt} of `{task_id}`, leased to {engine}");
        }
        *used.entry(engine).or_default() -= 1;
        Ok(())
    }
}

/// The component that reports about an attempt; `None` is the hub.
fn reporter(request: &Request) -> Verified<Option<&ComponentId>> {
    match request {
        Request::Component { component_id, .. } => Ok(Some(component_id)),
        Request::HubStop { .. } => Ok(None),
        other => Err(format!("{other:?} says nothing of attempts")),
    }
}

fn is_fenced(request: &Request) -> bool {
    matches!(request, Request::Component { fence: Some(_), .. })
}
