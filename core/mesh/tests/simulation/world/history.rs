//! The store loses its last entries, as when a backup or an outdated copy is restored: the components that have seen
//! those entries start anew, and no others do.

use std::sync::Arc;

use gleitzeit_mesh::wire::FromHub;
use gleitzeit_run::{Entry, Position, TermId};

use super::World;
use super::checker::Verified;
use super::net::{Far, SocketId};
use super::plane::Store;

/// What the watcher of the whole journal has read.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) position: Position,
    /// The entry at that position.
    last: Option<Arc<Entry>>,
    /// The term under which it was read.
    pub(super) term: Option<TermId>,
    /// The term of the control plane that it is connected to.
    pub(super) present: Option<TermId>,
}

impl Read {
    /// Takes an item, which must be the next entry of the store.
    pub(super) fn take(&mut self, position: Position, kind: Option<&str>, store: &Store) -> Verified {
        if position != self.position.next() {
            return Err(format!("a watcher at {} was sent {position}", self.position));
        }
        let before = store.read(self.position, 1).into_iter().next().filter(|_| self.position > Position(0));
        let is_the_same = match (&self.last, &before) {
            (Some(last), Some(before)) => Arc::ptr_eq(last, before),
            (last, _) => last.is_none(),
        };
        if !is_the_same {
            return Err(format!("a watcher at {} goes on in a history that it has not read", self.position));
        }
        let stored = store.read(position, 1).into_iter().next();
        if stored.as_ref().is_none_or(|entry| kind != Some(entry.event.kind())) {
            return Err(format!("a watcher was sent what is not durable: {kind:?} at {position}"));
        }
        (self.position, self.last) = (position, stored);
        self.term.clone_from(&self.present);
        Ok(())
    }

    /// The watcher is told that what it has read is lost.
    pub(super) fn begin_anew(&mut self, store: &Store) -> Verified {
        if !self.term.as_ref().is_some_and(|term| store.may_be_lost(term)) {
            return Err(format!("a watcher at {} of {:?} was told that this is lost", self.position, self.term));
        }
        *self = Self { present: self.present.take(), ..Self::default() };
        Ok(())
    }
}

impl World {
    /// The control plane crashes and restarts on a store without its last entries.
    pub(super) fn lose_history(&mut self) -> Verified {
        self.crash_plane()?;
        let ends = self.store.ends();
        let few = self.chance.within(1..12);
        let back = match self.chance.within(0..10) {
            0 => ends.len(),
            1..=3 => self.chance.index(ends.len() + 1),
            _ => usize::try_from(few).unwrap_or(1),
        };
        let left = ends.len().saturating_sub(back);
        let after = left.checked_sub(1).map_or(Position(0), |at| ends[at]);
        let with_terms = self.chance.permille(300);
        self.store.lose(after, with_terms);
        self.checker.lose(after)?;
        let now = self.agenda.now();
        self.times.something_failed(now);
        self.clients_lose_history();
        self.tell(|| format!("  everything after {after} is lost"));
        self.restart_plane();
        Ok(())
    }

    /// Checks that a component is told of a lost history if, and only if, its history is lost.
    pub(super) fn check_starts_anew(&self, socket: SocketId, message: &FromHub) -> Verified {
        let FromHub::ComponentRegistered(answer) = message else { return Ok(()) };
        let Some(Far::Worker(number, incarnation)) = self.net.sockets.get(&socket).map(|it| it.far) else {
            return Ok(());
        };
        let worker = &self.workers[number];
        if worker.incarnation != incarnation {
            return Ok(());
        }
        let (must, may) = match &worker.term {
            Some(term) => (!self.store.has_term(term), self.store.may_be_lost(term)),
            None => (false, false),
        };
        if must && !answer.starts_anew {
            return Err(format!("{} goes on from a history that is lost", worker.id));
        }
        if answer.starts_anew && !may {
            return Err(format!("{} was told that its history is lost, and it is not", worker.id));
        }
        Ok(())
    }
}
