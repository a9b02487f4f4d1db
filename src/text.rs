//! Text that others wrote, made fit for a terminal.

use std::fmt::Display;

use crate::{sink, width};

/// The first line of a text, cut to `limit` characters, without control characters.
pub(crate) fn first_line(text: &str, limit: usize) -> String {
    let line = clean(text.lines().next().unwrap_or_default());
    width::cut(&line, limit)
}

/// The last lines of a text, at most `most` of them, and whether there are earlier ones. Trailing blank lines do not count.
pub(crate) fn last_lines(text: &str, most: usize) -> (&str, bool) {
    let text = text.trim_end();
    match text.rmatch_indices('\n').nth(most.saturating_sub(1)) {
        Some((newline, _)) => (&text[newline + 1..], true),
        None => (text, false),
    }
}

/// Replaces the characters that control a terminal: output of a task must not move the cursor, nor reverse the text
/// around it.
pub(crate) fn clean(text: &str) -> String {
    let text = sink::visible(text);
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// A number of things whose plural ends with `s`: `1 task`, `2 tasks`.
pub(crate) fn counted<N: Display + PartialEq + From<u8>>(count: N, one: &str) -> String {
    let ending = if count == N::from(1) { "" } else { "s" };
    format!("{count} {one}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_thing_is_in_the_singular() {
        assert_eq!([0_u32, 1, 2].map(|count| counted(count, "task")), ["0 tasks", "1 task", "2 tasks"]);
    }

    #[test]
    fn output_of_a_task_cannot_control_the_terminal() {
        assert_eq!(first_line("a\u{1b}[2Jb\nc", 80), "a\u{fffd}[2Jb");
        assert_eq!(first_line("rm \u{202e}dab", 80), "rm <U+202E>dab");
    }
}
