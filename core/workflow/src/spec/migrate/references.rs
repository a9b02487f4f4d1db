//! The third pass: references in parameters and outputs.

use std::collections::BTreeMap;

use super::super::names::id_of;
use super::super::references::main_path;
use super::edit::{Edits, quoted};
use super::{Migration, field, tasks_of};
use crate::template;
use crate::template::{Piece, Root, Step};
use crate::yaml::{Kind, Node, text_of};

/// The tasks that a reference can name.
struct Tasks<'n> {
    /// From task ids to methods.
    known: BTreeMap<&'n str, Option<&'n str>>,
}

pub(super) fn pass(migration: &mut Migration<'_>, root: &Node, edits: &mut Edits<'_>) {
    let known = tasks_of(root).filter_map(|(_, task)| Some((id_of(task)?, text_of(task, "method")))).collect();
    let tasks = Tasks { known };
    for (index, task) in tasks_of(root) {
        if let Some(parameters) = field(task, "parameters") {
            tasks.value(migration, parameters, &format!("tasks[{index}].parameters"), edits);
        }
    }
    let Some(outputs) = field(root, "outputs") else { return };
    let Kind::Object(fields) = &outputs.kind else { return };
    for (name, (_, node)) in fields.iter() {
        let at = format!("outputs.{name}");
        match &node.kind {
            Kind::Text(text) if !text.contains('$') && !text.contains("{{") => {
                let text = text.trim();
                let first = text.split(['.', '[']).next().unwrap_or_default();
                let is_task = tasks.method_of(first).is_some() || migration.aliases.contains_key(first);
                if is_task && template::parse(&format!("${{{text}}}")).is_ok() {
                    let reference = tasks.rewritten(migration, text).unwrap_or_else(|| text.to_owned());
                    edits.replace(node.spot.start..node.spot.end, quoted(&format!("${{{reference}}}")));
                    migration.changed(at, format!("became the reference `${{{reference}}}`"));
                }
            }
            _ => tasks.value(migration, node, &at, edits),
        }
    }
}

impl Tasks<'_> {
    /// The method of a task, if it is text; `None` if there is no such task.
    fn method_of(&self, id: &str) -> Option<Option<&str>> {
        self.known.get(id).copied()
    }

    fn value(&self, migration: &mut Migration<'_>, node: &Node, at: &str, edits: &mut Edits<'_>) {
        match &node.kind {
            Kind::Text(_) => self.text(migration, node, at, edits),
            Kind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(migration, item, &format!("{at}[{index}]"), edits);
                }
            }
            Kind::Object(fields) => {
                for (name, (_, value)) in fields.iter() {
                    self.value(migration, value, &format!("{at}.{name}"), edits);
                }
            }
            _ => {}
        }
    }

    /// Rewrites the text between `${` or `{{` and its end, as it stands in the source.
    fn text(&self, migration: &mut Migration<'_>, node: &Node, at: &str, edits: &mut Edits<'_>) {
        let written = edits.slice(node.spot);
        let mut from = 0;
        while let Some(found) = written[from..].find(['$', '{']).map(|found| from + found) {
            let rest = &written[found..];
            let (inside, closing, is_braces) = if let Some(inside) = rest.strip_prefix("${") {
                (inside, "}", false)
            } else if rest.starts_with("$${") {
                from = found + 3;
                continue;
            } else if let Some(inside) = rest.strip_prefix("{{") {
                (inside, "}}", true)
            } else {
                from = found + 1;
                continue;
            };
            let end = inside.find(['}', '{', '\n']).filter(|end| inside[*end..].starts_with(closing));
            let Some(end) = end else {
                from = found + 2;
                continue;
            };
            let (whole, name) = (2 + end + closing.len(), inside[..end].trim());
            from = found + whole;
            let rewritten = self.rewritten(migration, name);
            let new = match (is_braces, rewritten) {
                (false, Some(rewritten)) => rewritten,
                (true, Some(rewritten)) => rewritten,
                (true, None) if self.is_reference(name) => name.to_owned(),
                _ => continue,
            };
            let start = node.spot.start + found;
            edits.replace(start..start + whole, format!("${{{new}}}"));
            migration.changed(at, format!("`{}` became `${{{new}}}`", &rest[..whole]));
        }
    }

    fn is_reference(&self, text: &str) -> bool {
        match template::parse(&format!("${{{text}}}")).as_deref() {
            Ok([Piece::Reference(reference)]) => match &reference.root {
                Root::Task(id) => self.method_of(id).is_some(),
                _ => true,
            },
            _ => false,
        }
    }

    /// A reference in today's syntax; `None` if it already is, or if it means nothing here.
    fn rewritten(&self, migration: &mut Migration<'_>, text: &str) -> Option<String> {
        let first = text.find(['.', '[']).map_or(text, |end| &text[..end]);
        let by_id = match migration.aliases.get(first.trim()) {
            Some(id) if self.method_of(first).is_none() => format!("{id}{}", &text[first.len()..]),
            _ => text.to_owned(),
        };
        let rewritten = self.unwrapped(migration, &by_id).unwrap_or(by_id);
        let parsed = template::parse(&format!("${{{rewritten}}}")).is_ok();
        (parsed && rewritten != text && self.is_reference(&rewritten)).then_some(rewritten)
    }

    /// Removes the objects in which results used to be wrapped.
    fn unwrapped(&self, migration: &mut Migration<'_>, text: &str) -> Option<String> {
        let pieces = template::parse(&format!("${{{text}}}")).ok()?;
        let [Piece::Reference(reference)] = pieces.as_slice() else { return None };
        let Root::Task(id) = &reference.root else { return None };
        let method = self.method_of(id)??;
        let path = reference.path.as_slice();
        if migration.echoed.contains(id) {
            let rest = text.strip_prefix(id.as_str())?;
            let rest = rest.strip_prefix(".result").unwrap_or(rest);
            return match rest {
                ".response" | "" => Some(format!("{id}.message")),
                rest => Some(format!("{id}{rest}")),
            };
        }
        if migration.wrapped.contains(id)
            && let [Step::Name(one), Step::Name(two), ..] = path
            && (one, two) == (&"result".to_owned(), &"result".to_owned())
        {
            return text.replacen(".result.result", ".result", 1).into();
        }
        let fields = migration.fields_of(method)?;
        match path.first() {
            Some(Step::Name(name)) if !fields.contains(name) => main_path(fields, reference),
            _ => None,
        }
    }
}
