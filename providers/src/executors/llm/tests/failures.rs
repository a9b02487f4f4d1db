//! Tests of failures: servers that refuse, break off, send too much or are not there, and calls that end early.

use std::time::Duration;

use gleitzeit_mesh::wire::HealthState;

use super::*;

#[tokio::test]
async fn retry_after_is_respected() {
    let server = LlmServer::start();
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for api in BOTH {
        let provider = provider(api, &server, "");
        for (model, code, after) in [
            ("limited", ErrorCode::RateLimitExceeded, seconds(7)),
            ("limited-without-delay", ErrorCode::RateLimitExceeded, None),
            ("busy", ErrorCode::ProviderOverloaded, seconds(3)),
            ("loading", ErrorCode::ProviderOverloaded, None),
            ("broken", ErrorCode::TaskExecutionFailed, None),
        ] {
            let error = fails(&provider, model).await;
            assert_eq!((error.code, error.retry_after, error.retryable), (code, after, true), "{model}: {error:?}");
        }
        assert!(fails(&provider, "loading").await.message.ends_with(": Loading model"));
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
async fn refusals_name_the_remedy_and_are_not_retried() {
    let server = LlmServer::start();
    for api in BOTH {
        let provider = provider(api, &server, "");
        for (model, said) in [
            ("llama9", "does not have the model `llama9`"),
            ("llama9", "`ollama pull llama9`"),
            ("picky", "does not support this"),
            ("moved", "redirects to http://localhost:1/there"),
            ("page", "answers with a web page"),
            ("unable", "does not support this (501 Not Implemented): This server does not support embeddings."),
            ("blind", "load its projector too"),
            ("batched", "cannot take the whole prompt (500 Internal Server Error): input is too large to process."),
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
async fn broken_streams_are_retryable_errors() {
    let server = LlmServer::start();
    for api in BOTH {
        let provider = provider(
            api,
            &server,
            "connection: {base_url: URL, timeout: 300ms}".replace("URL", &url(api, &server)).as_str(),
        );
        for (model, code, said) in [
            ("cut", ErrorCode::TaskExecutionFailed, "aborted its answer"),
            ("garbled", ErrorCode::TaskExecutionFailed, "sent an invalid answer"),
            ("fails", ErrorCode::TaskExecutionFailed, "aborted its answer: "),
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
async fn an_endless_answer_is_not_kept() {
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
            // On a busy machine the time may run out before the server begins.
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

/// A port on which nothing listens.
fn closed_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

#[tokio::test]
async fn an_unreachable_server_is_reported_by_health_and_call() {
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
async fn a_request_that_reached_no_server_is_retried_as_often_as_allowed() {
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
    // A proxy gets the same requests with the full address, so the server can act as one.
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
async fn a_server_without_tls_is_not_accepted_for_https() {
    let server = LlmServer::start();
    for api in BOTH {
        let url = url(api, &server).replace("http://", "https://");
        let reason = built(api, &url, "", &[]).health().await.reason.expect("unhealthy");
        assert!(reason.contains(&url) && reason.contains("reachable"), "{reason}");
    }
    assert_eq!(server.asked().len(), 0);
}

#[tokio::test]
async fn a_server_that_does_not_answer_the_health_check_in_time_is_slow() {
    // The kernel accepts the connection, but nothing answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    for api in BOTH {
        let own = format!("connection: {{base_url: \"{url}\", health_check: {{timeout: 0.2}}}}");
        let health = built(api, "", &own, &[]).health().await;
        assert_eq!((health.state, health.lasting), (HealthState::Slow, false), "{health:?}");
        assert!(health.reason.is_some_and(|reason| reason.ends_with("did not answer within 0.2 s")));
    }
}

#[tokio::test]
async fn health_follows_the_server() {
    let server = LlmServer::start();
    for api in BOTH {
        assert_eq!(provider(api, &server, "").health().await, Health::default());
        let elsewhere = built(api, &format!("{}/elsewhere", server.url()), "", &[]).health().await;
        assert_eq!(elsewhere, Health::default(), "somebody is there, and not everybody knows that path");
        server.load_for(2);
        let loading = provider(api, &server, "").health().await;
        let reason = loading.reason.as_deref().unwrap_or_default();
        assert_eq!((loading.state, loading.lasting), (HealthState::Starting, false));
        assert!(reason.ends_with(" is not ready yet (503 Service Unavailable): Loading model"), "{reason}");
        let error = fails(&provider(api, &server, ""), "llama3.2").await;
        assert_eq!((error.code, error.retryable), (ErrorCode::ProviderOverloaded, true), "{error:?}");
        assert_eq!(provider(api, &server, "").health().await, Health::default());
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
        let health = wrong.health().await;
        assert!(health.lasting, "waiting does not help: {health:?}");
        let reason = health.reason.expect("unhealthy");
        for said in [format!("{error:?}"), reason.clone()] {
            assert!(!said.contains("sk-wrong"), "{said}");
        }
        assert!(reason.contains("environment variable MODELS_KEY"), "{reason}");

        let unset = built(api, &url(api, &server), authentication, &[]);
        let health = unset.health().await;
        assert!(!health.lasting, "a file may be written: {health:?}");
        let reason = health.reason.expect("unhealthy");
        assert_eq!(reason, "the environment variable MODELS_KEY is not set");
        let optional = "authentication: {type: bearer, env: MODELS_KEY, optional: true}";
        let without = built(api, &url(api, &server), optional, &[]);
        let said = if api == Api::Ollama { "`ollama signin`" } else { "requires a secret" };
        assert!(fails(&without, "llama3.2").await.message.contains(said));
    }
    assert!(server.asked().iter().all(|asked| asked.authorization.as_deref() != Some("Bearer ")));
}

#[tokio::test]
async fn the_shipped_providers_connect_only_to_configured_servers() {
    let shipped = |name: &str| {
        let definition = crate::load::shipped().into_iter().find(|it| it.name == name).expect("shipped");
        let settings = Settings::from_env(|name| (name == "OPENAI_API_KEY").then(|| "sk-at-hand".into()));
        Factory::build(&definition, &Registry::shipped(), &settings).expect("builds")
    };
    let reason = shipped("openai").health().await.reason.expect("unhealthy");
    assert!(reason.contains("OPENAI_BASE_URL") && !reason.contains("sk-at-hand"), "{reason}");
    let ollama = shipped("ollama").definition().connection.clone().expect("a connection");
    assert_eq!(ollama.base_url, BaseUrl::Variable("OLLAMA_HOST".to_owned()));
    let settings = Settings::from_env(|_| None);
    assert_eq!(host::resolve(&ollama.base_url, &settings).as_deref(), Ok("http://127.0.0.1:11434"));
}

#[test]
fn wrong_options_are_named_with_their_places() {
    let text = "name: x\nprotocol: llm/v1\nexecutor: ollama-llm\nconnection: {base_url: http://localhost:1}\noptions:\n  \
                max_response_bytes: 999999999\n  max_tokens_field: max_tokens\n  models: {a: 1}\n  \
                check_prompt_tokens: often\n";
    let problems = Definition::parse("x.yaml", text).expect_err("four problems");
    let mut lines: Vec<_> = problems.iter().map(|problem| problem.line).collect();
    lines.sort_unstable();
    assert_eq!(lines, [6, 7, 8, 9].map(Some), "{problems:#?}");
}
