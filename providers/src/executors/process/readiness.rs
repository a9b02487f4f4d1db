//! Why a process that serves calls is not ready. On a busy machine a process may take any time to start. That alone
//! never fails a call: its own timeout says how long is too long.

use std::time::Duration;

use gleitzeit_mesh::wire::Health;
use gleitzeit_workflow::error::ErrorCode;

use crate::call::CallError;

/// How long a process may take to start before it is given up and started again. A cold start from a slow disk takes
/// seconds; on a machine with a hundred other busy processes it takes a minute.
pub(in crate::executors) const PATIENCE: Duration = Duration::from_secs(60);

/// The health of a provider that can work; `lacks` says what the machine does not provide.
pub(in crate::executors) fn healthy(lacks: Option<String>) -> Health {
    Health { reason: lacks, ..Health::default() }
}

/// What is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::executors) enum NotReady {
    /// Something refused, and would refuse again.
    Refused(String),
    /// It took too long; the next try may succeed.
    Slow(String),
}

impl NotReady {
    /// The health that a provider reports.
    pub(in crate::executors) fn health(self) -> Health {
        match self {
            Self::Refused(why) => Health::unhealthy(why),
            Self::Slow(why) => Health::slow(why),
        }
    }

    /// The reason in words.
    pub(in crate::executors) fn into_text(self) -> String {
        let (Self::Refused(why) | Self::Slow(why)) = self;
        why
    }

    /// The error that ends a call; `None` if the start was only slow and is to be tried again as long as the call has
    /// time.
    pub(in crate::executors) fn into_final_error(self) -> Option<CallError> {
        match self {
            Self::Refused(why) => Some(CallError::new(ErrorCode::ProviderInitializationFailed, why)),
            Self::Slow(why) => {
                tracing::info!(why, "starting again");
                None
            }
        }
    }
}
