//! What is shown, and what keys mean.

use std::collections::VecDeque;

use gleitzeit_sdk::{
    Component, Explanation, Provider, RecordedEvent, Run, RunEvent, RunStatus, RunSummary, Status, Task,
};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::widgets::TableState;

/// So many events are kept.
const EVENTS: usize = 500;

/// Everything that was found.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) status: Status,
    pub(super) runs: Vec<RunSummary>,
    pub(super) components: Vec<Component>,
    pub(super) providers: Vec<Provider>,
    pub(super) detail: Option<Detail>,
}

/// One run in full.
#[derive(Clone, Debug)]
pub(super) struct Detail {
    pub(super) run: Run,
    pub(super) explanation: Explanation,
    pub(super) tasks: Vec<Task>,
    pub(super) events: Vec<RunEvent>,
}

/// What fills the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Runs,
    Components,
    Providers,
    Events,
}

impl View {
    pub(super) const ALL: [Self; 4] = [Self::Runs, Self::Components, Self::Providers, Self::Events];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Runs => "1 Runs",
            Self::Components => "2 Components",
            Self::Providers => "3 Providers",
            Self::Events => "4 Events",
        }
    }
}

/// What of an open run fills the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Tasks,
    Events,
    Explain,
}

/// What is to be done because of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    None,
    Leave,
    Refresh,
    Cancel(String),
    Retry(String),
}

/// All that is shown.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) url: String,
    pub(super) seen: Option<Seen>,
    /// What was recorded lately, the newest first.
    pub(super) events: VecDeque<RecordedEvent>,
    pub(super) view: View,
    pub(super) part: Part,
    /// The run that is open, by id.
    run: Option<String>,
    pub(super) rows: TableState,
    /// What is asked before it is done: a run to cancel.
    pub(super) asked: Option<String>,
    /// What happened last, or why nothing is seen.
    pub(super) note: Option<String>,
    pub(super) is_away: bool,
}

impl Model {
    pub(super) fn new(url: String) -> Self {
        let rows = TableState::default().with_selected(0);
        let (view, part) = (View::Runs, Part::Tasks);
        Self {
            url,
            seen: None,
            events: VecDeque::new(),
            view,
            part,
            run: None,
            rows,
            asked: None,
            note: None,
            is_away: false,
        }
    }

    /// The run that is to be looked at in full.
    pub(super) fn open(&self) -> Option<String> {
        self.run.clone()
    }

    /// Takes what was found, or why nothing was: then what was there before stays.
    pub(super) fn see(&mut self, found: gleitzeit_sdk::Result<Seen>) {
        match found {
            Ok(seen) => {
                if std::mem::take(&mut self.is_away) {
                    self.note = None;
                }
                self.seen = Some(seen);
                let rows = self.row_count();
                let selected = self.rows.selected().unwrap_or_default().min(rows.saturating_sub(1));
                self.rows.select(Some(selected));
            }
            // A run that was removed meanwhile.
            Err(error) if !error.is_unreachable() && self.run.is_some() => {
                self.close();
                self.note = Some(error.to_string());
            }
            Err(error) => {
                self.is_away = true;
                self.note = Some(error.to_string());
            }
        }
    }

    /// Takes something that was just recorded.
    pub(super) fn happened(&mut self, event: RecordedEvent) {
        self.events.push_front(event);
        self.events.truncate(EVENTS);
    }

    pub(super) fn say(&mut self, said: gleitzeit_sdk::Result<String>) {
        self.note = Some(said.unwrap_or_else(|error| error.to_string()));
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> Action {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Action::Leave;
        }
        if let Some(run) = self.asked.take() {
            return if key.code == KeyCode::Char('y') { Action::Cancel(run) } else { Action::None };
        }
        self.note = self.note.take().filter(|_| self.is_away);
        match key.code {
            KeyCode::Char('q') => return Action::Leave,
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left if self.run.is_some() => self.close(),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::PageDown => self.step(20),
            KeyCode::PageUp => self.step(-20),
            KeyCode::Char('1') => self.show(View::Runs),
            KeyCode::Char('2') => self.show(View::Components),
            KeyCode::Char('3') => self.show(View::Providers),
            KeyCode::Char('4') => self.show(View::Events),
            KeyCode::Tab => self.next(),
            KeyCode::Char('t') if self.run.is_some() => self.turn(Part::Tasks),
            KeyCode::Char('v') if self.run.is_some() => self.turn(Part::Events),
            KeyCode::Char('e') if self.selected_run().is_some() => {
                self.run = self.selected_run().map(|run| run.0);
                self.turn(Part::Explain);
                return Action::Refresh;
            }
            KeyCode::Enter | KeyCode::Right if self.view == View::Runs && self.run.is_none() => {
                if let Some((run, _)) = self.selected_run() {
                    self.run = Some(run);
                    self.turn(Part::Tasks);
                    return Action::Refresh;
                }
            }
            KeyCode::Char('c') => match self.selected_run() {
                Some((run, RunStatus::Running)) => self.asked = Some(run),
                Some(_) => self.note = Some("it has ended already".to_owned()),
                None => {}
            },
            KeyCode::Char('r') => match self.selected_run() {
                Some((run, RunStatus::Failed | RunStatus::Cancelled)) => return Action::Retry(run),
                Some(_) => self.note = Some("only failed and cancelled runs can be retried".to_owned()),
                None => {}
            },
            _ => {}
        }
        Action::None
    }

    /// The run that keys speak of: the open one, or the selected one of the list.
    fn selected_run(&self) -> Option<(String, RunStatus)> {
        let seen = self.seen.as_ref()?;
        if let Some(open) = &self.run {
            let of_list = seen.runs.iter().find(|run| run.run_id == *open).map(|run| run.status);
            let of_detail = seen.detail.as_ref().filter(|it| it.run.run_id == *open).map(|it| it.run.status);
            return of_detail.or(of_list).map(|status| (open.clone(), status));
        }
        let run = seen.runs.get(self.rows.selected()?).filter(|_| self.view == View::Runs)?;
        Some((run.run_id.clone(), run.status))
    }

    /// The open run, once it was looked at.
    pub(super) fn detail(&self) -> Option<&Detail> {
        let open = self.run.as_ref()?;
        self.seen.as_ref()?.detail.as_ref().filter(|detail| detail.run.run_id == *open)
    }

    pub(super) fn is_open(&self) -> bool {
        self.run.is_some()
    }

    fn row_count(&self) -> usize {
        let Some(seen) = &self.seen else { return 0 };
        match (self.detail(), self.part, self.view) {
            (Some(detail), Part::Tasks, _) => detail.tasks.len(),
            (Some(detail), Part::Events, _) => detail.events.len(),
            (Some(detail), Part::Explain, _) => detail.explanation.tasks.len(),
            (None, _, View::Runs) => seen.runs.len(),
            (None, _, View::Components) => seen.components.len(),
            (None, _, View::Providers) => seen.providers.len(),
            (None, _, View::Events) => self.events.len(),
        }
    }

    fn step(&mut self, by: isize) {
        let selected = self.rows.selected().unwrap_or_default().saturating_add_signed(by);
        self.rows.select(Some(selected.min(self.row_count().saturating_sub(1))));
    }

    fn show(&mut self, view: View) {
        (self.view, self.run) = (view, None);
        self.rows.select(Some(0));
    }

    fn next(&mut self) {
        if self.run.is_some() {
            let next = match self.part {
                Part::Tasks => Part::Events,
                Part::Events => Part::Explain,
                Part::Explain => Part::Tasks,
            };
            return self.turn(next);
        }
        let at = View::ALL.iter().position(|view| *view == self.view).unwrap_or_default();
        self.show(View::ALL[(at + 1) % View::ALL.len()]);
    }

    fn turn(&mut self, part: Part) {
        self.part = part;
        self.rows.select(Some(0));
    }

    fn close(&mut self) {
        let open = self.run.take();
        let runs = self.seen.as_ref().map(|seen| &seen.runs[..]).unwrap_or_default();
        let at = runs.iter().position(|run| Some(&run.run_id) == open.as_ref());
        self.rows.select(Some(at.unwrap_or_default()));
    }
}
