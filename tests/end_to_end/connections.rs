//! Connections that send nothing or only half a request, and callers that ask for too much: they are limited, and
//! nobody else is affected.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{Cluster, PATIENCE, get, until};

/// The connection limit of the control plane.
const MOST: usize = 200;

fn connect(cluster: &Cluster, said: &[u8]) -> TcpStream {
    let mut connection =
        TcpStream::connect(cluster.url.strip_prefix("http://").expect("an address")).expect("it listens");
    // The other side may have dropped it already.
    let _ = connection.write_all(said);
    connection
}

/// Whether the other side has closed it.
fn is_closed(connection: &TcpStream) -> bool {
    connection.set_nonblocking(true).expect("a socket");
    let mut buffer = [0; 4_096];
    loop {
        match (&*connection).read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

#[track_caller]
fn all_is_well(cluster: &Cluster) {
    let echo = "name: e\ntasks: [{id: a, method: util/echo}]\n";
    let run = cluster.submit(&cluster.sandbox.file("echo.yaml", echo));
    assert_eq!(cluster.until_ended(&run)["status"], "completed");
}

#[test]
fn silent_and_half_open_connections_block_no_others() {
    let most = MOST.to_string();
    let cluster = Cluster::all_in_one(&["--max-connections", &most]);
    let beginnings: [&[u8]; 4] =
        [b"", b"GET /healthz HT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"];
    for beginning in beginnings {
        let held: Vec<TcpStream> = (0..MOST + 50).map(|_| connect(&cluster, beginning)).collect();
        all_is_well(&cluster);
        assert!(held.iter().any(|connection| !is_closed(connection)), "there is room for some");
    }
    // One address never has more than half of all connections.
    let held: Vec<TcpStream> = (0..MOST).map(|_| connect(&cluster, b"GET /")).collect();
    let open = || held.iter().filter(|connection| !is_closed(connection)).count();
    until("no more than half are left", PATIENCE, || (open() <= MOST / 2).then_some(()));
}

#[test]
fn a_connection_that_stalls_after_its_start_is_closed() {
    let cluster = Cluster::all_in_one(&[]);
    let since = Instant::now();
    let silent: Vec<(&str, TcpStream)> = [
        ("says nothing", ""),
        ("half a head", "GET /healthz HTTP/1.1\r\nhost: x\r\n"),
        (
            "half a body",
            "POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n4",
        ),
        ("idle after an answer", "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("half a second head", "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /healthz"),
        ("half of how HTTP/2 begins", "PRI * HTTP/2.0\r\n\r\n"),
        ("does not answer pings", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0"),
    ]
    .map(|(what, said)| (what, connect(&cluster, said.as_bytes())))
    .into();
    for (what, connection) in &silent {
        until(what, PATIENCE, || is_closed(connection).then_some(()));
    }
    assert!(since.elapsed() < Duration::from_secs(60), "{:?}", since.elapsed());
    all_is_well(&cluster);
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let cluster = Cluster::all_in_one(&[]);
    let mut connection = connect(&cluster, b"GET /healthz HTTP/1.1\r\nhost: x\r\n");
    let header = format!("x: {}\r\n", "y".repeat(1_000));
    let written = (0..10_000).take_while(|_| connection.write_all(header.as_bytes()).is_ok()).count();
    assert!(written < 10_000, "it reads no end of headers");
    all_is_well(&cluster);
}

#[test]
fn handshakes_without_the_token_are_bounded_and_do_not_block_others() {
    let cluster = Cluster::all_in_one(&["--token", "secret"]);
    let begin = |headers: &[(&str, &str)]| get(&cluster.url, "/socket.io/?EIO=4&transport=polling", headers).0;
    let answers: Vec<u16> = (0..100).map(|_| begin(&[])).collect();
    assert!(answers.iter().filter(|status| **status == 429).count() >= 20, "{answers:?}");
    assert_eq!(begin(&[("authorization", "Bearer secret")]), 200);
    assert_eq!(begin(&[("authorization", "Bearer secreT")]), 429);
    // After a while the refused connections are gone.
    until("another may begin", PATIENCE, || (begin(&[]) == 200).then_some(()));
}
