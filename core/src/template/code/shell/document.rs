//! Here-documents. The invariant: which line ends one never depends on a value.

use super::Refused;

const ENDS: Refused = "in a here-document that a line of its value could end";

/// A here-document: how it is written, and the line that is being read.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) delimiter: String,
    /// Its text is taken as it is.
    pub(super) quoted: bool,
    /// Tabs at the beginning of lines are left out.
    pub(super) strips: bool,
    /// How many contexts were open where it was announced.
    pub(super) depth: usize,
    /// A program of its line reads its input as code.
    pub(super) code: bool,
    /// Behind something that is expanded by rules of its own.
    pub(super) complex: bool,
    line: String,
    value: bool,
    /// The line before ends in a backslash, so that shells differ in whether this one may be the last.
    continued: bool,
}

/// What a line's end means.
pub(super) enum Line {
    Inside,
    Last,
    Uncertain,
}

impl Document {
    /// Reads `<<`, what may follow on it, and the delimiter; with how many bytes that is. `None` if it cannot be told.
    pub(super) fn announced(rest: &str, depth: usize) -> Option<(Self, usize)> {
        let after = rest.strip_prefix("<<")?;
        let strips = after.starts_with('-');
        let word = after.trim_start_matches('-').trim_start_matches([' ', '\t']);
        if strips && after.starts_with("--") {
            return None;
        }
        let mut document = Self { strips, depth, ..Self::default() };
        let mut characters = word.char_indices();
        let mut quote = None;
        while let Some((at, character)) = characters.next() {
            match (character, quote) {
                ('\n' | '\r' | '$' | '`', _) if character != '\n' || quote.is_some() => return None,
                (_, Some(open)) if character == open => quote = None,
                ('\\', Some('"')) => return None,
                (_, Some(_)) => document.delimiter.push(character),
                ('\'' | '"', None) => {
                    quote = Some(character);
                    document.quoted = true;
                }
                ('\\', None) => {
                    document.quoted = true;
                    document.delimiter.push(characters.next().map(|(_, next)| next).filter(|next| *next != '\n')?);
                }
                (' ' | '\t' | '\n' | ';' | '&' | '|' | '(' | ')' | '<' | '>', None) => {
                    let taken = rest.len() - word.len() + at;
                    return (at > 0).then_some((document, taken));
                }
                _ => document.delimiter.push(character),
            }
        }
        // It may go on behind a reference.
        None
    }

    pub(super) fn push(&mut self, character: char) {
        self.line.push(character);
    }

    /// A line's end in the program, behind a backslash or not.
    pub(super) fn end_line(&mut self, continues: bool) -> Result<Line, Refused> {
        let line = std::mem::take(&mut self.line);
        let value = std::mem::take(&mut self.value);
        let continued = std::mem::replace(&mut self.continued, continues);
        self.judge(&line, value)?;
        if self.shown(&line) != self.delimiter || continues {
            return Ok(Line::Inside);
        }
        Ok(if continued { Line::Uncertain } else { Line::Last })
    }

    /// The end of the program.
    pub(super) fn finish(&self) -> Result<(), Refused> {
        self.judge(&self.line, self.value)
    }

    /// A value as it is, in a document that is not expanded.
    pub(super) fn value(&mut self, text: &str) -> Result<(), Refused> {
        let at_start = self.line.chars().all(|before| before == '\t');
        if self.strips && (text.contains("\n\t") || (at_start && text.starts_with('\t'))) {
            return Err("in a here-document that leaves out the tabs of its value");
        }
        let mut lines = text.split('\n');
        self.line.push_str(lines.next().unwrap_or_default());
        self.value = true;
        for line in lines {
            let before = std::mem::replace(&mut self.line, line.to_owned());
            self.judge(&before, true)?;
        }
        Ok(())
    }

    fn shown<'l>(&self, line: &'l str) -> &'l str {
        if self.strips { line.trim_start_matches('\t') } else { line }
    }

    /// Some shells also end a document in a substitution where more follows on the delimiter.
    fn judge(&self, line: &str, value: bool) -> Result<(), Refused> {
        if value && line.trim_start_matches('\t').starts_with(&self.delimiter) { Err(ENDS) } else { Ok(()) }
    }
}
