//! Why what serves calls is not there yet. On a busy machine the start of a process may take any time: that alone never
//! fails a call, whose own timeout says how long is too long.

use std::time::Duration;

use gleitzeit_mesh::wire::Health;
use gleitzeit_workflow::error::ErrorCode;

use crate::call::CallError;

/// How long a process may take to start before it is given up and started again. A cold start from a slow disk takes
/// seconds, on a machine with a hundred others that want to run as well a minute.
pub(in crate::executors) const PATIENCE: Duration = Duration::from_secs(60);

/// It can do its work; what the machine does not give it is said beside.
pub(in crate::executors) fn healthy(lacks: Option<String>) -> Health {
    Health { reason: lacks, ..Health::default() }
}

/// What is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::executors) enum NotReady {
    /// Something refused, and would again.
    Refused(String),
    /// It took too long; it may do better the next time.
    Slow(String),
}

impl NotReady {
    /// As a provider tells it.
    pub(in crate::executors) fn health(self) -> Health {
        match self {
            Self::Refused(why) => Health::unhealthy(why),
            Self::Slow(why) => Health::slow(why),
        }
    }

    /// In words.
    pub(in crate::executors) fn into_text(self) -> String {
        let (Self::Refused(why) | Self::Slow(why)) = self;
        why
    }

    /// The end of a call, if it is one: what is slow is asked again for as long as the call has time.
    pub(in crate::executors) fn end(self) -> Option<CallError> {
        match self {
            Self::Refused(why) => Some(CallError::new(ErrorCode::ProviderInitializationFailed, why)),
            Self::Slow(why) => {
                tracing::info!(why, "starting again");
                None
            }
        }
    }
}
