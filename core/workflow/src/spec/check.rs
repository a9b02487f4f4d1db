//! The checker: from text or a value to a [`Workflow`], or to every problem in it.
//!
//! The checker never stops at the first problem of a readable file, and every step is near linear in the size of the
//! file.

use indexmap::IndexMap;
use serde_json::Value;

use super::catalog::Catalog;
use super::checker::Checker;
use super::fields::{Held, Holder, Place, about_workflow, given};
use super::limits::Limits;
use super::names::Names;
use super::scalar;
use super::workflow::Workflow;
use super::{cycle, notes, task};
use crate::error::ErrorCode;
use crate::json;
use crate::yaml::{self, At, Fields, Kind, Node, Note, Problem, Spot, place_at};

/// What a check says of a definition.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The workflow, or every problem.
    pub workflow: Result<Workflow, Vec<Problem>>,
    /// Constructs that are allowed and probably not meant, sorted by place. A definition with problems has them too.
    pub notes: Vec<Note>,
}

impl From<Vec<Problem>> for Checked {
    fn from(problems: Vec<Problem>) -> Self {
        Self { workflow: Err(problems), notes: Vec::new() }
    }
}

/// Checks bytes that should be UTF-8 text.
///
/// # Errors
/// As [`check`], and a problem if the bytes are not UTF-8.
pub fn check_bytes(bytes: &[u8], file: &str, catalog: &dyn Catalog, limits: &Limits) -> Result<Workflow, Vec<Problem>> {
    examine_bytes(bytes, file, catalog, limits).workflow
}

/// As [`check_bytes`], with notes.
pub fn examine_bytes(bytes: &[u8], file: &str, catalog: &dyn Catalog, limits: &Limits) -> Checked {
    if let Err(problems) = too_large(bytes.len(), file, limits) {
        return problems.into();
    }
    match std::str::from_utf8(bytes) {
        Ok(source) => examine(source, file, catalog, limits),
        Err(error) => {
            let good = error.valid_up_to();
            let (line, column) = place_at(&String::from_utf8_lossy(&bytes[..good]), good);
            let byte = bytes[good];
            let message = format!("the file is not UTF-8 text: byte 0x{byte:02x} at offset {good}");
            let problem = Problem::of_file(file, ErrorCode::ParseError, message).at(line, column);
            vec![problem.hint("save the file as UTF-8")].into()
        }
    }
}

/// Checks a workflow in YAML or JSON. `file` is only used in problems.
///
/// # Errors
/// Every problem of the text, sorted by place. A syntax error is reported alone.
pub fn check(source: &str, file: &str, catalog: &dyn Catalog, limits: &Limits) -> Result<Workflow, Vec<Problem>> {
    examine(source, file, catalog, limits).workflow
}

/// As [`check`], with notes.
pub fn examine(source: &str, file: &str, catalog: &dyn Catalog, limits: &Limits) -> Checked {
    if let Err(problems) = too_large(source.len(), file, limits) {
        return problems.into();
    }
    let source = yaml::without_mark(source);
    match limits.read(source, file) {
        Ok((root, noted)) => Checker { file, source, catalog, limits, problems: noted, notes: Vec::new() }.run(&root),
        Err(problem) => {
            // JSON that YAML cannot read (with surrogate pairs in escapes, for instance) is still JSON.
            if problem.code != ErrorCode::ParseError || !source.trim_start().starts_with('{') {
                return vec![*problem].into();
            }
            match json::parse(source) {
                Ok(value) => examine_value(&value, file, catalog, limits),
                Err(fault) if fault.is_content_fault() => {
                    let (line, column) = place_at(source, fault.at);
                    let problem = Problem::of_file(file, ErrorCode::WorkflowValidationFailed, fault.to_string());
                    vec![problem.at(line, column)].into()
                }
                Err(_) => vec![*problem].into(),
            }
        }
    }
}

/// Line and column of the value at a path of keys in a workflow's text; `None` if there is no such value or the text
/// cannot be read.
pub fn place_of(source: &str, path: &[&str]) -> Option<(u32, u32)> {
    let source = yaml::without_mark(source);
    let (root, _) = Limits::DEFAULT.read(source, "").ok()?;
    let mut node = &root;
    for key in path {
        let Kind::Object(fields) = &node.kind else { return None };
        node = &fields.get(*key)?.1;
    }
    node.spot.line_and_column()
}

/// Checks a workflow that is already a value. Its problems have the path of the field but no line and column.
///
/// # Errors
/// Every problem.
pub fn check_value(
    value: &Value,
    file: &str,
    catalog: &dyn Catalog,
    limits: &Limits,
) -> Result<Workflow, Vec<Problem>> {
    examine_value(value, file, catalog, limits).workflow
}

/// As [`check_value`], with notes.
pub fn examine_value(value: &Value, file: &str, catalog: &dyn Catalog, limits: &Limits) -> Checked {
    let Some(root) = Node::from_value(value, limits.depth) else {
        let message = format!("nested deeper than the limit of {} levels", limits.depth);
        return vec![Problem::of_file(file, ErrorCode::WorkflowValidationFailed, message)].into();
    };
    Checker { file, source: "", catalog, limits, problems: Vec::new(), notes: Vec::new() }.run(&root)
}

fn too_large(bytes: usize, file: &str, limits: &Limits) -> Result<(), Vec<Problem>> {
    if bytes <= limits.bytes {
        return Ok(());
    }
    let message = format!("{bytes} bytes are more than the limit of {} bytes for a workflow", limits.bytes);
    let problem = Problem::of_file(file, ErrorCode::ResourceExhausted, message);
    Err(vec![problem.at(1, 1).hint("put large data into `files` or let a task load it")])
}

const PLACE: Place = Place {
    what: "the workflow",
    known: FIELDS,
    accepted: &[notes::WAIT_FOR_COMPLETION],
    elsewhere: ELSEWHERE,
    advice: about_workflow,
};
const FIELDS: &[&str] = &["name", "description", "version", "labels", "inputs", "files", "timeout", "tasks", "outputs"];
const ELSEWHERE: &[(&str, &str)] = &[
    ("steps", "tasks"),
    ("jobs", "tasks"),
    ("nodes", "tasks"),
    ("params", "inputs"),
    ("parameters", "inputs"),
    ("arguments", "inputs"),
    ("variables", "inputs"),
    ("vars", "inputs"),
    ("id", "name"),
    ("title", "name"),
    ("tags", "labels"),
    ("metadata", "labels"),
    ("returns", "outputs"),
    ("output", "outputs"),
    ("result", "outputs"),
];

impl Checker<'_> {
    fn run(mut self, root: &Node) -> Checked {
        let workflow = self.workflow(root);
        self.problems.sort_by(Problem::by_place);
        self.notes.sort_by_key(|note| (note.line, note.column));
        let workflow = match workflow {
            Some(workflow) if self.problems.is_empty() => Ok(workflow),
            _ => Err(self.problems),
        };
        Checked { workflow, notes: self.notes }
    }

    fn workflow(&mut self, root: &Node) -> Option<Workflow> {
        let top = At::Root;
        if matches!(root.kind, Kind::Null) {
            let hint = "a workflow needs at least `name` and `tasks`";
            self.wrong(root.spot, top, "the file is empty", Some(hint.to_owned()));
            return None;
        }
        let fields = self.object(root, top, "a workflow")?;
        let held = self.known(root, top, &PLACE);
        notes::wait_for_completion(self, fields);
        let name = self.workflow_name(root, fields, &held);
        let description = self.optional_text(fields, "description");
        let version = self.optional_text(fields, "version");
        let labels = self.texts(fields, "labels", false);
        let files = self.texts(fields, "files", true);
        let inputs = self.inputs(&held);
        let timeout_ms = given(fields, "timeout").and_then(|node| self.timeout(node, top.key("timeout")));
        let nodes = self.tasks(root, fields, &held);
        let names = Names::collect(self, nodes, &inputs, &files);
        let (tasks, wanted) = task::check_all(self, nodes, &names);
        let outputs = self.outputs(&held, &names);
        cycle::check(self, nodes, &wanted);
        Some(Workflow { name: name?, description, version, labels, inputs, files, timeout_ms, tasks: tasks?, outputs })
    }

    fn workflow_name(&mut self, root: &Node, fields: &Fields, held: &Held<'_>) -> Option<String> {
        let top = At::Root;
        let at = top.key("name");
        let Some((_, node)) = fields.get("name") else {
            if !held.is_elsewhere("name") {
                let hint = "add `name: …`: it is shown in lists";
                self.wrong(root.spot, at, "the workflow has no `name`", Some(hint.to_owned()));
            }
            return None;
        };
        let name = self.text(node, at, "`name`")?;
        if name.trim().is_empty() || name.len() > 500 || name.contains(char::is_control) {
            self.wrong(node.spot, at, "`name` must be one line of 1 to 500 bytes", None);
        }
        Some(name.to_owned())
    }

    fn optional_text(&mut self, fields: &Fields, key: &str) -> Option<String> {
        let top = At::Root;
        self.text(given(fields, key)?, top.key(key), &format!("`{key}`")).map(str::to_owned)
    }

    fn inputs(&mut self, held: &Held<'_>) -> IndexMap<String, Value> {
        let top = At::Root;
        let mut inputs = IndexMap::new();
        if let Some((written, node)) = held.of_kind("inputs", Holder::Object)
            && let Some(declared) = self.object(node, top.key(written), "`inputs`")
        {
            for (key, (spot, node)) in declared {
                self.name(*spot, top.key(written).key(key), "an input", key);
                inputs.insert(key.clone(), node.to_value());
            }
        }
        inputs
    }

    fn outputs(&mut self, held: &Held<'_>, names: &Names<'_>) -> IndexMap<String, Value> {
        let top = At::Root;
        let mut outputs = IndexMap::new();
        if let Some((written, node)) = held.of_kind("outputs", Holder::Object)
            && let Some(declared) = self.object(node, top.key(written), "`outputs`")
        {
            for (key, (_, node)) in declared {
                names.references(self, node, top.key(written).key(key), None, &mut |_| {});
                notes::plain_output(self, node, top.key(written).key(key), names);
                outputs.insert(key.clone(), node.to_value());
            }
        }
        outputs
    }

    fn tasks<'n>(&mut self, root: &Node, fields: &'n Fields, held: &Held<'n>) -> &'n [Node] {
        let at = At::Root;
        let own = fields.get("tasks").map(|(_, node)| ("tasks", node));
        let found = own.or_else(|| held.of_kind("tasks", Holder::List));
        let at = at.key(found.map_or("tasks", |(written, _)| written));
        let Some((_, node)) = found else {
            if held.is_elsewhere("tasks") {
                return &[];
            }
            let hint = "add a list: `tasks: [{id: …, method: …}]`";
            self.wrong(root.spot, at, "the workflow has no `tasks`", Some(hint.to_owned()));
            return &[];
        };
        match &node.kind {
            Kind::List(tasks) if tasks.len() > self.limits.tasks => {
                let message = format!("{} tasks are more than the limit of {}", tasks.len(), self.limits.tasks);
                self.wrong(node.spot, at, message, Some("split the workflow into several".to_owned()));
                &[]
            }
            Kind::List(tasks) if !tasks.is_empty() => tasks,
            Kind::List(_) | Kind::Null => {
                let hint = "a workflow needs at least one task: `- id: …` with a `method`";
                self.wrong(node.spot, at, "`tasks` is empty", Some(hint.to_owned()));
                &[]
            }
            kind => {
                let hint = matches!(kind, Kind::Object(_))
                    .then(|| "write `- id: NAME` for each task instead of `NAME:`".to_owned());
                self.wrong(node.spot, at, format!("`tasks` must be a list, not {}", node.what()), hint);
                &[]
            }
        }
    }

    /// Reads a map of texts: labels, or files with names that references can use.
    fn texts(&mut self, fields: &Fields, field: &str, named: bool) -> IndexMap<String, String> {
        let mut texts = IndexMap::new();
        let top = At::Root;
        let at = top.key(field);
        let Some(node) = given(fields, field) else { return texts };
        let Some(declared) = self.object(node, at, &format!("`{field}`")) else { return texts };
        for (key, (spot, node)) in declared {
            if named {
                self.name(*spot, at.key(key), "a file", key);
            }
            let Some(text) = self.text(node, at.key(key), &format!("`{field}.{key}`")) else {
                // The key counts as declared, so that a reference to it is not a second problem.
                texts.insert(key.clone(), String::new());
                continue;
            };
            if named && text.is_empty() {
                self.wrong(node.spot, at.key(key), "the path of a file is empty", None);
            }
            texts.insert(key.clone(), text.to_owned());
        }
        texts
    }

    /// Checks a name that references can use.
    fn name(&mut self, spot: Spot, at: At<'_>, what: &str, name: &str) {
        if !scalar::is_id(name) {
            let hint = "letters, digits, `_` and `-`, beginning with a letter or `_`, so that `${…}` can name it";
            self.wrong(spot, at, format!("`{}` cannot name {what}", yaml::shorten(name)), Some(hint.to_owned()));
        }
    }
}
