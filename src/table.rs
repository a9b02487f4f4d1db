//! Tables that fit their terminal: less important columns give way, and no line wraps.

use crate::color::{Paint, Tone};
use crate::width;

/// The gap between two columns.
const GAP: usize = 2;
/// Columns are narrowed to this width before any is left out.
const LEAST: usize = 10;
/// The minimum width of the first column, which identifies the row.
const LEAST_FIRST: usize = 20;
/// The minimum width of the most important columns, before others are left out for them.
const LEAST_IMPORTANT: usize = 24;

/// A table before it is fitted. Cells may be coloured.
pub(crate) struct Table<'a> {
    head: &'a [&'a str],
    rows: &'a [Vec<String>],
    /// Columns that are left out first if there is no room, in this order.
    optional: &'a [&'a str],
    /// Columns that are more important than the optional ones.
    important: &'a [&'a str],
}

impl<'a> Table<'a> {
    /// A table with these headings.
    pub(crate) fn new(head: &'a [&'a str], rows: &'a [Vec<String>]) -> Self {
        Self { head, rows, optional: &[], important: &[] }
    }

    /// Sets the columns, by their headings, that may be left out if there is no room for all.
    #[must_use]
    pub(crate) fn optional(self, optional: &'a [&'a str]) -> Self {
        Self { optional, ..self }
    }

    /// Sets the columns, by their headings, that are kept readable by leaving out others.
    #[must_use]
    pub(crate) fn important(self, important: &'a [&'a str]) -> Self {
        Self { important, ..self }
    }

    /// The lines of the table: columns as wide as their widest cells, in total no wider than the terminal, if there is
    /// one.
    pub(crate) fn lines(&self, columns: Option<usize>, paint: Paint) -> String {
        let columns = columns.unwrap_or(usize::MAX);
        let fitted = self.fitted(columns);
        let mut text = String::new();
        let head: Vec<String> = self.head.iter().map(|cell| paint.text(Tone::Heading, &cell.to_uppercase())).collect();
        for row in std::iter::once(&head).chain(self.rows) {
            let mut line = String::new();
            for (at, width) in &fitted {
                if !line.is_empty() {
                    line.push_str("  ");
                }
                let cell = row.get(*at).map(String::as_str).unwrap_or_default();
                line.push_str(&width::padded(&width::cut(cell, *width), *width));
            }
            text.push_str(width::cut(line.trim_end(), columns).trim_end());
            text.push('\n');
        }
        text
    }

    /// The columns that are shown in this width, by index, with their widths.
    pub(crate) fn fitted(&self, columns: usize) -> Vec<(usize, usize)> {
        let shown = self.shown(columns);
        let mut widths: Vec<usize> = shown.iter().map(|at| self.width(*at)).collect();
        narrow(&mut widths, columns);
        shown.into_iter().zip(widths).collect()
    }

    /// The natural width of a column.
    fn width(&self, at: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| width::of(cell));
        cells.chain([width::of(self.head[at])]).max().unwrap_or_default()
    }

    /// The columns that are shown: optional ones are left out while even the narrowest lines do not fit.
    fn shown(&self, columns: usize) -> Vec<usize> {
        let mut shown: Vec<usize> = (0..self.head.len()).collect();
        let least = |at: &usize| {
            let least = match self.head[*at] {
                important if self.important.contains(&important) => LEAST_IMPORTANT,
                _ if *at == 0 => LEAST_FIRST,
                _ => LEAST,
            };
            self.width(*at).min(least)
        };
        for optional in self.optional {
            let needed = shown.iter().map(least).sum::<usize>() + GAP * shown.len().saturating_sub(1);
            if needed <= columns {
                break;
            }
            shown.retain(|at| self.head[*at] != *optional);
        }
        shown
    }
}

/// Narrows the widest columns until the lines fit; the first column, which identifies the row, is narrowed only after
/// the others.
fn narrow(widths: &mut [usize], columns: usize) {
    let wanted = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
    let mut surplus = wanted(widths).saturating_sub(columns);
    while surplus > 0 {
        let widest = widths.iter_mut().skip(1).filter(|width| **width > LEAST).max();
        match widest {
            Some(widest) => *widest -= 1,
            None => break,
        }
        surplus -= 1;
    }
    if let Some(first) = widths.first_mut() {
        *first -= surplus.min(first.saturating_sub(LEAST_FIRST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn a_table_fits_the_terminal_and_keeps_what_a_line_is_about() {
        let rows = [row(&["0123456789abcdef", "a long reason for something", "ok"])];
        let fitted = |columns| Table::new(&["run", "about", "is"], &rows).lines(columns, Paint::OFF);
        assert!(fitted(None).contains("a long reason for something"));
        assert_eq!(fitted(Some(34)), "RUN               ABOUT         IS\n0123456789abcdef  a long reas…  ok\n");
        assert_eq!(fitted(Some(28)).lines().last(), Some("0123456789abcdef  a long re…"), "no line wraps");
    }

    #[test]
    fn columns_that_are_spare_go_first_and_no_line_is_too_wide() {
        let rows = [
            row(&["01a20df0-52a2", "A name that is long", "completed", "3 min ago"]),
            row(&["01a20df0-52a3", "漢字漢字漢字漢字", "\x1b[31mfailed\x1b[0m", "2026-11-28 10:03 UTC"]),
        ];
        let table = Table::new(&["run", "name", "status", "finished"], &rows).optional(&["finished", "name"]);
        let all = "RUN            NAME                 STATUS     FINISHED\n\
                   01a20df0-52a2  A name that is long  completed  3 min ago\n\
                   01a20df0-52a3  漢字漢字漢字漢字     \x1b[31mfailed\x1b[0m     2026-11-28 10:03 UTC\n";
        assert_eq!(table.lines(Some(200), Paint::OFF), all);
        assert_eq!(table.lines(Some(36), Paint::OFF).lines().next(), Some("RUN            NAME        STATUS"));
        assert_eq!(table.lines(Some(30), Paint::OFF).lines().next(), Some("RUN            STATUS"));
        for columns in 1..80 {
            for line in table.lines(Some(columns), Paint::ON).lines() {
                assert!(width::of(line) <= columns, "{columns}: {line}");
            }
        }
    }

    #[test]
    fn less_important_columns_are_left_out_first() {
        let rows = [row(&["fetch", "1", "util/echo", "a reason that is rather long"])];
        let table = Table::new(&["task", "attempt", "method", "about"], &rows).optional(&["method", "attempt"]);
        let head = |table: &Table<'_>| table.lines(Some(42), Paint::OFF).lines().next().map(str::to_owned);
        assert_eq!(head(&table).as_deref(), Some("TASK   ATTEMPT  METHOD     ABOUT"));
        assert_eq!(head(&table.important(&["about"])).as_deref(), Some("TASK   ATTEMPT  ABOUT"));
    }

    #[test]
    fn headings_are_bold_where_there_are_colours() {
        let lines = Table::new(&["a"], &[row(&["\x1b[32mok\x1b[0m"])]).lines(Some(80), Paint::ON);
        assert_eq!(lines, "\x1b[1mA\x1b[0m\n\x1b[32mok\x1b[0m\n");
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_blanks() {
        let rows = [row(&["a", "long"]), row(&["bcd", ""])];
        assert_eq!(Table::new(&["x", "y"], &rows).lines(None, Paint::OFF), "X    Y\na    long\nbcd\n");
    }

    #[test]
    fn the_first_column_is_narrowed_last() {
        let long = "a".repeat(60);
        let rows = [row(&[&long, "waiting", "1"])];
        let lines = Table::new(&["task", "status", "attempt"], &rows).lines(Some(60), Paint::OFF);
        assert!(lines.lines().last().is_some_and(|line| line.ends_with("…  waiting  1")), "{lines}");
    }
}
