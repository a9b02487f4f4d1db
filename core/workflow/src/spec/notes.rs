//! Constructs that are allowed in a workflow and probably not meant: fields without an effect, and text that looks like
//! a reference.

use super::checker::Checker;
use super::names::Names;
use crate::template;
use crate::yaml::{At, Fields, Kind, Node, Spot, place_in, shorten};

/// A field of the original Gleitzeit; today the command line decides whether to wait.
pub(super) const WAIT_FOR_COMPLETION: &str = "wait_for_completion";

/// Notes a field that is accepted for compatibility with older files.
pub(super) fn wait_for_completion(checker: &mut Checker<'_>, fields: &Fields) {
    let Some((spot, node)) = fields.get(WAIT_FOR_COMPLETION) else { return };
    let top = At::Root;
    let at = top.key(WAIT_FOR_COMPLETION);
    match node.kind {
        Kind::Bool(_) | Kind::Null => {
            let message = format!("`{WAIT_FOR_COMPLETION}` is not needed: `run` and `submit --wait` wait");
            checker.note(*spot, at, message, "remove it".to_owned());
        }
        _ => {
            let message = format!("`{WAIT_FOR_COMPLETION}` must be a boolean, not {}", node.what());
            checker.wrong(node.spot, at, message, Some("remove it: `run` and `submit --wait` wait".to_owned()));
        }
    }
}

/// Notes `{{a.x}}` where `${a.x}` could stand.
pub(super) fn braces(checker: &mut Checker<'_>, spot: Spot, at: At<'_>, text: &str, names: &Names<'_>) {
    for (offset, whole, inside) in in_braces(text) {
        if !checker.has_room() {
            return;
        }
        if names.can_refer(inside) {
            let place = place_in(checker.source, spot, text, offset, "{{");
            let message = format!("`{}` is plain text", shorten(whole));
            checker.note(place, at, message, format!("write `${{{inside}}}` for the value"));
        }
    }
}

/// Notes an output such as `a.response`: it is this text, not the task's response.
pub(super) fn plain_output(checker: &mut Checker<'_>, node: &Node, at: At<'_>, names: &Names<'_>) {
    let Kind::Text(text) = &node.kind else { return };
    let first = text.split(['.', '[']).next().unwrap_or_default();
    if first.len() < text.len() && names.tasks.contains_key(first) && names.can_refer(text) {
        let message = format!("`{}` is plain text", shorten(text));
        checker.note(node.spot, at, message, format!("write `${{{}}}` for the value", shorten(text)));
    }
}

/// The trimmed texts between `{{` and `}}`, each with the offset and the text of the whole.
pub(super) fn in_braces(text: &str) -> impl Iterator<Item = (usize, &str, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text.get(at..)?.find("{{")?;
        let rest = &text[start + 2..];
        // No reference spans lines. If another brace follows, the next pair is the inner one.
        let end = rest.find(['{', '}', '\n']).unwrap_or(rest.len());
        if rest[end..].starts_with("}}") {
            at = start + 2 + end + 2;
            Some((start, &text[start..at], rest[..end].trim()))
        } else {
            at = start + 1;
            Some((start, "", ""))
        }
    })
}

impl Names<'_> {
    /// Whether the text, written between `${` and `}`, would refer to something in this file.
    pub(super) fn can_refer(&self, text: &str) -> bool {
        let first = text.split(['.', '[']).next().unwrap_or_default();
        let is_root = self.tasks.contains_key(first) || ["inputs", "files", "env", "run"].contains(&first);
        is_root && text.len() <= 500 && template::parse(&format!("${{{text}}}")).is_ok()
    }
}
