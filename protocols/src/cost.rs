//! Bounds the cost of a schema: of compiling it, and of each check of a value. Validators follow `$ref` and every
//! branch of `anyOf`, so even a small schema can take unlimited time. The steps are therefore counted beforehand, and
//! counting never takes more steps than are allowed.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::pattern;

/// The most subschemas of a schema, with every `$ref` expanded.
const MAX_EXPANDED: u64 = 20_000;
/// The longest chain of nested schemas, following `$ref`s.
const MAX_CHAIN: usize = 256;
/// The deepest nesting of schemas on the way through a value.
const MAX_DEPTH: usize = 400;
/// The highest cost of all patterns of one schema; one unit of [`pattern::cost`] is about 50 bytes of compiled pattern.
const MAX_PATTERNS: u64 = 20_000;
/// The most steps of one check: about a second.
const MAX_STEPS: u64 = 10_000_000;
/// How many bytes of text one step matches against a pattern of cost 1.
const PATTERN_BYTES: u64 = 16;
/// The steps that a reference to the JSON Schema meta-schemas counts; they are known and recursive.
const META_STEPS: u64 = 50;

/// Keywords whose value is a schema for the same value.
const SAME_VALUE: [&str; 4] = ["not", "if", "then", "else"];
/// Keywords whose value is a list of schemas for the same value.
const SAME_VALUE_LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Keywords whose value is a schema for parts of the value.
const PARTS: [&str; 8] = [
    "items",
    "contains",
    "unevaluatedItems",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "additionalItems",
    "contentSchema",
];
/// Keywords whose value is a map of schemas for named parts of the value.
const PART_MAPS: [&str; 2] = ["properties", "patternProperties"];

/// The cost of a schema, as far as it does not depend on the value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// The steps for each part of a value; `None` if the schema is recursive, so that they depend on the value.
    each: Option<u64>,
    /// The cost of all its patterns.
    patterns: u64,
}

impl Cost {
    /// Measures a schema.
    ///
    /// # Errors
    /// If it is too large, with the remedy.
    pub(crate) fn measure(schema: &Value) -> Result<Self, Problem> {
        let patterns = pattern::of_schema(schema);
        if patterns > MAX_PATTERNS {
            let message = format!("its patterns together cost {patterns}, more than the limit of {MAX_PATTERNS}");
            return Err((
                message,
                Some("use `maxLength` instead of `{n}`, and classes such as `[a-z]` instead of `\\p{…}`"),
            ));
        }
        let mut measure = Measure { places: Places::of(schema), sizes: BTreeMap::new(), recursive: false };
        let size = measure.size(schema, 0)?;
        if size > MAX_EXPANDED {
            let message = format!("with its references resolved it expands to more than {MAX_EXPANDED} schemas");
            return Err((message, Some("reference each definition fewer times")));
        }
        measure.check_loops()?;
        Ok(Self { each: (!measure.recursive).then_some(size), patterns })
    }

    /// How many steps checking a value takes. If they are few, the check may list every violation.
    pub(crate) fn allows(&self, schema: &Value, value: &Value) -> Allowed {
        // The size of the value nearly always answers that.
        let (parts, bytes) = extent(value);
        let matching = (self.patterns * bytes).div_ceil(PATTERN_BYTES);
        let most = self.each.map(|each| each.saturating_mul(parts).saturating_add(matching));
        if let Some(steps) = most.filter(|steps| *steps <= MAX_STEPS) {
            return Allowed::Steps(steps);
        }
        let walk = Walk { places: Places::of(schema), left: Cell::new(MAX_STEPS) };
        match walk.at(schema, value, 0) {
            Some(()) => Allowed::Steps(MAX_STEPS - walk.left.get()),
            None => Allowed::TooMany,
        }
    }
}

/// The steps that checking a value takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// At most this many steps.
    Steps(u64),
    /// More steps than are allowed.
    TooMany,
}

/// The message and the remedy for a check with too many steps.
pub(crate) fn too_many() -> (String, String) {
    let message = format!("checking it against the schema takes more than {MAX_STEPS} steps");
    (message, "send less at once, or give the schema fewer alternatives".to_owned())
}

/// How many values a value contains, including itself, and how many bytes of text.
fn extent(value: &Value) -> (u64, u64) {
    let bytes = |text: &str| u64::try_from(text.len()).unwrap_or(u64::MAX);
    match value {
        Value::String(text) => (1, bytes(text)),
        Value::Array(items) => items.iter().map(extent).fold((1, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1)),
        Value::Object(fields) => fields.iter().fold((1, 0), |sum, (key, field)| {
            let part = extent(field);
            (sum.0 + part.0 + 1, sum.1 + part.1 + bytes(key))
        }),
        _ => (1, 0),
    }
}

/// Resolves the references of a schema.
struct Places<'s> {
    root: &'s Value,
    anchors: BTreeMap<&'s str, &'s Value>,
}

enum Target<'s> {
    Here(&'s Value),
    /// In the JSON Schema meta-schemas.
    Meta,
    /// Unknown: the validator refuses it.
    Unknown,
}

impl<'s> Places<'s> {
    fn of(root: &'s Value) -> Self {
        let mut anchors = BTreeMap::new();
        collect_anchors(root, &mut anchors);
        Self { root, anchors }
    }

    fn target(&self, reference: &str) -> Target<'s> {
        if reference.starts_with("https://json-schema.org/") || reference.starts_with("http://json-schema.org/") {
            return Target::Meta;
        }
        let own = self.root.get("$id").and_then(Value::as_str).unwrap_or_default();
        let Some(fragment) = reference.strip_prefix(own).unwrap_or(reference).strip_prefix('#') else {
            return if reference == own { Target::Here(self.root) } else { Target::Unknown };
        };
        let found = if fragment.is_empty() || fragment.starts_with('/') {
            self.root.pointer(&percent_decoded(fragment))
        } else {
            self.anchors.get(fragment).copied()
        };
        found.map_or(Target::Unknown, Target::Here)
    }

    /// Calls `each` with every schema directly inside another, and with whether it applies to the same value. Returns
    /// the steps that the other keywords count.
    fn children(
        &self,
        schema: &'s Object,
        each: &mut dyn FnMut(&'s Value, bool) -> Result<(), Problem>,
    ) -> Result<u64, Problem> {
        let mut others = 0;
        for (word, inner) in schema {
            let word = word.as_str();
            match inner {
                Value::String(reference) if word == "$ref" || word == "$dynamicRef" => match self.target(reference) {
                    Target::Here(target) => each(target, true)?,
                    Target::Meta => others += META_STEPS,
                    Target::Unknown => return Err(unknown(reference)),
                },
                Value::Array(branches) if SAME_VALUE_LISTS.contains(&word) => {
                    branches.iter().try_for_each(|branch| each(branch, true))?;
                }
                Value::Array(items) if word == "prefixItems" || word == "items" => {
                    items.iter().try_for_each(|item| each(item, false))?;
                }
                Value::Object(named) if PART_MAPS.contains(&word) => {
                    named.values().try_for_each(|part| each(part, false))?;
                }
                Value::Object(named) if word == "dependentSchemas" || word == "dependencies" => {
                    named.values().filter(|inner| inner.is_object()).try_for_each(|inner| each(inner, true))?;
                }
                Value::Object(_) if SAME_VALUE.contains(&word) => each(inner, true)?,
                Value::Object(_) if PARTS.contains(&word) => each(inner, false)?,
                Value::Array(values) if word == "enum" => others += u64::try_from(values.len()).unwrap_or(u64::MAX) / 8,
                _ => {}
            }
        }
        Ok(others)
    }
}

/// What is wrong, and the remedy.
type Problem = (String, Option<&'static str>);
type Object = Map<String, Value>;

fn unknown(reference: &str) -> Problem {
    let shown: String = reference.chars().take(100).collect();
    let hint = "reference a place within the schema, such as `#/$defs/name`";
    (format!("the reference `{shown}` does not lead to a schema in this document"), Some(hint))
}

fn too_long() -> Problem {
    let message = format!("its references nest more than {MAX_CHAIN} schemas");
    (message, Some("shorten the chain of references"))
}

fn collect_anchors<'s>(schema: &'s Value, anchors: &mut BTreeMap<&'s str, &'s Value>) {
    match schema {
        Value::Object(fields) => {
            for word in ["$anchor", "$dynamicAnchor"] {
                if let Some(Value::String(name)) = fields.get(word) {
                    anchors.insert(name, schema);
                }
            }
            fields.values().for_each(|inner| collect_anchors(inner, anchors));
        }
        Value::Array(items) => items.iter().for_each(|inner| collect_anchors(inner, anchors)),
        _ => {}
    }
}

/// Decodes the percent-encoding in the fragment of a URI.
fn percent_decoded(fragment: &str) -> String {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let code = (first == b'%').then(|| fragment_code(behind)).flatten();
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn fragment_code(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits.get(..2)?).ok()?, 16).ok()
}

/// Counts the schemas that a schema expands to.
struct Measure<'s> {
    places: Places<'s>,
    /// Sizes by the address of the schema; 0 while one is being counted.
    sizes: BTreeMap<*const Value, u64>,
    recursive: bool,
}

impl<'s> Measure<'s> {
    fn size(&mut self, schema: &'s Value, chain: usize) -> Result<u64, Problem> {
        let Value::Object(fields) = schema else { return Ok(1) };
        if chain > MAX_CHAIN {
            return Err(too_long());
        }
        let at: *const Value = schema;
        match self.sizes.get(&at) {
            Some(0) => {
                self.recursive = true;
                return Ok(1);
            }
            Some(size) => return Ok(*size),
            None => {}
        }
        self.sizes.insert(at, 0);
        let mut inner = Vec::new();
        let others = self.places.children(fields, &mut |child, _| {
            inner.push(child);
            Ok(())
        })?;
        let mut size = others.saturating_add(1);
        for child in inner {
            size = size.saturating_add(self.size(child, chain + 1)?);
        }
        self.sizes.insert(at, size);
        Ok(size)
    }

    /// Refuses a schema that applies itself to the same value again, because checking it would never end.
    fn check_loops(&self) -> Result<(), Problem> {
        // The map has only addresses, which cannot be turned back into schemas, so the tree is walked once more.
        let mut done = BTreeMap::new();
        let mut open = vec![self.places.root];
        let mut seen = BTreeSet::new();
        while let Some(schema) = open.pop() {
            let at: *const Value = schema;
            let Value::Object(fields) = schema else { continue };
            if !seen.insert(at) {
                continue;
            }
            self.check_loop_from(schema, &mut done, 0)?;
            self.places.children(fields, &mut |child, _| {
                open.push(child);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn check_loop_from(
        &self,
        schema: &'s Value,
        done: &mut BTreeMap<*const Value, bool>,
        chain: usize,
    ) -> Result<(), Problem> {
        let Value::Object(fields) = schema else { return Ok(()) };
        if chain > MAX_CHAIN {
            return Err(too_long());
        }
        let at: *const Value = schema;
        match done.get(&at) {
            Some(true) => return Ok(()),
            Some(false) => {
                let message = "it references itself for the same value, so a check would never end";
                return Err((message.to_owned(), Some("reference it from `properties` or `items`")));
            }
            None => {}
        }
        done.insert(at, false);
        self.places.children(fields, &mut |child, here| {
            if here { self.check_loop_from(child, done, chain + 1) } else { Ok(()) }
        })?;
        done.insert(at, true);
        Ok(())
    }
}

/// A keyword of a schema, and its value.
type Keyword<'k> = (&'k str, &'k Value);

/// Follows the longest path that a validator can take, until no steps are left.
struct Walk<'s> {
    places: Places<'s>,
    left: Cell<u64>,
}

impl Walk<'_> {
    fn take(&self, steps: u64) -> Option<()> {
        self.left.set(self.left.get().checked_sub(steps)?);
        Some(())
    }

    fn at(&self, schema: &Value, value: &Value, depth: usize) -> Option<()> {
        self.take(1)?;
        let Value::Object(fields) = schema else { return Some(()) };
        // The deepest combination of values and of the schema chains for each of their parts.
        let depth = depth.checked_add(1).filter(|depth| *depth <= MAX_DEPTH)?;
        for (word, inner) in fields {
            self.keyword(fields, (word, inner), value, depth)?;
        }
        Some(())
    }

    fn keyword(&self, schema: &Object, (word, inner): Keyword<'_>, value: &Value, depth: usize) -> Option<()> {
        match (word, inner) {
            ("$ref" | "$dynamicRef", Value::String(reference)) => match self.places.target(reference) {
                Target::Here(target) => self.at(target, value, depth),
                Target::Meta => self.take(extent(value).0.saturating_mul(META_STEPS)),
                Target::Unknown => Some(()),
            },
            ("allOf" | "anyOf" | "oneOf", Value::Array(branches)) => {
                branches.iter().try_for_each(|branch| self.at(branch, value, depth))
            }
            ("not" | "if" | "then" | "else", _) => self.at(inner, value, depth),
            ("dependentSchemas" | "dependencies", Value::Object(named)) => {
                named.values().filter(|inner| inner.is_object()).try_for_each(|inner| self.at(inner, value, depth))
            }
            ("enum", Value::Array(values)) => self.take(u64::try_from(values.len()).unwrap_or(u64::MAX)),
            ("const", _) | ("uniqueItems", Value::Bool(true)) => self.take(extent(value).0),
            _ => match value {
                Value::String(text) => self.text_keyword((word, inner), text),
                Value::Array(items) => self.list_keyword((word, inner), items, depth),
                Value::Object(parts) => self.object_keyword(schema, (word, inner), parts, depth),
                _ => Some(()),
            },
        }
    }

    fn text_keyword(&self, (word, inner): Keyword<'_>, text: &str) -> Option<()> {
        match (word, inner) {
            ("pattern", Value::String(pattern)) => self.matching(pattern, text),
            _ => Some(()),
        }
    }

    fn list_keyword(&self, (word, inner): Keyword<'_>, items: &[Value], depth: usize) -> Option<()> {
        match (word, inner) {
            ("prefixItems", Value::Array(schemas)) => {
                schemas.iter().zip(items).try_for_each(|(schema, item)| self.at(schema, item, depth))
            }
            ("items" | "contains" | "unevaluatedItems" | "additionalItems", _) => {
                items.iter().try_for_each(|item| self.at(inner, item, depth))
            }
            _ => Some(()),
        }
    }

    fn object_keyword(&self, schema: &Object, (word, inner): Keyword<'_>, parts: &Object, depth: usize) -> Option<()> {
        match (word, inner) {
            ("properties", Value::Object(named)) => named.iter().try_for_each(|(name, schema)| {
                parts.get(name).map_or(self.take(1), |part| self.at(schema, part, depth))
            }),
            ("patternProperties", Value::Object(named)) => named.iter().try_for_each(|(pattern, schema)| {
                parts.iter().try_for_each(|(name, part)| {
                    self.matching(pattern, name)?;
                    self.at(schema, part, depth)
                })
            }),
            ("additionalProperties" | "unevaluatedProperties", _) => {
                let named = schema.get("properties").and_then(Value::as_object);
                let others = parts.iter().filter(|(name, _)| named.is_none_or(|named| !named.contains_key(*name)));
                others.map(|(_, part)| part).try_for_each(|part| self.at(inner, part, depth))
            }
            ("propertyNames", _) => {
                parts.keys().try_for_each(|name| self.at(inner, &Value::String(name.clone()), depth))
            }
            _ => Some(()),
        }
    }

    fn matching(&self, pattern: &str, text: &str) -> Option<()> {
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.take(1 + pattern::cost(pattern).saturating_mul(bytes) / PATTERN_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn doubled(levels: usize, with: impl Fn(Value) -> Value) -> Value {
        let mut definitions = Map::new();
        for level in 0..levels {
            definitions.insert(format!("a{level}"), with(json!({"$ref": format!("#/$defs/a{}", level + 1)})));
        }
        definitions.insert(format!("a{levels}"), json!({"type": "string"}));
        json!({"$ref": "#/$defs/a0", "$defs": definitions})
    }

    #[test]
    fn schemas_that_expand_without_bound_are_refused_and_common_ones_are_not() {
        let both = |inner: Value| json!({"allOf": [inner.clone(), inner]});
        assert!(Cost::measure(&doubled(8, both)).is_ok());
        for (schema, expected) in [
            (doubled(40, both), "expands to more than"),
            (doubled(40, |inner| json!({"items": inner, "prefixItems": [inner]})), "expands to more than"),
            (doubled(5_000, |inner| json!({"items": inner})), "references nest"),
            (json!({"$ref": "#"}), "never end"),
            (json!({"properties": {"a": {"anyOf": [{"type": "string"}, {"$ref": "#/properties/a"}]}}}), "never end"),
            (json!({"$ref": "#/$defs/none"}), "does not lead to a schema"),
            (json!({"$ref": "https://example.org/x"}), "does not lead to a schema"),
            (json!({"pattern": "\\p{L}{100}"}), "patterns together cost"),
            (json!({"anyOf": vec![json!({"pattern": "(?:.{30}){30}"}); 20]}), "patterns together cost"),
            (json!({"pattern": "((((a{100}){100}){100}){100}){100}"}), "patterns together cost"),
        ] {
            let (message, _) = Cost::measure(&schema).expect_err(expected);
            assert!(message.contains(expected), "{message}");
        }
        for schema in [
            json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}),
            json!({"$id": "https://example.org/t", "items": {"$ref": "https://example.org/t#/$defs/a%20b"},
                   "$defs": {"a b": {"type": "string"}}}),
            json!({"items": {"$ref": "#node"}, "$defs": {"n": {"$anchor": "node", "items": {"$ref": "#node"}}}}),
            json!({"$ref": "https://json-schema.org/draft/2020-12/schema"}),
            json!({"pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$"}),
            json!({"pattern": "^.{1,1000}$"}),
        ] {
            assert!(Cost::measure(&schema).is_ok(), "{schema}: {:?}", Cost::measure(&schema));
        }
    }

    #[test]
    fn steps_are_those_of_the_value_and_end_at_the_limit() {
        let steps = |schema: &Value, value: &Value| Cost::measure(schema).expect("measured").allows(schema, value);
        let list = json!({"items": {"type": "integer"}});
        assert_eq!(steps(&list, &json!([1, 2, 3])), Allowed::Steps(8));
        assert_eq!(steps(&list, &json!(vec![1; 500_000])), Allowed::Steps(1_000_002));
        let wide = json!({"items": {"anyOf": vec![json!({"type": "string"}); 500]}});
        assert_eq!(steps(&wide, &json!(vec![1; 100_000])), Allowed::TooMany);
        // Each level refers to the next one twice, so a small value takes 2^n steps.
        let branch = json!({"type": "array", "items": {"$ref": "#"}});
        let twice = json!({"anyOf": [branch, branch, {"type": "string"}]});
        let deep = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        assert!(matches!(steps(&twice, &deep(8)), Allowed::Steps(_)));
        assert_eq!(steps(&twice, &deep(60)), Allowed::TooMany);
        let pattern = json!({"pattern": "(?:.{1,30}){1,30}"});
        assert!(matches!(steps(&pattern, &json!("x".repeat(1_000))), Allowed::Steps(_)));
        assert_eq!(steps(&pattern, &json!("x".repeat(1_000_000))), Allowed::TooMany);
        assert!(matches!(steps(&json!({"pattern": "^[a-z]+$"}), &json!("x".repeat(1_000_000))), Allowed::Steps(_)));
    }
}
