//! Reads program text to know what is open where a reference stands. What shells read differently makes the rest
//! uncertain; nothing is written here but what was read.

use super::command::Commands;
use super::document::{Document, Line};
use super::{Frame, Kind, Operator, Shell};

/// Reading the program. Each function tells how many bytes of `rest` are to be written.
impl Shell {
    pub(super) fn step(&mut self, rest: &str) -> usize {
        let Some(character) = rest.chars().next() else { return 0 };
        let length = character.len_utf8();
        if self.in_backquotes() {
            // They are taken off there before anything else is read.
            let doubled = character == '\\' && rest[1..].starts_with(['$', '`', '\\', '"']);
            let closing = character == '`' && !matches!(self.frames.last(), Some(Frame::Commands(Kind::Backquotes, _)));
            self.lost |= doubled || closing;
        }
        if character == '\n'
            && !self.announced.is_empty()
            && !matches!(self.frames.last(), None | Some(Frame::Commands(..) | Frame::Comment))
        {
            self.lost = true;
        }
        if self.lost {
            return length;
        }
        match self.frames.last_mut() {
            None => self.code(rest, character, None),
            Some(Frame::Commands(kind, _)) => {
                let kind = *kind;
                self.code(rest, character, Some(kind))
            }
            Some(Frame::Comment) => {
                if character == '\n' {
                    self.frames.pop();
                    return 0;
                }
                // Some shells look for the end of a substitution without knowing of comments.
                self.lost |= self.frames.len() > 1 && "'\"`()\\".contains(character);
                length
            }
            Some(Frame::Single) => {
                if character == '\'' {
                    self.frames.pop();
                } else {
                    self.commands().push(character, true);
                }
                length
            }
            Some(Frame::Ansi) => match character {
                '\\' => {
                    self.lost |= rest[1..].starts_with('\'');
                    self.pair(rest)
                }
                '\'' => {
                    self.frames.pop();
                    1
                }
                _ => {
                    self.commands().push(character, true);
                    length
                }
            },
            Some(Frame::Double) => match character {
                '"' => {
                    self.frames.pop();
                    1
                }
                '\\' => self.pair(rest),
                '$' => self.dollar(rest, true),
                '`' => {
                    self.lost = true;
                    1
                }
                _ => {
                    self.commands().push(character, true);
                    length
                }
            },
            Some(Frame::Expansion(quoted, operator)) => {
                let (quoted, operator) = (*quoted, *operator);
                self.expansion(rest, character, quoted, operator)
            }
            Some(Frame::Arithmetic(open, command)) => {
                match character {
                    '(' => *open += 1,
                    ')' if *open > 0 => *open -= 1,
                    ')' if rest.starts_with("))") => {
                        let command = *command;
                        self.frames.pop();
                        if command {
                            self.commands().end_compound();
                        }
                        return 2;
                    }
                    '$' => return self.dollar(rest, true),
                    ')' | '\'' | '"' | '`' | '\\' => self.lost = true,
                    // For other shells this is a command in two subshells.
                    '#' | '<' if *command && (character == '#' || rest.starts_with("<<")) => self.lost = true,
                    _ => {}
                }
                length
            }
        }
    }

    /// A backslash and what follows it.
    fn pair(&mut self, rest: &str) -> usize {
        let Some(next) = rest[1..].chars().next() else {
            self.escaped = true;
            return 1;
        };
        if next != '\n' {
            self.commands().push(next, true);
        } else if !self.announced.is_empty() {
            self.lost = true;
        }
        1 + next.len_utf8()
    }

    fn dollar(&mut self, rest: &str, quoted: bool) -> usize {
        let after = &rest[1..];
        if after.starts_with('\'') && !quoted {
            self.commands().quote(true);
            self.lost |= self.in_backquotes();
            self.frames.push(Frame::Ansi);
            return 2;
        }
        let name = after.len() - after.trim_start_matches(|it: char| it.is_ascii_alphanumeric() || it == '_').len();
        let whole = name > 0 && matches!(self.frames.last(), Some(Frame::Double));
        self.commands().expands(whole);
        if after.is_empty() {
            self.dollar = true;
        } else if after.starts_with("((") {
            self.frames.push(Frame::Arithmetic(0, false));
            return 3;
        } else if after.starts_with('(') {
            self.lost |= matches!(self.frames.last(), Some(Frame::Arithmetic(..)));
            self.frames.push(Frame::Commands(Kind::Substitution, Commands::default()));
            return 2;
        } else if after.starts_with('{') {
            self.frames.push(Frame::Expansion(quoted, Operator::Name));
            return 2;
        } else if after.starts_with('[') || (after.starts_with('"') && !quoted) {
            self.lost = true;
        } else if after.starts_with(['$', '#', '!', '?', '-', '*', '@'])
            || after.starts_with(|it: char| it.is_ascii_digit())
        {
            return 2;
        }
        1 + name
    }

    fn expansion(&mut self, rest: &str, character: char, quoted: bool, operator: Operator) -> usize {
        let length = character.len_utf8();
        if character == '}' {
            self.frames.pop();
            return 1;
        }
        match operator {
            Operator::Name => {
                let first = self.out.ends_with('{');
                let special = first && "#!?-$*@".contains(character);
                if character.is_ascii_alphanumeric() || character == '_' || special {
                    return length;
                }
                let colon = if character == ':' { 1 } else { 0 };
                let (operator, length) = match rest[colon..].chars().next() {
                    Some('-' | '=' | '?' | '+') => (Operator::Word, colon + 1),
                    Some('#' | '%') if colon == 0 => {
                        (Operator::Pattern, if rest[1..].starts_with(character) { 2 } else { 1 })
                    }
                    _ => (Operator::Other, 0),
                };
                if let Some(Frame::Expansion(_, known)) = self.frames.last_mut() {
                    *known = operator;
                }
                length
            }
            Operator::Other if matches!(character, '\'' | '"' | '`' | '\\' | '(') => {
                self.lost = true;
                1
            }
            _ => match character {
                '\\' => self.pair(rest),
                '$' => self.dollar(rest, quoted),
                '\'' | '"' if !quoted => {
                    self.frames.push(if character == '"' { Frame::Double } else { Frame::Single });
                    1
                }
                '\'' | '"' | '`' => {
                    self.lost = true;
                    1
                }
                _ => length,
            },
        }
    }

    fn code(&mut self, rest: &str, character: char, kind: Option<Kind>) -> usize {
        match character {
            '\\' if rest[1..].starts_with('\n') => return 2,
            '\\' => return self.pair(rest),
            '$' => return self.dollar(rest, false),
            '\'' | '"' => {
                self.commands().quote(character == '\'');
                self.frames.push(if character == '"' { Frame::Double } else { Frame::Single });
            }
            '`' if kind == Some(Kind::Backquotes) => {
                self.lost |= self.commands().in_case() || !self.announced.is_empty();
                self.leave();
            }
            '`' => {
                self.commands().expands(false);
                self.frames.push(Frame::Commands(Kind::Backquotes, Commands::default()));
            }
            '#' if !self.commands().in_word() => self.frames.push(Frame::Comment),
            ' ' | '\t' => self.commands().end_word(),
            '\n' => {
                self.commands().separate(true);
                return self.end_line();
            }
            ';' if kind != Some(Kind::Array) => {
                let ends = [";;&", ";;", ";&"].iter().find(|operator| rest.starts_with(**operator));
                match ends {
                    Some(operator) => {
                        self.commands().next_pattern();
                        return operator.len();
                    }
                    None => self.commands().separate(false),
                }
            }
            '&' | '|' if self.commands().in_pattern() => self.commands().begin_pattern(),
            '&' | '|' if kind != Some(Kind::Array) => {
                if rest.starts_with("&&") || rest.starts_with("||") {
                    self.commands().separate(false);
                    return 2;
                }
                if character == '|' {
                    self.commands().pipe();
                    return if rest.starts_with("|&") { 2 } else { 1 };
                }
                self.commands().separate(false);
            }
            '<' | '>' => return self.redirection(rest),
            '(' => return self.open(rest),
            ')' => self.close(kind),
            ';' | '&' | '|' => self.lost = true,
            other => self.commands().push(other, false),
        }
        character.len_utf8()
    }

    fn open(&mut self, rest: &str) -> usize {
        let commands = self.commands();
        if commands.in_pattern() && !commands.in_word() {
            commands.begin_pattern();
            return 1;
        }
        if commands.assigns_nothing_yet() {
            self.frames.push(Frame::Commands(Kind::Array, Commands::of_array()));
        } else if commands.in_word() {
            if commands.names_function() && rest.starts_with("()") {
                commands.end_function_name();
                return 2;
            }
            self.lost = true;
        } else if commands.named_function() && rest.starts_with("()") {
            commands.end_function_name();
            return 2;
        } else if rest.starts_with("((") {
            self.frames.push(Frame::Arithmetic(0, true));
            return 2;
        } else {
            // In a place of a command; elsewhere it is no program.
            self.lost |= commands.takes_value().is_ok();
            self.frames.push(Frame::Commands(Kind::Subshell, Commands::default()));
        }
        1
    }

    fn close(&mut self, kind: Option<Kind>) {
        let commands = self.commands();
        if commands.in_pattern() {
            commands.end_pattern();
            return;
        }
        commands.end_word();
        let (open, lost) = (commands.in_case(), commands.lost);
        let depth = self.frames.len();
        let announced = self.announced.iter().any(|document| document.depth >= depth);
        self.lost |= open || lost || announced || matches!(kind, None | Some(Kind::Backquotes));
        self.leave();
        if kind == Some(Kind::Subshell) {
            self.commands().end_compound();
        }
    }

    /// Ends the commands that are being read, in those around them.
    fn leave(&mut self) {
        if let Some(Frame::Commands(_, mut inner)) = self.frames.pop() {
            inner.end();
            self.commands().enclosed(&inner);
        }
    }

    fn redirection(&mut self, rest: &str) -> usize {
        let operators = ["<<<", "<>", "<&", ">>", ">&", ">|"];
        if let Some(operator) = operators.iter().find(|operator| rest.starts_with(**operator)) {
            self.commands().redirect();
            return operator.len();
        }
        if rest.starts_with("<(") || rest.starts_with(">(") {
            self.commands().expands(false);
            self.frames.push(Frame::Commands(Kind::Substitution, Commands::default()));
            return 2;
        }
        if rest.starts_with("<<") {
            let depth = self.frames.len();
            self.commands().redirect();
            return match Document::announced(rest, depth) {
                Some((document, taken)) if !self.in_backquotes() => {
                    let commands = self.commands();
                    commands.push('<', true);
                    commands.end_word();
                    commands.announces();
                    self.announced.push(document);
                    taken
                }
                _ => {
                    self.lost = true;
                    2
                }
            };
        }
        self.commands().redirect();
        1
    }

    /// The end of a line of commands, where here-documents begin.
    fn end_line(&mut self) -> usize {
        let depth = self.frames.len();
        let code = self.commands().takes_code();
        self.lost |= self.announced.iter().any(|document| document.depth != depth);
        self.documents.append(&mut self.announced);
        for document in &mut self.documents {
            document.code = code;
        }
        1
    }

    /// The text of a here-document.
    pub(super) fn document(&mut self, rest: &str) -> usize {
        let Some(document) = self.documents.first_mut() else { return 0 };
        let Some(character) = rest.chars().next() else { return 0 };
        let after = &rest[character.len_utf8()..];
        if !document.quoted {
            match character {
                '\\' if after.is_empty() => self.escaped = true,
                '\\' if after.starts_with('\n') => {
                    document.push('\\');
                    self.end_document_line(true);
                    return 2;
                }
                '\\' => {
                    document.push('\\');
                    document.push(after.chars().next().unwrap_or_default());
                    return 1 + one(after);
                }
                '$' if after.is_empty() => self.dollar = true,
                '$' if after.starts_with('{') => {
                    let name = after[1..].trim_start_matches(|it: char| it.is_ascii_alphanumeric() || it == '_');
                    document.complex |= !name.starts_with('}');
                }
                '$' if after.starts_with(['(', '[']) => document.complex = true,
                '`' => document.complex = true,
                _ => {}
            }
        }
        if character == '\n' {
            self.end_document_line(false);
        } else {
            document.push(character);
        }
        character.len_utf8()
    }

    fn end_document_line(&mut self, continues: bool) {
        let Some(document) = self.documents.first_mut() else { return };
        match document.end_line(continues) {
            Ok(Line::Inside) => {}
            Ok(Line::Last) => {
                self.documents.remove(0);
            }
            Ok(Line::Uncertain) => self.lost = true,
            Err(why) => self.refused = Some(why),
        }
    }
}

/// Bytes of the first character.
fn one(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}
