//! What a method can learn about its call, and how it fails.

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

    /// The id of the run that the call belongs to.
    pub fn run_id(&self) -> String {
        self.meta.run_id.to_string()
    }

    /// The id of the task that the call belongs to.
    pub fn task_id(&self) -> &str {
        self.meta.task_id.as_str()
    }

    /// The number of the attempt, from 1. Run, task and attempt together identify the call.
    pub fn attempt(&self) -> u32 {
        self.meta.attempt
    }

    /// The W3C trace context of the attempt, for spans below it.
    pub fn traceparent(&self) -> &str {
        &self.meta.traceparent
    }

    /// The time that was left for the attempt when the call arrived.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.meta.timeout_ms)
    }

    /// Reports progress to watchers of the run: any value; one of the form `{"text": …}` is shown as text. It may be
    /// lost.
    pub fn progress(&self, data: &Value) {
        // The queue is full: progress comes too fast, and it may be lost.
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
    /// An error that a retry will not change, with a message for people.
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: ErrorCode::TaskExecutionFailed, message: message.into(), retryable: false, retry_after: None }
    }

    /// An error that may not happen again, so the task may be retried.
    pub fn retryable(message: impl Into<String>) -> Self {
        Self { retryable: true, ..Self::new(message) }
    }

    /// Makes the error retryable, but not before this delay has passed.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { retryable: true, retry_after: Some(delay), ..self }
    }

    /// Sets a code other than that of a failed execution.
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
