//! The resolver role: when a task's dependencies are completed, it resolves the task's parameters and proposes that the
//! task is ready; when a run times out, it asks for the run to end.
//!
//! Each step costs only its own neighbourhood in the graph. A result is kept only while a dependent task waits. Runs
//! take turns: however many tasks of one run can become ready, those of other runs are not stuck behind them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use gleitzeit_run::command::{CancelWorkflow, FailTask, ReadyTask};
use gleitzeit_run::dependencies::{Became, Dependencies};
use gleitzeit_run::event::{CancelCause, WorkflowSubmitted};
use gleitzeit_run::id::{Position, RunId, Slice};
use gleitzeit_run::ledger::{SliceItem, TaskFact};
use gleitzeit_run::planted_bugs::{self, Bug};
use gleitzeit_run::{Command, Entry, Event, Read, RunScope, TaskStatus};
use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::id::TaskId;
use gleitzeit_workflow::json;
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::spec::{ENVIRONMENT, Task};
use gleitzeit_workflow::template::{Budget, Scope, TemplateError, references, resolve, resolve_code};
use gleitzeit_workflow::time::Instant;
use serde_json::{Map, Value};

use crate::role::owner::{Fact, Owner};
use crate::role::turns;
use crate::role::turns::{Lanes, Round};
use crate::role::{Identity, Input, Output, earliest};
use crate::wire::{ProposalVerdict, Role};

/// The number of unanswered proposals at which no more tasks are made ready, because proposals of other runs come
/// behind these. With an answer after 5 ms it still allows 25,000 tasks a second.
const MAX_AHEAD: usize = 128;
/// How many tasks of a new run are examined before the next run takes its turn.
const ENTER_STEP: usize = 2_048;
/// How long until the end of a run is proposed again after a refusal, in milliseconds, unless the run has ended.
const ASK_AGAIN_MS: u64 = 1_000;

#[derive(Debug)]
struct Run {
    submitted: Arc<WorkflowSubmitted>,
    inputs: Read,
    dependencies: Dependencies,
    /// By task: the number of dependents that still wait.
    needed: Vec<usize>,
    /// By task: whether it is neither ready nor ended.
    waiting: Vec<bool>,
    results: BTreeMap<usize, Read>,
    deadline: Option<Instant>,
}

impl Run {
    fn new(submitted: Arc<WorkflowSubmitted>, deadline: Option<Instant>) -> Self {
        let graph = submitted.graph();
        let tasks = graph.len();
        Self {
            inputs: submitted.inputs.to_value(),
            needed: (0..tasks).map(|at| graph.dependents(at).len()).collect(),
            waiting: vec![true; tasks],
            results: BTreeMap::new(),
            dependencies: Dependencies::new(graph),
            submitted,
            deadline,
        }
    }

    /// A task needs nothing more: results that only it waited for are dropped.
    fn settle(&mut self, at: usize) {
        if !std::mem::replace(&mut self.waiting[at], false) {
            return;
        }
        for &dependency in self.dependencies.graph().dependencies(at) {
            self.needed[dependency] -= 1;
            if self.needed[dependency] == 0 {
                self.results.remove(&dependency);
            }
        }
    }

    /// Records a result. Returns the tasks whose dependencies are all completed now and that were not proposed.
    fn complete(&mut self, at: usize, result: &Payload) -> Vec<usize> {
        if self.needed[at] > 0 && self.dependencies.became(at).is_none() {
            self.results.insert(at, result.to_value());
        }
        self.end(at, Became::Completed)
    }

    /// Records that a task is final. Returns the tasks whose dependencies are all completed now and that were not
    /// proposed.
    fn end(&mut self, at: usize, became: Became) -> Vec<usize> {
        self.settle(at);
        let mut ready = self.dependencies.end(at, became);
        if planted_bugs::is(Bug::EarlyReady) {
            ready = self.dependencies.graph().dependents(at).to_vec();
        }
        ready.retain(|dependent| self.waiting[*dependent]);
        ready
    }

    fn index_of(&self, id: &str) -> Option<usize> {
        self.dependencies.graph().index_of(id)
    }

    fn parameters(&self, run_id: RunId, at: usize, max_bytes: usize) -> Result<Payload, Failure> {
        let task = &self.submitted.workflow.tasks[at];
        let mut scope = RunScope::new(run_id, &self.submitted, &self.inputs);
        for &dependency in self.dependencies.graph().dependencies(at) {
            if let Some(result) = self.results.get(&dependency) {
                let id = self.submitted.workflow.tasks[dependency].id.as_str();
                scope.add_result(id, Cow::Borrowed(result));
            }
        }
        let value = substitute(task, &scope, &mut Budget::new(max_bytes))?;
        // A value is nested deeper in the parameters than where it came from.
        json::check_value(&value).map_err(|problem| parameter_error(format!("parameter {}", problem.in_value())))?;
        let payload = Payload::from_value(&value);
        if payload.size_bytes() > max_bytes {
            return Err(too_large(&value, payload.size_bytes(), max_bytes));
        }
        Ok(payload)
    }
}

/// The resolver role's state machine.
#[derive(Debug)]
pub struct Resolver {
    owner: Owner,
    max_payload_bytes: usize,
    runs: BTreeMap<RunId, Run>,
    timers: BTreeSet<(Instant, RunId)>,
    ready: Ready,
}

/// Tasks whose dependencies are completed, in the order in which that happened.
#[derive(Debug, Default)]
struct Ready {
    lanes: Lanes<(u64, usize)>,
    round: Round,
    last: u64,
    /// New runs, each with the first of its tasks that was not examined: they enter in steps.
    entering: VecDeque<(RunId, usize)>,
}

impl Ready {
    fn push(&mut self, now: Instant, run_id: RunId, run: &Run, at: usize) {
        self.last += 1;
        let priority = run.submitted.workflow.tasks[at].priority;
        self.lanes.insert(&mut self.round, run_id, priority, milliseconds(now), (self.last, at));
    }

    /// Examines the next tasks of a new run. Returns false if there is none.
    fn enter(&mut self, now: Instant, runs: &BTreeMap<RunId, Run>) -> bool {
        let Some((run_id, from)) = self.entering.pop_front() else { return false };
        let Some(run) = runs.get(&run_id) else { return true };
        let tasks = run.submitted.workflow.tasks.len();
        let to = tasks.min(from + ENTER_STEP);
        for at in (from..to).filter(|&at| run.waiting[at] && run.dependencies.are_met(at)) {
            self.push(now, run_id, run, at);
        }
        if to < tasks {
            self.entering.push_back((run_id, to));
        }
        true
    }

    fn forget(&mut self, run_id: RunId) {
        self.lanes.forget(&mut self.round, run_id);
        self.entering.retain(|(entering, _)| *entering != run_id);
    }

    fn retain(&mut self, keep: impl Fn(RunId) -> bool) {
        self.entering.retain(|(run_id, _)| keep(*run_id));
        self.lanes.retain(&mut self.round, keep);
    }

    /// The task whose turn it is.
    fn pop(&mut self, now: Instant) -> Option<(RunId, usize)> {
        let heads = self.lanes.heads(&self.round).map(|head| (head, ()));
        let (head, ()) = turns::choose(milliseconds(now), heads)?;
        let (run_id, priority, since_ms, item) = (head.run_id, head.priority, head.since_ms, *head.item);
        self.round.served(run_id);
        self.lanes.remove(&mut self.round, run_id, priority, since_ms, item);
        Some((run_id, item.1))
    }
}

fn milliseconds(now: Instant) -> i64 {
    i64::try_from(now.0).unwrap_or(i64::MAX)
}

impl Resolver {
    /// A resolver that owns nothing yet. The limit is for one task's parameters, as JSON text in bytes.
    pub fn new(identity: Identity, max_payload_bytes: usize) -> Self {
        Self {
            owner: Owner::new(identity, Role::Resolver),
            max_payload_bytes,
            runs: BTreeMap::new(),
            timers: BTreeSet::new(),
            ready: Ready::default(),
        }
    }

    /// Takes an input and returns what to do about it.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.accept(now, input, out);
        self.flush(now, out);
    }

    /// Takes one of several inputs; [`Self::flush`] returns what follows from all of them.
    pub fn accept(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        for fact in self.owner.accept(now, input, out) {
            self.learn(now, fact);
        }
    }

    /// Returns what follows from the inputs accepted so far.
    pub fn flush(&mut self, now: Instant, out: &mut Vec<Output>) {
        while let Some((due, run_id)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, run_id));
            self.time_is_up(run_id);
        }
        self.ready.enter(now, &self.runs);
        while self.owner.unanswered() < MAX_AHEAD {
            match self.ready.pop(now) {
                Some((run_id, at)) => self.resolve(run_id, at),
                None if self.ready.enter(now, &self.runs) => {}
                None => break,
            }
        }
        self.owner.flush(now, out);
    }

    /// When `Tick` is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        earliest([self.owner.next_deadline(), self.timers.first().map(|(at, _)| *at)])
    }

    /// The shards whose state is complete.
    pub fn owned(&self) -> Vec<Slice> {
        self.owner.owned()
    }

    /// The last position that was processed.
    pub fn position(&self) -> Position {
        self.owner.position()
    }

    /// The runs that it is responsible for.
    pub fn runs(&self) -> impl Iterator<Item = RunId> + '_ {
        self.runs.keys().copied()
    }

    /// The number of results that it keeps.
    pub fn kept_results(&self) -> usize {
        self.runs.values().map(|run| run.results.len()).sum()
    }

    fn learn(&mut self, now: Instant, fact: Fact) {
        match fact {
            // A run that is to end needs nothing from a resolver.
            Fact::Item { item: SliceItem::Run(header), granted_at, .. } if !header.cancel_requested => {
                let deadline = header.remaining_ms.map(|left| granted_at.plus_ms(left));
                self.insert(header.run_id, header.submitted, deadline);
            }
            Fact::Item { item: SliceItem::Task(fact), .. } => self.known(&fact),
            Fact::Owned { slice: Slice::Shard(shard) } => {
                let of_shard = self.runs.keys().filter(|run_id| run_id.shard() == shard);
                self.ready.entering.extend(of_shard.map(|run_id| (*run_id, 0)));
            }
            Fact::Revoked { slice: Slice::Shard(shard) } => {
                self.runs.retain(|run_id, _| run_id.shard() != shard);
                self.timers.retain(|(_, run_id)| run_id.shard() != shard);
                self.ready.retain(|run_id| run_id.shard() != shard);
            }
            Fact::Entry { entry, owned: true } => self.entry(now, &entry),
            Fact::Refused { command, verdict, error, .. } => self.refused(now, command, verdict, error),
            _ => {}
        }
    }

    fn insert(&mut self, run_id: RunId, submitted: Arc<WorkflowSubmitted>, deadline: Option<Instant>) {
        self.timers.extend(deadline.map(|at| (at, run_id)));
        self.runs.insert(run_id, Run::new(submitted, deadline));
    }

    fn forget(&mut self, run_id: RunId) {
        self.ready.forget(run_id);
        if let Some(deadline) = self.runs.remove(&run_id).and_then(|run| run.deadline) {
            self.timers.remove(&(deadline, run_id));
        }
    }

    fn known(&mut self, fact: &TaskFact) {
        let Some(run) = self.runs.get_mut(&fact.run_id) else { return };
        let Some(at) = run.index_of(fact.task_id.as_str()) else { return };
        // Tasks that become ready by it are found when the state is complete.
        match (&fact.result, fact.status) {
            (Some(result), TaskStatus::Completed) => drop(run.complete(at, result)),
            (_, TaskStatus::Failed) => drop(run.end(at, Became::Failed)),
            (_, TaskStatus::Skipped) => drop(run.end(at, Became::Skipped)),
            (_, TaskStatus::Cancelled) => drop(run.end(at, Became::Cancelled)),
            (_, TaskStatus::Ready | TaskStatus::Dispatched | TaskStatus::Running | TaskStatus::Backoff)
            // Without the result, those behind it cannot be resolved.
            | (None, TaskStatus::Completed) => run.settle(at),
            (_, TaskStatus::Waiting) => {}
        }
    }

    fn entry(&mut self, now: Instant, entry: &Entry) {
        let Some(run_id) = entry.run_id else { return };
        match &entry.event {
            Event::WorkflowSubmitted(submitted) => {
                let deadline = submitted.workflow.timeout_ms.map(|limit| now.plus_ms(limit));
                self.insert(run_id, submitted.clone(), deadline);
                self.ready.entering.push_back((run_id, 0));
            }
            Event::TaskReady(event) => self.about(now, run_id, &event.task_id, |run, at| {
                run.settle(at);
                Vec::new()
            }),
            Event::TaskCompleted(event) => {
                self.about(now, run_id, &event.task_id, |run, at| run.complete(at, &event.result));
            }
            Event::TaskFailed(event) => {
                self.about(now, run_id, &event.task_id, |run, at| run.end(at, Became::Failed));
            }
            Event::TaskSkipped(event) => {
                self.about(now, run_id, &event.task_id, |run, at| run.end(at, Became::Skipped));
            }
            Event::TaskCancelled(event) => {
                self.about(now, run_id, &event.task_id, |run, at| run.end(at, Became::Cancelled));
            }
            Event::WorkflowCancelRequested(_)
            | Event::WorkflowCompleted(_)
            | Event::WorkflowFailed(_)
            | Event::WorkflowCancelled(_) => self.forget(run_id),
            Event::TaskDispatched(_)
            | Event::TaskStarted(_)
            | Event::TaskAttemptFailed(_)
            | Event::TaskAttemptStopped(_)
            | Event::TaskRequeued(_)
            | Event::TaskRetryScheduled(_)
            | Event::OwnershipGranted(_)
            | Event::ProtocolRegistered(_)
            | Event::ProtocolsUsed(_)
            | Event::ProtocolRemoved(_) => {}
        }
    }

    /// Tells a run something of one of its tasks; the tasks that `what` returns take their turn.
    fn about(&mut self, now: Instant, run_id: RunId, id: &TaskId, what: impl FnOnce(&mut Run, usize) -> Vec<usize>) {
        let Some(run) = self.runs.get_mut(&run_id) else { return };
        let Some(at) = run.index_of(id.as_str()) else { return };
        what(run, at).into_iter().for_each(|at| self.ready.push(now, run_id, run, at));
    }

    fn time_is_up(&mut self, run_id: RunId) {
        let Some(run) = self.runs.get(&run_id) else { return };
        let limit = run.submitted.workflow.timeout_ms.unwrap_or(0);
        let reason = format!("the run took longer than its timeout of {limit} ms");
        let cancel = CancelWorkflow { run_id, cause: CancelCause::Timeout, reason };
        self.owner.propose(&Slice::Shard(run_id.shard()), Command::CancelWorkflow(cancel));
    }

    fn resolve(&mut self, run_id: RunId, at: usize) {
        let Some(run) = self.runs.get_mut(&run_id).filter(|run| run.waiting[at]) else { return };
        let task = &run.submitted.workflow.tasks[at];
        let command = match run.parameters(run_id, at, self.max_payload_bytes) {
            Ok(parameters) => Command::ReadyTask(ReadyTask {
                run_id,
                task_id: task.id.clone(),
                queue: task.queue.clone(),
                priority: task.priority,
                parameters,
            }),
            Err(error) => Command::FailTask(FailTask { run_id, task_id: task.id.clone(), attempt: 0, error }),
        };
        run.settle(at);
        self.owner.propose(&Slice::Shard(run_id.shard()), command);
    }

    fn refused(&mut self, now: Instant, command: Command, verdict: ProposalVerdict, error: Option<Failure>) {
        match command {
            Command::CancelWorkflow(cancel) => {
                if let Some(run) = self.runs.get_mut(&cancel.run_id) {
                    let again = now.plus_ms(ASK_AGAIN_MS);
                    run.deadline = Some(again);
                    self.timers.insert((again, cancel.run_id));
                }
            }
            // The journal's limit may be lower than ours. The task fails, so that it does not wait for ever.
            Command::ReadyTask(ready) => {
                if verdict != ProposalVerdict::Invalid {
                    return;
                }
                let reason = error.map_or_else(|| "no reason was given".to_owned(), |error| error.message);
                let error = parameter_error(format!("the parameters were refused: {reason}"));
                self.fail(ready.run_id, ready.task_id, error);
            }
            Command::FailTask(_)
            | Command::DispatchTask(_)
            | Command::RequeueTask(_)
            | Command::ScheduleRetry(_)
            | Command::StartAttempt(_)
            | Command::CompleteAttempt(_)
            | Command::FailAttempt(_)
            | Command::StopAttempt(_) => {}
        }
    }

    fn fail(&mut self, run_id: RunId, task_id: TaskId, error: Failure) {
        let command = Command::FailTask(FailTask { run_id, task_id, attempt: 0, error });
        self.owner.propose(&Slice::Shard(run_id.shard()), command);
    }
}

fn parameter_error(message: String) -> Failure {
    Failure::new(ErrorCode::TaskParameterError, message)
}

fn substitute(task: &Task, scope: &dyn Scope, budget: &mut Budget) -> Result<Value, Failure> {
    let failed = |error: TemplateError| parameter_error(format!("parameter {error}"));
    let mut parameters = task.parameters.clone();
    // Program text is filled in by rules of its own: data never becomes code.
    let mut programs = Vec::new();
    for (name, &language) in &task.code {
        programs.extend(parameters.get_mut(name).map(|program| (name, language, program.take())));
    }
    let mut resolved = resolve(&parameters, scope, budget).map_err(failed)?;
    for (name, language, program) in programs {
        resolved[name] = match program {
            Value::String(text) => {
                let taken = |variable: &str| resolved.get(ENVIRONMENT).is_some_and(|env| env.get(variable).is_some());
                let filled = resolve_code(&text, language, name, scope, budget, &taken).map_err(failed)?;
                add_variables(&mut resolved, name, filled.variables)?;
                Value::String(filled.text)
            }
            other => {
                let mut any = false;
                references(&other, &mut |_, _| any = true);
                if any {
                    let why = "references are only possible in a program that is a single text";
                    return Err(parameter_error(format!("parameter `{name}`: {why}")));
                }
                other
            }
        };
    }
    Ok(resolved)
}

/// Adds the values of a program's references to the variables that the task defines.
fn add_variables(parameters: &mut Value, program: &str, variables: Vec<(String, String)>) -> Result<(), Failure> {
    if variables.is_empty() {
        return Ok(());
    }
    let Value::Object(parameters) = parameters else { return Ok(()) };
    let environment = parameters.entry(ENVIRONMENT).or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(environment) = environment else {
        let why = format!("the values in `{program}` become variables in it, so it must be an object");
        return Err(parameter_error(format!("parameter `{ENVIRONMENT}`: {why}")));
    };
    environment.extend(variables.into_iter().map(|(name, value)| (name, Value::String(value))));
    Ok(())
}

fn too_large(parameters: &Value, bytes: usize, limit: usize) -> Failure {
    let fields = parameters.as_object().into_iter().flat_map(Map::iter);
    let sized = fields.map(|(name, value)| (value.to_string().len(), name));
    let largest = sized.max().map_or_else(String::new, |(size, name)| format!(", of which `{name}` is {size}"));
    parameter_error(format!("the parameters are {bytes} bytes{largest}; the limit is {limit}"))
}

#[cfg(test)]
mod tests;
