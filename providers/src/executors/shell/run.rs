//! Runs one call: its folder, its processes, its streams, its end.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use gleitzeit_workflow::error::ErrorCode;
use gleitzeit_workflow::payload::Payload;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use super::family::{Family, OURS, Start};
use super::interpreter::Interpreter;
use super::namespaces::Namespaces;
use super::options::Options;
use super::request::Wanted;
use crate::call::{Call, CallError, Context};
use crate::executors::process::capture::{Outputs, Texts};
use crate::executors::process::failed;
use crate::executors::process::limits::own_limit;
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
    let folder = place.workspace.call_folder().map_err(failed("the folder of the call cannot be created"))?;
    let (arguments, status) =
        prepare(folder.path(), &wanted).map_err(failed("the files of the call cannot be created"))?;
    let start = Start {
        folder: folder.path(),
        namespaces,
        options,
        settings,
        interpreter: &interpreter,
        arguments: &arguments,
    };
    let began = Instant::now();
    let (family, output, errors) = Family::start(start).map_err(failed("the command cannot be started"))?;
    let mut working = Working { family, folder };
    let root = working.family.root();

    let mut outputs = Outputs::of(context);
    let reading = outputs.read(output, errors, options.limits.streams());
    let ended = tokio::select! {
        ended = work(&mut working.family, reading) => ended,
        error = context.ended() => Err(error),
        error = own_limit("the command", began, wanted.timeout) => Err(error),
        error = watch(move || root, OURS, &options.limits) => Err(error),
    };
    let took = began.elapsed();
    let Working { family, folder } = working;
    family.end().await;
    outputs.send_rest();
    let end = End::read(status);
    clear(folder).await;
    ended?;
    conclude(end, &wanted, options.limits.max_processes, outputs.into_texts(), took)
}

/// Waits until the family is dead and its streams are read.
async fn work(family: &mut Family, reading: impl Future<Output = Result<(), CallError>>) -> Result<(), CallError> {
    let mut reading = pin!(reading);
    let ended = tokio::select! {
        ended = family.ended() => {
            // A process that still holds the streams has escaped; what was read by then is kept.
            if let Ok(read) = timeout(DRAIN, reading).await {
                read?;
            }
            ended
        }
        read = &mut reading => {
            read?;
            family.ended().await
        }
    };
    ended.map_err(failed("the end of the command cannot be awaited"))
}

/// The result of a command that has ended.
fn conclude(
    end: Option<End>,
    wanted: &Wanted,
    max_processes: u64,
    texts: Texts,
    took: Duration,
) -> Result<Payload, CallError> {
    let Some(End { code, left }) = end else {
        let message = "the shell did not start, or did not end by itself";
        return Err(texts.add_to(CallError::new(ErrorCode::TaskExecutionFailed, message)));
    };
    if !wanted.expected_exit_codes.contains(&code) {
        // Code that multiplies fast reaches the kernel's own limit, and ends because of it, before `watch` counts its
        // processes for the first time.
        let message = if left > max_processes {
            too_many(left, max_processes)
        } else {
            format!("exit code {code}{}", meaning(code))
        };
        let error = CallError::new(ErrorCode::TaskExecutionFailed, message).with("exit_code", code);
        return Err(texts.add_to(error));
    }
    Ok(Payload::from_value(&json!({
        "exit_code": code,
        "output": texts.output,
        "error_output": texts.error_output,
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
