//! Shell tasks: their results, their failures, and that none of their processes outlives the agent.

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

/// How many processes have this word among their arguments, in any namespace.
fn processes_with(word: &str) -> usize {
    let entries = fs::read_dir("/proc").expect("readable").flatten();
    let arguments = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    arguments.filter(|text| text.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())).count()
}

#[test]
fn any_value_of_a_reference_is_one_argument() {
    let sandbox = Sandbox::new();
    let pwned = sandbox.path().join("pwned");
    for word in ["tide", "no such words", "'; touch PWNED; '", "$(touch PWNED)", "`touch PWNED`", "-e\n\\\"$HOME"] {
        let word = word.replace("PWNED", pwned.to_str().expect("UTF-8"));
        let text = fs::read_to_string(example("data/notes.txt")).expect("readable").to_lowercase();
        // `grep` reads each line of the word as a pattern; none of these has a special meaning.
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
fn values_are_arguments_in_every_shell_and_sandbox() {
    let sandbox = Sandbox::new();
    let pwned = sandbox.path().join("pwned");
    let hostile = format!("$(touch {0})`touch {0}`'; touch {0}; '\"; touch {0}; \" *\n\\", pwned.display());
    let strict =
        "name: shell_local\nprotocol: shell/v1\nexecutor: shell-local\noptions: {sandbox: strict, shell: /bin/bash}\n";
    let provider = sandbox.file("provider.yaml", strict);
    let command = "printf '%s|%s|%s.' ${inputs.a} \"${inputs.b}\" '${inputs.a}'; cat <<END\n${inputs.b}\nEND";
    for (more, arguments) in
        [(json!({}), &[][..]), (json!({"shell": "bash", "strict": true}), &[]), (json!({}), &["--provider", &provider])]
    {
        let mut parameters = json!({"command": command, "env": {"GLEITZEIT_VALUE_1": "mine"}});
        parameters.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let task = json!({"id": "it", "method": "shell/run", "parameters": parameters});
        let inputs = json!({"a": hostile, "b": {"k": [hostile]}});
        let workflow = json!({"name": "Values", "inputs": inputs, "tasks": [task], "outputs": {"it": "${it.output}"}});
        let file = sandbox.file("values.json", workflow.to_string());
        let all = [&["run", &file, "-o", "json"], arguments].concat();
        let text = inputs["b"].to_string();
        let expected = format!("{hostile}|{text}|{hostile}.{text}\n");
        assert_eq!(sandbox.gleitzeit(&all).exits(0).json()["outputs"]["it"], json!(expected), "{more} {arguments:?}");
        assert!(!pwned.exists());
    }
}

#[test]
fn a_value_that_no_variable_can_hold_fails_its_task_with_size_limit_and_remedy() {
    let sandbox = Sandbox::new();
    let shell = |id: &str, parameters: Value| json!({"id": id, "method": "shell/run", "parameters": parameters});
    let tasks = json!([
        {"id": "make", "method": "python/execute", "parameters": {"code": "result = 'a' * 200000"}},
        shell("word", json!({"command": "printf '%s' ${make.result} | wc -c"})),
        shell("variable", json!({"command": "true", "env": {"X": "${make.result}"}})),
        shell("stdin", json!({"command": "wc -c", "stdin": "${make.result}"})),
    ]);
    let file = sandbox.file("long.json", json!({"name": "Long", "tasks": tasks}).to_string());
    let run = sandbox.gleitzeit(&["run", &file, "-o", "json"]).exits(1).json();
    for (task, expected) in [
        (
            "word",
            "parameter `command`: ${make.result} is 200000 bytes, and a value in a command can have 131053; pass it in \
             `stdin` instead",
        ),
        (
            "variable",
            "`env`: the value of `X` is 200000 bytes, and the system takes 131069; pass it in `stdin` instead",
        ),
    ] {
        let error = &run["tasks"][task]["error"];
        assert_eq!(error["name"], "TASK_PARAMETER_ERROR", "{run}");
        assert_eq!(error["message"], expected, "{run}");
    }
    assert_eq!(run["tasks"]["stdin"]["result"]["output"].as_str().map(str::trim), Some("200000"), "{run}");
}

#[test]
fn a_reference_in_an_unsupported_place_is_reported_before_anything_runs() {
    let sandbox = Sandbox::new();
    let text = "name: Refused\ninputs: {a: x}\ntasks:\n  - id: it\n    method: shell/run\n    parameters:\n      command: |\n        \
                echo fine ${inputs.a}\n        cat <<'END'\n        ${inputs.a}\n        END\n";
    let file = sandbox.file("refused.yaml", text);
    for command in ["validate", "run"] {
        let errors = sandbox.gleitzeit(&[command, &file]).exits(2).stderr;
        assert!(errors.contains("refused.yaml:10:9"), "{command}: {errors}");
        assert!(
            errors.contains("${inputs.a} stands in a here-document with a quoted delimiter"),
            "{command}: {errors}"
        );
        assert!(
            errors.contains("write the delimiter without quotes, or pass the text in `stdin`"),
            "{command}: {errors}"
        );
    }
}

#[test]
fn a_failure_within_a_strict_command_fails_its_task() {
    let sandbox = Sandbox::new();
    for (parameters, code) in [
        (json!({"command": "false | tee out.txt"}), 0),
        (json!({"command": "false | tee out.txt", "shell": "bash", "strict": true}), 1),
        (json!({"command": "false\necho on", "strict": true}), 1),
    ] {
        sandbox.gleitzeit(&["run", &workflow(&sandbox, &parameters)]).exits(code);
    }
}

#[test]
fn an_unexpected_exit_code_fails_the_run_and_shows_the_commands_output() {
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
