//! The width of text on a screen, and how to fit it: by cutting its end, or by wrapping between words. Colour codes
//! count as zero columns.
//!
//! The invariant: no line that is cut or wrapped here is wider than requested, unless it is a single word.

use unicode_width::UnicodeWidthChar as _;

/// Ends every colour (`SGR 0`).
const RESET: &str = "\x1b[0m";

/// A piece of text as a terminal reads it.
enum Piece<'a> {
    Char(char),
    /// A sequence that sets a colour.
    Colour(&'a str),
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let colour = rest.starts_with("\x1b[").then(|| rest.find('m')).flatten();
        let end = colour.map_or(first.len_utf8(), |at| at + 1);
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(if colour.is_some() { Piece::Colour(piece) } else { Piece::Char(first) })
    })
}

fn of_char(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// The columns of a single-line text.
pub(crate) fn of(text: &str) -> usize {
    if text.is_ascii() && !text.contains('\x1b') {
        return text.len();
    }
    pieces(text).map(|piece| if let Piece::Char(c) = piece { of_char(c) } else { 0 }).sum()
}

/// Cuts a text to at most this many columns; a cut text ends with `…`.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if of(text) <= columns {
        return text.to_owned();
    }
    let (mut shown, mut room, mut is_coloured) = (String::new(), columns.saturating_sub(1), false);
    for piece in pieces(text) {
        match piece {
            Piece::Colour(colour) => {
                is_coloured = true;
                shown.push_str(colour);
            }
            Piece::Char(c) if of_char(c) <= room => {
                room -= of_char(c);
                shown.push(c);
            }
            Piece::Char(_) => break,
        }
    }
    if columns > 0 {
        shown.push('…');
    }
    if is_coloured {
        shown.push_str(RESET);
    }
    shown
}

/// Pads a text with blanks to this many columns.
pub(crate) fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(of(text))))
}

/// Splits a single-line text into pieces of at most this many columns, at any character. An empty text is one empty
/// piece.
pub(crate) fn fold(text: &str, columns: usize) -> Vec<&str> {
    let (mut pieces, mut begin, mut used) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        let wide = of_char(c);
        // A character that is wider than a line gets its own line.
        if used + wide > columns && at > begin {
            pieces.push(&text[begin..at]);
            (begin, used) = (at, 0);
        }
        used += wide;
    }
    pieces.push(&text[begin..]);
    pieces
}

/// Wraps a text to at most this many columns. Continuation lines are indented by `hang` more than the first. Lines are
/// broken between words, but not inside backticks: quoted text is there to be copied. A word that is wider than a line
/// gets its own line.
pub(crate) fn wrap(text: &str, columns: usize, hang: usize) -> String {
    let mut wrapped = String::new();
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            wrapped.push('\n');
        }
        wrap_line(&mut wrapped, line, columns, hang);
    }
    wrapped
}

/// As [`wrap`], but lines that begin with a blank stay as they are: the output of tasks must not be rewrapped.
pub(crate) fn wrap_prose(text: &str, columns: usize, hang: usize) -> String {
    let line = |line: &str| if line.starts_with(' ') { line.to_owned() } else { wrap(line, columns, hang) };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

fn wrap_line(wrapped: &mut String, line: &str, columns: usize, hang: usize) {
    if of(line) <= columns {
        wrapped.push_str(line);
        return;
    }
    let own = line.len() - line.trim_start_matches(' ').len();
    let indent = own + hang;
    wrapped.push_str(&line[..own]);
    let (mut used, mut is_first) = (own, true);
    for word in words(&line[own..]) {
        let width = of(word);
        if is_first {
            is_first = false;
        } else if used + 1 + width <= columns {
            wrapped.push(' ');
            used += 1;
        } else if word.is_empty() {
            // Blanks at the end of a line are dropped.
            continue;
        } else {
            wrapped.truncate(wrapped.trim_end_matches(' ').len());
            wrapped.push('\n');
            wrapped.push_str(&" ".repeat(indent));
            used = indent;
        }
        wrapped.push_str(word);
        used += width;
    }
}

/// The words between single blanks; text in backticks counts as one word.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut is_quoted = false;
        let end = text.char_indices().find(|(at, c)| {
            // A backtick without a partner does not quote.
            is_quoted ^= *c == '`' && (is_quoted || text[at + 1..].contains('`'));
            *c == ' ' && !is_quoted
        });
        match end {
            Some((at, _)) => {
                rest = Some(&text[at + 1..]);
                Some(&text[..at])
            }
            None => {
                rest = None;
                Some(text)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_take_no_room_and_wide_characters_two_columns() {
        assert_eq!(of("abc"), 3);
        assert_eq!(of("\x1b[31mabc\x1b[0m"), 3);
        assert_eq!(of("漢字é"), 5);
        assert_eq!(of("e\u{301}"), 1, "a mark stands on its letter");
        assert_eq!(padded("\x1b[31mab\x1b[0m", 4), "\x1b[31mab\x1b[0m  ");
    }

    #[test]
    fn cut_text_ends_with_an_ellipsis_and_resets_its_colour() {
        for (text, columns, expected) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("漢字漢字", 4, "漢…"),
            ("\x1b[31mabcd\x1b[0m", 3, "\x1b[31mab…\x1b[0m"),
            ("abc", 1, "…"),
            ("abc", 0, ""),
        ] {
            let shown = cut(text, columns);
            assert_eq!(shown, expected);
            assert!(of(&shown) <= columns, "{shown}");
        }
    }

    #[test]
    fn folding_loses_no_text() {
        for (text, columns, expected) in [
            ("", 3, &[""][..]),
            ("abc", 3, &["abc"]),
            ("abcdefg", 3, &["abc", "def", "g"]),
            ("a漢字b", 3, &["a漢", "字b"]),
            ("e\u{301}e\u{301}", 1, &["e\u{301}", "e\u{301}"]),
            ("漢字", 1, &["漢", "字"]),
            ("ab", 0, &["a", "b"]),
        ] {
            assert_eq!(fold(text, columns), expected, "{text}");
        }
    }

    #[test]
    fn lines_break_between_words_and_not_within_quoted_text() {
        assert_eq!(wrap("a few words", 20, 2), "a few words");
        assert_eq!(wrap("a few words\n  and more of them", 11, 2), "a few words\n  and more\n    of them");
        assert_eq!(
            wrap("hint: start one with `gleitzeit start --background` first", 42, 6),
            "hint: start one with\n      `gleitzeit start --background` first"
        );
        assert_eq!(wrap_prose("a few words\n  of a task", 5, 1), "a few\n words\n  of a task");
        assert_eq!(wrap("it`s a word that wraps", 10, 0), "it`s a\nword that\nwraps");
        assert_eq!(wrap("see https://example.com/very/long now", 12, 0), "see\nhttps://example.com/very/long\nnow");
        assert_eq!(wrap("\x1b[31mred words\x1b[0m", 5, 0), "\x1b[31mred\nwords\x1b[0m");
        assert_eq!(wrap("two  blanks", 5, 0), "two\nblanks");
    }
}
