//! Places in a text.

use granit_parser::Span;

/// The place of a value in the source, from its first character to the end of its last. Line 0 means that there was no
/// text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spot {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// Bytes from the start of the source.
    pub start: usize,
    /// The end, in bytes from the start of the source.
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

/// Line and column of the character that begins at a byte offset.
pub(crate) fn place_at(source: &str, at: usize) -> (u32, u32) {
    let before = source.get(..at).unwrap_or(source);
    let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
    let column = before.chars().rev().take_while(|&letter| letter != '\n').count() + 1;
    (number(line), number(column))
}

/// The place of `text[offset..]`, which begins with `${`, in the source: its n-th `${` is that of the value's source.
/// Where escapes or aliases hide it, the value's own place.
pub(crate) fn inside(source: &str, spot: Spot, text: &str, offset: usize) -> Spot {
    place_in(source, spot, text, offset, "${")
}

/// The same for any other text that begins with `mark`.
pub(crate) fn place_in(source: &str, spot: Spot, text: &str, offset: usize, mark: &str) -> Spot {
    let (Some(written), Some(before)) = (source.get(spot.start..spot.end), text.get(..offset)) else { return spot };
    let nth = before.matches(mark).count();
    if written.matches(mark).count() != text.matches(mark).count() {
        return spot;
    }
    let Some((found, _)) = written.match_indices(mark).nth(nth) else { return spot };
    let start = spot.start + found;
    let lines = written[..found].bytes().filter(|&byte| byte == b'\n').count();
    let line_start = source[..start].rfind('\n').map_or(0, |newline| newline + 1);
    Spot {
        line: spot.line.saturating_add(number(lines)),
        column: number(source[line_start..start].chars().count() + 1),
        start,
        end: spot.end,
    }
}

pub(super) fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
