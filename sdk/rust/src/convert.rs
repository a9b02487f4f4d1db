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

/// The time in milliseconds, the precision of the journal; anything finer is dropped. `None` if it is out of range.
pub(crate) fn time(time: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    convert::timestamp_from(&time?)
}

/// `None` if the duration is negative, which none here may be.
fn duration(duration: prost_types::Duration) -> Option<Duration> {
    Duration::try_from(duration).ok()
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
        submitted_at: time(run.submitted_at),
        finished_at: time(run.finished_at),
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

fn waiting(waiting: v1::Waiting) -> Waiting {
    Waiting {
        reason: waiting.reason,
        since: time(waiting.since),
        until: time(waiting.until),
        remedy: filled(waiting.remedy),
    }
}

pub(crate) fn explanation(answer: v1::ExplainRunResponse) -> Result<Explanation> {
    Ok(Explanation {
        run_id: answer.run_id,
        name: answer.name,
        status: run_status(answer.status)?,
        waiting: answer.waiting.map(waiting),
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
        submitted_at: time(run.submitted_at),
        finished_at: time(run.finished_at),
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
        waiting: task.waiting.map(waiting),
        started_at: time(task.started_at),
        finished_at: time(task.finished_at),
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
        time: time(event.time),
        kind: event.r#type,
        task_id: filled(event.task_id),
        attempt: event.attempt,
        payload: payload(event.payload_json)?,
        payload_omitted: event.payload_omitted,
    })
}

pub(crate) fn status(status: v1::GetStatusResponse) -> Status {
    let runs = status.runs.unwrap_or_default();
    let components = status.components.unwrap_or_default();
    Status {
        version: status.version,
        started_at: time(status.started_at),
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
    }
}

pub(crate) fn component(component: v1::Component) -> Result<Component> {
    Ok(Component {
        component_id: component.component_id,
        role: role(component.role)?,
        name: component.name,
        version: component.version,
        status: presence(component.status)?,
        connected_since: time(component.connected_since),
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
            timeout: method.timeout.and_then(duration),
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
    fn a_status_that_is_not_known_is_an_error() {
        assert!(run_status(0).is_err() && run_status(99).is_err(), "nothing is guessed");
    }

    #[test]
    fn a_slow_provider_is_a_healthy_one_to_whoever_does_not_know_of_slowness() {
        let healthy = i32::from(v1::HealthState::Healthy);
        assert_eq!(health(healthy, true).expect("known"), HealthState::Slow);
        assert_eq!(health(healthy, false).expect("known"), HealthState::Healthy);
        assert_eq!(health(i32::from(v1::HealthState::Unhealthy), false).expect("known"), HealthState::Unhealthy);
    }

    #[test]
    fn a_result_that_is_no_json_is_an_error() {
        let broken = v1::TaskRun { status: 6, result_json: Some("{".to_owned()), ..Default::default() };
        assert!(task(broken).is_err());
    }
}
