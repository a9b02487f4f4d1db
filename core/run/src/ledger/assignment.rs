//! What the world is owed because of an entry: work for an engine, or the end of it.

use gleitzeit_workflow::id::{MethodName, ProviderName};
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::spec::Priority;
use serde::{Deserialize, Serialize};

use crate::id::{AttemptRef, ComponentId, Position};
use crate::route::Route;

/// What the hub has to know of an open attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenLease {
    /// Which attempt.
    pub at: AttemptRef,
    /// Who holds its lease.
    pub engine: ComponentId,
    /// Where its `task_dispatched` stands in the journal.
    pub dispatched: Position,
    /// The only providers that may serve it, by name; absent: all that serve the method.
    pub provider: Option<ProviderName>,
}

/// One attempt as it is sent to its engine, derived from the committed `task_dispatched` and the run's snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Which attempt.
    #[serde(rename = "ref")]
    pub at: AttemptRef,
    /// Where its `task_dispatched` stands in the journal; 0 from a hub that does not say.
    #[serde(default, skip_serializing_if = "is_unsaid")]
    pub dispatched: Position,
    /// What to call.
    pub method: MethodName,
    /// The only providers that may serve it, by name; absent: all that serve the method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderName>,
    /// The version of its protocol chosen for this run.
    pub protocol_version: String,
    /// References resolved: a JSON object; the engine fills in defaults and validates.
    pub parameters: Payload,
    /// The task's own limit for an attempt; absent: the method's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// What is left of the run's time when this is sent; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_remaining_ms: Option<u64>,
    /// The task's, for its place among the calls that wait for a provider.
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    /// The trace id that everything about the run carries.
    pub correlation_id: String,
    /// W3C trace context of the run, if its submitter sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl Assignment {
    /// Who may serve it.
    pub fn route(&self) -> Route {
        Route::new(&self.method, self.provider.as_ref())
    }
}

fn is_unsaid(position: &Position) -> bool {
    *position == Position(0)
}

/// What must be told to an engine. It is derived from journaled state, so it can be derived again at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The engine holds a new lease.
    Execute {
        /// Who.
        engine: ComponentId,
        /// What.
        assignment: Assignment,
    },
    /// The engine must stop an open attempt, since its run is to end.
    Cancel {
        /// Who.
        engine: ComponentId,
        /// What.
        at: AttemptRef,
    },
    /// An attempt ended: calls made for it are no longer wanted.
    Ended {
        /// Who held the lease.
        engine: ComponentId,
        /// What.
        at: AttemptRef,
    },
}
