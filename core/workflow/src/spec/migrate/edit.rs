//! Edits a workflow's text by place. Text that is not edited stays as it is, comments and layout included.

use std::ops::Range;

use crate::yaml::{Fields, Kind, Node, Spot};

/// Replacements that are applied together; their places refer to the original text.
pub(super) struct Edits<'s> {
    source: &'s str,
    edits: Vec<(Range<usize>, String)>,
    /// The line ending used in this text.
    newline: &'static str,
    /// Whether keys and texts are written in JSON syntax.
    is_json: bool,
}

/// A field of an object that may be removed.
struct Entry {
    start: usize,
    end: usize,
    is_removed: bool,
    comment: Option<String>,
}

impl<'s> Edits<'s> {
    pub(super) fn new(source: &'s str) -> Self {
        let is_json =
            source.trim_start().starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(source).is_ok();
        Self { source, edits: Vec::new(), newline: if source.contains("\r\n") { "\r\n" } else { "\n" }, is_json }
    }

    /// The text with all replacements applied; `None` if two of them contradict each other, for instance because an
    /// alias repeats a value that is written once.
    pub(super) fn apply(mut self) -> Option<String> {
        self.edits.sort_by_key(|(range, _)| (range.start, range.end));
        self.edits.dedup();
        let mut text = String::with_capacity(self.source.len());
        let mut at = 0;
        for (range, new) in &self.edits {
            text.push_str(self.source.get(at..range.start)?);
            text.push_str(new);
            at = range.end;
        }
        text.push_str(self.source.get(at..)?);
        Some(text)
    }

    pub(super) fn replace(&mut self, range: Range<usize>, new: impl Into<String>) {
        self.edits.push((range, new.into()));
    }

    /// Replaces a key or a single-line value, and keeps its quoting.
    pub(super) fn rewrite(&mut self, spot: Spot, text: &str) {
        let quote = self.source[spot.start..].chars().next();
        let new = match quote {
            Some('"') => quoted(text),
            Some('\'') => format!("'{}'", text.replace('\'', "''")),
            _ => written(text),
        };
        self.replace(spot.start..spot.end, new);
    }

    fn is_flow(&self, node: &Node) -> bool {
        self.source[node.spot.start..].starts_with(['{', '['])
    }

    /// The end of an entry's content, without the blank lines and comments that follow it.
    pub(super) fn end_of_entry(&self, key: Spot, value: &Node) -> usize {
        let end = self.end_of(value);
        // An alias's value is written elsewhere, and an empty value has no place.
        if end > key.end {
            return end;
        }
        let rest = &self.source[key.end..];
        let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
        let line = line.find(" #").map_or(line, |comment| &line[..comment]);
        key.end + line.trim_end().len()
    }

    fn end_of(&self, node: &Node) -> usize {
        let within = |spot: Spot| spot.start + self.source[spot.start..spot.end].trim_end().len();
        match &node.kind {
            _ if self.is_flow(node) && matches!(node.kind, Kind::List(_) | Kind::Object(_)) => node.spot.end,
            Kind::List(items) => items.last().map_or(node.spot.start, |item| self.end_of(item)),
            Kind::Object(fields) => {
                let ends = fields.values().map(|(key, value)| self.end_of_entry(*key, value));
                ends.max().unwrap_or(node.spot.start)
            }
            _ => within(node.spot),
        }
    }

    fn line_start(&self, at: usize) -> usize {
        self.source[..at].rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// The start of the next line.
    fn next_line(&self, at: usize) -> usize {
        self.source[at..].find('\n').map_or(self.source.len(), |newline| at + newline + 1)
    }

    /// Removes fields of an object. A removed field that has a text leaves it behind as a comment.
    pub(super) fn remove(&mut self, object: &Node, removed: &[(&str, Option<String>)]) {
        let Kind::Object(fields) = &object.kind else { return };
        let mut entries: Vec<Entry> = fields
            .iter()
            .map(|(key, (spot, value))| {
                let found = removed.iter().find(|(name, _)| name == key);
                Entry {
                    start: spot.start,
                    end: self.end_of_entry(*spot, value),
                    is_removed: found.is_some(),
                    comment: found.and_then(|(_, comment)| comment.as_ref()).map(|text| format!("# {text}")),
                }
            })
            .collect();
        entries.sort_by_key(|entry| entry.start);
        if self.is_flow(object) {
            self.remove_in_flow(&entries);
            return;
        }
        let behind_dash = entries.first().is_some_and(|first| {
            let line = self.line_start(first.start);
            !self.source[line..first.start].trim().is_empty()
        });
        let leading = if behind_dash { entries.iter().take_while(|entry| entry.is_removed).count() } else { 0 };
        if leading > 0 {
            self.remove_behind_dash(&entries, leading);
        }
        for entry in entries[leading..].iter().filter(|entry| entry.is_removed) {
            match &entry.comment {
                Some(comment) => self.replace(entry.start..entry.end, comment.clone()),
                None => self.replace(self.line_start(entry.start)..self.next_line(entry.end), ""),
            }
        }
    }

    /// The first fields of a list item stand behind its dash. The next field that stays moves there, and comments in
    /// between move before the item.
    fn remove_behind_dash(&mut self, entries: &[Entry], leading: usize) {
        let first = entries[0].start;
        let Some(stays) = entries.get(leading) else {
            self.replace(first..entries[leading - 1].end, "{}");
            return;
        };
        let line = self.line_start(first);
        let before = &self.source[line..first];
        let indent = &before[..before.len() - before.trim_start().len()];
        let mut comments = String::new();
        for (at, entry) in entries.iter().enumerate().take(leading) {
            let between = self.source[entry.end..entries[at + 1].start].lines().map(str::trim);
            let between = between.filter(|line| line.starts_with('#'));
            for comment in entry.comment.as_deref().into_iter().chain(between) {
                comments.push_str(&format!("{indent}{comment}{}", self.newline));
            }
        }
        self.replace(line..line, comments);
        self.replace(first..stays.start, "");
    }

    fn remove_in_flow(&mut self, entries: &[Entry]) {
        let mut at = 0;
        while at < entries.len() {
            let run = entries[at..].iter().take_while(|entry| entry.is_removed).count();
            if run == 0 {
                at += 1;
                continue;
            }
            let (after, last) = (entries.get(at + run), entries[at + run - 1].end);
            let range = match (after, at.checked_sub(1)) {
                (Some(after), _) => entries[at].start..after.start,
                (None, Some(before)) => entries[before].end..last,
                (None, None) => entries[at].start..last,
            };
            self.replace(range, "");
            at += run;
        }
    }

    /// Adds a field before another field of the same object. `value` is inserted verbatim.
    pub(super) fn insert_before(&mut self, object: &Node, key: Spot, field: &str, value: &str) {
        if self.is_flow(object) {
            let field = if self.is_json() { quoted(field) } else { field.to_owned() };
            self.replace(key.start..key.start, format!("{field}: {value}, "));
            return;
        }
        let line = self.line_start(key.start);
        let before = &self.source[line..key.start];
        if !before.trim().is_empty() {
            // The object stands behind a dash.
            let indent: String = before.chars().map(|_| ' ').collect();
            self.replace(key.start..key.start, format!("{field}: {value}{}{indent}", self.newline));
            return;
        }
        // Comments right above belong to the field below them.
        let mut at = line;
        while at > 0 {
            let above = self.line_start(at - 1);
            if !self.source[above..at].trim_start().starts_with('#') {
                break;
            }
            at = above;
        }
        // A comment at the beginning of the file describes the whole file.
        let at = if at == 0 { line } else { at };
        let blank = if value.starts_with(['\r', '\n']) { "" } else { " " };
        self.replace(at..at, format!("{before}{field}:{blank}{value}{}", self.newline));
    }

    /// Declares files, after the existing declarations or before the tasks.
    pub(super) fn declare_files(&mut self, root: &Node, fields: &Fields, files: &[(String, String)]) {
        let line = |(name, path): &(String, String)| match self.is_json() {
            true => format!("{}: {}", quoted(name), quoted(path)),
            false => format!("{name}: {}", written(path)),
        };
        let lines: Vec<String> = files.iter().map(line).collect();
        let Some(key) = fields.get("tasks").map(|(key, _)| *key) else { return };
        match fields.get("files") {
            Some((key, node @ Node { kind: Kind::Object(declared), .. })) => {
                let end = self.end_of_entry(*key, node);
                if self.is_flow(node) {
                    let separator = if declared.is_empty() { "" } else { ", " };
                    self.replace(end - 1..end - 1, format!("{separator}{}", lines.join(", ")));
                } else {
                    let first = declared.values().next().map_or(key.start + 2, |(spot, _)| spot.start);
                    let indent = " ".repeat(first - self.line_start(first));
                    let new: String = lines.iter().map(|line| format!("{}{indent}{line}", self.newline)).collect();
                    let end = self.next_line(end).saturating_sub(1).max(end);
                    let end = if self.source[..end].ends_with('\r') { end - 1 } else { end };
                    self.replace(end..end, new);
                }
            }
            _ if self.is_flow(root) => self.insert_before(root, key, "files", &format!("{{{}}}", lines.join(", "))),
            _ => {
                let lines: String = lines.iter().map(|line| format!("{}  {line}", self.newline)).collect();
                self.insert_before(root, key, "files", lines.trim_end());
            }
        }
    }

    /// Adds items to a list that is not empty.
    pub(super) fn append(&mut self, list: &Node, items: &[String]) {
        let Kind::List(old) = &list.kind else { return };
        let Some(last) = old.last() else { return };
        let end = self.end_of(last);
        if self.is_flow(list) {
            let new: String = items.iter().map(|item| format!(", {item}")).collect();
            self.replace(end..end, new);
            return;
        }
        // The dash of the last item is before it on its line.
        let line = self.line_start(last.spot.start);
        let dash = self.source[line..last.spot.start].rfind('-').unwrap_or_default();
        let indent = &self.source[line..line + dash];
        let end = self.next_line(end);
        let ended = self.source[..end].ends_with('\n');
        let newline = self.newline;
        let items = items.iter().map(|item| format!("{indent}- {item}"));
        let new = items.collect::<Vec<_>>().join(newline);
        self.replace(end..end, if ended { format!("{new}{newline}") } else { format!("{newline}{new}") });
    }

    pub(super) fn is_json(&self) -> bool {
        self.is_json
    }

    /// The source text at a place.
    pub(super) fn slice(&self, spot: Spot) -> &'s str {
        self.source.get(spot.start..spot.end).unwrap_or_default()
    }

    /// The text of a value as written, with anything between its key and it, such as `|`.
    pub(super) fn as_written(&self, key: Spot, value: &Node) -> &'s str {
        let end = self.end_of_entry(key, value);
        let rest = &self.source[key.end..end];
        rest.trim_start().strip_prefix(':').unwrap_or(rest).trim_start()
    }
}

/// A text as JSON, which is YAML too.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text in YAML syntax: without quotes if it can only be read as that text.
pub(super) fn written(text: &str) -> String {
    let mut bytes = text.bytes();
    let begins = bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || b"_./".contains(&first));
    let plain = begins && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_./-".contains(&byte));
    let word = ["true", "false", "null", "yes", "no", "on", "off"].contains(&text.to_ascii_lowercase().as_str());
    let number = text.starts_with('.') && text[1..].starts_with(|c: char| c.is_ascii_alphanumeric());
    if plain && !word && !number { text.to_owned() } else { quoted(text) }
}
