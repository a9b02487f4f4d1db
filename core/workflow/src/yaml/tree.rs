//! A YAML or JSON document as it was written: values with their places. Rules for particular files are elsewhere.

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Number, Value};

use super::place::Spot;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// The place.
    pub spot: Spot,
    /// The content.
    pub kind: Kind,
}

/// An object's fields: key to the key's own place and the value.
pub type Fields = IndexMap<String, (Spot, Node)>;

/// What an alias names is shared with it, not copied; but for text.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A number that JSON can carry.
    Number(Number),
    /// A text.
    Text(String),
    /// A list.
    List(Arc<[Node]>),
    /// An object, in the order of the file; what is merged into it (`<<`) stands last.
    Object(Arc<Fields>),
}

impl Node {
    /// For messages: `a list`, `text`.
    pub(crate) fn what(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing (null)",
            Kind::Bool(_) => "a boolean",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "text",
            Kind::List(_) => "a list",
            Kind::Object(_) => "an object",
        }
    }

    /// For messages that quote what was found: `the text `x``, `a list`.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::List(_) => "a list".to_owned(),
            Kind::Object(_) => "an object".to_owned(),
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => describe(&self.to_value()),
        }
    }

    /// The value without places. The depth of a node is bounded by whoever built it.
    pub fn to_value(&self) -> Value {
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
    pub fn from_value(value: &Value, depth: usize) -> Option<Self> {
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

/// A description of a value for messages: its type and, if it is short, the value itself.
pub fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => format!("the boolean `{value}`"),
        Value::Number(number) => format!("the number `{number}`"),
        Value::String(text) if text.chars().count() <= 40 && !text.contains('\n') => format!("the text `{text}`"),
        Value::String(text) => format!("a text of {} characters", text.chars().count()),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// The path to a field, as a chain on the stack: it costs nothing until it is shown.
#[derive(Clone, Copy)]
pub(crate) enum At<'a> {
    Root,
    Key(&'a At<'a>, &'a str),
    Index(&'a At<'a>, usize),
}

impl At<'_> {
    pub(crate) fn key<'a>(&'a self, key: &'a str) -> At<'a> {
        At::Key(self, key)
    }

    pub(crate) fn index(&self, index: usize) -> At<'_> {
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
pub(crate) fn text_of<'n>(node: &'n Node, field: &str) -> Option<&'n str> {
    match &node.kind {
        Kind::Object(fields) => match fields.get(field) {
            Some((_, Node { kind: Kind::Text(text), .. })) => Some(text),
            _ => None,
        },
        _ => None,
    }
}
