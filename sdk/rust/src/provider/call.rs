//! What a method knows of its call, and how it fails.

use std::time::Duration;

use gleitzeit_mesh::id::CallId;
use gleitzeit_mesh::wire::CallMeta;
use gleitzeit_workflow::{ErrorCode, Failure, Payload};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// The call that is being served.
#[derive(Clone, Debug)]
pub struct Call {
    id: CallId,
    meta: CallMeta,
    progress: mpsc::Sender<(CallId, Payload)>,
}

impl Call {
    pub(super) fn new(id: CallId, meta: CallMeta, progress: mpsc::Sender<(CallId, Payload)>) -> Self {
        Self { id, meta, progress }
    }

    /// The run that it belongs to.
    pub fn run_id(&self) -> String {
        self.meta.run_id.to_string()
    }

    /// The task that it belongs to.
    pub fn task_id(&self) -> &str {
        self.meta.task_id.as_str()
    }

    /// From 1. Run, task and attempt together are those of one call only.
    pub fn attempt(&self) -> u32 {
        self.meta.attempt
    }

    /// The W3C trace context of the attempt, for spans below it.
    pub fn traceparent(&self) -> &str {
        &self.meta.traceparent
    }

    /// What was left of its time when it arrived.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.meta.timeout_ms)
    }

    /// Tells whoever watches how it goes: any value; one of `{"text": …}` is shown as text. It may be lost.
    pub fn progress(&self, data: &Value) {
        // Full: it is told too fast, and progress may be lost.
        let _ = self.progress.try_send((self.id.clone(), Payload::from_value(data)));
    }
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    code: ErrorCode,
    message: String,
    retryable: bool,
    retry_after: Option<Duration>,
}

impl CallError {
    /// An error that trying again will not change, with a text for people.
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: ErrorCode::TaskExecutionFailed, message: message.into(), retryable: false, retry_after: None }
    }

    /// One that may not happen again.
    pub fn retryable(message: impl Into<String>) -> Self {
        Self { retryable: true, ..Self::new(message) }
    }

    /// Not to be tried again before this time.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { retryable: true, retry_after: Some(delay), ..self }
    }

    /// Another code than that of a failed execution.
    #[must_use]
    pub fn code(self, code: ErrorCode) -> Self {
        Self { code, ..self }
    }

    pub(super) fn into_failure(self) -> Failure {
        let mut data = json!({ "retryable": self.retryable });
        if let Some(delay) = self.retry_after {
            data["retry_after_ms"] = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX).into();
        }
        Failure::new(self.code, self.message).with_data(Payload::from_value(&data))
    }
}
