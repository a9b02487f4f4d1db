//! Events that components send.

use gleitzeit_mesh::CallId;
use gleitzeit_mesh::wire::{
    Append, CallEnd, CallMeta, CancelMethod, EventsAck, ExecuteMethod, Health, HeartbeatResponse, MethodCall,
    MethodOutcome, MethodProgress, MethodResult, MethodStarted, MethodWaiting, Owned, ProposalItem, ProtocolDefinition,
    RegisterComponent, Role, TaskTaken, ToHub, Watch,
};
use gleitzeit_run::command::{
    CancelWorkflow, Command, CompleteAttempt, DispatchTask, FailAttempt, FailTask, Fence, ReadyTask, RequeueTask,
    ScheduleRetry, StartAttempt, StopAttempt,
};
use gleitzeit_run::event::{CancelCause, StopReason};
use gleitzeit_run::{Epoch, Position, Secret, Seen, Shard, Slice};
use gleitzeit_workflow::spec::Priority;
use gleitzeit_workflow::{ErrorCode, Failure};
use serde_json::json;

use crate::{at, check, payload, schemas};

/// Messages by the name of their file.
type Cases = Vec<(&'static str, ToHub)>;

/// A registration with nothing but the role.
fn plain(component_type: Role) -> RegisterComponent {
    RegisterComponent {
        component_type,
        component_id: None,
        secret: None,
        seen: None,
        name: String::new(),
        version: String::new(),
        capabilities: Vec::new(),
        owned: Vec::new(),
        queues: None,
        slots: None,
        attempts: Vec::new(),
        methods: Vec::new(),
        protocols: Vec::new(),
        max_concurrency: None,
        batch: false,
        calls: None,
        health: None,
        address: None,
    }
}

fn named(component_type: Role, component_id: &str) -> RegisterComponent {
    let capabilities = vec!["linux".to_owned()];
    RegisterComponent {
        component_id: Some(component_id.into()),
        name: format!("{component_id} of ada"),
        version: "0.1.0".to_owned(),
        capabilities,
        ..plain(component_type)
    }
}

fn call_id(task: &str) -> CallId {
    CallId::new(&"engine-1".into(), &at(task, 1))
}

pub(crate) fn call(task: &str) -> MethodCall {
    MethodCall {
        jsonrpc: "2.0".to_owned(),
        id: call_id(task),
        method: "math/add".into(),
        params: payload(json!({"numbers": [1, 2.50, 1e3]})),
        meta: CallMeta {
            run_id: at(task, 1).run_id,
            task_id: task.into(),
            attempt: 1,
            correlation_id: "01930a5c7e317c3d9b4f2a6d5e8f9c01".to_owned(),
            traceparent: "00-01930a5c7e317c3d9b4f2a6d5e8f9c01-b7ad6b7169203331-01".to_owned(),
            timeout_ms: 60_000,
        },
        providers: Vec::new(),
        priority: Priority::default(),
    }
}

pub(crate) fn result(task: &str) -> CallEnd {
    CallEnd { id: call_id(task), outcome: MethodOutcome::Result(payload(json!({"sum": 3}))) }
}

pub(crate) fn error(task: &str) -> CallEnd {
    let error = Failure::new(ErrorCode::TaskExecutionFailed, "no numbers")
        .with_data(payload(json!({"retryable": true, "retry_after_ms": 250})));
    CallEnd { id: call_id(task), outcome: MethodOutcome::Error(error) }
}

/// Each command, with the slice that its sender owns.
fn commands() -> Vec<(Option<Slice>, Command)> {
    let (shard, queue) = (Some(Slice::Shard(Shard(7))), Some(Slice::Queue("default".into())));
    let (run_id, failure) = (at("a", 1).run_id, Failure::new(ErrorCode::TaskParameterError, "no task `b`"));
    vec![
        (
            shard.clone(),
            CancelWorkflow { run_id, cause: CancelCause::Timeout, reason: "its time is up".to_owned() }.into(),
        ),
        (
            shard.clone(),
            ReadyTask {
                run_id,
                task_id: "a".into(),
                queue: "default".into(),
                priority: Priority(-1),
                parameters: payload(json!({"n": 1})),
            }
            .into(),
        ),
        (shard, FailTask { run_id, task_id: "a".into(), attempt: 0, error: failure.clone() }.into()),
        (queue.clone(), DispatchTask { run_id, task_id: "a".into(), attempt: 1, engine: "engine-1".into() }.into()),
        (queue.clone(), RequeueTask { run_id, task_id: "a".into(), attempt: 1 }.into()),
        (queue, ScheduleRetry { run_id, task_id: "a".into(), attempt: 1, delay_ms: 1_000 }.into()),
        (None, StartAttempt { at: at("a", 1), ran_ms: 50 }.into()),
        (None, CompleteAttempt { at: at("a", 1), result: payload(json!([null])), ran_ms: 70 }.into()),
        (
            None,
            FailAttempt { at: at("a", 1), error: failure, retryable: true, retry_after_ms: Some(5), ran_ms: 70 }.into(),
        ),
        (None, StopAttempt { at: at("a", 1), reason: StopReason::Drain }.into()),
    ]
}

fn append() -> Append {
    let proposals = commands().into_iter().zip(1_u32..).map(|((slice, command), number)| ProposalItem {
        proposal_id: format!("p{number}").into(),
        fence: slice.map(|slice| Fence { slice, epoch: Epoch(3) }),
        command,
    });
    Append { proposals: proposals.collect(), position: Some(Position(41)) }
}

#[test]
fn messages_from_components_keep_their_json() {
    let cases = [owners(), workers(), heartbeats(), proposals(), calls(), watches()];
    check("to_hub", cases.concat());
}

fn register(register: RegisterComponent) -> ToHub {
    Box::new(register).into()
}

/// Registrations of components that own slices.
fn owners() -> Cases {
    let owned = |slice| Owned { slice, epoch: Epoch(3), position: Position(41) };
    vec![
        (
            "register_component-queue",
            register(RegisterComponent {
                owned: vec![owned(Slice::Queue("default".into()))],
                ..named(Role::Queue, "queue-1")
            }),
        ),
        (
            "register_component-seen",
            register(RegisterComponent {
                secret: Some(Secret::new("5a1d0c9e5a1d0c9e5a1d0c9e5a1d0c9e")),
                seen: Some(Seen { term: "9f4e21aa03c6d871".into(), position: Position(41) }),
                ..named(Role::Queue, "queue-1")
            }),
        ),
        (
            "register_component-resolver",
            register(RegisterComponent {
                owned: vec![owned(Slice::Shard(Shard(7)))],
                ..named(Role::Resolver, "resolver-1")
            }),
        ),
    ]
}

/// Registrations of components that work.
fn workers() -> Cases {
    let math = ProtocolDefinition { name: "math".to_owned(), version: "v1".to_owned(), methods: schemas() };
    vec![
        (
            "register_component-engine",
            register(RegisterComponent {
                queues: Some(vec!["default".into()]),
                slots: Some(8),
                attempts: vec![at("a", 1)],
                calls: Some(vec![call_id("a")]),
                ..named(Role::Engine, "engine-1")
            }),
        ),
        (
            "register_component-provider",
            register(RegisterComponent {
                methods: vec!["math/mul".into()],
                protocols: vec![math],
                max_concurrency: Some(4),
                batch: true,
                calls: Some(Vec::new()),
                health: Some(Health::unhealthy("no disk")),
                ..named(Role::Provider, "provider-1")
            }),
        ),
        (
            "register_component-address",
            register(RegisterComponent {
                methods: vec!["http/request".into()],
                address: Some("https://api.example.com/v1".to_owned()),
                ..named(Role::Provider, "provider-1")
            }),
        ),
        (
            "register_component-least",
            register(RegisterComponent { methods: vec!["math/add".into()], ..plain(Role::Provider) }),
        ),
    ]
}

fn heartbeats() -> Cases {
    vec![
        (
            "heartbeat_response",
            HeartbeatResponse {
                status: Some("busy".to_owned()),
                load: Some(3),
                health: Some(Health::unhealthy("no disk")),
            }
            .into(),
        ),
        (
            "heartbeat_response-lasting",
            HeartbeatResponse { health: Some(Health::broken("wrong key")), ..HeartbeatResponse::default() }.into(),
        ),
        (
            "heartbeat_response-slow",
            HeartbeatResponse { health: Some(Health::slow("no answer yet")), ..HeartbeatResponse::default() }.into(),
        ),
        ("heartbeat_response-least", HeartbeatResponse::default().into()),
    ]
}

fn proposals() -> Cases {
    vec![
        ("events_ack", EventsAck { position: Position(41) }.into()),
        ("append", append().into()),
        (
            "append-least",
            Append {
                proposals: vec![ProposalItem {
                    proposal_id: "1".into(),
                    fence: None,
                    command: CompleteAttempt { at: at("a", 1), result: payload(json!(null)), ran_ms: 0 }.into(),
                }],
                position: None,
            }
            .into(),
        ),
        ("task_taken", TaskTaken { attempts: vec![at("a", 1), at("b", 2)] }.into()),
    ]
}

fn calls() -> Cases {
    vec![
        (
            "execute_method",
            ExecuteMethod {
                calls: vec![MethodCall { providers: vec!["provider-1".into(), "provider-2".into()], ..call("a") }],
            }
            .into(),
        ),
        (
            "execute_method-priority",
            ExecuteMethod {
                calls: vec![MethodCall { priority: Priority(4), providers: vec!["provider-1".into()], ..call("a") }],
            }
            .into(),
        ),
        ("execute_method-several", ExecuteMethod { calls: vec![call("a"), call("b")] }.into()),
        ("method_waiting", MethodWaiting { ids: vec![call_id("a"), call_id("b")] }.into()),
        ("method_started", MethodStarted { ids: vec![call_id("a")] }.into()),
        ("method_progress", MethodProgress { id: call_id("a"), data: payload(json!("half")) }.into()),
        ("method_result", MethodResult { results: vec![result("a")] }.into()),
        ("method_result-error", MethodResult { results: vec![error("a")] }.into()),
        ("method_result-several", MethodResult { results: vec![result("a"), error("b")] }.into()),
        ("method_result-least", MethodResult { results: vec![result("a")] }.into()),
        (
            "method_result-error-least",
            MethodResult {
                results: vec![CallEnd {
                    id: call_id("a"),
                    outcome: MethodOutcome::Error(Failure { code: 7, message: "no".to_owned(), data: None }),
                }],
            }
            .into(),
        ),
        ("cancel_method", CancelMethod { id: call_id("a") }.into()),
    ]
}

fn watches() -> Cases {
    vec![
        ("watch", Watch { from_position: Position(1), term: None }.into()),
        ("watch-term", Watch { from_position: Position(7), term: Some("9f4e21aa03c6d871".into()) }.into()),
    ]
}
