//! What passes between a host and an executor.

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
    /// By full name.
    pub method: MethodName,
    /// A JSON object that fits the method's schema, defaults filled in.
    pub params: Payload,
}

/// What surrounds a call.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Ends the call at once; it then fails with TASK_CANCELLED.
    pub cancel: CancellationToken,
    /// When the call fails with TASK_TIMEOUT; absent: never.
    pub deadline: Option<Instant>,
    /// Takes progress; bounded, and what does not fit is dropped, for progress may be lost.
    pub progress: Option<mpsc::Sender<Payload>>,
    /// From 1.
    pub attempt: u64,
    /// For logs and for the called code.
    pub run_id: String,
    /// For logs and for the called code.
    pub task_id: String,
    /// The trace id that everything about the run carries.
    pub correlation_id: String,
    /// W3C trace context for what the call asks of others: of its own span if that is exported, else of the attempt;
    /// empty: none.
    pub traceparent: String,
}

impl Context {
    /// Reports progress; never waits.
    pub fn report(&self, data: Payload) {
        if let Some(progress) = &self.progress {
            // Full or gone: progress may be lost.
            let _ = progress.try_send(data);
        }
    }

    /// Waits until the call has to end and says why.
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
    /// Of our table.
    pub code: ErrorCode,
    /// What happened.
    pub message: String,
    /// Whether the same call may succeed if tried again.
    pub retryable: bool,
    /// Not before this time; implies `retryable`.
    pub retry_after: Option<Duration>,
    /// More, for programs.
    pub data: Map<String, Value>,
}

impl CallError {
    /// Retryable as the table says.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let retryable = code.is_retryable();
        Self { code, message: message.into(), retryable, retry_after: None, data: Map::new() }
    }

    /// Overrides whether it may be tried again.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    /// May be tried again, not before this time.
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
    /// As `method_result` carries it.
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

/// A kind of code behind providers.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    /// Does the work. Ends soon after `context` says so; whoever drops the future also ends the work.
    ///
    /// # Errors
    /// If the work failed, was cancelled or took too long.
    async fn call(&self, call: Call, context: Context) -> Result<Payload, CallError>;

    /// What it can do beyond its methods, for lists: short words such as `sandbox:strict`.
    fn capabilities(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether it can do its work now; returns within seconds.
    async fn health(&self) -> Health {
        Health::default()
    }
}
