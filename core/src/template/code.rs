//! References in program text: what they name is inserted as data, never as code.
//!
//! The text before a reference is followed just far enough to know where the reference stands. In a string literal the
//! value is escaped for it; in a bare position it becomes a literal of its own; where the position cannot be told for
//! certain, the reference is refused.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::Value;

use super::parse::{Piece, Reference, parse};
use super::resolve::{Scope, TemplateError, lookup, to_text};
use crate::spec::Language;

/// Replaces the references in program text.
///
/// # Errors
/// If a reference is malformed or names nothing, or if it stands where a value cannot be inserted as data.
pub fn resolve_code(text: &str, language: Language, place: &str, scope: &dyn Scope) -> Result<String, TemplateError> {
    let at = |message: String| TemplateError { place: place.to_owned(), message };
    insert_all(text, language, &mut |reference| lookup(reference, scope).map(Cow::into_owned))
        .map_err(|(_, why)| at(why))
}

/// Tells before anything runs whether each reference in program text stands where data can be inserted. Where that
/// depends on the value it is left to [`resolve_code`].
///
/// # Errors
/// The byte offset of the template or reference that is refused, and why.
pub fn check_code(text: &str, language: Language) -> Result<(), (usize, String)> {
    // A plain word fits into every position that takes anything at all.
    insert_all(text, language, &mut |_| Ok(Value::from("x"))).map(drop)
}

type Find<'a> = &'a mut dyn FnMut(&Reference) -> Result<Value, String>;

fn insert_all(text: &str, language: Language, find: Find<'_>) -> Result<String, (usize, String)> {
    let (mut python, mut shell) = (Python::default(), Shell::default());
    let mut joined = String::new();
    for piece in parse(text).map_err(|error| (error.offset, error.message))? {
        match piece {
            Piece::Text(text) => {
                for character in text.chars() {
                    match language {
                        Language::Python => python.step(character),
                        Language::Shell => shell.step(character),
                    }
                }
                joined.push_str(&text);
            }
            Piece::Reference(reference) => {
                let value = find(&reference).map_err(|why| (reference.offset, why))?;
                let data = match language {
                    Language::Python => python.insert(&value),
                    Language::Shell => shell.insert(&value),
                };
                let data = data.map_err(|why| {
                    let why = format!("{reference} stands {why}; pass the value as data in another parameter instead");
                    (reference.offset, why)
                })?;
                joined.push_str(&data);
            }
        }
    }
    Ok(joined)
}

/// Why a value cannot be inserted, as it follows on "stands".
type Refused = &'static str;

const UNCERTAIN: Refused = "where it cannot be told whether it is code or text";
const ESCAPED: Refused = "behind a backslash";
const COMMENT: Refused = "in a comment";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum PythonAt {
    #[default]
    Code,
    Comment,
    Text {
        quote: char,
        triple: bool,
        plain: bool,
        formatted: bool,
    },
    Uncertain,
}

#[derive(Debug, Default)]
struct Python {
    at: PythonAt,
    /// Letters right before this place: the prefix of a string that may begin here.
    word: String,
    /// Quotes right before this place that may belong to a triple quote: which, and how many.
    quotes: (char, u32),
    escaped: bool,
    braces: u32,
}

impl Python {
    fn step(&mut self, character: char) {
        match self.at {
            PythonAt::Code => self.code(character),
            PythonAt::Comment => {
                if matches!(character, '\n' | '\r') {
                    self.at = PythonAt::Code;
                }
            }
            PythonAt::Text { quote, triple, formatted, .. } => self.text(character, quote, triple, formatted),
            PythonAt::Uncertain => {}
        }
    }

    fn code(&mut self, character: char) {
        // A pair of quotes is an empty string, unless a third one makes it the beginning of a triple-quoted one.
        if self.quotes.1 == 2 && self.quotes.0 == character {
            self.begin(character, true);
            return;
        }
        if self.quotes.1 == 2 {
            self.quotes = ('\0', 0);
            self.word.clear();
        }
        match character {
            '\'' | '"' => self.begin(character, false),
            '#' => {
                self.word.clear();
                self.at = PythonAt::Comment;
            }
            letter if letter.is_alphanumeric() || letter == '_' => self.word.push(letter),
            _ => self.word.clear(),
        }
    }

    fn begin(&mut self, quote: char, triple: bool) {
        let prefix = self.word.to_ascii_lowercase();
        let known = prefix.len() <= 2 && prefix.chars().all(|letter| "rbfut".contains(letter));
        let formatted = known && prefix.contains(['f', 't']);
        let plain = !known || prefix.is_empty() || prefix == "u";
        self.at = PythonAt::Text { quote, triple, plain, formatted };
        self.quotes = (quote, u32::from(!triple));
        (self.escaped, self.braces) = (false, 0);
    }

    fn text(&mut self, character: char, quote: char, triple: bool, formatted: bool) {
        let opening = !triple && self.quotes.1 == 1;
        if self.escaped {
            self.escaped = false;
            self.quotes.1 = 0;
            return;
        }
        if formatted && self.braces > 0 && matches!(character, '\'' | '"' | '\\' | '#' | '\n') {
            // Versions of Python differ in what may stand in there.
            self.at = PythonAt::Uncertain;
            return;
        }
        match character {
            '\\' => {
                self.escaped = true;
                self.quotes.1 = 0;
            }
            '\n' | '\r' if !triple => self.at = PythonAt::Uncertain,
            '{' if formatted => self.braces += 1,
            '}' if formatted => self.braces = self.braces.saturating_sub(1),
            _ => {}
        }
        if character != quote {
            if character != '\\' {
                self.quotes.1 = 0;
            }
            return;
        }
        if !triple {
            // Closed; if nothing stood between the quotes, a third one may follow.
            self.at = PythonAt::Code;
            self.quotes = if opening { (quote, 2) } else { ('\0', 0) };
            if !opening {
                self.word.clear();
            }
            return;
        }
        self.quotes.1 += 1;
        if self.quotes.1 == 3 {
            self.at = PythonAt::Code;
            self.quotes = ('\0', 0);
            self.word.clear();
        }
    }

    fn insert(&mut self, value: &Value) -> Result<String, Refused> {
        match self.at {
            PythonAt::Code => {
                (self.quotes, self.word) = (('\0', 0), String::new());
                let mut literal = String::from("(");
                python_literal(value, &mut literal);
                literal.push(')');
                Ok(literal)
            }
            PythonAt::Comment => Err(COMMENT),
            PythonAt::Uncertain => Err(UNCERTAIN),
            PythonAt::Text { .. } if self.escaped => Err(ESCAPED),
            PythonAt::Text { formatted: true, .. } => Err("in a formatted string"),
            PythonAt::Text { plain: false, .. } => Err("in a raw or bytes string"),
            PythonAt::Text { .. } => {
                self.quotes.1 = 0;
                Ok(python_escape(&to_text(value)))
            }
        }
    }
}

fn python_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 2);
    for character in text.chars() {
        match character {
            '\\' | '\'' | '"' => escaped.extend(['\\', character]),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            control if control.is_control() => {
                let _ = write!(escaped, "\\u{:04x}", u32::from(control));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

fn python_literal(value: &Value, literal: &mut String) {
    match value {
        Value::Null => literal.push_str("None"),
        Value::Bool(true) => literal.push_str("True"),
        Value::Bool(false) => literal.push_str("False"),
        Value::Number(number) => {
            let _ = write!(literal, "{number}");
        }
        Value::String(text) => {
            let _ = write!(literal, "\"{}\"", python_escape(text));
        }
        Value::Array(items) => {
            literal.push('[');
            for item in items {
                python_literal(item, literal);
                literal.push_str(", ");
            }
            literal.push(']');
        }
        Value::Object(fields) => {
            literal.push('{');
            for (key, field) in fields {
                let _ = write!(literal, "\"{}\": ", python_escape(key));
                python_literal(field, literal);
                literal.push_str(", ");
            }
            literal.push('}');
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ShellAt {
    #[default]
    Bare,
    Comment,
    Single,
    Double,
    Uncertain,
}

#[derive(Debug, Default)]
struct Shell {
    at: ShellAt,
    escaped: bool,
    before: Option<char>,
}

impl Shell {
    fn step(&mut self, character: char) {
        let before = self.before.replace(character);
        if std::mem::take(&mut self.escaped) {
            self.before = None;
            return;
        }
        // Substitutions, arithmetic, expansions with operators and here-documents quote by rules of their own.
        let opens = match (before, character) {
            (_, '`') | (Some('$'), '{' | '\'' | '[') | (Some('('), '(') | (Some('<'), '<') => {
                self.at != ShellAt::Single
            }
            (Some('$'), '(') => self.at == ShellAt::Double,
            _ => false,
        };
        if opens && self.at != ShellAt::Comment {
            self.at = ShellAt::Uncertain;
        }
        self.at = match (self.at, character) {
            (ShellAt::Bare, '\\') | (ShellAt::Double, '\\') => {
                self.escaped = true;
                self.at
            }
            (ShellAt::Bare, '\'') => ShellAt::Single,
            (ShellAt::Bare, '"') => ShellAt::Double,
            (ShellAt::Bare, '#') if before.is_none_or(|before| before.is_whitespace() || ";&|()".contains(before)) => {
                ShellAt::Comment
            }
            (ShellAt::Comment, '\n') | (ShellAt::Single, '\'') | (ShellAt::Double, '"') => ShellAt::Bare,
            (at, _) => at,
        };
    }

    fn insert(&mut self, value: &Value) -> Result<String, Refused> {
        let before = self.before.replace('x');
        let text = to_text(value);
        if text.contains('\0') {
            return Err("where its value, which holds a NUL character, cannot be written");
        }
        if self.escaped {
            return Err(ESCAPED);
        }
        match self.at {
            ShellAt::Bare | ShellAt::Double if before == Some('$') => Err(UNCERTAIN),
            ShellAt::Bare => Ok(format!("'{}'", text.replace('\'', r"'\''"))),
            ShellAt::Single => Ok(text.replace('\'', r"'\''")),
            ShellAt::Double => {
                let mut escaped = String::with_capacity(text.len());
                for character in text.chars() {
                    if matches!(character, '\\' | '"' | '$' | '`') {
                        escaped.push('\\');
                    }
                    escaped.push(character);
                }
                Ok(escaped)
            }
            ShellAt::Comment => Err(COMMENT),
            ShellAt::Uncertain => Err(UNCERTAIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::template::Root;

    struct Fixed(Value);

    impl Scope for Fixed {
        fn root(&self, _: &Root) -> Option<Cow<'_, Value>> {
            Some(Cow::Borrowed(&self.0))
        }
    }

    fn resolved(text: &str, language: Language, value: &Value) -> String {
        match resolve_code(text, language, "code", &Fixed(json!({ "v": value }))) {
            Ok(code) => code,
            Err(error) => format!("refused: {}", error.message),
        }
    }

    #[test]
    fn in_python_a_value_is_escaped_for_its_literal_or_becomes_one() {
        let evil = json!("'\"\\\n); import os #");
        let inside = r#"\'\"\\\n); import os #"#;
        for (code, expected) in [
            ("x = '${a.v}'.split()", format!("x = '{inside}'.split()")),
            ("x = \"\"\"it's ${a.v}\"\"\"", format!("x = \"\"\"it's {inside}\"\"\"")),
            ("x = '' + '${a.v}'", format!("x = '' + '{inside}'")),
            ("x = ${a.v}", format!("x = (\"{inside}\")")),
            ("x = f${a.v}", format!("x = f(\"{inside}\")")),
            ("# it's\nx = '\\'${a.v}'", format!("# it's\nx = '\\'{inside}'")),
            ("f'{x}'\ny = ${a.v}", format!("f'{{x}}'\ny = (\"{inside}\")")),
        ] {
            assert_eq!(resolved(code, Language::Python, &evil), expected, "{code}");
        }
        let value = json!({"a": [null, true, -1.5], "b'": "é"});
        assert_eq!(
            resolved("x = ${a.v}", Language::Python, &value),
            r#"x = ({"a": [None, True, -1.5, ], "b\'": "é", })"#
        );
    }

    #[test]
    fn in_python_a_place_that_cannot_be_told_is_refused() {
        for code in
            ["# ${a.v}", "f'${a.v}'", "rb'${a.v}'", "'\\${a.v}'", "x = f'{d['k']}' + ${a.v}", "x = 'open\n${a.v}"]
        {
            let shown = resolved(code, Language::Python, &json!("x"));
            assert!(shown.starts_with("refused: ${a.v} stands "), "{code}: {shown}");
        }
    }

    #[test]
    fn in_shell_a_value_stays_one_word_of_data() {
        let evil = json!("'; rm -rf \"$HOME\" `id` \\");
        let single = r#"'\''; rm -rf "$HOME" `id` \"#;
        let double = r#"'; rm -rf \"\$HOME\" \`id\` \\"#;
        for (code, expected) in [
            ("echo ${a.v}", format!("echo '{single}'")),
            ("echo 'a ${a.v}'", format!("echo 'a {single}'")),
            ("echo \"a ${a.v}\" # c", format!("echo \"a {double}\" # c")),
            ("x=$(cat ${a.v})", format!("x=$(cat '{single}')")),
        ] {
            assert_eq!(resolved(code, Language::Shell, &evil), expected, "{code}");
        }
        for code in [
            "# ${a.v}",
            "echo \\${a.v}",
            "echo `cat ${a.v}`",
            "echo $((${a.v} + 1))",
            "cat <<X\n${a.v}\nX",
            "echo \"$(cat ${a.v})\"",
            "echo $'${a.v}'",
        ] {
            let shown = resolved(code, Language::Shell, &evil);
            assert!(shown.starts_with("refused: ${a.v} stands "), "{code}: {shown}");
        }
    }
}
