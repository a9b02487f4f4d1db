//! A Socket.IO client that sends whatever a test wants, valid or not.

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rust_socketio::asynchronous::{Client, ClientBuilder};
use rust_socketio::{Event, Payload, TransportType};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::wait::PATIENCE;

/// A socket on the mesh that keeps the events that it received.
pub(crate) struct Socket {
    /// Tasks that the client spawns end with this runtime. (The library's blocking client has a thread that never ends
    /// and, once disconnected, spins.)
    runtime: Runtime,
    client: Client,
    incoming: Receiver<(String, Value)>,
    received: Vec<(String, Value)>,
}

impl Socket {
    /// Connects and waits until the hub is ready for it.
    #[track_caller]
    pub(crate) fn connect(url: &str) -> Self {
        let (tell, incoming) = channel();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let builder = ClientBuilder::new(url).transport_type(TransportType::Websocket).reconnect(false).on_any(
            move |event, payload, _| {
                if let (Event::Custom(name), Payload::Text(values)) = (event, payload) {
                    // The test may have ended.
                    let _ = tell.send((name, values.into_iter().next().unwrap_or_default()));
                }
                Box::pin(std::future::ready(()))
            },
        );
        let client = runtime.block_on(builder.connect()).expect("it connects");
        let mut socket = Self { runtime, client, incoming, received: Vec::new() };
        socket.receive("welcome");
        socket
    }

    /// Connects and registers.
    #[track_caller]
    pub(crate) fn register(url: &str, body: &Value) -> Self {
        let mut socket = Self::connect(url);
        socket.send("register_component", body);
        socket.receive("component_registered");
        socket
    }

    /// Sends any event.
    #[track_caller]
    pub(crate) fn send(&self, event: &str, body: &Value) {
        assert!(self.try_send(event, body), "connected");
    }

    /// Sends any event, unless the connection has ended.
    pub(crate) fn try_send(&self, event: &str, body: &Value) -> bool {
        self.runtime.block_on(self.client.emit(event, body.clone())).is_ok()
    }

    /// Answers a call with a result.
    #[track_caller]
    pub(crate) fn answer(&self, call: &Value, result: &Value) {
        self.send("method_result", &json!({"jsonrpc": "2.0", "id": call["id"], "result": result}));
    }

    /// Waits for the next event of this name and returns its body.
    #[track_caller]
    pub(crate) fn receive(&mut self, event: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.received.iter().position(|(name, _)| name == event) {
                return self.received.remove(at).1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.incoming.recv_timeout(left) {
                Ok(incoming) => self.received.push(incoming),
                Err(_) => panic!("no `{event}`; what came: {:?}", self.received),
            }
        }
    }

    /// All received events of this name that were not returned before.
    pub(crate) fn so_far(&mut self, event: &str) -> Vec<Value> {
        while let Ok(incoming) = self.incoming.recv_timeout(Duration::ZERO) {
            self.received.push(incoming);
        }
        let (of_it, rest) = std::mem::take(&mut self.received).into_iter().partition(|(name, _)| name == event);
        self.received = rest;
        let of_it: Vec<(String, Value)> = of_it;
        of_it.into_iter().map(|(_, body)| body).collect()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The connection may be gone already.
        let disconnected = async { tokio::time::timeout(PATIENCE, self.client.disconnect()).await };
        let _ = self.runtime.block_on(disconnected);
    }
}
