//! The shell of the control plane: it moves the messages between the hub, the writer and the sockets.

use std::collections::BTreeSet;
use std::sync::Arc;

use gleitzeit_mesh::hub::{Input, Output, Token};
use gleitzeit_mesh::wire::{ExecuteTask, FromHub, ToHub};
use gleitzeit_run::Position;
use gleitzeit_run::ledger::Assignment;
use gleitzeit_workflow::Instant;

use super::agenda::Time;
use super::checker::Verified;
use super::net::{Down, SocketId, Up};
use super::plane::{Plane, Work};
use super::{EPOCH, SimEvent, World, workload};

impl World {
    pub(super) fn start_plane(&mut self) -> Verified {
        self.generation += 1;
        // The wall clock may have been adjusted meanwhile.
        let step = if self.chance.permille(200) { self.chance.within(0..7_200_000) } else { 3_600_000 };
        let wall = EPOCH.plus_ms(self.agenda.now() + step).minus_ms(3_600_000);
        let plane = Plane::start(&mut self.store, self.settings.hub.clone(), self.generation, self.agenda.now(), wall)?;
        self.checker.restarted(&plane.ledger, &self.store)?;
        self.plane = Some(plane);
        // The hub plans at once, as in the real process.
        self.hub_flushes(self.generation)
    }

    /// The control plane's process dies.
    pub(super) fn crash_plane(&mut self) -> Verified {
        let Some(plane) = self.plane.take() else { return Ok(()) };
        let is_durable = self.chance.permille(500);
        let caused = plane.crash(&mut self.store, is_durable);
        self.checker.durable(&caused)?;
        self.check_times(caused.iter().map(|it| &*it.entry))?;
        let sockets: Vec<SocketId> = self.net.sockets.keys().copied().collect();
        for socket in sockets {
            let notice = self.notice();
            self.cut(socket, 0, notice);
            if let Some(it) = self.net.sockets.get_mut(&socket) {
                it.up.clear();
            }
        }
        self.clients_lose_connection();
        Ok(())
    }

    pub(super) fn hub_receives(&mut self, socket: SocketId) -> Verified {
        let Some(it) = self.net.sockets.get_mut(&socket) else { return Ok(()) };
        let Some(up) = it.up.pop_front() else { return Ok(()) };
        let input = match up {
            Up::Open => Input::Connected { socket, is_within: !self.settings.is_wired },
            Up::Closed { clean } => Input::Disconnected { socket, clean, reason: None },
            Up::Message(message) => {
                let message = if self.settings.is_wired {
                    let read = ToHub::decode(message.kind(), &message.body());
                    read.map_err(|error| format!("`{}` cannot be read: {error}", message.kind()))?
                } else {
                    message
                };
                Input::Received { socket, message, message_id: None }
            }
        };
        self.hub_accepts(input)
    }

    fn hub_accepts(&mut self, input: Input) -> Verified {
        let now = self.agenda.now();
        let Some(plane) = &mut self.plane else { return Ok(()) };
        plane.hub.accept(Instant(now), input);
        // Several inputs may share one round of sending.
        if plane.flush_planned || self.chance.permille(400) {
            let generation = plane.generation;
            if !std::mem::replace(&mut plane.flush_planned, true) {
                self.later(0, SimEvent::HubFlush(generation));
            }
            return Ok(());
        }
        let generation = plane.generation;
        self.hub_flushes(generation)
    }

    fn plane_of(&mut self, generation: u64) -> Option<&mut Plane> {
        self.plane.as_mut().filter(|plane| plane.generation == generation)
    }

    pub(super) fn hub_hears(&mut self, generation: u64) -> Verified {
        let Some(plane) = self.plane_of(generation) else { return Ok(()) };
        match plane.to_hub.pop_front() {
            Some(input) => self.hub_accepts(input),
            None => Ok(()),
        }
    }

    pub(super) fn hub_reads(&mut self, generation: u64, token: Token, from: Position, limit: usize) -> Verified {
        let entries = self.store.read(from, limit);
        match self.plane_of(generation) {
            Some(_) => self.hub_accepts(Input::Entries { token, entries }),
            None => Ok(()),
        }
    }

    pub(super) fn hub_ticks(&mut self, generation: u64) -> Verified {
        let now = Instant(self.agenda.now());
        let Some(plane) = self.plane_of(generation) else { return Ok(()) };
        plane.tick_at = None;
        let mut out = Vec::new();
        plane.hub.tick(now, &mut out);
        self.hub_did(out)
    }

    pub(super) fn hub_flushes(&mut self, generation: u64) -> Verified {
        let Some(plane) = self.plane_of(generation) else { return Ok(()) };
        plane.flush_planned = false;
        let mut out = Vec::new();
        plane.hub.flush(&mut out);
        self.hub_did(out)
    }

    fn hub_did(&mut self, out: Vec<Output>) -> Verified {
        for output in out {
            self.tell(|| format!("  hub: {output:?}"));
            match output {
                Output::Send { socket, message } => {
                    self.check_starts_anew(socket, &message)?;
                    let message = self.tagged(message);
                    self.send_down(socket, Down::Message(message));
                }
                Output::Close { socket, .. } => self.send_down(socket, Down::Closed),
                Output::ReadEntries { token, from, limit } => {
                    let (generation, after) = (self.generation, self.chance.latency());
                    self.later(after, SimEvent::HubReads { generation, token, from, limit });
                }
                Output::Progress { .. } | Output::Log { .. } => {}
                work => {
                    if let Some(plane) = &mut self.plane {
                        plane.to_writer.push_back(Work::Hub(work));
                    }
                    self.wake_writer();
                }
            }
        }
        self.plan_hub_tick();
        Ok(())
    }

    /// Adds to each attempt which dispatch it belongs to, so that its result reveals it.
    fn tagged(&self, message: Arc<FromHub>) -> Arc<FromHub> {
        let FromHub::ExecuteTask(given) = &*message else { return message };
        let tagged = |it: &Assignment| workload::tagged(it, &self.store.tag(it.dispatched));
        Arc::new(FromHub::ExecuteTask(ExecuteTask { tasks: given.tasks.iter().map(tagged).collect() }))
    }

    fn plan_hub_tick(&mut self) {
        let now = self.agenda.now();
        let Some(plane) = &mut self.plane else { return };
        let Some(at) = plane.hub.next_deadline().map(|at| at.0.max(now)) else { return };
        if plane.tick_at.is_none_or(|planned| at < planned) {
            plane.tick_at = Some(at);
            let generation = plane.generation;
            // Timers fire late.
            let late = if self.chance.permille(100) { self.chance.within(0..20) } else { 0 };
            self.at(at + late, SimEvent::HubTick(generation));
        }
    }

    pub(super) fn wake_writer(&mut self) {
        let after = u64::from(self.chance.permille(200));
        let Some(plane) = self.plane.as_mut().filter(|plane| !plane.writing_planned && plane.syncing.is_none()) else {
            return;
        };
        plane.writing_planned = true;
        let generation = plane.generation;
        self.later(after, SimEvent::WriterTakes(generation));
    }

    pub(super) fn writer_takes(&mut self, generation: u64) -> Verified {
        let now = self.agenda.now();
        let limit = if self.chance.permille(300) { self.chance.index(3) + 1 } else { 1_000 };
        let Some(plane) = self.plane.as_mut().filter(|it| it.generation == generation) else { return Ok(()) };
        plane.writing_planned = false;
        if plane.to_writer.is_empty() {
            return Ok(());
        }
        plane.write(&self.store, limit, now)?;
        if self.settings.answers_early
            && let Some(pending) = &mut plane.syncing
        {
            let answers = std::mem::take(&mut pending.answers);
            let losses = self.store.losses();
            for (question, verdict) in answers {
                self.later(0, SimEvent::Answer { question, verdict, losses });
            }
        }
        let sync = self.sync_time();
        self.later(sync, SimEvent::Synced(generation));
        Ok(())
    }

    fn sync_time(&mut self) -> Time {
        match self.disk_is_slow {
            true => self.chance.within(50..1_500),
            false => self.chance.within(0..3),
        }
    }

    pub(super) fn synced(&mut self, generation: u64) -> Verified {
        let Some(plane) = self.plane.as_mut().filter(|plane| plane.generation == generation) else { return Ok(()) };
        let Some(pending) = plane.synced(&mut self.store) else { return Ok(()) };
        let heard = plane.to_hub.len();
        self.checker.durable(&pending.caused)?;
        let touched: BTreeSet<_> = pending.caused.iter().filter_map(|it| it.entry.run_id).collect();
        self.checker.live_equals_replayed(&plane.ledger, &touched)?;
        let has_more = !plane.to_writer.is_empty();
        for caused in &pending.caused {
            self.tell(|| format!("  durable: {:?}", caused.entry));
        }
        self.check_times(pending.caused.iter().map(|it| &*it.entry))?;
        for (question, verdict) in pending.answers {
            let after = self.chance.latency();
            self.later(after, SimEvent::Answer { question, verdict, losses: self.store.losses() });
        }
        for _ in 0..heard {
            let after = self.chance.within(0..2);
            self.later(after, SimEvent::HubHears(generation));
        }
        if has_more {
            self.wake_writer();
        }
        Ok(())
    }
}
