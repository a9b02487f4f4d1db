//! Large stores, built without executing anything: every entry comes from the ledger's own decisions.

use std::path::Path;
use std::sync::Arc;

use anyhow::{anyhow, ensure};
use gleitzeit_control_plane::journal::{SqliteStore, Store};
use gleitzeit_protocols::Registry;
use gleitzeit_run::command::{CompleteAttempt, DispatchTask, ReadyTask};
use gleitzeit_run::event::{ProtocolRegistered, WorkflowSubmitted};
use gleitzeit_run::ledger::Ledger;
use gleitzeit_run::submission::{Environment, Given, bind};
use gleitzeit_run::{AttemptRef, Command, ComponentId, Entry, Epoch, Fence, Limits, Request, RunId, Slice, Verdict};
use gleitzeit_workflow::spec::{Priority, check};
use gleitzeit_workflow::{Payload, QueueName, TaskId, Timestamp};
use serde_json::json;
use uuid::Uuid;

/// Entries in a transaction.
const BATCH: usize = 1_000;
/// One component that plays all roles.
const COMPONENT: &str = "bench";
/// How long ago the first run was submitted; each next one follows a millisecond later.
const AGO_MS: i64 = 24 * 60 * 60 * 1_000;

struct Maker {
    ledger: Ledger,
    store: SqliteStore,
    batch: Vec<Arc<Entry>>,
    now: Timestamp,
    submitted: Arc<WorkflowSubmitted>,
}

struct NoEnvironment;

impl Environment for NoEnvironment {
    fn allows(&self, _name: &str) -> bool {
        false
    }

    fn read(&self, _name: &str) -> Option<String> {
        None
    }
}

/// Runs of a single task each, one after the other, all completed.
pub(crate) fn finished(path: &Path, runs: usize) -> anyhow::Result<()> {
    let workflow = "name: One\nlabels: {team: bench}\ntasks:\n  - {id: t0, method: util/echo, parameters: {n: 1}}\n";
    let mut maker = Maker::new(path, workflow)?;
    for at in 0..runs {
        let run_id = maker.submit(at)?;
        maker.ready(run_id, 0)?;
        maker.complete(run_id, 0)?;
        ensure!(maker.ledger.evict(run_id).is_some(), "run {run_id} has not ended");
    }
    maker.flush()
}

/// One run with this many tasks, all ready.
pub(crate) fn unfinished(path: &Path, tasks: usize) -> anyhow::Result<()> {
    let lines = (0..tasks).map(|at| format!("  - {{id: t{at}, method: util/echo, parameters: {{n: {at}}}}}\n"));
    let mut maker = Maker::new(path, &format!("name: Many\ntasks:\n{}", lines.collect::<String>()))?;
    let run_id = maker.submit(0)?;
    for at in 0..tasks {
        maker.ready(run_id, at)?;
    }
    maker.flush()
}

impl Maker {
    fn new(path: &Path, workflow: &str) -> anyhow::Result<Self> {
        let registry = Registry::shipped();
        let limits = gleitzeit_workflow::spec::Limits { bytes: usize::MAX, tasks: usize::MAX, ..Default::default() };
        let workflow = check(workflow, "bench", &registry, &limits).map_err(|problems| anyhow!("{problems:?}"))?;
        let bound = bind(workflow, Given::default(), &NoEnvironment, "bench").map_err(|it| anyhow!("{it:?}"))?;
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let mut maker = Self {
            ledger: Ledger::new(Limits::default()),
            store: SqliteStore::open(path)?,
            batch: Vec::with_capacity(BATCH),
            now: Timestamp(i64::try_from(wall.as_millis())? - AGO_MS),
            submitted: Arc::new(bound),
        };
        for protocol in registry.iter() {
            let protocol: ProtocolRegistered = protocol.to_registered();
            maker.propose(Request::RegisterProtocol { protocol })?;
        }
        let queue = Slice::Queue(QueueName::default_queue());
        for slice in gleitzeit_run::Shard::all().map(Slice::Shard).chain([queue]) {
            maker.propose(Request::Grant { slice, component_id: COMPONENT.into() })?;
        }
        maker.ledger.engine_connected(COMPONENT.into(), 64);
        Ok(maker)
    }

    fn propose(&mut self, request: Request) -> anyhow::Result<()> {
        let outcome = self.ledger.propose(&request, self.now)?;
        ensure!(matches!(outcome.verdict, Verdict::Ok { .. }), "{request:?}: {:?}", outcome.verdict);
        self.batch.extend(outcome.entries.into_iter().map(Arc::new));
        if self.batch.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.store.append(&self.batch)?;
        self.batch.clear();
        Ok(())
    }

    fn submit(&mut self, number: usize) -> anyhow::Result<RunId> {
        self.now = self.now.plus_ms(1);
        let at_ms = u64::try_from(self.now.0)?;
        let seconds = at_ms / 1_000;
        let nanos = u32::try_from(at_ms % 1_000)? * 1_000_000;
        let counter = u128::try_from(number)?;
        let context = uuid::ContextV7::new();
        let mut id = Uuid::new_v7(uuid::Timestamp::from_unix(&context, seconds, nanos)).as_u128();
        // Spreads the ids over all shards in turn.
        id = (id & !0xffff_ffff) | (counter & 0xffff_ffff);
        let run_id = RunId(Uuid::from_u128(id));
        let mut submitted = WorkflowSubmitted::clone(&self.submitted);
        submitted.correlation_id = run_id.correlation_id();
        self.propose(Request::Submit { run_id, submitted: Arc::new(submitted), known: None })?;
        Ok(run_id)
    }

    fn ready(&mut self, run_id: RunId, task: usize) -> anyhow::Result<()> {
        let command = Command::ReadyTask(ReadyTask {
            run_id,
            task_id: id(task),
            queue: QueueName::default_queue(),
            priority: Priority::default(),
            parameters: Payload::from_value(&json!({"n": task})),
        });
        self.as_owner(Slice::Shard(run_id.shard()), command)
    }

    fn complete(&mut self, run_id: RunId, task: usize) -> anyhow::Result<()> {
        let engine = ComponentId::from(COMPONENT);
        let dispatch = DispatchTask { run_id, task_id: id(task), attempt: 1, engine };
        self.as_owner(Slice::Queue(QueueName::default_queue()), Command::DispatchTask(dispatch))?;
        let at = AttemptRef { run_id, task_id: id(task), attempt: 1 };
        let result = Payload::from_value(&json!({"n": task}));
        let command = Command::CompleteAttempt(CompleteAttempt { at, result, ran_ms: 1 });
        self.propose(Request::Component { component_id: COMPONENT.into(), fence: None, command })
    }

    fn as_owner(&mut self, slice: Slice, command: Command) -> anyhow::Result<()> {
        let fence = Some(Fence { slice, epoch: Epoch(1) });
        self.propose(Request::Component { component_id: COMPONENT.into(), fence, command })
    }
}

fn id(task: usize) -> TaskId {
    TaskId::from(format!("t{task}").as_str())
}
