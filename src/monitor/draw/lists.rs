//! The rows of the lists; only visible rows are built.

use std::ops::Range;
use std::time::Duration;

use gleitzeit_sdk::{Component, Provider, RunSummary, Task, Timestamp};

use crate::color::Tone;
use crate::monitor::keys::Place;
use crate::monitor::model::{Looks, Model, View};
use crate::monitor::recent::{EventLine, Recent};
use crate::monitor::task::worked;
use crate::{ids, states, text, view, when};

/// The most characters of a cell.
const ABOUT: usize = 300;

/// Text with its colour.
type Cell = (String, Tone);

/// The visible rows of a list.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) head: &'static [&'static str],
    /// Columns that are dropped first if there is no room for all, in this order.
    pub(super) optional: &'static [&'static str],
    /// Columns that are kept wide at the cost of those.
    pub(super) important: &'static [&'static str],
    pub(super) rows: Vec<Vec<Cell>>,
}

/// The number of rows.
pub(super) fn len(model: &Model, place: Place) -> usize {
    let (seen, detail) = (model.seen.as_ref(), model.detail());
    let len = match place {
        Place::Runs => Some(model.runs().len()),
        Place::Components => seen.map(|seen| seen.components.len()),
        Place::Providers => seen.map(|seen| seen.providers.len()),
        Place::Events => Some(model.events.lines().len()),
        Place::Tasks => Some(model.tasks().len()),
        Place::RunEvents => model.run.as_ref().map(|run| run.events.lines().len()),
        Place::Waiting => detail.map(|detail| detail.reasons().count()),
        Place::Details | Place::Log | Place::Help => None,
    };
    len.unwrap_or_default()
}

pub(super) fn title(model: &Model, place: Place) -> String {
    let count = len(model, place);
    match place {
        Place::Runs => {
            let more = model.seen.as_ref().filter(|seen| seen.has_more_runs).map(|seen| seen.runs.len());
            format!("{} ({count}){}", model.view.title(), filtered(model, more, "newest"))
        }
        Place::Components | Place::Providers => format!("{} ({count})", model.view.title()),
        Place::Events => format!("{} ({count}){}", View::Events.title(), following(&model.events)),
        Place::Tasks => {
            let more = model.detail().filter(|detail| detail.has_more_tasks).map(|detail| detail.tasks.len());
            match model.detail() {
                Some(detail) if more.is_some() && model.filter_here().is_empty() => {
                    format!("Tasks ({count} of {})", detail.run.task_count)
                }
                _ => format!("Tasks ({count}){}", filtered(model, more, "first")),
            }
        }
        Place::RunEvents => {
            let follows = model.run.as_ref().map(|run| following(&run.events)).unwrap_or_default();
            format!("Events ({count}){follows}")
        }
        Place::Waiting => format!("What it waits for ({count})"),
        Place::Details | Place::Log | Place::Help => String::new(),
    }
}

/// Describes an active filter. `more` is the number of items examined, if there are others.
fn filtered(model: &Model, more: Option<usize>, which: &str) -> String {
    let filter = model.filter_here().text();
    match (filter, more) {
        ("", None) => String::new(),
        ("", Some(_)) => format!(", the {which}"),
        (filter, None) => format!(", filter: {filter}"),
        (filter, Some(more)) => format!(" of the {which} {more}, filter: {filter}"),
    }
}

fn following(events: &Recent) -> &'static str {
    if events.cursor.follows() == Some(true) { ", following" } else { "" }
}

/// The rows that are visible.
pub(super) fn of(model: &Model, place: Place, visible: Range<usize>) -> List {
    let Some(seen) = &model.seen else { return List::default() };
    match place {
        Place::Runs => runs(model, model.runs().get(visible).unwrap_or_default()),
        Place::Components => components(model, seen.components.get(visible).unwrap_or_default()),
        Place::Providers => providers(seen.providers.get(visible).unwrap_or_default()),
        Place::Events => all_events(model, visible),
        Place::Tasks => tasks(model, model.tasks().get(visible).unwrap_or_default()),
        Place::RunEvents => run_events(model, visible),
        Place::Waiting => waiting(model, visible),
        Place::Details | Place::Log | Place::Help => List::default(),
    }
}

fn plain(text: impl Into<String>) -> Cell {
    (text.into(), Tone::Plain)
}

fn dim(text: impl Into<String>) -> Cell {
    (text.into(), Tone::Dim)
}

fn runs(model: &Model, runs: &[&RunSummary]) -> List {
    let ids: Vec<&str> = runs.iter().map(|run| run.run_id.as_str()).collect();
    // The newest run comes first, so the ids are in order.
    let shown = if model.looks.short_ids { ids::shortest(&ids) } else { ids };
    let rows = runs.iter().zip(shown).map(|(run, id)| {
        let (status, tone) = view::status_of(run.status, run.error.as_ref());
        let about = run.error.as_ref().map(|error| text::first_line(&error.message, ABOUT)).unwrap_or_default();
        vec![
            (id.to_owned(), Tone::Id),
            plain(text::first_line(&run.name, 40)),
            (status.to_owned(), tone),
            plain(run.task_count.to_string()),
            plain(took(run.submitted_at, run.finished_at, model.now)),
            dim(when(model, run.submitted_at)),
            plain(about),
        ]
    });
    List {
        head: &["run", "name", "status", "tasks", "took", "submitted", "about"],
        optional: &["submitted", "tasks", "about"],
        important: &["name"],
        rows: rows.collect(),
    }
}

fn components(model: &Model, components: &[Component]) -> List {
    let rows = components.iter().map(|it| {
        let owned = match (it.owned_shards.len(), &it.owned_queues[..]) {
            (0, []) => String::new(),
            (0, queues) => format!("queues {}", queues.join(", ")),
            (shards, _) => format!("{shards} shards"),
        };
        vec![
            plain(it.role.to_string()),
            plain(text::first_line(&it.name, 40)),
            (states::presence(it.status).to_owned(), Tone::of_presence(it.status)),
            plain(if it.capacity > 0 { format!("{}/{}", it.in_use, it.capacity) } else { String::new() }),
            plain(text::first_line(&owned, ABOUT)),
            dim(when(model, it.connected_since)),
        ]
    });
    List {
        head: &["role", "name", "status", "in use", "owns", "since"],
        optional: &["since", "owns"],
        important: &[],
        rows: rows.collect(),
    }
}

fn providers(providers: &[Provider]) -> List {
    let rows = providers.iter().map(|it| {
        let about = it.health_reason.clone().unwrap_or_else(|| it.methods.join(", "));
        vec![
            plain(text::first_line(&it.name, 40)),
            (states::health(it.health).to_owned(), Tone::of_health(it.health)),
            plain(format!("{}/{}", it.in_flight, it.capacity)),
            plain(text::first_line(&about, ABOUT)),
        ]
    });
    List {
        head: &["provider", "health", "calls", "about"],
        optional: &["calls"],
        important: &["about"],
        rows: rows.collect(),
    }
}

fn all_events(model: &Model, visible: Range<usize>) -> List {
    let rows = model.events.lines().range(visible).map(|it| {
        let run = it.run_id.clone().unwrap_or_default();
        vec![
            dim(it.place.to_string()),
            dim(when(model, it.time)),
            (named(model, &run), Tone::Id),
            (it.text.clone(), it.tone),
        ]
    });
    List {
        head: &["position", "time", "run", "event"],
        optional: &["position", "time"],
        important: &["event"],
        rows: rows.collect(),
    }
}

/// The name of a run if it is on the list, otherwise its id.
fn named(model: &Model, run_id: &str) -> String {
    let runs = model.seen.as_ref().map(|seen| &seen.runs[..]).unwrap_or_default();
    // The newest run comes first.
    let at = runs.binary_search_by(|run| run_id.cmp(&run.run_id));
    at.ok().map_or_else(|| run_id.to_owned(), |at| text::first_line(&runs[at].name, 24))
}

fn run_events(model: &Model, visible: Range<usize>) -> List {
    let submitted = model.detail().and_then(|detail| detail.run.submitted_at);
    let Some(run) = &model.run else { return List::default() };
    let rows = run.events.lines().range(visible).map(|it: &EventLine| {
        let after = submitted.zip(it.time).map(|(from, at)| view::duration(Duration::from_millis(at.ms_since(from))));
        vec![
            dim(it.place.to_string()),
            dim(when(model, it.time)),
            dim(after.unwrap_or_default()),
            (it.text.clone(), it.tone),
        ]
    });
    List {
        head: &["seq", "time", "after", "event"],
        optional: &["seq", "time"],
        important: &["event"],
        rows: rows.collect(),
    }
}

fn tasks(model: &Model, tasks: &[&Task]) -> List {
    let rows = tasks.iter().map(|task| {
        let about = match (&task.waiting, &task.error) {
            (Some(waiting), _) => waiting.reason.clone(),
            (None, Some(error)) => error.message.clone(),
            (None, None) => task.result.as_ref().map(|it| it.get().to_owned()).unwrap_or_default(),
        };
        vec![
            plain(text::first_line(&task.id, 60)),
            (states::task_status(task.status).to_owned(), Tone::of_task(task.status)),
            plain(task.attempt.to_string()),
            plain(worked(task, model.now).unwrap_or_default()),
            dim(text::first_line(&task.method, 40)),
            plain(text::first_line(&about, ABOUT)),
        ]
    });
    List {
        head: &["task", "status", "attempt", "took", "method", "about"],
        optional: &["method", "attempt"],
        important: &["about"],
        rows: rows.collect(),
    }
}

fn waiting(model: &Model, visible: Range<usize>) -> List {
    let Some(detail) = model.detail() else { return List::default() };
    let rows = detail.reasons().skip(visible.start).take(visible.len()).map(|(what, waiting)| {
        let remedy = waiting.remedy.as_ref().map(|it| format!("  → {it}")).unwrap_or_default();
        let why = format!("{}{remedy}", waiting.reason);
        vec![
            plain(text::first_line(what.unwrap_or("(run)"), 60)),
            dim(when(model, waiting.since)),
            plain(text::first_line(&why, 500)),
        ]
    });
    List { head: &["what", "since", "why"], optional: &["since"], important: &["why"], rows: rows.collect() }
}

/// How long something took, or has taken so far.
pub(super) fn took(from: Option<Timestamp>, to: Option<Timestamp>, now: Timestamp) -> String {
    view::elapsed(from, to, now).unwrap_or_default()
}

/// A time in the monitor's format.
pub(super) fn when(model: &Model, at: Option<Timestamp>) -> String {
    at.map(|at| shown_time(model.looks, model.now, at)).unwrap_or_default()
}

/// A time as an age, or in full.
pub(super) fn shown_time(looks: Looks, now: Timestamp, at: Timestamp) -> String {
    if looks.relative_times { when::relative(at, now) } else { at.to_string() }
}
