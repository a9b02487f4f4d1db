//! How much a socket has waiting for the machine: in events and bytes, with a limit for each socket and one for all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The most events of one socket that may wait for the machine.
const MAX_WAITING: usize = 16_384;
/// The most bytes of one socket's events that may wait for the machine.
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;
/// The most bytes of all sockets' events that may wait; a socket that sends more than is left is closed.
const MAX_ALL_WAITING_BYTES: usize = 512 * 1024 * 1024;

/// What one socket has waiting for the machine.
#[derive(Debug)]
pub(crate) struct Waiting {
    events: AtomicUsize,
    bytes: AtomicUsize,
    of_all: Arc<AtomicUsize>,
    /// Whether it exceeded a bound, which is reported to the machine once.
    flooded: AtomicBool,
}

impl Waiting {
    /// `of_all` counts the bytes of all sockets.
    pub(crate) fn new(of_all: Arc<AtomicUsize>) -> Self {
        Self { events: AtomicUsize::new(0), bytes: AtomicUsize::new(0), of_all, flooded: AtomicBool::new(false) }
    }

    /// Counts an event; `None` if a bound is exceeded.
    pub(crate) fn add(self: &Arc<Self>, bytes: usize) -> Option<Place> {
        let events = self.events.fetch_add(1, Ordering::Relaxed) + 1;
        let own = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = self.of_all.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let place = Place { waiting: self.clone(), bytes };
        let fits = events <= MAX_WAITING && own <= MAX_WAITING_BYTES && all <= MAX_ALL_WAITING_BYTES;
        fits.then_some(place)
    }

    /// Notes that it had too much; false if that was noted before.
    pub(crate) fn flood(&self) -> bool {
        !self.flooded.swap(true, Ordering::Relaxed)
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
    fn waiting_events_are_bounded_per_socket_and_in_total() {
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
