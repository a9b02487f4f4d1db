//! The limits of the machine itself: nothing built on it can be faster.

use std::future::ready;
use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use axum::serve::ListenerExt;
use gleitzeit_control_plane::journal::{SqliteStore, Store};
use gleitzeit_link::{Driver, Link, LinkConfig, LinkEvent, LinkEvents, connect};
use gleitzeit_proto::v1;
use gleitzeit_proto::v1::system_service_client::SystemServiceClient;
use gleitzeit_run::event::OwnershipGranted;
use gleitzeit_run::{Entry, Epoch, Position, Seq, Slice};
use gleitzeit_workflow::Timestamp;
use serde_json::{Value, json};
use socketioxide::SocketIo;
use socketioxide::extract::{SocketRef, TryData};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::Size;
use crate::plane::Plane;
use crate::report::{Report, Row};
use crate::times::{Times, rate};

/// The size of the messages whose round trip is measured.
const MESSAGE_BYTES: usize = 200;
/// Messages in flight at once, when throughput is measured.
const WINDOW: usize = 1_000;
/// Entries in a batch, when throughput is measured.
const BATCH: usize = 100;
const PATIENCE: Duration = Duration::from_secs(30);

/// The values that others are compared with.
pub(crate) struct Floors {
    pub(crate) echo_ms: f64,
    pub(crate) routed_per_s: f64,
    pub(crate) commit_ms: f64,
    pub(crate) python_ms: f64,
}

impl Floors {
    /// Each floor is repeated as often as everything else, so that it shows how steady the machine is.
    pub(crate) async fn measure(size: Size, report: &mut Report) -> anyhow::Result<Self> {
        let (count, repeats) = (size.latency_runs, size.repeats);
        let medians = |times: Vec<Times>| times.iter().map(Times::median).collect::<Vec<_>>();
        let sync = repeated(repeats, move || append_and_sync(count)).await?;
        report.row(Row::new("4 KiB appended and synced, p50", "ms", medians(sync)));
        let sync = repeated(repeats, move || overwrite_and_sync(count)).await?;
        report.row(Row::new("4 KiB overwritten and synced, p50", "ms", medians(sync)));
        let commit = repeated(repeats, move || store_commit(count)).await?;
        let commit = Row::new("one entry committed and synced, p50", "ms", medians(commit));
        let commit_ms = commit.median();
        report.row(commit);
        let rows = repeated(repeats, move || store_rows(count)).await?;
        report.row(Row::new("entries committed, 100 at a time", "entries/s", rows));
        let (mut echoes, mut routed, mut unary) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..repeats {
            echoes.push(socket_echo(5 * count).await?.median());
            routed.push(routing(50 * count).await?);
        }
        let echo = Row::new("Socket.IO echo round trip, p50", "ms", echoes);
        let echo_ms = echo.median();
        report.row(echo);
        let routed = Row::new("messages of 200 bytes, client to hub to client", "messages/s", routed);
        let routed_per_s = routed.median();
        report.row(routed);
        let plane = Plane::start().await?;
        for _ in 0..repeats {
            unary.push(grpc_unary(&plane, count).await?.median());
        }
        plane.stop().await?;
        report.row(Row::new("gRPC unary call, p50", "ms", unary));
        let python = repeated(repeats, move || fresh_python(count.div_ceil(10))).await?;
        let python = Row::new("a fresh `python3 -c pass`, p50", "ms", medians(python));
        let python_ms = python.median();
        report.row(python);
        Ok(Self { echo_ms, routed_per_s, commit_ms, python_ms })
    }
}

async fn repeated<T: Send + 'static>(
    repeats: usize,
    measure: impl Fn() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<Vec<T>> {
    tokio::task::spawn_blocking(move || (0..repeats).map(|_| measure()).collect()).await?
}

/// Appends to a file: its new size must reach the disk too.
fn append_and_sync(count: usize) -> anyhow::Result<Times> {
    let mut file = tempfile::tempfile()?;
    sync_times(count, || Ok(file.write_all(&[7; 4096])?).and_then(|()| Ok(file.sync_data()?)))
}

/// Overwrites a file in place: its size does not change.
fn overwrite_and_sync(count: usize) -> anyhow::Result<Times> {
    use std::os::unix::fs::FileExt as _;
    let mut file = tempfile::tempfile()?;
    file.write_all(&vec![0; 4096 * count])?;
    file.sync_all()?;
    let mut at = 0;
    sync_times(count, || {
        file.write_all_at(&[7; 4096], at)?;
        at += 4096;
        Ok(file.sync_data()?)
    })
}

fn sync_times(count: usize, mut step: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<Times> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        step()?;
        times.push(started.elapsed());
    }
    Ok(Times::new(times))
}

fn granted(position: u64) -> Arc<Entry> {
    let granted =
        OwnershipGranted { slice: Slice::Queue("default".into()), component_id: "q".into(), epoch: Epoch(position) };
    Arc::new(Entry {
        position: Position(position),
        run_id: None,
        seq: Seq(0),
        recorded_at: Timestamp(0),
        queue: None,
        event: granted.into(),
    })
}

/// One entry in one transaction.
fn store_commit(count: usize) -> anyhow::Result<Times> {
    let folder = tempfile::tempdir()?;
    let mut store = SqliteStore::open(&folder.path().join("journal.db"))?;
    let mut position = 0;
    sync_times(count, || {
        position += 1;
        Ok(store.append(&[granted(position)])?)
    })
}

/// Entries per second, a hundred in a transaction.
fn store_rows(count: usize) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let mut store = SqliteStore::open(&folder.path().join("journal.db"))?;
    let batches = count.div_ceil(2).max(1);
    let started = Instant::now();
    let mut position = 0;
    for _ in 0..batches {
        let entries: Vec<Arc<Entry>> = (0..BATCH)
            .map(|_| {
                position += 1;
                granted(position)
            })
            .collect();
        store.append(&entries)?;
    }
    Ok(rate(batches * BATCH, started.elapsed()))
}

/// A Socket.IO server that does only what it is given here.
struct Server {
    url: String,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(serve: impl Fn(SocketRef) + Clone + Send + Sync + 'static) -> anyhow::Result<Self> {
        let (layer, io) = SocketIo::builder().max_buffer_size(8_192).build_layer();
        io.ns("/", move |socket: SocketRef| {
            serve(socket);
            ready(())
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let task = tokio::spawn(async move { axum::serve(listener, axum::Router::new().layer(layer)).await });
        Ok(Self { url, stop: CancellationToken::new(), task })
    }

    async fn client(&self) -> anyhow::Result<(Link, LinkEvents)> {
        let config = LinkConfig { url: self.url.clone(), ..LinkConfig::default() };
        let (link, mut events, driver): (_, _, Driver) = connect(config, &self.stop)?;
        // The driver ends with `stop`.
        tokio::spawn(driver.run());
        match timeout(PATIENCE, events.recv()).await?.context("the link lives")? {
            LinkEvent::Connected { .. } => Ok((link, events)),
            other => bail!("expected to be connected, got {other:?}"),
        }
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.abort();
        // The task was aborted.
        drop(self.task.await);
    }
}

/// One event to a Socket.IO server and back.
async fn socket_echo(count: usize) -> anyhow::Result<Times> {
    let server = Server::start(|socket| {
        socket.on("ping", |socket: SocketRef, TryData(data): TryData<Value>| {
            socket.emit("pong", &data.unwrap_or_default()).ok();
            ready(())
        });
        socket.emit("welcome", &json!({})).ok();
    })
    .await?;
    let (link, mut events) = server.client().await?;
    let body = json!({"text": "x".repeat(MESSAGE_BYTES)});
    let mut times = Vec::with_capacity(count);
    while times.len() < count {
        let sent = Instant::now();
        link.send("ping", &body).await?;
        timeout(PATIENCE, events.recv()).await?.context("an answer")?;
        times.push(sent.elapsed());
    }
    server.end().await;
    Ok(Times::new(times))
}

/// Messages per second from one client to another through a server.
async fn routing(count: usize) -> anyhow::Result<f64> {
    let target = Arc::new(std::sync::OnceLock::new());
    let server = Server::start(move |socket| {
        // The first client receives, the second one sends.
        target.set(socket.clone()).ok();
        let target = target.clone();
        socket.on("route", move |TryData(data): TryData<Value>| {
            if let Some(receiver) = target.get() {
                let receiver: &SocketRef = receiver;
                receiver.emit("routed", &data.unwrap_or_default()).ok();
            }
            ready(())
        });
        socket.emit("welcome", &json!({})).ok();
    })
    .await?;
    let (_receiver, mut events) = server.client().await?;
    let (sender, _sender_events) = server.client().await?;
    let body = json!({"text": "x".repeat(MESSAGE_BYTES)});
    let room = Arc::new(tokio::sync::Semaphore::new(WINDOW));
    let started = Instant::now();
    let sending = tokio::spawn({
        let room = room.clone();
        async move {
            for _ in 0..count {
                room.acquire().await?.forget();
                sender.send("route", &body).await?;
            }
            anyhow::Ok(())
        }
    });
    for _ in 0..count {
        timeout(PATIENCE, events.recv()).await?.context("a message")?;
        room.add_permits(1);
    }
    let elapsed = started.elapsed();
    sending.await??;
    server.end().await;
    Ok(rate(count, elapsed))
}

async fn grpc_unary(plane: &Plane, count: usize) -> anyhow::Result<Times> {
    let mut client = SystemServiceClient::new(plane.channel.clone());
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        client.list_components(v1::ListComponentsRequest { page_size: 1, ..Default::default() }).await?;
        times.push(started.elapsed());
    }
    Ok(Times::new(times))
}

/// Starts an interpreter that does nothing: the real executable, not a wrapper script in front of it.
fn fresh_python(count: usize) -> anyhow::Result<Times> {
    let asked = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output()?;
    let python = String::from_utf8(asked.stdout)?;
    sync_times(count, || {
        let status = Command::new(python.trim()).args(["-c", "pass"]).status()?;
        ensure!(status.success(), "python3 ended with {status}");
        Ok(())
    })
}
