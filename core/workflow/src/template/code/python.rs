//! Determines where a reference stands in Python source text, and what is written there.
//!
//! The text before a reference is read in the way of Python's own tokenizer since 3.12. Older versions tokenize
//! formatted strings differently, but only those that they refuse to compile: a quote inside a field, which 3.12
//! accepts, ends the string for them and leaves the field unclosed.
//!
//! The invariant: how the rest of the program is read never depends on a value, not even on an empty one.

use serde_json::Value;

use super::literal::{self, Style};
use super::{ESCAPED, Program, Refused, UNCERTAIN};
use crate::template::to_text;

const BEHIND: Refused = "directly after a name, a number or another value";
const FORMAT: Refused = "in the format of a field of a formatted string";
const CROWDED: Refused = "in a formatted string, where its value has too many unusual characters";

#[derive(Clone, Copy, Debug)]
enum Mode {
    Comment,
    Text(Literal),
    /// Between the braces of a formatted string; holds the number of open brackets.
    Field(u32),
    /// After the `:` or `!` of a field.
    Format,
}

#[derive(Clone, Copy, Debug)]
struct Literal {
    quote: char,
    triple: bool,
    raw: bool,
    bytes: bool,
    formatted: bool,
    /// A template string; those are formatted too.
    template: bool,
    /// Where its content begins in the output.
    start: usize,
    /// Whether a value was inserted into it.
    filled: bool,
}

impl Literal {
    fn open(&mut self, out: &mut String) {
        out.push_str(match (self.raw, self.bytes, self.template, self.formatted) {
            (true, true, ..) => "rb",
            (true, _, true, _) => "rt",
            (true, _, _, true) => "rf",
            (true, ..) => "r",
            _ => "",
        });
        self.close(out);
        self.start = out.len();
    }

    fn close(&self, out: &mut String) {
        out.extend(std::iter::repeat_n(self.quote, if self.triple { 3 } else { 1 }));
    }
}

/// What is incomplete at the end of a piece of text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pending {
    #[default]
    Nothing,
    /// A backslash, or an escape that needs more characters.
    Escape,
    /// An octal escape with this many digits so far; it takes up to three.
    Octal(usize),
}

/// The program as written so far.
#[derive(Debug, Default)]
pub(super) struct Python {
    out: String,
    modes: Vec<Mode>,
    /// The letters directly before this place: the prefix of a string literal that may begin here.
    word: String,
    pending: Pending,
    /// The number of quotes directly before this place that do not end the triple-quoted string around them.
    run: usize,
    /// Whether a string literal with an inserted value ended directly before this place.
    closed: bool,
    /// Whether the position in the program can no longer be determined.
    lost: bool,
}

impl Program for Python {
    fn text(&mut self, text: &str) {
        (self.pending, self.run) = (Pending::Nothing, 0);
        let mut rest = text;
        while !rest.is_empty() {
            let (taken, left) = rest.split_at(self.step(rest));
            self.out.push_str(taken);
            rest = left;
        }
    }

    fn insert(&mut self, value: Option<&Value>) -> Result<(), Refused> {
        if self.lost {
            return Err(UNCERTAIN);
        }
        match self.modes.last().copied() {
            None | Some(Mode::Field(_)) => self.expression(value)?,
            Some(Mode::Comment) => self.out.push_str(&literal::comment(&value.map(to_text).unwrap_or_default())),
            Some(Mode::Format) => return Err(FORMAT),
            Some(Mode::Text(literal)) => self.within_text(literal, &value.map(to_text).unwrap_or_default())?,
        }
        (self.pending, self.run, self.closed) = (Pending::Nothing, 0, false);
        self.word.clear();
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<String, Refused> {
        Ok(self.out)
    }
}

/// The bytes of the first character of `text`; a two-character line ending counts as one.
fn one(text: &str) -> usize {
    if text.starts_with("\r\n") { 2 } else { text.chars().next().map_or(0, char::len_utf8) }
}

impl Python {
    /// Reads the beginning of `rest`, and returns how many of its bytes to write.
    fn step(&mut self, rest: &str) -> usize {
        let Some(character) = rest.chars().next() else { return 0 };
        if self.lost || character == '\0' {
            self.lost = true;
            return rest.len();
        }
        match self.modes.last().copied() {
            None => self.code(rest, character, None),
            Some(Mode::Field(open)) => self.code(rest, character, Some(open)),
            Some(Mode::Comment) => {
                if matches!(character, '\n' | '\r') {
                    self.modes.pop();
                }
                character.len_utf8()
            }
            Some(Mode::Text(literal)) => self.inside(rest, character, literal),
            Some(Mode::Format) => {
                match character {
                    '{' if !rest.starts_with("{{") => self.modes.push(Mode::Field(0)),
                    // The brace that ends the format also ends the field.
                    '}' => {
                        self.modes.pop();
                        self.modes.pop();
                    }
                    '{' | '\'' | '"' | '\\' | '\n' | '\r' => self.lost = true,
                    _ => {}
                }
                character.len_utf8()
            }
        }
    }

    fn code(&mut self, rest: &str, character: char, field: Option<u32>) -> usize {
        let closed = std::mem::take(&mut self.closed);
        if matches!(character, '\'' | '"') {
            return self.begin(rest, character, closed);
        }
        if character.is_alphanumeric() || character == '_' {
            self.word.push(character);
            return character.len_utf8();
        }
        self.word.clear();
        match (character, field) {
            ('#', None) => self.modes.push(Mode::Comment),
            ('#' | '\\', Some(_)) => self.lost = true,
            ('\\', None) => match one(&rest[1..]) {
                0 => self.pending = Pending::Escape,
                next if rest[1..].starts_with(['\n', '\r']) => return 1 + next,
                _ => self.lost = true,
            },
            ('(' | '[' | '{', Some(open)) => self.field(open + 1),
            (')' | ']' | '}', Some(open)) if open > 0 => self.field(open - 1),
            ('}', Some(_)) => {
                self.modes.pop();
            }
            ('!', Some(0)) if rest.starts_with("!=") => return 2,
            (':' | '!', Some(0)) => self.modes.push(Mode::Format),
            _ => {}
        }
        character.len_utf8()
    }

    fn field(&mut self, open: u32) {
        if let Some(Mode::Field(brackets)) = self.modes.last_mut() {
            *brackets = open;
        }
    }

    fn begin(&mut self, rest: &str, quote: char, closed: bool) -> usize {
        if closed {
            // Otherwise three quotes could meet if the value is empty.
            self.out.push(' ');
        }
        let prefix = std::mem::take(&mut self.word).to_ascii_lowercase();
        let known = matches!(prefix.as_str(), "r" | "u" | "b" | "f" | "t" | "br" | "rb" | "fr" | "rf" | "tr" | "rt");
        let has = |letter: char| known && prefix.contains(letter);
        let triple = rest.chars().take(3).filter(|next| *next == quote).count() == 3;
        let length = if triple { 3 } else { 1 };
        self.modes.push(Mode::Text(Literal {
            quote,
            triple,
            raw: has('r'),
            bytes: has('b'),
            formatted: has('f') || has('t'),
            template: has('t'),
            start: self.out.len() + length,
            filled: false,
        }));
        self.run = 0;
        length
    }

    fn inside(&mut self, rest: &str, character: char, literal: Literal) -> usize {
        let run = std::mem::take(&mut self.run);
        if character == '\\' {
            return self.escape(rest, literal);
        }
        let doubled = rest[character.len_utf8()..].starts_with(character);
        match character {
            quote if quote == literal.quote => {
                if literal.triple && !(doubled && rest[2..].starts_with(quote)) {
                    self.run = run + 1;
                    return 1;
                }
                self.modes.pop();
                self.closed = literal.filled;
                return if literal.triple { 3 } else { 1 };
            }
            '\n' | '\r' if !literal.triple => self.lost = true,
            '{' | '}' if literal.formatted && doubled => return 2,
            '{' if literal.formatted => self.modes.push(Mode::Field(0)),
            '}' if literal.formatted => self.lost = true,
            _ => {}
        }
        character.len_utf8()
    }

    /// Reads what begins with a backslash inside a string.
    fn escape(&mut self, rest: &str, literal: Literal) -> usize {
        let after = &rest[1..];
        let Some(next) = after.chars().next() else {
            self.pending = Pending::Escape;
            return 1;
        };
        if literal.formatted && matches!(next, '{' | '}') {
            self.lost = true;
            return 1;
        }
        if literal.raw {
            return 1 + one(after);
        }
        let digits =
            |radix: u32, most: usize| after[1..].chars().take(most).take_while(|it| it.is_digit(radix)).count();
        let wanted = match next {
            'x' => 2,
            'u' if !literal.bytes => 4,
            'U' if !literal.bytes => 8,
            'N' if !literal.bytes => {
                return match after.find('}') {
                    Some(end) if after[1..].starts_with('{') => 1 + end + 1,
                    _ => {
                        self.pending = Pending::Escape;
                        self.lost = after.len() > 1 && !after[1..].starts_with('{');
                        rest.len()
                    }
                };
            }
            '0'..='7' => {
                let found = 1 + digits(8, 2);
                if found == after.len() && found < 3 {
                    self.pending = Pending::Octal(found);
                }
                return 1 + found;
            }
            _ => return 1 + one(after),
        };
        let found = digits(16, wanted);
        if found < wanted && 1 + found == after.len() {
            self.pending = Pending::Escape;
        }
        1 + 1 + found
    }

    /// Inserts a literal of its own where an expression may stand.
    fn expression(&mut self, value: Option<&Value>) -> Result<(), Refused> {
        if self.pending == Pending::Escape {
            return Err(ESCAPED);
        }
        if self.out.ends_with(|last: char| last.is_alphanumeric() || "_.)]}'\"".contains(last)) {
            return Err(BEHIND);
        }
        let around = || {
            self.modes.iter().filter_map(|mode| match mode {
                Mode::Text(literal) => Some(literal),
                _ => None,
            })
        };
        let style = if around().next().is_none() {
            Style::Escaped
        } else {
            // Prefers a quote that does not surround the value, else one that surrounds it only as a triple quote.
            let free = |quote: &char| !around().any(|literal| literal.quote == *quote);
            let usable = |quote: &char| !around().any(|literal| literal.quote == *quote && !literal.triple);
            match ['\'', '"']
                .iter()
                .find(|quote| free(quote))
                .or_else(|| ['\'', '"'].iter().find(|quote| usable(quote)))
            {
                Some(quote) => Style::InField(*quote),
                None if value.is_some_and(holds_text) => {
                    return Err("in a formatted string inside another, where text cannot be written");
                }
                None => Style::InField('"'),
            }
        };
        let literal = literal::expression(value.unwrap_or(&Value::Null), style).ok_or(CROWDED)?;
        self.out.push_str(&literal);
        Ok(())
    }

    fn within_text(&mut self, mut literal: Literal, text: &str) -> Result<(), Refused> {
        let below = self.modes.len() - 1;
        let in_field = self.modes[..below].iter().any(|mode| matches!(mode, Mode::Text(_)));
        if in_field && (literal.bytes || literal.template) {
            return Err("in bytes or a template inside a formatted string");
        }
        // Text that could combine with what follows it becomes part of the value.
        let mut moved = String::new();
        if literal.raw {
            let inside = &self.out[literal.start..];
            let kept = inside.trim_end_matches(['\\', literal.quote]).len();
            moved = self.out.split_off(literal.start + kept);
        } else {
            match self.pending {
                Pending::Escape => return Err(ESCAPED),
                Pending::Octal(digits) => {
                    let at = self.out.len() - digits;
                    self.out.insert_str(at, &"00"[..3 - digits]);
                }
                Pending::Nothing if self.run > 0 => moved = self.out.split_off(self.out.len() - self.run),
                Pending::Nothing => {}
            }
        }
        moved.push_str(text);
        if in_field {
            let data = literal::escape_in_fields(&moved).ok_or(CROWDED)?;
            if literal.formatted {
                self.out.push_str(&data);
            } else {
                literal.close(&mut self.out);
                let quote = literal.quote;
                self.out.push_str(&format!(" f{quote}{data}{quote} "));
                literal.open(&mut self.out);
            }
        } else {
            let data =
                if literal.bytes { literal::escape_bytes(&moved) } else { literal::escape(&moved, literal.formatted) };
            if literal.raw {
                // Adjacent literals are concatenated.
                literal.close(&mut self.out);
                let prefix = match (literal.bytes, literal.template, literal.formatted) {
                    (true, ..) => "b",
                    (_, true, _) => "t",
                    (_, _, true) => "f",
                    _ => "",
                };
                self.out.push_str(&format!(" {prefix}\"{data}\" "));
                literal.open(&mut self.out);
            } else {
                self.out.push_str(&data);
            }
        }
        literal.filled = true;
        self.modes[below] = Mode::Text(literal);
        Ok(())
    }
}

fn holds_text(value: &Value) -> bool {
    match value {
        Value::String(_) => true,
        Value::Array(items) => items.iter().any(holds_text),
        Value::Object(fields) => !fields.is_empty(),
        _ => false,
    }
}
