//! `gleitzeit validate`: what is wrong with workflow files, without running them.

use gleitzeit_core::spec::{Limits, Note, Problem};
use gleitzeit_protocols::Registry;
use gleitzeit_sdk::Client;
use serde_json::json;

use crate::cli::{ClientArgs, ValidateArgs};
use crate::color::Tone;
use crate::error::{CommandError, CommandResult, Exit};
use crate::signals::{OnSignal, block_on};
use crate::workflow::{Source, missing_files};
use crate::{client, color, hub_url, output, setup};

/// Who checks.
enum Checker {
    Here(Registry),
    There(Box<Client>),
}

pub(crate) fn run(args: ValidateArgs) -> CommandResult {
    block_on(OnSignal::Drop, |_| async move {
        let checker = match hub_url::named(args.hub_url.as_deref()).filter(|_| !args.offline) {
            Some(url) => there(url, &args).await?,
            None => Checker::Here(setup::registry(&args.definitions)?),
        };
        let (mut problems, mut notes) = (Vec::new(), Vec::new());
        for file in &args.files {
            problems.extend(check(&checker, Source::read(file), &mut notes).await?);
        }
        if !problems.is_empty() {
            return Err(CommandError { notes: Some(notes), ..CommandError::problems(problems) });
        }
        output::document(args.output.format(), &json!({ "errors": [], "notes": notes }), |_| {
            let valid = color::stdout().text(Tone::Good, "valid");
            args.files.iter().map(|file| format!("{}: {valid}\n", file.display())).collect()
        })?;
        output::notes(&notes);
        Ok(Exit::Success)
    })
}

/// A control plane that was named, and nobody else if it does not answer.
async fn there(url: &str, args: &ValidateArgs) -> Result<Checker, CommandError> {
    let reach = ClientArgs { hub_url: Some(url.to_owned()), token: args.token.clone() };
    let client = client::connect(&reach).await.map_err(|error| match error.hint.clone() {
        Some(hint) => error.hint(format!("{hint}; `--offline` checks without one")),
        None => error.hint("`--offline` checks without a control plane"),
    })?;
    output::note(&format!("checked against {}", client.config().url));
    if let Some(folder) = &args.definitions.protocols_dir {
        output::note(&format!("the protocols in `{}` are only used with `--offline`", folder.display()));
    }
    Ok(Checker::There(Box::new(client)))
}

async fn check(
    checker: &Checker,
    source: Result<Source, CommandError>,
    notes: &mut Vec<Note>,
) -> Result<Vec<Problem>, CommandError> {
    let source = match source {
        Ok(source) => source,
        Err(error) => return Ok(error.problems),
    };
    match checker {
        Checker::Here(registry) => {
            let checked = source.check(registry, &Limits::DEFAULT);
            notes.extend(checked.notes);
            Ok(match checked.workflow {
                Ok(workflow) => missing_files(&source, &workflow),
                Err(problems) => problems,
            })
        }
        Checker::There(client) => match source.text() {
            Ok(text) => {
                let validation = client.validate(text, &source.name).await?;
                notes.extend(validation.notes);
                let problems = validation.problems;
                let files = source.check_shape().workflow.map(|workflow| missing_files(&source, &workflow));
                Ok(if problems.is_empty() { files.unwrap_or_default() } else { problems })
            }
            Err(error) => Ok(error.problems),
        },
    }
}
