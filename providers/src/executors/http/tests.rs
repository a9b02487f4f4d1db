use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request as Received, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::*;

mod answers;

/// What the server received: method, path with query, headers, body.
type Seen = Arc<Mutex<Vec<(String, String, HeaderMap, String)>>>;

struct Server {
    address: SocketAddr,
    seen: Seen,
    task: JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, seen) = (listener.local_addr().expect("an address"), Seen::default());
        let app = Router::new().fallback(any(answer)).with_state(seen.clone());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("served") });
        Self { address, seen, task }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn seen(&self) -> Vec<(String, String, HeaderMap, String)> {
        self.seen.lock().expect("no panic").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The path determines the answer.
async fn answer(State(seen): State<Seen>, received: Received) -> Response {
    let (parts, body) = received.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
    let path = parts.uri.path().to_owned();
    let text = String::from_utf8_lossy(&body).into_owned();
    let line = (parts.method.to_string(), parts.uri.to_string(), parts.headers.clone(), text.clone());
    seen.lock().expect("no panic").push(line);
    let json = |status: StatusCode, body: Value| {
        (status, [(header::CONTENT_TYPE, "application/json; charset=utf-8")], body.to_string()).into_response()
    };
    let to = |status: StatusCode, location: String| (status, [(header::LOCATION, location)]).into_response();
    let last = path.rsplit('/').next().unwrap_or_default();
    match path.split('/').nth(1).unwrap_or_default() {
        "echo" => json(StatusCode::OK, json!({"method": parts.method.as_str(), "body": text})),
        "status" => {
            let status = StatusCode::from_u16(last.parse().expect("a number")).expect("a status");
            (status, [(header::RETRY_AFTER, "7")], "so it is").into_response()
        }
        "redirect" => {
            let status = StatusCode::from_u16(last.parse().expect("a number")).expect("a status");
            to(status, "/echo".to_owned())
        }
        "to" => to(StatusCode::FOUND, format!("http://{last}/echo")),
        "round" => to(StatusCode::FOUND, "/round".to_owned()),
        "bytes" => Bytes::from_static(&[0xff, 0x00, 0x01]).into_response(),
        "large" => "x".repeat(300_000).into_response(),
        "broken" => (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], "{not json").into_response(),
        "hang" => std::future::pending().await,
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn provider(more: &str) -> crate::Provider {
    try_provider(more, &[]).expect("builds")
}

fn try_provider(more: &str, variables: &'static [(&'static str, &'static str)]) -> Result<crate::Provider, String> {
    let text = format!("name: x\nprotocol: http/v1\nexecutor: http\n{more}");
    let definition = Definition::parse("x.yaml", &text)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let settings =
        Settings::from_env(move |name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()));
    crate::Factory::build(&definition, &gleitzeit_protocols::Registry::shipped(), &settings)
        .map_err(|error| error.to_string())
}

async fn ask(provider: &crate::Provider, params: Value) -> Result<Value, CallError> {
    ask_within(provider, params, Context::default()).await
}

async fn ask_within(provider: &crate::Provider, params: Value, context: Context) -> Result<Value, CallError> {
    let call = Call { method: "http/request".into(), params: Payload::from_value(&params) };
    let answered = timeout(Duration::from_secs(30), provider.call(call, context)).await.expect("in time");
    let answer = answered.map(|payload| payload.to_value().expect("JSON"))?;
    let registry = gleitzeit_protocols::Registry::shipped();
    registry.validate_result("http/request", "v1", &answer).expect("what is promised");
    Ok(answer)
}

#[tokio::test]
async fn a_request_carries_everything_that_was_asked_for() {
    let (server, provider) = (Server::start().await, provider(""));
    let params = json!({
        "url": server.url("/echo?a=1"), "method": "POST", "json": {"n": 1.0, "big": 100000000000000000000001u128.to_string()},
        "headers": {"X-One": "1", "User-Agent": "mine"}, "query": {"q": "a b&c", "tags": ["x", 2], "none": null, "yes": true},
    });
    let answer = ask(&provider, params).await.expect("answered");
    assert_eq!((&answer["status"], &answer["json"]["method"]), (&json!(200), &json!("POST")));
    assert_eq!(answer["headers"]["content-type"], "application/json; charset=utf-8");
    assert!(answer["body"].as_str().is_some_and(|body| body.contains("POST")));
    let (method, uri, headers, body) = server.seen().remove(0);
    assert_eq!((method.as_str(), uri.as_str()), ("POST", "/echo?a=1&q=a+b%26c&tags=x&tags=2&yes=true"));
    assert_eq!((headers["x-one"].as_bytes(), headers["user-agent"].as_bytes()), (&b"1"[..], &b"mine"[..]));
    assert_eq!(headers["content-type"], "application/json");
    assert!(body.contains(r#""n":1.0"#), "numbers are sent as they are: {body}");
}

#[tokio::test]
async fn bodies_are_text_json_or_base64() {
    let (server, provider) = (Server::start().await, provider(""));
    let answer = ask(&provider, json!({"url": server.url("/bytes")})).await.expect("answered");
    assert_eq!((&answer["body"], &answer["body_base64"], &answer["json"]), (&json!(""), &json!("/wAB"), &Value::Null));
    let answer = ask(&provider, json!({"url": server.url("/broken")})).await.expect("answered");
    assert_eq!((&answer["body"], &answer["json"]), (&json!("{not json"), &Value::Null));
    let answer = ask(&provider, json!({"url": server.url("/echo"), "method": "HEAD"})).await.expect("answered");
    assert_eq!((&answer["status"], &answer["body"]), (&json!(200), &json!("")));
}

#[tokio::test]
async fn an_unexpected_status_fails_and_says_whether_it_is_retryable() {
    let (server, provider) = (Server::start().await, provider(""));
    for (status, code, retryable, delay) in [
        (404, ErrorCode::TaskExecutionFailed, false, None),
        (429, ErrorCode::RateLimitExceeded, true, Some(7)),
        (500, ErrorCode::TaskExecutionFailed, true, Some(7)),
        (503, ErrorCode::ProviderOverloaded, true, Some(7)),
    ] {
        let error =
            ask(&provider, json!({"url": server.url(&format!("/status/{status}"))})).await.expect_err("refused");
        assert_eq!((error.code, error.retryable), (code, retryable), "{error:?}");
        assert_eq!(error.retry_after.map(|delay| delay.as_secs()), delay, "{status}");
        assert_eq!((&error.data["status"], &error.data["body"]), (&json!(status), &json!("so it is")));
        assert!(error.message.contains(&status.to_string()) && error.message.contains("expected 200 to 299"));
    }
    let params = json!({"url": server.url("/status/404"), "expected_status": [200, 404]});
    assert_eq!(ask(&provider, params).await.expect("expected")["status"], 404);
    let params = json!({"url": server.url("/echo"), "expected_status": [201]});
    assert!(ask(&provider, params).await.expect_err("200 is not expected").message.contains("expected 201"));
}

#[tokio::test]
async fn redirects_are_followed_as_far_as_allowed_and_change_the_method_as_they_should() {
    let (server, provider) = (Server::start().await, provider(""));
    for (status, method) in [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")] {
        let params = json!({"url": server.url(&format!("/redirect/{status}")), "method": "POST", "body": "text"});
        let answer = ask(&provider, params).await.expect("followed");
        let body = if method == "POST" { "text" } else { "" };
        assert_eq!(answer["json"], json!({"method": method, "body": body}), "{status}");
        assert_eq!(answer["url"], json!(server.url("/echo")));
    }
    let params = json!({"url": server.url("/redirect/302"), "max_redirects": 0});
    assert_eq!(ask(&provider, params).await.expect("an answer")["headers"]["location"], "/echo");
    let error = ask(&provider, json!({"url": server.url("/round"), "max_redirects": 3})).await.expect_err("a circle");
    assert!(error.message.contains("more than 3 redirects") && !error.retryable, "{error:?}");
    assert_eq!(server.seen().iter().filter(|(_, path, ..)| path == "/round").count(), 4);
}

#[tokio::test]
async fn a_secret_is_seen_by_its_own_service_only() {
    let (service, other) = (Server::start().await, Server::start().await);
    let more = format!(
        "connection: {{base_url: '{}'}}\nauthentication: {{type: header, header: X-Key, env: KEY}}\n",
        service.url("")
    );
    let provider = try_provider(&more, &[("KEY", "s3cret")]).expect("builds");
    let path = format!("/to/{}", other.address);
    ask(&provider, json!({"url": path, "headers": {"Authorization": "mine"}})).await.expect("followed");
    ask(&provider, json!({"url": other.url("/echo")})).await.expect("answered");
    assert_eq!(service.seen()[0].2["x-key"], "s3cret");
    assert_eq!(service.seen()[0].2["authorization"], "mine");
    for (_, _, headers, _) in other.seen() {
        assert!(!headers.contains_key("x-key") && !headers.contains_key("authorization"), "{headers:?}");
    }
    ask(&provider, json!({"url": "/echo", "method": "POST", "json": null, "headers": {"X-Key": "mine"}}))
        .await
        .expect("answered");
    let last = service.seen().pop().expect("asked");
    assert_eq!(last.2.get_all("x-key").iter().collect::<Vec<_>>(), ["s3cret"], "the provider's goes before the task's");
    assert_eq!(last.3, "null", "null is a body too");
    let unset = try_provider(&more, &[]).expect("builds");
    assert!(unset.health().await.reason.is_some_and(|reason| reason.contains("KEY is not set")));
    let error = ask(&unset, json!({"url": "/echo"})).await.expect_err("no secret");
    assert_eq!(error.code, ErrorCode::ProviderUnhealthy);
}

#[tokio::test]
async fn private_addresses_can_be_refused_also_behind_names_and_redirects() {
    let server = Server::start().await;
    let provider = provider("options: {refuse_private_addresses: true}\n");
    assert_eq!(provider.capabilities(), ["addresses:public"]);
    let named = format!("http://localhost:{}/echo", server.address.port());
    for url in [server.url("/echo"), named, format!("http://[::ffff:7f00:1]:{}/echo", server.address.port())] {
        let error = ask(&provider, json!({"url": url})).await.expect_err("private");
        assert!(error.message.contains("is a private address") && !error.retryable, "{error:?}");
    }
    assert!(server.seen().is_empty(), "nothing was sent");
}

#[tokio::test]
async fn a_large_answer_is_an_error_that_names_the_limit() {
    let (server, provider) = (Server::start().await, provider("options: {max_response_bytes: 200000}\n"));
    let error = ask(&provider, json!({"url": server.url("/large")})).await.expect_err("too large");
    assert_eq!((error.code, error.retryable), (ErrorCode::TaskResultInvalid, false));
    assert!(error.message.contains("200000 bytes of `max_response_bytes`"), "{error:?}");
}

#[tokio::test]
async fn a_server_that_hangs_is_left_at_the_timeout_and_on_cancel() {
    let (server, provider) = (Server::start().await, provider(""));
    let began = Instant::now();
    let error = ask(&provider, json!({"url": server.url("/hang"), "timeout": 0.05})).await.expect_err("too slow");
    assert_eq!(error.code, ErrorCode::TaskTimeout);
    assert!(error.message.contains("`timeout` of 0.05 s"), "{error:?}");
    let context = Context::default();
    let cancel = context.cancel.clone();
    let before = server.seen().len();
    let (answered, ()) = tokio::join!(ask_within(&provider, json!({"url": server.url("/hang")}), context), async {
        while server.seen().len() == before {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    });
    assert_eq!(answered.expect_err("cancelled").code, ErrorCode::TaskCancelled);
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn an_unreachable_server_is_a_clear_retryable_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let error = ask(&provider(""), json!({"url": format!("http://{address}/secret?key=1")})).await.expect_err("nobody");
    assert_eq!(error.message, format!("http://{address} is not reachable: connection refused"));
    assert!(error.retryable);
}

#[tokio::test]
async fn parameters_that_make_no_request_are_named() {
    let provider = provider("");
    for (params, expected) in [
        (json!({"url": "example.com"}), "is no address"),
        (json!({"url": "ftp://example.com"}), "is not an http or https address"),
        (json!({"url": "/items"}), "has no `base_url`"),
        (json!({"url": "http://me:secret@host"}), "use the `authentication`"),
        (json!({"url": "http://host", "json": 1, "body": "x"}), "keep one"),
        (json!({"url": "http://host", "headers": {"a b": "x"}}), "the name of `a b`"),
        (json!({"url": "http://host", "headers": {"a": "x\ny"}}), "the value of `a`"),
        (json!({"url": "http://host", "headers": {"Content-Length": "1"}}), "is set by the connection"),
        (json!({"url": "http://host", "query": {"a": {"b": 1}}}), "`query`: `a` must be"),
    ] {
        let error = ask(&provider, params.clone()).await.expect_err("no request");
        assert_eq!(error.code, ErrorCode::InvalidParams, "{params}");
        assert!(error.message.contains(expected) && !error.message.contains("secret@"), "{error:?}");
    }
}

#[test]
fn options_and_connection_are_checked() {
    for (more, expected) in [
        ("options: {max_response_byte: 1}\n", "did you mean `max_response_bytes`?"),
        ("options: {max_response_bytes: 0}\n", "at least 1"),
        ("options: {max_response_bytes: 99999999}\n", "is at most"),
        ("options: {refuse_private_addresses: maybe}\n", "expected true or false"),
        ("authentication: {type: bearer, env: KEY}\n", "no server is named that may see the secret"),
    ] {
        let told = try_provider(more, &[]).err().unwrap_or_default();
        assert!(told.contains(expected), "{more}: {told}");
    }
}

#[tokio::test]
async fn a_path_must_be_below_the_address_of_its_service() {
    let server = Server::start().await;
    let provider = provider(&format!("connection: {{base_url: '{}'}}\n", server.url("/echo/mine")));
    for path in ["/../other", "/a/../../../admin", "/%2e%2e/other", "/..\\..\\x"] {
        let error = ask(&provider, json!({"url": path})).await.expect_err(path);
        assert_eq!(error.code, ErrorCode::InvalidParams, "{path}");
        assert!(error.message.contains("is not below the provider's `base_url`"), "{}", error.message);
    }
    assert!(server.seen().is_empty(), "nothing was sent");
    ask(&provider, json!({"url": "/a/../b?c=/../d"})).await.expect("it stays below");
    assert_eq!(server.seen()[0].1, "/echo/mine/b?c=/../d");
}

#[tokio::test]
async fn a_secret_goes_to_its_service_only_and_does_not_come_back() {
    let (server, other) = (Server::start().await, Server::start().await);
    let text =
        format!("connection: {{base_url: '{}'}}\nauthentication: {{type: bearer, env: KEY}}\n", server.url("/mine"));
    let provider = try_provider(&text, &[("KEY", "sekret123")]).expect("builds");
    // Below the service's address, elsewhere on the same server, and on another server.
    ask(&provider, json!({"url": "/status/404", "expected_status": [404]})).await.expect("asked");
    ask(&provider, json!({"url": server.url("/echo")})).await.expect("asked");
    ask(&provider, json!({"url": other.url("/echo")})).await.expect("asked");
    let shown = |server: &Server, at: usize| server.seen()[at].2.get("authorization").cloned();
    assert_eq!(shown(&server, 0).expect("shown").as_bytes(), b"Bearer sekret123");
    assert_eq!((shown(&server, 1), shown(&other, 0)), (None, None));

    // A task's own headers do not leave the server that they were meant for.
    let to = json!({"url": server.url(&format!("/to/{}", other.address)), "headers": {"X-Api-Key": "mine", "Accept": "a/b"}});
    ask(&provider, to).await.expect("asked");
    let headers = &other.seen()[1].2;
    assert_eq!((headers.get("x-api-key"), headers["accept"].as_bytes()), (None, &b"a/b"[..]));

    let provider = try_provider(
        &format!("connection: {{base_url: '{}'}}\nauthentication: {{type: bearer, env: KEY}}\n", server.url("")),
        &[("KEY", "sekret123")],
    )
    .expect("builds");
    let answer =
        ask(&provider, json!({"url": "/echo", "method": "POST", "body": "it is sekret123"})).await.expect("asked");
    assert_eq!(answer["json"]["body"], "it is ***");
    assert!(!answer.to_string().contains("sekret123"), "{answer}");
}

#[tokio::test]
async fn a_service_that_does_not_answer_in_time_is_slow_and_one_that_refuses_is_unhealthy() {
    // The kernel accepts the connection, but nothing answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let text = |port: u16| {
        format!("connection: {{base_url: 'http://127.0.0.1:{port}', health_check: {{path: /echo, timeout: 0.2}}}}\n")
    };
    let health = provider(&text(port)).health().await;
    let reason = health.reason.as_deref().unwrap_or_default();
    assert_eq!(health.state, gleitzeit_mesh::wire::HealthState::Slow, "{health:?}");
    assert!(reason.ends_with("did not answer within 0.2 s"), "{reason}");
    drop(silent);
    let health = provider(&text(port)).health().await;
    assert_eq!(health.state, gleitzeit_mesh::wire::HealthState::Unhealthy, "{health:?}");
}

#[tokio::test]
async fn a_service_at_a_private_address_is_not_healthy_where_those_are_refused() {
    let server = Server::start().await;
    let text = format!(
        "connection: {{base_url: '{}', health_check: {{path: /echo}}}}\noptions: {{refuse_private_addresses: true}}\n",
        server.url("")
    );
    let health = provider(&text).health().await;
    assert!(health.reason.is_some_and(|reason| reason.contains("is a private address")));
    assert!(server.seen().is_empty(), "nothing was sent");
}
