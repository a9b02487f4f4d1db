//! Resolves pieces to values.

use std::borrow::Cow;
use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use super::budget::{Budget, OverBudget};
use super::parse::{Piece, Reference, Root, Step, SyntaxError, parse, written_step};

/// A file that travels with a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileContent {
    /// UTF-8 text: `${files.x}` is it, `${files.x.base64}` its encoding.
    Text(String),
    /// Anything else, as standard base64: only `${files.x.base64}` works.
    Base64(String),
}

/// Path to a value inside parameters or outputs, in the form of messages: `messages[0].content`, `headers['x y']`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place(pub String);

impl Place {
    fn key(&self, key: &str) -> Self {
        let step = written_step(key);
        Self(if self.0.is_empty() { step.trim_start_matches('.').to_owned() } else { format!("{}{step}", self.0) })
    }

    fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

/// The values that references can name.
pub trait Scope {
    /// The value a reference starts from; `None` if there is none (a task without result, an undeclared input). Not
    /// called for files. An owned value must be small: it is built once for each reference.
    fn root(&self, root: &Root) -> Option<Cow<'_, Value>>;

    /// A declared file.
    fn file(&self, _name: &str) -> Option<&FileContent> {
        None
    }

    /// Why an existing value cannot be passed on; `None` if it can.
    fn unreadable(&self, _root: &Root) -> Option<String> {
        None
    }
}

/// The target of a reference, not copied yet.
#[derive(Clone, Debug, PartialEq)]
pub enum Found<'a> {
    /// A value.
    Value(Cow<'a, Value>),
    /// Text.
    Text(&'a str),
    /// Text that will be encoded as base64.
    Encoded(&'a str),
}

impl<'a> Found<'a> {
    /// Charges its size as JSON.
    pub(super) fn take_from(&self, budget: &mut Budget) -> Result<(), OverBudget> {
        match self {
            Self::Value(value) => budget.take_json(&**value),
            Self::Text(text) => budget.take_json(text),
            Self::Encoded(text) => budget.take(encoded_bytes(text).saturating_add(2)),
        }
    }

    /// Charges its size inside a text. This is a lower bound: objects and lists get more escapes there.
    pub(super) fn take_text_from(&self, budget: &mut Budget) -> Result<(), OverBudget> {
        match self {
            Self::Value(value) => match &**value {
                Value::String(text) => budget.take_text(text),
                other => budget.take_json(other),
            },
            Self::Text(text) => budget.take_text(text),
            Self::Encoded(text) => budget.take(encoded_bytes(text)),
        }
    }

    /// The value.
    pub fn into_value(self) -> Cow<'a, Value> {
        match self {
            Self::Value(value) => value,
            Self::Text(text) => Cow::Owned(Value::String(text.to_owned())),
            Self::Encoded(text) => Cow::Owned(Value::String(STANDARD.encode(text))),
        }
    }

    fn push_to(&self, text: &mut String) {
        match self {
            Self::Value(value) => text.push_str(&to_text(value)),
            Self::Text(found) => text.push_str(found),
            Self::Encoded(found) => STANDARD.encode_string(found, text),
        }
    }
}

fn encoded_bytes(text: &str) -> usize {
    text.len().div_ceil(3).saturating_mul(4)
}

/// Why a value could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{place}`: {message}")]
pub struct TemplateError {
    /// The place of the template.
    pub place: String,
    /// The reference, and what is missing.
    pub message: String,
}

/// Calls `visit` for each reference and each malformed template in a value, with its place.
pub fn references(value: &Value, visit: &mut dyn FnMut(&Place, Result<&Reference, &SyntaxError>)) {
    walk(value, &Place::default(), visit);
}

fn walk(value: &Value, place: &Place, visit: &mut dyn FnMut(&Place, Result<&Reference, &SyntaxError>)) {
    match value {
        Value::String(text) if text.contains("${") => match parse(text) {
            Ok(pieces) => {
                for piece in &pieces {
                    if let Piece::Reference(reference) = piece {
                        visit(place, Ok(reference));
                    }
                }
            }
            Err(error) => visit(place, Err(&error)),
        },
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, &place.index(index), visit);
            }
        }
        Value::Object(fields) => {
            for (key, field) in fields {
                walk(field, &place.key(key), visit);
            }
        }
        _ => {}
    }
}

/// Replaces every reference in a value. The budget limits the result as compact JSON. Objects and lists inside text
/// count without the escapes that they get there, so the result can have at most twice as many bytes.
///
/// # Errors
/// If a template is malformed, a reference names nothing, or the budget is exceeded.
pub fn resolve(value: &Value, scope: &dyn Scope, budget: &mut Budget) -> Result<Value, TemplateError> {
    resolve_at(value, &Place::default(), scope, budget)
}

fn resolve_at(value: &Value, place: &Place, scope: &dyn Scope, budget: &mut Budget) -> Result<Value, TemplateError> {
    let over = |over: OverBudget| TemplateError { place: place.0.clone(), message: format!("it {over}") };
    Ok(match value {
        Value::String(text) if text.contains("${") => resolve_text(text, place, scope, budget)?,
        Value::Array(items) => {
            // Brackets and commas.
            budget.take(items.len().max(1) + 1).map_err(over)?;
            let items = items.iter().enumerate();
            let items = items.map(|(index, item)| resolve_at(item, &place.index(index), scope, budget));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            budget.take(fields.len().max(1) + 1).map_err(over)?;
            let mut resolved = Map::new();
            for (key, field) in fields {
                budget.take_json(key).and_then(|()| budget.take(1)).map_err(over)?;
                resolved.insert(key.clone(), resolve_at(field, &place.key(key), scope, budget)?);
            }
            Value::Object(resolved)
        }
        other => {
            budget.take_json(other).map_err(over)?;
            other.clone()
        }
    })
}

fn resolve_text(text: &str, place: &Place, scope: &dyn Scope, budget: &mut Budget) -> Result<Value, TemplateError> {
    let at = |message: String| TemplateError { place: place.0.clone(), message };
    let pieces = parse(text).map_err(|error| at(error.message))?;
    if let [Piece::Reference(reference)] = pieces.as_slice() {
        let found = lookup(reference, scope).map_err(at)?;
        found.take_from(budget).map_err(|over| at(format!("{reference} {over}")))?;
        return Ok(found.into_value().into_owned());
    }
    let mut joined = String::new();
    budget.take(2).map_err(|over| at(format!("it {over}")))?;
    for piece in &pieces {
        match piece {
            Piece::Text(text) => {
                budget.take_text(text).map_err(|over| at(format!("it {over}")))?;
                joined.push_str(text);
            }
            Piece::Reference(reference) => {
                let found = lookup(reference, scope).map_err(at)?;
                found.take_text_from(budget).map_err(|over| at(format!("{reference} {over}")))?;
                found.push_to(&mut joined);
            }
        }
    }
    Ok(Value::String(joined))
}

/// A value inside text: strings unchanged, objects and lists as compact JSON, other values as in JSON.
pub fn to_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// Follows a reference.
///
/// # Errors
/// If it names nothing: says what is missing, where, and what exists instead.
pub fn lookup<'a>(reference: &Reference, scope: &'a dyn Scope) -> Result<Found<'a>, String> {
    if let Root::File(name) = &reference.root {
        let Some(content) = scope.file(name) else { return Err(format!("{reference}: there is no file `{name}`")) };
        return match (content, reference.path.is_empty()) {
            (FileContent::Text(text), true) => Ok(Found::Text(text)),
            (FileContent::Text(text), false) => Ok(Found::Encoded(text)),
            (FileContent::Base64(base64), false) => Ok(Found::Text(base64)),
            (FileContent::Base64(_), true) => {
                let step = written_step(name);
                Err(format!("{reference}: file `{name}` is not UTF-8 text; use `${{files{step}.base64}}`"))
            }
        };
    }
    if let Some(why) = scope.unreadable(&reference.root) {
        return Err(format!("{reference}: {why}"));
    }
    let Some(root) = scope.root(&reference.root) else {
        return Err(match &reference.root {
            Root::Task(id) => format!("{reference}: task `{id}` has no result"),
            Root::Input(name) => format!("{reference}: there is no input `{name}`"),
            Root::Env(name) => format!("{reference}: the environment variable `{name}` was not set at submit"),
            Root::File(_) | Root::RunId => format!("{reference} has no value"),
        });
    };
    match root {
        Cow::Borrowed(value) => step_into(reference, value).map(Cow::Borrowed),
        Cow::Owned(value) if reference.path.is_empty() => Ok(Cow::Owned(value)),
        Cow::Owned(value) => step_into(reference, &value).cloned().map(Cow::Owned),
    }
    .map(Found::Value)
}

fn step_into<'v>(reference: &Reference, value: &'v Value) -> Result<&'v Value, String> {
    let mut value = value;
    for step in &reference.path {
        let next = match (step, value) {
            (Step::Name(name) | Step::Key(name), Value::Object(fields)) => fields.get(name),
            (Step::Name(name), Value::Array(items)) => name.parse::<usize>().ok().and_then(|index| items.get(index)),
            (Step::Index(index), Value::Array(items)) => items.get(*index),
            _ => None,
        };
        value = next.ok_or_else(|| missing(reference, step, value))?;
    }
    Ok(value)
}

fn missing(reference: &Reference, step: &Step, value: &Value) -> String {
    let step = match step {
        Step::Name(name) => format!("`{name}`"),
        step => format!("`{step}`"),
    };
    let what = match value {
        Value::Object(fields) if fields.is_empty() => "the value there is an empty object".to_owned(),
        Value::Object(fields) => {
            let mut names = String::new();
            for (index, key) in fields.keys().take(8).enumerate() {
                let _ = write!(names, "{}`{key}`", if index > 0 { ", " } else { "" });
            }
            let more = if fields.len() > 8 { ", …" } else { "" };
            format!("the available fields are {names}{more}")
        }
        Value::Array(items) => format!("the value there is a list of {}", items.len()),
        Value::String(_) => "the value there is text".to_owned(),
        Value::Number(_) => "the value there is a number".to_owned(),
        Value::Bool(_) => "the value there is a boolean".to_owned(),
        Value::Null => "the value there is null".to_owned(),
    };
    format!("{reference} has no {step}: {what}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Fixed(Value);

    impl Scope for Fixed {
        fn root(&self, root: &Root) -> Option<Cow<'_, Value>> {
            match root {
                Root::Task(name) => self.0.get(name).map(Cow::Borrowed),
                Root::RunId => Some(Cow::Owned(json!("r1"))),
                _ => None,
            }
        }
    }

    fn resolved(template: Value, scope: &Fixed) -> Result<Value, TemplateError> {
        resolve(&template, scope, &mut Budget::new(1_000))
    }

    #[test]
    fn a_whole_reference_keeps_its_type_and_an_embedded_one_becomes_text() {
        let scope = Fixed(json!({"a": {"n": 1.5, "list": [{"x": null}, "é"], "o": {"k": true}, "x.y z": {"}'": 7},
            "dollars": "${run.id} $${a}"}}));
        for (template, expected) in [
            (json!("${a.n}"), json!(1.5)),
            (json!("n=${a.n}"), json!("n=1.5")),
            (json!("${a.list[0].x}"), json!(null)),
            (json!("${a.list.1}!"), json!("é!")),
            (json!("${a.o} ${run.id}"), json!("{\"k\":true} r1")),
            (json!({"k": ["${a.o}", "$${a.o}"]}), json!({"k": [{"k": true}, "${a.o}"]})),
            (json!("$$${a.n}$$"), json!("$1.5$$")),
            (json!("${a['o']['k']}"), json!(true)),
            (json!("${a['x.y z']['}\\'']}"), json!(7)),
            (json!("<${a.dollars}>"), json!("<${run.id} $${a}>")),
        ] {
            assert_eq!(resolved(template.clone(), &scope), Ok(expected), "{template}");
        }
    }

    #[test]
    fn missing_values_are_reported_with_the_available_ones() {
        let scope = Fixed(json!({"a": {"response": "x", "model": "m"}}));
        let error = resolved(json!({"messages": [{"x y": "Hi ${a.respnse}"}]}), &scope).expect_err("missing");
        assert_eq!(
            error.to_string(),
            "`messages[0]['x y']`: ${a.respnse} has no `respnse`: the available fields are `response`, `model`"
        );
        assert!(resolved(json!("${b}"), &scope).is_err());
        assert!(resolved(json!("${a.response.x}"), &scope).is_err());
    }

    /// However a template multiplies its values, the result never exceeds the budget, except for escapes, and a result
    /// that fits is not refused.
    #[test]
    fn nothing_over_the_budget_is_built() {
        let scope = Fixed(json!({"a": "x".repeat(1_000), "b": {"c": [1, "\"", null]}}));
        let size = |value: &Value| value.to_string().len();
        let pieces = ["${a}", "${b}", "${b.c[1]}", "t\"", "$${"];
        for case in 0..2_000_usize {
            // Five pieces in texts, lists and objects, as the digits of the case say.
            let text: String = (0..case % 4).map(|at| pieces[(case / 4 + at * 7) % pieces.len()]).collect();
            let template = match case % 3 {
                0 => json!([text, {"k": text}, [], {}]),
                1 => json!(text),
                _ => json!({"x y": [text, 1.5, null], "n": {"m": text}}),
            };
            let whole = resolve(&template, &scope, &mut Budget::new(usize::MAX)).expect("no end of room");
            for limit in [0, 10, 100, 1_000, 1_010, 2_500, 5_000] {
                match resolve(&template, &scope, &mut Budget::new(limit)) {
                    Ok(value) => {
                        assert_eq!(value, whole);
                        assert!(size(&value) <= 2 * limit, "{template} in {limit}");
                    }
                    Err(error) => assert!(size(&whole) > limit, "{template} in {limit}: {error}"),
                }
            }
        }
    }

    #[test]
    fn values_over_the_budget_are_reported_with_size_and_limit() {
        let scope = Fixed(json!({"a": "x".repeat(700)}));
        let error = resolved(json!({"list": ["${a}", "-", "${a}"]}), &scope).expect_err("too much");
        assert_eq!(
            error.to_string(),
            "`list[2]`: ${a} does not fit: of the limit of 1000 bytes of JSON, 718 stand before it"
        );
    }
}
