//! The words for what runs, tasks and components are doing.

use gleitzeit_sdk::{ErrorCode, Failure, HealthState, PresenceStatus, RunStatus, TaskStatus};

/// The word for a run that has not ended and that no process works on. Its status is `running`.
pub(crate) const INTERRUPTED: &str = "interrupted";

/// The state of a run in one word; it distinguishes running runs that are interrupted or set aside.
pub(crate) fn standing(status: RunStatus, error: Option<&Failure>) -> &'static str {
    match error.filter(|_| status == RunStatus::Running) {
        Some(error) if error.known() == Some(ErrorCode::WorkflowInterrupted) => INTERRUPTED,
        Some(_) => "set aside",
        None => run_status(status),
    }
}

/// The states of a run.
pub(crate) const RUN_STATUSES: [RunStatus; 4] =
    [RunStatus::Running, RunStatus::Completed, RunStatus::Failed, RunStatus::Cancelled];

/// The states of a task, in the order in which it comes through them.
pub(crate) const TASK_STATUSES: [TaskStatus; 9] = [
    TaskStatus::Waiting,
    TaskStatus::Ready,
    TaskStatus::Dispatched,
    TaskStatus::Running,
    TaskStatus::Backoff,
    TaskStatus::Completed,
    TaskStatus::Failed,
    TaskStatus::Skipped,
    TaskStatus::Cancelled,
];

/// The word for a run's status.
pub(crate) fn run_status(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Running => "running",
        RunStatus::Completed => "completed",
        RunStatus::Failed => "failed",
        RunStatus::Cancelled => "cancelled",
    }
}

/// The word for a component's presence.
pub(crate) fn presence(status: PresenceStatus) -> &'static str {
    match status {
        PresenceStatus::Connected => "connected",
        PresenceStatus::Silent => "silent",
        PresenceStatus::Lost => "lost",
    }
}

/// The word for a provider's health.
pub(crate) fn health(state: HealthState) -> &'static str {
    match state {
        HealthState::Healthy => "healthy",
        HealthState::Unhealthy => "unhealthy",
        HealthState::Starting => "starting",
        HealthState::Slow => "slow",
    }
}

/// The word for a task's status.
pub(crate) fn task_status(status: TaskStatus) -> &'static str {
    match status {
        TaskStatus::Waiting => "waiting",
        TaskStatus::Ready => "ready",
        TaskStatus::Dispatched => "dispatched",
        TaskStatus::Running => "running",
        TaskStatus::Backoff => "backoff",
        TaskStatus::Completed => "completed",
        TaskStatus::Failed => "failed",
        TaskStatus::Skipped => "skipped",
        TaskStatus::Cancelled => "cancelled",
    }
}
