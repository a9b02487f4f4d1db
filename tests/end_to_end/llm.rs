//! Language models: the examples, the messages for people when something is wrong, and that generation stops when
//! nobody reads it. The server behind them speaks both APIs and misbehaves on demand.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gleitzeit_llm_server::LlmServer;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Cluster, PATIENCE, Sandbox, example, free_port, text, until};

/// Far longer than it takes to notice a missing reader, far shorter than any timeout.
const SOON: Duration = Duration::from_secs(15);

/// The two kinds of server. Each replaces the provider that would look for an Ollama on this machine.
const EXECUTORS: [&str; 2] = ["ollama-llm", "openai-llm"];

fn provider(sandbox: &Sandbox, executor: &str, url: &str) -> String {
    let text = format!(
        "name: ollama\nprotocol: llm/v1\nexecutor: {executor}\nconnection: {{base_url: \"{url}\"}}\n\
         options: {{image_folder: .}}\n"
    );
    sandbox.file(&format!("{executor}.yaml"), text)
}

fn provider_of(sandbox: &Sandbox, executor: &str, server: &LlmServer) -> String {
    provider(sandbox, executor, &if executor == "ollama-llm" { server.url() } else { server.openai_url() })
}

/// The server's answer to a text.
fn said(text: &str) -> String {
    format!("You said: {}", text.chars().take(300).collect::<String>())
}

fn usage_of(run: &Value, task: &str) -> Value {
    let usage = &run["tasks"][task]["result"]["usage"];
    let count = |name: &str| usage[name].as_u64().unwrap_or_else(|| panic!("no {name}: {run:#}"));
    assert_eq!(count("prompt_tokens") + count("completion_tokens"), count("total_tokens"), "{run:#}");
    assert!(count("prompt_tokens") > 0 && count("completion_tokens") > 0, "{run:#}");
    usage.clone()
}

/// The expected result of an example, computed from the server's answers.
fn expected(name: &str) -> Value {
    match name {
        "simple_llm_workflow.yaml" => {
            // Eleven words in the prompt, seven in the answer.
            json!({"answer": said("Why is the sky blue?"), "model": "llama3.2", "tokens": 18})
        }
        "dependent_workflow.yaml" => {
            let draft = said("Now write the text in about a hundred words.");
            json!({"title": said(&format!("Give this text a title:\n\n{draft}\n")), "text": draft})
        }
        "mixed_workflow.yaml" => {
            let text = said("Write four sentences about the sea.");
            let comment = "A text about the sea has 8 words, 8 of them different.\nIts longest word is \"sentences\". What do \
                           you say?\n";
            let statistics = json!({"words": 8, "different": 8, "longest": "sentences"});
            json!({"text": text, "statistics": statistics, "comment": said(comment)})
        }
        "parallel_workflow.yaml" => {
            let views = [
                said("Name two reasons for a four-day week, briefly."),
                said("Name two reasons against a four-day week, briefly."),
                said("What would a four-day week cost, and whom? Answer briefly."),
            ];
            let [for_it, against, cost] = &views;
            let asked = format!(
                "Weigh these views of a four-day week and conclude in two sentences.\n\nFor: {for_it}\n\n\
                 Against: {against}\n\nCost: {cost}\n"
            );
            json!({"verdict": said(&asked), "views": {"for": for_it, "against": against, "cost": cost}})
        }
        "vision_workflow.yaml" => {
            let bytes = fs::read(example("data/shapes.png")).expect("readable").len();
            let asked = said("Which shapes and colours are in this image?");
            let description = format!("I see a PNG of 96 x 64 pixels in {bytes} bytes. {asked}");
            let asked = format!(
                "Write a caption of at most ten words for an image that is described like this:\n\n{description}\n"
            );
            json!({"description": description, "caption": said(&asked)})
        }
        other => panic!("what does {other} give?"),
    }
}

/// The examples that ask a model.
fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let files = fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").path());
    let asks = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.contains("method: llm/"));
    let files: Vec<_> = files.filter(|path| path.extension().is_some_and(|it| it == "yaml") && asks(path)).collect();
    assert!(files.len() >= 5, "{files:?}");
    files
}

/// Text that would do harm if anything interpreted it.
const HOSTILE: &str = "'''\"\"\" \\ ${write.response} $${x} {0} %s\n`rm`; $(id) \u{202e}\u{0}\u{feff} </s> \u{1fad6}\r\n\\u0000 \\N{DASH} '";

#[test]
fn every_example_with_a_model_completes_whatever_it_answers() {
    let (sandbox, server) = (Sandbox::new(), LlmServer::start_saying(HOSTILE));
    let provider = provider_of(&sandbox, "ollama-llm", &server);
    for file in examples() {
        let file = file.to_str().expect("UTF-8");
        let run = sandbox.gleitzeit(&["run", file, "--provider", &provider, "-o", "json"]).exits(0).json();
        let asked = run["tasks"].as_object().expect("an object").values();
        let answers: Vec<&Value> = asked.map(|task| &task["result"]["response"]).filter(|it| !it.is_null()).collect();
        assert!(!answers.is_empty() && answers.iter().all(|it| **it == json!(HOSTILE)), "{run:#}");
    }
}

#[test]
fn an_example_whose_model_answers_nothing_fails_and_says_so() {
    let (sandbox, server) = (Sandbox::new(), LlmServer::start_saying(""));
    let provider = provider_of(&sandbox, "ollama-llm", &server);
    let arguments = ["run", &example("simple_llm_workflow.yaml"), "--provider", &provider, "-o", "json"];
    let run = sandbox.gleitzeit(&arguments).exits(1).json();
    let error = &run["tasks"]["answer"]["error"];
    assert_eq!(error["name"], "TASK_EXECUTION_FAILED", "{run:#}");
    assert!(text(&error["message"]).contains("the model `llama3.2` returned no text; it ended with `stop`"), "{run:#}");
}

#[test]
fn thoughts_of_a_model_are_in_the_result_and_in_the_error() {
    for executor in EXECUTORS {
        let (sandbox, server) = (Sandbox::new(), LlmServer::start());
        let provider = provider_of(&sandbox, executor, &server);
        let run = ask(&sandbox, &provider, "thinks", "{max_attempts: 1}");
        assert_eq!(run["tasks"]["ask"]["result"]["thinking"], "Let me see.", "{run:#}");
        let run = ask(&sandbox, &provider, "thinker", "{max_attempts: 2, initial_delay: 0.01}");
        let error = &run["tasks"]["ask"]["error"];
        assert_eq!((&run["tasks"]["ask"]["attempt"], &error["data"]["thinking"]), (&json!(2), &json!("Let me see.")));
        assert!(
            text(&error["message"]).contains("it only returned thoughts, 11 bytes; switch thinking off"),
            "{run:#}"
        );
    }
}

#[test]
fn ollama_is_looked_for_where_its_own_variable_says() {
    let (sandbox, server) = (Sandbox::new(), LlmServer::start());
    let host = server.url().replace("http://127.0.0.1:", "");
    let with = |value: &str, arguments: &[&str]| {
        let mut command = sandbox.command(arguments);
        command.env("OLLAMA_HOST", value).env_remove("OPENAI_BASE_URL");
        sandbox.start_command(command).wait(PATIENCE)
    };
    let file = example("simple_llm_workflow.yaml");
    for value in [format!("127.0.0.1:{host}"), format!("0.0.0.0:{host}"), format!(" \"http://localhost:{host}/\" ")] {
        let run = with(&value, &["run", &file, "-o", "json"]).exits(0).json();
        assert_eq!(run["outputs"]["answer"], said("Why is the sky blue?"), "{value}");
    }
    let doctor = with(&format!(":{host}"), &["doctor"]);
    assert!(doctor.stdout.contains("ok       provider ollama"), "{doctor}");
    let port = free_port();
    let doctor = with(&format!("0.0.0.0:{port}"), &["doctor"]);
    assert!(doctor.stdout.contains(&format!("Ollama is not reachable at http://127.0.0.1:{port}")), "{doctor}");
    let wrong = with("ftp://models", &["doctor"]);
    assert!(wrong.stdout.contains("the environment variable OLLAMA_HOST must begin with http://"), "{wrong}");
}

#[test]
fn tasks_wait_for_a_server_that_loads_its_model_and_show_the_reason() {
    for executor in EXECUTORS {
        let server = LlmServer::start();
        server.load_for(usize::MAX);
        let mut cluster = Cluster::new();
        cluster.start_hub();
        let provider = provider_of(&cluster.sandbox, executor, &server);
        cluster.start_agent_with("worker", "all", &["--provider", &provider]);
        let workflow = "name: Ask\ntasks: [{id: ask, method: llm/chat, parameters: {prompt: hello}}]\n";
        let run = cluster.submit(&cluster.sandbox.file("ask.yaml", workflow));
        cluster.until_run(&run, "what it waits for", |run| {
            let reason = run["tasks"]["ask"]["waiting"]["reason"].as_str().unwrap_or_default();
            reason.contains("still starting: ollama: ") && reason.ends_with("(503 Service Unavailable): Loading model")
        });
        let explained = cluster.sandbox.gleitzeit(&["explain", &run, "--hub-url", &cluster.url]).exits(0);
        assert!(explained.stdout.contains("Loading model"), "{explained}");
        let providers = cluster.sandbox.gleitzeit(&["providers", "--hub-url", &cluster.url]).exits(0);
        let line = providers.stdout.lines().find(|line| line.contains("ollama")).unwrap_or_default();
        assert!(line.contains("starting"), "{providers}");
        server.load_for(0);
        let run = cluster.until_ended(&run);
        assert_eq!((&run["status"], &run["tasks"]["ask"]["attempt"]), (&json!("completed"), &json!(1)), "{run:#}");
    }
}

#[test]
fn a_server_that_refuses_the_secret_is_not_waited_for() {
    let (sandbox, server) = (Sandbox::new(), LlmServer::start_with(0, Some("sk-test".to_owned())));
    for (executor, said) in [("ollama-llm", "does not allow this (401"), ("openai-llm", "requires a secret (401")] {
        let provider = provider_of(&sandbox, executor, &server);
        let started = std::time::Instant::now();
        let run = ask(&sandbox, &provider, "llama3.2", "{max_attempts: 6, initial_delay: 60, backoff: fixed}");
        let (task, error) = (&run["tasks"]["ask"], &run["tasks"]["ask"]["error"]);
        assert_eq!((&task["attempt"], &error["name"]), (&json!(1), &json!("PROVIDER_UNHEALTHY")), "{run:#}");
        assert_eq!(error["data"]["retryable"], false, "{run:#}");
        assert!(text(&error["message"]).contains(said), "{run:#}");
        assert!(started.elapsed() < PATIENCE);
    }
}

#[test]
fn every_example_with_a_model_completes_with_either_kind_of_server() {
    let files = examples();
    for executor in EXECUTORS {
        let (sandbox, server) = (Sandbox::new(), LlmServer::start());
        let provider = provider_of(&sandbox, executor, &server);
        for file in &files {
            let (name, file) = (file.file_name().expect("a name"), file.to_str().expect("UTF-8"));
            let run = sandbox.gleitzeit(&["run", file, "--provider", &provider, "-o", "json"]).exits(0).json();
            assert_eq!(run["status"], "completed", "{run:#}");
            assert_eq!(run["outputs"], expected(name.to_str().expect("UTF-8")), "{executor}: {run:#}");
            for (task, it) in run["tasks"].as_object().expect("an object") {
                if it["result"]["response"].is_string() {
                    usage_of(&run, task);
                }
            }
        }
        let asked = server.asked();
        let models: Vec<&str> = asked.iter().filter_map(|asked| asked.body["model"].as_str()).collect();
        assert!(models.iter().all(|model| ["llama3.2", "llava"].contains(model)), "{models:?}");
        let history = asked.iter().find(|asked| asked.body["messages"].as_array().is_some_and(|it| it.len() == 3));
        assert_eq!(history.expect("a conversation").body["messages"][1]["role"], "assistant");
    }
}

#[test]
fn the_documented_commands_work() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/LLM.md")).expect("readable");
    let (sandbox, server) = (Sandbox::new(), LlmServer::start());
    let commands = text.lines().filter_map(|line| line.split_once("gleitzeit run "));
    let mut ran = 0;
    for (variables, arguments) in commands.filter(|(before, _)| !before.contains(['`', '#'])) {
        let executor = if variables.contains("OPENAI_BASE_URL") { "openai-llm" } else { "ollama-llm" };
        let provider = provider_of(&sandbox, executor, &server);
        let mut command = sandbox.command(&["run"]);
        command.args(arguments.split_whitespace()).args(["--provider", &provider]);
        // The commands name files relative to the repository.
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        sandbox.start_command(command).wait(PATIENCE).exits(0);
        ran += 1;
    }
    assert_eq!(ran, 3, "all commands are seen");
}

#[test]
fn without_an_ollama_a_run_fails_soon_and_says_how_to_start_one() {
    let sandbox = Sandbox::new();
    let url = format!("http://localhost:{}", free_port());
    let provider = provider(&sandbox, "ollama-llm", &url);
    let arguments = ["run", &example("mixed_workflow.yaml"), "--provider", &provider, "-o", "json"];
    let run = sandbox.start(&arguments).wait(SOON).exits(1).json();
    let message = format!("Ollama is not reachable at {url}; start it with `ollama serve`");
    assert_eq!(run["status"], "failed");
    let error = &run["tasks"]["write"]["error"];
    assert!(text(&error["message"]).contains(&message), "{run:#}");
    assert_eq!(error["name"], "PROVIDER_UNHEALTHY");
    assert_eq!(run["tasks"]["count"]["status"], "skipped");

    let ended = sandbox.start(&arguments[..4]).wait(SOON).exits(1);
    assert!(ended.stderr.contains(&message), "{ended}");
}

/// Runs one task that asks a model of the test server.
fn ask(sandbox: &Sandbox, provider: &str, model: &str, retry: &str) -> Value {
    let workflow = format!(
        "name: Ask\ntasks: [{{id: ask, method: llm/chat, retry: {retry}, parameters: {{model: {model}, prompt: hello}}}}]\n"
    );
    let file = sandbox.file("ask.yaml", workflow);
    sandbox.gleitzeit(&["run", &file, "--provider", provider, "-o", "json"]).json()
}

#[test]
fn a_server_with_retry_after_is_asked_again_at_that_time() {
    for executor in EXECUTORS {
        let (sandbox, server) = (Sandbox::new(), LlmServer::start());
        let provider = provider_of(&sandbox, executor, &server);
        let run = ask(&sandbox, &provider, "limited-once", "{max_attempts: 2, initial_delay: 0.01}");
        assert_eq!((&run["status"], &run["tasks"]["ask"]["attempt"]), (&json!("completed"), &json!(2)), "{run:#}");
        let took = crate::support::time_ms(&run["finished_at"]) - crate::support::time_ms(&run["submitted_at"]);
        assert!(took >= 1_000, "the server asked for one second, and it was {took} ms");
        assert_eq!(server.asked().len(), 2);
    }
}

#[test]
fn an_unknown_model_is_requested_once_and_the_error_names_the_remedy() {
    let (sandbox, server) = (Sandbox::new(), LlmServer::start());
    for executor in EXECUTORS {
        let provider = provider_of(&sandbox, executor, &server);
        let before = server.asked().len();
        let run = ask(&sandbox, &provider, "llama9", "{max_attempts: 3, initial_delay: 0.01}");
        let error = &run["tasks"]["ask"]["error"];
        assert!(text(&error["message"]).contains("`ollama pull llama9`"), "{run:#}");
        assert_eq!((&run["tasks"]["ask"]["attempt"], server.asked().len() - before), (&json!(1), 1), "{run:#}");
    }
}

#[test]
fn an_interrupted_run_stops_the_model() {
    for executor in EXECUTORS {
        let (sandbox, server) = (Sandbox::new(), LlmServer::start());
        let provider = provider_of(&sandbox, executor, &server);
        let workflow = "name: Ask\ntasks: [{id: ask, method: llm/chat, parameters: {model: endless, prompt: hello}}]\n";
        let run = sandbox.start(&["run", &sandbox.file("ask.yaml", workflow), "--provider", &provider]);
        until("the model writes", PATIENCE, || (server.open() == 1).then_some(()));
        run.signal(Signal::INT);
        run.wait(PATIENCE).exits(130);
        until("the model has stopped", PATIENCE, || ((server.open(), server.abandoned()) == (0, 1)).then_some(()));
    }
}

#[test]
fn watchers_of_a_run_see_the_models_text_as_it_is_written() {
    for executor in EXECUTORS {
        let server = LlmServer::start();
        let mut cluster = Cluster::new();
        cluster.start_hub();
        let prompt = "one two three four five six seven eight nine ten ".repeat(3);
        let workflow = json!({"name": "Slow", "tasks": [
            {"id": "write", "method": "llm/chat", "parameters": {"model": "slow", "prompt": prompt}}]});
        let run = cluster.submit(&cluster.sandbox.file("slow.json", workflow.to_string()));
        let watch = cluster.sandbox.start(&["watch", &run, "-o", "json", "--hub-url", &cluster.url]);
        until("the run is watched", PATIENCE, || watch.stdout().contains("workflow_submitted").then_some(()));
        let provider = provider_of(&cluster.sandbox, executor, &server);
        cluster.start_agent_with("worker", "all", &["--provider", &provider]);
        let ended = watch.wait(PATIENCE).exits(0);
        let lines: Vec<Value> =
            ended.stdout.lines().map(|line| serde_json::from_str(line).expect("an event per line")).collect();
        let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).collect::<Vec<_>>();
        let pieces: Vec<&str> =
            of("method_progress").iter().filter_map(|line| line["payload"]["text"].as_str()).collect();
        let result = &of("task_completed")[0]["payload"]["result"];
        assert_eq!(result["response"].as_str().expect("text"), pieces.concat(), "{ended}");
        assert!(pieces.len() > 4, "as it was written: {pieces:?}");
    }
}

#[test]
fn the_shipped_provider_for_other_servers_is_used_once_its_address_is_set() {
    let (sandbox, server) = (Sandbox::new(), LlmServer::start_with(0, Some("sk-test".to_owned())));
    let nobody = provider(&sandbox, "ollama-llm", &format!("http://localhost:{}", free_port()));
    let example = fs::read_to_string(example("simple_llm_workflow.yaml")).expect("readable");
    let named =
        sandbox.file("named.yaml", example.replace("method: llm/chat", "method: llm/chat\n    provider: openai"));
    let arguments = ["run", &named, "--provider", &nobody, "-o", "json"];
    let with = |variables: &[(&str, &str)]| {
        let mut command = sandbox.command(&arguments);
        command.envs(variables.iter().copied());
        sandbox.start_command(command).wait(PATIENCE)
    };
    let url = server.openai_url();
    let run = with(&[("OPENAI_BASE_URL", &url), ("OPENAI_API_KEY", "sk-test")]).exits(0).json();
    assert_eq!(run["outputs"]["answer"], said("Why is the sky blue?"));
    let asked = server.asked().len();
    let wrong = with(&[("OPENAI_BASE_URL", &url), ("OPENAI_API_KEY", "sk-other")]).exits(1);
    assert!(wrong.stdout.contains("environment variable OPENAI_API_KEY"), "{wrong}");
    assert!(!wrong.stdout.contains("sk-other") && !wrong.stderr.contains("sk-other"), "{wrong}");
    let retried = sandbox.file(
        "retried.yaml",
        "name: Ask\ntasks: [{id: ask, method: llm/embed, provider: openai, parameters: {input: x}, \
        retry: {max_attempts: 6, initial_delay: 60}}]\n",
    );
    let mut command = sandbox.command(&["run", &retried, "--provider", &nobody, "-o", "json"]);
    command.env("OPENAI_BASE_URL", &url);
    let keyless = sandbox.start_command(command).wait(PATIENCE).exits(1).json();
    // The other model's capabilities do not matter.
    assert_eq!(keyless["tasks"]["ask"]["attempt"], 1, "{keyless:#}");
    assert!(text(&keyless["tasks"]["ask"]["error"]["message"]).contains("and none was sent; see `authentication`"));
    with(&[("OPENAI_API_KEY", "sk-test")]).exits(1);
    assert_eq!(server.asked().len(), asked, "a key alone sends nothing anywhere");
}
