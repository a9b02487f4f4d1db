//! JSON from outside: the one check of what is accepted, and the one way to read it.
//!
//! A text that passes [`check`] can be carried through every hop without change: it is nested at most [`MAX_DEPTH`]
//! levels, its whole numbers fit into 64 bits, its other numbers into a double, and its text is Unicode. A text that
//! does not pass is refused with the place of the fault; nothing is rounded, cut or replaced.

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error;

/// The maximum nesting of lists and objects, in values and in workflow files alike: `[]` is 1 deep, `[[]]` 2.
pub const MAX_DEPTH: usize = 128;

/// Messages cut a name in a path to this many characters.
const SHOWN_NAME: usize = 60;
/// Messages cut a path to this many characters.
const SHOWN_PATH: usize = 120;
/// Messages cut a number or a piece of text to this many characters.
const SHOWN_TOKEN: usize = 40;

/// What is wrong with JSON from outside.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// The text is not JSON.
    #[error("{0}")]
    Syntax(String),
    /// The text holds `NaN`, `Infinity` or `-Infinity`, which some programs write.
    #[error("{0} is no JSON; write null or text instead")]
    NotFinite(&'static str),
    /// The value is nested too deeply.
    #[error("nested deeper than the limit of {MAX_DEPTH} levels")]
    Depth,
    /// A whole number does not fit into 64 bits.
    #[error("the whole number {0} does not fit into 64 bits; send it as text")]
    WholeNumber(String),
    /// A number is too large for a double.
    #[error("the number {0} is too large to be stored; send it as text")]
    TooLarge(String),
    /// A number is closer to zero than any double, and not zero.
    #[error("the number {0} is too close to zero to be stored; send it as text")]
    TooSmall(String),
    /// A `\u` escape is half of a surrogate pair.
    #[error("{0} is half of a surrogate pair (a lone surrogate), which is not Unicode text")]
    Surrogate(String),
}

/// What is wrong with JSON from outside, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The path of the value that has the fault, as references write it: `a.b[3]['odd key']`; empty for the whole text.
    pub path: String,
    /// The byte offset of the fault in the text.
    pub at: usize,
    /// The fault.
    pub fault: Fault,
}

impl std::error::Error for Problem {}

impl std::fmt::Display for Problem {
    /// `in `a.b`: what is wrong, at byte N`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.path.is_empty() {
            write!(f, "in `{}`: ", shown_text(&self.path, SHOWN_PATH))?;
        }
        write!(f, "{}, at byte {}", self.fault, self.at)
    }
}

impl Problem {
    /// Whether the text is grammatical JSON with a value in it that cannot be carried.
    pub fn is_content_fault(&self) -> bool {
        !matches!(self.fault, Fault::Syntax(_) | Fault::NotFinite(_))
    }

    /// The message for a value that was never text: ``a.b`: what is wrong`.
    pub fn in_value(&self) -> String {
        let path = shown_text(&self.path, SHOWN_PATH);
        if path.is_empty() { self.fault.to_string() } else { format!("`{path}`: {}", self.fault) }
    }

    /// The top-level field that has the fault; empty if there is none.
    pub fn first_step(&self) -> &str {
        let end = self.path.char_indices().find(|(at, letter)| *at > 0 && matches!(letter, '.' | '['));
        self.path.get(..end.map_or(self.path.len(), |(at, _)| at)).unwrap_or(&self.path)
    }

    /// The same problem, for a value that is the `field` of something larger.
    #[must_use]
    pub fn within(mut self, field: &str) -> Self {
        let separator = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{field}{separator}{}", self.path);
        self
    }
}

/// Checks that a text is one JSON value which can be carried without change.
///
/// # Errors
/// The first fault and its place.
pub fn check(text: &str) -> Result<(), Problem> {
    check_inside(text, 0)
}

/// Checks a text as [`check`] does, for use inside `outer` lists and objects, which count towards its depth.
///
/// # Errors
/// The first fault and its place.
pub fn check_inside(text: &str, outer: usize) -> Result<(), Problem> {
    check_grammar(text)?;
    Walk { most: MAX_DEPTH.saturating_sub(outer), ..Walk::new(text) }.run()
}

/// Checks that a text is one JSON value by its grammar alone.
///
/// # Errors
/// The place where the grammar is broken: [`Fault::Syntax`] or [`Fault::NotFinite`].
pub fn check_grammar(text: &str) -> Result<(), Problem> {
    let mut reader = serde_json::Deserializer::from_str(text);
    // This needs no stack, however deep the text is nested.
    IgnoredAny::deserialize(&mut reader).and_then(|_| reader.end()).map_err(|error| syntax(text, &error))
}

/// Checks a text that is known to be grammatical JSON, as raw values are.
///
/// # Errors
/// The first fault and its place.
pub fn check_grammatical(text: &str) -> Result<(), Problem> {
    Walk::new(text).run()
}

/// Reads a text from any source.
///
/// # Errors
/// If it does not pass [`check`].
pub fn parse(text: &str) -> Result<Value, Problem> {
    check(text)?;
    read_checked(text)
}

/// Reads a text that is known to be grammatical, as raw values are.
///
/// # Errors
/// If it does not pass [`check_grammatical`].
pub fn parse_grammatical(text: &str) -> Result<Value, Problem> {
    check_grammatical(text)?;
    read_checked(text)
}

/// The value of a grammatical text, for display. Parts that cannot be carried appear as their text, so that everything
/// that was ever stored can be shown. A text that is not JSON is shown as it is.
pub fn shown(text: &str) -> Value {
    shown_within(text, MAX_DEPTH)
}

fn shown_within(text: &str, levels: usize) -> Value {
    let as_text = || Value::String(text.to_owned());
    match parse_grammatical(text) {
        Ok(value) => value,
        Err(_) if levels == 0 => as_text(),
        Err(_) if text.starts_with('[') => match serde_json::from_str::<Vec<&RawValue>>(text) {
            Ok(items) => items.into_iter().map(|item| shown_within(item.get(), levels - 1)).collect(),
            Err(_) => as_text(),
        },
        Err(_) if text.starts_with('{') => match serde_json::from_str::<IndexMap<String, &RawValue>>(text) {
            Ok(fields) => {
                fields.into_iter().map(|(name, field)| (name, shown_within(field.get(), levels - 1))).collect()
            }
            Err(_) => as_text(),
        },
        Err(_) => as_text(),
    }
}

/// The maximum number of levels that messages and journal entries put around a value.
const ENVELOPE: usize = 32;

/// Reads a message, a journal entry or parameters into their type. Values in them may be as deep as [`MAX_DEPTH`]
/// allows, whatever surrounds them.
///
/// # Errors
/// The parser's own errors, and one for a text that is nested too deeply.
pub fn decode<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, serde_json::Error> {
    match serde_json::from_str(text) {
        // The parser's own limit is one level below what a value may have.
        Err(error) if error.to_string().starts_with(PARSER_LIMIT) && levels(text) <= MAX_DEPTH + ENVELOPE => {
            let mut reader = serde_json::Deserializer::from_str(text);
            reader.disable_recursion_limit();
            let value = T::deserialize(&mut reader)?;
            reader.end().map(|()| value)
        }
        read => read,
    }
}

/// The start of the parser's message for a text that is too deep for it.
const PARSER_LIMIT: &str = "recursion limit exceeded";

/// The nesting depth of a text.
fn levels(text: &str) -> usize {
    let (mut level, mut deepest, mut is_text, mut is_escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_text,
            b'"' => is_text = !is_text,
            b'[' | b'{' if !is_text => {
                level += 1;
                deepest = deepest.max(level);
            }
            b']' | b'}' if !is_text => level = level.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn read_checked(text: &str) -> Result<Value, Problem> {
    let mut reader = serde_json::Deserializer::from_str(text);
    // The check above has bounded the depth.
    reader.disable_recursion_limit();
    Value::deserialize(&mut reader).map_err(|error| syntax(text, &error))
}

/// Checks a value that was not made from JSON text: only its depth can be wrong.
///
/// # Errors
/// The place of the first value that is too deep; `at` is 0.
pub fn check_value(value: &Value) -> Result<(), Problem> {
    let mut path = Vec::new();
    if is_too_deep(value, &mut path) {
        path.reverse();
        return Err(Problem { path: path.concat().trim_start_matches('.').to_owned(), at: 0, fault: Fault::Depth });
    }
    Ok(())
}

/// Whether a value is nested deeper than the limit. If so, `path` receives the steps to the place, the last one first.
fn is_too_deep(value: &Value, path: &mut Vec<String>) -> bool {
    fn at(value: &Value, depth: usize, path: &mut Vec<String>) -> bool {
        if !value.is_array() && !value.is_object() {
            return false;
        }
        if depth == MAX_DEPTH {
            return true;
        }
        let found = match value {
            Value::Array(items) => {
                items.iter().position(|item| at(item, depth + 1, path)).map(|index| format!("[{index}]"))
            }
            Value::Object(fields) => {
                fields.iter().find(|(_, field)| at(field, depth + 1, path)).map(|(key, _)| step(key))
            }
            _ => None,
        };
        found.map(|step| path.push(step)).is_some()
    }
    at(value, 0, path)
}

/// A step to a field, in reference syntax.
fn step(key: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if !key.is_empty() && key.chars().all(is_plain) && key.len() <= SHOWN_NAME {
        return format!(".{key}");
    }
    format!("['{}']", shown_text(key, SHOWN_NAME))
}

fn shown_text(text: &str, limit: usize) -> String {
    let mut cut: String = text.chars().take(limit).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

/// The parser's complaint about a text that is not JSON, with the path to the fault as far as the text could be read.
fn syntax(text: &str, error: &serde_json::Error) -> Problem {
    let at = if error.is_eof() { text.len() } else { offset(text, error.line(), error.column()) };
    // The parser reports where it noticed the fault: at the letter after it, or in the middle of a word.
    let start = text[..at].trim_end_matches(|letter: char| letter.is_ascii_alphabetic() || letter == '-').len();
    let word = &text[start..];
    let not_finite = ["NaN", "Infinity", "-Infinity"].into_iter().find(|name| word.starts_with(name));
    let (at, fault) = match not_finite {
        Some(name) => (start, Fault::NotFinite(name)),
        None => {
            let message = error.to_string();
            let end = message.rfind(" at line ").unwrap_or(message.len());
            (at, Fault::Syntax(message[..end].to_owned()))
        }
    };
    let mut walk = Walk::new(&text[..at]);
    // Other faults before this place come later in the order of checks; only the path is needed here.
    let _ = walk.run();
    Problem { path: walk.path(), at, fault }
}

/// The byte offset of a place that the parser gives by line and column, both from 1; always on a character boundary.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let mut at = (before + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}

#[derive(Clone, Copy, Debug)]
enum Level {
    /// Holds the index of the current item.
    List(usize),
    /// Holds the range of the current key's text between its quotes, once there is one.
    Object { key: Option<(usize, usize)>, wants_key: bool },
}

/// One pass over the tokens of a grammatical text, or of the beginning of one.
struct Walk<'a> {
    text: &'a str,
    at: usize,
    levels: Vec<Level>,
    /// The maximum number of levels.
    most: usize,
}

impl<'a> Walk<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, levels: Vec::new(), most: MAX_DEPTH }
    }

    fn run(&mut self) -> Result<(), Problem> {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            match byte {
                b'"' => self.string()?,
                b'[' => self.open(Level::List(0))?,
                b'{' => self.open(Level::Object { key: None, wants_key: true })?,
                b']' | b'}' => {
                    self.levels.pop();
                }
                b',' => match self.levels.last_mut() {
                    Some(Level::List(index)) => *index += 1,
                    Some(Level::Object { wants_key, .. }) => *wants_key = true,
                    None => {}
                },
                b'-' | b'0'..=b'9' => {
                    self.number()?;
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
        Ok(())
    }

    fn open(&mut self, level: Level) -> Result<(), Problem> {
        if self.levels.len() >= self.most {
            return Err(self.problem(self.at, Fault::Depth));
        }
        self.levels.push(level);
        Ok(())
    }

    /// Reads from the opening quote to the closing one.
    fn string(&mut self) -> Result<(), Problem> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let mut at = start;
        let mut bad = None;
        while let Some(&byte) = bytes.get(at).filter(|byte| **byte != b'"') {
            if byte != b'\\' {
                at += 1;
            } else if bytes.get(at + 1) == Some(&b'u') {
                at += self.escape(at, &mut bad);
            } else {
                at += 2;
            }
        }
        self.at = at;
        if let Some(Level::Object { key, wants_key }) = self.levels.last_mut().filter(|_| at < bytes.len())
            && std::mem::take(wants_key)
        {
            *key = Some((start, at));
        }
        match bad {
            Some(place) => {
                let escape = self.text.get(place..place + 6).unwrap_or_default().to_owned();
                Err(self.problem(place, Fault::Surrogate(escape)))
            }
            None => Ok(()),
        }
    }

    /// The length of the `\u` escape at a place; both halves of a surrogate pair count as one escape.
    fn escape(&self, at: usize, bad: &mut Option<usize>) -> usize {
        let unit = |at: usize| {
            let digits = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
            u16::from_str_radix(digits, 16).ok()
        };
        match unit(at) {
            Some(0xD800..=0xDBFF) if matches!(unit(at + 6), Some(0xDC00..=0xDFFF)) => 12,
            Some(0xD800..=0xDFFF) => {
                bad.get_or_insert(at);
                6
            }
            _ => 6,
        }
    }

    fn number(&mut self) -> Result<(), Problem> {
        let rest = &self.text[self.at..];
        let is_part = |byte: u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.bytes().position(|byte| !is_part(byte)).unwrap_or(rest.len());
        let literal = &rest[..length];
        let fault = if literal.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
            let mantissa = literal.split(['e', 'E']).next().unwrap_or(literal);
            let is_zero = !mantissa.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
            match literal.parse::<f64>() {
                Ok(number) if number.is_infinite() => Some(Fault::TooLarge(shown_text(literal, SHOWN_TOKEN))),
                Ok(0.0) if !is_zero => Some(Fault::TooSmall(shown_text(literal, SHOWN_TOKEN))),
                _ => None,
            }
        } else {
            // Up to 18 digits always fit.
            let fits = length <= 18 || literal.parse::<i64>().is_ok() || literal.parse::<u64>().is_ok();
            (!fits).then(|| Fault::WholeNumber(shown_text(literal, SHOWN_TOKEN)))
        };
        let start = self.at;
        self.at += length;
        fault.map_or(Ok(()), |fault| Err(self.problem(start, fault)))
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for level in &self.levels {
            match level {
                Level::List(index) => path.push_str(&format!("[{index}]")),
                Level::Object { key: Some((start, end)), .. } => {
                    let raw = &self.text[*start..*end];
                    let key = serde_json::from_str::<String>(&format!("\"{raw}\"")).unwrap_or_else(|_| raw.to_owned());
                    path.push_str(&step(&key));
                }
                Level::Object { key: None, .. } => {}
            }
        }
        path.trim_start_matches('.').to_owned()
    }

    fn problem(&self, at: usize, fault: Fault) -> Problem {
        Problem { path: self.path(), at, fault }
    }
}

#[cfg(test)]
mod tests;
