//! A reader of the whole journal over the mesh.

use gleitzeit_core::mesh::{EventsAck, FromHub, ToHub, Watch};

use super::checker::Verified;
use super::net::{Down, Far, SocketId, Up};
use super::{Happening, World};

impl World {
    /// A reader of the whole journal: it misses nothing and sees nothing twice.
    pub(super) fn watcher_connects(&mut self) {
        if self.plane.is_none() {
            return self.later(500, Happening::WatcherConnects);
        }
        let socket = self.net.open(Far::Watcher);
        self.watching = Some(socket);
        self.send_up(socket, Up::Open);
    }

    pub(super) fn watcher_receives(&mut self, socket: SocketId, down: &Down) -> Verified {
        if self.watching != Some(socket) {
            return Ok(());
        }
        match down {
            Down::Closed => {
                self.watching = None;
                let after = self.chance.within(0..2_000);
                self.later(after, Happening::WatcherConnects);
            }
            Down::Message(message) => match &**message {
                FromHub::Welcome(_) => {
                    let watch = Watch { from_position: self.watcher.next(), term: None };
                    self.send_up(socket, Up::Message(ToHub::Watch(watch)));
                }
                FromHub::Events(events) => {
                    for item in &events.entries {
                        // Repeated on the way.
                        if item.position <= self.watcher && self.settings.repeats > 0 {
                            continue;
                        }
                        if item.position != self.watcher.next() {
                            return Err(format!("a watcher at {} was sent {}", self.watcher, item.position));
                        }
                        let stored = self.store.read(item.position, 1);
                        if stored.first().is_none_or(|entry| item.kind.as_deref() != Some(entry.event.kind())) {
                            return Err(format!("a watcher was sent what is not durable: {item:?}"));
                        }
                        self.watcher = item.position;
                    }
                    if self.is_calm || !self.chance.permille(100) {
                        let ack = EventsAck { position: self.watcher };
                        self.send_up(socket, Up::Message(ToHub::EventsAck(ack)));
                    }
                }
                _ => {}
            },
        }
        Ok(())
    }
}
