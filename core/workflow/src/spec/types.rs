//! The JSON types that a value can have, as far as a JSON Schema determines them.
//!
//! The invariant: a type that is left out is impossible, so two schemas without a common type share no value. Ranges of
//! numbers, lengths and patterns are left to the validator.

use std::cell::Cell;
use std::fmt;

use serde_json::{Map, Value};

use super::catalog::PathSegment;

/// The maximum number of keywords and references on the way to one value.
const DEPTH: u32 = 40;
/// The maximum number of schemas visited for one value: references can make a small schema endless.
const VISITS: u32 = 2_000;
/// The maximum number of schemas visited for a whole workflow; values of `enum` and characters of `$ref` count as
/// fractions.
const ALL_VISITS: u32 = 500_000;
/// This many values of `enum`, or characters of `$ref`, count as one schema.
const VALUES_PER_VISIT: usize = 16;

/// A set of JSON types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Types(u8);

impl Types {
    pub(super) const NONE: Self = Self(0);
    pub(super) const TEXT: Self = Self(1);
    const WHOLE: Self = Self(2);
    const FRACTION: Self = Self(4);
    const BOOLEAN: Self = Self(8);
    const OBJECT: Self = Self(16);
    const LIST: Self = Self(32);
    const NULL: Self = Self(64);
    pub(super) const ANY: Self = Self(127);

    const NAMES: [(Self, &'static str); 7] = [
        (Self::TEXT, "text"),
        (Self(6), "a number"),
        (Self::WHOLE, "a whole number"),
        (Self::BOOLEAN, "a boolean"),
        (Self::OBJECT, "an object"),
        (Self::LIST, "a list"),
        (Self::NULL, "null"),
    ];

    fn named(name: &str) -> Self {
        match name {
            "string" => Self::TEXT,
            "integer" => Self::WHOLE,
            "number" => Self(Self::WHOLE.0 | Self::FRACTION.0),
            "boolean" => Self::BOOLEAN,
            "object" => Self::OBJECT,
            "array" => Self::LIST,
            "null" => Self::NULL,
            _ => Self::ANY,
        }
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::String(_) => Self::TEXT,
            Value::Number(number) => match number.as_f64() {
                // In JSON Schema, 1.0 is an integer too.
                Some(number) if number.fract() != 0.0 => Self::FRACTION,
                _ => Self::WHOLE,
            },
            Value::Bool(_) => Self::BOOLEAN,
            Value::Object(_) => Self::OBJECT,
            Value::Array(_) => Self::LIST,
            Value::Null => Self::NULL,
        }
    }

    /// Whether a value can fit both schemas.
    pub(super) fn overlaps(self, other: Self) -> bool {
        self.and(other) != Self::NONE
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Such as `text or null`.
impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = *self;
        let mut first = true;
        for (types, name) in Self::NAMES {
            if types.and(left) == types {
                write!(f, "{}{name}", if first { "" } else { " or " })?;
                left = Self(left.0 & !types.0);
                first = false;
            }
        }
        if left == Self::FRACTION { write!(f, "{}a number", if first { "" } else { " or " }) } else { Ok(()) }
    }
}

/// The visits that are left for one workflow. Once they are used up, every type is possible.
#[derive(Debug)]
pub(super) struct Visits(Cell<u32>);

impl Default for Visits {
    fn default() -> Self {
        Self(Cell::new(ALL_VISITS))
    }
}

/// The types that a value can have at this path of a value that fits the schema.
pub(super) fn at(schema: &Value, path: &[PathSegment], visits: &Visits) -> Types {
    let here = visits.0.get().min(VISITS);
    let walk = Walk { root: schema, visits: Cell::new(here) };
    let types = walk.at(schema, path, DEPTH);
    visits.0.set(visits.0.get() - (here - walk.visits.get()));
    types
}

struct Walk<'s> {
    /// The schema that `$ref`s are relative to.
    root: &'s Value,
    visits: Cell<u32>,
}

impl Walk<'_> {
    /// Takes a visit for a schema and its values or characters; `false` if none is left.
    fn visit(&self, schema: &Value) -> bool {
        let values = schema.get("enum").and_then(Value::as_array).map_or(0, Vec::len);
        let letters = schema.get("$ref").and_then(Value::as_str).map_or(0, str::len);
        let cost = u32::try_from(1 + (values + letters) / VALUES_PER_VISIT).unwrap_or(u32::MAX);
        let left = self.visits.get().checked_sub(cost);
        self.visits.set(left.unwrap_or(0));
        left.is_some()
    }

    fn at(&self, schema: &Value, path: &[PathSegment], depth: u32) -> Types {
        let depth = depth.checked_sub(1).filter(|_| self.visit(schema));
        let (Some(schema), Some(depth)) = (schema.as_object(), depth) else {
            return if schema == &Value::Bool(false) { Types::NONE } else { Types::ANY };
        };
        let mut types = match path.split_first() {
            None => here(schema),
            Some((step, rest)) => {
                let holder = match step {
                    PathSegment::Key(_) => Types::OBJECT,
                    PathSegment::Index(_) => Types::LIST,
                };
                if !here(schema).overlaps(holder) {
                    return Types::NONE;
                }
                inner(schema, step).map_or(Types::ANY, |inner| self.at(inner, rest, depth))
            }
        };
        let target = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
        if let Some(target) = target.and_then(|pointer| self.root.pointer(pointer)) {
            types = types.and(self.at(target, path, depth));
        }
        let branches = |word: &str| schema.get(word).and_then(Value::as_array).into_iter().flatten();
        for branch in branches("allOf") {
            types = types.and(self.at(branch, path, depth));
        }
        for word in ["anyOf", "oneOf"] {
            if schema.contains_key(word) {
                let any = branches(word).map(|branch| self.at(branch, path, depth)).fold(Types::NONE, Types::or);
                types = types.and(any);
            }
        }
        types
    }
}

/// The types that the schema's own keywords allow.
fn here(schema: &Map<String, Value>) -> Types {
    let mut types = match schema.get("type") {
        Some(Value::String(name)) => Types::named(name),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).map(Types::named).fold(Types::NONE, Types::or)
        }
        _ => Types::ANY,
    };
    if let Some(constant) = schema.get("const") {
        types = types.and(Types::of(constant));
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        types = types.and(values.iter().map(Types::of).fold(Types::NONE, Types::or));
    }
    types
}

/// The schema of a part, if the schema's own keywords name one.
fn inner<'s>(schema: &'s Map<String, Value>, step: &PathSegment) -> Option<&'s Value> {
    match step {
        PathSegment::Key(key) => {
            let named = schema.get("properties").and_then(|properties| properties.get(key));
            named.or_else(|| schema.get("additionalProperties").filter(|_| !schema.contains_key("patternProperties")))
        }
        PathSegment::Index(index) => {
            let first = schema.get("prefixItems").and_then(|items| items.get(index));
            first.or_else(|| schema.get("items"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(schema: &Value, path: &str) -> String {
        let path: Vec<PathSegment> = path
            .split('.')
            .filter(|step| !step.is_empty())
            .map(|step| step.parse().map_or_else(|_| PathSegment::Key(step.to_owned()), PathSegment::Index))
            .collect();
        match at(schema, &path, &Visits::default()) {
            Types::ANY => "any".to_owned(),
            types => types.to_string(),
        }
    }

    #[test]
    fn the_type_check_is_bounded_per_value_and_in_total() {
        let word = |inner: Value| json!({"anyOf": [inner.clone(), inner]});
        let mut endless = json!({"$ref": "#"});
        for _ in 0..8 {
            endless = word(endless);
        }
        let many = json!({"enum": vec![1; 10_000]});
        let visits = Visits::default();
        for calls in 1..=1_000 {
            assert_eq!(at(&endless, &[], &visits), Types::ANY);
            let used = ALL_VISITS - visits.0.get();
            assert!(used <= VISITS * calls && used <= ALL_VISITS, "{used}");
        }
        assert_eq!(visits.0.get(), 0);
        assert_eq!(at(&json!({"type": "string"}), &[], &visits), Types::ANY);
        let visits = Visits::default();
        assert_eq!(at(&many, &[], &visits), Types::WHOLE);
        assert_eq!(ALL_VISITS - visits.0.get(), 626);
    }

    #[test]
    fn only_certain_types_are_inferred() {
        for (schema, path, expected) in [
            (json!({}), "", "any"),
            (json!(true), "a.0", "any"),
            (json!({"type": "integer"}), "", "a whole number"),
            (json!({"type": ["number", "null"]}), "", "a number or null"),
            (json!({"const": true}), "", "a boolean"),
            (json!({"enum": ["a", 1, 1.5, null]}), "", "text or a number or null"),
            (json!({"enum": [1.5]}), "", "a number"),
            (json!({"anyOf": [{"type": "string"}, {"type": "array"}]}), "", "text or a list"),
            (json!({"type": "string", "oneOf": [{"type": "string"}, {"type": "array"}]}), "", "text"),
            (json!({"allOf": [{"type": ["string", "null"]}, {"type": ["null", "object"]}]}), "", "null"),
            (json!({"not": {"type": "string"}}), "", "any"),
            (json!({"properties": {"a": {"items": {"type": "string"}}}}), "a.3", "text"),
            (json!({"items": {"type": "string"}, "prefixItems": [{"type": "null"}]}), "0", "null"),
            (json!({"additionalProperties": {"type": "string"}}), "a", "text"),
            (json!({"additionalProperties": {"type": "string"}, "patternProperties": {}}), "a", "any"),
            (json!({"$ref": "#/$defs/t", "$defs": {"t": {"type": "string"}}}), "", "text"),
            (json!({"$ref": "https://example.org/t"}), "", "any"),
            (json!({"$ref": "#"}), "", "any"),
            (json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}, {"$ref": "#"}]}), "", "any"),
            (json!({"anyOf": [{"type": "string"}, {"items": {"type": "object"}, "type": "array"}]}), "0", "an object"),
        ] {
            assert_eq!(shown(&schema, path), expected, "{schema} {path}");
        }
    }
}
