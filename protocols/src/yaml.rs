//! YAML with places: every value knows its line and column, and all problems of a file are collected before they are
//! reported. Used for protocol and provider files. Never panics on input; depth and size are bounded.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use serde_yaml::Spanned;

/// The largest definition file in bytes: far above any sensible one, and still parsed without noticeable delay.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// The deepest nesting.
pub const MAX_DEPTH: usize = gleitzeit_workflow::json::MAX_DEPTH;

/// A place in a file, both numbers from 1; 0 means unknown (the definition came over the mesh).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
}

/// A problem in a definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, or another name of the source.
    pub file: String,
    /// The place in the file.
    #[serde(flatten)]
    pub place: Place,
    /// What is wrong and what was expected.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place { line: 0, .. } => write!(f, "{}: {}", self.file, self.message)?,
            Place { line, column } => write!(f, "{}:{line}:{column}: {}", self.file, self.message)?,
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it starts.
    pub place: Place,
    /// The content.
    pub kind: Kind,
}

/// The content of a node.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Null, a boolean, a number or text.
    Scalar(Value),
    /// A list.
    List(Vec<Node>),
    /// An object, in the order of the file; keys may repeat.
    Map(Vec<(Key, Node)>),
}

/// A key with its place.
#[derive(Clone, Debug)]
pub struct Key {
    /// Where it starts.
    pub place: Place,
    /// The key.
    pub text: String,
}

impl Node {
    /// The node as JSON; the last of repeated keys wins.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::List(items) => Value::Array(items.iter().map(Node::to_value).collect()),
            Kind::Map(fields) => {
                Value::Object(fields.iter().map(|(key, node)| (key.text.clone(), node.to_value())).collect())
            }
        }
    }

    /// A node from JSON, without places.
    pub fn from_value(value: &Value) -> Self {
        let kind = match value {
            Value::Array(items) => Kind::List(items.iter().map(Self::from_value).collect()),
            Value::Object(fields) => Kind::Map(
                fields
                    .iter()
                    .map(|(key, value)| (Key { place: Place::default(), text: key.clone() }, Self::from_value(value)))
                    .collect(),
            ),
            scalar => Kind::Scalar(scalar.clone()),
        };
        Self { place: Place::default(), kind }
    }

    /// A description for messages.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Scalar(value) => describe(value),
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "an object".to_owned(),
        }
    }
}

/// A description of a value for messages: its type and, if short, the value itself.
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

fn place(location: serde_yaml::Location) -> Place {
    Place { line: location.line(), column: location.column() }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Kind>::deserialize(deserializer)?;
        Ok(Self { place: place(spanned.referenced), kind: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KindVisitor;

        impl<'de> Visitor<'de> for KindVisitor {
            type Value = Kind;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Kind, E> {
                Ok(Kind::Scalar(Value::Null))
            }

            fn visit_none<E>(self) -> Result<Kind, E> {
                Ok(Kind::Scalar(Value::Null))
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
                Kind::deserialize(deserializer)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
                Ok(Kind::Scalar(Value::Bool(value)))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
                Ok(Kind::Scalar(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
                Ok(Kind::Scalar(value.into()))
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Kind, E> {
                let number = Number::from_f64(value).ok_or_else(|| E::custom("expected a finite number"))?;
                Ok(Kind::Scalar(Value::Number(number)))
            }

            fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
                Ok(Kind::Scalar(value.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Kind, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Kind::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
                let mut fields = Vec::new();
                while let Some(key) = map.next_key::<Spanned<String>>()? {
                    let key = Key { place: place(key.referenced), text: key.value };
                    fields.push((key, map.next_value()?));
                }
                Ok(Kind::Map(fields))
            }
        }

        deserializer.deserialize_any(KindVisitor)
    }
}

/// Parses a file's text and collects its problems.
#[derive(Debug)]
pub struct Reader {
    file: String,
    problems: Vec<Problem>,
}

impl Reader {
    /// A reader for a source with this name.
    pub fn new(file: impl Into<String>) -> Self {
        Self { file: file.into(), problems: Vec::new() }
    }

    /// Resolves a path that the file names: a relative one is relative to the file's own folder.
    pub fn beside(&self, path: &str) -> PathBuf {
        Path::new(&self.file).parent().unwrap_or(Path::new("")).join(path)
    }

    /// Parses YAML; repeated keys are reported wherever they are.
    pub fn parse(&mut self, text: &str) -> Option<Node> {
        if text.len() > MAX_FILE_BYTES {
            let message = format!("the file has {} bytes, more than the limit of {MAX_FILE_BYTES}", text.len());
            self.problem(Place::default(), message, None);
            return None;
        }
        let options = serde_yaml::options! {
            duplicate_keys: serde_yaml::DuplicateKeyPolicy::PassThrough,
            with_snippet: false,
            budget: serde_yaml::budget! { max_depth: MAX_DEPTH, max_nodes: 100_000, max_aliases: 1_000 },
        };
        match serde_yaml::from_str_with_options::<Node>(text, options) {
            Ok(node) => {
                self.report_repeated(&node);
                Some(node)
            }
            Err(error) => {
                let place = error.location().map(place).unwrap_or_default();
                let message = error.to_string();
                let message = message.lines().next().unwrap_or("not valid YAML").to_owned();
                self.problem(place, message, Some("fix the YAML syntax at this place".to_owned()));
                None
            }
        }
    }

    /// Notes a problem.
    pub fn problem(&mut self, place: Place, message: impl Into<String>, hint: Option<String>) {
        self.problems.push(Problem { file: self.file.clone(), place, message: message.into(), hint });
    }

    /// The value if there were no problems; otherwise all problems in the order of the file.
    ///
    /// # Errors
    /// If there are problems, or no value for a reason already noted.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<T, Vec<Problem>> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => {
                if self.problems.is_empty() {
                    self.problem(Place::default(), "the definition is not complete", None);
                }
                self.problems.sort_by_key(|problem| problem.place);
                Err(self.problems)
            }
        }
    }

    fn report_repeated(&mut self, node: &Node) {
        match &node.kind {
            Kind::Scalar(_) => {}
            Kind::List(items) => items.iter().for_each(|item| self.report_repeated(item)),
            Kind::Map(fields) => {
                let mut seen = std::collections::HashMap::new();
                for (key, value) in fields {
                    if let Some(first) = seen.insert(key.text.as_str(), key.place) {
                        let message = format!("`{}` is given twice, first in line {}", key.text, first.line);
                        self.problem(key.place, message, Some("remove one of the two".to_owned()));
                    }
                    self.report_repeated(value);
                }
            }
        }
    }

    /// The fields of an object; a field that is not `known` is reported with the nearest known one.
    pub fn fields<'a>(&mut self, node: &'a Node, what: &str, known: &[&str]) -> Fields<'a> {
        let Some(fields) = self.map(node, what) else { return Fields { place: node.place, fields: Vec::new() } };
        for (key, _) in fields {
            if !known.contains(&key.text.as_str()) {
                let hint = nearest(&key.text, known.iter().copied())
                    .unwrap_or_else(|| format!("known fields: {}", known.join(", ")));
                self.problem(key.place, format!("unknown field `{}` in {what}", key.text), Some(hint));
            }
        }
        Fields { place: node.place, fields: fields.iter().collect() }
    }

    /// The entries of an object.
    pub fn map<'a>(&mut self, node: &'a Node, what: &str) -> Option<&'a [(Key, Node)]> {
        match &node.kind {
            Kind::Map(fields) => Some(fields),
            _ => {
                self.problem(node.place, format!("expected an object for {what}, found {}", node.describe()), None);
                None
            }
        }
    }

    /// A required text that must not be empty.
    pub fn required_text(&mut self, fields: &Fields<'_>, name: &str, what: &str) -> Option<String> {
        match fields.get(name) {
            Some(node) => self.text(node, name),
            None => {
                let hint = Some(format!("add `{name}:`"));
                self.problem(fields.place, format!("`{name}` is missing in {what}"), hint);
                None
            }
        }
    }

    /// An optional text that must not be empty.
    pub fn optional_text(&mut self, fields: &Fields<'_>, name: &str) -> Option<String> {
        fields.get(name).and_then(|node| self.text(node, name))
    }

    /// A text that must not be empty.
    pub fn text(&mut self, node: &Node, name: &str) -> Option<String> {
        match &node.kind {
            Kind::Scalar(Value::String(text)) if !text.is_empty() => Some(text.clone()),
            _ => {
                self.problem(node.place, format!("expected text for `{name}`, found {}", node.describe()), None);
                None
            }
        }
    }

    /// A duration: a number of seconds, or text such as `500ms`, `2m`, `1h`.
    pub fn duration_ms(&mut self, node: &Node, name: &str) -> Option<u64> {
        let parsed = match &node.kind {
            Kind::Scalar(value) => duration_ms(value),
            _ => None,
        };
        if parsed.is_none() {
            let message = format!("expected a duration for `{name}`, found {}", node.describe());
            self.problem(node.place, message, Some("write seconds (90) or text (500ms, 2m, 1h)".to_owned()));
        }
        parsed
    }

    /// A whole number of at least 1.
    pub fn positive(&mut self, node: &Node, name: &str) -> Option<u64> {
        match &node.kind {
            Kind::Scalar(Value::Number(number)) if number.as_u64().is_some_and(|number| number > 0) => number.as_u64(),
            _ => {
                let message = format!("expected a whole number of at least 1 for `{name}`, found {}", node.describe());
                self.problem(node.place, message, None);
                None
            }
        }
    }

    /// An object as JSON.
    pub fn object(&mut self, node: &Node, name: &str) -> Option<Map<String, Value>> {
        self.map(node, &format!("`{name}`"))?;
        match node.to_value() {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }
}

/// The fields of one object.
#[derive(Debug)]
pub struct Fields<'a> {
    /// Where the object starts.
    pub place: Place,
    fields: Vec<&'a (Key, Node)>,
}

impl<'a> Fields<'a> {
    /// The value of a field; `null` counts as absent.
    pub fn get(&self, name: &str) -> Option<&'a Node> {
        self.fields
            .iter()
            .find(|(key, _)| key.text == name)
            .map(|(_, node)| node)
            .filter(|node| !matches!(node.kind, Kind::Scalar(Value::Null)))
    }
}

/// The milliseconds of a written duration: a number of seconds, or text such as `500ms`, `1.5s`, `2m`, `1h`.
pub fn duration_ms(value: &Value) -> Option<u64> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => {
            let text = text.trim();
            let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
            let number: f64 = text[..unit_at].trim().parse().ok()?;
            number
                * match &text[unit_at..] {
                    "ms" => 0.001,
                    "s" => 1.0,
                    "m" => 60.0,
                    "h" => 3600.0,
                    "d" => 86_400.0,
                    _ => return None,
                }
        }
        _ => return None,
    };
    // A year: anything longer is a mistake, and the bound keeps the conversion exact.
    if !(seconds > 0.0 && seconds <= 31_536_000.0) {
        return None;
    }
    u64::try_from(std::time::Duration::from_secs_f64(seconds).as_millis()).ok().map(|ms| ms.max(1))
}

/// A "did you mean" hint for a misspelt word, if a known word is similar.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    gleitzeit_workflow::spec::closest(word, known).map(|candidate| format!("did you mean `{candidate}`?"))
}
