//! Tests of answers that do not count: without text, for a cut prompt, or from busy, old or hostile servers.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn an_answer_without_text_is_not_a_success() {
    let server = LlmServer::start();
    for api in BOTH {
        let provider = provider(api, &server, "");
        for (model, said, retryable) in [
            ("thinker", "it only returned thoughts, 11 bytes; switch thinking off", true),
            ("empty", "returned no text; it ended with `stop`", true),
            ("full", "raise `max_tokens`, and `num_ctx`", true),
            ("caller", "it called `now`, a tool that was not offered", true),
            ("filtered", "blocked by the server's content filter", false),
        ] {
            for method in ["llm/chat", "llm/complete"] {
                let params = json!({"model": model, "prompt": "one two three"});
                let error = call(&provider, method, params, Context::default()).await.expect_err(model);
                assert_eq!((error.code, error.retryable), (ErrorCode::TaskExecutionFailed, retryable), "{error:?}");
                assert!(error.message.contains(said), "{model}: {error:?}");
            }
        }
        assert_eq!(fails(&provider, "thinker").await.data["thinking"], "Let me see.");
        assert_eq!(fails(&provider, "filtered").await.data["response"], "You ");
        assert_eq!(fails(&provider, "caller").await.data["tool_calls"][0]["name"], "now");
        let format = json!({"model": "empty", "prompt": "x", "format": "json"});
        let error = chat(&provider, format).await.expect_err("empty");
        assert!(error.message.contains("the answer is empty"), "{error:?}");
    }
    let refused = fails(&provider(Api::OpenAi, &server, ""), "refuser").await;
    assert!(
        !refused.retryable && refused.message.ends_with("refuses to answer: I cannot help with that."),
        "{refused:?}"
    );
    assert_eq!(refused.data["refusal"], "I cannot help with that.");
    let load = json!({"model": "empty", "prompt": "", "keep_alive": "10m"});
    let loaded = call(&provider(Api::Ollama, &server, ""), "llm/complete", load, Context::default()).await;
    assert_eq!(loaded.expect("no text was asked for")["done_reason"], "load");
}

#[tokio::test]
async fn thoughts_are_kept_beside_the_text_and_not_shown_as_it() {
    let server = LlmServer::start();
    for api in BOTH {
        let provider = provider(api, &server, "");
        for method in ["llm/chat", "llm/complete"] {
            let (sender, mut receiver) = mpsc::channel(100);
            let context = Context { progress: Some(sender), ..Context::default() };
            let params = json!({"model": "thinks", "prompt": "hello"});
            let answer = call(&provider, method, params, context).await.expect("an answer");
            assert_eq!((&answer["response"], &answer["thinking"]), (&json!("You said: hello"), &json!("Let me see.")));
            let mut shown = String::new();
            while let Some(piece) = receiver.recv().await {
                shown.push_str(piece.to_value().expect("JSON")["text"].as_str().expect("text"));
            }
            assert_eq!(shown, "You said: hello");
        }
        for model in ["tagged", "fenced"] {
            let answer = chat(&provider, json!({"model": model, "prompt": "hello", "format": "json"})).await;
            assert_eq!(answer.expect("an answer")["json"], json!({"said": "You said: hello"}), "{model}");
        }
        let small = self::provider(api, &server, "options: {max_response_bytes: 10}");
        let error = fails(&small, "thinker").await;
        assert_eq!(error.code, ErrorCode::TaskResultInvalid, "thoughts count: {error:?}");
    }
}

#[tokio::test]
async fn tools_that_the_task_offers_may_be_called() {
    let server = LlmServer::start();
    for api in BOTH {
        let tools = json!([{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}]);
        let params = json!({"model": "caller", "prompt": "what time is it?", "extra": {"tools": tools}});
        let answer = chat(&provider(api, &server, ""), params).await.expect("a call");
        assert_eq!((&answer["response"], &answer["tool_calls"][0]["name"]), (&json!(""), &json!("now")));
        assert_eq!(answer["tool_calls"][0]["arguments"], json!({}));
    }
}

/// More words than the contexts of the test server hold.
fn long() -> String {
    "filler ".repeat(20_000)
}

#[tokio::test]
async fn no_prompt_is_cut_silently() {
    let server = LlmServer::start();
    for api in BOTH {
        let provider = provider(api, &server, "");
        for method in ["llm/chat", "llm/complete"] {
            let ask = |model: &str, extra: Value| {
                let params = json!({"model": model, "prompt": long(), "extra": extra});
                call(&provider, method, params, Context::default())
            };
            let refused = ask("narrow", json!({})).await.expect_err("too long");
            assert_eq!((refused.code, refused.retryable), (ErrorCode::TaskExecutionFailed, false), "{refused:?}");
            assert!(refused.message.contains("cannot take the whole prompt (400 Bad Request): "), "{refused:?}");
            let remedy = if api == Api::Ollama { "`num_ctx`" } else { "a larger context" };
            assert!(refused.message.contains(remedy), "{refused:?}");
            // A server that ignores these fields.
            let cut = ask("cutter", json!({})).await.expect_err("cut");
            assert!(!cut.retryable && cut.message.contains("read 512 tokens"), "{cut:?}");
            assert!(cut.message.contains("20000 words in 140000 bytes") && cut.message.contains(remedy), "{cut:?}");
        }
        let trusting = self::provider(api, &server, "options: {check_prompt_tokens: false}");
        chat(&trusting, json!({"model": "cutter", "prompt": long()})).await.expect("as the provider wants it");
        let texts = json!({"model": "narrow", "input": [long(), "b"]});
        let refused = call(&provider, "llm/embed", texts, Context::default()).await.expect_err("too long");
        assert!(!refused.retryable && refused.message.contains("cannot take the whole prompt"), "{refused:?}");
    }
    let provider = provider(Api::Ollama, &server, "");
    let allowed = json!({"model": "narrow", "prompt": long(), "extra": {"truncate": true}});
    let answer = chat(&provider, allowed).await.expect("it may be cut");
    assert_eq!(answer["usage"]["prompt_tokens"], 512);
    let fields = |body: &Value| (body["truncate"].clone(), body["shift"].clone());
    for (params, expected) in [
        (json!({}), (json!(false), json!(false))),
        (json!({"extra": {"truncate": true}}), (json!(true), json!(false))),
        (json!({"extra": {"shift": true}}), (json!(false), json!(true))),
        (json!({"options": {"num_keep": 5}}), (json!(false), json!(null))),
    ] {
        for method in ["llm/chat", "llm/complete"] {
            let mut params = params.clone();
            params["prompt"] = json!("x");
            call(&provider, method, params, Context::default()).await.expect("an answer");
            assert_eq!(fields(&server.asked().pop().expect("asked").body), expected);
        }
    }
    call(&provider, "llm/embed", json!({"input": "x"}), Context::default()).await.expect("vectors");
    assert_eq!(fields(&server.asked().pop().expect("asked").body), (json!(false), json!(null)));
}

#[tokio::test]
async fn servers_that_know_fewer_fields_still_work() {
    let server = LlmServer::start();
    let provider = provider(Api::Ollama, &server, "");
    for method in ["llm/chat", "llm/complete"] {
        let params = json!({"model": "strict", "prompt": "hello"});
        let answer = call(&provider, method, params, Context::default()).await.expect("an answer");
        assert_eq!(answer["response"], "You said: hello");
    }
    let embedded = call(&provider, "llm/embed", json!({"model": "strict", "input": "a"}), Context::default()).await;
    assert_eq!(embedded.expect("vectors")["embeddings"], json!([[1, 12.125, -0.5]]));
    assert_eq!(server.asked().len(), 6, "once with them, once without");
    let own = json!({"model": "strict", "prompt": "x", "extra": {"truncate": true}});
    let error = chat(&provider, own).await.expect_err("what the task wants is not left out");
    assert!(error.message.contains("unknown field \"truncate\""), "{error:?}");
}

#[tokio::test]
async fn a_call_that_waits_for_its_turn_is_not_silent() {
    let server = LlmServer::start();
    for api in BOTH {
        let connection = format!("connection: {{base_url: \"{}\", timeout: 400ms}}", url(api, &server));
        let provider = built(api, "", &connection, &[]);
        let params = json!({"model": "queued", "prompt": "one two three four five six seven eight nine ten"});
        let started = Instant::now();
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (provider, params) = (provider.clone(), params.clone());
            calls.spawn(async move { chat(&provider, params).await });
        }
        for answer in calls.join_all().await {
            answer.expect("each has its turn");
        }
        assert!(started.elapsed() > Duration::from_secs(1), "the last one waits longer than the timeout");
        // Once no call receives anything any more, the silence counts for all of them.
        let (silent, other) = tokio::join!(fails(&provider, "silent"), fails(&provider, "silent"));
        for error in [silent, other] {
            assert_eq!((error.code, error.retryable), (ErrorCode::ProviderTimeout, true), "{error:?}");
            assert!(error.message.contains("sent nothing for 0.4 s, to this call or another"), "{error:?}");
        }
    }
}

#[tokio::test]
async fn measurements_of_a_server_are_read() {
    let server = LlmServer::start();
    let answer = chat(&provider(Api::OpenAi, &server, ""), json!({"model": "timed", "prompt": "one two"})).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer["usage"], json!({"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}));
    assert_eq!((&answer["prompt_eval_duration_ms"], &answer["eval_duration_ms"]), (&json!(2.5), &json!(6.0)));
}

#[tokio::test]
async fn hostile_answers_are_errors_with_a_place() {
    let server = LlmServer::start();
    for api in BOTH {
        let provider = provider(api, &server, "");
        for (model, said) in [
            ("deep", "nested deeper than the limit of 128 levels"),
            ("surrogate", "\\ud83d is half of a surrogate pair"),
            ("miscounted", "expected a whole number from 0, found the number -1"),
        ] {
            let error = fails(&provider, model).await;
            assert_eq!(error.code, ErrorCode::TaskExecutionFailed, "{error:?}");
            assert!(error.message.contains("sent an invalid answer: ") && error.message.contains(said), "{error:?}");
        }
    }
}

#[tokio::test]
async fn keep_alive_as_text_is_the_same_as_a_number() {
    let server = LlmServer::start();
    let provider = provider(Api::Ollama, &server, "");
    for (given, sent) in [
        (json!(-1), json!(-1)),
        (json!(0), json!(0)),
        (json!("5m"), json!("5m")),
        (json!("-1"), json!(-1)),
        (json!("300"), json!(300)),
    ] {
        chat(&provider, json!({"prompt": "hi", "keep_alive": given})).await.expect("an answer");
        assert_eq!(server.asked().pop().expect("asked").body["keep_alive"], sent);
    }
    for wrong in ["1d", "forever", ""] {
        let registry = Registry::shipped();
        let found = registry.validate_parameters("llm/chat", "v1", &json!({"prompt": "hi", "keep_alive": wrong}));
        assert!(found.is_err(), "{wrong} is found before anything runs");
    }
}
