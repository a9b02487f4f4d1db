//! Entries to owners and watchers: a cursor per session with a window, and the latest entries in memory.
//!
//! A cursor never skips an entry that its session is owed. Entries that have left memory are read from the store. A
//! slow reader delays only itself.
//!
//! `state` owns the cursors (`cursor`) and the entries (`latest`). Here the hub routes to it; `pages` cuts the state of
//! a slice.

mod cursor;
#[cfg(test)]
mod fixtures;
mod latest;
mod pages;
mod state;

use std::sync::Arc;

use gleitzeit_run::Entry;
use gleitzeit_run::id::{ComponentId, Position, Slice};
use gleitzeit_run::ledger::SliceState;
use gleitzeit_run::planted_bugs::{self, Bug};
use gleitzeit_run::term::Seen;
use gleitzeit_workflow::error::ErrorCode;

use crate::hub::pending::Pending;
use crate::hub::{Hub, Output, SocketId, Timer, Token, append_result};
use crate::wire::{FromHub, Ownership, OwnershipStatus, Role, Watch};

pub(super) use state::Stream;

use cursor::{Advanced, Read, Reader, Slowness};
use pages::pages;

/// How many entries one read from the store returns at most.
const READ_LIMIT: usize = 1_000;

impl Hub {
    pub(super) fn watch(&mut self, socket: SocketId, Watch { from_position: from, term }: Watch) {
        let read = term.map(|term| Seen { term, position: Position(from.0.saturating_sub(1)) });
        let is_here = |read: &Seen| self.history.has(read, self.stream.head()) || planted_bugs::is(Bug::LostRead);
        if let Some(read) = read.filter(|read| !is_here(read)) {
            let message = format!("{}; watch from 0 to begin anew", self.not_of_this_journal(&read));
            return self.refuse(socket, ErrorCode::HistoryLost, message, Some("watch".to_owned()));
        }
        let pruned = self.stream.pruned();
        if from > Position(0) && from <= pruned {
            let message = format!(
                "entries up to {pruned} may have been removed with finished runs; the oldest one that certainly exists is \
                 {}; 0 stands for it",
                pruned.next()
            );
            return self.refuse(socket, ErrorCode::InvalidParams, message, None);
        }
        let sent = Position(from.0.saturating_sub(1)).max(pruned).min(self.stream.head());
        if self.sessions.contains(socket) {
            self.stream.watch(socket, sent, self.now);
        }
    }

    /// An owner has everything up to a position.
    pub(super) fn confirm(&mut self, socket: SocketId, position: Position) {
        self.stream.confirm(socket, position, self.now);
    }

    pub(super) fn check_slow(&mut self, socket: SocketId) {
        match self.stream.slowness(socket, self.config.slow_consumer_ms, self.now) {
            Some(Slowness::Overdue) => {
                self.log(true, "a consumer confirmed no entries and is disconnected", self.label(socket));
                self.close(socket, "it confirmed no entries");
            }
            Some(Slowness::At(at)) => {
                self.timers.set(at, Timer::Slow(socket));
            }
            None => {}
        }
    }

    /// The session owns a slice whose state has everything up to a position; it continues from there.
    pub(super) fn own_slice(&mut self, socket: SocketId, slice: Slice, from: Position) {
        if self.sessions.contains(socket) {
            self.stream.own(socket, slice, from, self.now);
        }
    }

    /// The writer's answer: a slice's state goes to its new owner.
    pub(super) fn slice_state(&mut self, token: Token, state: &SliceState) {
        let Some(Pending::Slice { slice, component_id, epoch, socket }) = self.pending.take(token) else { return };
        let current = self.ownerships.owner(&slice).is_some_and(|(owner, now)| *owner == component_id && now == epoch);
        if !current || !self.sessions.contains(socket) {
            return;
        }
        let (status, position) = (OwnershipStatus::Granted, state.position);
        let ownership = Ownership { status, slice: slice.clone(), epoch, position, state_follows: true };
        self.send(socket, FromHub::Ownership(ownership));
        for page in pages(&slice, epoch, state) {
            self.send(socket, FromHub::State(page));
        }
        self.own_slice(socket, slice, position);
    }

    pub(super) fn entries(&mut self, token: Token, entries: Vec<Arc<Entry>>) {
        let Some(Pending::Read { socket }) = self.pending.take(token) else { return };
        if self.stream.read(socket, token, entries) == Read::Missing {
            // Only pruned entries are missing, and this cursor would not have asked for those.
            let message = "entries that the journal should have could not be read";
            self.refuse(socket, ErrorCode::PersistenceReadFailed, message, None);
            self.close(socket, message);
        }
    }

    /// Sends a session what is due: entries up to the end of its window, then answers.
    pub(super) fn pump(&mut self, socket: SocketId) {
        let role = self.role_of(socket);
        let Some(is_within) = self.sessions.is_within(socket) else { return };
        let reader = Reader { role, is_within };
        let advanced = self.stream.advance(socket, reader, &self.config, self.now);
        // Without a cursor, no answer waits for entries.
        let sent = advanced.as_ref().map_or(Position(u64::MAX), |advanced| advanced.sent);
        let answers = self.sessions.take_answers(socket, sent);
        let read_from = advanced.and_then(|Advanced { messages, check_at, read_from, .. }| {
            if let Some(at) = check_at {
                self.timers.set(at, Timer::Slow(socket));
            }
            messages.into_iter().for_each(|message| self.send(socket, message));
            read_from
        });
        if !answers.is_empty() {
            self.send(socket, append_result(answers));
        }
        match read_from {
            Some(from) if from <= self.stream.pruned() => self.left_behind(socket, from),
            Some(from) => {
                let token = self.token(Pending::Read { socket });
                self.stream.await_read(socket, token);
                self.out.push(Output::ReadEntries { token, from, limit: READ_LIMIT });
            }
            None => {}
        }
    }

    /// The entries that a session needs next are gone. An owner reconnects and receives the state of its slices anew.
    fn left_behind(&mut self, socket: SocketId, next: Position) {
        let pruned = self.stream.pruned();
        let message = format!(
            "entry {next} may have been removed with a finished run; the oldest one that certainly exists is {}",
            pruned.next()
        );
        self.log(true, "a consumer needs entries that were removed and is disconnected", self.label(socket));
        self.refuse(socket, ErrorCode::InvalidParams, message, None);
        self.close(socket, "the entries that it needs next were removed with finished runs");
    }

    fn role_of(&self, socket: SocketId) -> Option<Role> {
        let component_id = self.sessions.component(socket)?;
        self.presence.get(component_id).map(|component| component.role)
    }

    pub(super) fn label(&self, socket: SocketId) -> String {
        let component = self.sessions.component(socket);
        component.map_or_else(|| format!("socket {socket}"), ComponentId::to_string)
    }
}
