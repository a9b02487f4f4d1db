//! Runs one call: its folder, its processes, its streams, its end.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use gleitzeit_workflow::error::ErrorCode;
use gleitzeit_workflow::payload::Payload;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::Instant;

use super::family::{Family, OURS, Start};
use super::interpreter::Interpreter;
use super::namespaces::Namespaces;
use super::options::Options;
use super::request::Wanted;
use crate::call::{Call, CallError, Context};
use crate::executors::process::capture::{Captured, tail};
use crate::executors::process::watch::{too_many, watch};
use crate::executors::process::workspace::{Workspace, clear};
use crate::settings::Settings;

/// Once the family is dead its streams end at once; only a process that escaped can keep them open longer.
const DRAIN: Duration = Duration::from_secs(1);

/// What all calls of an executor share.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) namespaces: Namespaces,
    pub(super) settings: &'a Settings,
    pub(super) options: &'a Options,
}

/// A family at work. Its fields are dropped in this order: the family is dead before its folder is removed.
struct Working {
    family: Family,
    folder: TempDir,
}

pub(super) async fn run(place: Place<'_>, call: &Call, context: &Context) -> Result<Payload, CallError> {
    let wanted = Wanted::read(call)?;
    let Place { namespaces, settings, options, .. } = place;
    let interpreter = Interpreter::choose(wanted.shell, wanted.strict, options, settings)?;
    let io = |what: &'static str| {
        move |error: io::Error| CallError::new(ErrorCode::TaskExecutionFailed, format!("{what}: {error}"))
    };
    let folder = place.workspace.call_folder().map_err(io("no folder for the call"))?;
    let (arguments, status) = prepare(folder.path(), &wanted).map_err(io("no files for the call"))?;
    let start = Start {
        folder: folder.path(),
        namespaces,
        options,
        settings,
        interpreter: &interpreter,
        arguments: &arguments,
    };
    let began = Instant::now();
    let (family, output, errors) = Family::start(start).map_err(io("the command cannot be started"))?;
    let mut working = Working { family, folder };
    let root = working.family.root();

    let (mut kept_output, mut kept_errors) = Captured::streams_of(context);
    let ended = {
        let work = async {
            let streams = async {
                tokio::try_join!(
                    kept_output.read(output, options.limits.streams()),
                    kept_errors.read(errors, options.limits.streams()),
                )
            };
            tokio::pin!(streams);
            let ended = tokio::select! {
                ended = working.family.ended() => {
                    // A process that still holds them has escaped; what was read by then is kept.
                    if let Ok(read) = tokio::time::timeout(DRAIN, streams).await {
                        read?;
                    }
                    ended
                }
                read = &mut streams => {
                    read?;
                    working.family.ended().await
                }
            };
            ended.map_err(io("the command cannot be awaited"))
        };
        tokio::select! {
            ended = work => ended,
            error = context.ended() => Err(error),
            error = own_limit(began, wanted.timeout) => Err(error),
            error = watch(move || root, OURS, &options.limits) => Err(error),
        }
    };
    let took = began.elapsed();
    let Working { family, folder } = working;
    family.end().await;
    kept_output.send_rest();
    kept_errors.send_rest();
    let end = End::read(status);
    clear(folder).await;
    let with_texts = |error: CallError, output: Captured, errors: Captured| {
        error.with("output", tail(output.into_text())).with("error_output", tail(errors.into_text()))
    };
    ended?;
    let Some(End { code, left }) = end else {
        let message = "the shell did not start, or did not end by itself";
        let error = CallError::new(ErrorCode::TaskExecutionFailed, message);
        return Err(with_texts(error, kept_output, kept_errors));
    };
    if !wanted.expected_exit_codes.contains(&code) {
        // Code that multiplies fast reaches the kernel's own limit, and ends because of it, before it was ever looked
        // at.
        let message = if left > options.limits.max_processes {
            too_many(left, options.limits.max_processes)
        } else {
            format!("exit code {code}{}", meaning(code))
        };
        let error = CallError::new(ErrorCode::TaskExecutionFailed, message).with("exit_code", code);
        return Err(with_texts(error, kept_output, kept_errors));
    }
    Ok(Payload::from_value(&json!({
        "exit_code": code,
        "output": kept_output.into_text(),
        "error_output": kept_errors.into_text(),
        "execution_time": took.as_secs_f64(),
        "success": true,
    })))
}

/// Fills the folder of a call: the input of its processes (`in`), its working folder, and the file to which its first
/// process writes how the command ended.
fn prepare(folder: &Path, wanted: &Wanted) -> io::Result<(Vec<String>, File)> {
    let given = folder.join("in");
    fs::create_dir(&given)?;
    fs::create_dir(folder.join("work"))?;
    let status = File::options().read(true).write(true).create_new(true).open(folder.join("status"))?;
    Ok((wanted.write(&given)?, status))
}

/// How a command ended.
struct End {
    code: u8,
    /// How many processes it left behind in its namespace; only reported if it failed.
    left: u64,
}

impl End {
    /// Reads from the file that was opened before the command began: by now, its name may lead to anything, for
    /// instance to a pipe that nobody writes to. The command can write to the file too, so only as much is read as a
    /// status needs.
    fn read(mut status: File) -> Option<Self> {
        let mut bytes = [0; 32];
        status.seek(SeekFrom::Start(0)).ok()?;
        let read = status.read(&mut bytes).ok()?;
        let text = std::str::from_utf8(&bytes[..read]).ok()?;
        let (code, left) = text.lines().next()?.trim().split_once(' ')?;
        Some(Self { code: code.parse().ok()?, left: left.parse().ok()? })
    }
}

/// Returns once the call has taken longer than its `timeout`.
async fn own_limit(began: Instant, seconds: Option<f64>) -> CallError {
    let limit = seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    match limit.and_then(|limit| began.checked_add(limit)) {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
    let seconds = seconds.unwrap_or_default();
    CallError::new(ErrorCode::TaskTimeout, format!("the command ran longer than its `timeout` of {seconds} s"))
}

/// The meaning of an exit code by the convention of shells.
fn meaning(code: u8) -> String {
    match code {
        126 => " (the command cannot be executed)".to_owned(),
        127 => " (the command was not found)".to_owned(),
        137 => " (killed by signal 9; perhaps out of memory)".to_owned(),
        152 => " (killed by signal 24; more CPU time than `max_cpu_seconds`)".to_owned(),
        153 => " (killed by signal 25; a file larger than `max_file_bytes`)".to_owned(),
        129..=192 => format!(" (killed by signal {})", code - 128),
        _ => String::new(),
    }
}
