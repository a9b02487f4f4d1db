//! Reads what a worker reports about its call, and turns it into the result.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use gleitzeit_workflow::error::ErrorCode;
use gleitzeit_workflow::json::{self, Fault, MAX_DEPTH, Problem};
use gleitzeit_workflow::payload::Payload;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::wire;
use crate::call::CallError;
use crate::executors::process::capture::Texts;

/// The nesting levels of the task's result around the variable `result`.
pub(super) const AROUND_RESULT: usize = 1;
/// The largest report besides the result: the error, its traceback and little else.
const MAX_ANSWERED: usize = 1 << 20;

/// How the code ended, as the worker reports it.
#[derive(Debug, Deserialize)]
struct Ended {
    seconds: Option<f64>,
    error: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    traceback: Option<String>,
    /// For code that does not compile.
    line: Option<u64>,
    column: Option<u64>,
    /// Whether the same code fails each time.
    #[serde(default, rename = "final")]
    is_final: bool,
    /// Whether the code itself succeeded, but its result is invalid.
    #[serde(default)]
    invalid: bool,
}

/// What the worker has sent.
#[derive(Debug, Default)]
pub(super) struct Answer {
    result: Option<Vec<u8>>,
    ended: Option<Ended>,
    too_large: bool,
}

/// What the worker was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Run the code.
    Run,
    /// Compile it.
    Check,
}

#[derive(Serialize)]
struct Outcome<'a> {
    result: &'a RawValue,
    output: String,
    error_output: String,
    execution_time: f64,
    success: bool,
}

impl Answer {
    /// Reads until the answer is complete or the stream ends. The code can write to the stream too, so all sizes are
    /// bounded.
    pub(super) async fn read(&mut self, stream: &mut (impl AsyncRead + Unpin), max_result_bytes: usize) {
        let mut kind = [0];
        while self.ended.is_none() && stream.read_exact(&mut kind).await.is_ok() {
            let limit = if kind == *b"R" { max_result_bytes } else { MAX_ANSWERED };
            match wire::read_sized(stream, limit).await {
                Ok(bytes) if kind == *b"R" => self.result = Some(bytes),
                Ok(bytes) => self.ended = serde_json::from_slice(&bytes).ok(),
                Err(error) => {
                    self.too_large = error.kind() == io::ErrorKind::InvalidData;
                    return;
                }
            }
        }
    }

    /// Turns the answer into the method's result.
    pub(super) fn conclude(self, status: ExitStatus, texts: Texts, asked: Asked) -> Result<Payload, CallError> {
        if self.too_large {
            let message = "the result has more bytes than `max_result_bytes`";
            return Err(texts.add_to(CallError::new(ErrorCode::TaskResultInvalid, message)));
        }
        let Some(mut ended) = self.ended else {
            let message = format!("Python ended before the code did: {}", how(status));
            return Err(texts.add_to(CallError::new(ErrorCode::TaskExecutionFailed, message)));
        };
        if let Some(message) = ended.error.take() {
            return Err(ended.into_error(message, texts));
        }
        let result = match read_result(self.result.as_deref().unwrap_or(b"null")) {
            Ok(result) => result,
            Err(why) => return Err(texts.add_to(CallError::new(ErrorCode::TaskResultInvalid, why))),
        };
        if asked == Asked::Check {
            return Payload::of(result)
                .map_err(|error| CallError::new(ErrorCode::TaskExecutionFailed, error.to_string()));
        }
        let Texts { output, error_output } = texts;
        let execution_time = ended.seconds.unwrap_or(0.0).max(0.0);
        let outcome = Outcome { result, output, error_output, execution_time, success: true };
        Payload::of(&outcome)
            .map_err(|error| CallError::new(ErrorCode::TaskExecutionFailed, format!("the result is not JSON: {error}")))
    }
}

impl Ended {
    /// The error of code that failed with this message.
    fn into_error(self, message: String, texts: Texts) -> CallError {
        if self.invalid {
            return texts.add_to(CallError::new(ErrorCode::TaskResultInvalid, message));
        }
        let mut error = texts.add_to(CallError::new(ErrorCode::TaskExecutionFailed, message));
        if self.is_final {
            error = error.retryable(false);
        }
        for (name, at) in [("line", self.line), ("column", self.column)] {
            if let Some(at) = at {
                error = error.with(name, at);
            }
        }
        for (name, text) in [("traceback", self.traceback), ("type", self.kind)] {
            if let Some(text) = text {
                error = error.with(name, text);
            }
        }
        error
    }
}

/// Checks a result. Python writes numbers and nesting of any size, and the code can write to the stream too.
fn read_result(bytes: &[u8]) -> Result<&RawValue, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    json::check_inside(text, AROUND_RESULT).map_err(|problem| why_not(problem.within("result")))?;
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// Why a result cannot be carried, in the words of `worker.py`.
fn why_not(problem: Problem) -> String {
    match &problem.fault {
        Fault::WholeNumber(number) => format!(
            "`{}` is the whole number {number}, which does not fit into 64 bits; return it as text, with `str(...)`",
            problem.path
        ),
        Fault::Depth => {
            format!("the variable `result` is nested deeper than the limit of {} levels", MAX_DEPTH - AROUND_RESULT)
        }
        _ => format!("the result cannot be passed on: {problem}"),
    }
}

fn how(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            let name = match signal {
                4 => " (SIGILL)",
                6 => " (SIGABRT)",
                7 => " (SIGBUS)",
                8 => " (SIGFPE)",
                9 => " (SIGKILL; perhaps out of memory)",
                11 => " (SIGSEGV)",
                15 => " (SIGTERM)",
                24 => " (SIGXCPU; more CPU time than `max_cpu_seconds`)",
                _ => "",
            };
            format!("killed by signal {signal}{name}")
        }
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "no exit code".to_owned(),
    }
}
