//! The fold: it takes entries and emits spans as they end. It keeps little data, and only on tasks that have not ended.

use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::id::{MethodName, TaskId};
use gleitzeit_workflow::time::Timestamp;
use serde_json::Value;

use super::{MAX_ITEMS, Outcome, Span, SpanId, TraceId, TraceParent, gen_ai, short};
use crate::dependencies::{Became, Dependencies};
use crate::event::{
    StopReason, TaskAttemptFailed, TaskAttemptStopped, TaskCompleted, TaskDispatched, TaskReady, WorkflowSubmitted,
};
use crate::id::{Attempt, AttemptRef, RunId};
use crate::{Entry, Event};

type Attributes = Vec<(&'static str, Value)>;

/// Follows a run from its first entry to its last.
#[derive(Clone, Debug)]
pub struct Recorder {
    run_id: RunId,
    trace_id: TraceId,
    name: String,
    start: Timestamp,
    caller: Option<SpanId>,
    is_sampled: Option<bool>,
    attributes: Attributes,
    ids: Vec<TaskId>,
    dependencies: Dependencies,
    tasks: Vec<TaskTrace>,
}

/// What a task is doing. Together the phases fill the task's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its resolver has not yet resolved its parameters.
    Resolve,
    /// It waits in its queue.
    Queue,
    /// An engine holds the lease of an attempt.
    Attempt,
    /// The owner of its queue has not yet decided what follows an ended attempt.
    Decide,
    /// It is not retried before this time; then it waits in its queue.
    Backoff { until: Timestamp },
}

#[derive(Clone, Debug, Default)]
struct TaskTrace {
    /// When the last dependency completed.
    start: Option<Timestamp>,
    phase: Option<(Phase, Timestamp)>,
    /// How many phases have ended; the number distinguishes their spans.
    phases: u32,
    attempt: Attempt,
    method: Option<MethodName>,
    /// The attributes of every attempt.
    asked: Attributes,
    /// The attributes of the open attempt.
    attributes: Attributes,
}

impl Recorder {
    /// Begins with the first entry of a run; `None` for any other entry.
    pub fn begin(entry: &Entry) -> Option<Self> {
        let Event::WorkflowSubmitted(submitted) = &entry.event else { return None };
        let (run_id, start) = (entry.run_id?, entry.recorded_at);
        let dependencies = Dependencies::new(submitted.graph());
        let tasks = (0..submitted.workflow.tasks.len()).map(|at| {
            let begun = dependencies.are_met(at).then_some(start);
            TaskTrace { start: begun, phase: begun.map(|at| (Phase::Resolve, at)), ..TaskTrace::default() }
        });
        let (caller, is_sampled) = caller(submitted);
        Some(Self {
            run_id,
            trace_id: TraceId::parse(&submitted.correlation_id)?,
            name: short(&format!("workflow {}", submitted.workflow.name)),
            start,
            caller,
            is_sampled,
            attributes: run_attributes(run_id, submitted),
            ids: submitted.workflow.tasks.iter().map(|task| task.id.clone()).collect(),
            tasks: tasks.collect(),
            dependencies,
        })
    }

    /// The trace that the run belongs to.
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// Whether the caller wants the trace sampled; `None` if it did not say.
    pub fn is_sampled(&self) -> Option<bool> {
        self.is_sampled
    }

    /// Takes the next entry and appends the spans that it ends.
    pub fn record(&mut self, entry: &Entry, spans: &mut Vec<Span>) {
        let now = entry.recorded_at;
        match &entry.event {
            Event::TaskReady(event) => self.ready(event, now, spans),
            Event::TaskDispatched(event) => self.dispatched(event, now, spans),
            Event::TaskStarted(event) => self.started(&event.task_id, now.minus_ms(event.ran_ms)),
            Event::TaskCompleted(event) => self.completed(event, now, spans),
            Event::TaskAttemptFailed(event) => self.attempt_failed(event, now, spans),
            Event::TaskAttemptStopped(event) => self.attempt_stopped(event, now, spans),
            Event::TaskRequeued(event) => {
                if let Some(at) = self.at(&event.task_id) {
                    self.enter(at, Phase::Queue, now, spans);
                }
            }
            Event::TaskRetryScheduled(event) => {
                if let Some(at) = self.at(&event.task_id) {
                    self.enter(at, Phase::Backoff { until: now.plus_ms(event.delay_ms) }, now, spans);
                }
            }
            Event::TaskFailed(event) => {
                let Some(at) = self.at(&event.task_id) else { return };
                self.finish(at, Became::Failed, now, error(&event.error), Some(error_type(&event.error)), spans);
            }
            Event::TaskSkipped(event) => {
                let Some(at) = self.at(&event.task_id) else { return };
                let because = Some(("gleitzeit.skipped_because", Value::from(event.because.to_string())));
                self.finish(at, Became::Skipped, now, Outcome::Unset, because, spans);
            }
            Event::TaskCancelled(event) => {
                let Some(at) = self.at(&event.task_id) else { return };
                self.finish(at, Became::Cancelled, now, Outcome::Unset, None, spans);
            }
            Event::WorkflowCompleted(_) => spans.push(self.run("completed", Some(now), None)),
            Event::WorkflowFailed(event) => spans.push(self.run("failed", Some(now), Some(&event.error))),
            Event::WorkflowCancelled(event) => {
                let cancelled = self.run("cancelled", Some(now), Some(&event.failure()));
                spans.push(Span { outcome: Outcome::Error(short(&event.failure().message)), ..cancelled });
            }
            Event::WorkflowSubmitted(_)
            | Event::WorkflowCancelRequested(_)
            | Event::OwnershipGranted(_)
            | Event::ProtocolRegistered(_)
            | Event::ProtocolsUsed(_)
            | Event::ProtocolRemoved(_) => {}
        }
    }

    fn ready(&mut self, event: &TaskReady, now: Timestamp, spans: &mut Vec<Span>) {
        let Some(at) = self.at(&event.task_id) else { return };
        self.enter(at, Phase::Queue, now, spans);
        let task = &mut self.tasks[at];
        task.method = Some(event.method.clone());
        task.asked = vec![
            ("gleitzeit.method", Value::from(event.method.as_str())),
            ("gleitzeit.queue", Value::from(event.queue.to_string())),
        ];
        task.asked.extend(gen_ai::asked(&event.method, &event.parameters));
    }

    fn dispatched(&mut self, event: &TaskDispatched, now: Timestamp, spans: &mut Vec<Span>) {
        let Some(at) = self.at(&event.task_id) else { return };
        self.enter(at, Phase::Attempt, now, spans);
        self.tasks[at].attempt = event.attempt;
        self.tasks[at].attributes = vec![("gleitzeit.engine", Value::from(event.engine.to_string()))];
    }

    fn completed(&mut self, event: &TaskCompleted, now: Timestamp, spans: &mut Vec<Span>) {
        let Some(at) = self.at(&event.task_id) else { return };
        if !event.carried {
            self.started(&event.task_id, now.minus_ms(event.ran_ms));
            let task = &mut self.tasks[at];
            if let Some(method) = &task.method {
                let answered = gen_ai::answered(method, &event.result);
                task.attributes.extend(answered);
            }
        }
        self.close(at, now, Outcome::Ok, spans);
        let carried = event.carried.then_some(("gleitzeit.carried", Value::from(true)));
        self.finish(at, Became::Completed, now, Outcome::Ok, carried, spans);
    }

    fn attempt_failed(&mut self, event: &TaskAttemptFailed, now: Timestamp, spans: &mut Vec<Span>) {
        self.started(&event.task_id, now.minus_ms(event.ran_ms));
        let Some(at) = self.at(&event.task_id) else { return };
        self.tasks[at].attributes.push(error_type(&event.error));
        self.close(at, now, error(&event.error), spans);
        self.tasks[at].phase = Some((Phase::Decide, now));
    }

    fn attempt_stopped(&mut self, event: &TaskAttemptStopped, now: Timestamp, spans: &mut Vec<Span>) {
        let Some(at) = self.at(&event.task_id) else { return };
        // An enum without fields serializes as its name.
        let reason = serde_json::to_value(event.reason).expect("a name is serializable");
        let outcome = match event.reason {
            StopReason::Cancelled => Outcome::Unset,
            // A loss has no error code in the table, so the stop reason serves as its type.
            why => {
                self.tasks[at].attributes.push(("error.type", reason.clone()));
                Outcome::Error(why.text().to_owned())
            }
        };
        self.tasks[at].attributes.push(("gleitzeit.stop_reason", reason));
        self.close(at, now, outcome, spans);
        self.tasks[at].phase = Some((Phase::Decide, now));
    }

    /// The spans that have begun and not ended, if the run goes on.
    pub fn open(&self) -> Vec<Span> {
        let mut spans = vec![self.run("running", None, None)];
        for (at, task) in self.tasks.iter().enumerate() {
            if let (Some(start), Some((phase, since))) = (task.start, task.phase) {
                spans.push(self.task(at, "running", start, None, Outcome::Unset, None));
                spans.push(self.phase(at, phase, since, None, Outcome::Unset));
            }
        }
        spans
    }

    fn at(&self, id: &TaskId) -> Option<usize> {
        self.dependencies.graph().index_of(id.as_str())
    }

    /// Records how long an attempt took to start.
    fn started(&mut self, id: &TaskId, started: Timestamp) {
        let Some(at) = self.at(id) else { return };
        let task = &mut self.tasks[at];
        let is_known = task.attributes.iter().any(|(name, _)| *name == "gleitzeit.dispatch_ms");
        if let Some((Phase::Attempt, since)) = task.phase.filter(|_| !is_known) {
            task.attributes.push(("gleitzeit.dispatch_ms", Value::from(started.ms_since(since))));
        }
    }

    fn enter(&mut self, at: usize, phase: Phase, now: Timestamp, spans: &mut Vec<Span>) {
        self.close(at, now, Outcome::Unset, spans);
        self.tasks[at].phase = Some((phase, now));
    }

    /// Ends a task's current phase. Phases of zero length are left out, except for attempts.
    fn close(&mut self, at: usize, now: Timestamp, outcome: Outcome, spans: &mut Vec<Span>) {
        let Some((mut phase, mut since)) = self.tasks[at].phase.take() else { return };
        if let Phase::Backoff { until } = phase
            && until < now
        {
            spans.push(self.phase(at, phase, since, Some(until), Outcome::Unset));
            self.tasks[at].phases += 1;
            (phase, since) = (Phase::Queue, until);
        }
        if phase == Phase::Attempt || since < now {
            spans.push(self.phase(at, phase, since, Some(now), outcome));
            self.tasks[at].phases += 1;
        }
    }

    /// Ends a task, and begins those whose dependencies are met by that.
    fn finish(
        &mut self,
        at: usize,
        became: Became,
        now: Timestamp,
        outcome: Outcome,
        more: Option<(&'static str, Value)>,
        spans: &mut Vec<Span>,
    ) {
        self.close(at, now, Outcome::Unset, spans);
        let start = self.tasks[at].start.unwrap_or(now);
        spans.push(self.task(at, became.name(), start, Some(now), outcome, more));
        let task = &mut self.tasks[at];
        (task.asked, task.attributes, task.method) = (Vec::new(), Vec::new(), None);
        for dependent in self.dependencies.end(at, became) {
            let task = &mut self.tasks[dependent];
            (task.start, task.phase) = (Some(now), Some((Phase::Resolve, now)));
        }
    }

    fn run(&self, status: &'static str, end: Option<Timestamp>, failure: Option<&Failure>) -> Span {
        let mut attributes = self.attributes.clone();
        attributes.push(("gleitzeit.run.status", Value::from(status)));
        attributes.extend(failure.map(error_type));
        let outcome = match (failure, end) {
            (Some(failure), _) => error(failure),
            (None, Some(_)) => Outcome::Ok,
            (None, None) => Outcome::Unset,
        };
        Span {
            trace_id: self.trace_id,
            span_id: SpanId::of_run(self.run_id),
            parent: self.caller,
            is_remote: self.caller.is_some(),
            name: self.name.clone(),
            start: self.start,
            end,
            outcome,
            attributes,
        }
    }

    fn task(
        &self,
        at: usize,
        status: &'static str,
        start: Timestamp,
        end: Option<Timestamp>,
        outcome: Outcome,
        more: Option<(&'static str, Value)>,
    ) -> Span {
        let (id, task) = (&self.ids[at], &self.tasks[at]);
        let mut attributes = self.place(at);
        attributes.extend(task.asked.iter().take(2).cloned());
        attributes.push(("gleitzeit.task.status", Value::from(status)));
        attributes.push(("gleitzeit.task.attempts", Value::from(task.attempt)));
        attributes.extend(more);
        Span {
            trace_id: self.trace_id,
            span_id: SpanId::of_task(self.run_id, id),
            parent: Some(SpanId::of_run(self.run_id)),
            is_remote: false,
            name: format!("task {id}"),
            start,
            end,
            outcome,
            attributes,
        }
    }

    fn phase(&self, at: usize, phase: Phase, start: Timestamp, end: Option<Timestamp>, outcome: Outcome) -> Span {
        let (id, task) = (&self.ids[at], &self.tasks[at]);
        let mut attributes = self.place(at);
        let attempt = AttemptRef { run_id: self.run_id, task_id: id.clone(), attempt: task.attempt };
        let (name, span_id) = match phase {
            Phase::Attempt => {
                attributes.push(("gleitzeit.attempt", Value::from(task.attempt)));
                attributes.extend(task.asked.iter().chain(&task.attributes).cloned());
                (format!("attempt {}", task.attempt), SpanId::of_attempt(&attempt))
            }
            Phase::Resolve => ("resolve".to_owned(), self.waiting(at)),
            Phase::Queue => ("queue".to_owned(), self.waiting(at)),
            Phase::Decide => ("decide".to_owned(), self.waiting(at)),
            Phase::Backoff { .. } => ("backoff".to_owned(), self.waiting(at)),
        };
        Span {
            trace_id: self.trace_id,
            span_id,
            parent: Some(SpanId::of_task(self.run_id, id)),
            is_remote: false,
            name,
            start,
            end,
            outcome,
            attributes,
        }
    }

    fn waiting(&self, at: usize) -> SpanId {
        SpanId::of(&format!("{}/{}/phase {}", self.run_id, self.ids[at], self.tasks[at].phases))
    }

    /// The attributes that every span of a task has.
    fn place(&self, at: usize) -> Attributes {
        vec![
            ("gleitzeit.run.id", Value::from(self.run_id.to_string())),
            ("gleitzeit.task.id", Value::from(self.ids[at].to_string())),
        ]
    }
}

/// The caller's span, and whether it wants the trace sampled.
fn caller(submitted: &WorkflowSubmitted) -> (Option<SpanId>, Option<bool>) {
    let Some(parent) = submitted.traceparent.as_deref().and_then(TraceParent::parse) else { return (None, None) };
    (u64::from_str_radix(parent.span_id, 16).ok().map(SpanId), Some(parent.is_sampled()))
}

fn run_attributes(run_id: RunId, submitted: &WorkflowSubmitted) -> Attributes {
    let mut attributes = vec![
        ("gleitzeit.run.id", Value::from(run_id.to_string())),
        ("gleitzeit.workflow.name", Value::from(short(&submitted.workflow.name))),
        ("gleitzeit.workflow.tasks", Value::from(submitted.workflow.tasks.len())),
    ];
    if !submitted.labels.is_empty() {
        let labels = submitted.labels.iter().take(MAX_ITEMS);
        let labels = labels.map(|(name, value)| Value::from(short(&format!("{name}={value}"))));
        attributes.push(("gleitzeit.labels", Value::from(labels.collect::<Vec<_>>())));
    }
    if let Some(old) = submitted.retry_of {
        attributes.push(("gleitzeit.retry_of", Value::from(old.to_string())));
    }
    attributes
}

fn error(failure: &Failure) -> Outcome {
    Outcome::Error(short(&failure.to_string()))
}

/// The name of an error of the table, or the number of a foreign provider's error.
fn error_type(failure: &Failure) -> (&'static str, Value) {
    let name =
        ErrorCode::from_code(failure.code).map_or_else(|| failure.code.to_string(), |code| code.name().to_owned());
    ("error.type", Value::from(name))
}
