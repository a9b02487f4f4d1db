//! Events that the hub sends.

use gleitzeit_fixtures::{submitted, task, workflow};
use gleitzeit_mesh::wire::{
    AppendResult, CancelMethod, CancelTask, ComponentRegistered, ComponentStatus, Events, EventsItem, ExecuteMethod,
    ExecuteTask, FromHub, Health, HealthState, Heartbeat, MeshError, MethodResult, MethodStarted, MethodWaiting,
    Ownership, OwnershipStatus, Part, PresenceStatus, ProposalResult, ProposalVerdict, ProtocolDefinition, Protocols,
    RegistrationRejected, Role, StatePage, Welcome,
};
use gleitzeit_run::event::{StopReason, TaskCompleted, TaskDispatched};
use gleitzeit_run::ledger::{
    Assignment, AttemptEnd, OpenAttempt, QueueTask, QueueTaskStatus, RunHeader, SliceItem, TaskFact,
};
use gleitzeit_run::{Entry, Epoch, Event, Position, Secret, Seq, Shard, Slice, TaskStatus};
use gleitzeit_workflow::spec::{Priority, RetryPolicy};
use gleitzeit_workflow::{ErrorCode, Failure, Payload, ProtocolName, Timestamp};
use serde_json::json;

use crate::to_hub::{call, error, result};
use crate::{at, check, files, payload, schemas};

fn queue_tasks() -> Vec<SliceItem> {
    let task = |task: &str, status| {
        SliceItem::QueueTask(QueueTask {
            run_id: at(task, 0).run_id,
            task_id: task.into(),
            method: "math/add".into(),
            provider: None,
            priority: Priority::default(),
            order: Position(9),
            age_ms: 1_500,
            retry: RetryPolicy::default(),
            attempt: 1,
            failures: 1,
            losses: 0,
            lost: Vec::new(),
            status,
        })
    };
    let failed = AttemptEnd::Failed {
        error: Failure::new(ErrorCode::TaskTimeout, "too slow"),
        retryable: true,
        retry_after_ms: None,
    };
    let stopped = AttemptEnd::Stopped { reason: StopReason::EngineLost, engine: "engine-1".into() };
    vec![
        task("a", QueueTaskStatus::Ready),
        task("b", QueueTaskStatus::Backoff { remaining_ms: 250 }),
        task("c", QueueTaskStatus::Open { engine: "engine-1".into() }),
        task("d", QueueTaskStatus::Ended(failed)),
        task("e", QueueTaskStatus::Ended(stopped)),
        SliceItem::OpenAttempt(OpenAttempt {
            at: at("f", 2),
            engine: "engine-1".into(),
            method: "math/add".into(),
            provider: None,
            queue: "slow".into(),
        }),
    ]
}

fn shard_items() -> Vec<SliceItem> {
    let run_id = at("a", 0).run_id;
    let tasks = vec![task("a", &[]), task("b", &["a"])];
    vec![
        SliceItem::Run(RunHeader {
            run_id,
            submitted: submitted(workflow(tasks, &[("sum", "${b.sum}")])),
            remaining_ms: Some(60_000),
            cancel_requested: false,
        }),
        SliceItem::Task(TaskFact {
            run_id,
            task_id: "a".into(),
            status: TaskStatus::Completed,
            result: Some(payload(json!({"sum": 3}))),
        }),
        SliceItem::Task(TaskFact { run_id, task_id: "b".into(), status: TaskStatus::Ready, result: None }),
    ]
}

fn page(slice: Slice, items: &[SliceItem], part: Option<Part>, last: bool) -> FromHub {
    let items = items.iter().map(|item| {
        let text = serde_json::to_string(item).expect("serializable");
        Payload::parse(text).expect("JSON")
    });
    StatePage { slice, epoch: Epoch(3), items: items.collect(), part, last }.into()
}

fn entry(position: u64, event: impl Into<Event>) -> Entry {
    Entry {
        position: Position(position),
        run_id: Some(at("a", 1).run_id),
        seq: Seq(3),
        recorded_at: Timestamp(1_764_000_000_123),
        queue: Some("default".into()),
        event: event.into(),
    }
}

fn entries() -> Vec<Entry> {
    let dispatched = TaskDispatched {
        task_id: "a".into(),
        attempt: 1,
        engine: "engine-1".into(),
        method: "math/add".into(),
        provider: None,
    };
    let completed = TaskCompleted {
        task_id: "a".into(),
        attempt: 1,
        result: payload(json!({"sum": 3})),
        ran_ms: 70,
        carried: false,
    };
    vec![entry(41, dispatched), entry(42, completed)]
}

fn verdicts() -> AppendResult {
    let results = [
        (ProposalVerdict::Ok, Some(Position(42)), None),
        (ProposalVerdict::Duplicate, None, None),
        (ProposalVerdict::Fenced, None, None),
        (ProposalVerdict::NoSlot, None, None),
        (ProposalVerdict::Invalid, None, Some(Failure::new(ErrorCode::TaskNotFound, "no task `z`"))),
    ];
    let results = results.into_iter().zip(1_u32..).map(|((verdict, position, error), number)| ProposalResult {
        proposal_id: format!("p{number}").into(),
        verdict,
        position,
        error,
    });
    AppendResult { results: results.collect() }
}

fn assignment() -> Assignment {
    Assignment {
        at: at("a", 1),
        dispatched: Position(0),
        method: "math/add".into(),
        provider: None,
        protocol_version: "v1".to_owned(),
        parameters: payload(json!({"numbers": [1, 2]})),
        timeout_ms: Some(10_000),
        run_remaining_ms: Some(60_000),
        priority: Priority::default(),
        correlation_id: "01930a5c7e317c3d9b4f2a6d5e8f9c01".to_owned(),
        traceparent: Some("00-01930a5c7e317c3d9b4f2a6d5e8f9c01-b7ad6b7169203331-01".to_owned()),
    }
}

fn presence() -> Vec<(&'static str, FromHub)> {
    let provider = ComponentStatus {
        component_id: "provider-1".into(),
        role: Role::Provider,
        name: "disks".to_owned(),
        status: PresenceStatus::Connected,
        methods: vec!["math/add".into()],
        queues: None,
        capacity: 4,
        health: Health::unhealthy("no disk"),
    };
    let engine = ComponentStatus {
        component_id: "engine-1".into(),
        role: Role::Engine,
        name: "ada".to_owned(),
        methods: Vec::new(),
        queues: Some(vec!["default".into()]),
        health: Health::default(),
        ..provider.clone()
    };
    let silent = ComponentStatus { status: PresenceStatus::Silent, queues: None, ..engine.clone() };
    let lost = ComponentStatus { status: PresenceStatus::Lost, health: Health::default(), ..provider.clone() };
    let health = Health { state: HealthState::Starting, ..Health::default() };
    let starting = ComponentStatus { name: String::new(), health, ..provider.clone() };
    vec![
        ("component_status", provider.into()),
        ("component_status-engine", engine.into()),
        ("component_status-silent", silent.into()),
        ("component_status-lost", lost.into()),
        ("component_status-starting", starting.into()),
    ]
}

fn work() -> Vec<(&'static str, FromHub)> {
    let urgent = Assignment { priority: Priority(4), ..assignment() };
    let named = Assignment { provider: Some("disks".into()), ..assignment() };
    let placed = Assignment { dispatched: Position(41), ..assignment() };
    let least = Assignment { timeout_ms: None, run_remaining_ms: None, traceparent: None, ..assignment() };
    vec![
        ("execute_task", ExecuteTask { tasks: vec![assignment(), least] }.into()),
        ("execute_task-dispatched", ExecuteTask { tasks: vec![placed] }.into()),
        ("execute_task-provider", ExecuteTask { tasks: vec![named] }.into()),
        ("execute_task-priority", ExecuteTask { tasks: vec![urgent] }.into()),
        ("cancel_task", CancelTask { attempts: vec![at("a", 1)] }.into()),
        ("execute_method", ExecuteMethod { calls: vec![call("a")] }.into()),
        ("execute_method-several", ExecuteMethod { calls: vec![call("a"), call("b")] }.into()),
        ("method_result", MethodResult { results: vec![result("a")] }.into()),
        ("method_result-error", MethodResult { results: vec![error("a")] }.into()),
        ("method_waiting", MethodWaiting { ids: vec![call("a").id, call("b").id] }.into()),
        ("method_started", MethodStarted { ids: vec![call("a").id] }.into()),
        ("cancel_method", CancelMethod { id: call("a").id }.into()),
    ]
}

fn journal() -> Vec<(&'static str, FromHub)> {
    let (shard, queue) = (Slice::Shard(Shard(7)), Slice::Queue("default".into()));
    let granted = Ownership {
        status: OwnershipStatus::Granted,
        slice: shard.clone(),
        epoch: Epoch(3),
        position: Position(41),
        state_follows: true,
    };
    let revoked =
        Ownership { status: OwnershipStatus::Revoked, slice: queue.clone(), state_follows: false, ..granted.clone() };
    let part = || Part { part: 1, of: 3, text: "\"é\\".to_owned() };
    vec![
        ("ownership", granted.into()),
        ("ownership-revoked", revoked.into()),
        ("state-queue", page(queue.clone(), &queue_tasks(), None, true)),
        ("state-shard", page(shard.clone(), &shard_items(), None, false)),
        ("state-part", page(shard, &[], Some(part()), false)),
        ("state-empty", page(queue, &[], None, true)),
        ("events", Events { entries: entries().iter().map(EventsItem::full).collect() }.into()),
        ("events-own", Events { entries: vec![EventsItem::own(Position(42), "p1".into())] }.into()),
        ("events-part", Events { entries: vec![EventsItem::piece(Position(40), part())] }.into()),
        ("append_result", verdicts().into()),
    ]
}

fn greeting() -> Vec<(&'static str, FromHub)> {
    let math = ProtocolDefinition { name: "math".to_owned(), version: "v1".to_owned(), methods: schemas() };
    let error = Failure::new(ErrorCode::ProtocolVersionMismatch, "`math` `v1` has other schemas");
    let refused = MeshError::new(ErrorCode::InvalidRequest, "a queue does not send `watch`", Some("m1".to_owned()));
    vec![
        ("welcome", Welcome { version: "0.1.0".to_owned(), term: None }.into()),
        ("welcome-term", Welcome { version: "0.1.0".to_owned(), term: Some("9f4e21aa03c6d871".into()) }.into()),
        ("welcome-least", Welcome::default().into()),
        ("component_registered", ComponentRegistered::new("provider-1".into(), "math", 5_000).into()),
        (
            "component_registered-anew",
            ComponentRegistered {
                secret: Some(Secret::new("5a1d0c9e5a1d0c9e5a1d0c9e5a1d0c9e")),
                term: Some("9f4e21aa03c6d871".into()),
                starts_anew: true,
                ..ComponentRegistered::new("engine-1".into(), "", 5_000)
            }
            .into(),
        ),
        ("registration_rejected", RegistrationRejected { error }.into()),
        ("heartbeat", Heartbeat {}.into()),
        ("protocols", Protocols { protocols: vec![math], removed: Vec::new() }.into()),
        (
            "protocols-removed",
            Protocols { protocols: Vec::new(), removed: vec![ProtocolName::new("math", "v1")] }.into(),
        ),
        ("mesh_error", refused.clone().into()),
        ("mesh_error-unasked", MeshError { in_reply_to: None, ..refused }.into()),
    ]
}

#[test]
fn messages_from_the_hub_keep_their_json() {
    let values = [greeting(), journal(), work(), presence()].into_iter().flatten();
    check("from_hub", values.collect());
}

#[test]
fn items_of_state_pages_are_read_back() {
    for (file, items) in [("state-queue", queue_tasks()), ("state-shard", shard_items())] {
        let (_, body): (String, StatePage) = serde_json::from_str(&files("from_hub")[file]).expect("a page");
        let read = body.items.iter().map(|item| serde_json::from_str(item.get()).expect("an item"));
        assert_eq!(read.collect::<Vec<SliceItem>>(), items, "{file}");
    }
}

#[test]
fn entries_in_events_are_read_back() {
    let read = |file: &str| {
        let (_, events): (String, Events) = serde_json::from_str(&files("from_hub")[file]).expect("events");
        let entries = events.entries.iter().filter_map(|item| item.entry().expect("a known event"));
        entries.collect::<Vec<Entry>>()
    };
    assert_eq!(read("events"), entries());
    assert_eq!(read("events-own"), [], "the proposer knows what it proposed");
    assert_eq!(read("events-part"), [], "a piece is no entry before all of them are joined");
}
