//! Where a reference stands in shell source text, and what is written there.

use serde_json::Value;

use super::{ESCAPED, Program, Refused, UNCERTAIN};
use crate::template::to_text;

const COMMENT: Refused = "in a comment";

impl Program for Shell {
    fn text(&mut self, text: &str) {
        text.chars().for_each(|character| self.step(character));
    }

    fn insert(&mut self, value: Option<&Value>) -> Result<(), Refused> {
        let data = self.data(value.unwrap_or(&Value::Null))?;
        self.out.push_str(&data);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<String, Refused> {
        Ok(self.out)
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
pub(super) struct Shell {
    out: String,
    at: ShellAt,
    escaped: bool,
    before: Option<char>,
}

impl Shell {
    fn step(&mut self, character: char) {
        self.out.push(character);
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

    fn data(&mut self, value: &Value) -> Result<String, Refused> {
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
