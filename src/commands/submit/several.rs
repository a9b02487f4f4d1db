//! Submits several workflow files: all are checked first, then all are sent in the order in which they were named.

use std::io::IsTerminal as _;
use std::pin::pin;

use futures_util::{StreamExt, stream};
use gleitzeit_sdk::{Client, Run, RunHandle, RunStatus};
use gleitzeit_workflow::spec::Limits;
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::batch::{AnyVariable, Judge, Ready, check_all};
use crate::cli::{Format, InputArgs, SubmitArgs};
use crate::document::{RunDocument, Submitted};
use crate::error::{CommandError, CommandResult, Exit};
use crate::signals::{OnSignal, block_on};
use crate::workflow::Source;
use crate::{client, definitions, output, states, view, workflow};

/// How many runs are waited for concurrently; each takes one open call at the control plane.
const AT_ONCE: usize = 32;

pub(super) fn run(sources: &[Source], given: &InputArgs, args: &SubmitArgs) -> CommandResult {
    if args.follow {
        return Err(CommandError::usage(format!(
            "`--follow` shows a single run, but {} files are given",
            sources.len()
        ))
        .hint("`--wait` waits for all of them"));
    }
    if args.request_id.is_some() {
        return Err(CommandError::usage(format!(
            "a request id identifies a single run, but {} files are given",
            sources.len()
        ))
        .hint("submit each file with its own request id"));
    }
    let on_signal = if args.wait { OnSignal::Finish } else { OnSignal::Drop };
    block_on(on_signal, |stop| async move {
        // A control plane is not started for files that cannot run.
        let can_run = || {
            let registry = definitions::registry_of_environment()?;
            let checked = sources.iter().map(|source| source.check(&registry, &Limits::DEFAULT).workflow);
            let problems: Vec<_> = checked.filter_map(Result::err).flatten().collect();
            if problems.is_empty() { Ok(()) } else { Err(CommandError::problems(problems)) }
        };
        let client = client::connect_or_start(&args.client, can_run).await?;
        let ready = check_all(sources, given, Judge::ControlPlane(&client), &AnyVariable).await?;
        let format = args.output.format();
        let sent = send(&client, ready, format).await;
        if args.wait && sent.refused.is_none() {
            return wait(&client, &sent.runs, format, &stop).await;
        }
        // If stdout and stderr are both a terminal, each id was already shown with its file.
        let is_told = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        output::document(format, &sent.documents(), |_| match is_told {
            true => String::new(),
            false => sent.runs.iter().map(|it| format!("{}\n", it.run.id())).collect(),
        })?;
        match sent.refused {
            None => Ok(Exit::Success),
            Some((_, error)) => {
                output::note(&error.to_string());
                Ok(error.exit)
            }
        }
    })
}

/// A run and its file.
struct Sent<'a> {
    source: &'a Source,
    prepared_notes: Vec<gleitzeit_workflow::spec::Note>,
    last_tasks: Vec<String>,
    run: RunHandle,
}

/// The outcome of all files.
struct All<'a> {
    runs: Vec<Sent<'a>>,
    /// The file that was refused although the checks found no problem; the files after it were not sent.
    refused: Option<(&'a Source, CommandError)>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum OfFile<'a> {
    Submitted {
        file: &'a str,
        #[serde(flatten)]
        submitted: Submitted<'a>,
    },
    Refused {
        file: &'a str,
        errors: Vec<Value>,
    },
    Ended {
        file: &'a str,
        #[serde(flatten)]
        run: RunDocument<'a>,
    },
}

impl All<'_> {
    fn documents(&self) -> Vec<OfFile<'_>> {
        let submitted = self.runs.iter().map(|it| OfFile::Submitted {
            file: &it.source.name,
            submitted: Submitted { notes: Some(&it.prepared_notes), ..Submitted::of(&it.run) },
        });
        let refused = self.refused.iter();
        let refused =
            refused.map(|(source, error)| OfFile::Refused { file: &source.name, errors: output::errors(error) });
        submitted.chain(refused).collect()
    }
}

async fn send<'a>(client: &Client, ready: Vec<Ready<'a>>, format: Format) -> All<'a> {
    let mut all = All { runs: Vec::new(), refused: None };
    let count = ready.len();
    for (at, Ready { source, prepared, .. }) in ready.into_iter().enumerate() {
        match workflow::submit(client, source, prepared.submission).await {
            Ok(run) => {
                if format == Format::Table {
                    output::note(&format!("{}: run {}", source.name, run.id()));
                }
                let (prepared_notes, last_tasks) = (prepared.notes, prepared.last_tasks);
                all.runs.push(Sent { source, prepared_notes, last_tasks, run });
            }
            Err(error) => {
                let unsent = match count - at - 1 {
                    0 => String::new(),
                    1 => ", and the file after it was not sent".to_owned(),
                    more => format!(", and the {more} files after it were not sent"),
                };
                output::note(&format!("{} was refused{unsent}; {at} submitted before it", source.name));
                all.refused = Some((source, error));
                break;
            }
        }
    }
    all
}

/// Waits until all runs have ended, and prints their outcomes in the order of the files.
async fn wait(client: &Client, sent: &[Sent<'_>], format: Format, stop: &CancellationToken) -> CommandResult {
    let told = |at: usize, run: &Run| {
        if format == Format::Table {
            output::note(&format!("{}: {}", sent[at].source.name, view::summary(run)));
        }
    };
    let ids = sent.iter().map(|it| it.run.id().to_owned()).collect();
    let runs = tokio::select! {
        runs = ended(client, ids, told) => runs?,
        () = stop.cancelled() => {
            output::note("the runs continue: `gleitzeit list` shows them, and `gleitzeit cancel` ends them");
            return Ok(Exit::Interrupted);
        }
    };
    let documents: Vec<OfFile<'_>> = sent
        .iter()
        .zip(&runs)
        .map(|(it, run)| OfFile::Ended { file: &it.source.name, run: RunDocument::from(run) })
        .collect();
    output::document(format, &documents, |_| sent.iter().zip(&runs).map(|(it, run)| text(it, run)).collect())?;
    for (it, run) in sent.iter().zip(&runs) {
        output::run_failed(&format!("{}: ", it.source.name), run);
    }
    let all_completed = runs.iter().all(|run| run.status == RunStatus::Completed);
    Ok(if all_completed { Exit::Success } else { Exit::Failed })
}

fn text(sent: &Sent<'_>, run: &Run) -> String {
    let results = view::results(run, Some(&sent.last_tasks));
    format!("── {} ({})\n{results}", sent.source.name, states::run_status(run.status))
}

/// The runs after their end, in the given order; `told` is called for each as it ends.
async fn ended(client: &Client, ids: Vec<String>, told: impl Fn(usize, &Run)) -> Result<Vec<Run>, CommandError> {
    let mut runs: Vec<Option<Run>> = ids.iter().map(|_| None).collect();
    let waits = ids.into_iter().enumerate().map(|(at, id)| async move {
        client.wait_without_results(&id, None).await?;
        Ok::<_, CommandError>((at, client::whole_run(client, &id).await?))
    });
    let mut waits = pin!(stream::iter(waits).buffer_unordered(AT_ONCE));
    while let Some(ended) = waits.next().await {
        let (at, run) = ended?;
        told(at, &run);
        runs[at] = Some(run);
    }
    Ok(runs.into_iter().flatten().collect())
}
