//! What `${…}` may name in a workflow, and whether it exists.

use serde_json::Value;

use super::catalog::PathSegment;
use super::checker::Checker;
use super::names::Names;
use super::notes;
use super::types::{self, Types, Visits};
use crate::error::ErrorCode;
use crate::suggest::{closest, list};
use crate::template;
use crate::template::{Piece, Reference, Root, Step};
use crate::yaml::{At, Kind, Node, Spot, inside, shorten};

impl Names<'_> {
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
            // Work that only explains problems is skipped: it costs more than finding them.
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

    /// Checks, for each value that is one reference, that its type can fit what the method takes there.
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
            // Inputs are known only when the workflow is submitted.
            Root::Input(_) => return None,
            Root::File(_) | Root::Env(_) | Root::RunId => (Types::TEXT, "", None),
        };
        if given.overlaps(taken) || given == Types::NONE || taken == Types::NONE {
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
        // A sibling of the named field may have been meant.
        let fields = match reference.path.as_slice() {
            [Step::Name(_) | Step::Key(_)] => returns.and_then(|returns| returns.get("properties")?.as_object()),
            _ => None,
        };
        let fits = |name: &&String| {
            let types = returns.map(|returns| types::at(returns, &[PathSegment::Key((*name).clone())], &self.visits));
            types.is_some_and(|types| types != Types::ANY && types.overlaps(taken))
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

    /// Follows a reference through the result schema of the task's method, as far as the schema is closed.
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
                        _ => format!("the available fields are {}", list(&fields)),
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

/// Common names for a task's main result; other systems use different ones than the methods here.
const MAIN: [&str; 8] = ["result", "response", "content", "text", "output", "answer", "message", "completion"];

/// The reference that was probably meant if its first name is not a field of the result: the field that the second name
/// denotes, or the result's main field.
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

/// The types that a result can have at this path. A numeric name is an index if the value is a list.
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

/// Follows `$ref`s that point into the same schema and have no siblings.
fn referred<'s>(root: &'s Value, schema: &'s Value) -> Option<&'s Value> {
    let mut schema = schema;
    // A `$ref` may point to itself.
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
