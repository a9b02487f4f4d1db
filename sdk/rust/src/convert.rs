//! Converts generated messages to this crate's values. A value that this version does not know is an error, never a
//! guess.

use std::time::Duration;

use gleitzeit_mesh::wire::{HealthState, PresenceStatus, Role};
use gleitzeit_proto::{convert, v1};
use gleitzeit_run::{RunStatus, TaskStatus};
use gleitzeit_workflow::{Failure, Payload, Timestamp};

use crate::error::{Error, Result};
use crate::run::{Explanation, Run, RunEvent, RunSummary, Task, Waiting};
use crate::submission::json;
use crate::system::{Component, ComponentCounts, Method, Protocol, Provider, RunCounts, Status};

fn unknown(what: &str, number: i32) -> Error {
    Error::answer(format!("the control plane sent the unknown {what} {number}; it may be newer than this client"))
}

pub(crate) fn run_status(number: i32) -> Result<RunStatus> {
    convert::run_status_from(number).ok_or_else(|| unknown("run status", number))
}

fn task_status(number: i32) -> Result<TaskStatus> {
    convert::task_status_from(number).ok_or_else(|| unknown("task status", number))
}

fn presence(number: i32) -> Result<PresenceStatus> {
    convert::presence_from(number).ok_or_else(|| unknown("component status", number))
}

fn role(number: i32) -> Result<Role> {
    convert::role_from(number).ok_or_else(|| unknown("role", number))
}

fn health(number: i32, is_slow: bool) -> Result<HealthState> {
    match v1::HealthState::try_from(number) {
        Ok(v1::HealthState::Healthy) if is_slow => Ok(HealthState::Slow),
        Ok(v1::HealthState::Healthy) => Ok(HealthState::Healthy),
        Ok(v1::HealthState::Unhealthy) => Ok(HealthState::Unhealthy),
        Ok(v1::HealthState::Starting) => Ok(HealthState::Starting),
        Ok(v1::HealthState::Unspecified) | Err(_) => Err(unknown("health", number)),
    }
}

/// The time of a field in milliseconds, the precision of the journal; anything finer is dropped.
pub(crate) fn time(field: &str, time: Option<prost_types::Timestamp>) -> Result<Option<Timestamp>> {
    let Some(time) = time else { return Ok(None) };
    let Some(known) = convert::timestamp_from(&time) else {
        let prost_types::Timestamp { seconds, nanos } = time;
        return Err(invalid(field, "time", &format!("{seconds} s and {nanos} ns since 1970")));
    };
    Ok(Some(known))
}

fn duration(field: &str, duration: Option<prost_types::Duration>) -> Result<Option<Duration>> {
    let Some(duration) = duration else { return Ok(None) };
    let prost_types::Duration { seconds, nanos } = duration;
    let known = Duration::try_from(duration);
    known.map(Some).map_err(|_| invalid(field, "duration", &format!("{seconds} s and {nanos} ns")))
}

fn invalid(field: &str, expected: &str, found: &str) -> Error {
    Error::answer(format!("the control plane sent a `{field}` that is not a valid {expected}: {found}"))
}

pub(crate) fn duration_message(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).expect("less than a second in nanoseconds fits"),
    }
}

pub(crate) fn filled(text: String) -> Option<String> {
    if text.is_empty() { None } else { Some(text) }
}

fn payload(text: Option<String>) -> Result<Option<Payload>> {
    text.map(json).transpose()
}

fn failure(error: Option<v1::Error>) -> Result<Option<Failure>> {
    error
        .map(|error| Ok(Failure { code: error.code, message: error.message, data: payload(error.details_json)? }))
        .transpose()
}

pub(crate) fn run(run: v1::Run) -> Result<Run> {
    Ok(Run {
        run_id: run.run_id,
        correlation_id: run.correlation_id,
        name: run.name,
        status: run_status(run.status)?,
        submitted_at: time("submitted_at", run.submitted_at)?,
        finished_at: time("finished_at", run.finished_at)?,
        outputs: payload(run.outputs_json)?,
        error: failure(run.error)?,
        tasks: run.tasks.into_iter().map(task).collect::<Result<_>>()?,
        tasks_truncated: run.tasks_truncated,
        task_count: run.task_count,
        labels: run.labels.into_iter().collect(),
        retry_of: filled(run.retry_of),
        seq: run.seq,
    })
}

fn waiting(waiting: v1::Waiting) -> Result<Waiting> {
    Ok(Waiting {
        reason: waiting.reason,
        since: time("since", waiting.since)?,
        until: time("until", waiting.until)?,
        remedy: filled(waiting.remedy),
    })
}

pub(crate) fn explanation(answer: v1::ExplainRunResponse) -> Result<Explanation> {
    Ok(Explanation {
        run_id: answer.run_id,
        name: answer.name,
        status: run_status(answer.status)?,
        waiting: answer.waiting.map(waiting).transpose()?,
        error: failure(answer.error)?,
        tasks: answer.tasks.into_iter().map(task).collect::<Result<_>>()?,
        more_tasks: answer.more_tasks,
        dependent_tasks: answer.dependent_tasks,
    })
}

pub(crate) fn summary(run: v1::RunSummary) -> Result<RunSummary> {
    Ok(RunSummary {
        run_id: run.run_id,
        correlation_id: run.correlation_id,
        name: run.name,
        status: run_status(run.status)?,
        submitted_at: time("submitted_at", run.submitted_at)?,
        finished_at: time("finished_at", run.finished_at)?,
        error: failure(run.error)?,
        task_count: run.task_count,
        labels: run.labels.into_iter().collect(),
        retry_of: filled(run.retry_of),
    })
}

pub(crate) fn task(task: v1::TaskRun) -> Result<Task> {
    Ok(Task {
        status: task_status(task.status)?,
        id: task.id,
        attempt: task.attempt,
        result: payload(task.result_json)?,
        result_omitted: task.result_omitted,
        error: failure(task.error)?,
        waiting: task.waiting.map(waiting).transpose()?,
        started_at: time("started_at", task.started_at)?,
        finished_at: time("finished_at", task.finished_at)?,
        method: task.method,
        queue: task.queue,
        engine: filled(task.engine),
        dependencies: task.dependencies,
        provider: Some(task.provider).filter(|name| !name.is_empty()),
    })
}

pub(crate) fn event(event: v1::RunEvent) -> Result<RunEvent> {
    Ok(RunEvent {
        seq: event.seq,
        time: time("time", event.time)?,
        kind: event.r#type,
        task_id: filled(event.task_id),
        attempt: event.attempt,
        payload: payload(event.payload_json)?,
        payload_omitted: event.payload_omitted,
    })
}

pub(crate) fn status(status: v1::GetStatusResponse) -> Result<Status> {
    let runs = status.runs.unwrap_or_default();
    let components = status.components.unwrap_or_default();
    Ok(Status {
        version: status.version,
        started_at: time("started_at", status.started_at)?,
        ready: status.ready,
        journal_position: status.journal_position,
        runs: RunCounts {
            running: runs.running,
            completed: runs.completed,
            failed: runs.failed,
            cancelled: runs.cancelled,
        },
        components: ComponentCounts {
            queue: components.queue,
            resolver: components.resolver,
            engine: components.engine,
            provider: components.provider,
        },
    })
}

pub(crate) fn component(component: v1::Component) -> Result<Component> {
    Ok(Component {
        component_id: component.component_id,
        role: role(component.role)?,
        name: component.name,
        version: component.version,
        status: presence(component.status)?,
        connected_since: time("connected_since", component.connected_since)?,
        capacity: component.capacity,
        in_use: component.in_use,
        queues: component.queues,
        methods: component.methods,
        owned_shards: component.owned_shards,
        owned_queues: component.owned_queues,
        capabilities: component.capabilities,
    })
}

pub(crate) fn provider(provider: v1::Provider) -> Result<Provider> {
    Ok(Provider {
        name: provider.name,
        component_id: provider.component_id,
        status: presence(provider.status)?,
        protocols: provider.protocols,
        methods: provider.methods,
        health: health(provider.health, provider.slow)?,
        health_reason: filled(provider.health_reason),
        in_flight: provider.in_flight,
        capacity: provider.capacity,
        capabilities: provider.capabilities,
        address: filled(provider.address),
    })
}

pub(crate) fn protocol(protocol: v1::Protocol) -> Result<Protocol> {
    let method = |method: v1::ProtocolMethod| {
        Ok(Method {
            name: method.name,
            description: filled(method.description),
            parameters: payload(method.parameters_schema_json)?,
            returns: payload(method.returns_schema_json)?,
            timeout: duration("timeout", method.timeout)?,
        })
    };
    Ok(Protocol {
        name: protocol.name,
        version: protocol.version,
        methods: protocol.methods.into_iter().map(method).collect::<Result<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_time_or_duration_is_an_error() {
        let second = |nanos| prost_types::Timestamp { seconds: 1, nanos };
        assert_eq!(time("since", None).expect("absent"), None);
        assert_eq!(time("since", Some(second(5_999_999))).expect("valid"), Some(Timestamp(1_005)));
        for at in [second(-1), prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }] {
            let run = v1::Run { status: 1, submitted_at: Some(at), ..Default::default() };
            let error = super::run(run).expect_err("not a time");
            assert_eq!(error.name(), "INTERNAL_ERROR");
            assert!(error.message().contains("`submitted_at` that is not a valid time"), "{error}");
        }
        let waiting = v1::Waiting { until: Some(second(-1)), ..Default::default() };
        let running = v1::TaskRun { status: 1, waiting: Some(waiting), ..Default::default() };
        assert!(task(running).is_err(), "a time inside another message");
        let negative = prost_types::Duration { seconds: -1, nanos: 0 };
        assert!(duration("timeout", Some(negative)).is_err());
        assert_eq!(duration("timeout", None).expect("absent"), None);
    }

    #[test]
    fn an_unknown_status_is_an_error() {
        assert!(run_status(0).is_err() && run_status(99).is_err(), "nothing is guessed");
    }

    #[test]
    fn a_slow_provider_is_sent_as_a_healthy_one() {
        let healthy = i32::from(v1::HealthState::Healthy);
        assert_eq!(health(healthy, true).expect("known"), HealthState::Slow);
        assert_eq!(health(healthy, false).expect("known"), HealthState::Healthy);
        assert_eq!(health(i32::from(v1::HealthState::Unhealthy), false).expect("known"), HealthState::Unhealthy);
    }

    #[test]
    fn a_result_that_is_not_json_is_an_error() {
        let broken = v1::TaskRun { status: 6, result_json: Some("{".to_owned()), ..Default::default() };
        assert!(task(broken).is_err());
    }
}
