//! Values as Python source text. The invariant: for every value, the text is one literal (or the inside of one) that
//! Python evaluates to exactly that value.

use std::fmt::Write;

use serde_json::Value;

/// The maximum number of fields. Inside the fields of formatted strings each unusual character needs a field of its
/// own.
const MOST_FIELDS: usize = 10_000;
/// Containers nested deeper than this are built step by step, since parsers limit the nesting of brackets (Python 3.8
/// to about ninety, including all surrounding brackets).
const DEEP: usize = 12;

/// How string literals are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// In double quotes, with backslashes.
    Escaped,
    /// Inside a field of a formatted string: before Python 3.12, neither backslashes nor the surrounding quotes may
    /// appear in it.
    InField(char),
}

/// Whether a character is invisible, or changes how the text around it is displayed.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(u32::from(character),
            0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e
            | 0x2060..=0x206f | 0xfeff | 0xfff9..=0xfffb | 0xe0000..=0xe007f)
}

fn escape_code(code: u32, escaped: &mut String) {
    let _ = match code {
        0..=0xff => write!(escaped, "\\x{code:02x}"),
        0x100..=0xffff => write!(escaped, "\\u{code:04x}"),
        _ => write!(escaped, "\\U{code:08x}"),
    };
}

/// The inside of a string literal that is not raw, for either kind of quotes. Braces are written so that they stand for
/// themselves in a formatted string too.
pub(super) fn escape(text: &str, formatted: bool) -> String {
    let mut escaped = String::with_capacity(text.len() + 2);
    for character in text.chars() {
        match character {
            '\\' | '\'' | '"' => escaped.extend(['\\', character]),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '{' | '}' if formatted => escape_code(u32::from(character), &mut escaped),
            hidden if is_hidden(hidden) => escape_code(u32::from(hidden), &mut escaped),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The inside of a bytes literal that is not raw: the text in UTF-8.
pub(super) fn escape_bytes(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 2);
    for byte in text.bytes() {
        match byte {
            b'\\' | b'\'' | b'"' => escaped.extend(['\\', char::from(byte)]),
            b'\n' => escaped.push_str("\\n"),
            b' '..=b'~' => escaped.push(char::from(byte)),
            other => escape_code(u32::from(other), &mut escaped),
        }
    }
    escaped
}

/// The inside of a formatted string without any backslash, quote or control character; `None` if it would have too many
/// fields.
pub(super) fn escape_in_fields(text: &str) -> Option<String> {
    let mut escaped = String::with_capacity(text.len());
    let mut fields = 0;
    for character in text.chars() {
        if matches!(character, '\\' | '\'' | '"' | '{' | '}' | '#') || is_hidden(character) {
            fields += 1;
            let _ = write!(escaped, "{{{}:c}}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    (fields <= MOST_FIELDS).then_some(escaped)
}

/// How a value appears in a comment. It is in quotes and without `:` and `=`, so that it can neither be nor complete a
/// declaration of the source's encoding.
pub(super) fn comment(text: &str) -> String {
    let escaped = escape(text, false).replace(':', "\\x3a").replace('=', "\\x3d");
    format!("\"{escaped}\"")
}

/// The value as an expression in parentheses; `None` if it would have too many fields.
pub(super) fn expression(value: &Value, style: Style) -> Option<String> {
    let mut parts = Parts { style, built: Vec::new() };
    let (literal, _) = parts.literal(value)?;
    if parts.built.is_empty() {
        return Some(format!("({literal})"));
    }
    // Each step may use what the earlier steps built; the last one is the value.
    let mut steps = String::new();
    for part in parts.built.iter().chain([&literal]) {
        let _ = write!(steps, "v.append({part}), ");
    }
    Some(format!("((lambda v: [{steps}v[-1]][-1])([]))"))
}

struct Parts {
    style: Style,
    built: Vec<String>,
}

impl Parts {
    /// The literal, and how deep its brackets are nested.
    fn literal(&mut self, value: &Value) -> Option<(String, usize)> {
        let (literal, depth) = match value {
            Value::Null => ("None".to_owned(), 0),
            Value::Bool(true) => ("True".to_owned(), 0),
            Value::Bool(false) => ("False".to_owned(), 0),
            Value::Number(number) => (number.to_string(), 0),
            Value::String(text) => (self.text(text)?, 0),
            Value::Array(items) => {
                let (mut literal, mut deepest) = ("[".to_owned(), 0);
                for item in items {
                    let (item, depth) = self.literal(item)?;
                    deepest = deepest.max(depth);
                    let _ = write!(literal, "{item}, ");
                }
                literal.push(']');
                (literal, deepest + 1)
            }
            Value::Object(fields) => {
                let (mut literal, mut deepest) = ("{".to_owned(), 0);
                for (key, field) in fields {
                    let key = self.text(key)?;
                    let (field, depth) = self.literal(field)?;
                    deepest = deepest.max(depth);
                    let _ = write!(literal, "{key}: {field}, ");
                }
                literal.push('}');
                (literal, deepest + 1)
            }
        };
        if depth < DEEP {
            return Some((literal, depth));
        }
        self.built.push(literal);
        Some((format!("v[{}]", self.built.len() - 1), 0))
    }

    fn text(&self, text: &str) -> Option<String> {
        match self.style {
            Style::Escaped => Some(format!("\"{}\"", escape(text, false))),
            Style::InField(quote) => {
                let inside = escape_in_fields(text)?;
                let formatted = if inside.contains('{') { "f" } else { "" };
                Some(format!("{formatted}{quote}{inside}{quote}"))
            }
        }
    }
}
