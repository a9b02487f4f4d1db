//! The executors against a server that speaks both APIs.

use std::time::Duration;

use gleitzeit_core::mesh::HealthState;
use gleitzeit_llm_server::LlmServer;
use gleitzeit_protocols::Registry;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::factory::Factory;
use crate::provider::Provider;

const BOTH: [Api; 2] = [Api::Ollama, Api::OpenAi];

/// A PNG of 2 x 3 pixels, as far as anybody looks.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAADCAIAAAA=";

fn built(api: Api, url: &str, more: &str, variables: &'static [(&'static str, &'static str)]) -> Provider {
    let executor = if api == Api::Ollama { "ollama-llm" } else { "openai-llm" };
    let text = format!("name: models\nprotocol: llm/v1\nexecutor: {executor}\n{more}");
    let text =
        if more.contains("connection:") { text } else { format!("{text}\nconnection: {{base_url: \"{url}\"}}\n") };
    let definition = Definition::parse("models.yaml", &text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let settings = Settings::from_env(move |name| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
    });
    Factory::build(&definition, &Registry::shipped(), &settings).expect("builds")
}

fn url(api: Api, server: &LlmServer) -> String {
    if api == Api::Ollama { server.url() } else { server.openai_url() }
}

fn provider(api: Api, server: &LlmServer, more: &str) -> Provider {
    built(api, &url(api, server), more, &[])
}

/// Calls as a host does: parameters checked, defaults filled in; and the result fits the schema.
async fn call(provider: &Provider, method: &str, mut params: Value, context: Context) -> Result<Value, CallError> {
    let registry = Registry::shipped();
    registry.fill_defaults(method, "v1", &mut params);
    assert_eq!(registry.validate_parameters(method, "v1", &params), Ok(()));
    let call = Call { method: method.into(), params: Payload::from_value(&params) };
    let result = provider.call(call, context).await?.to_value();
    assert_eq!(registry.validate_result(method, "v1", &result), Ok(()), "{result:#}");
    Ok(result)
}

async fn chat(provider: &Provider, params: Value) -> Result<Value, CallError> {
    call(provider, "llm/chat", params, Context::default()).await
}

/// Asks a model that misbehaves.
async fn fails(provider: &Provider, model: &str) -> CallError {
    let answered = chat(provider, json!({"model": model, "prompt": "one two three"})).await;
    answered.expect_err("this model does not answer")
}

#[tokio::test]
async fn both_servers_are_asked_alike_and_answer_in_one_shape() {
    let server = LlmServer::start();
    for api in BOTH {
        let provider = provider(api, &server, "");
        let params = json!({"system": "be brief", "messages": [
            {"role": "user", "content": "first"}, {"role": "assistant", "content": "yes"}], "prompt": "now tell me"});
        let answer = chat(&provider, params).await.expect("an answer");
        assert_eq!(answer["response"], "You said: now tell me");
        assert_eq!(answer["usage"], json!({"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}));
        assert_eq!(
            (&answer["model"], &answer["done"], &answer["json"]),
            (&json!("llama3.2"), &json!(true), &json!(null))
        );
        assert_eq!(answer["done_reason"], "stop");
        let asked = server.asked().pop().expect("asked");
        let roles: Vec<&str> =
            asked.body["messages"].as_array().expect("messages").iter().filter_map(|it| it["role"].as_str()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user"]);
        if api == Api::Ollama {
            assert_eq!((asked.path.as_str(), &answer["total_duration_ms"]), ("/api/chat", &json!(9.5)));
            assert_eq!((&answer["load_duration_ms"], &answer["eval_duration_ms"]), (&json!(1.25), &json!(6.0)));
        } else {
            assert_eq!((asked.path.as_str(), &answer["load_duration_ms"]), ("/v1/chat/completions", &json!(null)));
            assert!(answer["total_duration_ms"].as_f64().expect("measured") > 0.0);
        }
        let completed = call(&provider, "llm/complete", json!({"prompt": "a haiku"}), Context::default()).await;
        assert_eq!(completed.expect("an answer")["response"], "You said: a haiku");
    }
    assert!(server.asked().iter().any(|asked| asked.path == "/api/generate" && asked.body["prompt"] == "a haiku"));
}

#[tokio::test]
async fn what_ollama_leaves_out_is_zero() {
    let server = LlmServer::start();
    let answer = chat(&provider(Api::Ollama, &server, ""), json!({"model": "cached", "prompt": "hello"})).await;
    let expected = json!({"prompt_tokens": 0, "completion_tokens": 3, "total_tokens": 3});
    assert_eq!(answer.expect("an answer")["usage"], expected);
}

#[tokio::test]
async fn options_reach_each_server_under_its_own_names() {
    let server = LlmServer::start();
    let options = json!({"temperature": 0.5, "max_tokens": 9, "num_ctx": 4096, "seed": 1, "stop": ["x"]});
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}, "t": {"type": "string"}}});
    for api in BOTH {
        let provider = provider(api, &server, "options: {models: {llama3.2: llava}}");
        let extra =
            json!({"logprobs": true, "options": if api == Api::Ollama { json!({"mirostat": 1}) } else { json!(null) }});
        let extra = if api == Api::Ollama { extra } else { json!({"logprobs": true}) };
        let keep_alive = json!("10m");
        let params =
            json!({"prompt": "x", "options": options, "format": schema, "keep_alive": keep_alive, "extra": extra});
        let answer = chat(&provider, params).await.expect("an answer");
        assert_eq!(answer["json"], json!({"n": 7, "t": "You said: x"}));
        assert_eq!(answer["model"], "llava", "as the provider calls it");
        let body = server.asked().pop().expect("asked").body;
        assert_eq!(body["logprobs"], true);
        if api == Api::Ollama {
            let expected =
                json!({"temperature": 0.5, "num_predict": 9, "num_ctx": 4096, "seed": 1, "stop": ["x"], "mirostat": 1});
            assert_eq!((&body["options"], &body["format"], &body["keep_alive"]), (&expected, &schema, &keep_alive));
        } else {
            assert_eq!((&body["max_tokens"], &body["temperature"]), (&json!(9), &json!(0.5)));
            assert_eq!(body["response_format"]["json_schema"]["schema"], schema);
            assert_eq!(body["num_ctx"], Value::Null);
        }
        let any = chat(&provider, json!({"prompt": "x", "format": "json"})).await.expect("an answer");
        assert_eq!(any["json"], json!({"said": "You said: x"}));
        let refused = chat(&provider, json!({"prompt": "x", "extra": {"stream": false}})).await.expect_err("reserved");
        assert_eq!((refused.code, refused.retryable), (ErrorCode::InvalidParams, false));
    }
    let newer = provider(Api::OpenAi, &server, "options: {max_tokens_field: max_completion_tokens}");
    chat(&newer, json!({"prompt": "x", "options": {"max_tokens": 9}})).await.expect("an answer");
    assert_eq!(server.asked().pop().expect("asked").body["max_completion_tokens"], 9);
}

#[tokio::test]
async fn images_arrive_as_they_are() {
    let server = LlmServer::start();
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, PNG).expect("base64");
    std::fs::write(folder.path().join("small.png"), &bytes).expect("written");
    for api in BOTH {
        let provider = provider(api, &server, &format!("options: {{image_folder: \"{}\"}}", folder.path().display()));
        for image in [json!(PNG), json!(format!("data:image/png;base64,{PNG}")), json!({"file": "small.png"})] {
            let answer = call(&provider, "llm/vision", json!({"images": [image]}), Context::default()).await;
            let expected = "I see a PNG of 2 x 3 pixels in 29 bytes. You said: Describe this image.";
            assert_eq!(answer.expect("an answer")["response"], expected);
        }
        let messages = json!([{"role": "user", "content": "and this?", "images": [PNG]}]);
        let answer = chat(&provider, json!({"model": "llava", "messages": messages})).await.expect("an answer");
        assert!(answer["response"].as_str().expect("text").starts_with("I see a PNG"), "{answer:#}");
        let before = server.asked().len();
        let error = call(&provider, "llm/vision", json!({"images": [PNG, "aGVsbG8="]}), Context::default()).await;
        let error = error.expect_err("no image");
        assert_eq!((error.code, error.retryable), (ErrorCode::InvalidParams, false));
        assert!(error.message.starts_with("`images[1]` is no PNG"), "{error:?}");
        assert_eq!(server.asked().len(), before, "nobody was asked");
    }
}

#[tokio::test]
async fn texts_become_vectors_in_their_order() {
    let server = LlmServer::start();
    for api in BOTH {
        let provider = provider(api, &server, "");
        let embed = |input: Value| call(&provider, "llm/embed", json!({"input": input}), Context::default());
        let several = embed(json!(["a", "bb b"])).await.expect("vectors");
        assert_eq!(several["embeddings"], json!([[1, 12.125, -0.5], [4, 40.75, -0.5]]));
        assert_eq!(several["usage"], json!({"prompt_tokens": 3, "total_tokens": 3}));
        assert_eq!(embed(json!("a")).await.expect("vectors")["embeddings"], json!([[1, 12.125, -0.5]]));
        assert_eq!(several["model"], "nomic-embed-text");
    }
}

#[tokio::test]
async fn text_is_shown_while_it_is_written() {
    let server = LlmServer::start();
    for api in BOTH {
        let provider = provider(api, &server, "");
        let (sender, mut receiver) = mpsc::channel(1_000);
        let context = Context { progress: Some(sender), ..Context::default() };
        let params = json!({"model": "slow", "prompt": "one two three four five six seven eight nine"});
        let answer = call(&provider, "llm/chat", params, context).await.expect("an answer");
        let mut pieces = Vec::new();
        while let Some(piece) = receiver.recv().await {
            let piece = piece.to_value();
            assert_eq!(piece.as_object().expect("an object").len(), 1, "{piece}");
            pieces.push(piece["text"].as_str().expect("text").to_owned());
        }
        assert_eq!(pieces.concat(), answer["response"].as_str().expect("text"));
        let tokens = answer["usage"]["completion_tokens"].as_u64().expect("known");
        assert!(pieces.len() > 2 && u64::try_from(pieces.len()).expect("few") < tokens, "{pieces:?}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood_too() {
    let server = LlmServer::start();
    for api in BOTH {
        let (sender, mut receiver) = mpsc::channel(8);
        let context = Context { progress: Some(sender), ..Context::default() };
        let params = json!({"model": "whole", "prompt": "hello"});
        let answer = call(&provider(api, &server, ""), "llm/chat", params, context).await.expect("an answer");
        assert_eq!((&answer["response"], &answer["usage"]["total_tokens"]), (&json!("You said: hello"), &json!(4)));
        assert_eq!(receiver.recv().await.expect("shown").to_value(), json!({"text": "You said: hello"}));
    }
}

#[tokio::test]
async fn a_server_that_asks_for_patience_gets_it() {
    let server = LlmServer::start();
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for api in BOTH {
        let provider = provider(api, &server, "");
        for (model, code, after) in [
            ("limited", ErrorCode::RateLimitExceeded, seconds(7)),
            ("limited-without-delay", ErrorCode::RateLimitExceeded, None),
            ("busy", ErrorCode::ProviderOverloaded, seconds(3)),
            ("broken", ErrorCode::TaskExecutionFailed, None),
        ] {
            let error = fails(&provider, model).await;
            assert_eq!((error.code, error.retry_after, error.retryable), (code, after, true), "{model}: {error:?}");
        }
        let dated = fails(&provider, "limited-by-date").await.retry_after.expect("a delay");
        assert!(dated > Duration::from_secs(60) && dated <= Duration::from_secs(121), "{dated:?}");
        let embedded =
            call(&provider, "llm/embed", json!({"model": "limited", "input": "x"}), Context::default()).await;
        assert_eq!(embedded.expect_err("limited").retry_after, seconds(7));
    }
    let unpaid = fails(&provider(Api::OpenAi, &server, ""), "unpaid").await;
    assert!(!unpaid.retryable && unpaid.message.contains("you owe us"), "{unpaid:?}");
}

#[tokio::test]
async fn refusals_say_what_to_do_and_are_not_repeated() {
    let server = LlmServer::start();
    for api in BOTH {
        let provider = provider(api, &server, "");
        for (model, said) in [
            ("llama9", "does not have the model `llama9`"),
            ("llama9", "`ollama pull llama9`"),
            ("picky", "does not support this"),
            ("moved", "points to http://localhost:1/there"),
            ("page", "answers with a web page"),
        ] {
            let error = fails(&provider, model).await;
            assert!(!error.retryable && error.message.contains(said), "{error:?}");
        }
        let lost = built(api, &format!("{}/elsewhere", server.url()), "", &[]);
        let error = fails(&lost, "llama3.2").await;
        assert!(!error.retryable && error.message.contains("`base_url`"), "{error:?}");
    }
}

#[tokio::test]
async fn broken_streams_are_errors_that_may_pass() {
    let server = LlmServer::start();
    for api in BOTH {
        let provider = provider(
            api,
            &server,
            "connection: {base_url: URL, timeout: 300ms}".replace("URL", &url(api, &server)).as_str(),
        );
        for (model, code, said) in [
            ("cut", ErrorCode::TaskExecutionFailed, "broke off its answer"),
            ("garbled", ErrorCode::TaskExecutionFailed, "sent what is no answer"),
            ("fails", ErrorCode::TaskExecutionFailed, "broke off its answer: "),
            ("silent", ErrorCode::ProviderTimeout, "sent nothing for 0.3 s"),
        ] {
            let error = fails(&provider, model).await;
            assert_eq!((error.code, error.retryable), (code, true), "{model}: {error:?}");
            assert!(error.message.contains(said), "{model}: {error:?}");
        }
        let crashed = fails(&provider, "fails").await.message;
        assert!(crashed.contains("running the model") || crashed.contains("has crashed"), "{crashed}");
        let overrun = fails(&provider, "overrun").await;
        assert!(!overrun.retryable && overrun.message.contains("the input is too long"), "{overrun:?}");
        let short = chat(&provider, json!({"model": "short", "prompt": "x"})).await.expect("an answer");
        assert_eq!(short["done_reason"], "length");
    }
}

#[tokio::test]
async fn an_answer_without_measure_is_not_kept() {
    let server = LlmServer::start();
    for api in BOTH {
        let provider = provider(api, &server, "options: {max_response_bytes: 100000}");
        for model in ["big", "long-line"] {
            let error = fails(&provider, model).await;
            assert_eq!((error.code, error.retryable), (ErrorCode::TaskResultInvalid, false), "{error:?}");
        }
        assert!(fails(&provider, "big").await.message.contains("100000 bytes"));
        let large = self::provider(api, &server, "options: {max_response_bytes: 4000000}");
        let answer = chat(&large, json!({"model": "big", "prompt": "x"})).await.expect("within the limit");
        assert_eq!(answer["response"].as_str().expect("text").len(), 2_000_000);
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_call_that_ends_early_stops_the_server_from_writing() {
    for api in BOTH {
        let server = LlmServer::start();
        let provider = provider(api, &server, "");
        let params = json!({"model": "endless", "prompt": "x"});
        for seconds in [0.2, 2.0, 10.0] {
            let deadline = tokio::time::Instant::now() + Duration::from_secs_f64(seconds);
            let late = Context { deadline: Some(deadline), ..Context::default() };
            let error = call(&provider, "llm/chat", params.clone(), late).await.expect_err("too late");
            assert_eq!(error.code, ErrorCode::TaskTimeout);
            until("the server has noticed", || server.open() == 0).await;
            // On a busy machine the time may be over before the server begins.
            if server.abandoned() > 0 {
                break;
            }
        }
        assert_eq!(server.abandoned(), 1);
        let (context, cancel) = (Context::default(), tokio_util::sync::CancellationToken::new());
        let context = Context { cancel: cancel.clone(), ..context };
        let calling = async {
            let error = call(&provider, "llm/chat", params, context).await.expect_err("cancelled");
            assert_eq!(error.code, ErrorCode::TaskCancelled);
        };
        let cancelling = async {
            until("it writes", || server.open() == 1).await;
            cancel.cancel();
        };
        tokio::join!(calling, cancelling);
        until("the server has noticed", || (server.open(), server.abandoned()) == (0, 2)).await;
    }
}

/// A port that nobody listens on.
fn closed_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

#[tokio::test]
async fn where_nobody_listens_health_and_call_say_so() {
    let url = format!("http://localhost:{}", closed_port());
    for api in BOTH {
        let provider = built(api, &url, "", &[]);
        let said = match api {
            Api::Ollama => format!("Ollama is not reachable at {url}; start it with `ollama serve`"),
            Api::OpenAi => format!("no server is reachable at {url}: connection refused"),
        };
        let health = provider.health().await;
        assert_eq!((health.state, health.reason.as_deref()), (HealthState::Unhealthy, Some(said.as_str())));
        let error = fails(&provider, "llama3.2").await;
        assert_eq!((error.code, error.retryable, error.message), (ErrorCode::ProviderUnhealthy, true, said));
    }
}

#[tokio::test]
async fn a_request_that_reached_nobody_is_sent_again_as_often_as_allowed() {
    let port = closed_port();
    let more = format!("connection: {{base_url: \"http://127.0.0.1:{port}\", retries: 8}}");
    let provider = built(Api::Ollama, "", &more, &[]);
    let answering = chat(&provider, json!({"prompt": "x"}));
    let starting = async {
        tokio::task::yield_now().await;
        tokio::task::spawn_blocking(move || LlmServer::start_with(port, None)).await.expect("started")
    };
    let (answer, server) = tokio::join!(answering, starting);
    answer.expect("an answer");
    assert_eq!(server.asked().len(), 1);
    drop(server);
    let more = format!("connection: {{base_url: \"http://127.0.0.1:{port}\", retries: 2}}");
    let started = Instant::now();
    fails(&built(Api::Ollama, "", &more, &[]), "llama3.2").await;
    assert!(started.elapsed() >= Duration::from_millis(300), "two pauses");
}

#[tokio::test]
async fn a_proxy_is_used_but_not_for_this_machine() {
    // A proxy gets the same requests with the whole address in them, so the server can play one.
    let proxy = LlmServer::start();
    let url: &'static str = Box::leak(proxy.url().into_boxed_str());
    let built = |base_url: &str, no_proxy: &'static str| {
        let variables: &'static [(&str, &str)] = Box::leak(Box::new([("http_proxy", url), ("NO_PROXY", no_proxy)]));
        built(Api::Ollama, base_url, "", variables)
    };
    let answer = chat(&built("http://192.0.2.1:11434", "other.example"), json!({"prompt": "x"})).await;
    assert_eq!(answer.expect("an answer")["response"], "You said: x");
    let here = format!("http://127.0.0.1:{}", closed_port());
    let error = fails(&built(&here, "other.example"), "llama3.2").await;
    assert!(error.message.contains("is not reachable"), "{error:?}");
    assert_eq!(proxy.asked().len(), 1);
}

#[tokio::test]
async fn what_is_no_tls_is_not_taken_for_it() {
    let server = LlmServer::start();
    for api in BOTH {
        let url = url(api, &server).replace("http://", "https://");
        let reason = built(api, &url, "", &[]).health().await.reason.expect("unhealthy");
        assert!(reason.contains(&url) && reason.contains("reachable"), "{reason}");
    }
    assert_eq!(server.asked().len(), 0);
}

#[tokio::test]
async fn health_follows_the_server() {
    let server = LlmServer::start();
    for api in BOTH {
        assert_eq!(provider(api, &server, "").health().await, Health::default());
        let elsewhere = built(api, &format!("{}/elsewhere", server.url()), "", &[]).health().await;
        assert_eq!(elsewhere.state == HealthState::Healthy, api == Api::OpenAi, "{elsewhere:?}");
        let own = format!("connection: {{base_url: \"{}\", health_check: {{path: /nothing}}}}", server.url());
        let reason = built(api, "", &own, &[]).health().await.reason.expect("no such path");
        assert!(reason.contains("GET /nothing with 404"), "{reason}");
        let off = format!("connection: {{base_url: \"http://127.0.0.1:{}\", health_check: false}}", closed_port());
        assert_eq!(built(api, "", &off, &[]).health().await, Health::default());
    }
}

#[tokio::test]
async fn a_secret_is_sent_and_never_shown() {
    let key = "sk-very-secret";
    let server = LlmServer::start_with(0, Some(key.to_owned()));
    let authentication = "authentication: {type: bearer, env: MODELS_KEY}";
    for api in BOTH {
        let right = built(api, &url(api, &server), authentication, &[("MODELS_KEY", "sk-very-secret")]);
        assert_eq!(right.health().await, Health::default());
        chat(&right, json!({"prompt": "x"})).await.expect("an answer");
        assert_eq!(server.asked().pop().expect("asked").authorization.as_deref(), Some("Bearer sk-very-secret"));

        let wrong = built(api, &url(api, &server), authentication, &[("MODELS_KEY", "sk-wrong")]);
        let error = fails(&wrong, "llama3.2").await;
        assert!(!error.retryable && error.message.contains("environment variable MODELS_KEY (401"), "{error:?}");
        let reason = wrong.health().await.reason.expect("unhealthy");
        for said in [format!("{error:?}"), reason.clone()] {
            assert!(!said.contains("sk-wrong"), "{said}");
        }
        assert!(reason.contains("environment variable MODELS_KEY"), "{reason}");

        let unset = built(api, &url(api, &server), authentication, &[]);
        let reason = unset.health().await.reason.expect("unhealthy");
        assert_eq!(reason, "the environment variable MODELS_KEY is not set");
        let optional = "authentication: {type: bearer, env: MODELS_KEY, optional: true}";
        let without = built(api, &url(api, &server), optional, &[]);
        let said = if api == Api::Ollama { "`ollama signin`" } else { "asks for a secret" };
        assert!(fails(&without, "llama3.2").await.message.contains(said));
    }
    assert!(server.asked().iter().all(|asked| asked.authorization.as_deref() != Some("Bearer ")));
}

#[tokio::test]
async fn the_shipped_providers_go_nowhere_unasked() {
    let shipped = |name: &str| {
        let definition = crate::definition::shipped().into_iter().find(|it| it.name == name).expect("shipped");
        let settings = Settings::from_env(|name| (name == "OPENAI_API_KEY").then(|| "sk-at-hand".into()));
        Factory::build(&definition, &Registry::shipped(), &settings).expect("builds")
    };
    let reason = shipped("openai").health().await.reason.expect("unhealthy");
    assert!(reason.contains("OPENAI_BASE_URL") && !reason.contains("sk-at-hand"), "{reason}");
    let ollama = shipped("ollama").definition().connection.clone().expect("a connection");
    assert_eq!(ollama.base_url, crate::connection::BaseUrl::Fixed("http://localhost:11434".to_owned()));
}

#[test]
fn wrong_options_are_named_with_their_places() {
    let text = "name: x\nprotocol: llm/v1\nexecutor: ollama-llm\nconnection: {base_url: http://localhost:1}\noptions:\n  \
                max_response_bytes: 999999999\n  max_tokens_field: max_tokens\n  models: {a: 1}\n";
    let problems = Definition::parse("x.yaml", text).expect_err("three problems");
    assert_eq!(problems.iter().map(|problem| problem.place.line).collect::<Vec<_>>(), [6, 7, 8], "{problems:#?}");
}
