//! Draws a run's spans: one line each, with a bar for its time within the run.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::time::Duration;

use gleitzeit_sdk::{Span, Timestamp};

use crate::color::Tone;
use crate::{color, text, view, width};

/// How many lines are drawn; documents for programs have all spans.
const MAX_LINES: usize = 400;
/// Columns of the names, the times, and the gaps with the mark of open spans.
const MAX_NAME: usize = 40;
const TIME: usize = 9;
const GAPS: usize = 4;
const LEAST_BAR: usize = 10;

/// Draws spans, nested by their parents, in the order of their starts. Open spans end `now`. The drawing is `columns`
/// wide; with `fits` no line is wider, and errors without room beside their bar go below it.
pub(crate) fn draw(spans: &[Span], now: Timestamp, columns: usize, fits: bool) -> String {
    let paint = color::stdout();
    let rows = rows(spans);
    let start = spans.iter().map(|span| span.start).min().unwrap_or(now);
    let end = spans.iter().map(|span| span.end.unwrap_or(now)).max().unwrap_or(now);
    let shown = &rows[..rows.len().min(MAX_LINES)];
    let name =
        |(depth, span): &(usize, &Span)| format!("{}{}", "  ".repeat(*depth), text::first_line(&span.name, MAX_NAME));
    let names = shown.iter().map(|row| width::of(&name(row))).max().unwrap_or_default();
    let most = columns.saturating_sub(TIME + GAPS + LEAST_BAR).min(columns / 2);
    let names = if fits { names.min(most) } else { names };
    let width = columns.saturating_sub(names + TIME + GAPS).max(LEAST_BAR);
    let scale = Scale { start, ms: end.ms_since(start).max(1), width };
    let mut text = String::new();
    for row in shown {
        let span = row.1;
        let ended = span.end.unwrap_or(now);
        let took = view::duration(Duration::from_millis(ended.ms_since(span.start)));
        let goes_on = if span.end.is_none() { "…" } else { "" };
        let (before, bar) = scale.bar(span.start, ended, is_wait(&span.name));
        let bar = format!("{before}{}", paint.text(tone(span), &bar));
        let name = width::padded(&width::cut(&name(row), names), names);
        let line = format!("{name}  {took:>TIME$}{goes_on:1} {bar}");
        let said = span.error.as_ref().map(|error| text::first_line(error, 100));
        let has_room = |said: &String| !fits || width::of(&line) + 2 + width::of(said) <= columns;
        match said {
            Some(said) if has_room(&said) => {
                let _ = writeln!(text, "{line}  {}", paint.text(Tone::Bad, &said));
            }
            Some(said) => {
                let said = width::cut(&format!("{}└ {said}", "  ".repeat(row.0 + 1)), columns);
                let _ = writeln!(text, "{}\n{}", line.trim_end(), paint.text(Tone::Bad, &said));
            }
            None => {
                let _ = writeln!(text, "{}", line.trim_end());
            }
        }
    }
    if rows.len() > shown.len() {
        let _ = writeln!(text, "and {} more; `-o json` has all", rows.len() - shown.len());
    }
    text
}

struct Scale {
    start: Timestamp,
    ms: u64,
    width: usize,
}

impl Scale {
    /// A bar, and the blanks before it.
    fn bar(&self, from: Timestamp, to: Timestamp, is_wait: bool) -> (String, String) {
        let place = |at: Timestamp| {
            let ms = u128::from(at.ms_since(self.start)) * self.width as u128 / u128::from(self.ms);
            usize::try_from(ms).unwrap_or(self.width).min(self.width)
        };
        let first = place(from).min(self.width - 1);
        let length = place(to).saturating_sub(first);
        let bar = match (length, is_wait) {
            (0, _) => "▏".to_owned(),
            (length, true) => "░".repeat(length),
            (length, false) => "█".repeat(length),
        };
        (" ".repeat(first), bar)
    }
}

fn tone(span: &Span) -> Tone {
    match (&span.error, span.end) {
        (Some(_), _) => Tone::Bad,
        (None, _) if is_wait(&span.name) => Tone::Dim,
        (None, None) => Tone::Busy,
        (None, Some(_)) => Tone::Good,
    }
}

/// Whether nobody works during a span of this name.
fn is_wait(name: &str) -> bool {
    matches!(name, "resolve" | "queue" | "decide" | "backoff")
}

/// Every span with its depth, parents before their children.
fn rows(spans: &[Span]) -> Vec<(usize, &Span)> {
    let known: HashSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
    let mut parts: HashMap<Option<&str>, Vec<&Span>> = HashMap::new();
    for span in spans {
        let parent = span.parent_span_id.as_deref().filter(|id| known.contains(id));
        parts.entry(parent).or_default().push(span);
    }
    for some in parts.values_mut() {
        some.sort_by_key(|span| (span.start, span.end.unwrap_or(Timestamp(i64::MAX))));
    }
    let mut rows = Vec::new();
    let mut left: Vec<(usize, &Span)> =
        parts.remove(&None).unwrap_or_default().into_iter().rev().map(|it| (0, it)).collect();
    while let Some((depth, span)) = left.pop() {
        rows.push((depth, span));
        let parts = parts.remove(&Some(span.span_id.as_str())).unwrap_or_default();
        left.extend(parts.into_iter().rev().map(|it| (depth + 1, it)));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: &str, parent: Option<&str>, name: &str, start: i64, end: Option<i64>) -> Span {
        Span {
            trace_id: "t".to_owned(),
            span_id: id.to_owned(),
            parent_span_id: parent.map(str::to_owned),
            name: name.to_owned(),
            start: Timestamp(start),
            end: end.map(Timestamp),
            error: None,
            attributes: serde_json::Map::new(),
        }
    }

    #[test]
    fn parts_stand_below_the_whole_with_bars_in_its_scale() {
        let failed = Span { error: Some("no luck".to_owned()), ..span("4", Some("2"), "attempt 1", 25, Some(50)) };
        let spans = [
            span("3", Some("2"), "queue", 0, Some(25)),
            failed,
            span("2", Some("1"), "task a", 0, Some(50)),
            span("5", Some("1"), "task b", 50, None),
            span("1", Some("caller"), "workflow W", 0, None),
        ];
        assert_eq!(
            draw(&spans, Timestamp(100), 46, false),
            "workflow W        100 ms… ████████████████████\n\
             \x20 task a           50 ms  ██████████\n\
             \x20   queue          25 ms  ░░░░░\n\
             \x20   attempt 1      25 ms       █████  no luck\n\
             \x20 task b           50 ms…           ██████████\n"
        );
    }

    #[test]
    fn in_a_terminal_no_line_is_wider_and_errors_go_below_their_bar() {
        let failed =
            Span { error: Some("no luck at all".to_owned()), ..span("4", Some("2"), "attempt 1", 25, Some(100)) };
        let name = format!("task {}", "long".repeat(9));
        let spans = [failed, span("2", Some("1"), &name, 0, Some(100)), span("1", None, "workflow W", 0, Some(100))];
        for columns in [40, 60, 80, 200] {
            let drawn = draw(&spans, Timestamp(100), columns, true);
            assert!(drawn.lines().all(|line| width::of(line) <= columns), "{columns}\n{drawn}");
            assert!(drawn.contains("\n      └ no luck at all\n"), "{columns}\n{drawn}");
        }
    }
}
