//! Finds out what is at an address after a connection to it failed, by one request on a separate connection.
//!
//! Bounded in time and in how much it reads. It never sends a token, since an unknown server may be listening.

use std::io;
use std::time::Duration;

use gleitzeit_tls::{ConnectError, Connector, Trust};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::cause::Speech;
use crate::config::{Address, LinkConfig, base_url};
use crate::reach::{Found, Lacks};

/// How long a probe may take in all, however many requests it makes.
pub const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// How much of an answer is read; the part that identifies the server is at its start.
const READ_BYTES: usize = 4 * 1024;

/// The beginning of HTTP/2: its preface and an empty SETTINGS frame.
pub const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// An HTTP/1 request for the front page of a host.
pub fn front_page(authority: &str) -> Vec<u8> {
    page(authority, "/")
}

fn page(authority: &str, path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: gleitzeit/{}\r\naccept: */*\r\nconnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    )
    .into_bytes()
}

/// A gRPC call, as far as HTTP/1 can carry one, that asks for the overall health, which everybody may ask for.
fn call(authority: &str) -> Vec<u8> {
    let head = format!(
        "POST /grpc.health.v1.Health/Check HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/grpc\r\nte: trailers\r\n\
         connection: close\r\ncontent-length: 5\r\n\r\n"
    );
    // An empty message: not compressed, no bytes.
    [head.as_bytes(), &[0; 5]].concat()
}

/// A request for a WebSocket as components send it, but without a token; its key is the example of RFC 6455.
fn upgrade(authority: &str) -> Vec<u8> {
    format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: {authority}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

/// Finds out what is at the address of a control plane, which may be written in any form that [`base_url`] accepts. The
/// caller speaks `speech` and could not connect for `reason`, in the connection's own words. If a control plane is
/// found behind a proxy, the answer says what the proxy does not let through.
///
/// # Errors
/// If `url` is not a valid address.
pub async fn look(url: &str, speech: Speech, reason: &str, trust: &Trust) -> Result<Found, String> {
    let address = LinkConfig { url: base_url(url)?, ..LinkConfig::default() }.address()?;
    let end = Instant::now() + PROBE_LIMIT;
    let found = ask_at(&address, &front_page(&address.authority), trust, end).await;
    Ok(match found {
        Found::ControlPlane { proxy, .. } => {
            let lacks = match speech {
                Speech::Grpc => lacks_grpc(&address, reason, trust, end).await,
                Speech::Mesh => lacks_upgrade(&address, trust, end).await,
            };
            Found::ControlPlane { proxy, lacks }
        }
        other => other,
    })
}

async fn ask_at(address: &Address, said: &[u8], trust: &Trust, end: Instant) -> Found {
    match address.is_tls {
        true => probe_tls_until(&address.host, address.port, said, end, trust).await,
        false => probe_until(&address.host, address.port, said, end).await,
    }
}

/// What part of gRPC does not get through, although a page does.
async fn lacks_grpc(address: &Address, reason: &str, trust: &Trust, end: Instant) -> Option<Lacks> {
    if let Found::Refusal(_, text) = ask_at(address, &call(&address.authority), trust, end).await {
        return Some(Lacks::Refused(text));
    }
    let speaks_http2 = match address.is_tls {
        true => {
            let stream = connect(&address.host, address.port, end).await.ok()?;
            match timeout_at(end, Connector::http2(trust).connect(&address.host, stream)).await.ok()? {
                Ok(_) => true,
                Err(ConnectError::Protocol(_)) => false,
                Err(_) => return None,
            }
        }
        false => match probe_until(&address.host, address.port, HTTP2, end).await {
            Found::Http2 => true,
            Found::Http { status, .. } if status < 500 => false,
            _ => return None,
        },
    };
    match speaks_http2 {
        false => Some(Lacks::Http2),
        true => other_answer(reason).filter(|status| *status < 500).map(|_| Lacks::Grpc),
    }
}

/// The status of an HTTP answer that is not gRPC, taken from tonic's message.
fn other_answer(reason: &str) -> Option<u16> {
    let (_, rest) = reason.split_once("HTTP status code ").or_else(|| reason.split_once("response with status: "))?;
    rest.get(..3)?.parse().ok()
}

/// Whether upgrades do not get through, though a page does.
async fn lacks_upgrade(address: &Address, trust: &Trust, end: Instant) -> Option<Lacks> {
    match ask_at(address, &upgrade(&address.authority), trust, end).await {
        Found::Http { status, .. } if status != 101 && status < 500 => Some(Lacks::Upgrade),
        _ => None,
    }
}

/// Asks a control plane whether it is ready, and returns its answer or what was found there instead: any server may
/// answer everything with 200.
///
/// # Errors
/// If `url` is not a valid address.
pub async fn ask_ready(url: &str, trust: &Trust) -> Result<Found, String> {
    let address = LinkConfig { url: base_url(url)?, ..LinkConfig::default() }.address()?;
    let end = Instant::now() + PROBE_LIMIT;
    match ask_at(&address, &front_page(&address.authority), trust, end).await {
        Found::ControlPlane { .. } => Ok(ask_at(&address, &page(&address.authority, "/readyz"), trust, end).await),
        other => Ok(other),
    }
}

/// Sends `said` to a host's port and returns what answers, within `limit`.
pub async fn probe(host: &str, port: u16, said: &[u8], limit: Duration) -> Found {
    probe_until(host, port, said, Instant::now() + limit).await
}

async fn probe_until(host: &str, port: u16, said: &[u8], end: Instant) -> Found {
    match connect(host, port, end).await {
        Ok(stream) => ask(stream, said, end).await,
        Err(found) => found,
    }
}

/// The same over TLS. The handshake may take half of the time, since a server without TLS is then probed without it.
pub async fn probe_tls(host: &str, port: u16, said: &[u8], limit: Duration, trust: &Trust) -> Found {
    probe_tls_until(host, port, said, Instant::now() + limit, trust).await
}

async fn probe_tls_until(host: &str, port: u16, said: &[u8], end: Instant, trust: &Trust) -> Found {
    let stream = match connect(host, port, end).await {
        Ok(stream) => stream,
        Err(found) => return found,
    };
    let now = Instant::now();
    let half = now + end.saturating_duration_since(now) / 2;
    let failure = match timeout_at(half, Connector::http1(trust).connect(host, stream)).await {
        Ok(Ok(stream)) => return ask(stream, said, end).await,
        Ok(Err(failure)) => failure,
        Err(_elapsed) => ConnectError::Io(io::ErrorKind::TimedOut.into()),
    };
    match failure {
        ConnectError::Untrusted(untrusted) => {
            Found::Untrusted { what: untrusted.to_string(), remedy: untrusted.remedy() }
        }
        ConnectError::NotTls => Found::NotTls,
        // We offered HTTP/1, and the server does not speak it.
        ConnectError::Protocol(_) => Found::Http2,
        // A server without TLS may well say nothing to a TLS handshake.
        ConnectError::Io(error) => match probe_until(host, port, said, end).await {
            found @ (Found::Silent | Found::Closed | Found::Tls) if error.kind() != io::ErrorKind::TimedOut => {
                let why = if found == Found::Tls { error.to_string() } else { "the connection ends in it".to_owned() };
                Found::NoHandshake(why)
            }
            Found::Tls => Found::NoHandshake("it takes too long".to_owned()),
            Found::Http { .. } | Found::Http2 | Found::ControlPlane { .. } | Found::Refusal(..) | Found::Other(_) => {
                Found::NotTls
            }
            other => other,
        },
        ConnectError::UnknownHost(_) => Found::UnknownHost,
        ConnectError::ClientCertificate => Found::WantsCertificate,
        other @ (ConnectError::Name(_) | ConnectError::Tls(_)) => Found::NoHandshake(other.to_string()),
    }
}

/// Opens a connection to a host, or returns what was found instead.
async fn connect(host: &str, port: u16, end: Instant) -> Result<TcpStream, Found> {
    let addresses = match timeout_at(end, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(addresses)) => addresses.collect::<Vec<_>>(),
        Ok(Err(error)) => return Err(Found::NoHost(of_lookup(&error))),
        Err(_elapsed) => return Err(Found::NoHost("the name servers do not answer".to_owned())),
    };
    if addresses.is_empty() {
        return Err(Found::NoHost("it has none".to_owned()));
    }
    match timeout_at(end, TcpStream::connect(&addresses[..])).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(of_connect(&error)),
        Err(_elapsed) => Err(Found::NoAnswer),
    }
}

/// Sends a request on a connection and classifies the answer.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, said: &[u8], end: Instant) -> Found {
    // A server that closes while we are still sending may have sent a reason.
    let _ = timeout_at(end, async {
        stream.write_all(said).await?;
        stream.flush().await
    })
    .await;
    let (mut answer, mut ended) = (Vec::with_capacity(READ_BYTES), false);
    while answer.len() < READ_BYTES && !ended && !is_whole(&answer) {
        let mut piece = [0; 1024];
        match timeout_at(end, stream.read(&mut piece)).await {
            Ok(Ok(0) | Err(_)) => ended = true,
            Ok(Ok(read)) => answer.extend_from_slice(&piece[..read]),
            Err(_elapsed) => break,
        }
    }
    Found::of_answer(&answer, ended)
}

/// Whether the answer is complete enough to classify; anything other than HTTP/1 is recognized by its first bytes.
fn is_whole(answer: &[u8]) -> bool {
    /// The size of an HTTP/2 frame header.
    const HEAD: usize = 9;
    if !b"HTTP/1.".starts_with(&answer[..answer.len().min(7)]) {
        return answer.len() >= HEAD;
    }
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    // The bytes after this are no longer HTTP.
    if head.split(' ').nth(1) == Some("101") {
        return true;
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    // Without a length, the body ends when the connection does.
    length.is_some_and(|length| body.len() >= length)
}

/// The system's message, without the prefix that Rust adds.
fn of_lookup(error: &io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
}

fn of_connect(error: &io::Error) -> Found {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Found::Refused,
        io::ErrorKind::TimedOut => Found::NoAnswer,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Found::Closed,
        _ => Found::Unreachable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_once_its_length_is_reached() {
        for (answer, is_it) in [
            (&b""[..], false),
            (b"HTTP", false),
            (b"HTTP/1.1 200 OK\r\n", false),
            (b"HTTP/1.1 200 OK\r\n\r\nx", false),
            (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", true),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx", false),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nxy", true),
            (b"\0\0\0\x04\0\0\0\0", false),
            (b"\0\0\0\x04\0\0\0\0\0", true),
            (b"SSH-2.0-OpenSSH", true),
        ] {
            assert_eq!(is_whole(answer), is_it, "{:?}", String::from_utf8_lossy(answer));
        }
    }

    #[test]
    fn an_answer_that_is_not_grpc_has_a_status() {
        for (reason, status) in [
            ("grpc-status header missing, mapped from HTTP status code 404", Some(404)),
            ("invalid compression flag: 65 (…) while receiving response with status: 403 Forbidden", Some(403)),
            ("HTTP status code", None),
            ("http2 error", None),
        ] {
            assert_eq!(other_answer(reason), status, "{reason}");
        }
    }

    #[tokio::test]
    async fn a_closed_port_and_an_unknown_host_are_distinguished() {
        let look = async |url: String| look(&url, Speech::Grpc, "", &Trust::default()).await;
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        assert_eq!(look(format!("127.0.0.1:{free}")).await, Ok(Found::Refused));
        // A label of 64 characters is not a valid host name, so no name server is asked.
        let found = look(format!("http://{}:1", "x".repeat(64))).await;
        assert!(matches!(&found, Ok(Found::NoHost(why)) if !why.is_empty()), "{found:?}");
        assert!(look("ftp://x".to_owned()).await.is_err());
    }

    #[tokio::test]
    async fn the_time_limit_covers_all_requests_to_a_silent_server() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = silent.local_addr().expect("an address").port();
        let (begun, limit) = (Instant::now(), Duration::from_millis(500));
        assert_eq!(probe_tls("127.0.0.1", port, HTTP2, limit, &Trust::default()).await, Found::Silent);
        assert!(begun.elapsed() < limit * 9 / 5, "{:?}", begun.elapsed());
    }
}
