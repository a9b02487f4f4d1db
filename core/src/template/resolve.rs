//! From pieces to values.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::{Map, Value};
use thiserror::Error;

use super::parse::{Piece, Reference, Root, Step, SyntaxError, parse};

/// Path to a value inside parameters or outputs, for messages: `messages[0].content`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place(pub String);

impl Place {
    fn key(&self, key: &str) -> Self {
        Self(if self.0.is_empty() { key.to_owned() } else { format!("{}.{key}", self.0) })
    }

    fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

/// What references can name.
pub trait Scope {
    /// The value a reference starts from; `None` if there is none (a task without result, an undeclared input).
    fn root(&self, root: &Root) -> Option<Cow<'_, Value>>;
}

/// Why a value could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{place}`: {message}")]
pub struct TemplateError {
    /// Where the template stands.
    pub place: String,
    /// Which reference, and what is missing.
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

/// Replaces every reference in a value.
///
/// # Errors
/// If a template is malformed or a reference names nothing.
pub fn resolve(value: &Value, scope: &dyn Scope) -> Result<Value, TemplateError> {
    resolve_at(value, &Place::default(), scope)
}

pub(super) fn resolve_at(value: &Value, place: &Place, scope: &dyn Scope) -> Result<Value, TemplateError> {
    Ok(match value {
        Value::String(text) if text.contains("${") => resolve_text(text, place, scope)?,
        Value::Array(items) => Value::Array(
            items
                .iter()
                .enumerate()
                .map(|(index, item)| resolve_at(item, &place.index(index), scope))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(key, field)| Ok((key.clone(), resolve_at(field, &place.key(key), scope)?)))
                .collect::<Result<Map<_, _>, TemplateError>>()?,
        ),
        other => other.clone(),
    })
}

fn resolve_text(text: &str, place: &Place, scope: &dyn Scope) -> Result<Value, TemplateError> {
    let at = |message: String| TemplateError { place: place.0.clone(), message };
    let pieces = parse(text).map_err(|error| at(error.message))?;
    if let [Piece::Reference(reference)] = pieces.as_slice() {
        return lookup(reference, scope).map(Cow::into_owned).map_err(at);
    }
    let mut joined = String::new();
    for piece in &pieces {
        match piece {
            Piece::Text(text) => joined.push_str(text),
            Piece::Reference(reference) => joined.push_str(&to_text(&*lookup(reference, scope).map_err(at)?)),
        }
    }
    Ok(Value::String(joined))
}

/// A value inside text: strings as they are, objects and lists as compact JSON, the rest as in JSON.
pub fn to_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// Follows a reference.
///
/// # Errors
/// If it names nothing: what is missing, where, and what there is instead.
pub fn lookup<'a>(reference: &Reference, scope: &'a dyn Scope) -> Result<Cow<'a, Value>, String> {
    let Some(root) = scope.root(&reference.root) else {
        return Err(match &reference.root {
            Root::Task(id) => format!("{reference}: task `{id}` has no result"),
            Root::Input(name) => format!("{reference}: there is no input `{name}`"),
            Root::File(name) => format!("{reference}: there is no file `{name}`"),
            Root::Env(name) => format!("{reference}: the environment variable `{name}` was not set at submit"),
            Root::RunId => format!("{reference} has no value"),
        });
    };
    // A file's root value is an object of its forms; the text form is meant if no form is named.
    if let (Root::File(name), []) = (&reference.root, reference.path.as_slice()) {
        return match &*root {
            Value::Object(forms) => match forms.get("text") {
                Some(text) => Ok(Cow::Owned(text.clone())),
                None => Err(format!("{reference}: file `{name}` is not UTF-8 text; use `${{files.{name}.base64}}`")),
            },
            other => Ok(Cow::Owned(other.clone())),
        };
    }
    match root {
        Cow::Borrowed(value) => step_into(reference, value).map(Cow::Borrowed),
        Cow::Owned(value) => step_into(reference, &value).cloned().map(Cow::Owned),
    }
}

fn step_into<'v>(reference: &Reference, value: &'v Value) -> Result<&'v Value, String> {
    let mut value = value;
    for step in &reference.path {
        let next = match (step, value) {
            (Step::Name(name), Value::Object(fields)) => fields.get(name),
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
        Step::Index(index) => format!("`[{index}]`"),
    };
    let what = match value {
        Value::Object(fields) if fields.is_empty() => "the value there is an empty object".to_owned(),
        Value::Object(fields) => {
            let mut names = String::new();
            for (index, key) in fields.keys().take(8).enumerate() {
                let _ = write!(names, "{}`{key}`", if index > 0 { ", " } else { "" });
            }
            let more = if fields.len() > 8 { ", …" } else { "" };
            format!("the fields there are {names}{more}")
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

    #[test]
    fn a_whole_reference_keeps_its_type_and_an_embedded_one_becomes_text() {
        let scope = Fixed(json!({"a": {"n": 1.5, "list": [{"x": null}, "é"], "o": {"k": true}}}));
        for (template, expected) in [
            (json!("${a.n}"), json!(1.5)),
            (json!("n=${a.n}"), json!("n=1.5")),
            (json!("${a.list[0].x}"), json!(null)),
            (json!("${a.list.1}!"), json!("é!")),
            (json!("${a.o} ${run.id}"), json!("{\"k\":true} r1")),
            (json!({"k": ["${a.o}", "$${a.o}"]}), json!({"k": [{"k": true}, "${a.o}"]})),
        ] {
            assert_eq!(resolve(&template, &scope), Ok(expected), "{template}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_what_there_is() {
        let scope = Fixed(json!({"a": {"response": "x", "model": "m"}}));
        let error = resolve(&json!({"messages": [{"content": "Hi ${a.respnse}"}]}), &scope).expect_err("missing");
        assert_eq!(
            error.to_string(),
            "`messages[0].content`: ${a.respnse} has no `respnse`: the fields there are `response`, `model`"
        );
        assert!(resolve(&json!("${b}"), &scope).is_err());
        assert!(resolve(&json!("${a.response.x}"), &scope).is_err());
    }
}
