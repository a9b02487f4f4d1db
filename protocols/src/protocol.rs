//! A checked protocol, from YAML or from the mesh. The invariant: the schemas of a [`Protocol`] compile.

use gleitzeit_mesh::wire::ProtocolDefinition;
use gleitzeit_run::event::ProtocolRegistered;
use gleitzeit_workflow::json::MAX_DEPTH;
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::spec::{PathSegment, Violation};
use gleitzeit_workflow::template::Language;
use gleitzeit_workflow::yaml::Fields;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::pattern;
use crate::schema::Schema;
use crate::yaml::{FileKind, Kind, Node, Problem, Reader, Spot};

/// A contract: named methods with the schemas of their parameters and results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// The name, such as `python`.
    pub name: String,
    /// The version, such as `v1`.
    pub version: String,
    /// A description of one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Methods by their full names, such as `python/execute`.
    pub methods: IndexMap<String, Method>,
}

/// One method of a protocol.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Method {
    /// A description of one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON Schema of the parameters; `None` accepts any object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// The JSON Schema of the result; `None` accepts any value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns: Option<Value>,
    /// How long an attempt may take if the task does not say, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Examples of valid parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Value>,
}

const PROTOCOL_FIELDS: &[&str] = &["name", "version", "description", "methods"];
const METHOD_FIELDS: &[&str] = &["description", "parameters", "returns", "timeout", "timeout_ms", "examples"];

/// Whether schemas and examples are checked while they are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trial {
    Yes,
    /// Not checked here, because a test has checked them.
    Done,
}

impl Protocol {
    /// Parses protocol YAML; problems refer to it as `file`.
    ///
    /// # Errors
    /// All problems, each with its place.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader::new(file);
        let node = reader.parse(FileKind::Protocol, text);
        let protocol = node.and_then(|node| read(&mut reader, &node, Trial::Yes));
        reader.finish(protocol)
    }

    /// Parses shipped protocol YAML. `None` for a text that [`Protocol::parse`] would refuse, which a test rules out.
    pub(crate) fn parse_shipped(text: &str) -> Option<Self> {
        let mut reader = Reader::new("shipped");
        let node = reader.parse(FileKind::Protocol, text);
        let protocol = node.and_then(|node| read(&mut reader, &node, Trial::Done));
        reader.finish(protocol).ok()
    }

    /// Checks a definition from the mesh or the journal.
    ///
    /// # Errors
    /// All problems; their places are unknown.
    pub fn from_definition(definition: &ProtocolDefinition) -> Result<Self, Vec<Problem>> {
        Self::from_parts(&definition.name, &definition.version, &definition.methods)
    }

    /// Checks a registration from the journal.
    ///
    /// # Errors
    /// All problems; their places are unknown.
    pub fn from_registered(registered: &ProtocolRegistered) -> Result<Self, Vec<Problem>> {
        Self::from_parts(&registered.name, &registered.version, &registered.methods)
    }

    fn from_parts(name: &str, version: &str, methods: &Payload) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader::new(format!("protocol `{name}/{version}`"));
        let protocol = match methods.to_value() {
            Ok(methods) => {
                let value = serde_json::json!({"name": name, "version": version, "methods": methods});
                // The methods are as deep as a value may be, and one more level is around them.
                Node::from_value(&value, MAX_DEPTH + 1).and_then(|node| read(&mut reader, &node, Trial::Yes))
            }
            Err(problem) => {
                reader.problem(Spot::default(), problem.within("methods").to_string(), None);
                None
            }
        };
        reader.finish(protocol)
    }

    /// The definition for the mesh.
    pub fn to_definition(&self) -> ProtocolDefinition {
        ProtocolDefinition { name: self.name.clone(), version: self.version.clone(), methods: self.methods_payload() }
    }

    /// The registration for the journal.
    pub fn to_registered(&self) -> ProtocolRegistered {
        ProtocolRegistered { name: self.name.clone(), version: self.version.clone(), methods: self.methods_payload() }
    }

    fn methods_payload(&self) -> Payload {
        Payload::from_value(&serde_json::json!(self.methods))
    }

    /// The name and version, such as `python/v1`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.name, self.version)
    }
}

impl Method {
    /// The top-level parameters that are program text or addresses, with their languages.
    pub fn code(&self) -> IndexMap<String, Language> {
        let properties = self.parameters.as_ref().and_then(|schema| schema.get("properties")?.as_object());
        properties
            .into_iter()
            .flatten()
            .filter_map(|(name, schema)| Some((name.clone(), language(schema.get("language")?.as_str()?)?)))
            .collect()
    }
}

fn language(name: &str) -> Option<Language> {
    match name {
        "python" => Some(Language::Python),
        "shell" => Some(Language::Shell),
        "url" => Some(Language::Url),
        _ => None,
    }
}

/// Whether a text is a valid name for a protocol, or for the part of a method after the slash.
fn is_name(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// The most methods of a protocol.
const MAX_METHODS: usize = 1_000;
/// The highest cost of all patterns in its schemas together, as [`pattern::cost`] counts.
const MAX_PATTERNS: u64 = 100_000;

fn read(reader: &mut Reader, node: &Node, trial: Trial) -> Option<Protocol> {
    let fields = reader.fields(node, "the protocol", PROTOCOL_FIELDS);
    let name = reader.required_text(&fields, "name", "the protocol");
    let version = reader.required_text(&fields, "version", "the protocol");
    for (field, text) in [("name", &name), ("version", &version)] {
        if let (Some(text), Some(node)) = (text, fields.get(field))
            && !is_name(text)
        {
            let hint = Some("use letters, digits, `_`, `-` and `.`, starting with a letter".to_owned());
            reader.problem(node.spot, format!("`{text}` cannot be a protocol's {field}"), hint);
        }
    }
    let description = reader.optional_text(&fields, "description");
    let mut methods = IndexMap::new();
    match fields.get("methods") {
        None => reader.problem(fields.spot, "`methods` is missing in the protocol", Some("add `methods:`".to_owned())),
        Some(node) => {
            let entries = reader.map(node, "`methods`");
            let count = entries.map_or(0, Fields::len);
            if count == 0 {
                reader.problem(node.spot, "expected at least one method", None);
            }
            if count > MAX_METHODS {
                let message = format!("{count} methods are more than the limit of {MAX_METHODS}");
                reader.problem(node.spot, message, Some("split the protocol into several".to_owned()));
                return None;
            }
            let patterns = pattern::of_schema(&node.to_value());
            if patterns > MAX_PATTERNS {
                let message =
                    format!("the patterns of all methods cost {patterns}, more than the limit of {MAX_PATTERNS}");
                reader.problem(node.spot, message, Some("use fewer and simpler patterns".to_owned()));
                return None;
            }
            for (key, (spot, node)) in entries.into_iter().flatten() {
                if let Some(name) = &name {
                    check_method_name(reader, name, key, *spot);
                }
                if let Some(method) = read_method(reader, key, node, trial) {
                    methods.insert(key.clone(), method);
                }
            }
        }
    }
    Some(Protocol { name: name?, version: version?, description, methods })
}

fn check_method_name(reader: &mut Reader, protocol: &str, method: &str, place: Spot) {
    let hint = |rest: &str| Some(format!("write `{protocol}/{rest}`"));
    match method.split_once('/') {
        Some((prefix, rest)) if prefix == protocol && is_name(rest) => {}
        Some((_, rest)) if is_name(rest) => {
            reader.problem(place, format!("method `{method}` is not in protocol `{protocol}`"), hint(rest));
        }
        None if is_name(method) => {
            reader.problem(place, format!("method `{method}` does not name its protocol"), hint(method));
        }
        _ => reader.problem(place, format!("`{method}` cannot be a method's name"), hint("NAME")),
    }
}

fn read_method(reader: &mut Reader, name: &str, node: &Node, trial: Trial) -> Option<Method> {
    if matches!(node.kind, Kind::Null) {
        return Some(Method::default());
    }
    let what = format!("method `{name}`");
    let fields = reader.fields(node, &what, METHOD_FIELDS);
    let schema = |reader: &mut Reader, field: &str| {
        let node = fields.get(field)?;
        let value = node.to_value();
        if trial == Trial::Yes
            && let Err(error) = Schema::compile(&value)
        {
            let place = place_of(node, &error.path);
            reader.problem(place, format!("`{field}` of {what} is not a valid schema: {}", error.message), error.hint);
            return None;
        }
        Some(value)
    };
    let parameters = schema(reader, "parameters");
    let returns = schema(reader, "returns");
    check_marks(reader, fields.get("parameters"));
    let timeout_ms = match (fields.get("timeout"), fields.get("timeout_ms")) {
        (Some(node), _) => reader.duration_ms(node, "timeout"),
        (None, Some(node)) => reader.positive(node, "timeout_ms"),
        (None, None) => None,
    };
    let mut examples = Vec::new();
    match fields.get("examples") {
        None => {}
        Some(Node { kind: Kind::List(items), .. }) => {
            examples.extend(items.iter().map(Node::to_value));
            if trial == Trial::Yes {
                check_examples(reader, &what, parameters.as_ref(), items);
            }
        }
        Some(node) => {
            reader.problem(node.spot, format!("expected a list for `examples`, found {}", node.describe()), None);
        }
    }
    let description = reader.optional_text(&fields, "description");
    Some(Method { description, parameters, returns, timeout_ms, examples })
}

/// Checks the examples, because an invalid one would teach mistakes. Examples from the mesh are not checked: they are
/// recorded already, and nobody would see the problem.
fn check_examples(reader: &mut Reader, what: &str, parameters: Option<&Value>, examples: &[Node]) {
    let schema = parameters.and_then(|schema| Schema::compile(schema).ok());
    for example in examples.iter().filter(|example| example.spot != Spot::default()) {
        let value = example.to_value();
        let violations = match &schema {
            _ if !value.is_object() => {
                let message = format!("expected an object, found {}", example.describe());
                vec![Violation { path: Vec::new(), message, hint: None }]
            }
            Some(schema) => schema.check(&value),
            None => Vec::new(),
        };
        for Violation { path, message, hint } in violations {
            let path: Vec<String> = path.iter().map(segment).collect();
            let of = if path.is_empty() { String::new() } else { format!("`{}` of ", path.join(".")) };
            let message = format!("{of}an example of {what} does not fit `parameters`: {message}");
            reader.problem(place_of(example, &path), message, hint);
        }
    }
}

fn segment(segment: &PathSegment) -> String {
    match segment {
        PathSegment::Key(key) => key.clone(),
        PathSegment::Index(index) => index.to_string(),
    }
}

/// Checks that language marks are known and stand at top-level parameters: a mark without effect would let data become
/// code.
fn check_marks(reader: &mut Reader, parameters: Option<&Node>) {
    let Some(Node { kind: Kind::Object(keywords), .. }) = parameters else { return };
    for (keyword, (_, node)) in keywords.iter() {
        match (keyword.as_str(), &node.kind) {
            ("properties", Kind::Object(properties)) => {
                for (key, (_, schema)) in properties.iter() {
                    check_mark(reader, key, schema);
                }
            }
            _ => refuse_marks(reader, keyword, node),
        }
    }
}

fn check_mark(reader: &mut Reader, parameter: &str, schema: &Node) {
    let Kind::Object(keywords) = &schema.kind else { return };
    for (keyword, (_, node)) in keywords.iter() {
        if keyword != "language" {
            refuse_marks(reader, keyword, node);
        } else if !matches!(&node.kind, Kind::Text(text) if language(text).is_some()) {
            let message = format!("unknown language of parameter `{parameter}`: {}", node.describe());
            reader.problem(node.spot, message, Some("known languages: python, shell, url".to_owned()));
        }
    }
}

/// Reports marks below a keyword where they would have no effect; values that are data are skipped.
fn refuse_marks(reader: &mut Reader, keyword: &str, node: &Node) {
    if matches!(keyword, "default" | "examples" | "const" | "enum") {
        return;
    }
    match &node.kind {
        Kind::Text(text) if keyword == "language" && language(text).is_some() => {
            let hint = Some("mark a parameter at the top level, directly under `properties`".to_owned());
            reader.problem(node.spot, "a `language` mark has no effect here", hint);
        }
        Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => {}
        Kind::List(items) => items.iter().for_each(|item| refuse_marks(reader, "", item)),
        Kind::Object(fields) => fields.iter().for_each(|(key, (_, node))| refuse_marks(reader, key, node)),
    }
}

fn child<'a>(node: &'a Node, name: &str) -> Option<&'a Node> {
    match &node.kind {
        Kind::Object(fields) => fields.get(name).map(|(_, node)| node),
        Kind::List(items) => items.get(name.parse::<usize>().ok()?),
        Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => None,
    }
}

fn place_of(node: &Node, path: &[String]) -> Spot {
    let mut at = node;
    for segment in path {
        match child(at, segment) {
            Some(next) => at = next,
            None => break,
        }
    }
    at.spot
}
