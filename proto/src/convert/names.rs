//! Converts enums between the wire and the domain.

use gleitzeit_mesh::wire::{HealthState, PresenceStatus, Role};
use gleitzeit_run::{RunStatus, TaskStatus};

use crate::v1;

macro_rules! names {
    ($to:ident, $from:ident, $domain:ident, $wire:ident, $($variant:ident),*) => {
        #[doc = concat!("A `", stringify!($domain), "` on the wire.")]
        pub fn $to(value: $domain) -> v1::$wire {
            match value { $($domain::$variant => v1::$wire::$variant,)* }
        }

        #[doc = concat!("A `", stringify!($domain), "` from the wire; `None` if it is unspecified or unknown.")]
        pub fn $from(value: i32) -> Option<$domain> {
            match v1::$wire::try_from(value) {
                $(Ok(v1::$wire::$variant) => Some($domain::$variant),)*
                _ => None,
            }
        }
    };
}

names!(run_status, run_status_from, RunStatus, RunStatus, Running, Completed, Failed, Cancelled);
names!(
    task_status,
    task_status_from,
    TaskStatus,
    TaskStatus,
    Waiting,
    Ready,
    Dispatched,
    Running,
    Backoff,
    Completed,
    Failed,
    Skipped,
    Cancelled
);
names!(role, role_from, Role, ComponentRole, Queue, Resolver, Engine, Provider);
names!(presence, presence_from, PresenceStatus, ComponentStatus, Connected, Silent, Lost);

/// A provider's health on the wire; whether it is slow is a separate field, `slow`.
pub fn health(health: HealthState) -> v1::HealthState {
    match health {
        HealthState::Healthy | HealthState::Slow => v1::HealthState::Healthy,
        HealthState::Unhealthy => v1::HealthState::Unhealthy,
        HealthState::Starting => v1::HealthState::Starting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_can_be_decoded_and_nothing_else() {
        for status in [RunStatus::Running, RunStatus::Completed, RunStatus::Failed, RunStatus::Cancelled] {
            assert_eq!(run_status_from(run_status(status).into()), Some(status));
        }
        for at in 1..=9 {
            let status = task_status_from(at).expect("a status");
            assert_eq!(i32::from(task_status(status)), at);
        }
        assert_eq!((run_status_from(0), run_status_from(99), task_status_from(-1)), (None, None, None));
    }
}
