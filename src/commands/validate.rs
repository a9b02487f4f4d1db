//! `gleitzeit validate`: reports the problems of workflow files, without running them.

use gleitzeit_protocols::Registry;
use gleitzeit_sdk::Client;
use gleitzeit_workflow::spec::{KnownProviders, Limits, Note, Problem, WithProviders, Workflow};
use serde_json::json;

use crate::cli::{ClientArgs, ValidateArgs};
use crate::color::Tone;
use crate::content::{self, Found, Valid};
use crate::error::{CommandError, CommandResult, Exit};
use crate::signals::{OnSignal, block_on};
use crate::workers::Workers;
use crate::workflow::{Source, missing_files};
use crate::{client, color, definitions, hub_url, output};

/// Where workflows are checked.
enum Checker {
    Here(Box<Here>),
    There(Box<Client>),
}

/// What is known in this process.
struct Here {
    registry: Registry,
    providers: KnownProviders,
}

pub(crate) fn run(args: ValidateArgs) -> CommandResult {
    block_on(OnSignal::Drop, |_| async move {
        let (checker, workers) = match hub_url::named(args.hub_url.as_deref()).filter(|_| !args.offline) {
            Some(_) if !args.providers.is_empty() => {
                let error =
                    CommandError::usage("a control plane knows its own providers: `--provider` has no effect there");
                return Err(error.hint("`--offline` checks here, with the providers of the files that are given"));
            }
            Some(url) => (there(url, &args).await?, Workers::elsewhere()),
            None => {
                let registry = definitions::registry(&args.definitions)?;
                let workers = Workers::here(args.providers_dir.as_deref(), &args.providers, &registry)?;
                (Checker::Here(Box::new(Here { registry, providers: workers.providers() })), workers)
            }
        };
        let (mut problems, mut notes, mut valid) = (Vec::new(), Vec::new(), Vec::new());
        for file in &args.files {
            match check(&checker, Source::read(file), &mut notes).await? {
                Ok(it) => valid.push(it),
                Err(found) => problems.extend(found),
            }
        }
        let content = content::check(&valid, &workers).await;
        let Found { problems: of_content, notes: more } = content;
        problems.extend(of_content);
        notes.extend(more);
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

/// The control plane that was named; if it does not answer, this fails.
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

/// The checked workflow, or its problems.
async fn check(
    checker: &Checker,
    source: Result<Source, CommandError>,
    notes: &mut Vec<Note>,
) -> Result<Result<Valid, Vec<Problem>>, CommandError> {
    let source = match source {
        Ok(source) => source,
        Err(error) => return Ok(Err(error.problems)),
    };
    let workflow: Result<Workflow, Vec<Problem>> = match checker {
        Checker::Here(here) => {
            let catalog = WithProviders { catalog: &here.registry, providers: &here.providers };
            let checked = source.check(&catalog, &Limits::DEFAULT);
            notes.extend(checked.notes);
            checked.workflow
        }
        Checker::There(client) => match source.text() {
            Ok(text) => {
                let validation = client.validate(text, &source.name).await?;
                notes.extend(validation.notes);
                // A workflow that the control plane accepts has a valid shape here, too.
                if validation.problems.is_empty() { source.check_shape().workflow } else { Err(validation.problems) }
            }
            Err(error) => Err(error.problems),
        },
    };
    Ok(workflow.and_then(|workflow| match missing_files(&source, &workflow) {
        missing if missing.is_empty() => Ok(Valid { source, workflow }),
        missing => Err(missing),
    }))
}
