//! The keys of the monitor, in one table: the handler looks them up in it, and the help and the hints at the foot are made
//! from it. The invariant: in one place a key means one thing.

use ratatui::crossterm::event::KeyCode;

/// What fills the screen, or the part of it that keys speak to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Runs,
    Components,
    Providers,
    Events,
    /// Of an open run: its tasks.
    Tasks,
    /// Of an open run: what happened.
    RunEvents,
    /// Of an open run: what it waits for.
    Waiting,
    /// Of an open task: what is known of it.
    Details,
    /// Of an open task: what it prints.
    Log,
}

/// What a key asks for.
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
    NextPane,
    Filter,
    Follow,
    ShowRuns,
    ShowComponents,
    ShowProviders,
    ShowEvents,
    ShowTasks,
    ShowRunEvents,
    Explain,
    ShowDetails,
    ShowLog,
    Cancel,
    Retry,
}

/// One line of the table.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) keys: &'static [KeyCode],
    pub(super) command: Command,
    /// Where it holds.
    pub(super) places: &'static [Place],
    /// What it does, for the help.
    pub(super) help: &'static str,
    /// What it does in one word, for the foot; none: it is only in the help.
    pub(super) hint: Option<&'static str>,
}

use Place::{Components, Details, Events, Log, Providers, RunEvents, Runs, Tasks, Waiting};

const ALL: &[Place] = &[Runs, Components, Providers, Events, Tasks, RunEvents, Waiting, Details, Log];
const TOP: &[Place] = &[Runs, Components, Providers, Events];
const INNER: &[Place] = &[Tasks, RunEvents, Waiting, Details, Log];
const OF_RUN: &[Place] = &[Tasks, RunEvents, Waiting];
const OF_TASK: &[Place] = &[Details, Log];
/// Where a run is selected or open.
const WITH_RUN: &[Place] = &[Runs, Tasks, RunEvents, Waiting, Details, Log];

/// All keys. The hints at the foot appear in this order, as many as there is room for.
pub(super) const KEYS: &[Binding] = &[
    Binding { keys: &[char('?')], command: Command::Help, places: ALL, help: "shows or hides this help", hint: Some("help") },
    Binding {
        keys: &[KeyCode::Enter, KeyCode::Right],
        command: Command::Open,
        places: &[Runs, Events, Tasks, RunEvents, Waiting],
        help: "opens what is selected: a run, and in it a task",
        hint: Some("open"),
    },
    Binding {
        keys: &[KeyCode::Esc, KeyCode::Backspace, KeyCode::Left],
        command: Command::Back,
        places: INNER,
        help: "clears the filter, then goes back",
        hint: Some("back"),
    },
    Binding {
        keys: &[KeyCode::Esc, KeyCode::Backspace],
        command: Command::Back,
        places: TOP,
        help: "clears the filter",
        hint: None,
    },
    Binding { keys: &[char('q')], command: Command::Back, places: INNER, help: "goes back", hint: None },
    Binding { keys: &[char('q')], command: Command::Leave, places: TOP, help: "leaves the monitor", hint: Some("leave") },
    Binding {
        keys: &[KeyCode::Tab],
        command: Command::NextPane,
        places: ALL,
        help: "goes to the next view, or to the next part of a run or task",
        hint: Some("next"),
    },
    Binding {
        keys: &[char('/')],
        command: Command::Filter,
        places: &[Runs, Tasks],
        help: "filters: words to find, or NAME=VALUE (status, name, id, method, or a label)",
        hint: Some("filter"),
    },
    Binding {
        keys: &[char('f')],
        command: Command::Follow,
        places: &[Runs, Events, RunEvents, Log],
        help: "follows the newest run, event or line, or stops; moving up stops it too",
        hint: Some("follow"),
    },
    Binding { keys: &[char('l')], command: Command::ShowLog, places: &[Tasks, Details, Log], help: "shows what the task prints", hint: Some("log") },
    Binding { keys: &[char('c')], command: Command::Cancel, places: WITH_RUN, help: "cancels the run, after a question", hint: Some("cancel") },
    Binding {
        keys: &[char('r')],
        command: Command::Retry,
        places: WITH_RUN,
        help: "makes a new run of a failed or cancelled one, after a question",
        hint: Some("retry"),
    },
    Binding { keys: &[char('e')], command: Command::Explain, places: WITH_RUN, help: "shows what the run waits for", hint: Some("explain") },
    Binding { keys: &[char('t')], command: Command::ShowTasks, places: OF_RUN, help: "shows the run's tasks", hint: None },
    Binding { keys: &[char('v')], command: Command::ShowRunEvents, places: OF_RUN, help: "shows the run's events", hint: None },
    Binding { keys: &[char('d')], command: Command::ShowDetails, places: OF_TASK, help: "shows what is known of the task", hint: None },
    Binding { keys: &[KeyCode::Up, char('k')], command: Command::Up, places: ALL, help: "moves up", hint: None },
    Binding { keys: &[KeyCode::Down, char('j')], command: Command::Down, places: ALL, help: "moves down", hint: None },
    Binding { keys: &[KeyCode::PageUp], command: Command::PageUp, places: ALL, help: "moves up by a page", hint: None },
    Binding { keys: &[KeyCode::PageDown, char(' ')], command: Command::PageDown, places: ALL, help: "moves down by a page", hint: None },
    Binding { keys: &[KeyCode::Home, char('g')], command: Command::First, places: ALL, help: "moves to the first line", hint: None },
    Binding { keys: &[KeyCode::End, char('G')], command: Command::Last, places: ALL, help: "moves to the last line", hint: None },
    Binding { keys: &[char('1')], command: Command::ShowRuns, places: ALL, help: "shows the runs, the newest first", hint: None },
    Binding { keys: &[char('2')], command: Command::ShowComponents, places: ALL, help: "shows what is connected", hint: None },
    Binding { keys: &[char('3')], command: Command::ShowProviders, places: ALL, help: "shows the providers and their health", hint: None },
    Binding { keys: &[char('4')], command: Command::ShowEvents, places: ALL, help: "shows the events of all runs", hint: None },
];

const fn char(c: char) -> KeyCode {
    KeyCode::Char(c)
}

/// What holds in a place, in the order of the table.
pub(super) fn of(place: Place) -> impl Iterator<Item = &'static Binding> {
    KEYS.iter().filter(move |binding| binding.places.contains(&place))
}

/// What a key means in a place.
pub(super) fn find(place: Place, key: KeyCode) -> Option<Command> {
    of(place).find(|binding| binding.keys.contains(&key)).map(|binding| binding.command)
}

/// A key as it stands on the keyboard.
pub(super) fn label(key: KeyCode) -> String {
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
        assert_eq!(find(Log, char('q')), Some(Command::Back));
        assert_eq!(find(Runs, char('z')), None);
    }

    #[test]
    fn keys_have_the_names_of_the_keyboard() {
        let named = [KeyCode::Enter, KeyCode::Esc, KeyCode::PageDown, char(' '), char('G'), KeyCode::Up].map(label);
        assert_eq!(named, ["Enter", "Esc", "PgDn", "Space", "G", "↑"]);
    }
}
