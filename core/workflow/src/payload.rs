//! A JSON value as it was written, shared and passed on without being parsed again.
//!
//! A payload is grammatical JSON by its type. Whether it can be carried without change ([`crate::json::check`]) is
//! checked on arrival, by [`Payload::parse`] or [`Payload::check`], and again by each reader. Mesh messages and journal
//! entries are decoded without this check, so that everything that was ever stored can be shown.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::json;
use crate::json::Problem;

/// A free-form JSON value (inputs, parameters, results, outputs): valid JSON text behind an `Arc`, cheap to clone.
///
/// Two payloads are equal if their texts are equal. A payload must not be a field of an internally tagged, untagged or
/// flattened type: serde buffers those, and raw JSON cannot pass through its buffer.
#[derive(Clone)]
pub struct Payload(Arc<RawValue>);

impl Payload {
    /// The JSON `null`.
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned().into())
    }

    /// Serializes a value.
    pub fn from_value(value: &Value) -> Self {
        // A `Value` always serializes: its keys are strings and its numbers finite.
        Self::of(value).expect("a Value is serializable")
    }

    /// Serializes any value. The result is valid by construction and is not parsed again.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(|raw| Self(raw.into()))
    }

    /// Takes JSON text from outside.
    ///
    /// # Errors
    /// If the text is not one JSON value that can be carried without change.
    pub fn parse(text: String) -> Result<Self, Problem> {
        json::check(&text)?;
        Self::grammatical(text)
    }

    /// Takes JSON text that need not pass [`Payload::check`]: text that was stored before that check existed.
    ///
    /// # Errors
    /// If the text is not one JSON value.
    pub fn grammatical(text: String) -> Result<Self, Problem> {
        // `from_string` drops the text on an error, so the place of the fault is looked up first.
        json::check_grammar(&text)?;
        match RawValue::from_string(text) {
            Ok(raw) => Ok(Self(raw.into())),
            Err(error) => Err(Problem { path: String::new(), at: 0, fault: json::Fault::Syntax(error.to_string()) }),
        }
    }

    /// The JSON text.
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// Length of the JSON text in bytes.
    pub fn size_bytes(&self) -> usize {
        self.0.get().len()
    }

    /// A message if the value is larger than a limit in bytes; `what` names the value.
    pub fn over(&self, limit: usize, what: &str) -> Option<String> {
        let size = self.size_bytes();
        (size > limit).then(|| format!("{what} is {size} bytes; the limit is {limit}"))
    }

    /// Checks that the value can be carried without change. Reads the text once and builds nothing.
    ///
    /// # Errors
    /// The first fault and its place.
    pub fn check(&self) -> Result<(), Problem> {
        json::check_grammatical(self.get())
    }

    /// Parses the text into a value.
    ///
    /// # Errors
    /// The fault that keeps it from being carried without change, and its place.
    pub fn to_value(&self) -> Result<Value, Problem> {
        json::parse_grammatical(self.get())
    }

    /// Reads it into another type, with values as deep as [`json::decode`] allows.
    ///
    /// # Errors
    /// If it does not have that type.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        json::decode(self.get())
    }

    /// The value for display, see [`json::shown`].
    pub fn shown(&self) -> Value {
        json::shown(self.get())
    }
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        Self::from_value(&value)
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::null()
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.get() == other.get()
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| Self(raw.into()))
    }
}
