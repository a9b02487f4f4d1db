//! The names that a workflow declares, to which its references can refer.

use indexmap::IndexMap;
use serde_json::Value;

use super::catalog::MethodInfo;
use super::checker::Checker;
use super::fields;
use super::scalar;
use super::types::Visits;
use crate::yaml::{At, Kind, Node, Spot, text_of};

/// Everything that a file declares. `references` looks it up, `notes` looks for what is declared in vain.
pub(super) struct Names<'n> {
    /// Task ids to the index of the first task that has it.
    pub(super) tasks: IndexMap<&'n str, usize>,
    pub(super) inputs: &'n IndexMap<String, Value>,
    pub(super) files: &'n IndexMap<String, String>,
    /// By task index: the id as written.
    pub(super) ids: Vec<Option<&'n str>>,
    /// By task index: the method as written.
    pub(super) methods: Vec<Option<&'n str>>,
    /// What the catalog knows of each method that is used.
    pub(super) catalog: IndexMap<&'n str, Option<MethodInfo>>,
    pub(super) visits: Visits,
    /// Names that tasks were given beside their ids, which nothing can refer to.
    pub(super) named: IndexMap<&'n str, &'n str>,
}

/// The id of a task, if it has one that is text.
pub(super) fn id_of(task: &Node) -> Option<&str> {
    text_of(task, "id")
}

/// The id, or what stands in for it.
fn named_id(task: &Node) -> Option<&str> {
    match fields::standin_of(task, "id", &fields::TASK).map(|node| &node.kind) {
        Some(Kind::Text(text)) if scalar::is_id(text) => Some(text),
        _ => None,
    }
}

impl<'n> Names<'n> {
    pub(super) fn collect(
        checker: &mut Checker<'_>,
        nodes: &'n [Node],
        inputs: &'n IndexMap<String, Value>,
        files: &'n IndexMap<String, String>,
    ) -> Self {
        let mut tasks: IndexMap<&str, usize> = IndexMap::with_capacity(nodes.len());
        let mut methods = Vec::with_capacity(nodes.len());
        let mut named = IndexMap::new();
        let mut catalog: IndexMap<&str, Option<MethodInfo>> = IndexMap::new();
        for (index, node) in nodes.iter().enumerate() {
            let method = text_of(node, "method");
            methods.push(method);
            if let Some(method) = method
                && !catalog.contains_key(method)
            {
                catalog.insert(method, checker.catalog.method(method));
            }
            if let Some(id) = id_of(node) {
                if let Some(name) = text_of(node, "name") {
                    named.entry(name).or_insert(id);
                }
                match tasks.entry(id) {
                    indexmap::map::Entry::Vacant(entry) => {
                        entry.insert(index);
                    }
                    indexmap::map::Entry::Occupied(entry) => {
                        let first = id_spot(&nodes[*entry.get()]);
                        let root = At::Root;
                        let message = if first.line > 0 {
                            format!("task id `{id}` is used twice: first in line {}", first.line)
                        } else {
                            format!("task id `{id}` is used twice: first in tasks[{}]", entry.get())
                        };
                        let hint = "give each task its own id".to_owned();
                        checker.wrong(id_spot(node), root.key("tasks").index(index).key("id"), message, Some(hint));
                    }
                }
            }
        }
        // A task without an id may have one under another name: what refers to it is not wrong as well.
        for (index, node) in nodes.iter().enumerate() {
            if let Some(id) = id_of(node).is_none().then(|| named_id(node)).flatten() {
                tasks.entry(id).or_insert(index);
            }
        }
        Self {
            ids: nodes.iter().map(id_of).collect(),
            tasks,
            inputs,
            files,
            methods,
            catalog,
            visits: Visits::default(),
            named,
        }
    }
}

fn id_spot(task: &Node) -> Spot {
    match &task.kind {
        Kind::Object(fields) => fields.get("id").map_or(task.spot, |(_, node)| node.spot),
        _ => task.spot,
    }
}
