//! Events from sockets that wait for the machine: ordered and bounded. A socket that exceeds its bound is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use gleitzeit_mesh::hub::SocketId;
use gleitzeit_mesh::wire::{CallEnd, ToHub};
use tokio::sync::mpsc;

use crate::hub::compile::Incoming;
use crate::hub::machine::ToMachine;
use crate::hub::peer::Peer;
use crate::metrics::{Metrics, Way};

/// The most events of one socket that may wait for the machine.
const MAX_WAITING: usize = 16_384;
/// The most bytes of one socket's events that may wait for the machine.
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;
/// The most bytes of all sockets' events that may wait; a socket that sends more than is left is closed.
const MAX_ALL_WAITING_BYTES: usize = 512 * 1024 * 1024;

/// A message that is not a valid event.
#[derive(Debug)]
pub(crate) struct Malformed {
    pub(crate) in_reply_to: Option<String>,
    pub(crate) message: String,
    /// Calls that it ends nevertheless.
    pub(crate) ends: Vec<CallEnd>,
}

impl Malformed {
    /// A message of which only the error is known.
    pub(crate) fn of(message: String) -> Self {
        Self { in_reply_to: None, message, ends: Vec::new() }
    }
}

/// An event and its `meta.id`.
pub(crate) type Received = Result<(ToHub, Option<String>), Malformed>;

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
            id: self.ids.fetch_add(1, Ordering::Relaxed),
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
    pub(crate) fn take(&self, bytes: usize, ack: Option<u64>, event: impl FnOnce() -> Received) {
        if let Some(metrics) = &self.metrics {
            metrics.message(Way::In, bytes);
        }
        if let Some(place) = self.waiting.add(bytes) {
            self.machine
                .send(ToMachine::Event { socket: self.id, incoming: Incoming { place, ack, event: event() } })
                .ok();
        } else if !self.waiting.flooded.swap(true, Ordering::Relaxed) {
            tracing::warn!(socket = self.id, "a socket sends faster than it is served and is closed");
            self.machine.send(ToMachine::Flooded { socket: self.id }).ok();
        }
    }
}

/// What one socket has waiting for the machine.
#[derive(Debug)]
struct Waiting {
    events: AtomicUsize,
    bytes: AtomicUsize,
    of_all: Arc<AtomicUsize>,
    /// Whether it exceeded a bound once, which the machine was told.
    flooded: AtomicBool,
}

impl Waiting {
    fn new(of_all: Arc<AtomicUsize>) -> Self {
        Self { events: AtomicUsize::new(0), bytes: AtomicUsize::new(0), of_all, flooded: AtomicBool::new(false) }
    }

    /// Counts an event; `None` if a bound is exceeded.
    fn add(self: &Arc<Self>, bytes: usize) -> Option<Place> {
        let events = self.events.fetch_add(1, Ordering::Relaxed) + 1;
        let own = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = self.of_all.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let place = Place { waiting: self.clone(), bytes };
        let fits = events <= MAX_WAITING && own <= MAX_WAITING_BYTES && all <= MAX_ALL_WAITING_BYTES;
        fits.then_some(place)
    }
}

/// The place of a waiting event; freed when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    waiting: Arc<Waiting>,
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.events.fetch_sub(1, Ordering::Relaxed);
        self.waiting.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.waiting.of_all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_for_each_socket_and_for_all() {
        let of_all = Arc::new(AtomicUsize::new(0));
        let sockets: Vec<_> = (0..10).map(|_| Arc::new(Waiting::new(of_all.clone()))).collect();
        assert!(sockets[0].add(MAX_WAITING_BYTES + 1).is_none());
        let mut full: Vec<Place> = sockets.iter().filter_map(|socket| socket.add(MAX_WAITING_BYTES)).collect();
        assert_eq!(full.len(), 8);
        assert!(sockets[9].add(1).is_none());
        full.remove(0);
        assert!(sockets[9].add(1).is_some());
        let small: Vec<Place> = (0..2 * MAX_WAITING).filter_map(|_| sockets[0].add(0)).collect();
        assert_eq!(small.len(), MAX_WAITING);
        drop((small, full));
        assert_eq!(of_all.load(Ordering::Relaxed), 0);
    }
}
