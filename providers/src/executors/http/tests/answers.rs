//! Tests of how the bodies and headers that servers send appear in results.

use std::io::Write as _;

use axum::body::Body;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// Serves the same answer repeatedly; stops when dropped.
struct Fixed {
    url: String,
    task: JoinHandle<()>,
}

impl Fixed {
    async fn start(status: u16, headers: &[(&'static str, &[u8])], body: Vec<u8>) -> Self {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, axum::http::HeaderValue::from_bytes(value).expect("a value")))
            .collect();
        let app = Router::new().fallback(any(async move || {
            let mut answer = Response::builder().status(status);
            for (name, value) in &headers {
                answer = answer.header(*name, value);
            }
            answer.body(Body::from(body.clone())).expect("an answer")
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        Self { url, task: tokio::spawn(async move { axum::serve(listener, app).await.expect("served") }) }
    }

    async fn ask(&self) -> Result<Value, CallError> {
        ask(&provider(""), json!({"url": self.url})).await
    }
}

impl Drop for Fixed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answered(content_type: &'static str, body: &[u8]) -> Value {
    let headers = [("content-type", content_type.as_bytes())];
    Fixed::start(200, &headers, body.to_vec()).await.ask().await.expect("answered")
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("ended")
}

#[tokio::test]
async fn json_that_cannot_be_represented_never_fails_the_request_and_names_its_place() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for (body, expected) in [
        ("{\"x\": NaN}", "in `x`: NaN is no JSON; write null or text instead, at byte 6"),
        ("{\"title\": \"Party \\ud83c\"}", "in `title`: \\ud83c is half of a surrogate pair"),
        ("{\"v\": 1e400}", "in `v`: the number 1e400 is too large"),
        ("[123456789012345678901234567890]", "in `[0]`: the whole number 123456789012345678901234567890 does not fit"),
        ("{not json", "at byte 1"),
        ("{} {}", "trailing characters, at byte 3"),
        (&deep(300), "nested deeper than the limit of 128 levels, at byte 127"),
        (&deep(128), "nested deeper than the limit of 128 levels, at byte 127"),
    ] {
        for content_type in ["application/json", "application/problem+json; charset=utf-8"] {
            let answer = answered(content_type, body.as_bytes()).await;
            assert_eq!((&answer["body"], &answer["json"]), (&json!(body), &Value::Null), "{body}");
            assert!(answer["json_error"].as_str().is_some_and(|error| error.contains(expected)), "{answer}");
            assert_eq!(answer["body_error"], Value::Null);
        }
        assert_eq!(answered("text/plain", body.as_bytes()).await["json_error"], Value::Null, "nobody says it is JSON");
    }
    for (body, expected) in [
        (" {\"id\": 9007199254740993, \"d\": 0.1}\n", json!({"id": 9_007_199_254_740_993_u64, "d": 0.1})),
        ("\u{feff}{\"a\": 1}", json!({"a": 1})),
        ("{\"a\": 1, \"a\": 2}", json!({"a": 2})),
        (" \r\n", Value::Null),
        ("", Value::Null),
    ] {
        let answer = answered("application/json", body.as_bytes()).await;
        assert_eq!((&answer["json"], &answer["json_error"]), (&expected, &Value::Null), "{body}");
        assert_eq!(answer["body"], body.trim_start_matches('\u{feff}'));
    }
    let most = answered("application/json", deep(127).as_bytes()).await;
    assert_eq!((&most["json_error"], most["json"].is_array()), (&Value::Null, true));
    let none = Fixed::start(204, &[("content-type", b"application/json")], Vec::new()).await.ask().await;
    let none = none.expect("answered");
    assert_eq!((&none["status"], &none["json"], &none["json_error"]), (&json!(204), &Value::Null, &Value::Null));
}

#[tokio::test]
async fn bodies_are_read_in_the_charset_they_declare() {
    let answer = answered("application/json;charset=ISO-8859-15", b"{\"name\":\"Zo\xeb costs 5 \xa4\"}").await;
    assert_eq!(answer["json"], json!({"name": "Zoë costs 5 €"}));
    let answer = answered("text/plain; charset=windows-1252", b"\x93quoted\x94 \x96 5 \x80").await;
    assert_eq!((&answer["body"], &answer["body_base64"]), (&json!("“quoted” – 5 €"), &Value::Null));
    let answer = answered("application/json; charset=utf-8", b"{\"name\":\"Zo\xeb\"}").await;
    assert_eq!((&answer["body"], &answer["json"]), (&json!("{\"name\":\"Zo\u{fffd}\"}"), &Value::Null));
    assert_eq!(answer["body_base64"], "eyJuYW1lIjoiWm/rIn0=");
    assert_eq!(answer["json_error"], "the body is not entirely text");
    assert!(
        answer["body_error"]
            .as_str()
            .is_some_and(|error| error.contains("not wholly UTF-8") && error.contains("at 11;"))
    );
    let answer = answered("text/plain; charset=klingon", "Zoë".as_bytes()).await;
    assert_eq!(answer["body"], "Zoë");
    assert!(answer["body_error"].as_str().is_some_and(|error| error.contains("`klingon`")), "{answer}");
}

#[tokio::test]
async fn compressed_answers_are_decompressed_even_if_not_requested() {
    let body = gzipped(b"{\"a\": 1}");
    for (codings, body) in
        [(&b"gzip"[..], body.clone()), (b"x-gzip, identity", body.clone()), (b"gzip, gzip", gzipped(&body))]
    {
        let headers = [("content-type", &b"application/json"[..]), ("content-encoding", codings)];
        let server = Fixed::start(200, &headers, body).await;
        assert_eq!(server.ask().await.expect("answered")["json"], json!({"a": 1}));
        let answer = ask(&provider(""), json!({"url": server.url, "method": "HEAD"})).await.expect("answered");
        assert_eq!((&answer["body"], &answer["json"]), (&json!(""), &Value::Null));
    }
    let server = Fixed::start(200, &[("content-encoding", b"gzip")], gzipped(&vec![0; 100_000_000])).await;
    let error = server.ask().await.expect_err("a bomb");
    assert_eq!((error.code, error.retryable), (ErrorCode::TaskResultInvalid, false));
    assert!(error.message.contains("more than the 262144 bytes of `max_response_bytes`"), "{error:?}");
    let server = Fixed::start(200, &[("content-encoding", b"gzip, compress")], b"packed".to_vec()).await;
    let error = server.ask().await.expect_err("nobody can read it");
    assert_eq!(error.code, ErrorCode::TaskResultInvalid);
    assert!(
        error.message.contains("cannot be read: its content-encoding `compress` is not supported; request one of"),
        "{error:?}"
    );
    assert_eq!((&error.data["body"], &error.data["body_base64"]), (&json!(""), &json!("cGFja2Vk")));
    let server = Fixed::start(200, &[("content-encoding", b"gzip")], b"<html>plain".to_vec()).await;
    let error = server.ask().await.expect_err("it is none");
    assert!(error.message.contains("its content-encoding is gzip, but its bytes are not"), "{error:?}");
    let server = Fixed::start(200, &[("content-encoding", b"compress")], Vec::new()).await;
    assert_eq!(server.ask().await.expect("there is nothing to unpack")["body"], "");
}

#[tokio::test]
async fn accept_encoding_is_sent_unless_the_task_sets_it() {
    let (server, provider) = (Server::start().await, provider(""));
    for headers in [json!({}), json!({"Accept-Encoding": "identity"}), json!({"Range": "bytes=0-1"})] {
        ask(&provider, json!({"url": server.url("/echo"), "headers": headers})).await.expect("answered");
    }
    let said: Vec<_> = server.seen().into_iter().map(|seen| seen.2.get("accept-encoding").cloned()).collect();
    let said: Vec<Option<&[u8]>> = said.iter().map(|value| value.as_ref().map(|value| value.as_bytes())).collect();
    assert_eq!(said, [Some(&b"gzip, deflate, br, zstd"[..]), Some(b"identity"), None]);
}

#[tokio::test]
async fn all_kinds_of_headers_are_returned() {
    let headers = [
        ("set-cookie", &b"a=1; Expires=Sun, 06 Nov 1994 08:49:37 GMT"[..]),
        ("set-cookie", b"b=2; Path=/"),
        ("x-many", b"1"),
        ("x-many", b"2"),
        ("content-disposition", b"attachment; filename=Zo\xeb"),
        ("x-utf8", "Zoë".as_bytes()),
    ];
    let answer = Fixed::start(200, &headers, b"ok".to_vec()).await.ask().await.expect("answered");
    let headers = &answer["headers"];
    assert_eq!(headers["set-cookie"], "a=1; Expires=Sun, 06 Nov 1994 08:49:37 GMT\nb=2; Path=/");
    assert_eq!((&headers["x-many"], &headers["x-utf8"]), (&json!("1, 2"), &json!("Zoë")));
    assert_eq!(headers["content-disposition"], "attachment; filename=Zoë");
    assert_eq!(answer["body"], "ok");
    // A redirect to an address that is not escaped.
    let other = Server::start().await;
    let to = format!("{}é", other.url("/echo/"));
    let server = Fixed::start(302, &[("location", to.as_bytes())], Vec::new()).await;
    assert_eq!(server.ask().await.expect("followed")["url"], json!(other.url("/echo/%C3%A9")));
}

#[tokio::test]
async fn every_error_of_an_answer_keeps_the_start_of_its_body() {
    let long = "é".repeat(5000);
    for (headers, body) in [
        (vec![("content-type", &b"text/plain"[..])], long.clone().into_bytes()),
        (vec![("content-type", &b"text/plain"[..]), ("content-encoding", b"gzip")], gzipped(long.as_bytes())),
    ] {
        let error = Fixed::start(404, &headers, body.clone()).await.ask().await.expect_err("refused");
        assert_eq!((&error.data["status"], &error.data["body"]), (&json!(404), &json!("é".repeat(2048))));
    }
    let headers = [("content-type", &b"text/plain; charset=iso-8859-15"[..])];
    let error = Fixed::start(500, &headers, b"5 \xa4".to_vec()).await.ask().await.expect_err("refused");
    assert_eq!(error.data["body"], "5 €");
    let error = Fixed::start(500, &[("content-type", b"image/png")], b"\x89PNG".to_vec()).await.ask().await;
    let data = error.expect_err("refused").data;
    assert_eq!((&data["body"], &data["body_base64"]), (&json!(""), &json!("iVBORw==")));
    let error = Fixed::start(200, &[], vec![b'x'; 500_000]).await.ask().await.expect_err("too large");
    assert_eq!((&error.data["status"], &error.data["body"]), (&json!(200), &json!("x".repeat(4096))));
}

/// Sends the beginning of an answer; then the connection is closed, or kept open if `stays`.
async fn breaks_off(stays: bool) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let task = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        let mut asked = [0; 1024];
        assert!(socket.read(&mut asked).await.expect("asked") > 0);
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nthe start").await.expect("written");
        if stays {
            std::future::pending::<()>().await;
        }
    });
    (url, task)
}

#[tokio::test]
async fn an_interrupted_or_slow_answer_keeps_what_was_received() {
    for stays in [false, true] {
        let (url, task) = breaks_off(stays).await;
        let error = ask(&provider(""), json!({"url": url, "timeout": 2})).await.expect_err("not whole");
        assert_eq!((&error.data["status"], &error.data["body"]), (&json!(200), &json!("the start")), "{error:?}");
        assert_eq!(error.code == ErrorCode::TaskTimeout, stays, "{error:?}");
        task.abort();
    }
}

#[tokio::test]
async fn a_secret_does_not_come_back_in_any_charset_or_coding() {
    for (headers, body) in [
        (vec![("content-encoding", &b"gzip"[..])], gzipped(b"it is sekret123")),
        (
            vec![("content-type", &b"text/plain; charset=utf-16le"[..])],
            "it is sekret123".encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ),
    ] {
        for status in [200, 500] {
            let server = Fixed::start(status, &headers, body.clone()).await;
            let text =
                format!("connection: {{base_url: '{}'}}\nauthentication: {{type: bearer, env: KEY}}\n", server.url);
            let provider = try_provider(&text, &[("KEY", "sekret123")]).expect("builds");
            let body = match ask(&provider, json!({"url": "/"})).await {
                Ok(answer) => answer["body"].clone(),
                Err(error) => error.data["body"].clone(),
            };
            assert_eq!(body, "it is ***", "{status}");
        }
    }
}
