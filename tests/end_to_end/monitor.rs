//! The full-screen view in a terminal: driven by keys and read from the screen.

use serde_json::json;

use crate::support::{Cluster, PATIENCE, Tmux, until};

/// A monitor on a screen, which stays readable after the program has ended.
struct Screen(Tmux);

impl Screen {
    #[track_caller]
    fn start(cluster: &Cluster, arguments: &str) -> Self {
        let (home, program) = (cluster.sandbox.home(), env!("CARGO_BIN_EXE_gleitzeit"));
        let line = format!("HOME={} {program} {arguments}; echo ended with $?; sleep 600", home.display());
        Self(Tmux::start(cluster.sandbox.path(), 140, 30, &line))
    }

    fn press(&self, key: &str) {
        self.0.press(key);
    }

    fn type_text(&self, text: &str) {
        self.0.type_text(text);
    }

    #[track_caller]
    fn until(&self, text: &str) {
        self.until_all(&[text]);
    }

    /// Waits for all texts at once: a screen may be read while it is being drawn.
    #[track_caller]
    fn until_all(&self, texts: &[&str]) {
        until(&format!("{texts:?} on the screen"), PATIENCE, || {
            let screen = self.0.screen();
            texts.iter().all(|text| screen.contains(text)).then_some(())
        });
    }
}

#[test]
fn runs_are_seen_opened_explained_cancelled_and_retried() {
    let cluster = Cluster::all_in_one(&[]);
    let workflow = json!({"name": "Watched", "tasks": [
        {"id": "sleeps", "method": "util/sleep", "parameters": {"seconds": 600}},
        {"id": "waits", "method": "util/echo", "dependencies": ["sleeps"]},
    ]});
    let run = cluster.submit(&cluster.sandbox.file("watched.json", workflow.to_string()));
    let screen = Screen::start(&cluster, &format!("monitor --hub-url {}", cluster.url));
    screen.until_all(&["1 running, 0 completed", &run[..13], "Watched"]);
    screen.press("?");
    screen.until_all(&["leaves the monitor", "shows the providers and their health"]);
    screen.press("Escape");
    screen.until("1 Runs (1)");
    screen.press("2");
    screen.until_all(&["Components (9)", "64 shards", "engine"]);
    screen.press("3");
    screen.until("ollama serve");
    screen.press("4");
    screen.until("position");
    cluster.submit(
        &cluster.sandbox.file("other.json", r#"{"name": "Other", "tasks": [{"id": "a", "method": "util/echo"}]}"#),
    );
    screen.until("task a completed");
    screen.press("1");
    screen.until("Runs (2)");
    screen.press("/");
    screen.type_text("status=running");
    screen.until("1 Runs (1), filter: status=running");
    screen.press("Enter");
    screen.press("Enter");
    screen.until_all(&["Tasks (2)", "sleeps", "waits"]);
    screen.press("/");
    screen.type_text("wait");
    screen.until("Tasks (1), filter: wait");
    screen.press("Escape");
    screen.until("Tasks (2)");
    screen.press("e");
    screen.until("What it waits for");
    screen.press("v");
    screen.until_all(&["task sleeps started", &run]);
    screen.press("c");
    screen.until(&format!("cancel Watched ({run})? y: yes"));
    screen.press("y");
    screen.until("Watched  cancelled");
    assert_eq!(cluster.until_ended(&run)["status"], "cancelled");
    screen.press("r");
    screen.until(&format!("retry Watched ({run})? y: yes"));
    screen.press("n");
    screen.press("r");
    screen.until("retry Watched");
    screen.press("y");
    screen.until("retried as");
    screen.press("Escape");
    screen.until("filter: status=running");
    screen.press("Escape");
    screen.until("Runs (3)");
    screen.press("q");
    screen.until("ended with 0");
}

#[test]
fn a_task_is_opened_and_what_it_prints_is_followed() {
    let cluster = Cluster::all_in_one(&[]);
    let gate = cluster.sandbox.path().join("gate");
    let command = format!(
        "for n in 1 2 3; do echo line $n; done; while [ ! -e {} ]; do sleep 0.05; done; echo the end",
        gate.display()
    );
    let workflow = json!({"name": "Said", "tasks": [
        {"id": "prepares", "method": "util/echo", "parameters": {"message": "ready to go"}},
        {"id": "prints", "method": "shell/run", "parameters": {"command": command}, "dependencies": ["prepares"]},
        {"id": "fails", "method": "util/fail", "parameters": {"message": "no luck today"}, "dependencies": ["prints"]},
    ]});
    let run = cluster.submit(&cluster.sandbox.file("said.json", workflow.to_string()));
    let screen = Screen::start(&cluster, &format!("monitor --hub-url {}", cluster.url));
    screen.until("Said");
    screen.press("Enter");
    screen.until_all(&["prints", "running"]);
    screen.press("Down");
    screen.press("l");
    screen.until_all(&["Log of prints (3 lines), following", "line 1", "line 3"]);
    screen.press("d");
    screen.until_all(&["Task prints", "after       prepares", "parameters", "the end"]);
    screen.press("l");
    std::fs::write(&gate, "").expect("opened");
    screen.until_all(&["line 3", "the end", "task prints completed"]);
    cluster.until_ended(&run);
    screen.press("Escape");
    screen.until("Tasks (3)");
    screen.press("Up");
    screen.press("Enter");
    screen.until_all(&["Task prepares", "completed", "result", "ready to go"]);
    screen.press("Escape");
    screen.until("Tasks (3)");
    screen.press("End");
    screen.press("Enter");
    screen.until_all(&["Task fails", "failed", "no luck today"]);
    screen.press("q");
    screen.until("ended with 0");
}

#[test]
fn keys_work_while_the_control_plane_is_away_and_updates_resume_afterwards() {
    let mut cluster = Cluster::all_in_one(&[]);
    let gate = cluster.sandbox.path().join("gate");
    let command = format!("echo here; while [ ! -e {} ]; do sleep 0.05; done", gate.display());
    let workflow = json!({"name": "Goes on", "tasks": [
        {"id": "prints", "method": "shell/run", "parameters": {"command": command}},
    ]});
    let run = cluster.submit(&cluster.sandbox.file("goes_on.json", workflow.to_string()));
    let screen = Screen::start(&cluster, &format!("monitor --hub-url {}", cluster.url));
    screen.until("Goes on");
    screen.press("Enter");
    screen.until("Tasks (1)");
    screen.press("l");
    screen.until_all(&["Log of prints (1 line)", "here"]);
    cluster.kill_9_hub();
    screen.until("was lost");
    screen.press("d");
    screen.until_all(&["Task prints", "was lost"]);
    cluster.start_all(&[]);
    screen.press("l");
    screen.until_all(&["attempt 1 stopped", "── attempt 2 ──\nhere"]);
    screen.0.resize(60, 15);
    screen.until("f follow  d details\n");
    std::fs::write(&gate, "").expect("opened");
    screen.until("task prints completed");
    cluster.until_ended(&run);
    screen.press("q");
    screen.until("ended with 0");
}

#[test]
fn without_a_terminal_the_alternatives_are_named() {
    let cluster = Cluster::all_in_one(&[]);
    let ended = cluster.client(&["monitor"]).exits(2);
    assert!(ended.stderr.contains("needs a terminal") && ended.stderr.contains("gleitzeit status"), "{ended}");
}
