//! Keys, and what the screen shows after them.

pub(super) mod samples;

use std::collections::HashMap;
use std::time::Instant;

use gleitzeit_sdk::{RunEvent, RunStatus, Task};
use gleitzeit_workflow::Payload;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use samples::{detail, model, run, see, seen};
use serde_json::json;
use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt as _};

use super::model::{Action, Model};
use super::query::{Act, Detail, Wanted};

fn press(model: &mut Model, code: KeyCode) -> Action {
    model.key(KeyEvent::from(code))
}

/// The lines of a screen of this size, without trailing blanks.
fn screen_of(model: &mut Model, columns: u16, rows: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("a terminal");
    terminal.draw(|frame| super::draw::all(model, frame)).expect("drawn");
    let buffer = terminal.backend().buffer().clone();
    let line = |row: u16| -> String { (0..columns).map(|column| buffer[(column, row)].symbol()).collect() };
    (0..rows).map(|row| line(row).trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn screen(model: &mut Model) -> String {
    screen_of(model, 110, 24)
}

/// The screen in the three sizes under test.
fn in_all_sizes(model: &mut Model) -> String {
    let sizes = [(60, 15), (80, 24), (100, 30)];
    let shown = sizes.map(|(columns, rows)| {
        let edge = "═".repeat(columns.into());
        format!("{edge}\n{}\n{edge}", screen_of(model, columns, rows))
    });
    shown.join("\n")
}

#[test]
fn runs_are_chosen_cancelled_and_retried_by_keys_and_only_after_a_question() {
    let mut model = model();
    let text = screen(&mut model);
    assert!(text.contains("1 running, 4 completed, 1 failed") && text.contains("Nightly report"), "{text}");
    assert_eq!(press(&mut model, KeyCode::Char('r')), Action::None);
    assert!(screen(&mut model).contains("only failed and cancelled runs can be retried"));
    assert_eq!(press(&mut model, KeyCode::Char('c')), Action::None);
    let (newest, failed) = (run(3, "Nightly report", RunStatus::Running), run(2, "Two", RunStatus::Failed));
    assert!(screen(&mut model).contains(&format!("cancel Nightly report ({})? y: yes", newest.run_id)));
    assert_eq!(press(&mut model, KeyCode::Char('n')), Action::None, "nothing without a yes");
    press(&mut model, KeyCode::Char('c'));
    let question = "cancel Nightly report (01a20df0-0003)? y: yes, else: no";
    assert!(screen_of(&mut model, 60, 15).ends_with(question), "what to press is seen on any screen");
    let cancel = Act::Cancel { run_id: newest.run_id, name: newest.name };
    assert_eq!(press(&mut model, KeyCode::Char('y')), Action::Do(cancel));
    press(&mut model, KeyCode::Down);
    assert_eq!(press(&mut model, KeyCode::Char('c')), Action::None);
    assert!(screen(&mut model).contains("it has ended already"));
    assert_eq!(press(&mut model, KeyCode::Char('r')), Action::None);
    assert!(screen(&mut model).contains("retry Two ("));
    let retry = Act::Retry { run_id: failed.run_id.clone(), name: failed.name };
    assert_eq!(press(&mut model, KeyCode::Char('y')), Action::Do(retry));
    assert_eq!(press(&mut model, KeyCode::Enter), Action::Refresh);
    assert_eq!(model.wanted().run, Some(failed.run_id));
    assert!(screen(&mut model).contains("looking"), "until it was looked at");
    press(&mut model, KeyCode::Esc);
    assert_eq!((model.wanted(), model.cursor.selected()), (Wanted::default(), 1), "back where it was");
    press(&mut model, KeyCode::Tab);
    assert!(screen(&mut model).contains("2 Components (1)"));
    assert_eq!(press(&mut model, KeyCode::Char('q')), Action::Leave);
    assert_eq!(model.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Action::Leave);
}

#[test]
fn a_run_stays_selected_whatever_comes_before_it() {
    let mut model = model();
    screen(&mut model);
    press(&mut model, KeyCode::Down);
    let mut seen = seen();
    seen.runs.insert(0, run(9, "Newer", RunStatus::Running));
    see(&mut model, seen);
    press(&mut model, KeyCode::Char('r'));
    assert!(screen(&mut model).contains("retry Two ("), "and not the one that is where it was");
}

fn type_text(model: &mut Model, text: &str) {
    for c in text.chars() {
        assert_eq!(press(model, KeyCode::Char(c)), Action::None, "{c}");
    }
}

#[test]
fn a_filter_is_typed_and_lists_only_what_passes() {
    let mut model = model();
    type_text(&mut model, "/failed q");
    assert_eq!(press(&mut model, KeyCode::Backspace), Action::None);
    let text = screen_of(&mut model, 60, 15);
    assert!(
        text.contains("(1), filter: failed") && text.contains("Two") && text.ends_with("filter: failed ▏"),
        "{text}"
    );
    assert_eq!(press(&mut model, KeyCode::Enter), Action::Refresh);
    assert_eq!(model.wanted().filter.text(), "failed ");
    assert!(!screen(&mut model).contains("Nightly report"));
    press(&mut model, KeyCode::Char('r'));
    assert!(screen(&mut model).contains("retry Two ("), "what is selected is what is seen");
    press(&mut model, KeyCode::Char('n'));
    assert_eq!(press(&mut model, KeyCode::Esc), Action::Refresh);
    assert!(screen(&mut model).contains("Nightly report"));
    assert_eq!(model.cursor.selected(), 1, "the same run stays selected");
    type_text(&mut model, "/nothing");
    let text = screen(&mut model);
    assert!(text.contains("1 Runs (0), filter: nothing") && text.contains("nothing matches the filter"), "{text}");
    assert_eq!(press(&mut model, KeyCode::Esc), Action::Refresh);
    assert!(screen(&mut model).contains("1 Runs (3) "));
    type_text(&mut model, &format!("/{}", "long ".repeat(100)));
    assert!(screen_of(&mut model, 60, 15).ends_with("long long ▏"), "its end is seen");
    assert_eq!(model.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Action::Leave);
}

#[test]
fn tasks_have_a_filter_of_their_own_that_ends_before_their_run_is_left() {
    let mut model = with_open_run();
    type_text(&mut model, "/status=fail,run");
    press(&mut model, KeyCode::Enter);
    let text = screen(&mut model);
    assert!(text.contains("Tasks (2), filter: status=fail,run") && !text.contains("fetch"), "{text}");
    assert!(model.wanted().filter.is_empty(), "that of the runs is another");
    press(&mut model, KeyCode::Down);
    press(&mut model, KeyCode::Enter);
    assert_eq!(model.wanted().task.as_deref(), Some("broken"));
    press(&mut model, KeyCode::Esc);
    let mut more = seen();
    more.has_more_runs = true;
    more.detail = Some(Detail { has_more_tasks: true, ..detail() });
    see(&mut model, more);
    assert!(screen(&mut model).contains("Tasks (2) of the first 4, filter: status=fail,run"));
    assert_eq!(press(&mut model, KeyCode::Esc), Action::Refresh);
    assert!(screen(&mut model).contains("Tasks (4 of 4)"));
    press(&mut model, KeyCode::Esc);
    assert!(screen(&mut model).contains("1 Runs (3), the newest"));
}

#[test]
fn runs_look_good_in_all_sizes() {
    insta::assert_snapshot!(in_all_sizes(&mut model()));
}

#[test]
fn an_open_run_looks_good_in_all_sizes() {
    let mut model = with_open_run();
    let mut text = in_all_sizes(&mut model);
    for part in ['v', 'e'] {
        press(&mut model, KeyCode::Char(part));
        text = format!("{text}\n{}", screen_of(&mut model, 60, 15));
    }
    insta::assert_snapshot!(text);
}

/// A model in which the newest run is open.
fn with_open_run() -> Model {
    let mut model = model();
    press(&mut model, KeyCode::Enter);
    let mut seen = seen();
    seen.detail = Some(detail());
    see(&mut model, seen);
    samples::events(&mut model);
    screen(&mut model);
    model
}

/// Adds events of the open task.
fn happened(model: &mut Model, events: Vec<RunEvent>) {
    let wanted = model.wanted();
    let of = (wanted.run.expect("an open run"), wanted.task.expect("an open task"));
    events.iter().for_each(|event| model.happened_to(&of, event, Instant::now()));
}

#[test]
fn a_task_is_opened_with_its_parameters_and_result_and_its_log_is_followed() {
    let mut model = with_open_run();
    press(&mut model, KeyCode::Down);
    assert_eq!(press(&mut model, KeyCode::Enter), Action::Refresh);
    assert_eq!(model.wanted().task.as_deref(), Some("train"));
    assert!(screen(&mut model).contains("looking"));
    let parameters = json!({"parameters": {"command": "python3 train.py --epochs 30", "env": {"DEVICE": "cpu"}}});
    let said = json!({"text": (1..=30).map(|epoch| format!("epoch {epoch}\n")).collect::<String>()});
    let event = |kind, payload| RunEvent { payload: Some(Payload::from(payload)), ..samples::event(2, kind, "train") };
    happened(&mut model, vec![event("task_ready", parameters), event("method_progress", said)]);
    let mut seen = seen();
    let of_train = detail().tasks.remove(1);
    seen.detail = Some(detail());
    seen.task = Some(Task { dependencies: vec!["fetch".to_owned()], ..of_train });
    see(&mut model, seen);
    let details = in_all_sizes(&mut model);
    press(&mut model, KeyCode::Char('l'));
    let log = in_all_sizes(&mut model);
    insta::assert_snapshot!(format!("{details}\n{log}"));
    assert!(log.contains("epoch 30") && log.contains("(30 lines), following"), "{log}");
    press(&mut model, KeyCode::Up);
    happened(&mut model, vec![event("method_progress", json!({"text": "epoch 31\n"}))]);
    let text = screen(&mut model);
    assert!(!text.contains("epoch 31") && text.contains("(31 lines) "), "{text}");
    press(&mut model, KeyCode::Char('f'));
    assert!(screen(&mut model).contains("epoch 31"));
    for (place, text) in [("the details", "Task train"), ("the log", "Log of train")] {
        press(&mut model, KeyCode::Tab);
        assert!(screen(&mut model).contains(text), "{place}");
    }
    press(&mut model, KeyCode::Esc);
    assert!(screen(&mut model).contains("Tasks (4)"));
    assert_eq!(model.wanted().task, None);
}

#[test]
fn a_task_is_opened_from_wherever_it_is_named() {
    for (part, expected) in [('v', "train"), ('e', "last")] {
        let mut model = with_open_run();
        press(&mut model, KeyCode::Char(part));
        screen(&mut model);
        press(&mut model, KeyCode::Enter);
        assert_eq!(model.wanted().task.as_deref(), Some(expected), "{part}");
    }
    let mut model = model();
    press(&mut model, KeyCode::Char('4'));
    screen(&mut model);
    press(&mut model, KeyCode::Enter);
    assert_eq!(model.wanted().run, Some(run(3, "", RunStatus::Running).run_id), "the run of the event");
}

#[test]
fn a_task_that_cannot_change_any_more_is_not_asked_for_again() {
    let mut model = with_open_run();
    press(&mut model, KeyCode::Enter);
    assert!(!model.wanted().is_task_known);
    let mut seen = seen();
    seen.task = Some(detail().tasks.remove(0));
    see(&mut model, seen.clone());
    assert!(model.wanted().is_task_known);
    seen.task = None;
    see(&mut model, seen);
    assert!(screen(&mut model).contains("\"n\": 1"), "it stays");
}

#[test]
fn the_other_views_look_good() {
    let mut model = model();
    let mut shown = Vec::new();
    for view in ['2', '3', '4'] {
        press(&mut model, KeyCode::Char(view));
        shown.push(screen_of(&mut model, 60, 15));
    }
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn the_help_has_every_key_and_goes_away_again() {
    let mut model = model();
    press(&mut model, KeyCode::Char('?'));
    insta::assert_snapshot!(in_all_sizes(&mut model));
    screen_of(&mut model, 60, 15);
    press(&mut model, KeyCode::End);
    assert!(screen_of(&mut model, 60, 15).contains("shows the events of all runs"), "to its end");
    assert_eq!(press(&mut model, KeyCode::Char('c')), Action::None);
    assert_eq!(model.asked, None, "what is not seen is not done");
    assert_eq!(press(&mut model, KeyCode::Char('q')), Action::None);
    assert!(screen(&mut model).contains("Nightly report"));
}

#[test]
fn a_larger_screen_has_no_empty_rows_and_a_tiny_one_does_no_harm() {
    let mut model = model();
    let mut seen = seen();
    seen.runs = (0..60).rev().map(|n| run(n, &format!("run number {n}"), RunStatus::Completed)).collect();
    see(&mut model, seen);
    screen_of(&mut model, 60, 15);
    press(&mut model, KeyCode::End);
    assert!(screen_of(&mut model, 60, 15).contains("run number 0 "));
    let larger = screen_of(&mut model, 100, 40);
    assert_eq!(larger.matches("run number").count(), 40 - 2 - 2 - 2, "{larger}");
    for (columns, rows) in [(1, 1), (20, 3), (60, 2)] {
        screen_of(&mut model, columns, rows);
    }
}

#[test]
fn data_stays_visible_while_the_control_plane_is_away() {
    let mut model = model();
    let error = || gleitzeit_sdk::Error::from(tonic::Status::unavailable("nobody is there"));
    model.see(&Wanted::default(), Err(error()));
    press(&mut model, KeyCode::Down);
    let text = screen(&mut model);
    assert!(text.contains("nobody is there") && text.contains("Nightly report"), "{text}");
    see(&mut model, seen());
    assert!(!screen(&mut model).contains("nobody is there"));
}

#[test]
fn only_a_removed_run_is_closed_and_other_errors_leave_it_open() {
    let refusal = |reason: &str| {
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, "gleitzeit", HashMap::new());
        gleitzeit_sdk::Error::from(tonic::Status::with_error_details(Code::NotFound, "it is gone", details))
    };
    let mut model = with_open_run();
    let wanted = model.wanted();
    model.see(&wanted, Err(refusal("AUTHORIZATION_FAILED")));
    assert_eq!(model.wanted(), wanted);
    model.see(&Wanted { run: Some("another".to_owned()), ..wanted.clone() }, Err(refusal("WORKFLOW_NOT_FOUND")));
    assert_eq!(model.wanted(), wanted, "an answer that comes late says nothing of it");
    press(&mut model, KeyCode::Char('/'));
    model.see(&wanted, Err(refusal("WORKFLOW_NOT_FOUND")));
    assert_eq!(model.wanted().run, None);
    assert!(!model.is_typing, "what was typed was meant for its tasks");
    assert!(screen(&mut model).contains("it is gone"));
}

#[test]
fn texts_of_others_cannot_control_the_terminal() {
    let mut model = model();
    let mut seen = seen();
    seen.runs[0].name = "\u{1b}[2Jname\u{202e}".to_owned();
    see(&mut model, seen);
    let text = screen(&mut model);
    assert!(text.contains("[2Jname<U+202E>") && !text.contains('\u{1b}'), "{text}");
}
