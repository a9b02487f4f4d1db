//! The effects of an entry for engines: an attempt to execute, or its end.

use gleitzeit_workflow::id::{MethodName, ProviderName};
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::spec::Priority;
use serde::{Deserialize, Serialize};

use crate::id::{AttemptRef, ComponentId, Position};
use crate::route::Route;

/// The details of an open attempt that the hub needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenLease {
    /// The attempt.
    pub at: AttemptRef,
    /// The engine that holds its lease.
    pub engine: ComponentId,
    /// The position of its `task_dispatched` entry.
    pub dispatched: Position,
    /// The only providers that may serve it, by name; absent: all that serve the method.
    pub provider: Option<ProviderName>,
}

/// One attempt as it is sent to its engine, derived from the committed `task_dispatched` and the run's snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The attempt.
    #[serde(rename = "ref")]
    pub at: AttemptRef,
    /// The position of its `task_dispatched` entry; 0 from a hub that does not send it.
    #[serde(default, skip_serializing_if = "is_unsaid")]
    pub dispatched: Position,
    /// The method to call.
    pub method: MethodName,
    /// The only providers that may serve it, by name; absent: all that serve the method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderName>,
    /// The version of the method's protocol that was chosen for this run.
    pub protocol_version: String,
    /// The parameters with references resolved: a JSON object. The engine fills in defaults and validates them.
    pub parameters: Payload,
    /// The task's own limit for an attempt in milliseconds; absent: the method's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// The time that the run has left when this is sent, in milliseconds; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_remaining_ms: Option<u64>,
    /// The task's priority, which also orders the calls that wait for a provider.
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    /// The trace id of everything that belongs to the run.
    pub correlation_id: String,
    /// W3C trace context of the run, if its submitter sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl Assignment {
    /// The providers that may serve it.
    pub fn route(&self) -> Route {
        Route::new(&self.method, self.provider.as_ref())
    }
}

fn is_unsaid(position: &Position) -> bool {
    *position == Position(0)
}

/// A message for an engine. It is derived from journaled state, so it can be derived again at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The engine holds a new lease and must execute the attempt.
    Execute {
        /// The engine.
        engine: ComponentId,
        /// The attempt with all that its execution needs.
        assignment: Assignment,
    },
    /// The engine must stop an open attempt because its run is to end.
    Cancel {
        /// The engine.
        engine: ComponentId,
        /// The attempt to stop.
        at: AttemptRef,
    },
    /// An attempt ended: its calls are no longer wanted.
    Ended {
        /// The engine that held the lease.
        engine: ComponentId,
        /// The attempt that ended.
        at: AttemptRef,
    },
}
