//! The keys of the monitor, in one table: the handler looks keys up in it, and the help and the hints at the foot are
//! generated from it. The invariant: in each place a key has one meaning.

use ratatui::crossterm::event::KeyCode;

/// The part of the screen that keys act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Runs,
    Components,
    Providers,
    Events,
    /// The tasks of an open run.
    Tasks,
    /// The events of an open run.
    RunEvents,
    /// What an open run waits for.
    Waiting,
    /// The details of an open task.
    Details,
    /// The output of an open task.
    Log,
    /// The help page.
    Help,
}

/// The effect of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Open,
    Back,
    Leave,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Next,
    Filter,
    Follow,
    ShowRuns,
    ShowComponents,
    ShowProviders,
    ShowEvents,
    ShowTasks,
    ShowRunEvents,
    ShowDetails,
    ShowLog,
    Explain,
    Cancel,
    Retry,
}

/// One row of the table.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) keys: &'static [KeyCode],
    pub(super) command: Command,
    /// The places where the key is valid.
    pub(super) places: &'static [Place],
    /// The description for the help; empty if another row has it.
    pub(super) help: &'static str,
    /// The word for the hint at the foot; `None` if only the help shows the key.
    pub(super) hint: Option<&'static str>,
}

use Place::{Components, Details, Events, Help, Log, Providers, RunEvents, Runs, Tasks, Waiting};

const ALL: &[Place] = &[Runs, Components, Providers, Events, Tasks, RunEvents, Waiting, Details, Log, Help];
/// Everywhere except in the help itself.
const SHOWN: &[Place] = &[Runs, Components, Providers, Events, Tasks, RunEvents, Waiting, Details, Log];
/// Places inside an open run or task.
const INNER: &[Place] = &[Tasks, RunEvents, Waiting, Details, Log];
const OF_RUN: &[Place] = &[Tasks, RunEvents, Waiting];
/// Places where a run is selected or open.
const WITH_RUN: &[Place] = &[Runs, Tasks, RunEvents, Waiting, Details, Log];

/// All keys. The hints at the foot appear in this order, as many as fit.
pub(super) const KEYS: &[Binding] = &[
    on(&[char('?')], Command::Help, SHOWN, "shows this help", Some("help")),
    on(&[KeyCode::Esc, char('q'), char('?')], Command::Back, &[Help], "", Some("back")),
    on(
        &[KeyCode::Enter, KeyCode::Right],
        Command::Open,
        &[Runs, Events, Tasks, RunEvents, Waiting],
        "opens the selected run, and in it a task",
        Some("open"),
    ),
    on(
        &[KeyCode::Esc, KeyCode::Backspace, KeyCode::Left],
        Command::Back,
        INNER,
        "ends the filter, or goes back",
        Some("back"),
    ),
    on(&[KeyCode::Esc], Command::Back, &[Runs], "", None),
    on(&[char('q')], Command::Leave, SHOWN, "leaves the monitor", Some("leave")),
    on(
        &[KeyCode::Tab],
        Command::Next,
        SHOWN,
        "goes to the next view, or to the next part of a run or task",
        Some("next"),
    ),
    on(
        &[char('/')],
        Command::Filter,
        &[Runs, Tasks],
        "lists only entries with all these words; also NAME=VALUE: status, name, id, method or a label",
        Some("filter"),
    ),
    on(
        &[char('f')],
        Command::Follow,
        &[Events, RunEvents, Log],
        "follows new entries, or stops; moving up stops it too",
        Some("follow"),
    ),
    on(&[char('l')], Command::ShowLog, &[Tasks, Details], "shows what the task prints", Some("log")),
    on(&[char('d')], Command::ShowDetails, &[Log], "shows the details of the task", Some("details")),
    on(&[char('c')], Command::Cancel, WITH_RUN, "cancels the run, after a question", Some("cancel")),
    on(&[char('r')], Command::Retry, WITH_RUN, "runs a failed or cancelled run again, after a question", Some("retry")),
    on(
        &[char('e')],
        Command::Explain,
        &[Runs, Tasks, RunEvents, Waiting],
        "shows what the run waits for",
        Some("explain"),
    ),
    on(&[char('t')], Command::ShowTasks, OF_RUN, "shows the run's tasks", Some("tasks")),
    on(&[char('v')], Command::ShowRunEvents, OF_RUN, "shows the run's events", Some("events")),
    on(&[KeyCode::Up, char('k')], Command::Up, ALL, "moves up", None),
    on(&[KeyCode::Down, char('j')], Command::Down, ALL, "moves down", None),
    on(&[KeyCode::PageUp], Command::PageUp, ALL, "moves up by a page", None),
    on(&[KeyCode::PageDown, char(' ')], Command::PageDown, ALL, "moves down by a page", None),
    on(&[KeyCode::Home, char('g')], Command::First, ALL, "moves to the beginning", None),
    on(&[KeyCode::End, char('G')], Command::Last, ALL, "moves to the end", None),
    on(&[char('1')], Command::ShowRuns, SHOWN, "shows the runs, the newest first", None),
    on(&[char('2')], Command::ShowComponents, SHOWN, "shows the connected components", None),
    on(&[char('3')], Command::ShowProviders, SHOWN, "shows the providers and their health", None),
    on(&[char('4')], Command::ShowEvents, SHOWN, "shows the events of all runs", None),
];

const fn on(
    keys: &'static [KeyCode],
    command: Command,
    places: &'static [Place],
    help: &'static str,
    hint: Option<&'static str>,
) -> Binding {
    Binding { keys, command, places, help, hint }
}

const fn char(c: char) -> KeyCode {
    KeyCode::Char(c)
}

/// The bindings of a place, in the order of the table.
pub(super) fn of(place: Place) -> impl Iterator<Item = &'static Binding> {
    KEYS.iter().filter(move |binding| binding.places.contains(&place))
}

/// The command of a key in a place.
pub(super) fn find(place: Place, key: KeyCode) -> Option<Command> {
    of(place).find(|binding| binding.keys.contains(&key)).map(|binding| binding.command)
}

impl Binding {
    /// The keys as they are labelled on the keyboard.
    pub(super) fn label(&self) -> String {
        self.keys.iter().map(|key| label(*key)).collect::<Vec<_>>().join(" ")
    }

    /// The first key with its hint, for the foot.
    pub(super) fn short(&self) -> Option<String> {
        let key = self.keys.first().map(|key| label(*key))?;
        self.hint.map(|hint| format!("{key} {hint}"))
    }
}

fn label(key: KeyCode) -> String {
    match key {
        KeyCode::Char(' ') => "Space".to_owned(),
        KeyCode::Char(c) => c.to_string(),
        KeyCode::Up => "↑".to_owned(),
        KeyCode::Down => "↓".to_owned(),
        KeyCode::Left => "←".to_owned(),
        KeyCode::Right => "→".to_owned(),
        KeyCode::PageUp => "PgUp".to_owned(),
        KeyCode::PageDown => "PgDn".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_means_one_thing_in_a_place() {
        for &place in ALL {
            let mut seen = Vec::new();
            for binding in of(place) {
                for key in binding.keys {
                    assert!(!seen.contains(key), "{} twice in {place:?}", label(*key));
                    seen.push(*key);
                }
            }
            assert!(find(place, char('?')).is_some() && find(place, char('q')).is_some(), "{place:?}");
        }
        assert_eq!(find(Runs, char('q')), Some(Command::Leave));
        assert_eq!(find(Help, char('q')), Some(Command::Back));
        assert_eq!(find(Runs, char('z')), None);
    }

    #[test]
    fn keys_have_the_names_of_the_keyboard() {
        let named = [KeyCode::Enter, KeyCode::Esc, KeyCode::PageDown, char(' '), char('G'), KeyCode::Up].map(label);
        assert_eq!(named, ["Enter", "Esc", "PgDn", "Space", "G", "↑"]);
    }
}
