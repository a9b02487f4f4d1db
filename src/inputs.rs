//! `--input name=value` and `--label name=value`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::CommandError;

/// Reads `name=value` pairs. A value is JSON if it can be read as JSON, else text; `@FILE` is the text of a file; where
/// the declared default is a string it stays text.
///
/// # Errors
/// If a pair has no `=`, a name comes twice, or a file cannot be read.
pub(crate) fn inputs(
    pairs: &[String],
    declared: Option<&Map<String, Value>>,
) -> Result<Map<String, Value>, CommandError> {
    let mut inputs = Map::new();
    for pair in pairs {
        let (name, text) = split(pair, "--input")?;
        let stays_text = matches!(declared.and_then(|declared| declared.get(name)), Some(Value::String(_)));
        let value = match text.strip_prefix('@') {
            Some(path) => Value::String(std::fs::read_to_string(path).map_err(|error| {
                CommandError::usage(format!("cannot read `{path}` for the input `{name}`: {error}"))
            })?),
            None if stays_text => Value::String(text.to_owned()),
            None => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
        };
        if inputs.insert(name.to_owned(), value).is_some() {
            return Err(CommandError::usage(format!("the input `{name}` is given twice")));
        }
    }
    Ok(inputs)
}

/// Reads `name=value` pairs as text.
///
/// # Errors
/// If a pair has no `=` or a name comes twice.
pub(crate) fn labels(pairs: &[String]) -> Result<BTreeMap<String, String>, CommandError> {
    let mut labels = BTreeMap::new();
    for pair in pairs {
        let (name, value) = split(pair, "--label")?;
        if labels.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(CommandError::usage(format!("the label `{name}` is given twice")));
        }
    }
    Ok(labels)
}

fn split<'a>(pair: &'a str, flag: &str) -> Result<(&'a str, &'a str), CommandError> {
    match pair.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name, value)),
        _ => Err(CommandError::usage(format!("`{flag} {pair}`: expected NAME=VALUE"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_json_where_they_can_be_and_text_where_the_default_is() {
        let declared = json!({"zip": "12345", "n": 1});
        let pairs: Vec<String> =
            ["zip=00123", "n=5", "on=true", "word=hello", "list=[1,2]"].iter().map(ToString::to_string).collect();
        let read = inputs(&pairs, declared.as_object()).expect("valid pairs");
        assert_eq!(Value::Object(read), json!({"zip": "00123", "n": 5, "on": true, "word": "hello", "list": [1, 2]}));
    }

    #[test]
    fn a_pair_without_a_name_or_given_twice_is_refused() {
        for pairs in [vec!["x"], vec!["=1"], vec!["a=1", "a=2"]] {
            let pairs: Vec<String> = pairs.iter().map(ToString::to_string).collect();
            assert!(inputs(&pairs, None).is_err(), "{pairs:?}");
        }
    }
}
