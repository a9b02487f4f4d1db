//! Printing: one document on stdout, everything else on stderr.

use std::io::{self, Write};

use gleitzeit_core::json;
use gleitzeit_core::spec::Note;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::Format;
use crate::error::CommandError;
use crate::json::indented;
use crate::sink;

/// Whether anybody reads what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    There,
    /// The pipe is closed, as by `head`; whoever has more to say may stop.
    Gone,
}

/// Writes text to stdout, and waits for its reader. One that went away, or reads nothing while the process is to end, is
/// no error.
///
/// # Errors
/// If stdout cannot be written for another reason.
pub(crate) fn print(text: &str) -> Result<Reader, CommandError> {
    match sink::print(text) {
        Ok(()) => Ok(Reader::There),
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::TimedOut) => Ok(Reader::Gone),
        Err(error) => Err(CommandError::internal(format!("cannot write to stdout: {error}"))),
    }
}

/// How wide the terminal is that stdout is, if it is one.
pub(crate) fn terminal_columns() -> Option<usize> {
    let told = rustix::termios::tcgetwinsize(io::stdout()).ok();
    told.filter(|size| size.ws_col > 0).map(|size| size.ws_col.into())
}

/// How wide stdout is; a file or a pipe is wide enough for most.
pub(crate) fn columns() -> usize {
    const DEFAULT: usize = 100;
    terminal_columns().unwrap_or(DEFAULT)
}

/// Says a line on stderr, without waiting for its reader.
pub(crate) fn note(text: &str) {
    show(&format!("{text}\n"));
}

/// Says something on stderr, as it is.
pub(crate) fn show(text: &str) {
    // It takes everything.
    let _ = sink::Stderr.write_all(text.as_bytes());
}

/// Writes the notes on a workflow to stderr.
pub(crate) fn notes(notes: &[Note]) {
    for text in notes {
        note(&text.to_string());
    }
}

/// Prints a document as JSON or YAML, or through `table` for people.
///
/// # Errors
/// If stdout cannot be written.
pub(crate) fn document<T: Serialize>(
    format: Format,
    document: &T,
    table: impl FnOnce(&T) -> String,
) -> Result<Reader, CommandError> {
    match format {
        Format::Table => print(&table(document)),
        Format::Json => print(&format!("{}\n", indented(&json_text(document)?))),
        Format::Yaml => print(&yaml_text(document)?),
    }
}

/// Prints a document on one line as JSON, or as one YAML document of several. For people there is [`print`].
///
/// # Errors
/// If stdout cannot be written.
pub(crate) fn one_of_many<T: Serialize>(format: Format, document: &T) -> Result<Reader, CommandError> {
    match format {
        Format::Table | Format::Json => print(&format!("{}\n", json_text(document)?)),
        Format::Yaml => print(&format!("---\n{}", yaml_text(document)?)),
    }
}

fn json_text<T: Serialize>(document: &T) -> Result<String, CommandError> {
    serde_json::to_string(document).map_err(|error| CommandError::internal(format!("cannot write JSON: {error}")))
}

/// Through a JSON value, because raw JSON text inside a document is known to the JSON writer only. What no value can hold
/// is there as its text.
fn yaml_text<T: Serialize>(document: &T) -> Result<String, CommandError> {
    let value = json::shown(&json_text(document)?);
    serde_yaml::to_string(&value).map_err(|error| CommandError::internal(format!("cannot write YAML: {error}")))
}

/// Why a command failed, as documents say it.
pub(crate) fn errors(error: &CommandError) -> Vec<Value> {
    if error.problems.is_empty() {
        return vec![json!({
            "file": null, "line": null, "column": null, "field": null, "code": error.code.code(),
            "name": error.code.name(), "message": error.message, "hint": error.hint,
        })];
    }
    error.problems.iter().filter_map(|problem| serde_json::to_value(problem).ok()).collect()
}

/// Says why a command failed: the text on stderr, and the document on stdout too if the format asks for one.
pub(crate) fn failure(format: Format, error: &CommandError) {
    if format != Format::Table {
        // If stdout is gone, stderr still has the text.
        let mut failed = json!({ "errors": errors(error) });
        if let Some(notes) = &error.notes {
            failed["notes"] = json!(notes);
        }
        let _ = document(format, &failed, |_| String::new());
    }
    notes(error.notes.as_deref().unwrap_or_default());
    note(&error.to_string());
}
