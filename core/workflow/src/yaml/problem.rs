//! What is wrong with a file, and where.

use std::cmp::Ordering;
use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::place::Spot;
use crate::error::ErrorCode;

/// One thing that is wrong with a file.
///
/// Serializes as `{file, line, column, field, code, name, message, hint}`. [`fmt::Display`] gives
/// `file:line:column: message`, and the hint on a line of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as the user named it; empty if there is none.
    pub file: String,
    /// Line, from 1; `None` for a workflow that was not text.
    pub line: Option<u32>,
    /// Column in characters, from 1.
    pub column: Option<u32>,
    /// Path of the field, such as `tasks[3].parameters.code`; empty for the whole file.
    pub field: String,
    /// Which kind of problem.
    pub code: ErrorCode,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem that concerns a whole file.
    pub fn of_file(file: &str, code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            column: None,
            field: String::new(),
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// The same with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a place; lines and columns count from 1.
    #[must_use]
    pub fn at(mut self, line: u32, column: u32) -> Self {
        (self.line, self.column) = (Some(line), Some(column));
        self
    }

    /// The same with a place, if there was a text.
    #[must_use]
    pub fn at_spot(mut self, spot: Spot) -> Self {
        (self.line, self.column) = spot.line_and_column().unzip();
        self
    }

    /// The order of a file; problems without a place come first.
    pub fn by_place(&self, other: &Self) -> Ordering {
        (self.line, self.column).cmp(&(other.line, other.column))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(f, &self.file, (self.line, self.column), &self.field)?;
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

fn place(
    f: &mut fmt::Formatter<'_>,
    file: &str,
    (line, column): (Option<u32>, Option<u32>),
    field: &str,
) -> fmt::Result {
    if !file.is_empty() {
        write!(f, "{file}:")?;
    }
    match (line, column) {
        (Some(line), Some(column)) => write!(f, "{line}:{column}: "),
        (Some(line), None) => write!(f, "{line}: "),
        _ if !field.is_empty() => write!(f, "{}{field}: ", if file.is_empty() { "" } else { " " }),
        _ if !file.is_empty() => f.write_str(" "),
        _ => Ok(()),
    }
}

/// What is allowed in a workflow and probably not meant. It keeps nothing from running.
///
/// [`fmt::Display`] gives `file:line:column: note: message`, and the hint on a line of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The file as the user named it; empty if there is none.
    pub file: String,
    /// Line, from 1; `None` for a workflow that was not text.
    pub line: Option<u32>,
    /// Column in characters, from 1.
    pub column: Option<u32>,
    /// Path of the field, such as `outputs.answer`.
    pub field: String,
    /// What stands there, and what it does.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(f, &self.file, (self.line, self.column), &self.field)?;
        write!(f, "note: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Problem", 8)?;
        out.serialize_field("file", &self.file)?;
        out.serialize_field("line", &self.line)?;
        out.serialize_field("column", &self.column)?;
        out.serialize_field("field", &self.field)?;
        out.serialize_field("code", &self.code.code())?;
        out.serialize_field("name", self.code.name())?;
        out.serialize_field("message", &self.message)?;
        out.serialize_field("hint", &self.hint)?;
        out.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_shown_and_serialized_with_its_place() {
        let problem = Problem::of_file("a.yaml", ErrorCode::ParseError, "bad").at(3, 4).hint("do better");
        assert_eq!(problem.to_string(), "a.yaml:3:4: bad\n  hint: do better");
        assert_eq!(
            serde_json::to_string(&problem).expect("serializes"),
            r#"{"file":"a.yaml","line":3,"column":4,"field":"","code":-32700,"name":"PARSE_ERROR","message":"bad","hint":"do better"}"#
        );
        assert_eq!(Problem::of_file("", ErrorCode::ParseError, "bad").to_string(), "bad");
        assert_eq!(Problem::of_file("a", ErrorCode::ParseError, "bad").to_string(), "a: bad");
    }
}
