//! `gleitzeit init`: writes a workflow file to start from.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use serde_json::json;

use crate::cli::{InitArgs, InitKind};
use crate::error::{CommandError, CommandResult, Exit};
use crate::output;

pub(crate) fn run(args: &InitArgs) -> CommandResult {
    let name = args.name.strip_suffix(".yaml").unwrap_or(&args.name);
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_name) {
        let error = CommandError::usage(format!("`{}` cannot be a workflow's name", args.name));
        return Err(error.hint("use letters, digits, `-` and `_`; the file is made in this folder"));
    }
    let file = format!("{}.yaml", name.replace(' ', "_"));
    let text = template(args.kind).replace("{name}", &yaml_text(name)).replace("{file}", &file);
    // Never overwrites an existing file.
    let made = OpenOptions::new().write(true).create_new(true).open(Path::new(&file));
    let written = made.and_then(|mut made| made.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            CommandError::usage(format!("`{file}` already exists")).hint("choose another name, or move the file")
        }
        _ => CommandError::usage(format!("cannot write `{file}`: {error}")),
    })?;
    output::document(args.output.format(), &json!({ "file": file }), |_| {
        format!("made {file}; run it with `gleitzeit run {file}`\n")
    })?;
    Ok(Exit::Success)
}

fn template(kind: InitKind) -> &'static str {
    match kind {
        InitKind::Python => include_str!("../templates/python.yaml"),
        InitKind::Llm => include_str!("../templates/llm.yaml"),
        InitKind::Mixed => include_str!("../templates/mixed.yaml"),
    }
}

/// Quotes a name that YAML would read as a number, a date or the like.
fn yaml_text(name: &str) -> String {
    let is_plain = name.starts_with(char::is_alphabetic) && !matches!(name, "true" | "false" | "null" | "yes" | "no");
    if is_plain { name.to_owned() } else { format!("{name:?}") }
}
