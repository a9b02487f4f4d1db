//! `util/v1`, executed inside this process: for learning and for tests.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gleitzeit_protocols::yaml::{Node, Problem, Reader};
use gleitzeit_workflow::error::ErrorCode;
use gleitzeit_workflow::payload::Payload;
use serde::Deserialize;
use serde_json::json;

use crate::call::{Call, CallError, Context, Executor};
use crate::definition::Definition;
use crate::settings::Settings;

pub(crate) const METHODS: &[&str] = &["util/echo", "util/sleep", "util/fail"];

pub(crate) fn concurrency(_settings: &Settings) -> u32 {
    256
}

/// Checks that there are no options.
pub(crate) fn check(reader: &mut Reader, node: Option<&Node>) {
    if let Some(node) = node {
        reader.fields(node, "`options`", &[]);
    }
}

pub(crate) fn build(_definition: &Definition, _settings: &Settings) -> Result<Arc<dyn Executor>, Vec<Problem>> {
    Ok(Arc::new(Builtin))
}

struct Builtin;

#[derive(Deserialize)]
struct Sleep {
    seconds: f64,
}

#[derive(Deserialize)]
struct Fail {
    message: Option<String>,
    retryable: Option<bool>,
    until_attempt: Option<u64>,
}

#[async_trait]
impl Executor for Builtin {
    async fn call(&self, call: Call, context: Context) -> Result<Payload, CallError> {
        match call.method.as_str() {
            "util/echo" => Ok(call.params),
            "util/sleep" => {
                let Sleep { seconds } = parameters(&call)?;
                let duration = Duration::try_from_secs_f64(seconds)
                    .map_err(|_| CallError::new(ErrorCode::InvalidParams, format!("`seconds` cannot be {seconds}")))?;
                tokio::select! {
                    error = context.ended() => Err(error),
                    () = tokio::time::sleep(duration) => Ok(Payload::from_value(&json!({"slept_seconds": seconds}))),
                }
            }
            "util/fail" => {
                let Fail { message, retryable, until_attempt } = parameters(&call)?;
                if until_attempt.is_some_and(|attempt| context.attempt >= attempt) {
                    return Ok(Payload::from_value(&json!({"attempt": context.attempt})));
                }
                let message = message.unwrap_or_else(|| "failed as asked".to_owned());
                Err(CallError::new(ErrorCode::TaskExecutionFailed, message).retryable(retryable.unwrap_or(true)))
            }
            other => Err(CallError::new(ErrorCode::MethodNotSupported, format!("method `{other}` is not built in"))),
        }
    }
}

/// Parses the parameters of a call. The host has validated them, but the engine of another implementation may not have.
pub(crate) fn parameters<'de, T: Deserialize<'de>>(call: &'de Call) -> Result<T, CallError> {
    call.params.read().map_err(|error| {
        CallError::new(ErrorCode::InvalidParams, format!("parameters of `{}`: {error}", call.method.as_str()))
    })
}
