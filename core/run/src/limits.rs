//! How large the values of a run may be.

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
