//! Reads what servers send: JSON that may contain anything. An unexpected value is an error that names its place.

use gleitzeit_workflow::json;
use serde_json::{Map, Value};

pub(super) type Object = Map<String, Value>;

/// The longest name of a model or a reason, in bytes.
const MAX_NAME_BYTES: usize = 1_024;

/// Parses a text that is one JSON object.
pub(super) fn object(text: &[u8]) -> Result<Object, String> {
    let text =
        std::str::from_utf8(text).map_err(|error| format!("not UTF-8 text after byte {}", error.valid_up_to()))?;
    match json::parse(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(format!("expected an object, found {}", kind(&other))),
        Err(problem) => Err(problem.to_string()),
    }
}

/// An object and its place in the message.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    object: &'a Object,
    /// The prefix for the names of its fields: empty, or ending with a dot.
    place: &'a str,
}

impl<'a> Part<'a> {
    pub(super) fn whole(object: &'a Object) -> Self {
        Self { object, place: "" }
    }

    pub(super) fn at(object: &'a Object, place: &'a str) -> Self {
        Self { object, place }
    }

    /// A field; null counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn object(&self, name: &str) -> Result<Option<&'a Object>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(other) => Err(self.expected(name, "an object", other)),
        }
    }

    pub(super) fn list(&self, name: &str) -> Result<&'a [Value], String> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(self.expected(name, "a list", other)),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.expected(name, "text", other)),
        }
    }

    /// A short text; an empty one counts as absent.
    pub(super) fn name(&self, name: &str) -> Result<Option<&'a str>, String> {
        match self.text(name)? {
            Some(text) if text.len() > MAX_NAME_BYTES => {
                Err(format!("`{}{name}` is longer than {MAX_NAME_BYTES} bytes", self.place))
            }
            text => Ok(text.filter(|text| !text.is_empty())),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, String> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.expected(name, "true or false", other)),
        }
    }

    /// A whole number from 0; some servers write one as `12.0`.
    pub(super) fn count(&self, name: &str) -> Result<Option<u64>, String> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let whole = |number: f64| (number >= 0.0 && number.fract() == 0.0).then(|| format!("{number:.0}"));
        let read = value.as_u64().or_else(|| value.as_f64().and_then(whole)?.parse().ok());
        read.map(Some).ok_or_else(|| self.expected(name, "a whole number from 0", value))
    }

    /// A number from 0.
    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, String> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let read = value.as_f64().filter(|number| *number >= 0.0);
        read.map(Some).ok_or_else(|| self.expected(name, "a number from 0", value))
    }

    pub(super) fn expected(&self, name: &str, what: &str, found: &Value) -> String {
        format!("`{}{name}`: expected {what}, found {}", self.place, kind(found))
    }
}

/// The kind of a value for messages; for a number, the number itself.
pub(super) fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(_) => "text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unexpected_values_are_named_with_their_place() {
        let read = object(br#"{"a": {"n": -1, "f": 12.0, "t": [], "none": null}}"#).expect("an object");
        let a = Part::whole(&read).object("a").expect("an object").expect("there");
        let a = Part::at(a, "a.");
        assert_eq!((a.count("f"), a.text("none"), a.list("gone")), (Ok(Some(12)), Ok(None), Ok(&[] as &[Value])));
        assert_eq!(a.count("n").expect_err("negative"), "`a.n`: expected a whole number from 0, found the number -1");
        assert_eq!(a.text("t").expect_err("a list"), "`a.t`: expected text, found a list");
        for (text, said) in [
            (&b"[1]"[..], "expected an object, found a list"),
            (b"{\"a\": \"\xff\"}", "not UTF-8 text after byte 7"),
            (br#"{"a": NaN}"#, "in `a`: NaN is no JSON"),
            (br#"{"a": "\ud83d"}"#, "in `a`: \\ud83d is half of a surrogate pair"),
            (br#"{"a": 1e400}"#, "in `a`: the number 1e400"),
        ] {
            let error = object(text).expect_err("no such object");
            assert!(error.contains(said), "{error}");
        }
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(object(deep.as_bytes()).expect_err("too deep").contains("nested deeper"));
    }
}
