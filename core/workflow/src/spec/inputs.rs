//! Whether the type of a given input fits that of its default: one rule for the command line, the API and the SDKs.

use serde_json::{Map, Value};

use super::workflow::Workflow;
use crate::error::ErrorCode;
use crate::yaml::{Problem, shorten};

/// Reports given inputs whose type does not fit that of their default. Inputs that are not declared are not checked
/// here.
///
/// A default that is a number takes any number. A boolean, a list and an object take a value of the same type. Text
/// takes text, a number or a boolean. Null may always be given, and a null default takes any value.
pub fn check_inputs(workflow: &Workflow, given: &Map<String, Value>, file: &str) -> Vec<Problem> {
    let pairs = given.iter().filter_map(|(name, value)| Some((name, workflow.inputs.get(name)?, value)));
    pairs.filter_map(|(name, default, value)| misfit(name, default, value, file)).collect()
}

fn misfit(name: &str, default: &Value, value: &Value, file: &str) -> Option<Problem> {
    let fits = match (default, value) {
        (Value::Null, _) | (_, Value::Null) => true,
        (Value::String(_), Value::String(_) | Value::Number(_) | Value::Bool(_)) => true,
        (Value::Number(_), Value::Number(_)) | (Value::Bool(_), Value::Bool(_)) => true,
        (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => true,
        (Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_), _) => false,
    };
    if fits {
        return None;
    }
    let (expected, example) = expected(default);
    let given = match value {
        Value::String(text) => format!("the text `{}`", shorten(text)),
        Value::Number(number) => format!("the number {number}"),
        Value::Bool(yes) => format!("the boolean {yes}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::Null => "null".to_owned(),
    };
    let message = format!("input `{name}` takes {expected}, as its default is, and was given {given}");
    let hint = format!("give it for instance as `{name}={example}`, or declare `{name}: null` to take anything");
    let problem = Problem::of_file(file, ErrorCode::InvalidParams, message);
    Some(Problem { field: format!("inputs.{name}"), ..problem.hint(hint) })
}

/// What a default of this type accepts, and an example of how it is written.
fn expected(default: &Value) -> (&'static str, &'static str) {
    match default {
        Value::String(_) => ("text", "hello"),
        Value::Number(_) => ("a number", "3"),
        Value::Bool(_) => ("true or false", "true"),
        Value::Array(_) => ("a list", "[1, 2]"),
        Value::Object(_) => ("an object", "{\"key\": 1}"),
        Value::Null => ("anything", "1"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_input_must_match_the_type_of_its_default() {
        for (default, fitting, others) in [
            (json!(3), vec![json!(0), json!(1.5), json!(-2)], vec![json!("abc"), json!("3"), json!(true), json!([3])]),
            (json!(true), vec![json!(false)], vec![json!("yes"), json!(1), json!({})]),
            (json!("x"), vec![json!(""), json!(5), json!(true)], vec![json!(["x"]), json!({"x": 1})]),
            (json!([]), vec![json!([1, "a"])], vec![json!("a,b"), json!({}), json!(1)]),
            (json!({}), vec![json!({"a": 1})], vec![json!([]), json!("{}"), json!(false)]),
            (json!(null), vec![json!(1), json!("a"), json!([]), json!({}), json!(true)], vec![]),
        ] {
            for value in fitting.iter().chain([&Value::Null]) {
                assert_eq!(misfit("n", &default, value, ""), None, "{default} {value}");
            }
            for value in others {
                assert!(misfit("n", &default, &value, "").is_some(), "{default} {value}");
            }
        }
    }

    #[test]
    fn a_wrong_input_is_reported_with_expectation_and_remedy() {
        let problem = misfit("n", &json!(3), &json!("abc"), "w.yaml").expect("text is no number");
        assert_eq!((problem.code, problem.field.as_str()), (ErrorCode::InvalidParams, "inputs.n"));
        assert_eq!(problem.message, "input `n` takes a number, as its default is, and was given the text `abc`");
        let hint = problem.hint.expect("a remedy");
        assert_eq!(hint, "give it for instance as `n=3`, or declare `n: null` to take anything");
    }
}
