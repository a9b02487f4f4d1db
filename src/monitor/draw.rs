//! Renders the monitor: a head, a summary of an open run, one list or text, and a foot. With little room, the head and
//! the foot have one line each, and columns are dropped.

mod lists;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};

use super::keys::{self, Place};
use super::model::{Model, View};
use super::paint;
use super::query::Detail;
use crate::color::Tone;
use crate::table::Table;
use crate::{causes, text, view, width};
use lists::List;

/// From this height on, head and foot have two lines each.
const TALL: u16 = 20;

/// Draws everything.
pub(super) fn all(model: &mut Model, frame: &mut Frame<'_>) {
    let area = frame.area();
    let columns = usize::from(area.width);
    let lines = if area.height >= TALL { 2 } else { 1 };
    let about = about(model, columns, lines);
    let about_lines = u16::try_from(about.len()).unwrap_or(u16::MAX);
    let parts = [Constraint::Length(lines), Constraint::Length(about_lines), Constraint::Fill(1)];
    let [head, what, body, foot] = Layout::vertical(parts.into_iter().chain([Constraint::Length(lines)])).areas(area);
    frame.render_widget(Paragraph::new(header(model, columns)), head);
    frame.render_widget(Paragraph::new(about), what);
    frame.render_widget(Paragraph::new(footer(model, columns, lines)), foot);
    match model.place() {
        Place::Help => help(model, body, frame),
        Place::Details => task_details(model, body, frame),
        Place::Log => task_log(model, body, frame),
        place if model.seen.is_none() => waiting(model, place, body, frame),
        Place::Tasks | Place::Waiting if model.detail().is_none() => waiting(model, model.place(), body, frame),
        place => list(model, place, body, frame),
    }
}

/// A placeholder before anything was found.
fn waiting(model: &Model, place: Place, area: Rect, frame: &mut Frame<'_>) {
    let text = match &model.note {
        Some(note) if model.is_away => width::wrap(&text::clean(note), usize::from(area.width), 0),
        _ => "looking …".to_owned(),
    };
    let inner = titled(lists::title(model, place), area, frame);
    frame.render_widget(Paragraph::new(text), inner);
}

/// Draws the title line; returns the area below it.
fn titled(title: String, area: Rect, frame: &mut Frame<'_>) -> Rect {
    let block = Block::new().borders(Borders::TOP).title(format!(" {title} "));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    inner
}

fn header(model: &Model, columns: usize) -> Vec<Line<'static>> {
    let tabs = View::ALL.map(|view| {
        let style = if view == model.view { paint::selected() } else { paint::of(Tone::Plain) };
        Span::styled(format!(" {} ", view.title()), style)
    });
    let mut first = vec![Span::styled("gleitzeit ", paint::of(Tone::Heading))];
    first.extend(tabs);
    let mut second = vec![model.url.clone()];
    if let Some(seen) = &model.seen {
        let (runs, there) = (seen.status.runs, seen.status.components);
        second.push(format!("{} running, {} completed, {} failed", runs.running, runs.completed, runs.failed));
        second.push(format!("{} cancelled", runs.cancelled));
        second.push(format!("engines {} providers {}", there.engine, there.provider));
        second.push(format!("queues {} resolvers {}", there.queue, there.resolver));
    }
    vec![Line::from(first), Line::from(joined(second, columns))]
}

/// Joins as many of the pieces as fit.
fn joined(pieces: impl IntoIterator<Item = String>, columns: usize) -> String {
    let mut text = String::new();
    for piece in pieces {
        let gap = if text.is_empty() { "" } else { "  " };
        if width::of(&text) + gap.len() + width::of(&piece) > columns {
            break;
        }
        text.push_str(gap);
        text.push_str(&piece);
    }
    text
}

fn footer(model: &Model, columns: usize, lines: u16) -> Vec<Line<'static>> {
    if model.is_typing {
        let typed = Line::styled(typed(model.filter_here().text(), columns), paint::of(Tone::Mark));
        let hints = Line::styled("Enter keep  Esc end", paint::of(Tone::Dim));
        return if lines > 1 { vec![typed, hints] } else { vec![typed] };
    }
    let said = match (&model.asked, &model.note) {
        (Some(act), _) => Some((act.question(columns), Tone::Warning)),
        (None, Some(note)) if model.is_away => Some((text::first_line(note, columns), Tone::Bad)),
        (None, Some(note)) => Some((text::first_line(note, columns), Tone::Plain)),
        (None, None) => None,
    };
    let said = said.map(|(text, tone)| Line::styled(text, paint::of(tone)));
    let hints = || {
        Line::styled(joined(keys::of(model.place()).filter_map(keys::Binding::short), columns), paint::of(Tone::Dim))
    };
    match said {
        said if lines > 1 => vec![said.unwrap_or_default(), hints()],
        Some(said) => vec![said],
        None => vec![hints()],
    }
}

/// The end of the text being typed, if it does not fit.
fn typed(text: &str, columns: usize) -> String {
    const BEFORE: &str = "filter: ";
    let room = columns.saturating_sub(BEFORE.len() + 1);
    let end = text.char_indices().map(|(at, _)| &text[at..]).find(|end| width::of(end) <= room).unwrap_or_default();
    format!("{BEFORE}{end}▏")
}

/// A summary of an open run.
fn about(model: &Model, columns: usize, lines: u16) -> Vec<Line<'static>> {
    match model.detail() {
        Some(detail) if model.help.is_none() => about_run(model, detail, columns, lines),
        _ => Vec::new(),
    }
}

fn about_run(model: &Model, detail: &Detail, columns: usize, lines: u16) -> Vec<Line<'static>> {
    let run = &detail.run;
    let (status, tone) = view::status_of(run.status, run.error.as_ref());
    let took = lists::took(run.submitted_at, run.finished_at, model.now);
    let rest = width::of(status) + width::of(&took) + run.run_id.len() + 6;
    // Where there is no room for all, the run's name is worth more than the end of its id.
    let name = text::first_line(&run.name, columns.saturating_sub(rest).clamp(20, 60));
    let mut about = vec![Line::from(vec![
        Span::styled(name, paint::of(Tone::Heading)),
        Span::raw("  "),
        Span::styled(status, paint::of(tone)),
        Span::raw(format!("  {took}  ")),
        Span::styled(run.run_id.clone(), paint::of(Tone::Id)),
    ])];
    if lines > 1 {
        let mut pieces = vec![format!("submitted {}", lists::when(model, run.submitted_at))];
        pieces.extend(run.retry_of.as_ref().map(|earlier| format!("retry of {earlier}")));
        pieces.push(format!("trace {}", run.correlation_id));
        about.push(Line::from(joined(pieces, columns)));
    }
    // The view of an open task shows its own error.
    if let Some(error) = run.error.as_ref().filter(|_| !matches!(model.place(), Place::Details | Place::Log)) {
        about.push(Line::styled(text::first_line(&causes::failure(error), columns), paint::of(Tone::Bad)));
    }
    about
}

fn list(model: &mut Model, place: Place, area: Rect, frame: &mut Frame<'_>) {
    let inner = titled(lists::title(model, place), area, frame);
    // The column headings take a line.
    let rows = usize::from(inner.height).saturating_sub(1);
    let len = lists::len(model, place);
    let cursor = model.cursor_here();
    cursor.settle(len, rows);
    let (visible, selected) = (cursor.visible(), cursor.selected());
    let first = visible.start;
    let list = lists::of(model, place, visible);
    let mut lines = rows_of(&list, selected.saturating_sub(first), usize::from(inner.width));
    if len == 0 {
        let is_filtered = matches!(place, Place::Runs | Place::Tasks) && !model.filter_here().is_empty();
        let none = if is_filtered { "nothing matches the filter" } else { "nothing yet" };
        lines.push(Line::styled(none, paint::of(Tone::Dim)));
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

fn rows_of(list: &List, selected: usize, columns: usize) -> Vec<Line<'static>> {
    let texts: Vec<Vec<String>> =
        list.rows.iter().map(|row| row.iter().map(|(text, _)| text.clone()).collect()).collect();
    let fitted = Table::new(list.head, &texts).optional(list.optional).important(list.important).fitted(columns);
    let head = fitted.iter().map(|(at, wide)| width::padded(&width::cut(list.head[*at], *wide), wide + 2));
    let mut lines = vec![Line::styled(head.collect::<String>(), paint::of(Tone::Dim))];
    for (index, row) in list.rows.iter().enumerate() {
        let cells = fitted.iter().filter_map(|(at, wide)| row.get(*at).map(|cell| (cell, *wide)));
        let spans = cells.map(|((text, tone), wide)| {
            let text = width::padded(&width::cut(text, wide), wide + 2);
            Span::styled(text, if index == selected { paint::selected() } else { paint::of(*tone) })
        });
        lines.push(Line::from(spans.collect::<Vec<_>>()));
    }
    lines
}

fn help(model: &mut Model, area: Rect, frame: &mut Frame<'_>) {
    const KEYS: usize = 18;
    let inner = titled("Keys".to_owned(), area, frame);
    let bindings = keys::KEYS.iter().filter(|binding| !binding.help.is_empty()).map(|binding| {
        let text = format!("{}{}", width::padded(&binding.label(), KEYS), binding.help);
        width::wrap(&text, usize::from(inner.width), KEYS)
    });
    let text: Vec<String> = bindings.flat_map(|text| text.split('\n').map(str::to_owned).collect::<Vec<_>>()).collect();
    let Some(help) = &mut model.help else { return };
    help.settle(text.len(), usize::from(inner.height));
    let lines: Vec<Line<'_>> = text[help.visible()].iter().map(|line| Line::raw(line.clone())).collect();
    frame.render_widget(Paragraph::new(lines), inner);
}

fn task_details(model: &mut Model, area: Rect, frame: &mut Frame<'_>) {
    let (looks, now) = (model.looks, model.now);
    let Some(task) = model.task_mut() else { return };
    let inner = titled(format!("Task {}", text::first_line(&task.id, 60)), area, frame);
    let text = task.text(usize::from(inner.width), |at| lists::shown_time(looks, now, at), now);
    task.details.settle(text.len(), usize::from(inner.height));
    let lines = text.get(task.details.visible()).unwrap_or_default().iter();
    let lines: Vec<Line<'_>> = lines.map(|(line, tone)| Line::styled(line.clone(), paint::of(*tone))).collect();
    frame.render_widget(Paragraph::new(lines), inner);
}

fn task_log(model: &mut Model, area: Rect, frame: &mut Frame<'_>) {
    let Some(task) = model.task_mut() else { return };
    let follows = if task.tail.follows() == Some(true) { ", following" } else { "" };
    let count = match task.log.lines().len() {
        1 => "1 line".to_owned(),
        count => format!("{count} lines"),
    };
    let title = format!("Log of {} ({count}){follows}", text::first_line(&task.id, 40));
    let inner = titled(title, area, frame);
    task.columns = usize::from(inner.width);
    let rows = task.log.lines().iter().flat_map(|line| {
        let pieces = width::fold(&line.text, task.columns);
        pieces.into_iter().map(|piece| (piece, line.tone()))
    });
    let rows: Vec<(&str, Tone)> = rows.collect();
    task.tail.settle(rows.len(), usize::from(inner.height));
    let visible = rows.get(task.tail.visible()).unwrap_or_default().iter();
    let mut lines: Vec<Line<'_>> = visible.map(|(text, tone)| Line::styled(*text, paint::of(*tone))).collect();
    if lines.is_empty() {
        let nothing = if task.is_known() { "nothing was printed" } else { "nothing was printed yet" };
        lines.push(Line::styled(nothing, paint::of(Tone::Dim)));
    }
    frame.render_widget(Paragraph::new(lines), inner);
}
