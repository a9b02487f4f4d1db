//! A real Socket.IO server in a runtime of its own, so that it can be killed without a goodbye.

use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use gleitzeit_link::{Driver, Link, LinkConfig, LinkEvent, LinkEvents, connect};
use serde::Deserialize;
use socketioxide::SocketIo;
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::{ConnectHandler, MessageHandler, Value};
use socketioxide::socket::{DisconnectReason, Socket};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// What the server saw.
pub(crate) enum Saw {
    Connected(SocketRef),
    Event(String),
    Gone(DisconnectReason),
}

pub(crate) struct TestHub {
    pub(crate) address: SocketAddr,
    runtime: Option<Runtime>,
    saw: mpsc::Receiver<Saw>,
}

#[derive(Clone)]
struct Inbox(mpsc::Sender<Saw>);
struct ByText;

impl MessageHandler<LocalAdapter, ByText> for Inbox {
    fn call(&self, _socket: Arc<Socket<LocalAdapter>>, value: Value, _ack: Option<i64>) {
        let text = value.as_str().map(|text| text.as_str().to_owned()).unwrap_or_default();
        self.0.try_send(Saw::Event(text)).expect("the test's channel is large enough");
    }
}

#[derive(Deserialize)]
struct Auth {
    token: Option<String>,
}

impl TestHub {
    pub(crate) async fn start() -> Self {
        Self::start_with("127.0.0.1:0".parse().expect("an address"), None, true).await
    }

    pub(crate) async fn start_with(address: SocketAddr, token: Option<&'static str>, welcomes: bool) -> Self {
        let (sender, saw) = mpsc::channel(100_000);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        let (layer, io) = SocketIo::builder()
            .max_buffer_size(40_000)
            .ping_interval(Duration::from_secs(1))
            .ping_timeout(Duration::from_secs(5))
            .ws_read_buffer_size(64 * 1024)
            .build_layer();
        let admit = move |TryData(auth): TryData<Auth>| {
            let given = auth.ok().and_then(|auth| auth.token);
            ready(if token.is_none() || given.as_deref() == token {
                Ok(())
            } else {
                Err("the token is wrong".to_owned())
            })
        };
        let on_connect = move |socket: SocketRef| {
            socket.on_fallback(Inbox(sender.clone()));
            let gone = sender.clone();
            socket.on_disconnect(move |reason: DisconnectReason| {
                gone.try_send(Saw::Gone(reason)).ok();
                ready(())
            });
            sender.try_send(Saw::Connected(socket.clone())).ok();
            if welcomes {
                socket.emit("welcome", &serde_json::json!({"hub": "test"})).expect("an empty buffer");
            }
            ready(())
        };
        io.ns("/", on_connect.with(admit));
        let app = axum::Router::new().layer(layer);
        let (bound, address_of) = tokio::sync::oneshot::channel();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::bind(address).await.expect("a free port");
            bound.send(listener.local_addr().expect("bound")).ok();
            let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("a live socket"));
            axum::serve(listener, app).await
        });
        let address = timeout(DEADLINE, address_of).await.expect("in time").expect("the server listens");
        Self { address, runtime: Some(runtime), saw }
    }

    /// What it saw next.
    pub(crate) async fn next(&mut self) -> Saw {
        timeout(DEADLINE, self.saw.recv()).await.expect("something happens in time").expect("the server lives")
    }

    pub(crate) async fn socket(&mut self) -> SocketRef {
        loop {
            if let Saw::Connected(socket) = self.next().await {
                return socket;
            }
        }
    }

    pub(crate) async fn event(&mut self) -> String {
        loop {
            if let Saw::Event(text) = self.next().await {
                return text;
            }
        }
    }

    pub(crate) async fn gone(&mut self) -> DisconnectReason {
        loop {
            if let Saw::Gone(reason) = self.next().await {
                return reason;
            }
        }
    }

    /// As by `kill -9`: the connections drop without a word.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // From a thread of its own: an async context may not wait for a runtime. The port is free afterwards.
            std::thread::spawn(move || runtime.shutdown_timeout(DEADLINE)).join().expect("it shuts down");
        }
    }
}

impl Drop for TestHub {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A link with its driver running.
pub(crate) struct Client {
    pub(crate) link: Link,
    pub(crate) events: LinkEvents,
    pub(crate) driver: JoinHandle<()>,
}

impl Client {
    pub(crate) fn start(config: LinkConfig) -> Self {
        let (link, events, driver): (_, _, Driver) = connect(config, &CancellationToken::new()).expect("valid");
        Self { link, events, driver: tokio::spawn(driver.run()) }
    }

    pub(crate) fn to(address: SocketAddr) -> Self {
        Self::start(config(address))
    }

    pub(crate) async fn next(&mut self) -> LinkEvent {
        timeout(DEADLINE, self.events.recv()).await.expect("an event in time").expect("the driver lives")
    }

    /// The number of the connection, which must come next: after that nobody was there for a moment, if so.
    pub(crate) async fn connected(&mut self) -> u64 {
        let event = match self.next().await {
            LinkEvent::Unreachable(_) => self.next().await,
            event => event,
        };
        match event {
            LinkEvent::Connected { generation, welcome } => {
                assert_eq!(welcome, "{\"hub\":\"test\"}");
                generation
            }
            other => panic!("expected Connected, got {other:?}"),
        }
    }

    pub(crate) async fn disconnected(&mut self) -> String {
        match self.next().await {
            LinkEvent::Disconnected { reason } => reason,
            other => panic!("expected Disconnected, got {other:?}"),
        }
    }

    pub(crate) async fn message(&mut self) -> (String, String) {
        match self.next().await {
            LinkEvent::Message { event, body } => (event, body),
            other => panic!("expected a message, got {other:?}"),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

pub(crate) fn config(address: SocketAddr) -> LinkConfig {
    LinkConfig { url: format!("http://{address}"), ..LinkConfig::default() }
}
