//! The second pass: parameters of language models, and the files that they named.

use std::collections::BTreeSet;

use super::edit::{Edits, quoted};
use super::{Migration, field, tasks_of};
use crate::yaml::{Fields, Kind, Node, Spot, text_of};

/// The files that a workflow declares, old and new.
struct Files {
    names: BTreeSet<String>,
    new: Vec<(String, String)>,
}

impl Files {
    /// The name of a file, which is declared first if it is not yet.
    fn name(&mut self, migration: &Migration<'_>, path: &str) -> String {
        let path = (migration.locate)(path);
        if let Some((name, _)) = self.new.iter().find(|(_, declared)| *declared == path) {
            return name.clone();
        }
        let mut number = self.names.len() + 1;
        while self.names.contains(&format!("f{number}")) {
            number += 1;
        }
        let name = format!("f{number}");
        self.names.insert(name.clone());
        self.new.push((name.clone(), path));
        name
    }
}

pub(super) fn pass(migration: &mut Migration<'_>, root: &Node, edits: &mut Edits<'_>) {
    let Kind::Object(fields) = &root.kind else { return };
    let declared = match field(root, "files").map(|node| &node.kind) {
        Some(Kind::Object(files)) => files.keys().cloned().collect(),
        _ => BTreeSet::new(),
    };
    let mut files = Files { names: declared, new: Vec::new() };
    for (index, task) in tasks_of(root) {
        let Some(parameters @ Node { kind: Kind::Object(fields), .. }) = field(task, "parameters") else { continue };
        let at = format!("tasks[{index}].parameters");
        match text_of(task, "method") {
            Some("llm/vision") => vision(migration, fields, &at, &mut files, edits),
            Some("llm/chat") => chat(migration, parameters, fields, &at, &mut files, edits),
            _ => {}
        }
    }
    if !files.new.is_empty() {
        for (name, path) in &files.new {
            migration.changed("files", format!("declares `{name}: {path}`, seen from the workflow's folder"));
        }
        edits.declare_files(root, fields, &files.new);
    }
}

/// `llm/vision` takes a prompt and images.
fn vision(migration: &mut Migration<'_>, fields: &Fields, at: &str, files: &mut Files, edits: &mut Edits<'_>) {
    if let Some((key, Node { kind: Kind::List(messages), .. })) = fields.get("messages")
        && !fields.contains_key("prompt")
        && let Some(Node { kind: Kind::Object(last), .. }) = messages.last()
        && let Some((inner, content)) = last.get("content")
    {
        let end = edits.end_of_entry(*key, &fields["messages"].1);
        let name = if edits.is_json() { "\"prompt\"" } else { "prompt" };
        edits.replace(key.start..end, format!("{name}: {}", edits.as_written(*inner, content)));
        migration.changed(format!("{at}.messages"), "became `prompt`, the text of the last message");
        if messages.len() > 1 {
            migration.leave(
                format!("{at}.messages"),
                "`llm/vision` takes one prompt: the messages before the last one are dropped",
            );
        }
    }
    let name = if edits.is_json() { "\"images\"" } else { "images" };
    if let Some((key, node @ Node { kind: Kind::Text(path), .. })) = fields.get("image_path")
        && !fields.contains_key("images")
    {
        if let Some(image) = image(migration, path, files) {
            edits.replace(key.start..edits.end_of_entry(*key, node), format!("{name}: [{image}]"));
            migration.changed(format!("{at}.image_path"), "became `images`, with the file's content");
        } else {
            migration
                .leave(format!("{at}.image_path"), "no path of a file: declare it under `files` and write `images`");
        }
    }
    let listed = ["image_paths", "images"].iter().find_map(|name| fields.get_key_value(*name));
    if let Some((written, (key, Node { kind: Kind::List(items), .. }))) = listed {
        if written == "image_paths" && fields.contains_key("images") {
            migration.leave(format!("{at}.{written}"), "`images` already exists: move what it lacks there");
            return;
        }
        if written == "image_paths" {
            edits.rewrite(*key, "images");
            migration.changed(format!("{at}.{written}"), "renamed to `images`");
        }
        for (index, item) in items.iter().enumerate() {
            if let Kind::Text(path) = &item.kind
                && let Some(image) = image(migration, path, files)
            {
                edits.replace(item.spot.start..end(item.spot, edits, item), image);
                migration.changed(format!("{at}.{written}[{index}]"), "became the file's content");
            }
        }
    }
}

fn end(key: Spot, edits: &Edits<'_>, item: &Node) -> usize {
    edits.end_of_entry(Spot { end: key.start, ..key }, item)
}

/// A reference to the content of an image; `None` if the text is not the path of an image.
fn image(migration: &Migration<'_>, path: &str, files: &mut Files) -> Option<String> {
    let lower = path.to_ascii_lowercase();
    let is_image = [".png", ".jpg", ".jpeg", ".gif", ".webp"].iter().any(|end| lower.ends_with(end));
    let is_path =
        is_image && path.len() < 1_000 && !path.contains("${") && !path.contains("{{") && !path.contains("://");
    is_path.then(|| quoted(&format!("${{files.{}.base64}}", files.name(migration, path))))
}

/// The files that a task names in its parameters, and the parameters that name them.
#[derive(Default)]
struct NamedFiles<'n> {
    paths: Vec<&'n str>,
    fields: Vec<&'static str>,
}

impl<'n> NamedFiles<'n> {
    fn of(parameters: &'n Fields) -> Self {
        let mut named = Self::default();
        if let Some((_, Node { kind: Kind::Text(path), .. })) = parameters.get("file_path") {
            named.paths.push(path);
            named.fields.push("file_path");
        }
        if let Some((_, Node { kind: Kind::List(items), .. })) = parameters.get("files") {
            named.paths.extend(items.iter().filter_map(|item| match &item.kind {
                Kind::Text(path) => Some(path.as_str()),
                _ => None,
            }));
            named.fields.push("files");
        }
        named
    }
}

/// `llm/chat` takes messages; the contents of files become a message of their own.
fn chat(
    migration: &mut Migration<'_>,
    parameters: &Node,
    fields: &Fields,
    at: &str,
    files: &mut Files,
    edits: &mut Edits<'_>,
) {
    let NamedFiles { paths, fields: named } = NamedFiles::of(fields);
    for name in ["directory", "file_pattern"] {
        if fields.contains_key(name) {
            migration.leave(
                format!("{at}.{name}"),
                "there are no batches: declare each file under `files` and give each a task",
            );
        }
    }
    let Some(first) = named.first() else { return };
    let is_unknown = paths.iter().any(|path| path.contains("${") || path.contains("{{") || path.contains("://"));
    let messages = fields.get("messages").map(|(_, node)| node);
    let Some(messages @ Node { kind: Kind::List(old), .. }) = messages.filter(|_| !is_unknown) else {
        migration.leave(
            format!("{at}.{first}"),
            "declare the file under `files` and write `${files.NAME}` where its text belongs",
        );
        return;
    };
    if old.is_empty() {
        return;
    }
    let json = edits.is_json();
    let message = |name: &str| match json {
        true => format!("{{\"role\": \"user\", \"content\": \"${{files.{name}}}\"}}"),
        false => format!("{{role: user, content: \"${{files.{name}}}\"}}"),
    };
    let items: Vec<String> = paths.iter().map(|path| message(&files.name(migration, path))).collect();
    edits.append(messages, &items);
    let removed: Vec<(&str, Option<String>)> = named.iter().map(|name| (*name, None)).collect();
    edits.remove(parameters, &removed);
    for name in named {
        let what = if paths.len() > 1 {
            "a message for each file, all in one request"
        } else {
            "a message with the file's text"
        };
        migration.changed(format!("{at}.{name}"), format!("became {what}"));
    }
}
