//! `--input name=value` and `--label name=value`.

use std::collections::BTreeMap;

use gleitzeit_workflow::json;
use serde_json::{Map, Value};

use crate::bounded;
use crate::error::CommandError;

/// Parses `name=value` pairs. A value is JSON if it is valid JSON, otherwise text; `@FILE` reads text from a file. If
/// the declared default is a string, the value stays text.
///
/// # Errors
/// If a pair has no `=`, a name occurs twice, a file cannot be read, or a value is JSON that cannot be carried.
pub(crate) fn inputs(
    pairs: &[&str],
    declared: Option<&Map<String, Value>>,
) -> Result<Map<String, Value>, CommandError> {
    let mut inputs = Map::new();
    for pair in pairs {
        let (name, text) = split(pair, "--input")?;
        let stays_text = matches!(declared.and_then(|declared| declared.get(name)), Some(Value::String(_)));
        let value = match text.strip_prefix('@') {
            Some(path) => Value::String(bounded::text_of(path).map_err(|error| {
                CommandError::usage(format!("cannot read `{path}` for the input `{name}`: {error}"))
            })?),
            None if stays_text => Value::String(text.to_owned()),
            None => match json::parse(text) {
                Ok(value) => value,
                Err(problem) if problem.is_content_fault() => {
                    return Err(refused(name, &problem.within(name).to_string()));
                }
                Err(_) => Value::String(text.to_owned()),
            },
        };
        if inputs.insert(name.to_owned(), value).is_some() {
            return Err(CommandError::usage(format!("the input `{name}` is given twice")));
        }
    }
    // Checked together, since they become one value in which each is nested one level deeper.
    let inputs = Value::Object(inputs);
    json::check_value(&inputs).map_err(|problem| refused(problem.first_step(), &problem.in_value()))?;
    match inputs {
        Value::Object(inputs) => Ok(inputs),
        _ => Ok(Map::new()),
    }
}

fn refused(name: &str, why: &str) -> CommandError {
    CommandError::usage(format!("`--input {name}`: {why}"))
        .hint(format!("to pass text, put the value into its own quotes: --input '{name}=\"…\"'"))
}

/// Parses `name=value` pairs as text.
///
/// # Errors
/// If a pair has no `=` or a name occurs twice.
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
        let pairs = ["zip=00123", "n=5", "on=true", "word=hello", "list=[1,2]"];
        let read = inputs(&pairs, declared.as_object()).expect("valid pairs");
        assert_eq!(Value::Object(read), json!({"zip": "00123", "n": 5, "on": true, "word": "hello", "list": [1, 2]}));
    }

    #[test]
    fn json_that_cannot_be_carried_is_refused_and_never_becomes_text() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let given = |text: &str| inputs(&[&format!("v={text}")], None);
        for (text, expected) in [
            ("18446744073709551616", "in `v`: the whole number 18446744073709551616 does not fit into 64 bits"),
            ("[1, -9223372036854775809]", "in `v[1]`: the whole number -9223372036854775809"),
            ("1e400", "in `v`: the number 1e400 is too large"),
            ("6E-578", "in `v`: the number 6E-578 is too close to zero"),
            ("\"\\ud83d\"", "in `v`: \\ud83d is half of a surrogate pair"),
            (&nested(127), ""),
            (&nested(128), "nested deeper than the limit of 128 levels"),
            (&nested(1_000), "nested deeper than the limit of 128 levels"),
        ] {
            let read = given(text).map_err(|error| error.message);
            match (read, expected) {
                (Ok(read), "") => assert!(read["v"].is_array()),
                (Err(message), expected) if !expected.is_empty() => {
                    assert!(message.starts_with("`--input v`: ") && message.contains(expected), "{text}: {message}");
                }
                (read, _) => panic!("{text}: {read:?}"),
            }
        }
        // A value that is not JSON is text.
        for text in ["NaN", "[1,", "hello", "{a: 1}", "\"x"] {
            assert_eq!(given(text).expect("text")["v"], *text);
        }
    }

    #[test]
    fn a_pair_without_a_name_or_given_twice_is_refused() {
        for pairs in [vec!["x"], vec!["=1"], vec!["a=1", "a=2"]] {
            assert!(inputs(&pairs, None).is_err(), "{pairs:?}");
        }
    }
}
