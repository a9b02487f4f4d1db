//! Several providers of one method, each with its own address and secret, and tasks that name the provider that they
//! want.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use gleitzeit_llm_server::LlmServer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::support::{Cluster, PATIENCE, Sandbox, text, until};

/// Answers each request with its own name; stops on drop.
struct Server {
    url: String,
    /// The tokens that it received, with the requested paths.
    asked: Arc<Mutex<Vec<(String, String)>>>,
    _runtime: Runtime,
}

impl Server {
    fn start(name: &'static str) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let seen = asked.clone();
        let told = async move |request: Request| {
            let token = request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or("none");
            seen.lock().expect("no panic").push((request.uri().path().to_owned(), token.to_owned()));
            axum::Json(json!({"server": name}))
        };
        runtime.spawn(async move { axum::serve(listener, Router::new().fallback(told)).await });
        Self { url, asked, _runtime: runtime }
    }

    fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().expect("no panic").clone()
    }
}

/// A provider file with this name and address, and its own secret.
fn provider(sandbox: &Sandbox, name: &str, url: &str) -> String {
    let secret = sandbox.file(&format!("{name}.key"), format!("secret-of-{name}\n"));
    let text = format!(
        "name: {name}\nprotocol: http/v1\nexecutor: http\nconnection: {{base_url: '{url}/v1'}}\nauthentication: {{type: \
         bearer, file: '{secret}'}}\n"
    );
    sandbox.file(&format!("{name}.yaml"), text)
}

const TWO: &str = "name: Two\ntasks:\n- {id: one, method: http/request, provider: north, parameters: {url: /a}}\n- {id: two, \
                   method: http/request, provider: south, parameters: {url: \"/b/${one.json.server}\"}}\noutputs: {one: \
                   \"${one.json.server}\", two: \"${two.json.server}\"}\n";

#[test]
fn each_task_reaches_the_server_that_it_names_and_no_other_sees_its_secret() {
    let (sandbox, north, south) = (Sandbox::new(), Server::start("north"), Server::start("south"));
    let files = [provider(&sandbox, "north", &north.url), provider(&sandbox, "south", &south.url)];
    let file = sandbox.file("two.yaml", TWO);
    for _ in 0..3 {
        let arguments = ["run", &file, "--provider", &files[0], "--provider", &files[1], "-o", "json"];
        let run = sandbox.gleitzeit(&arguments).exits(0).json();
        assert_eq!(run["outputs"], json!({"one": "north", "two": "south"}), "{run:#}");
    }
    let asked = |path: &str, name: &str| vec![(path.to_owned(), format!("Bearer secret-of-{name}")); 3];
    assert_eq!((north.asked(), south.asked()), (asked("/v1/a", "north"), asked("/v1/b/north", "south")));
}

#[test]
fn validate_and_run_refuse_unknown_provider_names_and_ambiguous_tasks() {
    let sandbox = Sandbox::new();
    let files = [provider(&sandbox, "north", "http://127.0.0.1:1"), provider(&sandbox, "south", "http://127.0.0.1:2")];
    let text = "name: W\ntasks:\n- {id: a, method: http/request, provider: nort, parameters: {url: /a}}\n- {id: b, method: \
                http/request, parameters: {url: /b}}\n- {id: c, method: util/echo, provider: north}\n- {id: d, method: \
                http/request, provider: http, parameters: {url: /d}}\n";
    let file = sandbox.file("w.yaml", text);
    for command in ["validate", "run"] {
        let refused = sandbox
            .gleitzeit(&[command, &file, "--provider", &files[0], "--provider", &files[1], "-o", "json"])
            .exits(2)
            .json();
        let told: Vec<String> = refused["errors"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|it| {
                format!(
                    "{}:{} {} {}; {}",
                    it["line"],
                    it["column"],
                    text_of(it, "name"),
                    text_of(it, "message"),
                    text_of(it, "hint")
                )
            })
            .collect();
        let expected = [
            "3:43 PROVIDER_NOT_FOUND there is no provider named `nort`; did you mean `north`?".to_owned(),
            "4:19 WORKFLOW_VALIDATION_FAILED `http/request` is served by providers of different addresses, `http` (any \
             address), `north` (http://127.0.0.1:1/v1), `south` (http://127.0.0.1:2/v1): any may get the call; say \
             `provider: http` or `provider: north` or `provider: south`"
                .to_owned(),
            "5:40 PROVIDER_NOT_FOUND the provider `north` does not serve `util/echo`; `util/echo` is served by `util`; `--provider FILE` adds another".to_owned(),
        ];
        assert_eq!(told, expected, "{command}");
    }
    // What the command cannot see, it cannot judge.
    sandbox.gleitzeit(&["validate", &file]).exits(0);
}

fn text_of(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_path_needs_a_provider_with_an_address() {
    let sandbox = Sandbox::new();
    let file = |provider: &str| {
        let text = format!("name: W\ntasks:\n- {{id: a, method: http/request{provider}, parameters: {{url: /a}}}}\n");
        sandbox.file("path.yaml", text)
    };
    let north = provider(&sandbox, "north", "http://127.0.0.1:1");
    sandbox.gleitzeit(&["validate", &file(", provider: north"), "--provider", &north]).exits(0);
    // An address in the environment selects the control plane, and an empty one counts as unset.
    let at_north = file(", provider: north");
    let with_address = |address: &str, more: &[&str]| {
        let arguments = [&["validate", &at_north, "--provider", &north], more].concat();
        let mut command = sandbox.command(&arguments);
        command.env("GLEITZEIT_HUB_URL", address);
        sandbox.start_command(command).wait(PATIENCE)
    };
    with_address("", &[]).exits(0);
    with_address("http://localhost:1", &["--offline"]).exits(0);
    assert!(with_address("http://localhost:1", &[]).exits(2).stderr.contains("`--offline`"));
    let refused = sandbox.gleitzeit(&["validate", &file(", provider: http"), "--provider", &north]).exits(2);
    assert!(refused.stderr.contains("`url`: `/a` is a path, but the provider has no `base_url`"), "{refused}");
    sandbox.gleitzeit(&["validate", &file("")]).exits(0);
    // This provider's address plays no part here.
    let east = "name: east\nprotocol: http/v1\nexecutor: http\nconnection: {base_url_env: NOT_SET_HERE}\n";
    let east = sandbox.file("east.yaml", east);
    sandbox.gleitzeit(&["validate", &file(", provider: east"), "--provider", &east]).exits(0);
}

#[test]
fn a_task_waits_for_the_provider_that_it_names_and_explain_says_so() {
    let server = Server::start("south");
    let mut cluster = Cluster::all_in_one(&[]);
    let file = cluster.sandbox.file("two.yaml", TWO.replace("provider: north", "provider: south"));
    let run = cluster.submit(&file);
    let wanted = "no connected provider named `south` serves `http/request`; `http` does";
    until("explain names the provider that is missing", PATIENCE, || {
        let said = cluster.ask(&["explain", &run, "one"]);
        let task = said["tasks"].as_array()?.iter().find(|task| task["id"] == "one")?.clone();
        (text_of(&task["waiting"], "reason").contains(wanted)
            && text_of(&task["waiting"], "remedy").contains("start `south`, or correct the task's `provider`"))
        .then_some(())
    });
    // With a hub, a provider that is not connected now may connect later.
    let arguments = ["validate", &file, "--hub-url", &cluster.url, "-o", "json"];
    let noted = cluster.sandbox.gleitzeit(&arguments).exits(0).json();
    assert_eq!(noted["notes"][0]["message"], "no connected provider is named `south`: the task will wait for one");

    let provider = provider(&cluster.sandbox, "south", &server.url);
    cluster.start_agent_with("hands", "provider", &["--provider", &provider]);
    let run = cluster.until_ended(&run);
    assert_eq!(run["outputs"], json!({"one": "south", "two": "south"}), "{run:#}");

    let listed = cluster.ask(&["providers"]);
    let address = |name: &str| {
        let items = listed["items"].as_array().expect("a list");
        items.iter().find(|it| it["name"] == name).map(|it| it["address"].clone())
    };
    assert_eq!(address("south"), Some(json!(format!("{}/v1", server.url))), "{listed:#}");
    assert_eq!((address("http"), address("util")), (Some(json!("*")), Some(Value::Null)), "{listed:#}");
    let table = cluster.client(&["providers"]).exits(0);
    assert!(table.stdout.contains("address") && table.stdout.contains(&server.url), "{table}");

    // The control plane knows the connected providers: a task that names none could reach either.
    let text_without = "name: W\ntasks:\n- {id: a, method: http/request, parameters: {url: /a}}\n";
    let unnamed = cluster.sandbox.file("unnamed.yaml", text_without);
    let refused = cluster.sandbox.gleitzeit(&["validate", &unnamed, "--hub-url", &cluster.url]).exits(2);
    assert!(refused.stderr.contains("say `provider: http` or `provider: south`"), "{refused}");
}

#[test]
fn an_unhealthy_provider_fails_its_tasks_although_another_is_healthy() {
    let (sandbox, server) = (Sandbox::new(), LlmServer::start());
    let file = |name: &str, url: &str| {
        let text = format!("name: {name}\nprotocol: llm/v1\nexecutor: openai-llm\nconnection: {{base_url: '{url}'}}\n");
        sandbox.file(&format!("{name}.yaml"), text)
    };
    let nobody = format!("http://127.0.0.1:{}/v1", crate::support::free_port());
    let (well, ill) = (file("well", &server.openai_url()), file("ill", &nobody));
    let ask = |provider: &str| {
        let text = format!(
            "name: Ask\ntasks: [{{id: ask, method: llm/chat, provider: {provider}, parameters: {{prompt: Hello}}}}]\n\
             outputs: {{said: '${{ask.response}}'}}\n"
        );
        let file = sandbox.file(&format!("ask_{provider}.yaml"), text);
        sandbox.gleitzeit(&["run", &file, "--provider", &well, "--provider", &ill, "-o", "json"])
    };
    assert_eq!(ask("well").exits(0).json()["outputs"]["said"], "You said: Hello");
    let failed = ask("ill").exits(1).json();
    let error = &failed["tasks"]["ask"]["error"];
    assert_eq!(error["name"], "PROVIDER_UNHEALTHY", "{failed:#}");
    assert!(text(&error["message"]).starts_with("all providers of `llm/chat` named `ill` are unhealthy"), "{failed:#}");
}

#[test]
fn two_models_answer_each_for_the_tasks_that_name_them() {
    let (sandbox, small, large) = (Sandbox::new(), LlmServer::start(), LlmServer::start());
    let file = |name: &str, server: &LlmServer| {
        let text = format!(
            "name: {name}\nprotocol: llm/v1\nexecutor: openai-llm\nconnection: {{base_url: '{}'}}\n",
            server.openai_url()
        );
        sandbox.file(&format!("{name}.yaml"), text)
    };
    let files = [file("small", &small), file("large", &large)];
    let tasks: Vec<Value> = (0..6)
        .map(|number| {
            let provider = if number < 4 { "small" } else { "large" };
            json!({"id": format!("t{number}"), "method": "llm/chat", "provider": provider, "parameters": {"prompt": provider}})
        })
        .collect();
    let file = sandbox.file("models.yaml", json!({"name": "Models", "tasks": tasks}).to_string());
    let run = sandbox.gleitzeit(&["run", &file, "--provider", &files[0], "--provider", &files[1], "-o", "json"]);
    let run = run.exits(0).json();
    let said = |at: usize| text(&run["tasks"][format!("t{at}")]["result"]["response"]);
    assert_eq!((said(0), said(5)), ("You said: small".to_owned(), "You said: large".to_owned()), "{run:#}");
    assert_eq!((small.asked().len(), large.asked().len()), (4, 2));
}
