//! Words and operators of commands.

use super::commands::{Commands, Kind, Redirection};
use super::lexer::{Frame, Lexer, Spot, VALUE, is_backquotes};
use super::refusal::Lost;

impl Lexer<'_> {
    pub(super) fn commands(&mut self) -> Result<&mut Commands, Lost> {
        match self.frames.last_mut() {
            Some(Frame::Commands(commands)) => Ok(commands),
            _ => Err(Lost("an unmatched `)`")),
        }
    }

    pub(super) fn end_word(&mut self) -> Result<(), Lost> {
        let references = self.commands()?.end_word()?;
        self.revoke(&references);
        Ok(())
    }

    pub(super) fn command(&mut self, byte: u8) -> Result<(), Lost> {
        match byte {
            b'\\' if self.peek(1) == Some(b'\n') => return self.continued(),
            b'\\' => return self.pair(),
            b'$' => return self.dollar(false),
            b'\'' => {
                self.commands()?.quote(true);
                self.frames.push(Frame::Single);
            }
            b'"' => {
                let empty = self.peek(1) == Some(b'"');
                self.commands()?.quote(empty);
                self.frames.push(Frame::Double);
            }
            b'`' => return self.backquote(),
            b'#' if !self.commands()?.in_word() => return self.comment(),
            b' ' | b'\t' => self.end_word()?,
            b'\n' => return self.line_end(),
            b'(' => return self.open(),
            b')' => return self.close(),
            b';' | b'&' | b'|' => return self.operator(byte),
            b'<' | b'>' => return self.redirection(byte),
            VALUE => {
                self.value(Spot::Bare);
                return Ok(());
            }
            other => self.commands()?.push(other),
        }
        self.at += 1;
        Ok(())
    }

    /// A backslash before a line ending: both are removed.
    fn continued(&mut self) -> Result<(), Lost> {
        self.no_line_end()?;
        let operator = |byte: Option<u8>| byte.is_some_and(|byte| b"&|;<>()#-".contains(&byte));
        let before = self.before(1).filter(|before| b"&|;<>(".contains(before));
        if operator(self.peek(2)) && (operator(before) || self.peek(2) == Some(b'#')) {
            return Err(Lost("a line that is continued within an operator"));
        }
        self.at += 2;
        Ok(())
    }

    fn comment(&mut self) -> Result<(), Lost> {
        let limit = self.ends.last().copied().unwrap_or(self.source.len());
        let end = self.source[self.at..limit].iter().position(|byte| *byte == b'\n').map_or(limit, |end| self.at + end);
        let text = &self.source[self.at..end];
        let nested = self.frames.len() > 1;
        let commands = self.commands()?;
        let odd = commands.in_test() || commands.redirects() || text.ends_with(b"\\");
        if odd || self.frames.iter().any(is_backquotes) {
            return Err(Lost("a `#` that may not begin a comment"));
        }
        // Some shells search for the end of a substitution without recognizing comments.
        if nested && text.iter().any(|byte| b"'\"`()\\".contains(byte)) {
            return Err(Lost("a quote or parenthesis in a comment within `$(…)`"));
        }
        let count = text.iter().filter(|byte| **byte == VALUE).count();
        self.places.extend(std::iter::repeat_n(Ok(Spot::Comment), count));
        self.at = end;
        Ok(())
    }

    fn line_end(&mut self) -> Result<(), Lost> {
        self.end_word()?;
        let commands = self.commands()?;
        if commands.kind != Kind::Array {
            commands.end_line()?;
        }
        let documents = std::mem::take(&mut commands.documents);
        self.pending -= documents.len();
        self.no_line_end()?;
        self.at += 1;
        self.documents(documents)
    }

    fn open(&mut self) -> Result<(), Lost> {
        let blanks = self.source[self.at + 1..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let empty = self.peek(1 + blanks) == Some(b')');
        let double = self.peek(1) == Some(b'(');
        let commands = self.commands()?;
        if commands.in_test() {
            // Opens part of a pattern, or a group.
            commands.push(b'(');
            self.at += 1;
        } else if commands.in_pattern() && !commands.in_word() {
            commands.go_on_with_pattern();
            self.at += 1;
        } else if commands.assigns_nothing_yet() {
            commands.quote(false);
            self.frames.push(Frame::Commands(Commands::new(Kind::Array)));
            self.at += 1;
        } else if empty && commands.names_function() {
            commands.define_function();
            self.at += 2 + blanks;
        } else if double && (commands.at_command() || commands.at_for()) {
            self.frames.push(Frame::Arithmetic(0, true));
            self.at += 2;
        } else if commands.at_command() && commands.kind != Kind::Array {
            self.frames.push(Frame::Commands(Commands::new(Kind::Subshell)));
            self.at += 1;
        } else {
            return Err(Lost("a `(` where no command begins"));
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Lost> {
        let commands = self.commands()?;
        if commands.in_test() {
            commands.push(b')');
            self.at += 1;
            return Ok(());
        }
        self.end_word()?;
        self.at += 1;
        let commands = self.commands()?;
        if commands.in_pattern() {
            commands.end_pattern();
            return Ok(());
        }
        commands.finish()?;
        let kind = commands.kind;
        if matches!(kind, Kind::Program | Kind::Backquotes) {
            return Err(Lost("an unmatched `)`"));
        }
        self.frames.pop();
        if kind == Kind::Subshell {
            self.commands()?.end_compound();
        }
        Ok(())
    }

    fn operator(&mut self, byte: u8) -> Result<(), Lost> {
        self.end_word()?;
        let (next, third) = (self.peek(1), self.peek(2));
        let commands = self.commands()?;
        if byte == b'|' && commands.in_pattern() {
            commands.go_on_with_pattern();
            self.at += 1;
            return Ok(());
        }
        let length = match (byte, next) {
            (b';', Some(b';')) => {
                commands.next_pattern()?;
                if third == Some(b'&') { 3 } else { 2 }
            }
            (b';', Some(b'&')) => {
                commands.next_pattern()?;
                2
            }
            (b'&', Some(b'>')) => {
                commands.redirect_both()?;
                match third {
                    Some(b'>') => 3,
                    Some(b'(' | b'&' | b'|') => return Err(Lost("`&>` before an operator")),
                    _ => 2,
                }
            }
            (b'&', Some(b'&')) | (b'|', Some(b'|' | b'&')) => {
                commands.separate()?;
                2
            }
            _ => {
                commands.separate()?;
                1
            }
        };
        self.at += length;
        Ok(())
    }

    fn redirection(&mut self, byte: u8) -> Result<(), Lost> {
        let (next, third) = (self.peek(1), self.peek(2));
        let commands = self.commands()?;
        if next == Some(b'(') {
            commands.quote(true);
            self.frames.push(Frame::Commands(Commands::new(Kind::Substitution)));
            self.at += 2;
            return Ok(());
        }
        commands.drop_number();
        self.end_word()?;
        let commands = self.commands()?;
        if commands.kind == Kind::Array || commands.in_pattern() || commands.redirects() {
            return Err(Lost("a redirection where none can be"));
        }
        let (length, redirection) = match (byte, next, third) {
            (b'<', Some(b'<'), Some(b'<')) => (3, Redirection::File),
            (b'<', Some(b'<'), _) if commands.in_test() => return Err(Lost("`<<` within `[[ … ]]`")),
            (b'<', Some(b'<'), _) => return self.announce(),
            (_, Some(b'&'), _) => (2, Redirection::Duplicate),
            (b'<', Some(b'>'), _) | (b'>', Some(b'>' | b'|'), _) => (2, Redirection::File),
            _ => (1, Redirection::File),
        };
        commands.redirect(redirection);
        self.at += length;
        if self.peek(0) == Some(b'#') {
            return Err(Lost("a `#` that may not begin a comment"));
        }
        Ok(())
    }
}
