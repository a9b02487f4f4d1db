//! What all parts of the check share: the file, the limits, and the lists of problems and notes.

use super::catalog::Catalog;
use super::limits::Limits;
use super::scalar;
use crate::error::ErrorCode;
use crate::yaml::{At, Fields, Kind, Node, Note, Problem, Spot};

/// What is known while a file is checked. `check` runs the whole check; `fields` looks for unknown fields.
pub(super) struct Checker<'a> {
    pub(super) file: &'a str,
    /// Empty for a value.
    pub(super) source: &'a str,
    pub(super) catalog: &'a dyn Catalog,
    pub(super) limits: &'a Limits,
    pub(super) problems: Vec<Problem>,
    pub(super) notes: Vec<Note>,
}

impl Checker<'_> {
    /// Whether there is room for another problem: what only explains problems can be left out if not.
    pub(super) fn listening(&self) -> bool {
        self.problems.len() < self.limits.problems.max(1)
    }

    pub(super) fn report(
        &mut self,
        spot: Spot,
        at: At<'_>,
        code: ErrorCode,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        if !self.listening() {
            return;
        }
        let problem = Problem::of_file(self.file, code, message).at_spot(spot);
        self.problems.push(Problem { field: at.to_string(), hint, ..problem });
    }

    /// An ordinary problem of the workflow.
    pub(super) fn wrong(&mut self, spot: Spot, at: At<'_>, message: impl Into<String>, hint: Option<String>) {
        self.report(spot, at, ErrorCode::WorkflowValidationFailed, message, hint);
    }

    pub(super) fn object<'n>(&mut self, node: &'n Node, at: At<'_>, what: &str) -> Option<&'n Fields> {
        if let Kind::Object(fields) = &node.kind {
            return Some(fields);
        }
        self.wrong(node.spot, at, format!("{what} must be an object, not {}", node.what()), None);
        None
    }

    pub(super) fn text<'n>(&mut self, node: &'n Node, at: At<'_>, what: &str) -> Option<&'n str> {
        if let Kind::Text(text) = &node.kind {
            return Some(text);
        }
        let hint = matches!(node.kind, Kind::Number(_) | Kind::Bool(_)).then(|| "put it in quotes".to_owned());
        self.wrong(node.spot, at, format!("{what} must be text, not {}", node.what()), hint);
        None
    }

    /// A timeout: positive, in milliseconds.
    pub(super) fn timeout(&mut self, node: &Node, at: At<'_>) -> Option<u64> {
        match self.duration(node, at)? {
            0 => {
                self.wrong(node.spot, at, "a timeout must be at least 1 ms", Some("omit it for no timeout".to_owned()));
                None
            }
            ms => Some(ms),
        }
    }

    pub(super) fn duration(&mut self, node: &Node, at: At<'_>) -> Option<u64> {
        match scalar::duration_ms(&node.kind) {
            Ok(ms) => Some(ms),
            Err(message) => {
                let hint = "write seconds (`90`, `1.5`) or text such as \"500ms\", \"2m\", \"1h\"";
                self.wrong(node.spot, at, message, Some(hint.to_owned()));
                None
            }
        }
    }

    /// Whether there is room for another note.
    pub(super) fn has_room(&self) -> bool {
        self.notes.len() < self.limits.problems.max(1)
    }

    /// Notes what is allowed and probably not meant.
    pub(super) fn note(&mut self, spot: Spot, at: At<'_>, message: String, hint: String) {
        if !self.has_room() {
            return;
        }
        let place = (spot.line > 0).then_some((spot.line, spot.column));
        self.notes.push(Note {
            file: self.file.to_owned(),
            line: place.map(|place| place.0),
            column: place.map(|place| place.1),
            field: at.to_string(),
            message,
            hint: Some(hint),
        });
    }
}
