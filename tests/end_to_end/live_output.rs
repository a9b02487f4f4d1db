//! The output of shell and Python tasks is visible while they run, also for watchers who join late.

use std::fs;
use std::io::pipe;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use gleitzeit_sdk::{Client, ClientConfig, OutputStream, RunEvent};
use serde_json::{Value, json};

use crate::progress::on_terminal;
use crate::support::{Cluster, PATIENCE, Sandbox, until};

/// Prints, waits until a file exists, and prints again.
fn workflow(cluster: &Cluster, method: &str) -> (String, PathBuf) {
    let gate = cluster.sandbox.path().join(format!("{}.gate", method.replace('/', "-")));
    let path = gate.display();
    let parameters = match method {
        "shell/run" => {
            json!({"command": format!("echo first; echo why >&2; while [ ! -e {path} ]; do sleep 0.05; done; echo last")})
        }
        _ => json!({"code": format!(
            "import os, time\nprint('first')\nwhile not os.path.exists('{path}'):\n    time.sleep(0.05)\nprint('last')"
        )}),
    };
    let task = json!({"id": "it", "method": method, "parameters": parameters});
    let file = cluster.sandbox.file("live.json", json!({"name": "Live", "tasks": [task]}).to_string());
    (file, gate)
}

/// A workflow of one shell task, `it`.
fn shell(sandbox: &Sandbox, command: &str) -> String {
    let task = json!({"id": "it", "method": "shell/run", "parameters": {"command": command}});
    sandbox.file("shell.json", json!({"name": "Shell", "tasks": [task]}).to_string())
}

/// A command that waits until a file exists.
fn wait_for(gate: &Path) -> String {
    format!("while [ ! -e {} ]; do sleep 0.05; done", gate.display())
}

/// The text of a stream as `logs -f -o json` prints it, and the notes about it.
fn told(stdout: &str, stream: &str) -> (String, Vec<String>) {
    let (mut text, mut notes) = (String::new(), Vec::new());
    for line in stdout.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let said = line["text"].as_str().expect("text");
        match (line["stream"] == stream, line["note"] == true) {
            (false, _) => {}
            (true, true) => notes.push(said.to_owned()),
            (true, false) => text.push_str(said),
        }
    }
    (text, notes)
}

/// A process that is killed on drop.
struct Reader(Child);

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn early_and_late_followers_see_lines_before_the_task_ends() {
    let cluster = Cluster::all_in_one(&[]);
    for method in ["shell/run", "python/execute"] {
        let (file, gate) = workflow(&cluster, method);
        let run = cluster.submit(&file);
        let arguments = ["logs", &run, "-f", "--hub-url", &cluster.url];
        let early = cluster.sandbox.start(&arguments);
        until("the first line is followed", PATIENCE, || early.stdout().contains("[it] first").then_some(()));
        // Watchers who join now get it too, and nothing is printed twice.
        let logs = cluster.ask(&["logs", &run]);
        assert_eq!(logs["tasks"][0]["output"], "first\n", "{logs}");
        let late = cluster.sandbox.start(&[&arguments[..], &["-o", "json"]].concat());
        let watch = cluster.sandbox.start(&["watch", &run, "--hub-url", &cluster.url]);
        until("the late ones have it", PATIENCE, || {
            (late.stdout().contains("first") && watch.stdout().contains("[it] first")).then_some(())
        });
        fs::write(gate, "").expect("writable");
        for follower in [early, watch] {
            let said = follower.wait(PATIENCE).exits(0).stdout;
            assert_eq!((said.matches("[it] first").count(), said.matches("[it] last").count()), (1, 1), "{said}");
        }
        let said = late.wait(PATIENCE).exits(0).stdout;
        let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let of = |stream: &str| {
            let lines = lines.iter().filter(|line| line["stream"] == stream);
            lines.map(|line| line["text"].as_str().expect("text")).collect::<String>()
        };
        assert_eq!(of("stdout"), "first\nlast\n", "{said}");
        assert_eq!(of("stderr"), if method == "shell/run" { "why\n" } else { "" }, "{said}");
    }
}

#[test]
fn large_output_is_shown_as_far_as_it_is_kept_and_slow_readers_block_no_others() {
    let cluster = Cluster::all_in_one(&[]);
    let gate = cluster.sandbox.path().join("gate");
    let run = cluster.submit(&shell(&cluster.sandbox, &format!("seq 1 1500000; {}; exit 3", wait_for(&gate))));
    // Their pipe is full at once, and nobody reads from it.
    let (_unread, full) = pipe().expect("a pipe");
    let mut idle = ["watch", "logs"].map(|command| {
        let mut command = cluster.sandbox.command(&[command, &run, "-o", "json", "--hub-url", &cluster.url]);
        if command.get_args().next().is_some_and(|name| name == "logs") {
            command.arg("-f");
        }
        command.stdout(full.try_clone().expect("a pipe")).stderr(Stdio::null());
        Reader(command.spawn().expect("it starts"))
    });
    let follower = cluster.sandbox.start(&["logs", &run, "-f", "-o", "json", "--hub-url", &cluster.url]);
    until("all that is kept was told", PATIENCE, || follower.stdout().contains("output goes on").then_some(()));
    // For a running task this is the end of the output, in whole lines.
    let so_far = cluster.ask(&["logs", &run])["tasks"][0]["output"].as_str().expect("output").to_owned();
    let body = so_far.split("[output goes on").next().expect("a beginning");
    assert!(body.len() > 16 * 1024 && so_far.len() < 64 * 1024, "{} bytes", so_far.len());
    fs::write(gate, "").expect("writable");
    let (text, notes) = told(&follower.wait(PATIENCE).exits(1).stdout, "stdout");
    assert_eq!(text.len(), 256 * 1024, "what is kept");
    let all: String = (1..=50_000).map(|number| format!("{number}\n")).collect();
    assert!(all.starts_with(&text), "each once and in order");
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("262144 bytes are kept, see `max_output_bytes`"), "{notes:?}");
    let are_stuck = idle.iter_mut().all(|reader| reader.0.try_wait().expect("a child of ours").is_none());
    assert!(are_stuck, "they had more to write than a pipe takes");
}

#[test]
fn output_of_a_killed_agent_is_kept_and_the_next_attempt_has_its_own() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    cluster.start_agent("rest", "queue,resolver,engine");
    cluster.start_agent("first", "provider");
    let again = cluster.sandbox.path().join("again");
    let command = format!(
        "if [ -e {0} ]; then echo done; else i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.01; done; fi",
        again.display()
    );
    let run = cluster.submit(&shell(&cluster.sandbox, &command));
    let follower = cluster.sandbox.start(&["logs", &run, "-f", "--hub-url", &cluster.url]);
    until("output flows", PATIENCE, || follower.stdout().contains("[it] tick 20\n").then_some(()));
    fs::write(&again, "").expect("writable");
    cluster.kill_9_agent("first");
    until("it is told that the attempt is over", PATIENCE, || {
        follower.stderr().contains("attempt 1 stopped: provider lost").then_some(())
    });
    let logs = cluster.ask(&["logs", &run]);
    assert_eq!((&logs["tasks"][0]["attempt"], &logs["tasks"][0]["output"]), (&json!(1), &Value::Null), "{logs}");
    cluster.start_agent("second", "provider");
    let ended = follower.wait(PATIENCE).exits(0);
    let ticks: Vec<&str> = ended.stdout.lines().filter(|line| line.starts_with("[it] tick ")).collect();
    let expected: Vec<String> = (1..=ticks.len()).map(|number| format!("[it] tick {number}")).collect();
    assert_eq!(ticks, expected, "each once and in order");
    assert!(ended.stdout.ends_with("\n[it, attempt 2] done\n"), "{ended}");
}

#[test]
fn output_continues_after_the_control_plane_is_killed() {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    cluster.start_agent("all", "all");
    let gate = cluster.sandbox.path().join("gate");
    let command = format!("i=0; while [ ! -e {} ]; do i=$((i+1)); echo tick $i; sleep 0.02; done", gate.display());
    let run = cluster.submit(&shell(&cluster.sandbox, &command));
    let follower = cluster.sandbox.start(&["logs", &run, "-f", "-o", "json", "--hub-url", &cluster.url]);
    until("output flows", PATIENCE, || follower.stdout().contains("tick 20\\n").then_some(()));
    cluster.kill_9_hub();
    cluster.start_hub();
    let before = follower.stdout().len();
    until("it flows again", PATIENCE, || follower.stdout()[before..].contains("tick ").then_some(()));
    fs::write(&gate, "").expect("writable");
    let (text, notes) = told(&follower.wait(PATIENCE).exits(0).stdout, "stdout");
    let result = cluster.until_ended(&run)["tasks"]["it"]["result"]["output"].as_str().expect("output").to_owned();
    // Output from a time without watchers is lost in transit, and a note says so.
    let missing: usize = notes
        .iter()
        .map(|note| note[1..].split(' ').next().expect("a number").parse::<usize>().expect("a number"))
        .sum();
    assert_eq!(text.len() + missing, result.len(), "{notes:?}");
    let mut rest = result.lines();
    assert!(text.lines().all(|line| rest.any(|there| there == line)), "each once and in order");
}

#[test]
fn on_a_terminal_the_lines_stand_below_their_task_while_it_runs() {
    let cluster = Cluster::all_in_one(&[]);
    // In the form in which the live view shows a task's output.
    let shown = |line: &str| format!("    \x1b[2m{line}\x1b[0m");
    for command in ["run", "submit"] {
        let (file, gate) = workflow(&cluster, "shell/run");
        let more = if command == "submit" { &["--wait"][..] } else { &[] };
        let terminal = on_terminal(&cluster, &[&[command, &file], more].concat());
        until("its output", PATIENCE, || {
            let screen = terminal.stdout();
            ["first", "why"].iter().all(|line| screen.contains(&shown(line))).then_some(())
        });
        fs::write(&gate, "").expect("writable");
        let ended = terminal.wait(PATIENCE).exits(0);
        let after = ended.stdout.rsplit("\x1b[J").next().expect("text");
        assert!(
            after.contains("exit_code") && !after.contains(&shown("last")),
            "the lines go with their task: {ended}"
        );
        fs::remove_file(gate).expect("it is there");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_can_follow_output_from_the_beginning() {
    let started = tokio::task::spawn_blocking(|| {
        let cluster = Cluster::all_in_one(&[]);
        let (file, gate) = workflow(&cluster, "shell/run");
        let run = cluster.submit(&file);
        (cluster, run, gate)
    });
    let (cluster, run, gate) = started.await.expect("started");
    let client = Client::connect(ClientConfig::new(&*cluster.url)).await.expect("connected");
    let so_far = async |tasks: &[String]| client.progress_so_far(&run, tasks).await.expect("read");
    let both_are_there = async {
        while so_far(&[]).await.len() < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, both_are_there).await.expect("in time");
    assert_eq!(so_far(&["it".to_owned()]).await.len(), 2);
    assert!(so_far(&["other".to_owned()]).await.is_empty());
    let mut watch = client.watch(&run, 1).with_progress_so_far();
    let mut events: Vec<RunEvent> = Vec::new();
    while let Some(event) = tokio::time::timeout(PATIENCE, watch.next()).await.expect("in time").expect("told") {
        events.push(event);
        if events.iter().filter(|event| event.kind == "method_progress").count() == 2 {
            fs::write(&gate, "").expect("writable");
        }
    }
    let of = |wanted: OutputStream| {
        let pieces = events.iter().filter_map(RunEvent::output).filter(|piece| piece.stream == Some(wanted));
        pieces.fold((String::new(), 0), |(text, next), piece| {
            assert_eq!(piece.offset, Some(next), "nothing is missing and nothing comes twice");
            assert!(piece.time.is_some() && piece.task_id == "it" && piece.attempt == 1 && !piece.is_note);
            (text + &piece.text, piece.end().expect("a place"))
        })
    };
    assert_eq!(of(OutputStream::Stdout), ("first\nlast\n".to_owned(), 11));
    assert_eq!(of(OutputStream::Stderr), ("why\n".to_owned(), 4));
    let place = |kind: &str| events.iter().position(|event| event.kind == kind);
    let last = events.iter().rposition(|event| event.kind == "method_progress");
    assert!(place("task_dispatched") < place("method_progress") && last < place("task_completed"), "{events:?}");
    assert!(so_far(&[]).await.is_empty(), "the result has it");
    assert!(client.progress_so_far("01930000-0000-7000-8000-000000000001", &[]).await.is_err(), "no such run");
    tokio::task::spawn_blocking(|| drop(cluster)).await.expect("ended");
}
