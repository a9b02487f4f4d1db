//! Runs one call: a worker, its streams, its end. Whatever happens, even if this future is dropped, everything that the
//! call started is dead before its folder is removed.

use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use gleitzeit_workflow::error::ErrorCode;
use gleitzeit_workflow::payload::Payload;
use serde::Serialize;
use serde_json::value::RawValue;
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, Asked};
use super::lane::{Lane, Worker};
use super::options::Options;
use super::pool::Pool;
use super::request::Wanted;
use super::server::Start;
use super::wire;
use crate::call::{Call, CallError, Context};
use crate::executors::process::capture::{Captured, Outputs, StreamLimits};
use crate::executors::process::failed;
use crate::executors::process::limits::own_limit;
use crate::executors::process::watch::watch;
use crate::executors::process::workspace::{Workspace, clear};

/// Once the family is dead its streams end at once; only a process that escaped can keep them open longer.
const DRAIN: Duration = Duration::from_secs(1);

/// What a call needs of its executor.
pub(super) struct Job<'a> {
    pub(super) start: &'a Arc<Start>,
    pub(super) workspace: &'a Workspace,
    pub(super) pool: &'a Pool,
    pub(super) options: &'a Options,
}

/// The request to the worker.
#[derive(Serialize)]
struct Request<'a> {
    code: &'a str,
    /// The name of the source in tracebacks.
    name: &'a str,
    /// The file that the code comes from, if any.
    path: Option<&'a str>,
    args: &'a [String],
    context: &'a RawValue,
    folder: &'a str,
    only_check: bool,
}

/// A lane at work. Its fields are dropped in this order: the family is dead before its folder is removed.
struct Working {
    lane: Lane,
    folder: TempDir,
}

pub(super) async fn run(job: Job<'_>, call: &Call, context: &Context) -> Result<Payload, CallError> {
    let wanted = Wanted::read(call, job.options).await?;
    let began = Instant::now();
    let lane = tokio::select! {
        error = context.ended() => return Err(error),
        lane = job.pool.take(job.start) => lane?,
    };
    let folder = job.workspace.call_folder().map_err(failed("the folder of the call cannot be created"))?;
    let request = request(&wanted, folder.path())?;
    let mut working = Working { lane, folder };
    let number = working.lane.number().map_err(failed("the process cannot be watched"))?;

    let mut outputs = Outputs::of(context);
    let outcome = tokio::select! {
        outcome = work(&mut working.lane, &request, job.options, &mut outputs) => outcome,
        error = context.ended() => Err(error),
        error = own_limit("the code", began, wanted.timeout) => Err(error),
        error = watch(number, 0, &job.options.limits) => Err(error),
    };
    let Working { lane, folder } = working;
    outputs.send_rest();
    match outcome {
        Ok((status, answer)) => {
            job.pool.give_back(lane).await;
            clear(folder).await;
            answer.conclude(status, outputs.into_texts(), wanted.asked)
        }
        Err(error) => {
            lane.end().await;
            clear(folder).await;
            Err(error)
        }
    }
}

/// The request to the worker, as JSON.
fn request(wanted: &Wanted<'_>, folder: &Path) -> Result<Vec<u8>, CallError> {
    let empty = RawValue::from_string("{}".to_owned()).map_err(invalid)?;
    let request = Request {
        code: &wanted.source.code,
        name: &wanted.source.name,
        path: wanted.source.path.as_deref(),
        args: &wanted.args,
        context: wanted.context.unwrap_or(&empty),
        folder: folder.to_str().ok_or_else(|| {
            CallError::new(ErrorCode::ProviderInitializationFailed, "the path of the temporary folder is not UTF-8")
        })?,
        only_check: wanted.asked == Asked::Check,
    };
    serde_json::to_vec(&request).map_err(invalid)
}

fn invalid(error: serde_json::Error) -> CallError {
    CallError::new(ErrorCode::InvalidParams, error.to_string())
}

/// Reads until the streams end, but after the call is dead at most for the time granted to escaped processes. Available
/// data is read first: on a busy machine that time may already be over when this first runs.
async fn drained<E>(streams: impl Future<Output = Result<(), E>>, dead: &CancellationToken) -> Result<(), E> {
    let escaped = async {
        dead.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        biased;
        read = streams => read,
        () = escaped => Ok(()),
    }
}

/// Runs until nothing of the call is left; returns how the worker ended and what it answered.
///
/// # Errors
/// If the lane can no longer be used.
async fn work(
    lane: &mut Lane,
    request: &[u8],
    options: &Options,
    outputs: &mut Outputs,
) -> Result<(ExitStatus, Answer), CallError> {
    let lost =
        || CallError::new(ErrorCode::ProviderNotAvailable, "the process that ran the code has died").with("lost", true);
    let Worker { mut socket, output, errors } = lane.take_worker().ok_or_else(lost)?;
    let mut answer = Answer::default();
    let dead = CancellationToken::new();
    let answered = async {
        // If the worker is gone, its lane says how.
        if wire::write_sized(&mut socket, request).await.is_ok() {
            answer.read(&mut socket, options.max_result_bytes).await;
        }
        // Later data is ignored, but its writer must not block.
        Captured::default().read(&mut socket, StreamLimits::DROP).await
    };
    let streams =
        async { tokio::try_join!(answered, outputs.read(output, errors, options.limits.streams())).map(drop) };
    let drained = drained(streams, &dead);
    let ended = async {
        let status = lane.ended().await.map_err(|_| lost());
        dead.cancel();
        status
    };
    let (status, ()) = tokio::try_join!(ended, drained)?;
    Ok((status, answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn available_data_is_read_even_after_the_time_is_up() {
        for _ in 0..64 {
            let dead = CancellationToken::new();
            dead.cancel();
            let late = async {
                tokio::time::sleep(DRAIN).await;
                Err("read")
            };
            assert_eq!(drained(late, &dead).await, Err("read"));
        }
    }
}
