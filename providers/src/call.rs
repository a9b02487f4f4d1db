//! The interface between a host and an executor.

use std::time::Duration;

use async_trait::async_trait;
use gleitzeit_mesh::wire::Health;
use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::id::MethodName;
use gleitzeit_workflow::payload::Payload;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// One call of a method.
#[derive(Clone, Debug)]
pub struct Call {
    /// The full name of the method.
    pub method: MethodName,
    /// A JSON object that matches the method's schema, with defaults filled in.
    pub params: Payload,
}

/// The context of a call.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Cancelling it ends the call at once; the call then fails with TASK_CANCELLED.
    pub cancel: CancellationToken,
    /// When the call fails with TASK_TIMEOUT; `None` means never.
    pub deadline: Option<Instant>,
    /// Receives progress. Bounded: progress that does not fit is dropped, because it may be lost.
    pub progress: Option<mpsc::Sender<Payload>>,
    /// The number of the attempt, from 1.
    pub attempt: u64,
    /// For logs and for the called code.
    pub run_id: String,
    /// For logs and for the called code.
    pub task_id: String,
    /// The trace id of everything that belongs to the run.
    pub correlation_id: String,
    /// The W3C trace context for requests that the call makes: of its own span if that is exported, otherwise of the
    /// attempt. Empty if there is none.
    pub traceparent: String,
}

impl Context {
    /// Reports progress; never waits.
    pub fn report(&self, data: Payload) {
        if let Some(progress) = &self.progress {
            // The channel is full or closed: progress may be lost.
            let _ = progress.try_send(data);
        }
    }

    /// Waits until the call has to end, and returns the reason.
    pub async fn ended(&self) -> CallError {
        let deadline = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.cancel.cancelled() => CallError::new(ErrorCode::TaskCancelled, "the call was cancelled"),
            () = deadline => CallError::new(ErrorCode::TaskTimeout, "the call ran longer than its timeout"),
        }
    }
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq)]
pub struct CallError {
    /// A code from our table.
    pub code: ErrorCode,
    /// What happened.
    pub message: String,
    /// Whether the same call may succeed if it is retried.
    pub retryable: bool,
    /// The earliest time for a retry; implies `retryable`.
    pub retry_after: Option<Duration>,
    /// More details, for programs.
    pub data: Map<String, Value>,
}

impl CallError {
    /// An error that is retryable if the table says so.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let retryable = code.is_retryable();
        Self { code, message: message.into(), retryable, retry_after: None, data: Map::new() }
    }

    /// Overrides whether the call may be retried.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    /// Allows a retry, but not before this delay.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self.retryable = true;
        self
    }

    /// Adds a field for programs.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.data.insert(name.to_owned(), value.into());
        self
    }
}

impl From<CallError> for Failure {
    /// The form in which `method_result` carries the error.
    fn from(error: CallError) -> Self {
        let mut data = error.data;
        data.insert("retryable".to_owned(), json!(error.retryable));
        if let Some(after) = error.retry_after {
            let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            data.insert("retry_after_ms".to_owned(), json!(ms));
        }
        Self::new(error.code, error.message).with_data(Payload::from_value(&Value::Object(data)))
    }
}

/// The kind of code behind a provider.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    /// Does the work. It must end soon after `context` says so. Dropping the future must end the work too.
    ///
    /// # Errors
    /// If the work failed, was cancelled or took too long.
    async fn call(&self, call: Call, context: Context) -> Result<Payload, CallError>;

    /// What the executor can do beyond its methods, for lists: short words such as `sandbox:strict`.
    fn capabilities(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether the executor can work now; returns within seconds.
    async fn health(&self) -> Health {
        Health::default()
    }
}
