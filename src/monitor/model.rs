//! The state of the monitor and the effects of keys. Pure: time and query results come from outside.

use std::time::Instant;

use gleitzeit_sdk::{RecordedEvent, RunEvent, RunStatus, RunSummary, Task, Timestamp};
use gleitzeit_workflow::ErrorCode;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::filter::Filter;
use super::keys::{self, Command, Place};
use super::list::{Cursor, Motion, Scroll};
use super::look::OpenTaskId;
use super::query::{Act, Detail, Seen, Wanted};
use super::recent::{EventLine, Recent};
use super::task::{OpenTask, TaskPart};

/// The view that fills the screen.
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

/// The part of an open run that fills the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Tasks,
    Events,
    Explain,
}

/// The action that a key requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    None,
    Leave,
    Refresh,
    Do(Act),
}

/// A run that is open.
#[derive(Debug)]
pub(super) struct OpenRun {
    pub(super) id: String,
    pub(super) part: Part,
    /// The position in its tasks or its reasons to wait.
    pub(super) cursor: Cursor,
    pub(super) events: Recent,
    /// The filter of its tasks.
    pub(super) filter: Filter,
    pub(super) task: Option<OpenTask>,
}

impl OpenRun {
    fn new(id: String, part: Part) -> Self {
        Self { id, part, cursor: Cursor::default(), events: Recent::default(), filter: Filter::default(), task: None }
    }
}

/// How times and ids are displayed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looks {
    /// Times are shown as ages.
    pub(super) relative_times: bool,
    /// Ids are shortened to a unique prefix within the list.
    pub(super) short_ids: bool,
}

/// Everything that is shown.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) url: String,
    pub(super) looks: Looks,
    pub(super) now: Timestamp,
    pub(super) seen: Option<Seen>,
    /// The latest events of all runs.
    pub(super) events: Recent,
    pub(super) view: View,
    /// The position in the current list, except for events.
    pub(super) cursor: Cursor,
    /// The filter of the runs.
    pub(super) filter: Filter,
    /// Whether a filter is being typed, so that keys are text.
    pub(super) is_typing: bool,
    pub(super) run: Option<OpenRun>,
    /// The position in the help, while it is shown.
    pub(super) help: Option<Scroll>,
    /// The action that awaits confirmation.
    pub(super) asked: Option<Act>,
    /// The latest message, or why nothing can be shown.
    pub(super) note: Option<String>,
    pub(super) is_away: bool,
}

impl Model {
    pub(super) fn new(url: String, looks: Looks, now: Timestamp) -> Self {
        Self {
            url,
            looks,
            now,
            seen: None,
            events: Recent::default(),
            view: View::Runs,
            cursor: Cursor::default(),
            filter: Filter::default(),
            is_typing: false,
            run: None,
            help: None,
            asked: None,
            note: None,
            is_away: false,
        }
    }

    /// The next query.
    pub(super) fn wanted(&self) -> Wanted {
        let filter = self.filter.clone();
        let Some(run) = &self.run else { return Wanted { filter, ..Wanted::default() } };
        let task = run.task.as_ref();
        Wanted {
            filter,
            run: Some(run.id.clone()),
            task_filter: run.filter.clone(),
            task: task.map(|task| task.id.clone()),
            is_task_known: task.is_some_and(OpenTask::is_known),
        }
    }

    /// Takes a query's result; on an error the previous content stays.
    pub(super) fn see(&mut self, wanted: &Wanted, found: gleitzeit_sdk::Result<Seen>) {
        match found {
            Ok(mut seen) => {
                if std::mem::take(&mut self.is_away) {
                    self.note = None;
                }
                let (run, task) = (self.selected_run().map(|run| run.run_id.clone()), self.selected_task());
                let open = self.open_task(wanted.run.as_ref(), wanted.task.as_ref());
                if let Some((open, task)) = open.zip(seen.task.take()) {
                    open.see(task);
                }
                self.seen = Some(seen);
                self.select_run(run.as_deref());
                self.select_task(task.as_deref());
            }
            // The run was removed meanwhile.
            Err(error) if error.known() == Some(ErrorCode::WorkflowNotFound) => {
                if wanted.run == self.wanted().run {
                    self.close();
                    self.note = Some(error.to_string());
                }
            }
            Err(error) => {
                self.is_away = true;
                self.note = Some(error.to_string());
            }
        }
    }

    /// Keeps a run selected, whatever is inserted above it.
    fn select_run(&mut self, run_id: Option<&str>) {
        let at = self.runs().iter().position(|run| Some(run.run_id.as_str()) == run_id);
        if let (View::Runs, Some(at)) = (self.view, at) {
            self.cursor.select(at);
        }
    }

    /// Keeps a task selected in the same way.
    fn select_task(&mut self, task_id: Option<&str>) {
        let at = self.tasks().iter().position(|task| Some(task.id.as_str()) == task_id);
        if let (Some(OpenRun { part: Part::Tasks, cursor, .. }), Some(at)) = (&mut self.run, at) {
            cursor.select(at);
        }
    }

    /// The runs on the list.
    pub(super) fn runs(&self) -> Vec<&RunSummary> {
        let runs = self.seen.iter().flat_map(|seen| &seen.runs);
        runs.filter(|run| self.filter.of_run(run)).collect()
    }

    /// The listed tasks of the open run.
    pub(super) fn tasks(&self) -> Vec<&Task> {
        let filter = self.run.as_ref().map(|run| &run.filter);
        let tasks = self.detail().into_iter().flat_map(|detail| &detail.tasks);
        tasks.filter(|task| filter.is_none_or(|filter| filter.of_task(task))).collect()
    }

    /// Adds a recorded event.
    pub(super) fn happened(&mut self, event: &RecordedEvent) {
        self.events.add(EventLine::from(event));
    }

    /// Adds a recorded event of a run.
    pub(super) fn happened_in(&mut self, run_id: &str, event: &RunEvent) {
        if let Some(run) = self.run.as_mut().filter(|run| run.id == run_id) {
            run.events.add(EventLine::from(event));
        }
    }

    /// Adds an event or the progress of a task.
    pub(super) fn happened_to(&mut self, (run_id, task_id): &OpenTaskId, event: &RunEvent, now: Instant) {
        if let Some(open) = self.open_task(Some(run_id), Some(task_id)) {
            open.happened(event, now);
        }
    }

    /// The open task, if it is this one.
    fn open_task(&mut self, run_id: Option<&String>, task_id: Option<&String>) -> Option<&mut OpenTask> {
        let run = self.run.as_mut().filter(|run| Some(&run.id) == run_id)?;
        run.task.as_mut().filter(|task| Some(&task.id) == task_id)
    }

    pub(super) fn show_note(&mut self, said: gleitzeit_sdk::Result<String>) {
        self.note = Some(said.unwrap_or_else(|error| error.to_string()));
    }

    /// The place that keys act on.
    pub(super) fn place(&self) -> Place {
        match (&self.help, &self.run, self.view) {
            (Some(_), _, _) => Place::Help,
            (None, Some(run), _) => match (run.task.as_ref().map(|task| task.part), run.part) {
                (Some(TaskPart::Details), _) => Place::Details,
                (Some(TaskPart::Log), _) => Place::Log,
                (None, Part::Tasks) => Place::Tasks,
                (None, Part::Events) => Place::RunEvents,
                (None, Part::Explain) => Place::Waiting,
            },
            (None, None, View::Runs) => Place::Runs,
            (None, None, View::Components) => Place::Components,
            (None, None, View::Providers) => Place::Providers,
            (None, None, View::Events) => Place::Events,
        }
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> Action {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Action::Leave } else { Action::None };
        }
        if let Some(act) = self.asked.take() {
            return if key.code == KeyCode::Char('y') { Action::Do(act) } else { Action::None };
        }
        self.note = self.note.take().filter(|_| self.is_away);
        if self.is_typing {
            return self.type_key(key.code);
        }
        keys::find(self.place(), key.code).map_or(Action::None, |command| self.obey(command))
    }

    /// Applies a key to the filter being typed. The list follows at once; the control plane is queried when the filter
    /// is complete.
    fn type_key(&mut self, key: KeyCode) -> Action {
        let mut text = self.filter_here().text().to_owned();
        match key {
            KeyCode::Char(c) => text.push(c),
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Esc => text.clear(),
            _ => {}
        }
        self.set_filter(Filter::new(&text));
        self.is_typing = !matches!(key, KeyCode::Enter | KeyCode::Esc);
        if self.is_typing { Action::None } else { Action::Refresh }
    }

    /// The filter of the current list.
    pub(super) fn filter_here(&self) -> &Filter {
        self.run.as_ref().map_or(&self.filter, |run| &run.filter)
    }

    fn set_filter(&mut self, filter: Filter) {
        let (run, task) = (self.selected_run().map(|run| run.run_id.clone()), self.selected_task());
        match &mut self.run {
            Some(open) => {
                open.filter = filter;
                open.cursor.select(0);
                self.select_task(task.as_deref());
            }
            None => {
                self.filter = filter;
                self.cursor.select(0);
                self.select_run(run.as_deref());
            }
        }
    }

    /// Goes back one step.
    fn back(&mut self) -> Action {
        let is_filtered = matches!(self.place(), Place::Runs | Place::Tasks) && !self.filter_here().is_empty();
        match &mut self.run {
            _ if self.help.is_some() => self.help = None,
            _ if is_filtered => {
                self.set_filter(Filter::default());
                return Action::Refresh;
            }
            Some(OpenRun { task: task @ Some(_), .. }) => *task = None,
            Some(_) => self.close(),
            None => {}
        }
        Action::None
    }

    fn obey(&mut self, command: Command) -> Action {
        match command {
            Command::Leave => return Action::Leave,
            Command::Help => self.help = Some(Scroll::default()),
            Command::Back => return self.back(),
            Command::Filter => self.is_typing = true,
            Command::Open if self.run.is_some() => return self.open_selected_task(TaskPart::Details),
            Command::Open => return self.open(Part::Tasks),
            Command::Explain => return self.open(Part::Explain),
            Command::ShowLog => return self.open_selected_task(TaskPart::Log),
            Command::ShowDetails => return self.open_selected_task(TaskPart::Details),
            Command::ShowTasks => self.turn(Part::Tasks),
            Command::ShowRunEvents => self.turn(Part::Events),
            Command::Next => self.next(),
            Command::Follow => match self.task_mut() {
                Some(task) => task.scroll().toggle(),
                None => self.cursor_here().toggle(),
            },
            Command::ShowRuns => self.show(View::Runs),
            Command::ShowComponents => self.show(View::Components),
            Command::ShowProviders => self.show(View::Providers),
            Command::ShowEvents => self.show(View::Events),
            Command::Cancel => self.ask_to_cancel(),
            Command::Retry => self.ask_to_retry(),
            Command::Up => self.go(Motion::Up),
            Command::Down => self.go(Motion::Down),
            Command::PageUp => self.go(Motion::PageUp),
            Command::PageDown => self.go(Motion::PageDown),
            Command::First => self.go(Motion::First),
            Command::Last => self.go(Motion::Last),
        }
        Action::None
    }

    fn go(&mut self, motion: Motion) {
        if let Some(help) = &mut self.help {
            help.go(motion);
        } else if let Some(task) = self.task_mut() {
            task.scroll().go(motion);
        } else {
            self.cursor_here().go(motion);
        }
    }

    /// The open task.
    pub(super) fn task_mut(&mut self) -> Option<&mut OpenTask> {
        self.run.as_mut()?.task.as_mut()
    }

    /// The position in the current list.
    pub(super) fn cursor_here(&mut self) -> &mut Cursor {
        match (&mut self.run, self.view) {
            (Some(OpenRun { part: Part::Events, events, .. }), _) => &mut events.cursor,
            (Some(run), _) => &mut run.cursor,
            (None, View::Events) => &mut self.events.cursor,
            (None, _) => &mut self.cursor,
        }
    }

    fn ask_to_cancel(&mut self) {
        match self.meant_run() {
            Some((run_id, name, RunStatus::Running)) => self.asked = Some(Act::Cancel { run_id, name }),
            Some(_) => self.note = Some("it has ended already".to_owned()),
            None => {}
        }
    }

    fn ask_to_retry(&mut self) {
        match self.meant_run() {
            Some((run_id, name, RunStatus::Failed | RunStatus::Cancelled)) => {
                self.asked = Some(Act::Retry { run_id, name });
            }
            Some(_) => self.note = Some("only failed and cancelled runs can be retried".to_owned()),
            None => {}
        }
    }

    /// The run that is selected in the list.
    fn selected_run(&self) -> Option<&RunSummary> {
        self.runs().get(self.cursor.selected()).copied().filter(|_| self.view == View::Runs)
    }

    /// The run that keys act on, with its name and status: the open one, or the selected one of the list.
    fn meant_run(&self) -> Option<(String, String, RunStatus)> {
        let Some(open) = &self.run else {
            return self.selected_run().map(|run| (run.run_id.clone(), run.name.clone(), run.status));
        };
        let of_detail = self.detail().map(|it| (open.id.clone(), it.run.name.clone(), it.run.status));
        let of_list = || {
            let run = self.seen.as_ref()?.runs.iter().find(|run| run.run_id == open.id)?;
            Some((open.id.clone(), run.name.clone(), run.status))
        };
        of_detail.or_else(of_list)
    }

    /// The open run, once it was read.
    pub(super) fn detail(&self) -> Option<&Detail> {
        let open = self.run.as_ref()?;
        self.seen.as_ref()?.detail.as_ref().filter(|detail| detail.run.run_id == open.id)
    }

    /// Opens the selected item.
    fn open(&mut self, part: Part) -> Action {
        if self.run.is_some() {
            self.turn(part);
            return Action::None;
        }
        let of_event = || self.events.selected().and_then(|event| event.run_id.clone());
        let selected = match self.view {
            View::Runs => self.selected_run().map(|run| run.run_id.clone()),
            View::Events => of_event(),
            View::Components | View::Providers => None,
        };
        let Some(id) = selected else { return Action::None };
        self.run = Some(OpenRun::new(id, part));
        Action::Refresh
    }

    /// Opens the selected task of the open run, or another part of the open task.
    fn open_selected_task(&mut self, part: TaskPart) -> Action {
        if let Some(open) = self.task_mut() {
            open.part = part;
            return Action::None;
        }
        let selected = self.selected_task();
        if let (Some(run), Some(id)) = (&mut self.run, selected) {
            run.task = Some(OpenTask::new(id, part));
            return Action::Refresh;
        }
        Action::None
    }

    /// The task that the selected row of the open run is about.
    fn selected_task(&self) -> Option<String> {
        let run = self.run.as_ref()?;
        let at = run.cursor.selected();
        match run.part {
            Part::Tasks => self.tasks().get(at).map(|task| task.id.clone()),
            Part::Events => run.events.selected()?.task_id.clone(),
            Part::Explain => self.detail()?.reasons().nth(at).and_then(|(task, _)| task.map(str::to_owned)),
        }
    }

    fn show(&mut self, view: View) {
        (self.view, self.run, self.cursor) = (view, None, Cursor::default());
    }

    fn next(&mut self) {
        if let Some(task) = self.task_mut() {
            task.part = if task.part == TaskPart::Details { TaskPart::Log } else { TaskPart::Details };
            return;
        }
        if let Some(run) = &self.run {
            let next = match run.part {
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
        if let Some(run) = &mut self.run {
            (run.part, run.cursor) = (part, Cursor::default());
        }
    }

    fn close(&mut self) {
        let open = self.run.take().map(|run| run.id);
        self.is_typing = false;
        self.select_run(open.as_deref());
    }
}
