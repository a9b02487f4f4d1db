//! Events from sockets that wait for the machine: ordered and bounded. A socket that exceeds its bound is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use gleitzeit_mesh::hub::SocketId;
use tokio::sync::mpsc;

use crate::hub::inbox_limits::Waiting;
use crate::hub::message::{Incoming, Received, ToMachine};
use crate::hub::packet::AckId;
use crate::hub::peer::Peer;
use crate::metrics::{Metrics, Way};

/// The entrance to the hub for sockets of every kind.
#[derive(Clone, Debug)]
pub(crate) struct Entrance {
    ids: Arc<AtomicU64>,
    waiting_bytes: Arc<AtomicUsize>,
    machine: mpsc::UnboundedSender<ToMachine>,
    metrics: Option<Metrics>,
}

impl Entrance {
    pub(crate) fn new(machine: mpsc::UnboundedSender<ToMachine>, metrics: Option<Metrics>) -> Self {
        Self { ids: Arc::new(AtomicU64::new(1)), waiting_bytes: Arc::default(), machine, metrics }
    }

    /// The inbox of a socket that was just opened. Call [`Inbox::opened`] before any event is taken.
    pub(crate) fn inbox(&self) -> Inbox {
        Inbox {
            id: SocketId(self.ids.fetch_add(1, Ordering::Relaxed)),
            waiting: Arc::new(Waiting::new(self.waiting_bytes.clone())),
            machine: self.machine.clone(),
            metrics: self.metrics.clone(),
        }
    }
}

/// Passes one socket's events to the machine. If the machine is gone, so is the hub, and the events are dropped.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    id: SocketId,
    waiting: Arc<Waiting>,
    machine: mpsc::UnboundedSender<ToMachine>,
    metrics: Option<Metrics>,
}

impl Inbox {
    /// The id under which the machine knows this socket; never 0.
    pub(crate) fn id(&self) -> SocketId {
        self.id
    }

    /// Announces the socket. The machine answers with `welcome`; after that the component may send.
    pub(crate) fn opened(&self, peer: Peer) {
        self.machine.send(ToMachine::Connected { socket: self.id, peer }).ok();
    }

    /// Reports that the socket is gone, with the reason if it did not leave on its own.
    pub(crate) fn gone(&self, clean: bool, reason: Option<&'static str>) {
        self.machine.send(ToMachine::Gone { socket: self.id, clean, reason }).ok();
    }

    /// Queues an event of `bytes` bytes, unless too much is waiting. `ack` is the id under which it is acknowledged.
    pub(crate) fn take(&self, bytes: usize, ack: Option<AckId>, event: impl FnOnce() -> Received) {
        if let Some(metrics) = &self.metrics {
            metrics.message(Way::In, bytes);
        }
        if let Some(place) = self.waiting.add(bytes) {
            self.machine
                .send(ToMachine::Event { socket: self.id, incoming: Incoming { place, ack, event: event() } })
                .ok();
        } else if self.waiting.flood() {
            tracing::warn!(socket = self.id.0, "a socket sends faster than it is served and is closed");
            self.machine.send(ToMachine::Flooded { socket: self.id }).ok();
        }
    }
}
