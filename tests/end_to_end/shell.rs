//! Shell tasks: what they give, how they fail, and that nothing of them outlives the agent.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{PATIENCE, Sandbox, example, until};

/// A workflow of one command.
fn workflow(sandbox: &Sandbox, parameters: &Value) -> String {
    let task = json!({"id": "it", "method": "shell/run", "parameters": parameters});
    sandbox.file("shell.json", json!({"name": "Shell", "tasks": [task]}).to_string())
}

/// How many processes have this word among their arguments, in whichever namespace.
fn processes_with(word: &str) -> usize {
    let entries = fs::read_dir("/proc").expect("readable").flatten();
    let arguments = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    arguments.filter(|text| text.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())).count()
}

#[test]
fn whatever_a_reference_holds_is_one_argument() {
    let sandbox = Sandbox::new();
    let pwned = sandbox.path().join("pwned");
    for word in ["tide", "no such words", "'; touch PWNED; '", "$(touch PWNED)", "`touch PWNED`", "-e\n\\\"$HOME"] {
        let word = word.replace("PWNED", pwned.to_str().expect("UTF-8"));
        let text = fs::read_to_string(example("data/notes.txt")).expect("readable").to_lowercase();
        // As `grep` reads it, each line of the word is a pattern; none of these is a special one.
        let times: usize = if word.contains('\n') { 0 } else { text.matches(&word.to_lowercase()).count() };
        let input = format!("word={word}");
        let run = sandbox.gleitzeit(&["run", &example("shell_workflow.yaml"), "--input", &input, "-o", "json"]);
        let report = run.exits(0).json()["outputs"]["report"].clone();
        let expected = format!("{times} times {word}, and the longest word is everybody");
        assert_eq!(report, json!(expected));
        assert!(!pwned.exists(), "{word}");
    }
}

#[test]
fn an_unexpected_exit_code_fails_the_run_and_says_what_the_command_said() {
    let sandbox = Sandbox::new();
    let file = workflow(&sandbox, &json!({"command": "echo before; echo 'no luck' >&2; exit 7"}));
    let run = sandbox.gleitzeit(&["run", &file, "-o", "json"]).exits(1).json();
    let error = &run["tasks"]["it"]["error"];
    assert_eq!(error["name"], "TASK_EXECUTION_FAILED", "{run}");
    assert_eq!(error["message"], "exit code 7", "{run}");
    let data = &error["data"];
    assert_eq!((&data["exit_code"], &data["output"]), (&json!(7), &json!("before\n")), "{run}");
    assert_eq!(data["error_output"], "no luck\n", "{run}");
}

#[test]
fn commands_end_with_the_agent_on_an_interrupt_and_on_kill_9() {
    for kill_9 in [false, true] {
        let sandbox = Sandbox::new();
        let seconds = format!("{}.{}", 200_000 + std::process::id(), u8::from(kill_9) + 1);
        let command = format!(
            "trap '' INT TERM HUP; setsid sleep {seconds} & (setsid sh -c 'sleep {seconds} & sleep {seconds}' &); sleep \
             {seconds}"
        );
        let mut run = sandbox.start(&["run", &workflow(&sandbox, &json!({"command": command}))]);
        until("all run", PATIENCE, || (processes_with(&seconds) == 4).then_some(()));
        if kill_9 {
            run.kill_9();
        } else {
            run.signal(Signal::INT);
            run.wait(PATIENCE).exits(130);
        }
        until("all are dead", PATIENCE, || (processes_with(&seconds) == 0).then_some(()));
    }
}

#[test]
fn a_strict_provider_keeps_commands_from_the_machine() {
    let sandbox = Sandbox::new();
    let provider = sandbox.file(
        "strict.yaml",
        "name: shell_local\nprotocol: shell/v1\nexecutor: shell-local\noptions: {sandbox: strict}\n",
    );
    let run = |command: &str| {
        let file = workflow(&sandbox, &json!({"command": command}));
        sandbox.gleitzeit(&["run", &file, "--provider", &provider, "-o", "json"])
    };
    run("echo fine > file && cat file").exits(0);
    let escaped = sandbox.path().join("escaped");
    for command in ["cat /etc/hostname".to_owned(), format!("touch {escaped:?}")] {
        let ended = run(&command).exits(1).json();
        assert_eq!(ended["tasks"]["it"]["error"]["name"], "TASK_EXECUTION_FAILED", "{ended}");
    }
    assert!(!Path::new(&escaped).exists());
}
