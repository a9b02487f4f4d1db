//! Migrates files of the original Gleitzeit to today's format. The rules need no judgement and are applied to the text
//! itself.
//!
//! There are three passes, each over the text that the previous one produced: fields, then parameters, then references.
//! A second migration changes nothing.

mod edit;
mod parameters;
mod references;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::catalog::Catalog;
use super::limits::Limits;
use crate::error::ErrorCode;
use crate::yaml::{Kind, Node, Problem};
use edit::Edits;

/// A migrated file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The new text; the old text if nothing changed.
    pub text: String,
    /// The changes, in the order of the rules.
    pub changes: Vec<Change>,
    /// What the author has to change, because it has no counterpart or needs judgement.
    pub left: Vec<Change>,
}

/// One change, or one thing left to the author.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Path of the field in the original file, such as `tasks[2].params`.
    pub field: String,
    /// What was done, or what to do.
    pub message: String,
}

/// State that one pass hands to the next.
struct Migration<'a> {
    catalog: &'a dyn Catalog,
    /// Maps a file path of the original to one relative to the workflow's own folder.
    locate: &'a dyn Fn(&str) -> String,
    changes: Vec<Change>,
    left: Vec<Change>,
    /// Other names for task ids: task names, and `task_1` for the first task.
    aliases: BTreeMap<String, String>,
    /// Ids of tasks in the second-to-last format, whose results were wrapped.
    wrapped: BTreeSet<String>,
    /// By method: the fields of its result, if the result can have no others.
    results: BTreeMap<String, Option<Vec<String>>>,
    /// Ids of tasks that returned an echoed message as `response`.
    echoed: BTreeSet<String>,
}

/// Applies all rules to a workflow's text. `locate` is called with the path of each file that a parameter named. Those
/// paths were relative to the program's working directory; its result is relative to the workflow's folder.
///
/// # Errors
/// If the text cannot be read as YAML, or cannot be edited in place.
pub fn migrate(
    source: &str,
    file: &str,
    catalog: &dyn Catalog,
    limits: &Limits,
    locate: &dyn Fn(&str) -> String,
) -> Result<Migrated, Box<Problem>> {
    let (mark, source) = match source.strip_prefix('\u{feff}') {
        Some(rest) => ("\u{feff}", rest),
        None => ("", source),
    };
    let mut migration = Migration {
        catalog,
        locate,
        changes: Vec::new(),
        left: Vec::new(),
        aliases: BTreeMap::new(),
        wrapped: BTreeSet::new(),
        results: BTreeMap::new(),
        echoed: BTreeSet::new(),
    };
    let mut text = source.to_owned();
    for pass in [tasks::pass, parameters::pass, references::pass] {
        let (root, noted) = limits.read(&text, file)?;
        // With a duplicate key, for instance, the tree that was read does not match the text.
        if let Some(problem) = noted.into_iter().next() {
            return Err(Box::new(problem));
        }
        let mut edits = Edits::new(&text);
        pass(&mut migration, &root, &mut edits);
        let Some(edited) = edits.apply() else {
            let message =
                "the file cannot be edited in place: an alias (`*name`) or a merge (`<<`) repeats what would change";
            let problem = Problem::of_file(file, ErrorCode::WorkflowValidationFailed, message);
            return Err(Box::new(problem.hint("write the repeated part out, then migrate again")));
        };
        // The result of every pass but the last is read by the next pass anyway; the last result must be readable too.
        if let Err(problem) = limits.read(&edited, file) {
            let message = format!("the file cannot be edited in place: {}", problem.message);
            let problem = Problem::of_file(file, ErrorCode::WorkflowValidationFailed, message);
            return Err(Box::new(problem.hint("change it by hand; `gleitzeit validate` says what to write")));
        }
        text = edited;
    }
    let text = format!("{mark}{text}");
    Ok(Migrated { text, changes: migration.changes, left: migration.left })
}

impl Migration<'_> {
    fn changed(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.changes.push(Change { field: field.into(), message: message.into() });
    }

    /// The fields of a method's result, if the result can have no others.
    fn fields_of(&mut self, method: &str) -> Option<&[String]> {
        let catalog = self.catalog;
        let fields = self.results.entry(method.to_owned()).or_insert_with(|| {
            let returns = catalog.method(method)?.returns?;
            let closed = returns.get("additionalProperties") == Some(&Value::Bool(false));
            let properties = returns.get("properties").filter(|_| closed)?.as_object()?;
            Some(properties.keys().cloned().collect())
        });
        fields.as_deref()
    }

    fn leave(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.left.push(Change { field: field.into(), message: message.into() });
    }
}

/// The tasks of a workflow that are objects, with their index.
fn tasks_of(root: &Node) -> impl Iterator<Item = (usize, &Node)> {
    let tasks = match &root.kind {
        Kind::Object(fields) => match fields.get("tasks") {
            Some((_, Node { kind: Kind::List(tasks), .. })) => &tasks[..],
            _ => &[],
        },
        _ => &[],
    };
    tasks.iter().enumerate().filter(|(_, task)| matches!(task.kind, Kind::Object(_)))
}

/// A field of an object.
fn field<'n>(object: &'n Node, name: &str) -> Option<&'n Node> {
    match &object.kind {
        Kind::Object(fields) => fields.get(name).map(|(_, node)| node),
        _ => None,
    }
}
