//! A control plane for a test: in memory, on a port that the system chooses.

#![allow(clippy::allow_attributes, dead_code, reason = "each test binary uses its own part")]

use std::net::SocketAddr;
use std::time::Duration;

use gleitzeit_control_plane::{Config, StoreConfig, build};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running control plane.
pub(crate) struct Plane {
    /// The address that it listens on.
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<(), gleitzeit_control_plane::Error>>,
}

impl Plane {
    pub(crate) async fn start(config: Config) -> Self {
        Self::start_on(Config { store: StoreConfig::Memory, ..config }).await
    }

    /// Starts it on the store in the configuration.
    pub(crate) async fn start_on(config: Config) -> Self {
        let app = build(Config { port: 0, ..config }).await.expect("it starts");
        let (address, stop) = (app.local_addr(), CancellationToken::new());
        Self { address, stop: stop.clone(), task: tokio::spawn(app.run(stop)) }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.expect("it stops in time").expect("no panic").expect("no error");
    }

    /// Sends a plain request; returns the status line and the body of the answer.
    pub(crate) async fn http(&self, method: &str, path: &str, headers: &str, body: &str) -> (String, String) {
        let host = if headers.contains("Host: ") { String::new() } else { format!("Host: {}\r\n", self.address) };
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = format!("{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n{length}{headers}\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        stream.write_all(body.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time").expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer of HTTP");
        (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
    }
}
