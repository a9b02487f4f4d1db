//! What the machine itself allows: nothing built on it can be faster.

use std::future::ready;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use axum::serve::ListenerExt;
use gleitzeit_control_plane::journal::{SqliteStore, Store};
use gleitzeit_core::run::Entry;
use gleitzeit_core::run::event::OwnershipGranted;
use gleitzeit_core::{Epoch, Position, Seq, Slice, Timestamp};
use gleitzeit_link::{LinkConfig, LinkEvent, connect};
use serde_json::{Value, json};
use socketioxide::SocketIo;
use socketioxide::extract::{SocketRef, TryData};
use tokio_util::sync::CancellationToken;

use crate::Times;

/// One event to a Socket.IO server and back.
pub(crate) async fn socket_echo(count: usize) -> anyhow::Result<Times> {
    let (layer, io) = SocketIo::new_layer();
    io.ns("/", |socket: SocketRef| {
        socket.on("ping", |socket: SocketRef, TryData(data): TryData<Value>| {
            socket.emit("pong", &data.unwrap_or_default()).ok();
            ready(())
        });
        socket.emit("welcome", &json!({})).ok();
        ready(())
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let server = tokio::spawn(async move { axum::serve(listener, axum::Router::new().layer(layer)).await });
    let stop = CancellationToken::new();
    let config = LinkConfig { url: format!("http://{address}"), ..LinkConfig::default() };
    let (link, mut events, driver) = connect(config, &stop)?;
    let driver = tokio::spawn(driver.run());
    let body = json!({"text": "x".repeat(200)});
    let mut times = Vec::with_capacity(count);
    while times.len() < count {
        match events.recv().await.context("the link lives")? {
            LinkEvent::Connected { .. } | LinkEvent::Message { .. } => {
                let sent = Instant::now();
                link.send("ping", &body).await?;
                match events.recv().await {
                    Some(LinkEvent::Message { .. }) => times.push(sent.elapsed()),
                    other => bail!("expected an answer, got {other:?}"),
                }
                while times.len() < count {
                    let sent = Instant::now();
                    link.send("ping", &body).await?;
                    events.recv().await.context("an answer")?;
                    times.push(sent.elapsed());
                }
            }
            other => bail!("expected to be connected, got {other:?}"),
        }
    }
    stop.cancel();
    driver.await?;
    server.abort();
    Ok(Times::new(times))
}

/// A fresh interpreter that does nothing: the real executable, not what may stand before it.
pub(crate) fn fresh_python(count: usize) -> anyhow::Result<Times> {
    let asked = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output()?;
    let python = String::from_utf8(asked.stdout)?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        let status = Command::new(python.trim()).args(["-c", "pass"]).status()?;
        times.push(started.elapsed());
        ensure!(status.success(), "python3 ended with {status}");
    }
    Ok(Times::new(times))
}

/// One entry in one transaction, fsynced.
pub(crate) fn store_commit(count: usize) -> anyhow::Result<Times> {
    let folder = tempfile::tempdir()?;
    let mut store = SqliteStore::open(&folder.path().join("journal.db"))?;
    let mut times = Vec::with_capacity(count);
    for position in 1..=u64::try_from(count)? {
        let granted = OwnershipGranted {
            slice: Slice::Queue("default".into()),
            component_id: "q".into(),
            epoch: Epoch(position),
        };
        let entry = Arc::new(Entry {
            position: Position(position),
            run_id: None,
            seq: Seq(0),
            recorded_at: Timestamp(0),
            queue: None,
            event: granted.into(),
        });
        let started = Instant::now();
        store.append(&[entry])?;
        times.push(started.elapsed());
    }
    Ok(Times::new(times))
}
