//! One JSON Schema (2020-12), compiled at most once. Schemas come from anyone who may register a protocol. So their
//! size, their depth, the expansion of their references and the cost of their patterns are bounded, and so are the
//! steps of each check. References must stay inside the schema, and an invalid schema is an error, never a panic.

use std::sync::OnceLock;

use gleitzeit_workflow::spec::Violation;
use jsonschema::{Draft, PatternOptions, ValidationOptions, Validator};
use serde_json::Value;
use thiserror::Error;

use crate::cost::{self, Allowed, Cost};
use crate::violation;
use gleitzeit_workflow::json::MAX_DEPTH;

/// The longest JSON text of a schema, in bytes.
const MAX_SCHEMA_BYTES: usize = 256 * 1024;
/// The largest compiled size of one pattern, in bytes; the default of the engine is ten times that.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// Only a check with at most this many steps lists all violations: each step can be one.
const MAX_LISTED_STEPS: u64 = 200_000;

/// A schema that compiles.
#[derive(Debug)]
pub struct Schema {
    source: Value,
    compiled: OnceLock<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    validator: Validator,
    cost: Cost,
}

/// Why a schema cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct SchemaError {
    /// The path from the root of the schema.
    pub path: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// If it is not valid, too large, or refers to something outside itself.
    pub fn compile(source: &Value) -> Result<Self, SchemaError> {
        let error = |message: String, hint: Option<&str>| SchemaError {
            path: Vec::new(),
            message,
            hint: hint.map(str::to_owned),
        };
        if !matches!(source, Value::Object(_) | Value::Bool(_)) {
            let message = format!("expected an object, found {}", gleitzeit_workflow::yaml::describe(source));
            return Err(error(message, Some("write, for example, `{type: object}`")));
        }
        if depth(source) > MAX_DEPTH {
            return Err(error(format!("nested deeper than {MAX_DEPTH}"), Some("use `$defs` and `$ref`")));
        }
        let size = source.to_string().len();
        if size > MAX_SCHEMA_BYTES {
            return Err(error(format!("it has {size} bytes, more than the limit of {MAX_SCHEMA_BYTES}"), None));
        }
        let cost = Cost::measure(source).map_err(|(message, hint)| error(message, hint))?;
        let validator = options().build(source).map_err(|cause| SchemaError {
            path: cause.instance_path().as_str().split('/').skip(1).map(unescape).collect(),
            message: violation::bounded(&cause.to_string(), 300),
            hint: Some("see https://json-schema.org/draft/2020-12 for what is allowed".to_owned()),
        })?;
        Ok(Self { source: source.clone(), compiled: Compiled { validator, cost }.into() })
    }

    /// A schema that a test has compiled. It is compiled here when it is first needed, which for most shipped ones is
    /// never.
    pub(crate) fn shipped(source: &Value) -> Self {
        Self { source: source.clone(), compiled: OnceLock::new() }
    }

    /// Compiles the schema now, if it was not compiled before.
    pub(crate) fn prepare(&self) {
        self.compiled();
    }

    fn compiled(&self) -> &Compiled {
        const CHECKED: &str = "shipped protocols are checked by a test";
        self.compiled.get_or_init(|| Compiled {
            validator: options().build(&self.source).expect(CHECKED),
            cost: Cost::measure(&self.source).expect(CHECKED),
        })
    }

    /// All violations of the schema by a value; only one if there would be too much to check.
    pub fn check(&self, value: &Value) -> Vec<Violation> {
        self.violations(value, false)
    }

    /// The same for parameters as they are written, where a `${…}` may turn out to be any value.
    pub fn check_template(&self, value: &Value) -> Vec<Violation> {
        self.violations(value, true)
    }

    fn violations(&self, value: &Value, is_template: bool) -> Vec<Violation> {
        let Compiled { validator, cost } = self.compiled();
        let steps = match cost.allows(&self.source, value) {
            Allowed::Steps(steps) => steps,
            Allowed::TooMany => {
                let (message, hint) = cost::too_many();
                return vec![Violation { path: Vec::new(), message, hint: Some(hint) }];
            }
        };
        // A valid value, the common case, needs no allocation.
        if validator.is_valid(value) {
            return Vec::new();
        }
        let open = is_template && violation::holds_reference(value);
        if steps > MAX_LISTED_STEPS {
            if open {
                // The value is checked again when its references are filled in.
                return Vec::new();
            }
            let message = "it does not fit the schema; it is too large to report where".to_owned();
            return vec![Violation { path: Vec::new(), message, hint: None }];
        }
        let errors = validator.iter_errors(value).filter(|error| !open || violation::is_certain(error));
        violation::all(errors, &self.source)
    }

    /// Fills in the `default` values of absent properties, including those of nested objects that are present.
    pub fn fill_defaults(&self, value: &mut Value) {
        fill(&self.source, value, MAX_DEPTH);
    }
}

fn options<'a>() -> ValidationOptions<'a> {
    // The linear-time engine: a pattern with look-around or backreferences is refused instead of running forever.
    let patterns = PatternOptions::regex().size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES);
    jsonschema::options().with_draft(Draft::Draft202012).with_pattern_options(patterns).offline()
}

fn fill(schema: &Value, value: &mut Value, depth: usize) {
    let (Some(properties), Some(object)) = (schema.get("properties").and_then(Value::as_object), value.as_object_mut())
    else {
        return;
    };
    for (name, schema) in properties {
        if let Some(value) = object.get_mut(name) {
            if depth > 0 {
                fill(schema, value, depth - 1);
            }
        } else if let Some(default) = schema.get("default") {
            object.insert(name.clone(), default.clone());
        }
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Resolves the escapes of a JSON pointer segment.
pub(crate) fn unescape(segment: &str) -> String {
    segment.replace("~1", "/").replace("~0", "~")
}
