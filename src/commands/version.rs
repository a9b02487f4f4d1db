//! `gleitzeit version`.

use serde_json::json;

use crate::cli::OutputArgs;
use crate::error::{CommandResult, Exit};
use crate::output;

pub(crate) fn run(args: OutputArgs) -> CommandResult {
    let version = env!("CARGO_PKG_VERSION");
    output::document(args.format(), &json!({ "version": version }), |_| format!("gleitzeit {version}\n"))?;
    Ok(Exit::Success)
}
