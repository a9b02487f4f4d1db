//! Reads what a protocol or provider file says: every problem is collected, with its place, before all are reported. The
//! text itself is parsed by [`gleitzeit_workflow::yaml`].

use std::path::{Path, PathBuf};

use gleitzeit_workflow::ErrorCode;
use gleitzeit_workflow::duration::{self, Bounds};
use gleitzeit_workflow::suggest::did_you_mean;
use gleitzeit_workflow::yaml::{self, Limits};
pub use gleitzeit_workflow::yaml::{FileKind, Kind, Node, Problem, Spot};
use serde_json::{Map, Value};

/// A year; a longer duration is surely a mistake.
const DURATIONS: Bounds = Bounds { allows_zero: false, needs_unit: true, max_ms: 365 * 24 * 3_600_000 };

/// Parses a file's text and collects its problems.
#[derive(Debug)]
pub struct Reader {
    file: String,
    problems: Vec<Problem>,
}

impl Reader {
    /// A reader for a source with this name.
    pub fn new(file: impl Into<String>) -> Self {
        Self { file: file.into(), problems: Vec::new() }
    }

    /// Resolves a path that the file names: a relative one is relative to the file's own folder.
    pub fn beside(&self, path: &str) -> PathBuf {
        Path::new(&self.file).parent().unwrap_or(Path::new("")).join(path)
    }

    /// Parses the text of a file of this kind. Faults that do not stop the parsing, such as a repeated key, are noted.
    pub fn parse(&mut self, kind: FileKind, text: &str) -> Option<Node> {
        const LIMITS: Limits = Limits::DEFINITION;
        if text.len() > LIMITS.bytes {
            let message = format!("the file has {} bytes, more than the limit of {}", text.len(), LIMITS.bytes);
            self.problem(Spot::default(), message, None);
            return None;
        }
        match yaml::read(yaml::without_mark(text), &self.file, kind, &LIMITS) {
            Ok((node, noted)) => {
                self.problems.extend(noted);
                Some(node)
            }
            Err(problem) => {
                self.problems.push(*problem);
                None
            }
        }
    }

    /// Notes a problem.
    pub fn problem(&mut self, spot: Spot, message: impl Into<String>, hint: Option<String>) {
        let problem = Problem::of_file(&self.file, ErrorCode::ConfigurationError, message).at_spot(spot);
        self.problems.push(Problem { hint, ..problem });
    }

    /// The value if there were no problems; otherwise all problems in the order of the file.
    ///
    /// # Errors
    /// If there are problems, or no value for a reason already noted.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<T, Vec<Problem>> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => {
                if self.problems.is_empty() {
                    self.problem(Spot::default(), "the definition is not complete", None);
                }
                self.problems.sort_by(Problem::by_place);
                Err(self.problems)
            }
        }
    }

    /// The fields of an object; a field that is not `known` is reported with the nearest known one.
    pub fn fields<'a>(&mut self, node: &'a Node, what: &str, known: &[&str]) -> Fields<'a> {
        let fields = self.map(node, what);
        for (key, (spot, _)) in fields.into_iter().flatten() {
            if !known.contains(&key.as_str()) {
                let hint = did_you_mean(key, known).unwrap_or_else(|| format!("known fields: {}", known.join(", ")));
                self.problem(*spot, format!("unknown field `{key}` in {what}"), Some(hint));
            }
        }
        Fields { spot: node.spot, fields }
    }

    /// The entries of an object: each key with its own place and the value.
    pub fn map<'a>(&mut self, node: &'a Node, what: &str) -> Option<&'a yaml::Fields> {
        match &node.kind {
            Kind::Object(fields) => Some(fields),
            _ => {
                self.problem(node.spot, format!("expected an object for {what}, found {}", node.describe()), None);
                None
            }
        }
    }

    /// A required text that must not be empty.
    pub fn required_text(&mut self, fields: &Fields<'_>, name: &str, what: &str) -> Option<String> {
        match fields.get(name) {
            Some(node) => self.text(node, name),
            None => {
                let hint = Some(format!("add `{name}:`"));
                self.problem(fields.spot, format!("`{name}` is missing in {what}"), hint);
                None
            }
        }
    }

    /// An optional text that must not be empty.
    pub fn optional_text(&mut self, fields: &Fields<'_>, name: &str) -> Option<String> {
        fields.get(name).and_then(|node| self.text(node, name))
    }

    /// A text that must not be empty.
    pub fn text(&mut self, node: &Node, name: &str) -> Option<String> {
        match &node.kind {
            Kind::Text(text) if !text.is_empty() => Some(text.clone()),
            _ => {
                self.problem(node.spot, format!("expected text for `{name}`, found {}", node.describe()), None);
                None
            }
        }
    }

    /// A duration: a number of seconds, or text such as `500ms`, `2m`, `1h`.
    pub fn duration_ms(&mut self, node: &Node, name: &str) -> Option<u64> {
        let parsed = duration_ms(&node.kind);
        if parsed.is_none() {
            let message = format!("expected a duration for `{name}`, found {}", node.describe());
            self.problem(node.spot, message, Some("write seconds (90) or text (500ms, 2m, 1h)".to_owned()));
        }
        parsed
    }

    /// A whole number of at least 1.
    pub fn positive(&mut self, node: &Node, name: &str) -> Option<u64> {
        match &node.kind {
            Kind::Number(number) if number.as_u64().is_some_and(|number| number > 0) => number.as_u64(),
            _ => {
                let message = format!("expected a whole number of at least 1 for `{name}`, found {}", node.describe());
                self.problem(node.spot, message, None);
                None
            }
        }
    }

    /// An optional whole number from 1 to `max`.
    pub fn positive_up_to(&mut self, fields: &Fields<'_>, name: &str, max: u64) -> Option<u64> {
        let node = fields.get(name)?;
        let number = self.positive(node, name)?;
        if number > max {
            self.problem(node.spot, format!("`{name}` is at most {max}"), None);
            return None;
        }
        Some(number)
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, node: &Node, name: &str) -> Option<bool> {
        if let Kind::Bool(value) = node.kind {
            return Some(value);
        }
        let message = format!("expected true or false for `{name}`, found {}", node.describe());
        self.problem(node.spot, message, None);
        None
    }

    /// An object as JSON.
    pub fn object(&mut self, node: &Node, name: &str) -> Option<Map<String, Value>> {
        self.map(node, &format!("`{name}`"))?;
        match node.to_value() {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }
}

/// The fields of one object.
#[derive(Debug)]
pub struct Fields<'a> {
    /// The place of the object.
    pub spot: Spot,
    /// `None` if there is no object where one was expected.
    fields: Option<&'a yaml::Fields>,
}

impl<'a> Fields<'a> {
    /// The value of a field; `null` counts as absent.
    pub fn get(&self, name: &str) -> Option<&'a Node> {
        let (_, node) = self.fields?.get(name)?;
        (!matches!(node.kind, Kind::Null)).then_some(node)
    }
}

/// The milliseconds of a written duration: a number of seconds, or text such as `500ms`, `1.5s`, `2m`, `1h`.
pub fn duration_ms(value: &Kind) -> Option<u64> {
    match value {
        Kind::Number(number) => duration::from_seconds(number.as_f64()?, &DURATIONS).ok(),
        Kind::Text(text) => {
            let text = text.trim();
            duration::parse(text.strip_prefix('+').unwrap_or(text), &DURATIONS).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_are_above_0_and_at_most_a_year() {
        let read = |text: &str| duration_ms(&Kind::Text(text.to_owned()));
        for (text, expected) in [
            (" 500ms ", Some(500)),
            ("1.5 s", Some(1_500)),
            ("+2m", Some(120_000)),
            ("365d", Some(31_536_000_000)),
            // Rounded, as in workflows.
            ("1.6ms", Some(2)),
            ("0.1ms", Some(1)),
            ("366d", None),
            ("0s", None),
            ("-1s", None),
            ("+ 2m", None),
            ("30", None),
            ("", None),
        ] {
            assert_eq!(read(text), expected, "{text:?}");
        }
        assert_eq!(duration_ms(&Kind::Number(90.into())), Some(90_000));
        assert_eq!(duration_ms(&Kind::Number(0.into())), None);
        assert_eq!(duration_ms(&Kind::Bool(true)), None);
    }
}
