//! One call: a process, its streams, its end. Whatever happens, also if this future is dropped, the process group is
//! killed before the call's folder is removed.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use gleitzeit_core::error::ErrorCode;
use gleitzeit_core::payload::Payload;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Config;
use super::capture::{Captured, capture};
use super::workspace::Workspace;
use crate::call::{Call, CallError, Context};
use crate::executors::builtin::parameters;
use crate::factory::Settings;

const HARNESS: &str = include_str!("harness.py");
/// After the group is dead its pipes close at once; only a process that left the group can hold them longer.
const DRAIN: Duration = Duration::from_secs(1);

/// What a call needs of its executor.
pub(super) struct Job<'a> {
    pub(super) interpreter: &'a PathBuf,
    pub(super) workspace: &'a Workspace,
    pub(super) config: &'a Config,
    pub(super) settings: &'a Settings,
}

#[derive(Deserialize)]
struct Parameters {
    code: String,
    #[serde(default)]
    context: Map<String, Value>,
    timeout: Option<f64>,
}

#[derive(Serialize)]
struct Request<'a> {
    code: &'a str,
    context: &'a Map<String, Value>,
}

/// How the harness says the call ended.
#[derive(Deserialize)]
struct Answer {
    seconds: Option<f64>,
    error: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    traceback: Option<String>,
}

#[derive(Serialize)]
struct Outcome<'a> {
    result: &'a RawValue,
    output: String,
    error_output: String,
    execution_time: f64,
    success: bool,
}

/// Kills its group when dropped, then lets the folder go.
struct Group {
    pid: Option<Pid>,
    /// Declared after `pid` is used in `drop`: the group is dead before its folder is removed.
    _folder: TempDir,
}

impl Group {
    fn kill(&mut self) {
        if let Some(pid) = self.pid.take() {
            // Fails only if nobody is left. The leader may be reaped already, but its number is not given out again
            // while the group has members, and the kernel cycles through all numbers before it reuses one.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(super) async fn run(job: Job<'_>, call: &Call, context: &Context) -> Result<Payload, CallError> {
    let Parameters { code, context: values, timeout } = parameters(call)?;
    let own = timeout.map(|seconds| {
        let limit = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        (Instant::now().checked_add(limit), seconds)
    });
    let io = |what: &'static str| {
        move |error: std::io::Error| CallError::new(ErrorCode::TaskExecutionFailed, format!("{what}: {error}"))
    };
    let folder = job.workspace.call_folder().map_err(io("no folder for the call"))?;
    let path = folder.path().to_owned();
    let work = path.join("work");
    let request = serde_json::to_vec(&Request { code: &code, context: &values })
        .map_err(|error| CallError::new(ErrorCode::InvalidParams, error.to_string()))?;
    tokio::fs::create_dir(&work).await.map_err(io("no folder for the call"))?;
    tokio::fs::write(path.join("request.json"), request).await.map_err(io("the request cannot be written"))?;

    let mut command = command(&job, &path, &work);
    let mut child = command.spawn().map_err(io("Python cannot be started"))?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut group = Group { pid, _folder: folder };
    // Held and never written to: its end tells the harness that this process is gone.
    let _alive = child.stdin.take();
    let limit = job.config.max_output_bytes;
    let output = child.stdout.take().map(|stream| Reading(tokio::spawn(capture(stream, limit))));
    let errors = child.stderr.take().map(|stream| Reading(tokio::spawn(capture(stream, limit))));

    let own_limit = async {
        match own {
            Some((Some(at), seconds)) => {
                tokio::time::sleep_until(at).await;
                seconds
            }
            _ => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        status = child.wait() => status.map_err(io("the process cannot be waited for")),
        error = context.ended() => Err(error),
        seconds = own_limit => Err(CallError::new(
            ErrorCode::TaskTimeout,
            format!("the code ran longer than its `timeout` of {seconds} s"),
        )),
    };
    group.kill();
    let status = match ended {
        Ok(status) => status,
        Err(error) => {
            let _ = tokio::time::timeout(DRAIN, child.wait()).await;
            return Err(error);
        }
    };
    let output = finish(output).await;
    let error_output = finish(errors).await;
    let concluded = conclude(&path, job.config, status, output, error_output).await;
    // What the code left may be large: its removal must not hold up other calls.
    let _ = tokio::task::spawn_blocking(move || drop(group)).await;
    concluded
}

fn command(job: &Job<'_>, path: &Path, work: &Path) -> Command {
    let mut command = Command::new(job.interpreter);
    command
        .args(["-X", "utf8", "-c", HARNESS])
        .arg(path)
        .arg(job.config.max_result_bytes.to_string())
        .env_clear()
        .env("PATH", &job.settings.path)
        .env("LANG", "C.UTF-8")
        .env("TMPDIR", work)
        .current_dir(work)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(home) = &job.settings.home {
        command.env("HOME", home);
    }
    command
}

/// A reader that ends with its call.
struct Reading(JoinHandle<Captured>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn finish(reading: Option<Reading>) -> String {
    let Some(mut reading) = reading else { return String::new() };
    match tokio::time::timeout(DRAIN, &mut reading.0).await {
        Ok(Ok(captured)) => captured.into_text(),
        _ => "[output lost: a process that left the group still holds it]\n".to_owned(),
    }
}

async fn conclude(
    path: &Path,
    config: &Config,
    status: ExitStatus,
    output: String,
    error_output: String,
) -> Result<Payload, CallError> {
    let failed = |message: String, output: String, error_output: String| {
        CallError::new(ErrorCode::TaskExecutionFailed, message)
            .with("output", tail(output))
            .with("error_output", tail(error_output))
    };
    let answer = tokio::fs::read(path.join("answer.json")).await.ok();
    let answer = answer.and_then(|bytes| serde_json::from_slice::<Answer>(&bytes).ok());
    let Some(answer) = answer else {
        return Err(failed(format!("Python ended before the code did: {}", how(status)), output, error_output));
    };
    if let Some(message) = answer.error {
        let mut error = failed(message, output, error_output);
        if let Some(traceback) = answer.traceback {
            error = error.with("traceback", traceback);
        }
        if let Some(kind) = answer.kind {
            error = error.with("type", kind);
        }
        return Err(error);
    }
    let file = path.join("result.json");
    // The harness checked its size, but the code can write there too.
    let size = tokio::fs::metadata(&file).await.map(|metadata| metadata.len()).unwrap_or(0);
    if usize::try_from(size).is_ok_and(|size| size > config.max_result_bytes) {
        let message = format!("the result has {size} bytes, more than `max_result_bytes`");
        return Err(failed(message, output, error_output));
    }
    let text = tokio::fs::read_to_string(&file).await.unwrap_or_default();
    let Ok(result) = serde_json::from_str::<&RawValue>(&text) else {
        return Err(failed("the result is not readable JSON".to_owned(), output, error_output));
    };
    let execution_time = answer.seconds.unwrap_or(0.0).max(0.0);
    let outcome = Outcome { result, output, error_output, execution_time, success: true };
    serde_json::to_string(&outcome)
        .and_then(Payload::parse)
        .map_err(|error| CallError::new(ErrorCode::TaskExecutionFailed, format!("the result is not JSON: {error}")))
}

/// Errors are journaled: they carry the end of the output only.
fn tail(text: String) -> Value {
    const KEPT: usize = 8 * 1024;
    let start = text.len().saturating_sub(KEPT);
    let start = (start..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    json!(text[start..])
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
                _ => "",
            };
            format!("killed by signal {signal}{name}")
        }
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "no exit code".to_owned(),
    }
}
