//! From YAML text (JSON included) to a tree with places.
//!
//! Only broken syntax stops; duplicate keys, odd numbers and the like are noted and the tree is built on. An alias shares
//! what it names, and what it stands for is counted before: a small file cannot become a large workflow.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, Tag};
use indexmap::map::Entry;
use serde_json::Number;

use super::problem::Problem;
use super::tree::{Fields, Kind, Node, Spot};
use crate::error::ErrorCode;
use crate::spec::Limits;

/// How many problems are noted while reading; the checker has its own bound.
const NOTED: usize = 100;

/// Aliases may stand for so many values…
const REPEATED_NODES: usize = 100_000;
/// … and so many bytes of text in all, …
const REPEATED_BYTES: usize = 4 << 20;
/// … or for so many times what the file itself holds, if that is more.
const REPEATED_TIMES: usize = 10;

/// Reads one document.
///
/// # Errors
/// One problem if the syntax is broken or a limit is passed.
pub(crate) fn read(source: &str, file: &str, limits: &Limits) -> Result<(Node, Vec<Problem>), Box<Problem>> {
    let mut builder = Builder { file, limits, ..Builder::default() };
    for event in Parser::new_from_str(source) {
        let (event, span) = event.map_err(|error| Box::new(syntax(file, source, &error)))?;
        builder.event(event, spot(span)).map_err(Box::new)?;
    }
    match builder.root {
        Some(root) => Ok((root, builder.noted)),
        None => Ok((Node { spot: Spot { line: 1, column: 1, start: 0, end: 0 }, kind: Kind::Null }, builder.noted)),
    }
}

fn spot(span: Span) -> Spot {
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    Spot {
        line: number(span.start.line()),
        column: number(span.start.col().saturating_add(1)),
        start: span.start.byte_offset().unwrap_or(0),
        end: span.end.byte_offset().unwrap_or(0),
    }
}

fn syntax(file: &str, source: &str, error: &ScanError) -> Problem {
    let place = error.marker();
    let line = u32::try_from(place.line()).unwrap_or(u32::MAX).max(1);
    let column = u32::try_from(place.col()).unwrap_or(u32::MAX).saturating_add(1);
    if let Some((line, column)) = indenting_tab(source, place.line(), is_of_tab(error.kind())) {
        let message = "invalid YAML: a tab stands in the indentation of this line";
        let problem = Problem::of_file(file, ErrorCode::ParseError, message).at(line, column);
        return problem.hint("indent with spaces: YAML does not allow tabs there; an editor can turn them into spaces");
    }
    let problem =
        Problem::of_file(file, ErrorCode::ParseError, format!("invalid YAML: {}", error.info())).at(line, column);
    let text = source.lines().nth(place.line().saturating_sub(1)).unwrap_or_default();
    if text.contains("${") {
        problem.hint("put quotes around text with `${…}` inside `{…}` or `[…]`, or where it holds `: ` or `#`")
    } else {
        match error.kind() {
            kind if is_of_tab(kind) => problem.hint("write spaces in place of the tab"),
            ErrorKind::UnknownAnchor => problem.hint("text that begins with `*` needs quotes"),
            _ if text.contains('@') || text.contains('`') || text.contains('%') => {
                problem.hint("text that begins with a special character needs quotes")
            }
            ErrorKind::RecursionLimitExceeded => {
                problem.hint("write it with fewer lists and objects inside each other")
            }
            _ => problem.hint("look at indentation, `:`, `-` and quotes here and in the line before"),
        }
    }
}

/// Whether reading broke off because of a tab.
fn is_of_tab(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInIndentation
            | ErrorKind::TabInPlainScalar
    )
}

/// The tab in the indentation of the line in which reading broke off or, if a tab is to blame, of the next that has
/// one: text over several lines is named by its beginning. Line and column, from 1.
fn indenting_tab(source: &str, line: usize, is_to_blame: bool) -> Option<(u32, u32)> {
    let first = line.saturating_sub(1);
    let mut lines = source.lines().enumerate().skip(first).take(if is_to_blame { usize::MAX } else { 1 });
    lines.find_map(|(index, text)| {
        let indent = &text[..text.len() - text.trim_start().len()];
        // Blank lines may hold anything.
        let column = indent.chars().position(|letter| letter == '\t').filter(|_| indent.len() < text.len())?;
        Some((u32::try_from(index + 1).ok()?, u32::try_from(column + 1).ok()?))
    })
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

/// What an anchor names, and what an alias to it stands for.
struct Anchored {
    node: Node,
    nodes: usize,
    bytes: usize,
    /// 1 for a scalar.
    depth: usize,
}

#[derive(Default)]
struct Builder<'a> {
    file: &'a str,
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

impl Default for &Limits {
    fn default() -> Self {
        &Limits::DEFAULT
    }
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, spot: Spot) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(self
                        .problem(
                            spot,
                            ErrorCode::ParseError,
                            "a file holds one workflow; here a second document begins",
                        )
                        .hint("remove the `---`, or put each workflow into a file of its own"));
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

    fn problem(&self, spot: Spot, code: ErrorCode, message: impl Into<String>) -> Problem {
        Problem { field: self.field(), ..Problem::of_file(self.file, code, message).at(spot.line, spot.column) }
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
            return Err(self
                .problem(
                    spot,
                    ErrorCode::WorkflowValidationFailed,
                    format!(
                        "the file grows past the limit of {} values or {} bytes",
                        self.limits.nodes,
                        self.limits.bytes * 2
                    ),
                )
                .hint("large data belongs into `files`"));
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
            let problem = self.problem(spot, ErrorCode::WorkflowValidationFailed, message);
            return Err(problem.hint("an alias repeats all that it names each time; large data belongs into `files`"));
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
            let problem = self.problem(spot, ErrorCode::WorkflowValidationFailed, message).hint(hint);
            self.note(problem);
        }
    }

    fn open(&mut self, spot: Spot, anchor: usize, tag: Option<&Tag>, open: Open) -> Result<(), Problem> {
        let before = (self.nodes, self.bytes);
        self.count(spot, 1, 0)?;
        if self.expects_key() {
            return Err(self
                .problem(spot, ErrorCode::ParseError, "a list or object cannot be a key")
                .hint("if `${…}` was meant, put it in quotes"));
        }
        if self.frames.len() >= self.limits.depth {
            let message = format!("nested deeper than the limit of {} levels", self.limits.depth);
            return Err(self.problem(spot, ErrorCode::WorkflowValidationFailed, message));
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
            .problem(spot, ErrorCode::WorkflowValidationFailed, "YAML tags such as `!name` are not supported here")
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
            return Err(self.problem(spot, ErrorCode::ParseError, "an alias inside what it names"));
        };
        let node = node.clone();
        if self.expects_key() {
            return Err(self.problem(spot, ErrorCode::ParseError, "an alias cannot be a key"));
        }
        if self.frames.len() + depth > self.limits.depth + 1 {
            let message = format!("nested deeper than the limit of {} levels", self.limits.depth);
            return Err(self.problem(spot, ErrorCode::WorkflowValidationFailed, message));
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
                        let problem = self.problem(spot, ErrorCode::WorkflowValidationFailed, message);
                        self.note(problem);
                    }
                },
                _ => {}
            },
        }
        Ok(())
    }

    /// The YAML 1.2 core schema: `yes` and `on` are text.
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
        match &*text {
            "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
            "true" | "True" | "TRUE" => return Kind::Bool(true),
            "false" | "False" | "FALSE" => return Kind::Bool(false),
            _ => {}
        }
        match number(&text) {
            Scalar::Number(number) => Kind::Number(number),
            Scalar::Text => Kind::Text(text.into_owned()),
            Scalar::Unfit(why) => {
                let problem = self
                    .problem(spot, ErrorCode::WorkflowValidationFailed, format!("`{}` {why}", shorten(&text)))
                    .hint("put it in quotes if text is meant");
                self.note(problem);
                Kind::Number(Number::from(0))
            }
        }
    }
}

pub(crate) fn shorten(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(60) {
        Some((at, _)) => Cow::Owned(format!("{}…", &text[..at])),
        None => Cow::Borrowed(text),
    }
}

enum Scalar {
    Number(Number),
    Text,
    Unfit(&'static str),
}

/// Whether a number is another than zero.
fn has_value(digits: &str) -> bool {
    digits.bytes().take_while(|byte| !matches!(byte, b'e' | b'E')).any(|byte| matches!(byte, b'1'..=b'9'))
}

fn number(text: &str) -> Scalar {
    const RANGE: &str = "is outside the whole numbers that JSON readers agree on (-2^63 to 2^64-1)";
    let (negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if [".inf", ".Inf", ".INF"].contains(&digits) || [".nan", ".NaN", ".NAN"].contains(&text) {
        return Scalar::Unfit("is no JSON number: infinity and not-a-number cannot be passed on");
    }
    if !digits.bytes().next().is_some_and(|first| first.is_ascii_digit() || first == b'.') {
        return Scalar::Text;
    }
    if digits.bytes().all(|digit| digit.is_ascii_digit()) {
        let whole =
            if negative { text.parse::<i64>().map(Number::from) } else { digits.parse::<u64>().map(Number::from) };
        return whole.map_or(Scalar::Unfit(RANGE), Scalar::Number);
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        // YAML has no signs before these; digits are checked because Rust would take a further sign.
        if let Some(rest) = text.strip_prefix(prefix)
            && !rest.is_empty()
            && rest.chars().all(|digit| digit.is_digit(radix))
        {
            return u64::from_str_radix(rest, radix).map_or(Scalar::Unfit(RANGE), |n| Scalar::Number(n.into()));
        }
    }
    if !digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte))
        || !digits.bytes().any(|b| b.is_ascii_digit())
    {
        return Scalar::Text;
    }
    match text.parse::<f64>() {
        Ok(0.0) if has_value(digits) => Scalar::Unfit("is closer to zero than any number that can be passed on"),
        Ok(value) => Number::from_f64(value).map_or(Scalar::Unfit("is too large for a number"), Scalar::Number),
        Err(_) => Scalar::Text,
    }
}
