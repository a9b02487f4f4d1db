//! Where something stands in a text.

use granit_parser::Span;

/// Where something stands, from its first character to behind its last. Line 0 means that there was no text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spot {
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// Bytes from the start of the source.
    pub start: usize,
    /// The byte behind it.
    pub end: usize,
}

impl Spot {
    pub(super) fn of(span: Span) -> Self {
        Self {
            line: number(span.start.line()),
            column: number(span.start.col().saturating_add(1)),
            start: span.start.byte_offset().unwrap_or(0),
            end: span.end.byte_offset().unwrap_or(0),
        }
    }

    /// Line and column, if there was a text.
    pub fn line_and_column(self) -> Option<(u32, u32)> {
        (self.line > 0).then_some((self.line, self.column))
    }
}

/// Line and column of the character that begins at a byte.
pub(crate) fn place_at(source: &str, at: usize) -> (u32, u32) {
    let before = source.get(..at).unwrap_or(source);
    let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
    let column = before.chars().rev().take_while(|&letter| letter != '\n').count() + 1;
    (number(line), number(column))
}

pub(super) fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
