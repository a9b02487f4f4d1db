//! A Socket.IO client that writes packets as text, valid or not, over the polling transport.

use std::collections::VecDeque;
use std::time::Instant;

use serde_json::{Value, json};

use super::http::ask;
use super::wait::PATIENCE;

/// The separator between packets of one answer.
const SEPARATOR: char = '\u{1e}';

/// A session on the mesh. Sent text is not checked.
pub(crate) struct Raw {
    url: String,
    path: String,
    incoming: VecDeque<String>,
}

impl Raw {
    /// Connects and waits until the hub is ready for it.
    #[track_caller]
    pub(crate) fn connect(url: &str) -> Self {
        let path = "/socket.io/?EIO=4&transport=polling".to_owned();
        let mut raw = Self { url: url.to_owned(), path, incoming: VecDeque::new() };
        let open: Value = serde_json::from_str(&raw.receive("0")).expect("a handshake");
        raw.path = format!("{}&sid={}", raw.path, open["sid"].as_str().expect("an id"));
        raw.send("40");
        raw.receive("40{");
        raw.receive("42[\"welcome\"");
        raw
    }

    /// Connects and registers a provider of one method.
    #[track_caller]
    pub(crate) fn provider(url: &str, method: &str) -> Self {
        let mut raw = Self::connect(url);
        let body = json!({"component_type": "provider", "name": "raw", "methods": [method], "max_concurrency": 4});
        raw.send(&format!("42[\"register_component\",{body}]"));
        raw.receive("42[\"component_registered\"");
        raw
    }

    /// Sends a packet.
    #[track_caller]
    pub(crate) fn send(&self, packet: &str) {
        let (status, _, body) = ask(&self.url, &format!("POST {}", self.path), &[], packet.as_bytes());
        assert_eq!(status, 200, "{packet}: {}", String::from_utf8_lossy(&body));
    }

    /// Waits for the first packet with this beginning, and returns the rest of it.
    #[track_caller]
    pub(crate) fn receive(&mut self, beginning: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Some(packet) = self.incoming.pop_front() {
                if let Some(rest) = packet.strip_prefix(beginning) {
                    return rest.to_owned();
                }
            }
            assert!(Instant::now() < deadline, "no packet begins with `{beginning}`");
            let (status, _, body) = ask(&self.url, &format!("GET {}", self.path), &[], &[]);
            let body = String::from_utf8(body).expect("UTF-8");
            assert_eq!(status, 200, "waiting for `{beginning}`: {body}");
            for packet in body.split(SEPARATOR) {
                if packet == "2" {
                    self.send("3");
                }
                self.incoming.push_back(packet.to_owned());
            }
        }
    }

    /// The argument of the next event of this name.
    #[track_caller]
    pub(crate) fn event(&mut self, name: &str) -> Value {
        let rest = self.receive(&format!("42[\"{name}\","));
        serde_json::from_str(rest.strip_suffix(']').expect("a list")).expect("JSON")
    }
}
