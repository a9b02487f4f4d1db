//! From YAML text (JSON included) to a tree with places.
//!
//! Only broken syntax stops; duplicate keys, odd numbers and the like are noted and the tree is built on. An alias shares
//! what it names, and what it stands for is counted before: a small file cannot become a large workflow.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, Tag};
use indexmap::map::Entry;
use serde_json::Number;

use super::place::Spot;
use super::problem::Problem;
use super::scalar::{Scalar, core, older, shorten};
use super::syntax::syntax;
use super::tree::{Fields, Kind, Node};
use super::{FileKind, Limits};

/// How many problems are noted while reading; the checker has its own bound.
const NOTED: usize = 100;

/// Aliases may stand for this many values, …
const REPEATED_NODES: usize = 100_000;
/// … for this many bytes of text in total, …
const REPEATED_BYTES: usize = 4 << 20;
/// … or for this many times what the file itself holds, if that is more.
const REPEATED_TIMES: usize = 10;

/// Reads one document; problems refer to it as `file`. Returned with the tree are the problems that did not stop reading.
///
/// # Errors
/// One problem if the syntax is broken or a limit is passed.
pub fn read(source: &str, file: &str, kind: FileKind, limits: &Limits) -> Result<(Node, Vec<Problem>), Box<Problem>> {
    let mut builder = Builder::new(file, kind, limits);
    for event in Parser::new_from_str(source) {
        let (event, span) = event.map_err(|error| Box::new(syntax(file, kind, source, &error)))?;
        builder.event(event, Spot::of(span)).map_err(Box::new)?;
    }
    let empty = || Node { spot: Spot { line: 1, column: 1, start: 0, end: 0 }, kind: Kind::Null };
    Ok((builder.root.unwrap_or_else(empty), builder.noted))
}

/// A list or object that is not closed yet.
enum Open {
    List(Vec<Node>),
    Object { fields: Fields, key: Option<(Spot, Key)>, merged: Vec<Arc<Fields>> },
}

enum Key {
    Name(String),
    /// A key that was already there (or is no name): its value is read and dropped.
    Dropped(String),
    /// `<<`
    Merge,
}

struct Frame {
    open: Open,
    spot: Spot,
    anchor: usize,
    /// Nodes and bytes counted before it began: their difference at its end is its size.
    before: (usize, usize),
    /// How deep the deepest value in it is nested.
    deepest: usize,
}

/// What an anchor names, and the size of what an alias to it stands for.
struct Anchored {
    node: Node,
    nodes: usize,
    bytes: usize,
    /// 1 for a scalar.
    depth: usize,
}

struct Builder<'a> {
    file: &'a str,
    kind: FileKind,
    limits: &'a Limits,
    frames: Vec<Frame>,
    root: Option<Node>,
    anchors: BTreeMap<usize, Anchored>,
    noted: Vec<Problem>,
    /// What was read, with what aliases stand for.
    nodes: usize,
    bytes: usize,
    /// What aliases stand for.
    repeated_nodes: usize,
    repeated_bytes: usize,
    documents: usize,
}

impl<'a> Builder<'a> {
    fn new(file: &'a str, kind: FileKind, limits: &'a Limits) -> Self {
        Self {
            file,
            kind,
            limits,
            frames: Vec::new(),
            root: None,
            anchors: BTreeMap::new(),
            noted: Vec::new(),
            nodes: 0,
            bytes: 0,
            repeated_nodes: 0,
            repeated_bytes: 0,
            documents: 0,
        }
    }

    fn event(&mut self, event: Event<'_>, spot: Spot) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let name = self.kind.name();
                    return Err(self
                        .misread(spot, format!("a file holds one {name}; here a second document begins"))
                        .hint(format!("remove the `---`, or put each {name} into a file of its own")));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.count(spot, 1, text.len())?;
                if self.expects_key() {
                    self.key(spot, &text, style);
                    return Ok(());
                }
                let bytes = text.len();
                let kind = self.scalar(spot, text, style, tag.as_deref());
                self.value(Node { spot, kind }, anchor, (1, bytes), 1)?;
            }
            Event::SequenceStart(_, anchor, tag) => self.open(spot, anchor, tag.as_deref(), Open::List(Vec::new()))?,
            Event::MappingStart(_, anchor, tag) => {
                let open = Open::Object { fields: Fields::new(), key: None, merged: Vec::new() };
                self.open(spot, anchor, tag.as_deref(), open)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(spot)?,
            Event::Alias(id) => self.alias(spot, id)?,
            _ => {}
        }
        Ok(())
    }

    /// A problem because of which the text cannot be read at all.
    fn misread(&self, spot: Spot, message: impl Into<String>) -> Problem {
        let problem = Problem::of_file(self.file, self.kind.syntax_code(), message).at(spot.line, spot.column);
        Problem { field: self.field(), ..problem }
    }

    /// A problem of text that can be read but not used.
    fn unusable(&self, spot: Spot, message: impl Into<String>) -> Problem {
        Problem { code: self.kind.content_code(), ..self.misread(spot, message) }
    }

    fn note(&mut self, problem: Problem) {
        if self.noted.len() < NOTED {
            self.noted.push(problem);
        }
    }

    /// The path of what is being read.
    fn field(&self) -> String {
        use std::fmt::Write;
        let mut path = String::new();
        for frame in &self.frames {
            match &frame.open {
                Open::List(items) => {
                    let _ = write!(path, "[{}]", items.len());
                }
                Open::Object { key: Some((_, Key::Name(key) | Key::Dropped(key))), .. } => {
                    let _ = write!(path, "{}{key}", if path.is_empty() { "" } else { "." });
                }
                Open::Object { .. } => {}
            }
        }
        path
    }

    fn count(&mut self, spot: Spot, nodes: usize, bytes: usize) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.nodes > self.limits.nodes || self.bytes > self.limits.bytes.saturating_mul(2) {
            let (nodes, bytes) = (self.limits.nodes, self.limits.bytes.saturating_mul(2));
            let message = format!("the file grows past the limit of {nodes} values or {bytes} bytes");
            let hint = self.kind.if_too_large().map(str::to_owned);
            return Err(Problem { hint, ..self.unusable(spot, message) });
        }
        Ok(())
    }

    /// Counts what an alias stands for, before it does.
    fn repeat(&mut self, spot: Spot, nodes: usize, bytes: usize) -> Result<(), Problem> {
        let own_nodes = self.nodes - self.repeated_nodes;
        let own_bytes = self.bytes - self.repeated_bytes;
        self.repeated_nodes = self.repeated_nodes.saturating_add(nodes);
        self.repeated_bytes = self.repeated_bytes.saturating_add(bytes);
        let most_nodes = REPEATED_NODES.max(own_nodes.saturating_mul(REPEATED_TIMES));
        let most_bytes = REPEATED_BYTES.max(own_bytes.saturating_mul(REPEATED_TIMES));
        if self.repeated_nodes > most_nodes || self.repeated_bytes > most_bytes {
            let message = format!(
                "the aliases (`*name`) up to here stand for {} values and {} bytes of text; the limits are {most_nodes} \
                 and {most_bytes}",
                self.repeated_nodes, self.repeated_bytes
            );
            let advice = self.kind.if_too_large().map_or_else(String::new, |advice| format!("; {advice}"));
            let hint = format!("each use of an alias repeats its whole value{advice}");
            return Err(self.unusable(spot, message).hint(hint));
        }
        self.count(spot, nodes, bytes)
    }

    fn expects_key(&self) -> bool {
        matches!(self.frames.last(), Some(Frame { open: Open::Object { key: None, .. }, .. }))
    }

    fn key(&mut self, spot: Spot, text: &str, style: ScalarStyle) {
        let Some(Frame { open: Open::Object { fields, .. }, .. }) = self.frames.last() else { return };
        let mut note = None;
        let new = if style == ScalarStyle::Plain && text == "<<" {
            Key::Merge
        } else if let Some((first, _)) = fields.get(text) {
            note = Some((
                format!("`{text}` is given twice: first in line {}, column {}", first.line, first.column),
                "keep one of the two",
            ));
            Key::Dropped(text.to_owned())
        } else if style == ScalarStyle::Plain && text.is_empty() {
            note = Some(("a key is empty".to_owned(), "write a name before the `:`"));
            Key::Dropped(String::new())
        } else {
            Key::Name(text.to_owned())
        };
        if let Some(Frame { open: Open::Object { key, .. }, .. }) = self.frames.last_mut() {
            *key = Some((spot, new));
        }
        if let Some((message, hint)) = note {
            let problem = self.unusable(spot, message).hint(hint);
            self.note(problem);
        }
    }

    fn open(&mut self, spot: Spot, anchor: usize, tag: Option<&Tag>, open: Open) -> Result<(), Problem> {
        let before = (self.nodes, self.bytes);
        self.count(spot, 1, 0)?;
        if self.expects_key() {
            return Err(self
                .misread(spot, "a list or object cannot be a key")
                .hint("if `${…}` was meant, put it in quotes"));
        }
        if self.frames.len() >= self.limits.depth {
            let message = format!("nested deeper than the limit of {} levels", self.limits.depth);
            return Err(self.unusable(spot, message));
        }
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && ["map", "seq"].contains(&tag.suffix()))
        {
            self.note_tag(spot);
        }
        self.frames.push(Frame { open, spot, anchor, before, deepest: 0 });
        Ok(())
    }

    fn note_tag(&mut self, spot: Spot) {
        let problem = self
            .unusable(spot, "YAML tags such as `!name` are not supported here")
            .hint("write the value plainly; text that begins with `!` needs quotes");
        self.note(problem);
    }

    fn close(&mut self, end: Spot) -> Result<(), Problem> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        let spot = Spot { end: end.end, ..frame.spot };
        let kind = match frame.open {
            Open::List(items) => Kind::List(items.into()),
            Open::Object { mut fields, merged, .. } => {
                for (key, field) in merged.iter().flat_map(|fields| fields.iter()) {
                    if !fields.contains_key(key) {
                        fields.insert(key.clone(), field.clone());
                    }
                }
                Kind::Object(Arc::new(fields))
            }
        };
        let size = (self.nodes - frame.before.0, self.bytes - frame.before.1);
        self.value(Node { spot, kind }, frame.anchor, size, frame.deepest + 1)
    }

    fn alias(&mut self, spot: Spot, id: usize) -> Result<(), Problem> {
        let Some(&Anchored { ref node, nodes, bytes, depth }) = self.anchors.get(&id) else {
            return Err(self.misread(spot, "an alias inside the value that it names"));
        };
        let node = node.clone();
        if self.expects_key() {
            return Err(self.misread(spot, "an alias cannot be a key"));
        }
        if self.frames.len() + depth > self.limits.depth + 1 {
            let message = format!("nested deeper than the limit of {} levels", self.limits.depth);
            return Err(self.unusable(spot, message));
        }
        self.repeat(spot, nodes, bytes)?;
        self.value(node, 0, (nodes, bytes), depth)
    }

    /// A whole value was read: put it where it belongs.
    fn value(
        &mut self,
        node: Node,
        anchor: usize,
        (nodes, bytes): (usize, usize),
        depth: usize,
    ) -> Result<(), Problem> {
        if anchor > 0 {
            self.anchors.insert(anchor, Anchored { node: node.clone(), nodes, bytes, depth });
        }
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.deepest = frame.deepest.max(depth);
        match &mut frame.open {
            Open::List(items) => items.push(node),
            Open::Object { fields, key, merged } => match key.take() {
                Some((spot, Key::Name(name))) => {
                    if let Entry::Vacant(entry) = fields.entry(name) {
                        entry.insert((spot, node));
                    }
                }
                Some((spot, Key::Merge)) => match node.kind {
                    Kind::Object(fields) => merged.push(fields),
                    Kind::List(items) if items.iter().all(|item| matches!(item.kind, Kind::Object(_))) => {
                        merged.extend(items.iter().filter_map(|item| match &item.kind {
                            Kind::Object(fields) => Some(fields.clone()),
                            _ => None,
                        }));
                    }
                    _ => {
                        let message = "`<<` takes an object or a list of objects, usually an alias";
                        let problem = self.unusable(spot, message);
                        self.note(problem);
                    }
                },
                _ => {}
            },
        }
        Ok(())
    }

    /// A value that is neither a list nor an object; quoted values are text.
    fn scalar(&mut self, spot: Spot, text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Kind {
        if let Some(tag) = tag {
            match (tag.is_yaml_core_schema(), tag.suffix()) {
                (true, "str") => return Kind::Text(text.into_owned()),
                (true, "null" | "bool" | "int" | "float") => {}
                _ => {
                    self.note_tag(spot);
                    return Kind::Text(text.into_owned());
                }
            }
        } else if style != ScalarStyle::Plain {
            return Kind::Text(text.into_owned());
        }
        let read = if self.kind.has_older_spellings() { older(&text) } else { core(&text) };
        match read {
            Scalar::Word(kind) => kind,
            Scalar::Number(number) => Kind::Number(number),
            Scalar::Text => Kind::Text(text.into_owned()),
            Scalar::Unfit(why) => {
                let problem = self
                    .unusable(spot, format!("`{}` {why}", shorten(&text)))
                    .hint("put it in quotes if text is meant");
                self.note(problem);
                Kind::Number(Number::from(0))
            }
        }
    }
}
