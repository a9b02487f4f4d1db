//! The stream as the hub keeps it: the latest entries, a cursor for each session that reads, and which of them may have
//! something to send.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gleitzeit_run::Entry;
use gleitzeit_run::id::{Position, Slice};
use gleitzeit_workflow::time::Instant;

use super::cursor::{Advanced, Cursor, Read, Reader, Slowness};
use super::latest::Latest;
use crate::hub::{Config, SocketId, Token};
use crate::id::ProposalId;

/// The latest entries and who reads them.
#[derive(Debug)]
pub(in crate::hub) struct Stream {
    latest: Latest,
    cursors: BTreeMap<SocketId, Cursor>,
    /// Sessions that may have something to be sent.
    due: BTreeSet<SocketId>,
}

impl Stream {
    pub(in crate::hub) fn new(head: Position, pruned: Position, max_bytes: usize) -> Self {
        Self { latest: Latest::new(head, pruned, max_bytes), cursors: BTreeMap::new(), due: BTreeSet::new() }
    }

    pub(in crate::hub) fn head(&self) -> Position {
        self.latest.head()
    }

    /// Entries up to here may be gone from the store.
    pub(in crate::hub) fn pruned(&self) -> Position {
        self.latest.pruned()
    }

    pub(in crate::hub) fn prune(&mut self, through: Position) {
        self.latest.prune(through);
    }

    /// Appends the entries of a batch.
    pub(in crate::hub) fn push(&mut self, entry: Arc<Entry>) {
        self.latest.push(entry);
    }

    /// Whether the session reads entries.
    pub(in crate::hub) fn is_reader(&self, socket: SocketId) -> bool {
        self.cursors.contains_key(&socket)
    }

    /// The session reads the whole journal after a position.
    pub(in crate::hub) fn watch(&mut self, socket: SocketId, sent: Position, now: Instant) {
        self.cursors.insert(socket, Cursor::new(true, sent, now));
        self.due.insert(socket);
    }

    /// The session owns a slice whose state has everything up to a position; it continues from there.
    pub(in crate::hub) fn own(&mut self, socket: SocketId, slice: Slice, from: Position, now: Instant) {
        self.cursors.entry(socket).or_insert_with(|| Cursor::new(false, from, now)).own(slice, from);
        self.due.insert(socket);
    }

    pub(in crate::hub) fn disown(&mut self, socket: SocketId, slice: &Slice) {
        if let Some(cursor) = self.cursors.get_mut(&socket) {
            cursor.disown(slice);
        }
    }

    /// The session has ended.
    pub(in crate::hub) fn forget(&mut self, socket: SocketId) {
        self.cursors.remove(&socket);
    }

    /// A proposal of the session was recorded as the entry at a position.
    pub(in crate::hub) fn recorded(&mut self, socket: SocketId, position: Position, proposal_id: ProposalId) {
        if let Some(cursor) = self.cursors.get_mut(&socket) {
            cursor.recorded(position, proposal_id);
        }
    }

    /// The session has everything up to a position.
    pub(in crate::hub) fn confirm(&mut self, socket: SocketId, position: Position, now: Instant) {
        if let Some(cursor) = self.cursors.get_mut(&socket) {
            cursor.confirm(position, now);
            self.due.insert(socket);
        }
    }

    /// Whether the session has confirmed nothing for too long; `None` if it owes no confirmation.
    pub(in crate::hub) fn slowness(&self, socket: SocketId, limit_ms: u64, now: Instant) -> Option<Slowness> {
        self.cursors.get(&socket)?.slowness(limit_ms, now)
    }

    /// The store was asked for the entries that a session is sent next.
    pub(in crate::hub) fn await_read(&mut self, socket: SocketId, token: Token) {
        if let Some(cursor) = self.cursors.get_mut(&socket) {
            cursor.await_read(token);
        }
    }

    /// The store's answer for a session.
    pub(in crate::hub) fn read(&mut self, socket: SocketId, token: Token, entries: Vec<Arc<Entry>>) -> Read {
        let Some(cursor) = self.cursors.get_mut(&socket) else { return Read::Stale };
        let read = cursor.read(token, entries);
        if read == Read::Taken {
            self.due.insert(socket);
        }
        read
    }

    /// Moves a session's cursor as far as its window goes; `None` if it has none.
    pub(in crate::hub) fn advance(
        &mut self,
        socket: SocketId,
        reader: Reader,
        config: &Config,
        now: Instant,
    ) -> Option<Advanced> {
        Some(self.cursors.get_mut(&socket)?.advance(&self.latest, config, reader, now))
    }

    /// The session may have something to be sent.
    pub(in crate::hub) fn set_due(&mut self, socket: SocketId) {
        self.due.insert(socket);
    }

    /// Every session that reads may have something to be sent.
    pub(in crate::hub) fn set_all_due(&mut self) {
        self.due.extend(self.cursors.keys());
    }

    pub(in crate::hub) fn take_due(&mut self) -> BTreeSet<SocketId> {
        std::mem::take(&mut self.due)
    }
}

#[cfg(test)]
mod tests;
