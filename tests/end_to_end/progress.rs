//! The progress of a running task, from any provider to every watcher.

use std::process::{Command, Stdio};

use gleitzeit_llm_server::LlmServer;
use serde_json::{Value, json};

use crate::support::{Cluster, PATIENCE, Process, Sandbox, Socket, until};

/// Runs a command on a terminal of 60 columns; stdout gets the screen.
const ON_TERMINAL: &str = "import fcntl, os, pty, struct, sys, termios\n\
    pid, terminal = pty.fork()\n\
    if pid == 0:\n    os.execv(sys.argv[1], sys.argv[1:])\n\
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 60, 0, 0))\n\
    while True:\n    try:\n        data = os.read(terminal, 65536)\n    except OSError:\n        break\n\
    \x20   if not data:\n        break\n    os.write(1, data)\n\
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n";

fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.start_hub();
    cluster.start_agent("worker", "queue,resolver,engine");
    cluster
}

/// A provider under the test's control.
fn talker(cluster: &Cluster) -> Socket {
    let body = json!({"component_type": "provider", "name": "talker", "methods": ["talk/say"]});
    Socket::register(&cluster.url, &body)
}

fn workflow(sandbox: &Sandbox) -> String {
    sandbox.file("talk.yaml", "name: Talk\ntasks: [{id: tell, method: talk/say}]\n")
}

fn says(talker: &Socket, call: &Value, data: &Value) {
    talker.send("method_progress", &json!({"id": call["id"], "data": data}));
}

/// The client on a terminal.
pub(crate) fn on_terminal(cluster: &Cluster, arguments: &[&str]) -> Process {
    let plain = cluster.sandbox.command(arguments);
    let mut command = Command::new("python3");
    command.args(["-c", ON_TERMINAL]).arg(plain.get_program()).args(plain.get_args()).stdin(Stdio::null());
    command.args(["--hub-url", &cluster.url]).env("HOME", cluster.sandbox.home()).env("TERM", "xterm");
    cluster.sandbox.start_command(command)
}

#[test]
fn a_watcher_hears_every_piece_in_order_and_before_the_end() {
    let cluster = cluster();
    let mut talker = talker(&cluster);
    let run = cluster.submit(&workflow(&cluster.sandbox));
    let call = talker.receive("execute_method");
    let watch = cluster.sandbox.start(&["watch", &run, "--hub-url", &cluster.url, "-o", "json"]);
    until("the watch goes on", PATIENCE, || watch.stdout().contains("task_started").then_some(()));
    let pieces = [json!({"text": "It was"}), json!({"text": " a dark\nand"}), json!({"done": 2}), json!("…")];
    for piece in &pieces {
        says(&talker, &call, piece);
    }
    // While the task runs, not only after its end.
    until("all pieces", PATIENCE, || (watch.stdout().matches("method_progress").count() == 4).then_some(()));
    says(&talker, &call, &json!({"text": "x".repeat(70_000)}));
    says(&talker, &call, &json!({"text": " the end"}));
    talker.answer(&call, &json!({"said": 5}));
    let ended = watch.wait(PATIENCE).exits(0);
    let events: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let said: Vec<&Value> = events.iter().filter(|event| event["type"] == "method_progress").collect();
    let told: Vec<&Value> = said.iter().map(|event| &event["payload"]).collect();
    assert_eq!(told[..4], pieces.iter().collect::<Vec<_>>());
    assert_eq!(told[4..], [&json!({"text": " the end"})], "what is too large is dropped, and nothing after it");
    for event in &said {
        let of = (&event["task_id"], &event["attempt"], &event["seq"], &json!(event["time"].is_string()));
        assert_eq!(of, (&json!("tell"), &json!(1), &json!(0), &json!(true)));
    }
    let place = |kind: &str| events.iter().position(|event| event["type"] == kind);
    let last = events.iter().rposition(|event| event["type"] == "method_progress");
    assert!(last < place("task_completed"), "{}", ended.stdout);

    // None of it is recorded.
    let again = cluster.client(&["watch", &run, "-o", "json"]).exits(0);
    assert!(!again.stdout.contains("method_progress"), "{again}");
}

#[test]
fn text_grows_below_its_task_on_a_terminal_only() {
    let cluster = cluster();
    let mut talker = talker(&cluster);
    let file = workflow(&cluster.sandbox);
    let plain = cluster.sandbox.start(&["submit", &file, "--wait", "--hub-url", &cluster.url]);
    let call = talker.receive("execute_method");
    says(&talker, &call, &json!({"text": "Once upon a time"}));
    talker.answer(&call, &json!({"said": "all"}));
    let ended = plain.wait(PATIENCE).exits(0);
    assert!(!ended.stdout.contains("Once upon") && !ended.stderr.contains("Once upon"), "{ended}");

    for arguments in [&["submit", &file, "--wait"][..], &["run", &file], &["watch"]] {
        let mut arguments = arguments.to_vec();
        let (run, call);
        if arguments == ["watch"] {
            run = cluster.submit(&file);
            call = talker.receive("execute_method");
            arguments.push(&run);
        } else {
            call = Value::Null;
        }
        let terminal = on_terminal(&cluster, &arguments);
        let call = if call.is_null() { talker.receive("execute_method") } else { call };
        until("the task is named", PATIENCE, || terminal.stdout().contains("tell").then_some(()));
        // A watcher receives only progress from after the watch began.
        until("the text", PATIENCE, || {
            says(&talker, &call, &json!({"text": "Once\x1b[2J upon\n"}));
            terminal.stdout().contains("Once[2J upon").then_some(())
        });
        talker.answer(&call, &json!({"said": "all"}));
        let ended = terminal.wait(PATIENCE).exits(0);
        assert!(!ended.stdout.contains("\x1b[2J"), "{ended}");
        let after = ended.stdout.rsplit("\x1b[J").next().expect("text");
        assert!(!after.contains("Once"), "the text goes with its task: {ended}");
    }
}

#[test]
fn the_text_of_a_model_is_streamed() {
    let (mut cluster, server) = (cluster(), LlmServer::start());
    let definition = format!(
        "name: ollama\nprotocol: llm/v1\nexecutor: ollama-llm\nconnection: {{base_url: \"{}\"}}\n",
        server.url()
    );
    let file = cluster.sandbox.file("ollama.yaml", definition);
    cluster.start_agent_with("models", "provider", &["--provider", &file]);
    // This model never ends its answer.
    let workflow = "name: Ask\ntasks: [{id: ask, method: llm/chat, parameters: {model: endless, prompt: hello}}]\n";
    let run = cluster.submit(&cluster.sandbox.file("ask.yaml", workflow));
    let watch = cluster.sandbox.start(&["watch", &run, "--hub-url", &cluster.url, "-o", "json"]);
    let text = || {
        let told = watch.stdout();
        let whole = told.rfind('\n').map_or("", |end| &told[..end]);
        let events = whole.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let said = events.filter(|event| event["type"] == "method_progress");
        said.map(|event| event["payload"]["text"].as_str().expect("text").to_owned()).collect::<Vec<String>>()
    };
    until("many words", PATIENCE, || (text().len() > 20).then_some(()));
    cluster.ask(&["cancel", &run]);
    watch.wait(PATIENCE).exits(1);
}
