//! What the tests of the domain share: small workflows and a ledger that is driven by hand.

#![allow(clippy::allow_attributes, dead_code, reason = "each test binary uses its own part")]

use std::sync::Arc;

use gleitzeit_core::ledger::{Ledger, Outcome};
use gleitzeit_core::run::command::{
    Command, CompleteAttempt, DispatchTask, FailAttempt, Fence, ReadyTask, StopAttempt,
};
use gleitzeit_core::run::event::{StopReason, WorkflowSubmitted};
use gleitzeit_core::run::{Entry, Limits, Request, State, TaskStatus, Verdict};
use gleitzeit_core::spec::{Priority, RetryPolicy, Task, Workflow};
use gleitzeit_core::{
    AttemptRef, ComponentId, Epoch, ErrorCode, Failure, Payload, QueueName, RunId, Slice, TaskId, Timestamp,
};
use serde_json::{Value, json};

/// A task that echoes, with the given dependencies.
pub(crate) fn task(id: &str, dependencies: &[&str]) -> Task {
    Task {
        id: id.into(),
        method: "util/echo".into(),
        provider: None,
        protocol_version: "v1".to_owned(),
        priority: Priority::default(),
        queue: QueueName::default_queue(),
        timeout_ms: None,
        retry: RetryPolicy::default(),
        dependencies: dependencies.iter().map(|id| TaskId::from(*id)).collect(),
        parameters: json!({}),
        code: Default::default(),
    }
}

/// A workflow of tasks, with outputs by template.
pub(crate) fn workflow(tasks: Vec<Task>, outputs: &[(&str, &str)]) -> Workflow {
    Workflow {
        name: "test".to_owned(),
        description: None,
        version: None,
        labels: Default::default(),
        inputs: Default::default(),
        files: Default::default(),
        timeout_ms: None,
        tasks,
        outputs: outputs.iter().map(|(name, value)| ((*name).to_owned(), Value::String((*value).to_owned()))).collect(),
    }
}

pub(crate) fn submitted(workflow: Workflow) -> Arc<WorkflowSubmitted> {
    Arc::new(WorkflowSubmitted {
        workflow,
        inputs: Payload::from(json!({})),
        files: Default::default(),
        env: Default::default(),
        labels: Default::default(),
        correlation_id: "0".repeat(32),
        traceparent: None,
        retry_of: None,
        request: None,
        prepared: Default::default(),
    })
}

pub(crate) fn run_id(n: u128) -> RunId {
    RunId(uuid::Uuid::from_u128(n))
}

/// A ledger with its journal, and components that own and work as the test says.
pub(crate) struct Desk {
    pub(crate) ledger: Ledger,
    pub(crate) journal: Vec<Entry>,
    pub(crate) now: Timestamp,
    pub(crate) run: RunId,
}

impl Desk {
    /// One resolver `r` and one queue role `q` own everything; engine `e` has the given slots.
    pub(crate) fn new(slots: u32) -> Self {
        let mut desk =
            Self { ledger: Ledger::new(Limits::default()), journal: Vec::new(), now: Timestamp(1_000), run: run_id(1) };
        desk.ok(Request::Grant { slice: Slice::Shard(run_id(1).shard()), component_id: "r".into() });
        desk.ok(Request::Grant { slice: Slice::Queue(QueueName::default_queue()), component_id: "q".into() });
        desk.ledger.engine_connected("e".into(), slots);
        desk
    }

    pub(crate) fn propose(&mut self, request: Request) -> Outcome {
        let outcome = self.ledger.propose(&request, self.now).expect("what is decided can be recorded");
        self.journal.extend(outcome.entries.iter().cloned());
        outcome
    }

    pub(crate) fn ok(&mut self, request: Request) -> Outcome {
        let outcome = self.propose(request.clone());
        assert!(matches!(outcome.verdict, Verdict::Ok { .. }), "{request:?}: {:?}", outcome.verdict);
        outcome
    }

    pub(crate) fn submit(&mut self, workflow: Workflow) -> Outcome {
        self.ok(Request::Submit { run_id: self.run, submitted: submitted(workflow), known: None })
    }

    pub(crate) fn state(&self) -> &State {
        self.ledger.run(self.run).expect("the run is held")
    }

    pub(crate) fn status(&self, id: &str) -> TaskStatus {
        let state = self.state();
        state.tasks[state.index_of(id).expect("the task exists")].status
    }

    pub(crate) fn at(&self, id: &str, attempt: u32) -> AttemptRef {
        AttemptRef { run_id: self.run, task_id: id.into(), attempt }
    }

    pub(crate) fn resolver(&self, command: Command) -> Request {
        self.component("r", Some(Slice::Shard(self.run.shard())), command)
    }

    pub(crate) fn queue(&self, command: Command) -> Request {
        self.component("q", Some(Slice::Queue(QueueName::default_queue())), command)
    }

    pub(crate) fn engine(&self, command: Command) -> Request {
        self.component("e", None, command)
    }

    pub(crate) fn component(&self, id: &str, slice: Option<Slice>, command: Command) -> Request {
        let fence = slice.map(|slice| Fence { slice, epoch: Epoch(1) });
        Request::Component { component_id: ComponentId::from(id), fence, command }
    }

    pub(crate) fn ready(&self, id: &str) -> Request {
        self.resolver(
            ReadyTask {
                run_id: self.run,
                task_id: id.into(),
                queue: QueueName::default_queue(),
                priority: Priority::default(),
                parameters: Payload::from(json!({})),
            }
            .into(),
        )
    }

    pub(crate) fn dispatch(&self, id: &str, attempt: u32) -> Request {
        self.queue(DispatchTask { run_id: self.run, task_id: id.into(), attempt, engine: "e".into() }.into())
    }

    pub(crate) fn complete(&self, id: &str, attempt: u32, result: Value) -> Request {
        self.engine(CompleteAttempt { at: self.at(id, attempt), result: Payload::from(result), ran_ms: 5 }.into())
    }

    pub(crate) fn fail(&self, id: &str, attempt: u32) -> Request {
        let error = Failure::new(ErrorCode::TaskExecutionFailed, "no luck");
        let at = self.at(id, attempt);
        self.engine(FailAttempt { at, error, retryable: true, retry_after_ms: None, ran_ms: 5 }.into())
    }

    pub(crate) fn stop(&self, id: &str, attempt: u32, reason: StopReason) -> Request {
        Request::HubStop { stop: StopAttempt { at: self.at(id, attempt), reason } }
    }

    /// Ready, dispatched and completed in its first attempt.
    pub(crate) fn through(&mut self, id: &str, result: Value) {
        self.ok(self.ready(id));
        self.ok(self.dispatch(id, 1));
        self.ok(self.complete(id, 1, result));
    }

    /// Folding the journal anew gives the same as living through it.
    pub(crate) fn check_replay(&self) {
        let mut replayed = Ledger::new(Limits::default());
        for entry in &self.journal {
            replayed.apply(entry).expect("the journal can be replayed");
        }
        for run in self.ledger.runs() {
            assert_eq!(replayed.run(run.run_id), Some(run));
        }
        assert!(self.ledger.open_attempts().eq(replayed.open_attempts()));
        assert!(self.ledger.owners().eq(replayed.owners()));
        assert_eq!(self.ledger.position(), replayed.position());
    }
}
