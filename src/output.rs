//! Printing: one document on stdout, everything else on stderr.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use crate::cli::Format;
use crate::error::{CommandError, Exit};

/// Writes text to stdout and flushes it. A reader that went away (a closed pipe) is a success.
///
/// # Errors
/// If stdout cannot be written for another reason.
pub(crate) fn print(text: &str) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::new(
            Exit::Failed,
            gleitzeit_core::ErrorCode::InternalError,
            format!("cannot write to stdout: {error}"),
        )),
        _ => Ok(()),
    }
}

/// Writes a line to stderr; nothing can be done if that fails.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints a document as JSON or YAML, or through `table` for people.
///
/// # Errors
/// If stdout cannot be written.
pub(crate) fn document(
    format: Format,
    document: &Value,
    table: impl FnOnce(&Value) -> String,
) -> Result<(), CommandError> {
    match format {
        Format::Table => print(&table(document)),
        Format::Json => print(&format!("{document:#}\n")),
        Format::Yaml => print(&to_yaml(document)?),
    }
}

/// Prints an error in the way the chosen format asks for: problems as a JSON document on stdout and the text on stderr.
pub(crate) fn failure(format: Format, error: &CommandError) {
    if error.exit == Exit::Usage && format != Format::Table {
        let problems: Vec<Value> = if error.problems.is_empty() {
            vec![json!({
                "file": null, "line": null, "column": null, "field": null, "code": error.code.code(),
                "name": error.code.name(), "message": error.message, "hint": error.hint,
            })]
        } else {
            error.problems.iter().filter_map(|problem| serde_json::to_value(problem).ok()).collect()
        };
        let _ = document(format, &json!({ "errors": problems }), |_| String::new());
    }
    note(&error.to_string());
}

fn to_yaml(document: &Value) -> Result<String, CommandError> {
    serde_yaml::to_string(document).map_err(|error| {
        CommandError::new(Exit::Failed, gleitzeit_core::ErrorCode::InternalError, format!("cannot write YAML: {error}"))
    })
}

/// Lines of columns, each as wide as its widest cell.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let head: Vec<String> = head.iter().map(|cell| cell.to_uppercase()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A value for people: text as it is, the rest as JSON.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A run for people: its status, its tasks, and its outputs or error.
pub(crate) fn run(document: &Value) -> String {
    let mut text = format!(
        "run      {}\nname     {}\nstatus   {}\nstarted  {}\n",
        shown(&document["run_id"]),
        shown(&document["name"]),
        shown(&document["status"]),
        shown(&document["submitted_at"]),
    );
    if !document["finished_at"].is_null() {
        let _ = writeln!(text, "ended    {}", shown(&document["finished_at"]));
    }
    if let Value::Object(tasks) = &document["tasks"] {
        let rows: Vec<Vec<String>> = tasks.iter().map(|(id, task)| task_row(id, task)).collect();
        let _ = write!(text, "\n{}", table(&["task", "status", "attempt", "about"], &rows));
    }
    text.push_str(&results(document));
    text
}

fn task_row(id: &str, task: &Value) -> Vec<String> {
    let about = match (&task["error"], &task["waiting"]) {
        (Value::Object(error), _) => shown(&error["message"]),
        (_, Value::Object(waiting)) => shown(&waiting["reason"]),
        _ => String::new(),
    };
    vec![id.to_owned(), shown(&task["status"]), shown(&task["attempt"]), first_line(&about, 80)]
}

/// What a run returned: its outputs, or else the results of the tasks that nothing depends on.
pub(crate) fn results(document: &Value) -> String {
    let mut text = String::new();
    if let Value::Object(error) = &document["error"] {
        let _ = write!(text, "\n{} ({}): {}\n", shown(&error["name"]), shown(&error["code"]), shown(&error["message"]));
        return text;
    }
    match &document["outputs"] {
        Value::Object(outputs) if !outputs.is_empty() => text.push_str(&fields(outputs)),
        _ => {
            if let Value::Object(tasks) = &document["tasks"] {
                let done: Map<String, Value> = tasks
                    .iter()
                    .filter(|(_, task)| task["status"] == "completed" && !task["result"].is_null())
                    .map(|(id, task)| (id.clone(), task["result"].clone()))
                    .collect();
                if let Some((id, result)) = done.into_iter().next_back() {
                    text.push_str(&fields(&Map::from_iter([(id, result)])));
                }
            }
        }
    }
    text
}

fn fields(fields: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Object(_) | Value::Array(_) => format!("{value:#}"),
            other => other.to_string(),
        };
        match value.contains('\n') {
            true => {
                let _ = write!(text, "\n{name}:\n");
                for line in value.lines() {
                    let _ = writeln!(text, "  {line}");
                }
            }
            false => {
                let _ = write!(text, "\n{name}: {value}\n");
            }
        }
    }
    text
}

/// The first line of a text, cut to `limit` characters.
pub(crate) fn first_line(text: &str, limit: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= limit {
        return line.to_owned();
    }
    line.chars().take(limit - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_blanks() {
        let rows = vec![vec!["a".to_owned(), "long".to_owned()], vec!["bcd".to_owned(), String::new()]];
        assert_eq!(table(&["x", "y"], &rows), "X    Y\na    long\nbcd\n");
    }

    #[test]
    fn outputs_go_before_results_and_an_error_before_both() {
        let mut run = json!({"outputs": {"n": 1}, "error": null, "tasks": {"a": {"status": "completed", "result": 2}}});
        assert_eq!(results(&run), "\nn: 1\n");
        run["outputs"] = Value::Null;
        assert_eq!(results(&run), "\na: 2\n");
        run["error"] = json!({"code": -1, "name": "X", "message": "no"});
        assert_eq!(results(&run), "\nX (-1): no\n");
    }
}
