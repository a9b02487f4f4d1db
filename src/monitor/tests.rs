//! Keys, and what stands on the screen after them.

use gleitzeit_sdk::{ComponentCounts, RunCounts, RunStatus, RunSummary, Status};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent};

use super::model::{Action, Model, Seen};

fn run(id: &str, status: RunStatus) -> RunSummary {
    RunSummary {
        run_id: id.to_owned(),
        correlation_id: String::new(),
        name: format!("name of {id}"),
        status,
        submitted_at: None,
        finished_at: None,
        error: None,
        task_count: 3,
        labels: Default::default(),
        retry_of: None,
    }
}

fn model() -> Model {
    let mut model = Model::new("http://hub".to_owned());
    let status = Status {
        version: "0".to_owned(),
        started_at: None,
        ready: true,
        journal_position: 0,
        runs: RunCounts { running: 1, failed: 1, ..RunCounts::default() },
        components: ComponentCounts { queue: 0, resolver: 0, engine: 0, provider: 0 },
    };
    let runs = vec![run("one", RunStatus::Running), run("two", RunStatus::Failed)];
    model.see(Ok(Seen { status, runs, components: Vec::new(), providers: Vec::new(), detail: None }));
    model
}

fn press(model: &mut Model, code: KeyCode) -> Action {
    model.key(KeyEvent::from(code))
}

fn screen(model: &mut Model) -> String {
    let mut terminal = Terminal::new(TestBackend::new(110, 12)).expect("a terminal");
    terminal.draw(|frame| super::draw::all(model, frame)).expect("drawn");
    terminal.backend().to_string()
}

#[test]
fn runs_are_chosen_cancelled_and_retried_by_keys() {
    let mut model = model();
    let text = screen(&mut model);
    assert!(text.contains("1 running, 0 completed, 1 failed") && text.contains("name of two"), "{text}");
    assert_eq!(press(&mut model, KeyCode::Char('r')), Action::None);
    assert!(screen(&mut model).contains("only failed and cancelled runs can be retried"));
    assert_eq!(press(&mut model, KeyCode::Char('c')), Action::None);
    assert!(screen(&mut model).contains("cancel one? y: yes"));
    assert_eq!(press(&mut model, KeyCode::Char('n')), Action::None, "nothing without a yes");
    press(&mut model, KeyCode::Char('c'));
    assert_eq!(press(&mut model, KeyCode::Char('y')), Action::Cancel("one".to_owned()));
    press(&mut model, KeyCode::Down);
    press(&mut model, KeyCode::Down);
    assert_eq!(press(&mut model, KeyCode::Char('r')), Action::Retry("two".to_owned()));
    assert_eq!(press(&mut model, KeyCode::Enter), Action::Refresh);
    assert_eq!(model.open().as_deref(), Some("two"));
    assert!(screen(&mut model).contains("looking"), "until it was looked at");
    press(&mut model, KeyCode::Esc);
    assert_eq!((model.open(), model.rows.selected()), (None, Some(1)), "back where it was");
    press(&mut model, KeyCode::Tab);
    assert!(screen(&mut model).contains("Components (0)"));
    assert_eq!(press(&mut model, KeyCode::Char('q')), Action::Leave);
}
