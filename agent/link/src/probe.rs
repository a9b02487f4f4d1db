//! Looks what is at an address, after something could not be reached there: one request on a connection of its own.
//!
//! Bounded in time and in what is read. No token is ever shown, since a stranger may listen.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::{LinkConfig, base_url};
use crate::reach::Found;

/// How long looking may take in all.
pub const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// So much of an answer is read; what tells servers apart stands at its start.
const READ_BYTES: usize = 4 * 1024;

/// The beginning of HTTP/2: its preface, and settings that say nothing.
pub const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A request over HTTP/1 for the front page of a host.
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

/// What is at the address of a control plane, which everybody may write as [`base_url`] says.
///
/// # Errors
/// If it is no address.
pub async fn look(url: &str) -> Result<Found, String> {
    let address = LinkConfig { url: base_url(url)?, ..LinkConfig::default() }.address()?;
    Ok(probe(&address.host, address.port, &front_page(&address.authority), PROBE_LIMIT).await)
}

/// What a control plane at an address answers when it is asked whether it can be used.
///
/// # Errors
/// If it is no address.
pub async fn ask_ready(url: &str) -> Result<Found, String> {
    let address = LinkConfig { url: base_url(url)?, ..LinkConfig::default() }.address()?;
    Ok(probe(&address.host, address.port, &page(&address.authority, "/readyz"), PROBE_LIMIT).await)
}

/// What answers at a host's port to what is said there, within `limit`.
pub async fn probe(host: &str, port: u16, said: &[u8], limit: Duration) -> Found {
    let end = Instant::now() + limit;
    let addresses = match timeout_at(end, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(addresses)) => addresses.collect::<Vec<_>>(),
        Ok(Err(error)) => return Found::NoHost(of_lookup(&error)),
        Err(_elapsed) => return Found::NoHost("the name servers do not answer".to_owned()),
    };
    if addresses.is_empty() {
        return Found::NoHost("it has none".to_owned());
    }
    let mut stream = match timeout_at(end, TcpStream::connect(&addresses[..])).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return of_connect(&error),
        Err(_elapsed) => return Found::NoAnswer,
    };
    // A server that closes while it is spoken to may have said why.
    let _ = timeout_at(end, stream.write_all(said)).await;
    let (mut answer, mut ended) = (Vec::with_capacity(READ_BYTES), false);
    while answer.len() < READ_BYTES && !ended && !is_whole(&answer) {
        let mut piece = [0; 1024];
        match timeout(end.saturating_duration_since(Instant::now()), stream.read(&mut piece)).await {
            Ok(Ok(0) | Err(_)) => ended = true,
            Ok(Ok(read)) => answer.extend_from_slice(&piece[..read]),
            Err(_elapsed) => break,
        }
    }
    Found::of_answer(&answer, ended)
}

/// Whether nothing is missing that would say more: what is not HTTP/1 is known by its first bytes.
fn is_whole(answer: &[u8]) -> bool {
    /// Those of a frame of HTTP/2.
    const HEAD: usize = 9;
    if !b"HTTP/1.".starts_with(&answer[..answer.len().min(7)]) {
        return answer.len() >= HEAD;
    }
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    // Without a length the end of the connection is its end.
    length.is_some_and(|length| body.len() >= length)
}

/// In the words of the system, without what Rust puts before them.
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
    fn an_answer_is_whole_once_it_says_no_more() {
        for (answer, is_it) in [
            (&b""[..], false),
            (b"HTTP", false),
            (b"HTTP/1.1 200 OK\r\n", false),
            (b"HTTP/1.1 200 OK\r\n\r\nx", false),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx", false),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nxy", true),
            (b"\0\0\0\x04\0\0\0\0", false),
            (b"\0\0\0\x04\0\0\0\0\0", true),
            (b"SSH-2.0-OpenSSH", true),
        ] {
            assert_eq!(is_whole(answer), is_it, "{:?}", String::from_utf8_lossy(answer));
        }
    }

    #[tokio::test]
    async fn a_port_where_nothing_listens_and_a_name_that_is_none_are_told_apart() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        assert_eq!(look(&format!("127.0.0.1:{free}")).await, Ok(Found::Refused));
        // A label of 64 characters cannot be one: no name server is asked.
        let found = look(&format!("http://{}:1", "x".repeat(64))).await;
        assert!(matches!(&found, Ok(Found::NoHost(why)) if !why.is_empty()), "{found:?}");
        assert!(look("ftp://x").await.is_err());
    }
}
