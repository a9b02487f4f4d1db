//! What `${…}` may name in a workflow, and whether it does.

use indexmap::IndexMap;
use serde_json::Value;

use super::catalog::{MethodInfo, PathSegment};
use super::check::{Checker, list};
use super::fields;
use super::types::{self, Types, Visits};
use super::{notes, scalar, task};
use crate::error::ErrorCode;
use crate::suggest::closest;
use crate::template;
use crate::template::{Piece, Reference, Root, Step};
use crate::yaml::{At, Kind, Node, Spot, shorten};

/// Everything that a file declares.
pub(super) struct Names<'n> {
    /// Task ids to the index of the first task that has it.
    pub(super) tasks: IndexMap<&'n str, usize>,
    inputs: &'n IndexMap<String, Value>,
    files: &'n IndexMap<String, String>,
    /// By task index: the id as written.
    pub(super) ids: Vec<Option<&'n str>>,
    /// By task index: the method as written.
    methods: Vec<Option<&'n str>>,
    /// What the catalog knows of each method that is used.
    pub(super) catalog: IndexMap<&'n str, Option<MethodInfo>>,
    visits: Visits,
    /// Names that tasks were given beside their ids, which nothing can refer to.
    pub(super) named: IndexMap<&'n str, &'n str>,
}

/// The id of a task, if it has one that is text.
pub(super) fn id_of(task: &Node) -> Option<&str> {
    text_of(task, "id")
}

/// The id, or what stands in for it.
fn named_id(task: &Node) -> Option<&str> {
    match fields::standin_of(task, "id", &task::PLACE).map(|node| &node.kind) {
        Some(Kind::Text(text)) if scalar::is_id(text) => Some(text),
        _ => None,
    }
}

pub(super) fn text_of<'n>(task: &'n Node, field: &str) -> Option<&'n str> {
    match &task.kind {
        Kind::Object(fields) => match fields.get(field) {
            Some((_, Node { kind: Kind::Text(text), .. })) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

impl<'n> Names<'n> {
    pub(super) fn collect(
        checker: &mut Checker<'_>,
        nodes: &'n [Node],
        inputs: &'n IndexMap<String, Value>,
        files: &'n IndexMap<String, String>,
    ) -> Self {
        let mut tasks: IndexMap<&str, usize> = IndexMap::with_capacity(nodes.len());
        let mut methods = Vec::with_capacity(nodes.len());
        let mut named = IndexMap::new();
        let mut catalog: IndexMap<&str, Option<MethodInfo>> = IndexMap::new();
        for (index, node) in nodes.iter().enumerate() {
            let method = text_of(node, "method");
            methods.push(method);
            if let Some(method) = method
                && !catalog.contains_key(method)
            {
                catalog.insert(method, checker.catalog.method(method));
            }
            if let Some(id) = id_of(node) {
                if let Some(name) = text_of(node, "name") {
                    named.entry(name).or_insert(id);
                }
                match tasks.entry(id) {
                    indexmap::map::Entry::Vacant(entry) => {
                        entry.insert(index);
                    }
                    indexmap::map::Entry::Occupied(entry) => {
                        let first = id_spot(&nodes[*entry.get()]);
                        let root = At::Root;
                        let message = if first.line > 0 {
                            format!("task id `{id}` is used twice: first in line {}", first.line)
                        } else {
                            format!("task id `{id}` is used twice: first in tasks[{}]", entry.get())
                        };
                        let hint = "give each task an id of its own".to_owned();
                        checker.wrong(id_spot(node), root.key("tasks").index(index).key("id"), message, Some(hint));
                    }
                }
            }
        }
        // A task without an id may have one under another name: what refers to it is not wrong as well.
        for (index, node) in nodes.iter().enumerate() {
            if let Some(id) = id_of(node).is_none().then(|| named_id(node)).flatten() {
                tasks.entry(id).or_insert(index);
            }
        }
        Self {
            ids: nodes.iter().map(id_of).collect(),
            tasks,
            inputs,
            files,
            methods,
            catalog,
            visits: Visits::default(),
            named,
        }
    }

    /// Checks every reference in a value and tells the tasks that it names. `own` is the task that it belongs to.
    pub(super) fn references(
        &self,
        checker: &mut Checker<'_>,
        node: &Node,
        at: At<'_>,
        own: Option<usize>,
        task: &mut dyn FnMut((usize, Spot)),
    ) {
        if let Kind::Text(text) = &node.kind {
            notes::braces(checker, node.spot, at, text, self);
        }
        match &node.kind {
            Kind::Text(text) if text.contains("${") => match template::parse(text) {
                Ok(pieces) => {
                    for piece in &pieces {
                        if let Piece::Reference(reference) = piece {
                            self.reference(checker, (node, text, at), reference, own, task);
                        }
                    }
                }
                Err(error) if checker.listening() => {
                    let spot = inside(checker.source, node.spot, text, error.offset);
                    checker.report(spot, at, ErrorCode::TaskParameterError, error.message, None);
                }
                Err(_) => {}
            },
            Kind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.references(checker, item, at.index(index), own, task);
                }
            }
            Kind::Object(fields) => {
                for (key, (spot, value)) in fields.iter() {
                    if template::is_template(key) {
                        let message = format!("`{}`: references have no effect in keys", shorten(key));
                        let hint = "write the key out, or pass the value and the name as two parameters".to_owned();
                        checker.report(*spot, at, ErrorCode::TaskParameterError, message, Some(hint));
                    }
                    self.references(checker, value, at.key(key), own, task);
                }
            }
            _ => {}
        }
    }

    fn reference(
        &self,
        checker: &mut Checker<'_>,
        (node, text, at): (&Node, &str, At<'_>),
        reference: &Reference,
        own: Option<usize>,
        task: &mut dyn FnMut((usize, Spot)),
    ) {
        if !checker.listening() {
            // What only explains problems is left out: it costs more than to find them.
            if let Root::Task(id) = &reference.root
                && let Some(&index) = self.tasks.get(id.as_str())
                && Some(index) != own
            {
                task((index, node.spot));
            }
            return;
        }
        let problem = match &reference.root {
            Root::Task(id) => match self.tasks.get(id.as_str()) {
                Some(&index) if Some(index) == own => {
                    Some((format!("{reference}: task `{id}` refers to its own result"), None))
                }
                Some(&index) => {
                    task((index, node.spot));
                    self.field(index, reference)
                }
                None => {
                    let hint = match id.as_str() {
                        "input" => Some("inputs".to_owned()),
                        "file" => Some("files".to_owned()),
                        "environment" => Some("env".to_owned()),
                        _ => self
                            .named
                            .get(id.as_str())
                            .map(|named| (*named).to_owned())
                            .or_else(|| closest(id, self.tasks.keys().chain(&["inputs", "files", "env", "run"]))),
                    };
                    let hint = match hint {
                        Some(meant) => format!("did you mean `${{{}}}`?", reference.text.replacen(id, &meant, 1)),
                        None if self.inputs.contains_key(id) => format!("did you mean `${{inputs.{}}}`?", reference.text),
                        None if self.files.contains_key(id) => format!("did you mean `${{files.{}}}`?", reference.text),
                        None => "a reference names a task, `inputs`, `files`, `env` or `run`; write `$${` for a literal `${`".to_owned(),
                    };
                    Some((format!("{reference}: there is no task `{}`", shorten(id)), Some(hint)))
                }
            },
            Root::Input(name) if !self.inputs.contains_key(name) => {
                Some(undeclared(reference, "input", "inputs", name, self.inputs.keys()))
            }
            Root::File(name) if !self.files.contains_key(name) => {
                Some(undeclared(reference, "file", "files", name, self.files.keys()))
            }
            _ => None,
        };
        if let Some((message, hint)) = problem {
            let spot = inside(checker.source, node.spot, text, reference.offset);
            checker.report(spot, at, ErrorCode::TaskParameterError, message, hint);
        }
    }

    /// Checks that each value that is one reference can be of a type that the method takes there.
    pub(super) fn types(
        &self,
        checker: &mut Checker<'_>,
        (node, at): (&Node, At<'_>),
        path: &mut Vec<PathSegment>,
        taker: (&str, &Value),
    ) {
        match &node.kind {
            Kind::Text(text) if text.contains("${") => {
                let Ok(pieces) = template::parse(text) else { return };
                let [Piece::Reference(reference)] = pieces.as_slice() else { return };
                if !checker.listening() {
                    return;
                }
                if let Some((message, hint)) = self.misfit(reference, path, taker) {
                    let spot = inside(checker.source, node.spot, text, reference.offset);
                    checker.report(spot, at, ErrorCode::TaskParameterError, message, Some(hint));
                }
            }
            Kind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    path.push(PathSegment::Index(index));
                    self.types(checker, (item, at.index(index)), path, taker);
                    path.pop();
                }
            }
            Kind::Object(fields) => {
                for (key, (_, value)) in fields.iter() {
                    path.push(PathSegment::Key(key.clone()));
                    self.types(checker, (value, at.key(key)), path, taker);
                    path.pop();
                }
            }
            _ => {}
        }
    }

    fn misfit(&self, reference: &Reference, path: &[PathSegment], taker: (&str, &Value)) -> Option<(String, String)> {
        let (method, schema) = taker;
        let taken = types::at(schema, path, &self.visits);
        let (given, giver, returns) = match &reference.root {
            Root::Task(id) => {
                let task = *self.tasks.get(id.as_str())?;
                let giver = self.methods[task]?;
                let returns = self.catalog.get(giver)?.as_ref()?.returns.as_ref()?;
                (given(returns, &reference.path, &self.visits), giver, Some(returns))
            }
            // Inputs are given when the workflow is submitted.
            Root::Input(_) => return None,
            Root::File(_) | Root::Env(_) | Root::RunId => (Types::TEXT, "", None),
        };
        if given.meet(taken) || given == Types::NONE || taken == Types::NONE {
            return None;
        }
        let given =
            if returns.is_some() { format!("`{giver}` returns {given} there") } else { format!("that is {given}") };
        let place = path.iter().fold(String::new(), |place, step| match step {
            PathSegment::Key(key) if place.is_empty() => shorten(key).to_string(),
            PathSegment::Key(key) => format!("{place}.{}", shorten(key)),
            PathSegment::Index(index) => format!("{place}[{index}]"),
        });
        let message = format!("{reference}: {given}, but `{method}` takes {taken} as `{place}`");
        // Other fields beside it may be meant.
        let fields = match reference.path.as_slice() {
            [Step::Name(_) | Step::Key(_)] => returns.and_then(|returns| returns.get("properties")?.as_object()),
            _ => None,
        };
        let fits = |name: &&String| {
            let types = returns.map(|returns| types::at(returns, &[PathSegment::Key((*name).clone())], &self.visits));
            types.is_some_and(|types| types != Types::ANY && types.meet(taken))
        };
        let others: Vec<&String> = fields.into_iter().flat_map(|fields| fields.keys()).filter(fits).collect();
        let hint = if !others.is_empty() {
            format!("of what it returns, {} would fit", list(&others))
        } else if taken == Types::TEXT {
            format!("with other text around it, it becomes text: `\"… {reference}\"`")
        } else {
            "`gleitzeit protocols -o json` shows what methods take and return".to_owned()
        };
        Some((message, hint))
    }

    /// Follows a reference through the schema of what the task's method returns, as far as that is closed.
    fn field(&self, task: usize, reference: &Reference) -> Option<(String, Option<String>)> {
        let method = self.methods[task]?;
        let root = self.catalog.get(method)?.as_ref()?.returns.as_ref()?;
        let mut schema = root;
        for (depth, step) in reference.path.iter().enumerate() {
            schema = referred(root, schema)?;
            match closed(schema, step) {
                Follow::Into(inner) => schema = inner,
                Follow::Unknown => return None,
                Follow::Missing(fields) => {
                    let (Step::Name(name) | Step::Key(name)) = step else { return None };
                    let message = format!("{reference}: the result of `{method}` has no field `{name}`");
                    let hint = match (depth, closest(name, &fields)) {
                        (_, Some(meant)) => format!("did you mean `{meant}`?"),
                        (0, None) if main_path(&fields, reference).is_some() => {
                            let meant = main_path(&fields, reference).unwrap_or_default();
                            format!("did you mean `${{{meant}}}`?")
                        }
                        _ => format!("the fields there are {}", list(&fields)),
                    };
                    return Some((message, Some(hint)));
                }
                Follow::Scalar(what) => {
                    let step = match step {
                        Step::Name(name) | Step::Key(name) => format!("field `{name}`"),
                        Step::Index(index) => format!("item `[{index}]`"),
                    };
                    return Some((format!("{reference} has no {step}: `{method}` returns {what} there"), None));
                }
            }
        }
        None
    }
}

/// Words for what a task mainly gives; other systems have others than the methods here.
const MAIN: [&str; 8] = ["result", "response", "content", "text", "output", "answer", "message", "completion"];

/// What is probably meant by a reference whose first name is no field of a result: the field that the second names, or
/// the one that the result has for what it mainly is.
pub(super) fn main_path(fields: &[String], reference: &Reference) -> Option<String> {
    let [Step::Name(first), rest @ ..] = reference.path.as_slice() else { return None };
    let end = reference.text.find(['.', '[']).filter(|_| MAIN.contains(&first.as_str()))?;
    let (root, path) = reference.text.split_at(end);
    if let (Some(Step::Name(second)), "result" | "output") = (rest.first(), first.as_str())
        && fields.contains(second)
    {
        let rest = path.strip_prefix('.')?.strip_prefix(first.as_str())?;
        return Some(format!("{root}{rest}"));
    }
    let all_main = rest.iter().all(|step| matches!(step, Step::Name(name) if MAIN.contains(&name.as_str())));
    let word = MAIN.iter().find(|word| fields.iter().any(|field| field == *word)).filter(|_| all_main)?;
    Some(format!("{root}.{word}"))
}

/// What a result can be at this path. A name that is a number is an index where there is a list.
fn given(returns: &Value, path: &[Step], visits: &Visits) -> Types {
    let segments = |numbers: bool| -> Vec<PathSegment> {
        let segment = |step: &Step| match step {
            Step::Index(index) => PathSegment::Index(*index),
            Step::Key(key) => PathSegment::Key(key.clone()),
            Step::Name(name) => match name.parse() {
                Ok(index) if numbers => PathSegment::Index(index),
                _ => PathSegment::Key(name.clone()),
            },
        };
        path.iter().map(segment).collect()
    };
    let numbers = path.iter().filter(|step| matches!(step, Step::Name(name) if name.parse::<usize>().is_ok())).count();
    match numbers {
        0 => types::at(returns, &segments(false), visits),
        1 => types::at(returns, &segments(false), visits).or(types::at(returns, &segments(true), visits)),
        _ => Types::ANY,
    }
}

enum Follow<'s> {
    Into(&'s Value),
    Unknown,
    Missing(Vec<String>),
    Scalar(String),
}

/// Follows `$ref`s that point into the same schema and stand alone.
fn referred<'s>(root: &'s Value, schema: &'s Value) -> Option<&'s Value> {
    let mut schema = schema;
    // Some point to themselves.
    for _ in 0..10 {
        let Some(target) = schema.get("$ref").and_then(Value::as_str) else { return Some(schema) };
        let words = ["$ref", "$defs", "title", "description", "examples", "$comment"];
        if !schema.as_object()?.keys().all(|word| words.contains(&word.as_str())) {
            return None;
        }
        schema = root.pointer(target.strip_prefix('#')?)?;
    }
    None
}

fn closed<'s>(schema: &'s Value, step: &Step) -> Follow<'s> {
    let Some(schema) = schema.as_object() else { return Follow::Unknown };
    let combined = ["$ref", "$dynamicRef", "anyOf", "oneOf", "allOf", "if", "not", "patternProperties", "prefixItems"];
    if combined.iter().any(|word| schema.contains_key(*word)) {
        return Follow::Unknown;
    }
    let kinds: Vec<&str> = match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return Follow::Unknown,
    };
    match (kinds.contains(&"object"), kinds.contains(&"array"), step) {
        (true, true, _) => Follow::Unknown,
        (true, false, Step::Name(name) | Step::Key(name)) => {
            let fields = schema.get("properties").and_then(Value::as_object);
            match fields.and_then(|fields| fields.get(name)) {
                Some(inner) => Follow::Into(inner),
                None if schema.get("additionalProperties") == Some(&Value::Bool(false)) => {
                    Follow::Missing(fields.map(|fields| fields.keys().cloned().collect()).unwrap_or_default())
                }
                None => Follow::Unknown,
            }
        }
        (false, true, step) => {
            let index = match step {
                Step::Index(_) => true,
                Step::Name(name) => name.parse::<usize>().is_ok(),
                Step::Key(_) => false,
            };
            match schema.get("items") {
                _ if !index => Follow::Scalar("a list".to_owned()),
                Some(items) => Follow::Into(items),
                None => Follow::Unknown,
            }
        }
        (true, false, Step::Index(_)) => Follow::Scalar("an object".to_owned()),
        (false, false, _) => Follow::Scalar(kinds.join(" or ")),
    }
}

fn undeclared<'k>(
    reference: &Reference,
    what: &str,
    group: &str,
    name: &str,
    declared: impl Iterator<Item = &'k String>,
) -> (String, Option<String>) {
    let hint = match closest(name, declared) {
        Some(meant) => format!("did you mean `${{{group}{}}}`?", template::written_step(&meant)),
        None => format!("declare it under `{group}`"),
    };
    (format!("{reference}: there is no {what} `{}`", shorten(name)), Some(hint))
}

fn id_spot(task: &Node) -> Spot {
    match &task.kind {
        Kind::Object(fields) => fields.get("id").map_or(task.spot, |(_, node)| node.spot),
        _ => task.spot,
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
