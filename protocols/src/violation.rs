//! Turns the validator's errors into our messages: lowercase, with what was expected and what was found, and with a
//! suggestion.

use gleitzeit_workflow::spec::{PathSegment, Violation};
use gleitzeit_workflow::suggest::{closest, did_you_mean};
use gleitzeit_workflow::template;
use gleitzeit_workflow::yaml::describe;
use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::paths::LocationSegment;
use serde_json::Value;

/// The most violations of one check: a list of a million wrong items must not become a million messages.
const MAX_VIOLATIONS: usize = 50;

pub(crate) fn all<'a>(errors: impl Iterator<Item = ValidationError<'a>>, schema: &Value) -> Vec<Violation> {
    let mut violations = Vec::new();
    for error in errors.take(MAX_VIOLATIONS) {
        describe_error(&error, schema, &mut violations);
    }
    violations
}

/// Whether a text in the value is a template with a reference in it.
pub(crate) fn holds_reference(value: &Value) -> bool {
    match value {
        Value::String(text) => template::is_template(text),
        Value::Array(items) => items.iter().any(holds_reference),
        Value::Object(fields) => fields.values().any(holds_reference),
        _ => false,
    }
}

/// Whether the error remains whatever the references in the value turn out to be. Keys and the number of items are
/// fixed; anything that depends on an unknown value is not.
pub(crate) fn is_certain(error: &ValidationError<'_>) -> bool {
    let value = error.instance();
    // A reference elsewhere may decide which branch applies.
    let conditional = error.schema_path().as_str().split('/').any(|segment| {
        matches!(segment, "if" | "then" | "else" | "not" | "dependentSchemas" | "unevaluatedProperties")
    });
    if conditional {
        return false;
    }
    if !holds_reference(value) {
        return true;
    }
    if value.is_string() {
        return false;
    }
    if missing_in_all(error).is_some() {
        return true;
    }
    matches!(
        error.kind(),
        ValidationErrorKind::Required { .. }
            | ValidationErrorKind::AdditionalProperties { .. }
            | ValidationErrorKind::Type { .. }
            | ValidationErrorKind::MinItems { .. }
            | ValidationErrorKind::MaxItems { .. }
            | ValidationErrorKind::MinProperties { .. }
            | ValidationErrorKind::MaxProperties { .. }
            | ValidationErrorKind::PropertyNames { .. }
            | ValidationErrorKind::AdditionalItems { .. }
            | ValidationErrorKind::FalseSchema
    )
}

fn path(error: &ValidationError<'_>) -> Vec<PathSegment> {
    error
        .instance_path()
        .segments()
        .map(|segment| match segment {
            LocationSegment::Property(name) => PathSegment::Key(name.into_owned()),
            LocationSegment::Index(index) => PathSegment::Index(index),
        })
        .collect()
}

fn describe_error(error: &ValidationError<'_>, schema: &Value, violations: &mut Vec<Violation>) {
    let path = path(error);
    let found = describe(error.instance());
    let mut say = |path: Vec<PathSegment>, message: String, hint: Option<String>| {
        violations.push(Violation { path, message: bounded(&message, 500), hint });
    };
    match error.kind() {
        ValidationErrorKind::Type { kind } => {
            let expected = match kind {
                TypeKind::Single(one) => one.to_string(),
                TypeKind::Multiple(many) => many.iter().map(|one| one.to_string()).collect::<Vec<_>>().join(" or "),
            };
            say(path, format!("expected {expected}, found {found}"), None);
        }
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            if is_misspelt(error, schema, &[name]) {
                return;
            }
            let present = error.instance().as_object().into_iter().flat_map(|object| object.keys().map(String::as_str));
            let hint = closest(name, present).map(|_| format!("rename the similar field to `{name}`"));
            say(path, format!("`{name}` is missing"), hint.or_else(|| Some(format!("add `{name}`"))));
        }
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            let known = known_properties(error, schema);
            for name in unexpected {
                let mut path = path.clone();
                path.push(PathSegment::Key(name.clone()));
                let hint = did_you_mean(name, known.iter().map(String::as_str))
                    .or_else(|| (!known.is_empty()).then(|| format!("known: {}", known.join(", "))));
                say(path, format!("unknown field `{name}`"), hint);
            }
        }
        ValidationErrorKind::Enum { options } => {
            let options: Vec<_> = options.as_array().into_iter().flatten().map(Value::to_string).collect();
            say(path, format!("expected one of {}, found {found}", options.join(", ")), None);
        }
        ValidationErrorKind::Constant { expected_value } => {
            say(path, format!("expected {expected_value}, found {found}"), None);
        }
        ValidationErrorKind::Minimum { limit } => say(path, format!("expected at least {limit}, found {found}"), None),
        ValidationErrorKind::Maximum { limit } => say(path, format!("expected at most {limit}, found {found}"), None),
        ValidationErrorKind::ExclusiveMinimum { limit } => {
            say(path, format!("expected more than {limit}, found {found}"), None);
        }
        ValidationErrorKind::ExclusiveMaximum { limit } => {
            say(path, format!("expected less than {limit}, found {found}"), None);
        }
        ValidationErrorKind::MinItems { limit } => {
            say(path, format!("expected at least {limit} items, found {found}"), None);
        }
        ValidationErrorKind::MaxItems { limit } => {
            say(path, format!("expected at most {limit} items, found {found}"), None);
        }
        ValidationErrorKind::MinLength { limit } => {
            say(path, format!("expected at least {limit} characters, found {found}"), None);
        }
        ValidationErrorKind::MaxLength { limit } => {
            say(path, format!("expected at most {limit} characters, found {found}"), None);
        }
        ValidationErrorKind::Pattern { pattern } => {
            say(path, format!("expected text that matches `{pattern}`, found {found}"), None);
        }
        ValidationErrorKind::OneOfMultipleValid { .. } => {
            say(
                path,
                format!("{found} fits more than one of the alternatives"),
                Some("give only one of them".to_owned()),
            );
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            if let Some((first, others)) = missing_in_all(error) {
                let names: Vec<&str> = std::iter::once(&first).chain(&others).map(String::as_str).collect();
                if is_misspelt(error, schema, &names) {
                    return;
                }
                let keys =
                    error.instance().as_object().into_iter().flat_map(|object| object.keys().map(String::as_str));
                let hint = closest(&first, keys).map(|_| format!("rename the similar field to `{first}`"));
                let or: Vec<_> = others.iter().map(|name| format!(", or `{name}`")).collect();
                say(
                    path,
                    format!("`{first}` is missing{}", or.concat()),
                    hint.or_else(|| Some(format!("add `{first}`"))),
                );
                return;
            }
            let mut reasons = Vec::new();
            for branch in context.iter().take(4) {
                let mut inner = Vec::new();
                for error in branch.iter().take(1) {
                    describe_error(error, schema, &mut inner);
                }
                reasons.extend(inner.into_iter().take(1).map(|violation| violation.message));
            }
            say(path, format!("{found} fits none of the alternatives: {}", reasons.join("; or ")), None);
        }
        _ => say(path, format!("{} (found {found})", bounded(&error.masked().to_string(), 300)), None),
    }
}

/// The properties that the alternatives lack in the object itself, if that is all that is wrong: no reference can add
/// them.
fn missing_in_all(error: &ValidationError<'_>) -> Option<(String, Vec<String>)> {
    let (ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context }) = error.kind() else {
        return None;
    };
    let mut names = context.iter().map(|branch| match branch.as_slice() {
        [one] if one.instance_path().as_str() == error.instance_path().as_str() => match one.kind() {
            ValidationErrorKind::Required { property } => property.as_str().map(str::to_owned),
            _ => None,
        },
        _ => None,
    });
    let first = names.next()??;
    Some((first, names.collect::<Option<Vec<_>>>()?))
}

/// Whether an unknown field of the object, which is a violation of its own, is a misspelling of a missing one.
fn is_misspelt(error: &ValidationError<'_>, schema: &Value, missing: &[&str]) -> bool {
    let parent = error.schema_path().as_str().rsplit_once('/').and_then(|(parent, _)| schema.pointer(parent));
    let is_closed = parent.is_some_and(|schema| schema.get("additionalProperties") == Some(&Value::Bool(false)));
    let known = known_properties(error, schema);
    let mut keys = error.instance().as_object().into_iter().flat_map(|object| object.keys());
    is_closed
        && keys.any(|key| {
            !known.contains(key) && closest(key, &known).is_some_and(|meant| missing.contains(&meant.as_str()))
        })
}

/// The properties in the schema around the violated keyword.
fn known_properties(error: &ValidationError<'_>, schema: &Value) -> Vec<String> {
    let pointer = error.schema_path().as_str();
    let Some((parent, _)) = pointer.rsplit_once('/') else { return Vec::new() };
    schema
        .pointer(parent)
        .and_then(|schema| schema.get("properties")?.as_object())
        .map(|properties| properties.keys().cloned().collect())
        .unwrap_or_default()
}

/// The first `max` characters, with an ellipsis if there are more.
pub(crate) fn bounded(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
