//! A reader of the whole journal over the mesh.

use gleitzeit_mesh::wire::{EventsAck, FromHub, ToHub, Watch};
use gleitzeit_run::Position;

use super::checker::Verified;
use super::net::{Down, Far, SocketId, Up};
use super::{SimEvent, World};

impl World {
    /// A watcher of the whole journal: it misses nothing and sees nothing twice.
    pub(super) fn watcher_connects(&mut self) {
        if self.plane.is_none() {
            return self.later(500, SimEvent::WatcherConnects);
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
                self.later(after, SimEvent::WatcherConnects);
            }
            Down::Message(message) => match &**message {
                FromHub::Welcome(welcome) => {
                    self.watcher.present.clone_from(&welcome.term);
                    let watch = Watch { from_position: self.watcher.position.next(), term: self.watcher.term.clone() };
                    self.send_up(socket, Up::Message(ToHub::Watch(watch)));
                }
                FromHub::MeshError(error) if error.name == "HISTORY_LOST" => {
                    self.watcher.begin_anew(&self.store)?;
                    let watch = Watch { from_position: Position(0), term: None };
                    self.send_up(socket, Up::Message(ToHub::Watch(watch)));
                }
                FromHub::Events(events) => {
                    for item in &events.entries {
                        // The item was delivered twice.
                        if item.position <= self.watcher.position && self.settings.repeats > 0 {
                            continue;
                        }
                        self.watcher.take(item.position, item.kind.as_deref(), &self.store)?;
                    }
                    if self.is_calm || !self.chance.permille(100) {
                        let ack = EventsAck { position: self.watcher.position };
                        self.send_up(socket, Up::Message(ToHub::EventsAck(ack)));
                    }
                }
                _ => {}
            },
        }
        Ok(())
    }
}
