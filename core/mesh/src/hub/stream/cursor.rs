//! How far the journal was sent to one session: a window of entries that are not confirmed yet.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use gleitzeit_run::id::{Position, Slice};
use gleitzeit_run::{Entry, Event};
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::time::Instant;

use super::latest::{ITEM_BYTES, Kept, Latest};
use super::pages::{FRAME_BYTES, pieces};
use crate::frames::Packer;
use crate::hub::{Config, Token};
use crate::id::ProposalId;
use crate::wire::{Events, EventsItem, FromHub, Role};

/// Who reads: it decides what part of an entry is sent.
#[derive(Clone, Copy, Debug)]
pub(in crate::hub) struct Reader {
    /// The role of its component; `None` for a watcher.
    pub(in crate::hub) role: Option<Role>,
    /// Whether it is in this process.
    pub(in crate::hub) is_within: bool,
}

/// What became of an answer of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::hub) enum Read {
    /// The cursor did not wait for it.
    Stale,
    /// It had no entries.
    Missing,
    /// Its entries are sent next.
    Taken,
}

/// What follows from the entries that a cursor has sent and that are not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::hub) enum Slowness {
    /// None was confirmed for too long.
    Overdue,
    /// It is overdue at this time, unless one is confirmed before.
    At(Instant),
}

/// What moving a cursor led to.
#[derive(Debug)]
pub(in crate::hub) struct Advanced {
    /// The entries to send, in order.
    pub(in crate::hub) messages: Vec<FromHub>,
    /// Entries up to this position were sent or are not for this session.
    pub(in crate::hub) sent: Position,
    /// When to check its confirmations, if the window began to fill.
    pub(in crate::hub) check_at: Option<Instant>,
    /// The position to read from the store, if that is needed.
    pub(in crate::hub) read_from: Option<Position>,
}

/// How far the journal was sent to one session.
#[derive(Debug)]
pub(super) struct Cursor {
    /// A reader of the whole journal, rather than an owner.
    watches: bool,
    /// The slices it owns, each with the position up to which its state is complete.
    slices: BTreeMap<Slice, Position>,
    /// Entries up to this position were sent or are not for this session.
    sent: Position,
    /// Sent and not confirmed: where and how large.
    in_flight: VecDeque<(Position, usize)>,
    in_flight_bytes: usize,
    /// When something was last confirmed, or the window began to fill.
    moved_at: Instant,
    reading: Option<Token>,
    /// Read from the store, in order, next to be sent.
    backlog: VecDeque<Kept>,
    /// First entries of its own proposals: sent without their bodies.
    own: BTreeMap<Position, ProposalId>,
}

impl Cursor {
    pub(super) fn new(watches: bool, sent: Position, now: Instant) -> Self {
        Self {
            watches,
            slices: BTreeMap::new(),
            sent,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            moved_at: now,
            reading: None,
            backlog: VecDeque::new(),
            own: BTreeMap::new(),
        }
    }

    /// A proposal of this session was recorded as the entry at a position.
    pub(super) fn recorded(&mut self, position: Position, proposal_id: ProposalId) {
        if !self.watches {
            self.own.insert(position, proposal_id);
        }
    }

    fn is_full(&self, config: &Config) -> bool {
        self.in_flight.len() >= config.window_entries || self.in_flight_bytes >= config.window_bytes
    }

    /// The part of an entry that this session is sent; `None` if the entry is not for it.
    fn item(&self, reader: Reader, kept: &Kept) -> Option<EventsItem> {
        let Reader { role, is_within } = reader;
        let position = kept.position();
        if self.watches {
            return Some(kept.public());
        }
        let owns = |slice: Slice| self.slices.get(&slice).is_some_and(|from| position > *from);
        let wanted = match role {
            Some(Role::Resolver) => kept.audience().shard.is_some_and(|shard| owns(Slice::Shard(shard))),
            Some(Role::Queue) => {
                (kept.audience().all_queues && !self.slices.is_empty())
                    || kept.audience().queue.clone().is_some_and(|queue| owns(Slice::Queue(queue)))
            }
            _ => false,
        };
        if !wanted {
            return None;
        }
        if let Some(proposal_id) = self.own.get(&position) {
            return Some(EventsItem::own(position, proposal_id.clone()));
        }
        let in_full = role == Some(Role::Resolver) && !matches!(kept.entry().event, Event::TaskReady(_));
        if is_within {
            return Some(kept.whole(in_full));
        }
        Some(if in_full { kept.full() } else { kept.slim() }.clone())
    }

    /// Everything up to a position is confirmed.
    pub(super) fn confirm(&mut self, position: Position, now: Instant) {
        while let Some((at, bytes)) = self.in_flight.front() {
            if *at > position {
                break;
            }
            self.in_flight_bytes -= bytes;
            self.in_flight.pop_front();
            self.moved_at = now;
        }
    }

    /// Its session owns a slice whose state has everything up to a position; it continues from there.
    pub(super) fn own(&mut self, slice: Slice, from: Position) {
        // No unsent entry is for a session that owned nothing.
        if self.slices.is_empty() || from < self.sent {
            self.sent = from;
            self.backlog.clear();
            self.reading = None;
        }
        self.slices.insert(slice, from);
        // Its open proposals for the slice belong to an ownership before: entries of them are sent in full.
        self.own.clear();
    }

    pub(super) fn disown(&mut self, slice: &Slice) {
        self.slices.remove(slice);
        self.own.clear();
    }

    /// The store was asked for the entries that are sent next.
    pub(super) fn await_read(&mut self, token: Token) {
        self.reading = Some(token);
    }

    /// The store's answer.
    pub(super) fn read(&mut self, token: Token, entries: Vec<Arc<Entry>>) -> Read {
        if self.reading != Some(token) {
            return Read::Stale;
        }
        self.reading = None;
        if entries.is_empty() {
            return Read::Missing;
        }
        let sent = self.sent;
        self.backlog = entries.into_iter().filter(|entry| entry.position > sent).map(Kept::new).collect();
        Read::Taken
    }

    /// Whether its session has confirmed nothing for too long; `None` if all is confirmed.
    pub(super) fn slowness(&self, limit_ms: u64, now: Instant) -> Option<Slowness> {
        if self.in_flight.is_empty() {
            return None;
        }
        let at = self.moved_at.plus_ms(limit_ms);
        Some(if at <= now { Slowness::Overdue } else { Slowness::At(at) })
    }

    /// Moves it as far as its window goes.
    pub(super) fn advance(&mut self, latest: &Latest, config: &Config, reader: Reader, now: Instant) -> Advanced {
        let was_idle = self.in_flight.is_empty();
        let mut messages = Vec::new();
        let read_from = self.fill(latest, config, reader, &mut messages);
        let begins = was_idle && !self.in_flight.is_empty();
        if begins {
            self.moved_at = now;
        }
        let check_at = begins.then(|| now.plus_ms(config.slow_consumer_ms));
        Advanced { messages, sent: self.sent, check_at, read_from }
    }

    /// Moves the cursor as far as its window goes. Returns the position to read from the store, if that is needed.
    fn fill(
        &mut self,
        latest: &Latest,
        config: &Config,
        reader: Reader,
        messages: &mut Vec<FromHub>,
    ) -> Option<Position> {
        let events = |entries| FromHub::Events(Events { entries });
        let mut frame = Packer::new(FRAME_BYTES);
        let mut read_from = None;
        while self.sent < latest.head() && !self.is_full(config) && self.reading.is_none() {
            let next = self.sent.next();
            let from_backlog = self.backlog.front().is_some_and(|kept| kept.position() == next);
            let backlog = if from_backlog { self.backlog.pop_front() } else { None };
            let Some(kept) = backlog.as_ref().or_else(|| latest.get(next)) else {
                read_from = Some(next);
                break;
            };
            self.sent = next;
            let item = self.item(reader, kept);
            self.own.remove(&next);
            let Some(item) = item else { continue };
            let size = match &item.whole {
                Some(entry) if Arc::ptr_eq(entry, kept.entry()) => kept.bytes(),
                Some(_) => ITEM_BYTES,
                None => ITEM_BYTES + item.data.as_ref().map_or(0, Payload::size_bytes),
            };
            self.in_flight.push_back((next, size));
            self.in_flight_bytes += size;
            let is_submit = item.kind.as_deref() == Some("workflow_submitted");
            if is_submit && size > FRAME_BYTES {
                messages.extend(frame.take().map(events));
                let pieces = pieces(&item_text(&item));
                messages.extend(pieces.into_iter().map(|part| events(vec![EventsItem::piece(next, part)])));
                continue;
            }
            messages.extend(frame.push(item, size).map(events));
        }
        messages.extend(frame.take().map(events));
        read_from
    }
}

fn item_text(item: &EventsItem) -> String {
    // A struct of strings, numbers and raw JSON.
    serde_json::to_string(item).expect("an item is serializable")
}

#[cfg(test)]
mod tests;
