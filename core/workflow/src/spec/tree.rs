//! A YAML or JSON document as it was written: values with their places. No rules of workflows live here.

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Number, Value};

/// The place of a value in the source. Line 0 means that there was no text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) line: u32,
    pub(super) column: u32,
    /// Bytes from the start of the source.
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) spot: Spot,
    pub(super) kind: Kind,
}

/// An object's fields: key to the key's own place and the value.
pub(super) type Fields = IndexMap<String, (Spot, Node)>;

/// What an alias names is shared with it, not copied; but for text.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Arc<[Node]>),
    Object(Arc<Fields>),
}

impl Node {
    /// For messages: `a list`, `text`.
    pub(super) fn what(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing (null)",
            Kind::Bool(_) => "a boolean",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "text",
            Kind::List(_) => "a list",
            Kind::Object(_) => "an object",
        }
    }

    /// The value without places. The depth of a node is bounded by whoever built it.
    pub(super) fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(yes) => Value::Bool(*yes),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::Text(text) => Value::String(text.clone()),
            Kind::List(items) => Value::Array(items.iter().map(Node::to_value).collect()),
            Kind::Object(fields) => {
                let fields = fields.iter().map(|(key, (_, value))| (key.clone(), value.to_value()));
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }

    /// A value that was never text; `None` if it is nested deeper than `depth`.
    pub(super) fn from_value(value: &Value, depth: usize) -> Option<Self> {
        let inner = depth.checked_sub(1);
        let kind = match value {
            Value::Null => Kind::Null,
            Value::Bool(yes) => Kind::Bool(*yes),
            Value::Number(number) => Kind::Number(number.clone()),
            Value::String(text) => Kind::Text(text.clone()),
            Value::Array(items) => {
                let inner = inner?;
                Kind::List(items.iter().map(|item| Self::from_value(item, inner)).collect::<Option<_>>()?)
            }
            Value::Object(fields) => {
                let inner = inner?;
                let fields = fields
                    .iter()
                    .map(|(key, value)| Some((key.clone(), (Spot::default(), Self::from_value(value, inner)?))));
                Kind::Object(Arc::new(fields.collect::<Option<_>>()?))
            }
        };
        Some(Self { spot: Spot::default(), kind })
    }
}

/// The path to a field, as a chain on the stack: it costs nothing until it is shown.
#[derive(Clone, Copy)]
pub(super) enum At<'a> {
    Root,
    Key(&'a At<'a>, &'a str),
    Index(&'a At<'a>, usize),
}

impl At<'_> {
    pub(super) fn key<'a>(&'a self, key: &'a str) -> At<'a> {
        At::Key(self, key)
    }

    pub(super) fn index(&self, index: usize) -> At<'_> {
        At::Index(self, index)
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Root => Ok(()),
            At::Key(At::Root, key) => f.write_str(key),
            At::Key(parent, key) => write!(f, "{parent}.{key}"),
            At::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// The text of a field, if the node is an object that has it as text.
pub(super) fn text_of<'n>(node: &'n Node, field: &str) -> Option<&'n str> {
    match &node.kind {
        Kind::Object(fields) => match fields.get(field) {
            Some((_, Node { kind: Kind::Text(text), .. })) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// The place of `text[offset..]`, which begins with `${`, in the source: its n-th `${` is that of the value's source.
/// Where escapes or aliases hide it, the value's own place.
pub(super) fn inside(source: &str, spot: Spot, text: &str, offset: usize) -> Spot {
    place_in(source, spot, text, offset, "${")
}

/// The same of anything else that begins with `mark`.
pub(super) fn place_in(source: &str, spot: Spot, text: &str, offset: usize, mark: &str) -> Spot {
    let (Some(written), Some(before)) = (source.get(spot.start..spot.end), text.get(..offset)) else { return spot };
    let nth = before.matches(mark).count();
    if written.matches(mark).count() != text.matches(mark).count() {
        return spot;
    }
    let Some((found, _)) = written.match_indices(mark).nth(nth) else { return spot };
    let start = spot.start + found;
    let lines = written[..found].bytes().filter(|&byte| byte == b'\n').count();
    let line_start = source[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    Spot {
        line: spot.line.saturating_add(number(lines)),
        column: number(source[line_start..start].chars().count() + 1),
        start,
        end: spot.end,
    }
}
