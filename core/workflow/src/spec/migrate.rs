//! Files of the original Gleitzeit, brought into today's form: rules that need no judgement, applied to the text itself.
//!
//! There are three passes, each on the text that the one before it left: fields, then parameters, then references. A
//! second migration changes nothing.

mod edit;
mod parameters;
mod references;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::catalog::Catalog;
use super::check::Limits;
use crate::error::ErrorCode;
use crate::yaml::{Kind, Node, Problem};
use edit::Edits;

/// A migrated file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The new text; the old one if nothing changed.
    pub text: String,
    /// What was changed, in the order of the rules.
    pub changes: Vec<Change>,
    /// What is left to the author, because it has no counterpart or would need judgement.
    pub left: Vec<Change>,
}

/// One thing that was changed or left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Path of the field in the file before, such as `tasks[2].params`.
    pub field: String,
    /// What was done, or what to do.
    pub message: String,
}

/// What the passes hand on.
struct Migration<'a> {
    catalog: &'a dyn Catalog,
    /// Where a file of the original is, seen from the workflow's own folder.
    locate: &'a dyn Fn(&str) -> String,
    changes: Vec<Change>,
    left: Vec<Change>,
    /// Other words for task ids: names, and `task_1` for the first.
    aliases: BTreeMap<String, String>,
    /// Ids of tasks in the form before the last: their results were wrapped.
    wrapped: BTreeSet<String>,
    /// The fields of results that have no others, by method.
    results: BTreeMap<String, Option<Vec<String>>>,
    /// Ids of tasks that echoed a message as `response`.
    echoed: BTreeSet<String>,
}

/// Applies all rules to a workflow's text. `locate` is asked for the path of each file that a parameter named: those were
/// relative to where the program ran, and are relative to the workflow's folder now.
///
/// # Errors
/// If it cannot be read as YAML, or not be edited in place.
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
        // A key that is given twice, for instance: what stands in the text is not what was read.
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
        // It is read by every pass but the last anyway, and must not become what nobody can read.
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

    /// The fields of a method's result, if it can have no others.
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
