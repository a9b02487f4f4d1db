//! The problem of a text that is not YAML: where parsing stopped, and what was probably meant.

use granit_parser::{ErrorKind, ScanError};

use super::FileKind;
use super::place::number;
use super::problem::Problem;

/// The one problem of a text that cannot be read.
pub(super) fn syntax(file: &str, kind: FileKind, source: &str, error: &ScanError) -> Problem {
    let place = error.marker();
    let line = number(place.line()).max(1);
    let column = number(place.col()).saturating_add(1);
    if let Some((line, column)) = indenting_tab(source, place.line(), is_of_tab(error.kind())) {
        let message = "invalid YAML: a tab stands in the indentation of this line";
        let problem = Problem::of_file(file, kind.syntax_code(), message).at(line, column);
        return problem.hint("indent with spaces: YAML does not allow tabs there; an editor can turn them into spaces");
    }
    let problem =
        Problem::of_file(file, kind.syntax_code(), format!("invalid YAML: {}", error.info())).at(line, column);
    let text = source.lines().nth(place.line().saturating_sub(1)).unwrap_or_default();
    if text.contains("${") {
        problem.hint("put quotes around text with `${…}` inside `{…}` or `[…]`, or where it holds `: ` or `#`")
    } else {
        match error.kind() {
            kind if is_of_tab(kind) => problem.hint("write spaces in place of the tab"),
            ErrorKind::UnknownAnchor => problem.hint("text that begins with `*` needs quotes"),
            _ if text.contains('@') || text.contains('`') || text.contains('%') => {
                problem.hint("text that begins with a special character needs quotes")
            }
            ErrorKind::RecursionLimitExceeded => {
                problem.hint("write it with fewer lists and objects inside each other")
            }
            _ => problem.hint("look at indentation, `:`, `-` and quotes here and in the line before"),
        }
    }
}

/// Whether parsing stopped because of a tab.
fn is_of_tab(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInIndentation
            | ErrorKind::TabInPlainScalar
    )
}

/// The tab in the indentation of the line in which parsing stopped or, if a tab is to blame, of the next line that has
/// one, because an error in a text of several lines names only its beginning. Line and column, from 1.
fn indenting_tab(source: &str, line: usize, is_to_blame: bool) -> Option<(u32, u32)> {
    let first = line.saturating_sub(1);
    let mut lines = source.lines().enumerate().skip(first).take(if is_to_blame { usize::MAX } else { 1 });
    lines.find_map(|(index, text)| {
        let indent = &text[..text.len() - text.trim_start().len()];
        // Blank lines may hold anything.
        let column = indent.chars().position(|letter| letter == '\t').filter(|_| indent.len() < text.len())?;
        Some((u32::try_from(index + 1).ok()?, u32::try_from(column + 1).ok()?))
    })
}
