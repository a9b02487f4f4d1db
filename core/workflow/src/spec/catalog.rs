//! The checker's view of methods. Schema validation needs a JSON-Schema library, so it lives in another crate behind
//! this trait.

use indexmap::IndexMap;
use serde_json::Value;

use super::known::KnownProviders;
use crate::template::Language;

/// The parameter that takes the values of references in shell text, as environment variables by name.
pub const ENVIRONMENT: &str = "env";

/// What is known of a method.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodInfo {
    /// Version of the protocol that would be chosen now.
    pub protocol_version: String,
    /// Top-level parameters that are program text.
    pub code: IndexMap<String, Language>,
    /// JSON Schema of the result, if it is known.
    pub returns: Option<Value>,
    /// JSON Schema of the parameters, if it is known.
    pub parameters: Option<Value>,
    /// The method's own timeout for an attempt.
    pub timeout_ms: Option<u64>,
}

/// One way in which parameters break their schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path to the offending value from the root of the parameters: object keys and list indexes.
    pub path: Vec<PathSegment>,
    /// What is wrong and what was expected.
    pub message: String,
    /// What to do, if there is something more helpful to say (for instance a suggestion for a misspelt key).
    pub hint: Option<String>,
}

/// One step of a path into a JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathSegment {
    /// An object's key.
    Key(String),
    /// A list's index, from 0.
    Index(usize),
}

/// Knows protocols and their methods.
pub trait Catalog {
    /// The method's description in the newest known version of its protocol, or `None` if it is unknown.
    fn method(&self, name: &str) -> Option<MethodInfo>;

    /// All method names, for suggestions.
    fn method_names(&self) -> Vec<String>;

    /// Checks parameters as written in a workflow. A string with a `${…}` reference may become any value and is not
    /// judged; everything else must fit the schema. The result is empty if nothing is wrong or the method has no
    /// schema.
    fn check_template(&self, method: &str, parameters: &Value) -> Vec<Violation>;

    /// The providers that tasks may name, if it knows any.
    fn providers(&self) -> Option<&KnownProviders> {
        None
    }
}

/// Accepts every method: for callers that have only the file and leave methods to the control plane.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyMethod;

impl MethodInfo {
    /// Whether the method declares [`ENVIRONMENT`].
    pub fn takes_environment(&self) -> bool {
        let properties = self.parameters.as_ref().and_then(|schema| schema.get("properties"));
        properties.is_some_and(|properties| properties.get(ENVIRONMENT).is_some())
    }
}

impl Catalog for AnyMethod {
    fn method(&self, _name: &str) -> Option<MethodInfo> {
        Some(MethodInfo {
            protocol_version: String::new(),
            code: Default::default(),
            returns: None,
            parameters: None,
            timeout_ms: None,
        })
    }

    fn method_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn check_template(&self, _method: &str, _parameters: &Value) -> Vec<Violation> {
        Vec::new()
    }
}
