//! The rules of a run as texts: what is asked of it, and what happens. `UPDATE_SCENARIOS=1 cargo test -p gleitzeit-run
//! --test scenarios` writes the outcomes of all files in `scenarios` anew.
//!
//! A file is read line by line. The indented lines below a command, an entry or a question are its outcome.
//!
//! | line | what it does |
//! | --- | --- |
//! | `# TEXT` | nothing: it explains |
//! | `workflow` | has a task in each line below: `ID (OPTION VALUE, …): DEPENDENCY, …`; `workflow timeout_ms N` has a timeout |
//! | `outputs` | has an output of the workflow in each line below: `NAME: TEMPLATE` |
//! | `limit N` | limits parameters, results and outputs to this many bytes |
//! | `after NAME` | begins where another scenario ends |
//! | `at N` | it is N milliseconds after the submission |
//! | `> COMMAND TASK FIELD VALUE …` | asks `decide`; reports of attempts say `by ENGINE` or `by hub` |
//! | `> retry_run`, `> retry_run all` | asks the ledger to repeat the run, and goes on with the new run |
//! | `! EVENT TASK FIELD VALUE …` | gives `apply` an entry that was not decided; `! entry N EVENT …` has another number |
//! | `! EVENT each …` | gives it to `apply` once for each task, each time on a copy that is dropped |
//! | `? state` | shows the run and each task |
//! | `? waiting` | shows why the run and its tasks wait |
//!
//! Fields have the names of the stored JSON. These may be left out: `queue default`, `priority 2`, `parameters {}`,
//! `ran_ms 0`, and what an event copies from the definition of its task.

#[path = "scenarios/line.rs"]
mod line;
#[path = "scenarios/show.rs"]
mod show;
#[path = "scenarios/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gleitzeit_run::{Command, Event};
use world::World;

/// Events that no run has.
const WITHOUT_RUN: [&str; 4] = ["ownership_granted", "protocol_registered", "protocols_used", "protocol_removed"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

/// The texts of all scenarios, by name.
#[expect(clippy::disallowed_methods, reason = "the files are what is tested")]
fn texts() -> BTreeMap<String, String> {
    let files = std::fs::read_dir(folder()).expect("the folder is there");
    let paths = files.map(|file| file.expect("it can be listed").path());
    let texts = paths.filter(|path| path.extension().is_some_and(|extension| extension == "txt"));
    texts
        .map(|path| {
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a plain name").to_owned();
            (name, std::fs::read_to_string(&path).expect("it can be read"))
        })
        .collect()
}

/// Runs a scenario. Returns its text with the outcomes of today, and the run at its end.
fn run(name: &str, texts: &BTreeMap<String, String>) -> Result<(String, World), String> {
    let text = texts.get(name).ok_or_else(|| format!("expected the name of a scenario, found `{name}`"))?;
    let mut world = World::new();
    let mut outcome = String::new();
    let mut lines = (1..).zip(text.lines()).peekable();
    while let Some((at, line)) = lines.next() {
        let mut below = Vec::new();
        while let Some((_, line)) = lines.next_if(|(_, line)| line.starts_with("  ")) {
            below.push(line);
        }
        let problem = |below: usize, text: &str| format!("{name}.txt:{}: {text}", at + below);
        if line.starts_with(' ') {
            return Err(problem(0, "expected a line that is not indented, or indented by two spaces"));
        }
        // A scenario that another one begins with begins with none itself, so this ends.
        let other = |other: &str| match texts.get(other) {
            Some(text) if text.lines().any(|line| line.starts_with("after ")) => {
                Err(format!("expected a scenario without `after`, found `{other}`"))
            }
            _ => run(other, texts).map(|(_, world)| world),
        };
        let lines = world.step(line, &below, other).map_err(|error| problem(error.below, &error.text))?;
        outcome.extend([line, "\n"]);
        lines.iter().for_each(|line| outcome.extend(["  ", line, "\n"]));
    }
    Ok((outcome, world))
}

/// The first line that differs.
fn difference(name: &str, written: &str, outcome: &str) -> String {
    let mut at = 1;
    let (mut written, mut outcome) = (written.lines(), outcome.lines());
    loop {
        match (written.next(), outcome.next()) {
            (Some(one), Some(other)) if one == other => at += 1,
            (one, other) => {
                let text =
                    |line: Option<&str>| line.map_or("the end of the file".to_owned(), |line| format!("`{line}`"));
                return format!("{name}.txt:{at}: expected {}\n    found {}", text(one), text(other));
            }
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the files are written anew on request")]
fn every_scenario_has_the_outcome_that_it_says() {
    let texts = texts();
    let mut problems = Vec::new();
    for (name, text) in &texts {
        // A panic is one of the outcomes: the other scenarios are run all the same.
        let outcome = std::panic::catch_unwind(|| run(name, &texts));
        match outcome.unwrap_or_else(|_| Err(format!("{name}.txt: it panics"))) {
            Err(problem) => problems.push(problem),
            Ok((outcome, _)) if outcome == *text => {}
            Ok((outcome, _)) if std::env::var_os("UPDATE_SCENARIOS").is_some() => {
                std::fs::write(folder().join(name).with_extension("txt"), outcome).expect("it can be written");
            }
            Ok((outcome, _)) => problems.push(difference(name, text, &outcome)),
        }
    }
    let hint = "if the new outcomes are right, run UPDATE_SCENARIOS=1 cargo test -p gleitzeit-run --test scenarios";
    assert!(problems.is_empty(), "{} of {} scenarios:\n{}\n{hint}", problems.len(), texts.len(), problems.join("\n"));
}

#[test]
fn every_command_and_every_event_of_a_run_stands_in_a_scenario() {
    let texts = texts();
    let stands = |begin: &str| texts.values().any(|text| text.lines().any(|line| line.starts_with(begin)));
    for kind in Command::KINDS {
        assert!(stands(&format!("> {kind}")), "no scenario asks for `{kind}`");
    }
    for kind in Event::KINDS {
        assert!(stands(&format!("! {kind}")), "no scenario applies `{kind}`");
        assert!(stands(&format!("  {kind}")) != WITHOUT_RUN.contains(kind), "`{kind}` follows from a command of a run");
    }
}

#[test]
fn a_line_that_cannot_be_read_is_named_with_what_is_expected() {
    for (text, problem) in [
        (
            "workflow\n  a\nready a",
            "3: expected `#`, `workflow`, `outputs`, `limit`, `after`, `at`, `>`, `!` or `?`, found `ready`",
        ),
        ("# nothing\n> ready_task a", "2: expected `workflow` or `after` before this line"),
        ("workflow\n  a\n  b: c", "3: expected the id of a task, found `c`"),
        (
            "workflow\n  a (speed 3)",
            "2: expected `priority`, `timeout_ms`, `max_attempts`, `method` or `provider`, found `speed`",
        ),
        ("workflow\n  a\noutputs\n  all", "4: expected `NAME: TEMPLATE`, found `all`"),
        ("workflow\n  a\nat 5\nat 4", "4: expected a time that is not before 5, found 4"),
        ("workflow\n  a\nat 5\n  a", "4: expected no indented line here"),
        ("workflow\n  a\n\n  b", "4: expected no indented line here"),
        ("workflow\n  a\n b", "3: expected a line that is not indented, or indented by two spaces"),
        ("workflow\n  a\nat soon", "3: expected a time in milliseconds, found `soon`"),
        ("workflow\n  a\nat 1\nlimit 5", "4: expected `limit` before everything that happens"),
        ("workflow\n  a\n? all", "3: expected `state` or `waiting`, found `all`"),
        ("after nothing", "1: expected the name of a scenario, found `nothing`"),
        ("workflow\n  a\n> requeue_task a", "3: malformed command `requeue_task`: missing field `attempt`"),
        ("workflow\n  a\n> requeue_task a attempt 1 soon yes", "3: expected a field of `requeue_task`, found `soon`"),
        ("workflow\n  a\n> requeue_task a attempt 1 attempt 2", "3: expected each field once, found `attempt` twice"),
        ("workflow\n  a\n> requeue_task a attempt", "3: expected a value of `attempt`, found the end of the line"),
        (
            "workflow\n  a\n> requeue_task a attempt 1 by e",
            "3: `by` stands only with reports, and `requeue_task` is none",
        ),
        ("workflow\n  a\n> start_attempt a attempt 1", "3: expected `by ENGINE` or `by hub`, found none"),
        ("workflow\n  a\n> start_attempt a by e", "3: expected `attempt NUMBER`, found none"),
        ("workflow\n  a\n> fail_task a attempt 1 error NO no", "3: expected an error code, found `NO`"),
        ("workflow\n  a\n! task_failed a error {\"code\"", "3: expected a JSON value of `error`, found `{\"code\"`"),
        ("workflow\n  a\n! entry x task_requeued a", "3: expected the number of an entry, found `x`"),
    ] {
        let texts = BTreeMap::from([("t".to_owned(), text.to_owned())]);
        let found = run("t", &texts).map(|(outcome, _)| outcome);
        assert_eq!(found, Err(format!("t.txt:{problem}")), "{text}");
    }
    let texts = BTreeMap::from([("t".to_owned(), "workflow\n  a\n> start a".to_owned())]);
    let error = run("t", &texts).map(|(outcome, _)| outcome).expect_err("there is no such command");
    assert!(error.starts_with("t.txt:3: expected the name of a command (cancel_workflow, ready_task, "), "{error}");
}
