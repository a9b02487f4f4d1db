//! Where a reference stands in shell source text, and what is written there.
//!
//! Programs are read as POSIX shells do, with what bash adds; where shells differ, nothing behind is certain. A value
//! becomes a quoted word or part of one. Where quoting has rules of its own (backquotes, `${…:-…}`, here-documents) it
//! is expanded from a variable that is set before the program begins: what an expansion gives is never read again.
//!
//! The invariant: how the rest of the program is read never depends on a value, also not on an empty one.

mod command;
mod document;
mod interpreter;
mod read;
mod words;

use serde_json::Value;

use self::command::Commands;
use self::document::Document;
use super::{ESCAPED, Program, Refused, UNCERTAIN};
use crate::template::to_text;

const VARIABLE: &str = "_gleitzeit_";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `$(…)`, `<(…)`
    Substitution,
    /// `(…)`
    Subshell,
    /// `name=(…)`
    Array,
    Backquotes,
}

/// What is open around a place, inside the program itself.
#[derive(Debug)]
enum Frame {
    Commands(Kind, Commands),
    Comment,
    Single,
    Double,
    /// `$'…'`
    Ansi,
    /// `${…}`: whether it is in double quotes, and what stands before a word in it.
    Expansion(bool, Operator),
    /// `$((…))` or `((…))`, and how many parentheses are open in it.
    Arithmetic(u32, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    /// The name of the parameter.
    Name,
    /// `-`, `=`, `?`, `+`, with or without a colon.
    Word,
    /// `#` and `%`: a pattern.
    Pattern,
    /// What bash adds, such as subscripts and offsets, which are arithmetic.
    Other,
}

/// A program as far as it has been written.
#[derive(Debug, Default)]
pub(super) struct Shell {
    out: String,
    commands: Commands,
    frames: Vec<Frame>,
    /// Here-documents that begin with the next line; then those that are being read, the first one first.
    announced: Vec<Document>,
    documents: Vec<Document>,
    /// Values of variables.
    values: Vec<String>,
    /// The last character is a backslash, or a dollar sign, that could mean something with what follows.
    escaped: bool,
    dollar: bool,
    lost: bool,
    /// Where the text begins that was not read any more.
    unread: Option<usize>,
    refused: Option<Refused>,
}

impl Program for Shell {
    fn text(&mut self, text: &str) {
        (self.escaped, self.dollar) = (false, false);
        self.lost |= text.contains(VARIABLE) || text.contains('\0');
        let mut rest = text;
        while !rest.is_empty() {
            let taken = if self.lost {
                self.unread.get_or_insert(self.out.len());
                rest.len()
            } else if self.documents.is_empty() {
                self.step(rest)
            } else {
                self.document(rest)
            };
            let (taken, left) = rest.split_at(taken);
            self.out.push_str(taken);
            rest = left;
        }
    }

    fn insert(&mut self, value: Option<&Value>) -> Result<(), Refused> {
        self.refused.map_or(Ok(()), Err)?;
        if self.lost || self.dollar {
            return Err(UNCERTAIN);
        }
        if self.escaped {
            return Err(ESCAPED);
        }
        if let Some(Frame::Arithmetic(..)) = self.frames.last()
            && self.documents.is_empty()
        {
            return self.number(value);
        }
        let text = value.map(to_text).unwrap_or_default();
        if let Some(Frame::Comment) = self.frames.last()
            && self.documents.is_empty()
        {
            if self.out.starts_with("#!") && !self.out.contains('\n') {
                return Err("where the system looks for an interpreter");
            }
            let shown = |it: char| if it.is_alphanumeric() || " .,:-_/@%+=".contains(it) { it } else { '_' };
            self.out.extend(text.chars().map(shown));
            return Ok(());
        }
        if text.contains('\0') {
            return Err("where its value, which holds a NUL character, cannot be written");
        }
        if let Some(document) = self.documents.first_mut() {
            if document.complex {
                return Err(UNCERTAIN);
            }
            if document.code {
                return Err("in a here-document that another program may read as code");
            }
            self.commands().document_value();
            let Some(document) = self.documents.first_mut() else { return Err(UNCERTAIN) };
            if document.quoted {
                // What is not known yet is taken for a text that no delimiter holds.
                document.value(if value.is_some() { &text } else { "\u{fffc}" })?;
                self.out.push_str(&text);
            } else {
                document.push('$');
                self.expand(&text, false);
            }
            return Ok(());
        }
        self.word(&text)
    }

    fn finish(mut self: Box<Self>) -> Result<String, Refused> {
        self.refused.map_or(Ok(()), Err)?;
        self.documents.first().map_or(Ok(()), Document::finish)?;
        if let Some(unread) = self.unread
            && self.around().any(Commands::carries)
            && interpreter::is_named_in(&self.out[unread..])
        {
            return Err(UNCERTAIN);
        }
        self.commands.end();
        self.around().find_map(|commands| commands.refused).map_or(Ok(()), Err)?;
        if self.values.is_empty() {
            return Ok(self.out);
        }
        let named = |(at, value): (usize, &String)| format!("{VARIABLE}{}={}; ", at + 1, quoted(value));
        let values: String = self.values.iter().enumerate().map(named).collect();
        let first = if self.out.starts_with("#!") { self.out.find('\n').map_or(0, |end| end + 1) } else { 0 };
        let (head, program) = self.out.split_at(first);
        Ok(format!("{head}{values}{program}"))
    }
}

/// Whether what is in there is part of a word around it.
fn is_word(inner: Option<Kind>) -> bool {
    !matches!(inner, Some(Kind::Subshell | Kind::Array))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Writing values.
impl Shell {
    /// Part of a word, in whatever quotes.
    fn word(&mut self, text: &str) -> Result<(), Refused> {
        for frame in self.frames.iter().rev() {
            match frame {
                Frame::Commands(..) => break,
                Frame::Arithmetic(..) | Frame::Expansion(_, Operator::Name | Operator::Other) => return Err(UNCERTAIN),
                _ => {}
            }
        }
        if self.around().any(|commands| commands.lost) {
            return Err(UNCERTAIN);
        }
        self.takes_value()?;
        self.commands().value();
        let backquotes = self.in_backquotes();
        match self.frames.last() {
            None | Some(Frame::Commands(..)) if backquotes => self.expand(text, true),
            None | Some(Frame::Commands(..)) => self.out.push_str(&quoted(text)),
            Some(Frame::Single) if backquotes => {
                self.out.push('\'');
                self.expand(text, true);
                self.out.push('\'');
            }
            Some(Frame::Single) => self.out.push_str(&text.replace('\'', r"'\''")),
            Some(Frame::Ansi) => self.out.push_str(&format!("'{}$'", quoted(text))),
            Some(Frame::Double) if backquotes || self.in_expansion() => self.expand(text, false),
            Some(Frame::Double) => {
                for character in text.chars() {
                    if matches!(character, '\\' | '"' | '$' | '`') {
                        self.out.push('\\');
                    }
                    self.out.push(character);
                }
            }
            Some(Frame::Expansion(true, Operator::Word)) => self.expand(text, false),
            Some(Frame::Expansion(..)) => self.expand(text, true),
            Some(Frame::Comment | Frame::Arithmetic(..)) => return Err(UNCERTAIN),
        }
        Ok(())
    }

    /// Whether a value may stand here, and what a substitution makes of it in the commands around that.
    fn takes_value(&self) -> Result<(), Refused> {
        let mut inner = None;
        for frame in self.frames.iter().rev() {
            if let Frame::Commands(kind, commands) = frame {
                if is_word(inner) {
                    commands.takes_value()?;
                }
                inner = Some(*kind);
            }
        }
        if is_word(inner) { self.commands.takes_value() } else { Ok(()) }
    }

    /// All commands that are being read, the inner ones first.
    fn around(&self) -> impl Iterator<Item = &Commands> {
        let inner = self.frames.iter().rev().filter_map(|frame| match frame {
            Frame::Commands(_, commands) => Some(commands),
            _ => None,
        });
        inner.chain([&self.commands])
    }

    fn expand(&mut self, text: &str, quoted: bool) {
        self.values.push(text.to_owned());
        let variable = format!("${{{VARIABLE}{}}}", self.values.len());
        if quoted {
            self.out.extend(["\"", &variable, "\""]);
        } else {
            self.out.push_str(&variable);
        }
    }

    /// Arithmetic reads text as expressions, and those may run commands: only whole numbers are data there.
    fn number(&mut self, value: Option<&Value>) -> Result<(), Refused> {
        let text = value.map_or("0".into(), to_text);
        let digits = text.strip_prefix('-').unwrap_or(&text);
        let whole = (1..=18).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
        if !whole || (digits.len() > 1 && digits.starts_with('0')) {
            return Err("in arithmetic, where its value is not a whole number");
        }
        self.out.extend([" ", &text, " "]);
        Ok(())
    }

    fn in_backquotes(&self) -> bool {
        self.frames.iter().any(|frame| matches!(frame, Frame::Commands(Kind::Backquotes, _)))
    }

    fn in_expansion(&self) -> bool {
        self.frames.iter().any(|frame| matches!(frame, Frame::Expansion(..)))
    }

    /// The commands that this place belongs to.
    fn commands(&mut self) -> &mut Commands {
        let inner = self.frames.iter_mut().rev().find_map(|frame| match frame {
            Frame::Commands(_, commands) => Some(commands),
            _ => None,
        });
        inner.unwrap_or(&mut self.commands)
    }
}
