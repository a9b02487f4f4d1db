//! How it looks.

use gleitzeit_sdk::{HealthState, PresenceStatus, RunStatus, TaskStatus, Timestamp};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table, Wrap};

use super::model::{Detail, Model, Part, Seen, View};
use crate::view;

/// Draws everything.
pub(super) fn all(model: &mut Model, frame: &mut Frame<'_>) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(3), Constraint::Length(2)]).areas(frame.area());
    frame.render_widget(Paragraph::new(header(model)), head);
    frame.render_widget(Paragraph::new(footer(model)), foot);
    let Some(seen) = model.seen.clone() else {
        frame.render_widget(Paragraph::new(model.note.clone().unwrap_or_else(|| "looking …".to_owned())), body);
        return;
    };
    if model.is_open() {
        match model.detail().cloned() {
            Some(detail) => run(model, &detail, body, frame),
            None => frame.render_widget(Paragraph::new("looking …"), body),
        }
        return;
    }
    let (head, widths, rows) = match model.view {
        View::Runs => runs(&seen),
        View::Components => components(&seen),
        View::Providers => providers(&seen),
        View::Events => events(model),
    };
    list(model, model.view.title(), &head, &widths, rows, body, frame);
}

fn header(model: &Model) -> Vec<Line<'static>> {
    let tabs = View::ALL.map(|view| {
        let style = if view == model.view { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        Span::styled(format!(" {} ", view.title()), style)
    });
    let mut first = vec![Span::styled("gleitzeit ", Style::new().add_modifier(Modifier::BOLD))];
    first.extend(tabs);
    let second = match &model.seen {
        Some(Seen { status, .. }) => {
            let (runs, there) = (status.runs, status.components);
            format!(
                "{}  {} running, {} completed, {} failed, {} cancelled  queues {} resolvers {} engines {} providers {}",
                model.url,
                runs.running,
                runs.completed,
                runs.failed,
                runs.cancelled,
                there.queue,
                there.resolver,
                there.engine,
                there.provider
            )
        }
        None => model.url.clone(),
    };
    vec![Line::from(first), Line::from(second)]
}

fn footer(model: &Model) -> Vec<Line<'static>> {
    let note = match (&model.asked, &model.note) {
        (Some(run), _) => {
            Line::styled(format!("cancel {run}? y: yes, any other key: no"), Style::new().fg(Color::Yellow))
        }
        (None, Some(note)) if model.is_away => Line::styled(view::first_line(note, 300), Style::new().fg(Color::Red)),
        (None, Some(note)) => Line::from(view::first_line(note, 300)),
        (None, None) => Line::default(),
    };
    let keys = if model.is_open() {
        "t tasks  v events  e explain  c cancel  r retry  Esc back  q leave"
    } else {
        "↑↓ choose  Enter open  e explain  c cancel  r retry  Tab next  q leave"
    };
    vec![note, Line::styled(keys, Style::new().add_modifier(Modifier::DIM))]
}

type Listed = (Vec<&'static str>, Vec<Constraint>, Vec<Row<'static>>);

fn runs(seen: &Seen) -> Listed {
    let rows = seen.runs.iter().map(|run| {
        let about = run.error.as_ref().map(|error| view::first_line(&error.message, 200)).unwrap_or_default();
        Row::new([
            Cell::from(run.run_id.clone()),
            Cell::from(view::first_line(&run.name, 30)),
            Cell::from(Span::styled(view::run_status(run.status), run_style(run.status))),
            Cell::from(run.task_count.to_string()),
            Cell::from(took(run.submitted_at, run.finished_at)),
            Cell::from(about),
        ])
    });
    let widths = [36, 20, 9, 6, 11].map(Constraint::Length).into_iter().chain([Constraint::Fill(1)]);
    (vec!["run", "name", "status", "tasks", "took", "about"], widths.collect(), rows.collect())
}

fn components(seen: &Seen) -> Listed {
    let rows = seen.components.iter().map(|it| {
        let owned = match (it.owned_shards.len(), &it.owned_queues[..]) {
            (0, []) => String::new(),
            (0, queues) => format!("queues {}", queues.join(", ")),
            (shards, _) => format!("{shards} shards"),
        };
        Row::new([
            Cell::from(it.role.to_string()),
            Cell::from(view::first_line(&it.name, 30)),
            Cell::from(Span::styled(view::presence(it.status), presence_style(it.status))),
            Cell::from(if it.capacity > 0 { format!("{}/{}", it.in_use, it.capacity) } else { String::new() }),
            Cell::from(owned),
            Cell::from(view::time(it.connected_since)),
        ])
    });
    let widths =
        [10, 24, 10, 9].map(Constraint::Length).into_iter().chain([Constraint::Fill(1), Constraint::Length(24)]);
    (vec!["role", "name", "status", "in use", "owns", "since"], widths.collect(), rows.collect())
}

fn providers(seen: &Seen) -> Listed {
    let rows = seen.providers.iter().map(|it| {
        let style = match it.health {
            HealthState::Healthy => Style::new().fg(Color::Green),
            HealthState::Unhealthy => Style::new().fg(Color::Red),
            HealthState::Starting | HealthState::Slow => Style::new().fg(Color::Yellow),
        };
        let about = it.health_reason.clone().unwrap_or_else(|| it.methods.join(", "));
        Row::new([
            Cell::from(view::first_line(&it.name, 30)),
            Cell::from(Span::styled(view::health(it.health), style)),
            Cell::from(format!("{}/{}", it.in_flight, it.capacity)),
            Cell::from(view::first_line(&about, 300)),
        ])
    });
    let widths = [20, 10, 9].map(Constraint::Length).into_iter().chain([Constraint::Fill(1)]);
    (vec!["provider", "health", "calls", "about"], widths.collect(), rows.collect())
}

fn events(model: &Model) -> Listed {
    let rows = model.events.iter().map(|it| {
        let text = view::event(&it.event).unwrap_or_else(|| it.event.kind.replace('_', " "));
        Row::new([
            Cell::from(it.position.to_string()),
            Cell::from(view::time(it.event.time)),
            Cell::from(it.run_id.clone().unwrap_or_default()),
            Cell::from(text),
        ])
    });
    let widths = [10, 26, 37].map(Constraint::Length).into_iter().chain([Constraint::Fill(1)]);
    (vec!["position", "time", "run", "event"], widths.collect(), rows.collect())
}

/// An open run: what it is, then one of its parts.
fn run(model: &mut Model, detail: &Detail, area: Rect, frame: &mut Frame<'_>) {
    let [about, body] = Layout::vertical([Constraint::Length(4), Constraint::Min(3)]).areas(area);
    let run = &detail.run;
    let mut lines = vec![
        Line::from(vec![
            Span::raw(format!("{}  {}  ", view::first_line(&run.name, 40), run.run_id)),
            Span::styled(view::run_status(run.status), run_style(run.status)),
            Span::raw(format!("  {}", took(run.submitted_at, run.finished_at))),
        ]),
        Line::from(format!("trace {}", run.correlation_id)),
    ];
    if let Some(error) = &run.error {
        lines.push(Line::styled(view::first_line(&view::failure(error), 500), Style::new().fg(Color::Red)));
    }
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), about);
    let fill = |lengths: &[u16]| -> Vec<Constraint> {
        lengths.iter().copied().map(Constraint::Length).chain([Constraint::Fill(1)]).collect()
    };
    let (title, head, widths, rows): (_, Vec<&str>, _, Vec<Row<'static>>) = match model.part {
        Part::Tasks => {
            let rows = detail.tasks.iter().map(|task| {
                let about = match (&task.waiting, &task.error) {
                    (Some(waiting), _) => waiting.reason.clone(),
                    (None, Some(error)) => error.message.clone(),
                    (None, None) => task.result.as_ref().map(|it| it.get().to_owned()).unwrap_or_default(),
                };
                Row::new([
                    Cell::from(task.id.clone()),
                    Cell::from(Span::styled(view::task_status(task.status), task_style(task.status))),
                    Cell::from(task.attempt.to_string()),
                    Cell::from(view::first_line(&about, 300)),
                ])
            });
            ("Tasks", vec!["task", "status", "attempt", "about"], fill(&[24, 11, 8]), rows.collect())
        }
        Part::Events => {
            let rows = detail.events.iter().map(|event| {
                let text = view::event(event).unwrap_or_else(|| event.kind.replace('_', " "));
                Row::new([Cell::from(event.seq.to_string()), Cell::from(view::time(event.time)), Cell::from(text)])
            });
            ("Events", vec!["seq", "time", "event"], fill(&[6, 26]), rows.collect())
        }
        Part::Explain => {
            let of_run = detail.explanation.waiting.as_ref().map(|waiting| ("run".to_owned(), waiting));
            let of_tasks = detail.explanation.tasks.iter();
            let of_tasks = of_tasks.filter_map(|task| Some((task.id.clone(), task.waiting.as_ref()?)));
            let rows = of_run.into_iter().chain(of_tasks).map(|(what, waiting)| {
                let remedy = waiting.remedy.as_ref().map(|it| format!("  → {it}")).unwrap_or_default();
                Row::new([Cell::from(what), Cell::from(view::first_line(&format!("{}{remedy}", waiting.reason), 500))])
            });
            ("What it waits for", vec!["what", "why"], fill(&[24]), rows.collect())
        }
    };
    list(model, title, &head, &widths, rows, body, frame);
}

fn list(
    model: &mut Model,
    title: &str,
    head: &[&str],
    widths: &[Constraint],
    rows: Vec<Row<'static>>,
    area: Rect,
    frame: &mut Frame<'_>,
) {
    let head = Row::new(head.iter().map(|name| Cell::from((*name).to_owned())))
        .style(Style::new().add_modifier(Modifier::DIM));
    let title = format!(" {title} ({}) ", rows.len());
    let table = Table::new(rows, widths)
        .header(head)
        .block(Block::bordered().title(title))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    frame.render_stateful_widget(table, area, &mut model.rows);
}

fn took(from: Option<Timestamp>, to: Option<Timestamp>) -> String {
    match (from, to) {
        (Some(from), Some(to)) => view::duration(std::time::Duration::from_millis(to.ms_since(from))),
        _ => "…".to_owned(),
    }
}

fn run_style(status: RunStatus) -> Style {
    Style::new().fg(match status {
        RunStatus::Running => Color::Cyan,
        RunStatus::Completed => Color::Green,
        RunStatus::Failed => Color::Red,
        RunStatus::Cancelled => Color::Yellow,
    })
}

fn task_style(status: TaskStatus) -> Style {
    Style::new().fg(match status {
        TaskStatus::Completed => Color::Green,
        TaskStatus::Failed => Color::Red,
        TaskStatus::Cancelled | TaskStatus::Skipped | TaskStatus::Backoff => Color::Yellow,
        TaskStatus::Dispatched | TaskStatus::Running => Color::Cyan,
        TaskStatus::Waiting | TaskStatus::Ready => Color::Reset,
    })
}

fn presence_style(status: PresenceStatus) -> Style {
    Style::new().fg(match status {
        PresenceStatus::Connected => Color::Green,
        PresenceStatus::Silent => Color::Yellow,
        PresenceStatus::Lost => Color::Red,
    })
}
