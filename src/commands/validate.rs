//! `gleitzeit validate`: what is wrong with workflow files, without running them.

use gleitzeit_core::spec::Problem;
use gleitzeit_protocols::Registry;
use gleitzeit_sdk::Client;
use serde_json::json;

use crate::cli::{ClientArgs, ValidateArgs};
use crate::error::{CommandError, CommandResult, Exit};
use crate::signals::{OnSignal, block_on};
use crate::workflow::Source;
use crate::{client, output, setup};

/// Who checks.
enum Checker {
    Here(Registry),
    There(Box<Client>),
}

pub(crate) fn run(args: ValidateArgs) -> CommandResult {
    block_on(OnSignal::Drop, |_| async move {
        let checker = match args.hub_url {
            Some(url) => {
                let reach = ClientArgs { hub_url: Some(url), token: args.token };
                Checker::There(Box::new(client::connect(&reach).await?))
            }
            None => Checker::Here(setup::registry(&args.definitions)?),
        };
        let mut problems = Vec::new();
        for file in &args.files {
            problems.extend(check(&checker, Source::read(file)).await?);
        }
        if !problems.is_empty() {
            return Err(CommandError::problems(problems));
        }
        output::document(args.output.format, &json!({ "errors": [] }), |_| {
            args.files.iter().map(|file| format!("{}: valid\n", file.display())).collect()
        })?;
        Ok(Exit::Success)
    })
}

async fn check(checker: &Checker, source: Result<Source, CommandError>) -> Result<Vec<Problem>, CommandError> {
    let source = match source {
        Ok(source) => source,
        Err(error) => return Ok(error.problems),
    };
    match checker {
        Checker::Here(registry) => Ok(source.check(registry).err().unwrap_or_default()),
        Checker::There(client) => match source.text() {
            Ok(text) => Ok(client.validate(text, &source.name).await?.problems),
            Err(error) => Ok(error.problems),
        },
    }
}
