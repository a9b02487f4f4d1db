//! Unknown fields: which field was meant, and which known field each of them stands in for.
//!
//! The invariant: no hint asks for a field that is already there, and a field that is present under a similar name is
//! not reported as missing.

use indexmap::IndexMap;

use super::checker::Checker;
use super::scalar;
use crate::suggest::{closest, list};
use crate::yaml::{At, Fields, Kind, Node, shorten, text_of};

/// A kind of object in a workflow, and its fields.
pub(super) struct Place {
    /// For messages: `the task`.
    pub(super) what: &'static str,
    pub(super) known: &'static [&'static str],
    /// Fields that are accepted and have no effect; hints never suggest them.
    pub(super) accepted: &'static [&'static str],
    /// Other systems' names for a field, and its name here.
    pub(super) elsewhere: &'static [(&'static str, &'static str)],
    /// A hint for fields that need more explanation than the name of another field.
    pub(super) advice: fn(&Checker<'_>, &Node, &str) -> Option<String>,
}

/// A task.
pub(super) const TASK: Place =
    Place { what: "the task", known: TASK_FIELDS, accepted: &[], elsewhere: TASK_ELSEWHERE, advice: about_task };
const TASK_FIELDS: &[&str] =
    &["id", "method", "provider", "priority", "queue", "timeout", "retry", "parameters", "dependencies"];
const TASK_ELSEWHERE: &[(&str, &str)] = &[
    ("depends_on", "dependencies"),
    ("depends", "dependencies"),
    ("needs", "dependencies"),
    ("after", "dependencies"),
    ("upstream", "dependencies"),
    ("params", "parameters"),
    ("args", "parameters"),
    ("arguments", "parameters"),
    ("with", "parameters"),
    ("inputs", "parameters"),
    ("input", "parameters"),
    ("config", "parameters"),
    ("uses", "method"),
    ("type", "method"),
    ("action", "method"),
    ("protocol", "method"),
    ("name", "id"),
    ("key", "id"),
    ("retries", "retry"),
    ("retry_policy", "retry"),
    ("max_attempts", "retry"),
    ("max_retries", "retry"),
    ("timeout_seconds", "timeout"),
    ("pool", "queue"),
];

/// A field that is there and not null.
pub(super) fn given<'n>(fields: &'n Fields, field: &str) -> Option<&'n Node> {
    fields.get(field).map(|(_, node)| node).filter(|node| !matches!(node.kind, Kind::Null))
}

/// What a field must be so that its parts can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Object,
    List,
}

/// The fields of an object. A missing field may be present under an unknown name.
pub(super) struct Held<'n> {
    fields: Option<&'n Fields>,
    /// From the name of a missing field to the key that stands in for it.
    standins: IndexMap<&'static str, &'n str>,
}

impl<'n> Held<'n> {
    /// A field that holds other values, with its key as written; `None` if it is null. A field under its own name may
    /// have another type, which is reported elsewhere; a field that stands in has this type.
    pub(super) fn of_kind(&self, field: &'static str, holder: Holder) -> Option<(&'n str, &'n Node)> {
        let fields = self.fields?;
        if let Some((key, (_, node))) = fields.get_key_value(field) {
            return (!matches!(node.kind, Kind::Null)).then_some((key.as_str(), node));
        }
        let key = *self.standins.get(field)?;
        let node = &fields.get(key)?.1;
        match (&node.kind, holder) {
            (Kind::List(_), Holder::List) | (Kind::Object(_), Holder::Object) => Some((key, node)),
            _ => None,
        }
    }

    /// Whether an unknown field stands in for this one.
    pub(super) fn is_elsewhere(&self, field: &str) -> bool {
        self.standins.contains_key(field)
    }
}

impl Checker<'_> {
    /// Reports unknown fields, and returns which of them stand in for missing ones.
    pub(super) fn known<'n>(&mut self, node: &'n Node, at: At<'_>, place: &Place) -> Held<'n> {
        let Kind::Object(fields) = &node.kind else { return Held { fields: None, standins: IndexMap::new() } };
        let mut standins: IndexMap<&'static str, &'n str> = IndexMap::new();
        for (key, (spot, _)) in fields.iter() {
            if place.known.contains(&key.as_str()) || place.accepted.contains(&key.as_str()) {
                continue;
            }
            let meant = meant(key, place);
            // Past the limit of problems, a message would be built for nobody.
            if self.listening() {
                let message = format!("unknown field `{}` in {}", shorten(key), place.what);
                let hint = (place.advice)(self, node, key).unwrap_or_else(|| match meant {
                    Some(meant) if fields.contains_key(meant) => {
                        format!("remove it: `{meant}` already exists; move what it lacks there")
                    }
                    Some(meant) => match standins.get(meant) {
                        Some(first) => format!("remove it or `{first}`: both stand for `{meant}`"),
                        None => format!("did you mean `{meant}`?"),
                    },
                    None if key.starts_with("x-") || key.starts_with('.') => {
                        "there are no extension fields; use a comment, `description` or `labels`".to_owned()
                    }
                    None => format!("the available fields are {}", list(place.known)),
                });
                self.wrong(*spot, at.key(key), message, Some(hint));
            }
            if let Some(meant) = meant.filter(|meant| !fields.contains_key(*meant)) {
                standins.entry(meant).or_insert(key);
            }
        }
        Held { fields: Some(fields), standins }
    }

    /// The method that an unknown method name probably means.
    pub(super) fn method_meant(&self, name: &str) -> Option<String> {
        const OTHERS: &[(&str, &str)] = &[
            ("llm/generate", "llm/complete"),
            ("llm/completion", "llm/complete"),
            ("echo/echo", "util/echo"),
            ("echo/ping", "util/echo"),
        ];
        let methods = self.catalog.method_names();
        let other = OTHERS.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| (*ours).to_owned());
        let of_any = || {
            let mut same = methods.iter().filter(|method| method.split_once('/').is_some_and(|(_, end)| end == name));
            same.next().filter(|_| same.next().is_none()).cloned()
        };
        other.filter(|ours| methods.contains(ours)).or_else(of_any).or_else(|| closest(name, &methods))
    }
}

/// The field that a key probably means.
pub(super) fn standin_of<'n>(task: &'n Node, field: &str, place: &Place) -> Option<&'n Node> {
    let Kind::Object(fields) = &task.kind else { return None };
    let unknown = fields.iter().filter(|(key, _)| !place.known.contains(&key.as_str()));
    unknown.filter(|(key, _)| meant(key, place) == Some(field)).map(|(_, (_, node))| node).next()
}

fn meant(key: &str, place: &Place) -> Option<&'static str> {
    let other = place.elsewhere.iter().find(|(other, _)| other.eq_ignore_ascii_case(key)).map(|(_, ours)| *ours);
    other.or_else(|| {
        let near = closest(key, place.known)?;
        place.known.iter().copied().find(|known| *known == near)
    })
}

/// For places whose unknown fields need no more advice than a name.
pub(super) fn no_advice(_: &Checker<'_>, _: &Node, _: &str) -> Option<String> {
    None
}

/// Advice on unknown fields of a workflow.
pub(super) fn about_workflow(_: &Checker<'_>, workflow: &Node, key: &str) -> Option<String> {
    let advice = match key {
        "protocol" => "remove it: the `method` of each task names its protocol",
        "providers" => "remove it: providers are separate files, passed to workers with `--provider`",
        "type" | "batch" | "template" if is_batch(workflow) => {
            "there are no batches: declare each file under `files` and give each a task"
        }
        "type" => "remove it: there is one kind of workflow",
        _ => return None,
    };
    Some(advice.to_owned())
}

fn is_batch(workflow: &Node) -> bool {
    text_of(workflow, "type") == Some("batch")
        || matches!(&workflow.kind, Kind::Object(fields) if fields.contains_key("batch"))
}

/// Advice on unknown fields of a task.
pub(super) fn about_task(checker: &Checker<'_>, task: &Node, key: &str) -> Option<String> {
    let (method, own) = (text_of(task, "method"), text_of(task, key));
    let shown = own.map(|own| shorten(own).into_owned());
    Some(match key {
        "protocol" => {
            let stem = own.and_then(|own| own.split('/').next()).filter(|stem| !stem.is_empty()).unwrap_or("llm");
            match method {
                Some(method) if method.contains('/') => {
                    format!("remove it: the method `{}` names its protocol", shorten(method))
                }
                Some(method) => {
                    let whole = format!("{stem}/{method}");
                    let known = checker.catalog.method(&whole).is_some();
                    let whole = if known { whole } else { checker.method_meant(&whole).unwrap_or(whole) };
                    format!("remove it and write `method: {}`: a method names its protocol", shorten(&whole))
                }
                None => format!("write `method: {}/…` instead: a method names its protocol", shorten(stem)),
            }
        }
        "name" if has(task, "id") => "remove it or make it a comment: a task is called by its `id` alone".to_owned(),
        "name" => match own.map(scalar::id_from) {
            Some(id) if Some(id.as_str()) != own => format!("did you mean `id`? That is one word: `id: {id}`"),
            _ => return None,
        },
        "type" if !has(task, "method") => match own {
            Some("llm") => "write `method: llm/chat` instead".to_owned(),
            Some("python") => "write `method: python/execute` instead".to_owned(),
            _ => return None,
        },
        "retries" | "max_attempts" | "max_retries" if !has(task, "retry") => {
            format!("write `retry: {{max_attempts: {}}}`", shown.unwrap_or_else(|| "3".to_owned()))
        }
        _ => return None,
    })
}

fn has(task: &Node, field: &str) -> bool {
    matches!(&task.kind, Kind::Object(fields) if fields.contains_key(field))
}
