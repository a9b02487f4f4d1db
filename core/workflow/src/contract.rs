//! Compares two versions of a protocol's methods: whether they are the same contract, and if not, where they differ.
//!
//! Schemas are opaque in the core: they are compared as JSON. Only the text that describes a method to people may
//! differ.

use serde_json::{Map, Value};

/// The number of differences that are listed by name; the rest is given as a count.
const MAX_DIFFERENCES: usize = 5;

/// Lists how `new` differs from `known`, with a few words for each method. Both map full method names to methods. The
/// list is empty if they are the same contract.
pub fn differences(known: &Value, new: &Value) -> Vec<String> {
    let empty = Map::new();
    let (known, new) = (known.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let mut found = Vec::new();
    for (name, before) in known {
        match new.get(name) {
            None => found.push(format!("`{name}` is missing")),
            Some(after) => {
                if let Some(path) = difference(&contract(before), &contract(after)) {
                    found.push(format!("`{path}` of `{name}` differs"));
                }
            }
        }
    }
    found.extend(new.keys().filter(|name| !known.contains_key(*name)).map(|name| format!("`{name}` is new")));
    if found.len() > MAX_DIFFERENCES {
        let more = found.len() - MAX_DIFFERENCES;
        found.truncate(MAX_DIFFERENCES);
        found.push(format!("{more} more"));
    }
    found
}

/// The parts of a method that belong to the contract. A method without a description counts as one without schemas.
fn contract(method: &Value) -> Value {
    let mut method = without_descriptions(method);
    match &mut method {
        Value::Object(fields) => fields.retain(|_, value| !value.is_null()),
        other => *other = Value::Object(Map::new()),
    }
    method
}

/// Removes text meant for people, wherever it occurs in a schema. A property may have the name of such a keyword; its
/// value is then a schema, never text or a list, and is kept.
fn without_descriptions(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(key, value)| match key.as_str() {
                "description" | "title" | "$comment" => !value.is_string(),
                "examples" => !value.is_array(),
                _ => true,
            });
            let kept = kept.map(|(key, value)| {
                // These keywords hold data, not schemas.
                let is_data = matches!(key.as_str(), "const" | "enum" | "default");
                (key.clone(), if is_data { value.clone() } else { without_descriptions(value) })
            });
            Value::Object(kept.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_descriptions).collect()),
        other => other.clone(),
    }
}

/// The path of the first difference between two values; empty if the values themselves differ.
fn difference(a: &Value, b: &Value) -> Option<String> {
    if a == b {
        return None;
    }
    let step = |name: &str, rest: String| {
        if rest.is_empty() || rest.starts_with('[') { format!("{name}{rest}") } else { format!("{name}.{rest}") }
    };
    let inner = match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let gone = a.iter().find_map(|(key, value)| match b.get(key) {
                Some(other) => difference(value, other).map(|rest| step(key, rest)),
                None => Some(key.clone()),
            });
            gone.or_else(|| b.keys().find(|key| !a.contains_key(*key)).cloned())
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b).enumerate();
            pairs.into_iter().find_map(|(at, (a, b))| difference(a, b).map(|rest| step(&format!("[{at}]"), rest)))
        }
        _ => None,
    };
    Some(inner.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_named_with_their_place() {
        let number = json!({"type": "object", "required": ["a", "b"], "properties": {"a": {"type": "number"}}});
        let mut text = number.clone();
        text["properties"]["a"]["type"] = json!("string");
        let mut required = number.clone();
        required["required"][1] = json!("c");
        let known = json!({"m/x": {"parameters": number, "description": "before"}});
        for (new, expected) in [
            (json!({"m/x": {"description": "after", "examples": [{}], "parameters": number}}), vec![]),
            (json!({"m/x": {"parameters": text}}), vec!["`parameters.properties.a.type` of `m/x` differs"]),
            (json!({"m/x": {"parameters": required}}), vec!["`parameters.required[1]` of `m/x` differs"]),
            (json!({"m/x": {"parameters": number, "timeout": 1}}), vec!["`timeout` of `m/x` differs"]),
            (json!({"m/x": {}}), vec!["`parameters` of `m/x` differs"]),
            (json!({"m/y": {}}), vec!["`m/x` is missing", "`m/y` is new"]),
            (json!([]), vec!["`m/x` is missing"]),
        ] {
            assert_eq!(differences(&known, &new), expected, "{new}");
        }
        assert_eq!(differences(&json!({"m/x": null}), &json!({"m/x": {"returns": null}})), Vec::<String>::new());
    }

    #[test]
    fn descriptions_may_change_anywhere() {
        let method = |word: &str, data: &str| {
            json!({"m/x": {"description": word, "examples": [{"x": word}], "parameters": {
                "title": word, "$comment": word, "anyOf": [{"description": word}], "properties": {
                    "a": {"type": "string", "description": word, "examples": [word]},
                    "description": {"type": "string", "default": data, "enum": [{"description": data}]}}}}})
        };
        let (same, none) = (method("before", "x"), Vec::<String>::new());
        assert_eq!(differences(&same, &method("after", "x")), none);
        let found = ["`parameters.properties.description.default` of `m/x` differs"];
        assert_eq!(differences(&same, &method("before", "y")), found);
    }

    #[test]
    fn the_list_of_differences_is_bounded() {
        let many: Value = (0..100).map(|n| (format!("m/x{n}"), json!({}))).collect::<Map<_, _>>().into();
        let found = differences(&json!({}), &many);
        assert_eq!((found.len(), found.last().map(String::as_str)), (6, Some("95 more")));
    }
}
