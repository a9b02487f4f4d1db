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
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            violations.extend(missing(error, schema, &[property.as_str().unwrap_or_default()]));
        }
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            violations.extend(unknown_fields(error, schema, unexpected));
        }
        ValidationErrorKind::OneOfMultipleValid { .. } => {
            let message = format!("{} fits more than one of the alternatives", describe(error.instance()));
            violations.push(violation(path(error), &message, Some("give only one of them".to_owned())));
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            violations.extend(no_alternative(error, schema, context));
        }
        _ => violations.push(violation(path(error), &unexpected_value(error), None)),
    }
}

fn violation(path: Vec<PathSegment>, message: &str, hint: Option<String>) -> Violation {
    Violation { path, message: bounded(message, 500), hint }
}

/// The violation of an object that has none of these properties; `None` if an unknown field is one of them, misspelt.
fn missing(error: &ValidationError<'_>, schema: &Value, names: &[&str]) -> Option<Violation> {
    let (first, others) = names.split_first()?;
    if is_misspelt(error, schema, names) {
        return None;
    }
    let present = error.instance().as_object().into_iter().flat_map(|object| object.keys().map(String::as_str));
    let hint = match closest(first, present) {
        Some(_) => format!("rename the similar field to `{first}`"),
        None => format!("add `{first}`"),
    };
    let or: String = others.iter().map(|name| format!(", or `{name}`")).collect();
    Some(violation(path(error), &format!("`{first}` is missing{or}"), Some(hint)))
}

/// One violation for each unknown field.
fn unknown_fields(error: &ValidationError<'_>, schema: &Value, names: &[String]) -> Vec<Violation> {
    let known = known_properties(error, schema);
    let unknown = |name: &String| {
        let mut path = path(error);
        path.push(PathSegment::Key(name.clone()));
        let hint = did_you_mean(name, known.iter().map(String::as_str))
            .or_else(|| (!known.is_empty()).then(|| format!("known: {}", known.join(", "))));
        violation(path, &format!("unknown field `{name}`"), hint)
    };
    names.iter().map(unknown).collect()
}

/// The violation of a value that fits none of the alternatives, with the first reason of each.
fn no_alternative(
    error: &ValidationError<'_>,
    schema: &Value,
    alternatives: &[Vec<ValidationError<'_>>],
) -> Option<Violation> {
    const SHOWN: usize = 4;
    if let Some((first, others)) = missing_in_all(error) {
        let names: Vec<&str> = std::iter::once(&first).chain(&others).map(String::as_str).collect();
        return missing(error, schema, &names);
    }
    let reason = |errors: &Vec<ValidationError<'_>>| {
        let mut inner = Vec::new();
        describe_error(errors.first()?, schema, &mut inner);
        inner.into_iter().next().map(|violation| violation.message)
    };
    let reasons: Vec<String> = alternatives.iter().take(SHOWN).filter_map(reason).collect();
    let found = describe(error.instance());
    Some(violation(path(error), &format!("{found} fits none of the alternatives: {}", reasons.join("; or ")), None))
}

/// The message for a value that is wrong in itself.
fn unexpected_value(error: &ValidationError<'_>) -> String {
    let found = describe(error.instance());
    let expected = match error.kind() {
        ValidationErrorKind::Type { kind: TypeKind::Single(one) } => one.to_string(),
        ValidationErrorKind::Type { kind: TypeKind::Multiple(many) } => {
            many.iter().map(|one| one.to_string()).collect::<Vec<_>>().join(" or ")
        }
        ValidationErrorKind::Enum { options } => {
            let options: Vec<_> = options.as_array().into_iter().flatten().map(Value::to_string).collect();
            format!("one of {}", options.join(", "))
        }
        ValidationErrorKind::Constant { expected_value } => expected_value.to_string(),
        ValidationErrorKind::Minimum { limit } => format!("at least {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("at most {limit}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("more than {limit}"),
        ValidationErrorKind::ExclusiveMaximum { limit } => format!("less than {limit}"),
        ValidationErrorKind::MinItems { limit } => format!("at least {limit} items"),
        ValidationErrorKind::MaxItems { limit } => format!("at most {limit} items"),
        ValidationErrorKind::MinLength { limit } => format!("at least {limit} characters"),
        ValidationErrorKind::MaxLength { limit } => format!("at most {limit} characters"),
        ValidationErrorKind::Pattern { pattern } => format!("text that matches `{pattern}`"),
        _ => return format!("{} (found {found})", bounded(&error.masked().to_string(), 300)),
    };
    format!("expected {expected}, found {found}")
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
