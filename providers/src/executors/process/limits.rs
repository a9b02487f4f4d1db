//! How much a call may use, and how strictly it is confined: the options that every provider of processes has.

use std::time::Duration;

use gleitzeit_protocols::yaml::{Fields, Problem, Reader};
use gleitzeit_workflow::ErrorCode;
use tokio::time::Instant;

use super::capture::StreamLimits;
use crate::call::CallError;
use crate::definition::{Definition, Options};
use crate::executors::result_bytes;
use crate::settings::Settings;

/// More than any machine has; keeps sums from overflowing.
const MOST: u64 = 1 << 50;

/// The default number of concurrent calls. Code and commands often wait, so there are more of them than processors;
/// even a machine with few processors serves several users.
pub(in crate::executors) fn concurrency(settings: &Settings) -> u32 {
    settings.cpus.saturating_mul(4).max(8)
}

/// Returns once `what` has run longer than the `timeout` of its call, in seconds since `began`.
pub(in crate::executors) async fn own_limit(what: &str, began: Instant, timeout: Option<f64>) -> CallError {
    let limit = timeout.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    match limit.and_then(|limit| began.checked_add(limit)) {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
    let seconds = timeout.unwrap_or_default();
    CallError::new(ErrorCode::TaskTimeout, format!("{what} ran longer than its `timeout` of {seconds} s"))
}

/// The remedy on a machine without the strict sandbox.
const INSTEAD_OF_STRICT: &str = "use `sandbox: limits`; or run the agent on Linux, with a newer kernel or more rights";

/// The problem of a definition that asks for the strict sandbox on a machine without one; `why` is its message.
pub(in crate::executors) fn no_strict_sandbox(definition: &Definition, why: String) -> Vec<Problem> {
    let Options { file, node } = &definition.options;
    let spot = node.as_ref().map(|node| node.spot).unwrap_or_default();
    let problem = Problem::of_file(file, ErrorCode::ConfigurationError, why).at_spot(spot);
    vec![problem.hint(INSTEAD_OF_STRICT)]
}

/// How strictly the code is confined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::executors) enum Sandbox {
    /// It may do what the agent's user may, within limits.
    #[default]
    Limits,
    /// No network, and of the file system only programs and the call's own folder.
    Strict,
}

impl Sandbox {
    /// The capabilities of a provider with this sandbox.
    pub(in crate::executors) fn capabilities(self) -> Vec<String> {
        let level = match self {
            Self::Limits => "sandbox:limits",
            Self::Strict => "sandbox:strict",
        };
        vec![level.to_owned()]
    }
}

#[derive(Clone, Debug)]
pub(in crate::executors) struct Limits {
    pub(in crate::executors) sandbox: Sandbox,
    pub(in crate::executors) max_output_bytes: usize,
    pub(in crate::executors) max_stream_bytes: u64,
    pub(in crate::executors) max_memory_bytes: u64,
    pub(in crate::executors) max_processes: u64,
    pub(in crate::executors) max_cpu_seconds: u64,
    pub(in crate::executors) max_open_files: u64,
    pub(in crate::executors) max_file_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sandbox: Sandbox::Limits,
            max_output_bytes: 256 * 1024,
            max_stream_bytes: 64 << 20,
            max_memory_bytes: 2 << 30,
            max_processes: 64,
            max_cpu_seconds: 3600,
            max_open_files: 1024,
            max_file_bytes: 1 << 30,
        }
    }
}

impl Limits {
    /// The fields of `options` that are read here.
    pub(in crate::executors) const FIELDS: [&str; 8] = [
        "sandbox",
        "max_output_bytes",
        "max_stream_bytes",
        "max_memory_bytes",
        "max_cpu_seconds",
        "max_processes",
        "max_open_files",
        "max_file_bytes",
    ];

    /// Reads the limits; problems are noted in `reader`.
    pub(in crate::executors) fn read(reader: &mut Reader, fields: &Fields<'_>) -> Self {
        let mut limits = Self::default();
        if let Some(bytes) = result_bytes(reader, fields, "max_output_bytes") {
            limits.max_output_bytes = bytes;
        }
        for (name, field, most) in [
            ("max_stream_bytes", &mut limits.max_stream_bytes, MOST),
            ("max_memory_bytes", &mut limits.max_memory_bytes, MOST),
            ("max_processes", &mut limits.max_processes, 10_000),
            ("max_cpu_seconds", &mut limits.max_cpu_seconds, 1 << 30),
            ("max_open_files", &mut limits.max_open_files, 1 << 20),
            ("max_file_bytes", &mut limits.max_file_bytes, MOST),
        ] {
            if let Some(number) = reader.positive_up_to(fields, name, most) {
                *field = number;
            }
        }
        if let Some(node) = fields.get("sandbox") {
            match reader.text(node, "sandbox").as_deref() {
                Some("limits") | None => {}
                Some("strict") => limits.sandbox = Sandbox::Strict,
                Some(other) => {
                    let message = format!("`sandbox` is `limits` or `strict`, not `{other}`");
                    reader.problem(node.spot, message, None);
                }
            }
        }
        limits
    }

    /// The limits for standard output and for standard error, each.
    pub(in crate::executors) fn streams(&self) -> StreamLimits {
        StreamLimits { kept: self.max_output_bytes, most: self.max_stream_bytes }
    }
}
