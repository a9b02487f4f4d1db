//! What sockets have waiting for the machine: in order, and bounded. Whoever has more waiting than it may is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use gleitzeit_mesh::hub::SocketId;
use gleitzeit_mesh::wire::{CallEnd, ToHub};
use tokio::sync::mpsc;

use crate::hub::compile::Heard;
use crate::hub::machine::ToMachine;
use crate::hub::peer::Peer;
use crate::metrics::{Metrics, Way};

/// Events of one socket that may wait for the machine.
const MAX_WAITING: usize = 16_384;
/// Bytes of one socket's events that may wait for the machine.
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of all sockets' events that may wait: whoever sends more than is left is closed.
const MAX_ALL_WAITING_BYTES: usize = 512 * 1024 * 1024;

/// Something that is no event of ours.
#[derive(Debug)]
pub(crate) struct Malformed {
    pub(crate) in_reply_to: Option<String>,
    pub(crate) message: String,
    /// Calls that it ends nevertheless.
    pub(crate) ends: Vec<CallEnd>,
}

impl Malformed {
    /// Something of which no more is known than what is wrong with it.
    pub(crate) fn of(message: String) -> Self {
        Self { in_reply_to: None, message, ends: Vec::new() }
    }
}

/// An event and its `meta.id`.
pub(crate) type Received = Result<(ToHub, Option<String>), Malformed>;

/// Where sockets of every kind come in.
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

    /// For a socket that was just opened: what it says goes there, once the machine was told of it.
    pub(crate) fn inbox(&self) -> Inbox {
        Inbox {
            id: self.ids.fetch_add(1, Ordering::Relaxed),
            waiting: Arc::new(Waiting::new(self.waiting_bytes.clone())),
            machine: self.machine.clone(),
            metrics: self.metrics.clone(),
        }
    }
}

/// What one socket says to the machine. If the machine is gone, so is the hub, and nobody needs to hear it.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    id: SocketId,
    waiting: Arc<Waiting>,
    machine: mpsc::UnboundedSender<ToMachine>,
    metrics: Option<Metrics>,
}

impl Inbox {
    /// The id that the machine knows it by; never 0.
    pub(crate) fn id(&self) -> SocketId {
        self.id
    }

    /// The machine says `welcome`: from then on the component may speak.
    pub(crate) fn opened(&self, peer: Peer) {
        self.machine.send(ToMachine::Connected { socket: self.id, peer }).ok();
    }

    /// The socket is gone; with what ended it, if it did not leave by itself.
    pub(crate) fn gone(&self, clean: bool, reason: Option<&'static str>) {
        self.machine.send(ToMachine::Gone { socket: self.id, clean, reason }).ok();
    }

    /// Takes an event of a number of bytes, unless too much is waiting. `ack` is the id under which it is acknowledged.
    pub(crate) fn take(&self, bytes: usize, ack: Option<u64>, event: impl FnOnce() -> Received) {
        if let Some(metrics) = &self.metrics {
            metrics.message(Way::In, bytes);
        }
        if let Some(place) = self.waiting.add(bytes) {
            self.machine.send(ToMachine::Event { socket: self.id, heard: Heard { place, ack, event: event() } }).ok();
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
    /// It had too much once, and the machine was told.
    flooded: AtomicBool,
}

impl Waiting {
    fn new(of_all: Arc<AtomicUsize>) -> Self {
        Self { events: AtomicUsize::new(0), bytes: AtomicUsize::new(0), of_all, flooded: AtomicBool::new(false) }
    }

    /// `None` if that is too much.
    fn add(self: &Arc<Self>, bytes: usize) -> Option<Place> {
        let events = self.events.fetch_add(1, Ordering::Relaxed) + 1;
        let own = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = self.of_all.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let place = Place { waiting: self.clone(), bytes };
        let fits = events <= MAX_WAITING && own <= MAX_WAITING_BYTES && all <= MAX_ALL_WAITING_BYTES;
        fits.then_some(place)
    }
}

/// The place of a waiting event; free when dropped.
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
