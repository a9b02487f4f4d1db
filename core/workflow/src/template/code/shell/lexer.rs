//! The quoting of shell text, as dash and bash both read it. Where they differ, or where a construct has no end,
//! nothing after that place is judged.

use super::commands::{Commands, Here, Kind};
use super::refusal::{Lost, Refusal};

/// Stands for a reference in the source; UTF-8 text never contains this byte.
pub(super) const VALUE: u8 = 0xff;

/// The maximum nesting that is followed.
const MOST_FRAMES: usize = 64;

/// What a reference stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    Bare,
    /// `"…"`, or a here-document in which expansions take place.
    Double,
    Single,
    Comment,
}

/// What is open around a place.
#[derive(Debug)]
pub(super) enum Frame {
    Commands(Commands),
    Single,
    /// `$'…'`
    Ansi,
    Double,
    /// The text of a here-document, with the offset of the line after its delimiter, and the here-documents that
    /// follow.
    Document(usize, Vec<Here>),
    /// `${…}`: whether it is inside double quotes, and its offset.
    Expansion(bool, usize),
    /// `$((…))` or `((…))`: how many parentheses are open in it, and whether it is a command.
    Arithmetic(u32, bool),
}

/// Determines what each of `count` references in `source` stands in.
pub(super) fn places(source: &[u8], count: usize) -> Vec<Result<Spot, Refusal>> {
    let frames = vec![Frame::Commands(Commands::new(Kind::Program))];
    let mut lexer = Lexer { source, at: 0, frames, ends: Vec::new(), pending: 0, places: Vec::with_capacity(count) };
    let read = lexer.read();
    let ended = lexer.at >= source.len();
    if read.is_err() {
        lexer.revoke_tests();
    }
    let mut places = lexer.places;
    if let Err(Lost(what)) = read {
        // If the construct has no end, the whole text is read differently.
        if ended {
            places.clear();
        }
        places.resize(count, Err(Refusal::Uncertain(what)));
    }
    places
}

/// The source, and how far it has been read. `quotes` reads the quotes, `operators` the commands, `documents` the
/// here-documents.
pub(super) struct Lexer<'s> {
    pub(super) source: &'s [u8],
    pub(super) at: usize,
    pub(super) frames: Vec<Frame>,
    /// The ends of the here-documents and backquotes that are being read, the innermost last.
    pub(super) ends: Vec<usize>,
    /// The number of announced here-documents whose text has not begun.
    pub(super) pending: usize,
    pub(super) places: Vec<Result<Spot, Refusal>>,
}

impl Lexer<'_> {
    fn read(&mut self) -> Result<(), Lost> {
        if self.source.contains(&0) {
            return Err(Lost("a NUL character"));
        }
        loop {
            if let Some(&end) = self.ends.last()
                && self.at >= end
            {
                self.end_region(end)?;
                continue;
            }
            let Some(byte) = self.peek(0) else { break };
            if self.frames.len() > MOST_FRAMES {
                return Err(Lost("deeper nesting than is analyzed"));
            }
            match self.frames.last() {
                Some(Frame::Commands(_)) => self.command(byte)?,
                Some(Frame::Single) => self.single(byte)?,
                Some(Frame::Ansi) => self.ansi(byte)?,
                Some(Frame::Double | Frame::Document(..)) => self.double(byte)?,
                Some(Frame::Expansion(quoted, _)) => {
                    let quoted = *quoted;
                    self.expansion(byte, quoted)?;
                }
                Some(Frame::Arithmetic(..)) => self.arithmetic(byte)?,
                None => return Err(Lost("an unmatched `)`")),
            }
        }
        match self.frames.as_mut_slice() {
            [Frame::Commands(commands)] => {
                let references = commands.end_word()?;
                commands.finish()?;
                self.revoke(&references);
                Ok(())
            }
            [.., Frame::Single | Frame::Ansi] => Err(Lost("a `'` without its end")),
            [.., Frame::Double] => Err(Lost("a `\"` without its end")),
            [.., Frame::Expansion(..)] => Err(Lost("a `${` without its end")),
            _ => Err(Lost("a `(` without its end")),
        }
    }

    pub(super) fn peek(&self, ahead: usize) -> Option<u8> {
        let at = self.at + ahead;
        let end = self.ends.last().copied().unwrap_or(self.source.len());
        if at < end { self.source.get(at).copied() } else { None }
    }

    pub(super) fn before(&self, back: usize) -> Option<u8> {
        self.at.checked_sub(back).map(|at| self.source[at])
    }

    /// Ends the text of a here-document, or of backquotes.
    fn end_region(&mut self, end: usize) -> Result<(), Lost> {
        const ACROSS: Lost = Lost("something open across the end of a here-document or of backquotes");
        match self.frames.last_mut() {
            Some(Frame::Document(after, rest)) if self.at == end => {
                let (after, rest) = (*after, std::mem::take(rest));
                self.frames.pop();
                self.ends.pop();
                self.at = after;
                self.documents(rest)
            }
            Some(Frame::Commands(commands)) if commands.kind == Kind::Backquotes && self.at == end => {
                let references = commands.end_word()?;
                commands.finish()?;
                self.revoke(&references);
                self.frames.pop();
                self.ends.pop();
                self.at = end + 1;
                Ok(())
            }
            _ => {
                self.at = self.source.len();
                Err(ACROSS)
            }
        }
    }

    pub(super) fn value(&mut self, spot: Spot) {
        let at = self.places.len();
        let refusal = self.refusal();
        self.places.push(refusal.map_or(Ok(spot), Err));
        for frame in &mut self.frames {
            if let Frame::Commands(commands) = frame {
                commands.note(at);
            }
        }
        if let Some(commands) = self.word() {
            commands.quote(true);
        }
        self.at += 1;
    }

    /// Refuses a reference because of what directly precedes it.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.places.push(Err(refusal));
        self.at += 1;
    }

    pub(super) fn refuse_all(&mut self, from: usize, to: usize, refusal: Refusal) {
        let count = self.source[from..to].iter().filter(|byte| **byte == VALUE).count();
        self.places.extend(std::iter::repeat_n(Err(refusal), count));
    }

    pub(super) fn revoke(&mut self, references: &[usize]) {
        for &at in references {
            self.places[at] = Err(Refusal::Test);
        }
    }

    /// Refuses the references in each open `[[ … ]]`, which may turn out to be arithmetic.
    fn revoke_tests(&mut self) {
        for frame in &self.frames {
            if let Frame::Commands(commands) = frame {
                for &at in commands.tested() {
                    self.places[at] = Err(Refusal::Test);
                }
            }
        }
    }

    /// Why no value may stand here, whatever the quotes.
    fn refusal(&self) -> Option<Refusal> {
        // Whether the innermost construct is part of a word of the commands around it.
        let mut in_word = true;
        for frame in self.frames.iter().rev() {
            match frame {
                Frame::Single | Frame::Double => {}
                Frame::Document(..) => in_word = false,
                Frame::Ansi => return Some(Refusal::Ansi),
                Frame::Expansion(..) => return Some(Refusal::Expansion),
                Frame::Arithmetic(..) => return Some(Refusal::Arithmetic),
                Frame::Commands(commands) => {
                    if in_word && let Some(refusal) = commands.refuses() {
                        return Some(refusal);
                    }
                    in_word = commands.kind != Kind::Subshell;
                }
            }
        }
        None
    }

    /// The commands whose word is being read.
    pub(super) fn word(&mut self) -> Option<&mut Commands> {
        match self.frames.as_mut_slice() {
            [.., Frame::Commands(commands)]
            | [.., Frame::Commands(commands), Frame::Single | Frame::Ansi | Frame::Double] => Some(commands),
            _ => None,
        }
    }

    /// Fails if a here-document was announced: a line ending here could be the one after which it begins.
    pub(super) fn no_line_end(&self) -> Result<(), Lost> {
        if self.pending > 0 {
            Err(Lost("a here-document whose text does not begin with the next line"))
        } else {
            Ok(())
        }
    }
}

pub(super) fn is_backquotes(frame: &Frame) -> bool {
    matches!(frame, Frame::Commands(commands) if commands.kind == Kind::Backquotes)
}
