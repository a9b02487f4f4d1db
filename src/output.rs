//! Printing: one document on stdout, everything else on stderr.

use std::io::{self, Write};

use gleitzeit_sdk::Run;
use gleitzeit_workflow::json;
use gleitzeit_workflow::spec::{Note, Problem};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::Format;
use crate::error::CommandError;
use crate::json::indented;
use crate::{causes, color, diagnostics, output_settings, sink};

/// Whether the reader of stdout is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    There,
    /// The pipe is closed, as by `head`; a caller with more output may stop.
    Gone,
}

/// Writes text to stdout and waits for its reader. A reader that has gone away, or that reads nothing while the process
/// is shutting down, is not an error.
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

/// Prints prose, wrapped to the width of the terminal.
///
/// # Errors
/// As for [`print`].
pub(crate) fn print_prose(text: &str) -> Result<Reader, CommandError> {
    print(&wrapped(text, 2))
}

/// The width of the terminal, if stdout is one.
pub(crate) fn terminal_columns() -> Option<usize> {
    columns_of(io::stdout())
}

fn columns_of(stream: impl rustix::fd::AsFd) -> Option<usize> {
    let told = rustix::termios::tcgetwinsize(stream).ok();
    told.filter(|size| size.ws_col > 0).map(|size| size.ws_col.into())
}

/// The width of stdout; for a file or a pipe a width that is enough for most output.
pub(crate) fn columns() -> usize {
    const DEFAULT: usize = 100;
    terminal_columns().unwrap_or(DEFAULT)
}

/// The width to which output is fitted: the terminal's; `None` if stdout is not a terminal or nothing may be cut.
pub(crate) fn fitting_columns() -> Option<usize> {
    terminal_columns().filter(|_| !output_settings::in_full())
}

/// Wraps prose to the width of stdout's terminal; continuation lines are indented by `hang` more columns.
pub(crate) fn wrapped(text: &str, hang: usize) -> String {
    match fitting_columns() {
        Some(columns) => crate::width::wrap(text, columns, hang),
        None => text.to_owned(),
    }
}

/// As [`wrapped`], but lines that begin with a blank stay as they are.
pub(crate) fn wrapped_prose(text: &str, hang: usize) -> String {
    match fitting_columns() {
        Some(columns) => crate::width::wrap_prose(text, columns, hang),
        None => text.to_owned(),
    }
}

/// Writes a line to stderr that is neither a result nor an error, without waiting for its reader. `--quiet` suppresses
/// it.
pub(crate) fn note(text: &str) {
    if !output_settings::is_quiet() {
        say(&on_stderr().wrapped(&color::stderr().marked(text), 2));
    }
}

/// Writes a line to stderr that `--quiet` does not suppress, without waiting for its reader.
pub(crate) fn say(text: &str) {
    show(&format!("{text}\n"));
}

fn on_stderr() -> diagnostics::Stderr {
    diagnostics::Stderr { paint: color::stderr(), columns: columns_of(io::stderr()) }
}

/// Writes text to stderr as it is.
pub(crate) fn show(text: &str) {
    // This writer cannot fail.
    let _ = sink::Stderr.write_all(text.as_bytes());
}

/// Writes the notes on a workflow to stderr.
pub(crate) fn notes(notes: &[Note]) {
    if !output_settings::is_quiet() {
        let stderr = on_stderr();
        notes.iter().for_each(|note| say(&stderr.note(note)));
    }
}

/// Writes to stderr why a run failed, after `label`; nothing if it did not fail.
pub(crate) fn run_failed(label: &str, run: &Run) {
    if let Some(error) = &run.error {
        say(&format!("{label}{}", on_stderr().run_failed(error, &causes::of(run))));
    }
}

/// Writes a problem in a file to stderr.
pub(crate) fn problem(problem: &Problem) {
    say(&on_stderr().problem(problem));
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

/// Converts through a JSON value, because only the JSON writer knows raw JSON text inside a document. Literals that a
/// value cannot hold become text.
fn yaml_text<T: Serialize>(document: &T) -> Result<String, CommandError> {
    let value = json::shown(&json_text(document)?);
    serde_yaml::to_string(&value).map_err(|error| CommandError::internal(format!("cannot write YAML: {error}")))
}

/// The error of a command, as it appears in documents.
pub(crate) fn errors(error: &CommandError) -> Vec<Value> {
    if error.problems.is_empty() {
        return vec![json!({
            "file": null, "line": null, "column": null, "field": null, "code": error.code.code(),
            "name": error.code.name(), "message": error.message, "hint": error.hint,
        })];
    }
    error.problems.iter().filter_map(|problem| serde_json::to_value(problem).ok()).collect()
}

/// Reports a command's error: as text on stderr, and as a document on stdout too if the format asks for one.
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
    say(&on_stderr().error(error));
}
