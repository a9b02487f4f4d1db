//! Quotes, expansions and arithmetic.

use super::commands::{Commands, Kind};
use super::lexer::{Frame, Lexer, Spot, VALUE};
use super::refusal::{Lost, Refusal};

impl Lexer<'_> {
    pub(super) fn single(&mut self, byte: u8) -> Result<(), Lost> {
        match byte {
            b'\'' => {
                self.frames.pop();
            }
            VALUE => {
                self.value(Spot::Single);
                return Ok(());
            }
            b'\n' => self.no_line_end()?,
            _ => {}
        }
        self.at += 1;
        Ok(())
    }

    /// Reads inside `$'…'`: as in single quotes, except for the backslash.
    pub(super) fn ansi(&mut self, byte: u8) -> Result<(), Lost> {
        match byte {
            b'\\' if self.peek(1) == Some(b'\'') => return Err(Lost("`\\'` within `$'…'`")),
            b'\\' if self.peek(1).is_some_and(|next| next != VALUE) => self.at += 2,
            _ => return self.single(byte),
        }
        Ok(())
    }

    /// Reads inside double quotes and here-documents.
    pub(super) fn double(&mut self, byte: u8) -> Result<(), Lost> {
        match byte {
            b'"' if matches!(self.frames.last(), Some(Frame::Double)) => {
                self.frames.pop();
            }
            b'\\' => return self.pair(),
            b'$' => return self.dollar(true),
            b'`' => return self.backquote(),
            VALUE => {
                self.value(Spot::Double);
                return Ok(());
            }
            b'\n' => self.no_line_end()?,
            _ => {
                if let Some(commands) = self.word() {
                    commands.quote(true);
                }
            }
        }
        self.at += 1;
        Ok(())
    }

    /// Reads a backslash and the character after it.
    pub(super) fn pair(&mut self) -> Result<(), Lost> {
        self.at += 1;
        match self.peek(0) {
            Some(VALUE) => {
                self.refuse(Refusal::Backslash);
                return Ok(());
            }
            Some(b'\n') => self.no_line_end()?,
            _ => {
                if let Some(commands) = self.word() {
                    commands.quote(true);
                }
            }
        }
        // At the end of a region the backslash is its last character.
        self.at += usize::from(self.peek(0).is_some());
        Ok(())
    }

    pub(super) fn dollar(&mut self, quoted: bool) -> Result<(), Lost> {
        let next = self.peek(1);
        // Only these may expand to no word at all. A dollar sign before any other character is literal.
        let vanishes = if quoted { matches!(next, Some(b'@' | b'{')) } else { next.is_some_and(begins_expansion) };
        if let Some(commands) = self.word() {
            commands.quote(!vanishes);
        }
        match next {
            Some(VALUE) => {
                self.at += 1;
                self.refuse(Refusal::Dollar);
            }
            Some(b'(') if self.peek(2) == Some(b'(') => {
                self.frames.push(Frame::Arithmetic(0, false));
                self.at += 3;
            }
            Some(b'(') => {
                self.frames.push(Frame::Commands(Commands::new(Kind::Substitution)));
                self.at += 2;
            }
            Some(b'{') => {
                if self.peek(2).is_some_and(|first| first.is_ascii_whitespace() || first == b'|') {
                    return Err(Lost("`${` before a blank"));
                }
                self.frames.push(Frame::Expansion(quoted, self.at));
                // A special parameter, or a prefix.
                self.at += if self.peek(2).is_some_and(|first| b"#!?-$*@".contains(&first)) { 3 } else { 2 };
            }
            Some(b'\'') if !quoted => {
                self.frames.push(Frame::Ansi);
                self.at += 2;
            }
            Some(b'[') => return Err(Lost("`$[`")),
            Some(b'\\') if self.peek(2) == Some(b'\n') => return Err(Lost("a line that is continued behind `$`")),
            Some(b'@' | b'*' | b'#' | b'?' | b'-' | b'$' | b'!' | b'0'..=b'9') => self.at += 2,
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_') => {
                self.at += 2;
                while self.peek(0).is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                    self.at += 1;
                }
            }
            _ => self.at += 1,
        }
        Ok(())
    }

    pub(super) fn backquote(&mut self) -> Result<(), Lost> {
        let begin = self.at + 1;
        let limit = self.ends.last().copied().unwrap_or(self.source.len());
        let (mut end, mut plain) = (begin, true);
        while end < limit && self.source[end] != b'`' {
            if self.source[end] == b'\\' {
                plain = false;
                end += 1;
            }
            end += 1;
        }
        if end >= limit {
            self.at = self.source.len();
            return Err(Lost("a backquote without its end"));
        }
        if let Some(commands) = self.word() {
            commands.quote(false);
        }
        let bare = self.frames.iter().all(|frame| matches!(frame, Frame::Commands(_)));
        if plain && bare {
            self.frames.push(Frame::Commands(Commands::new(Kind::Backquotes)));
            self.ends.push(end);
            self.at = begin;
        } else {
            if self.source[begin..end].contains(&b'\n') {
                self.no_line_end()?;
            }
            self.refuse_all(begin, end, Refusal::Backquotes);
            self.at = end + 1;
        }
        Ok(())
    }

    pub(super) fn expansion(&mut self, byte: u8, quoted: bool) -> Result<(), Lost> {
        match byte {
            b'}' => {
                if let Some(Frame::Expansion(true, begin)) = self.frames.pop()
                    && !self.source[begin..self.at].contains(&b'@')
                    && let Some(commands) = self.word()
                {
                    commands.quote(true);
                }
            }
            b'\\' if self.peek(1) == Some(b'\'') => return Err(Lost("`\\'` within `${…}`")),
            b'\\' => return self.pair(),
            b'$' => return self.dollar(quoted),
            b'\'' if !quoted => self.frames.push(Frame::Single),
            b'"' if !quoted => self.frames.push(Frame::Double),
            b'\'' | b'"' => return Err(Lost("a quote within `\"${…}\"`")),
            b'`' => return Err(Lost("a backquote within `${…}`")),
            b'<' | b'>' if self.peek(1) == Some(b'(') => return Err(Lost("`<(` within `${…}`")),
            VALUE => {
                self.value(Spot::Bare);
                return Ok(());
            }
            b'\n' => self.no_line_end()?,
            _ => {}
        }
        self.at += 1;
        Ok(())
    }

    pub(super) fn arithmetic(&mut self, byte: u8) -> Result<(), Lost> {
        const SUBSHELL: Lost = Lost("`((` that may be two parentheses");
        let Some(Frame::Arithmetic(open, command)) = self.frames.last_mut() else { return Ok(()) };
        match byte {
            b'(' => *open += 1,
            b')' if *open > 0 => *open -= 1,
            b')' => {
                let command = *command;
                if self.peek(1) != Some(b')') {
                    return Err(SUBSHELL);
                }
                self.frames.pop();
                self.at += 1;
                if command && let Some(Frame::Commands(commands)) = self.frames.last_mut() {
                    commands.end_compound();
                }
            }
            b'$' => return self.dollar(true),
            b'\'' | b'"' | b'`' | b'\\' => return Err(Lost("a quote within arithmetic")),
            b'<' if *command && self.peek(1) == Some(b'<') => return Err(SUBSHELL),
            b'#' if !self.before(1).is_some_and(|before| before.is_ascii_alphanumeric()) => return Err(SUBSHELL),
            VALUE => {
                self.value(Spot::Bare);
                return Ok(());
            }
            b'\n' => self.no_line_end()?,
            _ => {}
        }
        self.at += 1;
        Ok(())
    }
}

fn begins_expansion(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_@*#?-$!({[".contains(&byte)
}
