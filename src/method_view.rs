//! Describes a method for people: its parameters and its result. Anybody may have written the schemas, so they are only
//! displayed, never relied on.

use std::collections::BTreeMap;
use std::time::Duration;

use gleitzeit_sdk::Payload;
use serde_json::{Map, Value};

use crate::document::MethodItem;
use crate::table::Table;
use crate::{color, output, text, view};

/// How many levels of a type are described.
const DEPTH: usize = 4;
/// The most characters of a cell.
const TYPE_CHARS: usize = 44;
const ABOUT_CHARS: usize = 90;

/// Describes a method of the protocol with this id.
pub(crate) fn describe(protocol: &str, method: &MethodItem) -> String {
    let mut text = format!("{} of {protocol}", text::first_line(&method.name, 130));
    if let Some(ms) = method.timeout_ms {
        text.push_str(&format!(", timeout {}", view::duration(Duration::from_millis(ms))));
    }
    text.push('\n');
    if let Some(about) = &method.description {
        text.push_str(&format!("{}\n", output::wrapped(&format!("  {}", view::cell(about, 200)), 0)));
    }
    text.push_str(&section(Side::Takes, method.parameters.as_ref()));
    text.push_str(&section(Side::Returns, method.returns.as_ref()));
    text
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Takes,
    Returns,
}

fn section(side: Side, schema: Option<&Payload>) -> String {
    let (title, anything, default) = match side {
        Side::Takes => ("takes", "any object", "default"),
        Side::Returns => ("returns", "any value", ""),
    };
    let Some(schema) = schema.map(Payload::shown) else { return format!("  {title} {anything}\n") };
    let fields = fields(&schema, &schema);
    if fields.is_empty() {
        let kind = cut(&type_of(&schema, &schema, DEPTH), 200);
        return format!("{}\n", output::wrapped(&format!("  {title} {kind}"), 2));
    }
    let rows: Vec<Vec<String>> = fields.into_iter().map(|(name, field)| row(side, &name, &field, &schema)).collect();
    let head = [title, "type", default, "about"];
    // The width without the indentation.
    let columns = output::fitting_columns().map(|columns| columns.saturating_sub(2));
    let table = Table::new(&head, &rows).lines(columns, color::stdout());
    table.lines().map(|line| format!("  {line}\n")).collect()
}

/// A field's schema, and whether the field is required.
struct Field {
    schema: Value,
    required: bool,
}

/// The fields of an object: required ones first, otherwise in the written order.
fn fields(schema: &Value, root: &Value) -> Vec<(String, Field)> {
    let schema = resolve(schema, root);
    let required = |name: &str| {
        let names = schema.get("required").and_then(Value::as_array);
        names.is_some_and(|names| names.iter().any(|it| it.as_str() == Some(name)))
    };
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Vec::new() };
    let field =
        |(name, schema): (&String, &Value)| (name.clone(), Field { schema: schema.clone(), required: required(name) });
    let mut fields: Vec<(String, Field)> = properties.iter().map(field).collect();
    fields.sort_by_key(|(_, field)| !field.required);
    fields
}

fn row(side: Side, name: &str, field: &Field, root: &Value) -> Vec<String> {
    let schema = resolve(&field.schema, root);
    let text = |key: &str| field.schema.get(key).or_else(|| schema.get(key));
    let default = match text("default") {
        // Results have no defaults.
        _ if side == Side::Returns => if field.required { "" } else { "(may be absent)" }.to_owned(),
        Some(Value::String(text)) => cut(text, 30),
        Some(other) => cut(&other.to_string(), 30),
        None if field.required => "(required)".to_owned(),
        None => String::new(),
    };
    let about = text("description").and_then(Value::as_str).unwrap_or_default();
    let kind = cut(&type_of(&field.schema, root, DEPTH), TYPE_CHARS);
    vec![cut(name, 40), kind, default, cut(about, ABOUT_CHARS)]
}

/// Follows one reference inside the same schema; longer chains are not worth showing.
fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let pointer = schema.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'));
    pointer.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}

/// A type in words: `text`, `list of numbers`, `user or assistant`.
fn type_of(schema: &Value, root: &Value, depth: usize) -> String {
    let schema = resolve(schema, root);
    if depth == 0 {
        return "…".to_owned();
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values.iter().map(plain).collect::<Vec<_>>().join(" or ");
    }
    if let Some(value) = schema.get("const") {
        return plain(value);
    }
    for key in ["anyOf", "oneOf"] {
        // An object schema may require one field or another; those are not alternative types.
        let Some(choices) = schema.get(key).and_then(Value::as_array).filter(|_| schema.get("type").is_none()) else {
            continue;
        };
        let mut words: Vec<String> = choices.iter().map(|choice| type_of(choice, root, depth - 1)).collect();
        words.dedup();
        return words.join(" or ");
    }
    match schema.get("type") {
        Some(Value::String(name)) => word(name, schema, root, depth),
        Some(Value::Array(names)) => {
            let words = names.iter().filter_map(Value::as_str).map(|name| word(name, schema, root, depth));
            words.collect::<Vec<_>>().join(" or ")
        }
        _ => "anything".to_owned(),
    }
}

fn word(name: &str, schema: &Value, root: &Value, depth: usize) -> String {
    let words: BTreeMap<&str, &str> =
        [("string", "text"), ("boolean", "true or false"), ("integer", "whole number")].into();
    match (name, schema.get("items")) {
        ("array", Some(items)) => format!("list of {}", type_of(items, root, depth - 1)),
        ("array", None) => "list".to_owned(),
        ("object", _) => object(schema),
        _ => (*words.get(name).unwrap_or(&name)).to_owned(),
    }
}

/// Describes an object by the names of its fields.
fn object(schema: &Value) -> String {
    match schema.get("properties").and_then(Value::as_object).map(Map::keys) {
        Some(names) if names.len() > 0 => format!("{{{}}}", names.cloned().collect::<Vec<_>>().join(", ")),
        _ => "object".to_owned(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn cut(text: &str, limit: usize) -> String {
    view::cell(text, limit)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_method_is_described_by_what_it_takes_and_returns() {
        let parameters = json!({
            "type": "object", "required": ["to"], "$defs": {"role": {"enum": ["user", "system"], "description": "who"}},
            "properties": {
                "model": {"type": "string", "default": "llama3.2", "description": "Which\none"},
                "seeds": {"type": "array", "items": {"type": "integer"}, "default": [1]},
                "to": {"$ref": "#/$defs/role"},
                "more": {"anyOf": [{"type": "object", "properties": {"a": true, "b": {}}}, {"type": "null"}]},
                "any\x1b": true,
            },
        });
        let method = MethodItem {
            name: "chat/say".to_owned(),
            description: Some("Says it".to_owned()),
            parameters: Some(Payload::from(parameters)),
            returns: Some(Payload::from(json!({"required": ["b"], "properties": {"a": {"const": true}, "b": {}}}))),
            timeout_ms: Some(600_000),
        };
        let expected = "\
chat/say of chat/v1, timeout 10 min
  Says it
  TAKES  TYPE                  DEFAULT     ABOUT
  to     user or system        (required)  who
  model  text                  llama3.2    Which
  seeds  list of whole number  [1]
  more   {a, b} or null
  any\u{fffd}   anything
  RETURNS  TYPE                       ABOUT
  b        anything
  a        true      (may be absent)
";
        assert_eq!(describe("chat/v1", &method), expected);
        let anything = MethodItem { parameters: None, returns: None, description: None, timeout_ms: None, ..method };
        assert_eq!(describe("chat/v1", &anything), "chat/say of chat/v1\n  takes any object\n  returns any value\n");
    }

    #[test]
    fn a_recursive_schema_is_described_to_a_limited_depth() {
        let schema = json!({"$ref": "#", "type": "array", "items": {"$ref": "#"}});
        assert_eq!(type_of(&schema, &schema, DEPTH), "list of list of list of list of …");
        let odd = json!({"type": 5, "properties": [], "required": "a"});
        assert_eq!((type_of(&odd, &odd, DEPTH), fields(&odd, &odd).len()), ("anything".to_owned(), 0));
    }
}
