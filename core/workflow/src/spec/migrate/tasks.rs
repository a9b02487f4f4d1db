//! The first pass: fields of the workflow and of its tasks.

use std::collections::BTreeSet;

use super::super::names::id_of;
use super::super::scalar::{id_from, is_id};
use super::super::task::RESERVED;
use super::edit::Edits;
use super::{Migration, field, tasks_of};
use crate::yaml::{Fields, Kind, Node, text_of};

/// Fields of a workflow that no longer have an effect.
const TOP: &[(&str, &str)] = &[
    ("wait_for_completion", "`run` and `submit --wait` wait"),
    ("metadata", "it had no effect"),
    ("providers", "providers are separate files, passed to workers with `--provider`"),
    ("protocol", "the `method` of each task names its protocol"),
    ("type", "there is one kind of workflow"),
    ("template", "it had no effect beside `tasks`"),
    ("batch", "it had no effect beside `tasks`"),
];
/// Parameters that said where and how a task ran.
const PLACEMENT: &[&str] = &["load_balancing_strategy", "instance_tags", "require_gpu", "batch_mode"];
const SANDBOX: &[&str] = &["execution_mode", "memory_limit", "cpu_limit", "image"];

/// A field to remove, and a comment that keeps what it said.
type Removed<'n> = (&'n str, Option<String>);

pub(super) fn pass(migration: &mut Migration<'_>, root: &Node, edits: &mut Edits<'_>) {
    let Kind::Object(fields) = &root.kind else { return };
    if field(root, "tasks").is_none() {
        if fields.contains_key("batch") || text_of(root, "type") == Some("batch") {
            migration.leave("batch", "there are no batches: declare each file under `files` and give each a task");
        }
        return;
    }
    let mut removed = Vec::new();
    for (name, why) in TOP {
        if fields.contains_key(*name) {
            migration.changed(*name, format!("removed: {why}"));
            removed.push((*name, None));
        }
    }
    edits.remove(root, &removed);
    let ids = ids(migration, root);
    for ((index, task), id) in tasks_of(root).zip(&ids) {
        one(migration, task, &format!("tasks[{index}]"), id, edits);
    }
}

/// Gives each task its id and records its other names.
fn ids(migration: &mut Migration<'_>, root: &Node) -> Vec<String> {
    let mut used: BTreeSet<String> =
        tasks_of(root).filter_map(|(_, task)| id_of(task)).chain(RESERVED.iter().copied()).map(str::to_owned).collect();
    let mut ids = Vec::new();
    for (index, task) in tasks_of(root) {
        let by_place = format!("task_{}", index + 1);
        let id = match (id_of(task), text_of(task, "name")) {
            (Some(id), _) => id.to_owned(),
            (None, name) => {
                let wanted = name.map_or_else(|| by_place.clone(), id_from);
                let mut id = wanted.clone();
                let mut number = 2;
                while used.contains(&id) {
                    id = format!("{wanted}_{number}");
                    number += 1;
                }
                used.insert(id.clone());
                id
            }
        };
        for other in text_of(task, "name").map(str::to_owned).into_iter().chain([by_place]) {
            migration.aliases.entry(other).or_insert_with(|| id.clone());
        }
        ids.push(id);
    }
    // An id needs no alias.
    for id in ids.iter().chain(&used) {
        migration.aliases.remove(id);
    }
    ids
}

fn one(migration: &mut Migration<'_>, task: &Node, at: &str, id: &str, edits: &mut Edits<'_>) {
    let Kind::Object(fields) = &task.kind else { return };
    let mut removed = Vec::new();
    name_to_id(migration, task, at, id, edits, &mut removed);
    if let Some(id) = id_of(task).filter(|id| !is_id(id)) {
        migration.leave(format!("{at}.id"), format!("`{id}` is not a task id: choose another one"));
    }
    let method = method(migration, task, at, edits, &mut removed);
    let was_params = rename(migration, fields, at, &["params", "args"], "parameters", edits);
    rename(migration, fields, at, &["depends_on"], "dependencies", edits);
    let has = |name: &str| fields.contains_key(name);
    // In a task of today's format this field has a meaning.
    if has("provider") && (was_params || has("protocol") || has("type") || has("depends_on")) {
        removed.push(("provider", None));
        migration.changed(format!("{at}.provider"), "removed: any provider that serves the method may do the work");
    }
    if was_params || has("protocol") {
        migration.wrapped.insert(id.to_owned());
    }
    retry(migration, task, at, edits);
    if has("function") || parameters_of(task).is_some_and(|parameters| field(parameters, "function").is_some()) {
        migration.leave(format!("{at}.function"), "there are no functions by name: put the code into `python/execute`");
    }
    for name in ["dependencies", "depends_on"] {
        dependencies(migration, field(task, name), &format!("{at}.{name}"), edits);
    }
    for name in ["parameters", "params", "args"] {
        if let Some(parameters) = field(task, name) {
            placement(migration, parameters, &format!("{at}.{name}"), edits);
            if method.as_deref() == Some("util/echo") && field(parameters, "message").is_some() {
                migration.echoed.insert(id.to_owned());
            }
        }
    }
    edits.remove(task, &removed);
}

/// A task has an `id` and no `name`: the name becomes the id, or is removed beside one.
fn name_to_id(
    migration: &mut Migration<'_>,
    task: &Node,
    at: &str,
    id: &str,
    edits: &mut Edits<'_>,
    removed: &mut Vec<Removed<'_>>,
) {
    let Kind::Object(fields) = &task.kind else { return };
    match (fields.get("id"), fields.get("name")) {
        (Some(_), Some((_, name))) => {
            let text = match &name.kind {
                Kind::Text(text) if !text.contains('\n') => Some(text.clone()),
                _ => None,
            };
            let shown = text.as_deref().map(|text| format!(" (`{text}`)")).unwrap_or_default();
            migration.changed(format!("{at}.name"), format!("removed: a task is called by its `id` alone{shown}"));
            // A name that only repeats the id can go without a comment.
            removed.push(("name", text.filter(|text| text != id)));
        }
        (None, Some((key, name))) if matches!(name.kind, Kind::Text(_)) => {
            edits.rewrite(*key, "id");
            if text_of(task, "name") != Some(id) {
                edits.rewrite(name.spot, id);
            }
            migration.changed(format!("{at}.name"), format!("became `id: {id}`"));
        }
        (None, None) => {
            if let Some((key, _)) = fields.values().min_by_key(|(key, _)| key.start) {
                let (name, value) = if edits.is_json() { ("id", format!("\"{id}\"")) } else { ("id", id.to_owned()) };
                edits.insert_before(task, *key, name, &value);
                migration.changed(at, format!("given the `id: {id}`"));
            }
        }
        _ => {}
    }
}

/// Renames the first of some fields, unless the new name is there already. Returns whether it did.
fn rename(
    migration: &mut Migration<'_>,
    fields: &Fields,
    at: &str,
    from: &[&str],
    to: &str,
    edits: &mut Edits<'_>,
) -> bool {
    let Some((name, (key, _))) = from.iter().find_map(|from| fields.get_key_value(*from)) else { return false };
    if fields.contains_key(to) {
        migration.leave(format!("{at}.{name}"), format!("`{to}` already exists: move what it lacks there"));
        return false;
    }
    edits.rewrite(*key, to);
    migration.changed(format!("{at}.{name}"), format!("renamed to `{to}`"));
    true
}

fn retry(migration: &mut Migration<'_>, task: &Node, at: &str, edits: &mut Edits<'_>) {
    let Some(Node { kind: Kind::Object(retry), .. }) = field(task, "retry") else { return };
    if let Some((key, _)) = retry.get("base_delay").filter(|_| !retry.contains_key("initial_delay")) {
        edits.rewrite(*key, "initial_delay");
        migration.changed(format!("{at}.retry.base_delay"), "renamed to `initial_delay`");
    }
}

/// The task's method after the migration, if it changes or is already a known one.
fn method<'n>(
    migration: &mut Migration<'_>,
    task: &'n Node,
    at: &str,
    edits: &mut Edits<'_>,
    removed: &mut Vec<Removed<'n>>,
) -> Option<String> {
    let Kind::Object(fields) = &task.kind else { return None };
    let protocol = text_of(task, "protocol").and_then(|text| text.split('/').next());
    let kind = text_of(task, "type");
    let written = text_of(task, "method");
    let wanted = match (written, protocol, kind) {
        (Some(method), Some(protocol), _) if !method.contains('/') => Some(format!("{protocol}/{method}")),
        (Some(method), ..) => Some(method.to_owned()),
        (None, _, Some("llm")) => Some("llm/chat".to_owned()),
        (None, _, Some("python")) => Some("python/execute".to_owned()),
        (None, _, Some("mcp")) => Some("mcp/call".to_owned()),
        _ => None,
    };
    let wanted = wanted.map(|method| match method.as_str() {
        "llm/generate" => "llm/complete".to_owned(),
        "echo/echo" | "echo/ping" | "echo" => "util/echo".to_owned(),
        _ => method,
    });
    if let Some((name, _)) = fields.get_key_value("protocol")
        && (wanted.is_some() || written.is_none())
    {
        if wanted.is_some() {
            removed.push((name, None));
            migration.changed(format!("{at}.protocol"), "removed: the `method` names its protocol");
        } else {
            migration.leave(format!("{at}.protocol"), "the task has no `method`: choose one, and remove this");
        }
    }
    let wanted = wanted?;
    if let Some((_, node)) = fields.get("method").filter(|_| written != Some(wanted.as_str())) {
        edits.rewrite(node.spot, &wanted);
        migration.changed(format!("{at}.method"), format!("became `{wanted}`"));
    }
    match fields.get_key_value("type") {
        Some((name, _)) if fields.contains_key("method") => {
            removed.push((name, None));
            migration.changed(format!("{at}.type"), "removed: the `method` names the work");
        }
        Some((_, (key, node))) => {
            edits.rewrite(*key, "method");
            edits.rewrite(node.spot, &wanted);
            migration.changed(format!("{at}.type"), format!("became `method: {wanted}`"));
        }
        None => {}
    }
    if wanted.starts_with("mcp/") && migration.catalog.method(&wanted).is_none() {
        migration.leave(
            format!("{at}.method"),
            format!(
                "`{wanted}`: no built-in provider supports MCP; a provider of yours may serve it (docs/PROVIDERS.md)"
            ),
        );
    }
    Some(wanted)
}

fn parameters_of(task: &Node) -> Option<&Node> {
    ["parameters", "params", "args"].iter().find_map(|name| field(task, name))
}

fn dependencies(migration: &mut Migration<'_>, node: Option<&Node>, at: &str, edits: &mut Edits<'_>) {
    let Some(Node { kind: Kind::List(items), .. }) = node else { return };
    for (index, item) in items.iter().enumerate() {
        if let Kind::Text(text) = &item.kind
            && let Some(id) = migration.aliases.get(text).cloned()
        {
            edits.rewrite(item.spot, &id);
            migration.changed(format!("{at}[{index}]"), format!("became the task's id, `{id}`"));
        }
    }
}

/// Removes parameters that said where a task runs.
fn placement(migration: &mut Migration<'_>, parameters: &Node, at: &str, edits: &mut Edits<'_>) {
    let Kind::Object(fields) = &parameters.kind else { return };
    let is_sandbox = fields.contains_key("execution_mode");
    let mut removed = Vec::new();
    for name in PLACEMENT.iter().chain(SANDBOX.iter().filter(|_| is_sandbox)) {
        if fields.contains_key(*name) {
            let why = match *name {
                "batch_mode" => "all files go into one request",
                "execution_mode" | "memory_limit" | "cpu_limit" | "image" => {
                    "the provider decides how code is isolated (`strict`)"
                }
                _ => "the provider decides which instance answers",
            };
            migration.changed(format!("{at}.{name}"), format!("removed: {why}"));
            removed.push((*name, None));
        }
    }
    edits.remove(parameters, &removed);
}
