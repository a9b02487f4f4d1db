//! Sample data for the tests.

use gleitzeit_sdk::{
    Component, ComponentCounts, Explanation, HealthState, PresenceStatus, Provider, RecordedEvent, RunCounts, RunEvent,
    RunStatus, RunSummary, Status, Task, TaskStatus, Timestamp, Waiting,
};
use gleitzeit_workflow::{ErrorCode, Failure, Payload};
use serde_json::json;

use crate::document;
use crate::monitor::model::{Looks, Model};
use crate::monitor::query::{Detail, Seen};

/// The time at which the samples are viewed.
const NOW: Timestamp = Timestamp(1_000_000);

pub(in crate::monitor) fn run(number: u32, name: &str, status: RunStatus) -> RunSummary {
    let is_final = status != RunStatus::Running;
    RunSummary {
        run_id: format!("01a20df0-{number:04x}-7538-8952-f202349466ba"),
        correlation_id: String::new(),
        name: name.to_owned(),
        status,
        submitted_at: Some(NOW.minus_ms(83_000)),
        finished_at: is_final.then(|| NOW.minus_ms(80_560)),
        error: (status == RunStatus::Failed).then(|| Failure::new(ErrorCode::TaskTimeout, "too slow: 3 s are over")),
        task_count: 3,
        labels: Default::default(),
        retry_of: None,
    }
}

pub(in crate::monitor) fn seen() -> Seen {
    let status = Status {
        version: "0".to_owned(),
        started_at: None,
        ready: true,
        journal_position: 0,
        runs: RunCounts { running: 1, completed: 4, failed: 1, ..RunCounts::default() },
        components: ComponentCounts { queue: 1, resolver: 1, engine: 1, provider: 6 },
    };
    let runs = vec![
        run(3, "Nightly report", RunStatus::Running),
        run(2, "Two", RunStatus::Failed),
        run(1, "Quickstart with a name that is longer than others", RunStatus::Completed),
    ];
    Seen {
        status,
        runs,
        has_more_runs: false,
        components: vec![component()],
        providers: vec![provider()],
        detail: None,
        task: None,
    }
}

pub(in crate::monitor) fn model() -> Model {
    let mut model =
        Model::new("http://localhost:8000".to_owned(), Looks { relative_times: true, short_ids: true }, NOW);
    see(&mut model, seen());
    for (seq, kind, task) in
        [(41, "task_ready", "fetch"), (42, "task_dispatched", "fetch"), (43, "task_completed", "fetch")]
    {
        let run_id = Some(run(3, "", RunStatus::Running).run_id);
        model.happened(&RecordedEvent { position: seq, run_id, event: event(seq, kind, task) });
    }
    model
}

/// Feeds a query result, for the current query, into the model.
pub(in crate::monitor) fn see(model: &mut Model, seen: Seen) {
    let wanted = model.wanted();
    model.see(&wanted, Ok(seen));
}

pub(in crate::monitor) fn event(seq: u64, kind: &str, task: &str) -> RunEvent {
    RunEvent {
        seq,
        time: Some(NOW.minus_ms(5_000)),
        kind: kind.to_owned(),
        task_id: (!task.is_empty()).then(|| task.to_owned()),
        attempt: 1,
        payload: Some(Payload::from(json!({"ran_ms": 12}))),
        payload_omitted: false,
    }
}

/// Adds the events of the open run.
pub(in crate::monitor) fn events(model: &mut Model) {
    let run_id = model.wanted().run.expect("an open run");
    for (seq, kind, task) in [
        (1, "workflow_submitted", ""),
        (2, "task_ready", "fetch"),
        (3, "task_dispatched", "fetch"),
        (4, "task_completed", "fetch"),
        (5, "task_dispatched", "train"),
    ] {
        model.happened_in(&run_id, &event(seq, kind, task));
    }
}

pub(in crate::monitor) fn task(id: &str, status: TaskStatus) -> Task {
    let base = document::tests::run().tasks.remove(0);
    Task {
        id: id.to_owned(),
        status,
        result: None,
        started_at: Some(NOW.minus_ms(9_400)),
        finished_at: status.is_final().then(|| NOW.minus_ms(5_000)),
        ..base
    }
}

pub(in crate::monitor) fn detail() -> Detail {
    let of = run(3, "Nightly report", RunStatus::Running);
    let run = gleitzeit_sdk::Run {
        run_id: of.run_id.clone(),
        name: of.name.clone(),
        status: of.status,
        submitted_at: of.submitted_at,
        finished_at: None,
        error: None,
        task_count: 4,
        ..document::tests::run()
    };
    let waiting = Waiting {
        reason: "its dependencies `train` are not done".to_owned(),
        since: Some(NOW.minus_ms(83_000)),
        until: None,
        remedy: None,
    };
    let failure =
        Failure::new(ErrorCode::TaskExecutionFailed, "exit code 3").with_data(Payload::from(json!({"output": "a\n"})));
    let tasks = vec![
        Task { result: Some(Payload::from(json!({"n": 1}))), ..task("fetch", TaskStatus::Completed) },
        Task { attempt: 2, method: "shell/run".to_owned(), ..task("train", TaskStatus::Running) },
        Task { error: Some(failure), ..task("broken", TaskStatus::Failed) },
        Task { attempt: 0, started_at: None, waiting: Some(waiting), ..task("last", TaskStatus::Waiting) },
    ];
    let explanation = Explanation {
        run_id: of.run_id,
        name: of.name,
        status: of.status,
        waiting: None,
        error: None,
        tasks: tasks[3..].to_vec(),
        more_tasks: 0,
        dependent_tasks: 1,
    };
    Detail { run, explanation, tasks, has_more_tasks: false }
}

fn component() -> Component {
    Component {
        component_id: "engine-0001".to_owned(),
        role: gleitzeit_mesh::wire::Role::Engine,
        name: "worker-1".to_owned(),
        version: "0".to_owned(),
        status: PresenceStatus::Connected,
        connected_since: Some(NOW.minus_ms(7_200_000)),
        capacity: 8,
        in_use: 2,
        queues: Vec::new(),
        methods: Vec::new(),
        capabilities: Vec::new(),
        owned_shards: Vec::new(),
        owned_queues: vec!["default".to_owned()],
    }
}

fn provider() -> Provider {
    Provider {
        name: "ollama".to_owned(),
        component_id: "provider-0001".to_owned(),
        status: PresenceStatus::Connected,
        protocols: vec!["llm/v1".to_owned()],
        methods: vec!["llm/chat".to_owned()],
        health: HealthState::Unhealthy,
        health_reason: Some(
            "Ollama is not reachable at http://127.0.0.1:11434; start it with `ollama serve`".to_owned(),
        ),
        in_flight: 0,
        capacity: 4,
        capabilities: Vec::new(),
        address: None,
    }
}
