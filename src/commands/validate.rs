//! `gleitzeit validate`: what is wrong with workflow files, without running them.

use gleitzeit_core::spec::{KnownProviders, Limits, Note, Problem, WithProviders, Workflow};
use gleitzeit_protocols::Registry;
use gleitzeit_sdk::Client;
use serde_json::json;

use crate::cli::{ClientArgs, ValidateArgs};
use crate::content::{self, Found, Valid};
use crate::error::{CommandError, CommandResult, Exit};
use crate::setup::Workers;
use crate::signals::{OnSignal, block_on};
use crate::workflow::{Source, missing_files};
use crate::{client, output, setup};

/// Who checks.
enum Checker {
    Here(Box<Here>),
    There(Box<Client>),
}

/// What is known here.
struct Here {
    registry: Registry,
    providers: KnownProviders,
}

pub(crate) fn run(args: ValidateArgs) -> CommandResult {
    block_on(OnSignal::Drop, |_| async move {
        let (checker, workers) = match args.hub_url.clone() {
            Some(url) => {
                let reach = ClientArgs { hub_url: Some(url), token: args.token.clone() };
                (Checker::There(Box::new(client::connect(&reach).await?)), Workers::elsewhere())
            }
            None => {
                let registry = setup::registry(&args.definitions)?;
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
            args.files.iter().map(|file| format!("{}: valid\n", file.display())).collect()
        })?;
        output::notes(&notes);
        Ok(Exit::Success)
    })
}

/// A file that is valid, or what is wrong with it.
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
                // What the control plane takes has a shape that is right here, too.
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
