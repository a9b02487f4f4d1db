//! How large the values of a run may be.

use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::payload::Payload;

/// Limits that the journal enforces.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest parameter set, result or outputs, as JSON text in bytes.
    pub max_payload_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_payload_bytes: 1024 * 1024 }
    }
}

impl Limits {
    /// Checks that a value is within the limit; `what` names it in the error.
    pub(crate) fn check(self, what: &str, payload: &Payload) -> Result<(), Failure> {
        let (bytes, limit) = (payload.size_bytes(), self.max_payload_bytes);
        if bytes <= limit {
            return Ok(());
        }
        let message = format!("{what}: {bytes} bytes of JSON, over the limit of {limit} bytes");
        Err(Failure::new(ErrorCode::TaskParameterError, message))
    }
}
