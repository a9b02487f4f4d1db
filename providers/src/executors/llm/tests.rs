//! Tests of the executors against a server that speaks both APIs.

use std::sync::LazyLock;

use gleitzeit_llm_server::LlmServer;
use gleitzeit_protocols::Registry;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::factory::Factory;
use crate::provider::Provider;

mod failures;
mod odd;

const BOTH: [Api; 2] = [Api::Ollama, Api::OpenAi];

/// A PNG of 2 x 3 pixels, valid as far as anyone checks.
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

/// Calls as a host does: checks the parameters and fills in defaults; also checks the result against its schema.
async fn call(provider: &Provider, method: &str, mut params: Value, context: Context) -> Result<Value, CallError> {
    static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::shipped);
    let registry = &*REGISTRY;
    registry.fill_defaults(method, "v1", &mut params);
    assert_eq!(registry.validate_parameters(method, "v1", &params), Ok(()));
    let call = Call { method: method.into(), params: Payload::from_value(&params) };
    let result = provider.call(call, context).await?.to_value().expect("JSON");
    assert_eq!(registry.validate_result(method, "v1", &result), Ok(()), "{result:#}");
    Ok(result)
}

async fn chat(provider: &Provider, params: Value) -> Result<Value, CallError> {
    call(provider, "llm/chat", params, Context::default()).await
}

/// Calls a model that misbehaves and returns the error.
async fn fails(provider: &Provider, model: &str) -> CallError {
    let answered = chat(provider, json!({"model": model, "prompt": "one two three"})).await;
    answered.expect_err("this model does not answer")
}

#[tokio::test]
async fn both_servers_take_the_same_parameters_and_answer_in_the_same_shape() {
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
        for wrong in [json!({"extra": {"stream": false}}), json!({"format": {"type": "nothing"}})] {
            let mut params = wrong.clone();
            params["prompt"] = json!("x");
            let refused = chat(&provider, params).await.expect_err("refused");
            assert_eq!((refused.code, refused.retryable), (ErrorCode::InvalidParams, false), "{wrong}");
        }
    }
    for (api, name) in [(Api::Ollama, "options"), (Api::OpenAi, "max_tokens")] {
        let provider = provider(api, &server, "");
        let short = json!({"prompt": "x", "temperature": 0.1, "max_tokens": 5, "options": {"num_predict": 6}});
        chat(&provider, short).await.expect("an answer");
        let body = server.asked().pop().expect("asked").body;
        let expected = if api == Api::Ollama { json!({"temperature": 0.1, "num_predict": 5}) } else { json!(5) };
        assert_eq!(body[name], expected);
        chat(&provider, json!({"prompt": "x", "options": {"num_predict": -1, "num_gpu": 0}})).await.expect("an answer");
        let body = server.asked().pop().expect("asked").body;
        let expected = if api == Api::Ollama { json!({"num_gpu": 0, "num_predict": -1}) } else { json!(null) };
        assert_eq!(body[name], expected);
    }
    let newer = provider(Api::OpenAi, &server, "options: {max_tokens_field: max_completion_tokens}");
    chat(&newer, json!({"prompt": "x", "options": {"max_tokens": 9}})).await.expect("an answer");
    assert_eq!(server.asked().pop().expect("asked").body["max_completion_tokens"], 9);
}

#[tokio::test]
async fn images_arrive_unchanged() {
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
        assert!(error.message.starts_with("`images[1]` is not a PNG"), "{error:?}");
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
            let piece = piece.to_value().expect("JSON");
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
        assert_eq!(receiver.recv().await.expect("shown").to_value().expect("JSON"), json!({"text": "You said: hello"}));
    }
}
