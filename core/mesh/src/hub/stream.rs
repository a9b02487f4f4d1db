//! Entries to owners and watchers: a cursor per session with a window, and the latest entries in memory.
//!
//! A cursor never skips an entry that its session is owed. Entries that have left memory are read from the store. A
//! slow reader delays only itself.

use std::cell::OnceCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use gleitzeit_run::event::WorkflowSubmitted;
use gleitzeit_run::id::{ComponentId, Epoch, Position, Slice};
use gleitzeit_run::ledger::{Audience, SliceState, audience, without_payload};
use gleitzeit_run::planted_bugs::{self, Bug};
use gleitzeit_run::term::Seen;
use gleitzeit_run::{Entry, Event};
use gleitzeit_workflow::error::ErrorCode;
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::time::Instant;

use crate::frames::Packer;
use crate::hub::pending::Pending;
use crate::hub::{Config, Hub, Output, SocketId, Timer, Token, append_result};
use crate::id::ProposalId;
use crate::wire::{Events, EventsItem, FromHub, Ownership, OwnershipStatus, Part, Role, StatePage, Watch};

/// No frame of entries or of a state is filled beyond this.
const FRAME_BYTES: usize = 512 * 1024;
/// The estimated size of an item besides its body; generous.
const ITEM_BYTES: usize = 256;
/// How many entries one read from the store returns at most.
const READ_LIMIT: usize = 1_000;

/// An entry with what is derived from it once for all receivers.
#[derive(Debug)]
struct Kept {
    entry: Arc<Entry>,
    audience: Audience,
    full: OnceCell<EventsItem>,
    slim: OnceCell<EventsItem>,
    /// The same without payloads, for receivers in this process.
    slim_whole: OnceCell<Arc<Entry>>,
}

impl Kept {
    fn new(entry: Arc<Entry>) -> Self {
        let (full, slim, slim_whole) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Self { audience: audience(&entry), entry, full, slim, slim_whole }
    }

    fn full(&self) -> &EventsItem {
        self.full.get_or_init(|| EventsItem::full(&self.entry))
    }

    fn slim(&self) -> &EventsItem {
        self.slim.get_or_init(|| EventsItem::full(&without_payload(&self.entry)))
    }

    /// For a component in this process, in full or without payloads.
    fn whole(&self, in_full: bool) -> EventsItem {
        EventsItem::whole(match in_full {
            true => self.entry.clone(),
            false => self.slim_whole.get_or_init(|| Arc::new(without_payload(&self.entry))).clone(),
        })
    }

    /// For readers of the whole journal: without files and environment.
    fn public(&self) -> EventsItem {
        let Event::WorkflowSubmitted(submitted) = &self.entry.event else { return self.full().clone() };
        let submitted = WorkflowSubmitted {
            files: Default::default(),
            env: Default::default(),
            ..WorkflowSubmitted::clone(submitted)
        };
        EventsItem::full(&Entry { event: Event::WorkflowSubmitted(Arc::new(submitted)), ..Entry::clone(&self.entry) })
    }

    /// Roughly what it holds in memory.
    fn bytes(&self) -> usize {
        let payload = self.entry.event.meaning().payload.map_or(0, Payload::size_bytes);
        // Shared with the run's state: what is encoded for the wire counts.
        let tasks =
            if let Event::WorkflowSubmitted(event) = &self.entry.event { event.workflow.tasks.len() } else { 0 };
        ITEM_BYTES + 2 * (256 * tasks + payload)
    }
}

/// The latest entries, in order and without gaps.
#[derive(Debug)]
pub(super) struct Stream {
    head: Position,
    /// Entries up to here may be gone from the store.
    pruned: Position,
    kept: VecDeque<Kept>,
    bytes: usize,
    max_bytes: usize,
}

impl Stream {
    pub(super) fn new(head: Position, pruned: Position, max_bytes: usize) -> Self {
        Self { head, pruned, kept: VecDeque::new(), bytes: 0, max_bytes }
    }

    pub(super) fn head(&self) -> Position {
        self.head
    }

    pub(super) fn pruned(&self) -> Position {
        self.pruned
    }

    pub(super) fn prune(&mut self, through: Position) {
        self.pruned = self.pruned.max(through);
    }

    pub(super) fn push(&mut self, entry: Arc<Entry>) {
        self.head = entry.position;
        let kept = Kept::new(entry);
        self.bytes += kept.bytes();
        self.kept.push_back(kept);
        while self.bytes > self.max_bytes && self.kept.len() > 1 {
            if let Some(oldest) = self.kept.pop_front() {
                self.bytes -= oldest.bytes();
            }
        }
    }

    fn get(&self, position: Position) -> Option<&Kept> {
        let first = self.kept.front()?.entry.position;
        let at = usize::try_from(position.0.checked_sub(first.0)?).ok()?;
        self.kept.get(at)
    }
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
    fn new(watches: bool, sent: Position, now: Instant) -> Self {
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
    fn item(&self, role: Option<Role>, is_within: bool, kept: &Kept) -> Option<EventsItem> {
        let position = kept.entry.position;
        if self.watches {
            return Some(kept.public());
        }
        let owns = |slice: Slice| self.slices.get(&slice).is_some_and(|from| position > *from);
        let wanted = match role {
            Some(Role::Resolver) => kept.audience.shard.is_some_and(|shard| owns(Slice::Shard(shard))),
            Some(Role::Queue) => {
                (kept.audience.all_queues && !self.slices.is_empty())
                    || kept.audience.queue.clone().is_some_and(|queue| owns(Slice::Queue(queue)))
            }
            _ => false,
        };
        if !wanted {
            return None;
        }
        if let Some(proposal_id) = self.own.get(&position) {
            return Some(EventsItem::own(position, proposal_id.clone()));
        }
        let in_full = role == Some(Role::Resolver) && !matches!(kept.entry.event, Event::TaskReady(_));
        if is_within {
            return Some(kept.whole(in_full));
        }
        Some(if in_full { kept.full() } else { kept.slim() }.clone())
    }
}

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
        if let Some(session) = self.sessions.get_mut(&socket) {
            session.cursor = Some(Cursor::new(true, sent, self.now));
            self.dirty.insert(socket);
        }
    }

    /// An owner has everything up to a position.
    pub(super) fn confirm(&mut self, socket: SocketId, position: Position) {
        let Some(cursor) = self.sessions.get_mut(&socket).and_then(|session| session.cursor.as_mut()) else { return };
        while let Some((at, bytes)) = cursor.in_flight.front() {
            if *at > position {
                break;
            }
            cursor.in_flight_bytes -= bytes;
            cursor.in_flight.pop_front();
            cursor.moved_at = self.now;
        }
        self.dirty.insert(socket);
    }

    pub(super) fn check_slow(&mut self, socket: SocketId) {
        let limit = self.config.slow_consumer_ms;
        let Some(cursor) = self.sessions.get(&socket).and_then(|session| session.cursor.as_ref()) else { return };
        if cursor.in_flight.is_empty() {
            return;
        }
        if cursor.moved_at.plus_ms(limit) <= self.now {
            self.log(true, "a consumer confirmed no entries and is disconnected", self.label(socket));
            self.close(socket, "it confirmed no entries");
        } else {
            self.timers.insert((cursor.moved_at.plus_ms(limit), Timer::Slow(socket)));
        }
    }

    /// The session owns a slice whose state has everything up to a position; it continues from there.
    pub(super) fn own_slice(&mut self, socket: SocketId, slice: Slice, from: Position) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(&socket) else { return };
        let cursor = session.cursor.get_or_insert_with(|| Cursor::new(false, from, now));
        // No unsent entry is for a session that owned nothing.
        if cursor.slices.is_empty() || from < cursor.sent {
            cursor.sent = from;
            cursor.backlog.clear();
            cursor.reading = None;
        }
        cursor.slices.insert(slice, from);
        // Its open proposals for the slice belong to an ownership before: entries of them are sent in full.
        cursor.own.clear();
        self.dirty.insert(socket);
    }

    pub(super) fn disown_slice(&mut self, socket: SocketId, slice: &Slice) {
        if let Some(cursor) = self.sessions.get_mut(&socket).and_then(|session| session.cursor.as_mut()) {
            cursor.slices.remove(slice);
            cursor.own.clear();
        }
    }

    /// The writer's answer: a slice's state goes to its new owner.
    pub(super) fn slice_state(&mut self, token: Token, state: &SliceState) {
        let Some(Pending::Slice { slice, component_id, epoch, socket }) = self.pending.remove(&token) else { return };
        let current = self.ownerships.owner(&slice).is_some_and(|(owner, now)| *owner == component_id && now == epoch);
        if !current || !self.sessions.contains_key(&socket) {
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
        let Some(Pending::Read { socket }) = self.pending.remove(&token) else { return };
        let Some(cursor) = self.sessions.get_mut(&socket).and_then(|session| session.cursor.as_mut()) else { return };
        if cursor.reading != Some(token) {
            return;
        }
        cursor.reading = None;
        if entries.is_empty() {
            // Only pruned entries are missing, and this cursor would not have asked for those.
            let message = "entries that the journal should have could not be read";
            self.refuse(socket, ErrorCode::PersistenceReadFailed, message, None);
            return self.close(socket, message);
        }
        let sent = cursor.sent;
        cursor.backlog = entries.into_iter().filter(|entry| entry.position > sent).map(Kept::new).collect();
        self.dirty.insert(socket);
    }

    /// Sends a session what is due: entries up to the end of its window, then answers.
    pub(super) fn pump(&mut self, socket: SocketId) {
        let role = self.role_of(socket);
        let Some(session) = self.sessions.get_mut(&socket) else { return };
        let mut messages = Vec::new();
        let mut read_from = None;
        if let Some(cursor) = session.cursor.as_mut() {
            let was_idle = cursor.in_flight.is_empty();
            read_from = fill(cursor, &self.stream, &self.config, role, session.is_within, &mut messages);
            if was_idle && !cursor.in_flight.is_empty() {
                cursor.moved_at = self.now;
                let at = self.now.plus_ms(self.config.slow_consumer_ms);
                self.timers.insert((at, Timer::Slow(socket)));
            }
        }
        let sent = session.cursor.as_ref().map_or(Position(u64::MAX), |cursor| cursor.sent);
        let due = session.answers.iter().take_while(|(after, _)| *after <= sent).count();
        if due > 0 {
            messages.push(append_result(session.answers.drain(..due).map(|(_, result)| result).collect()));
        }
        for message in messages {
            self.send(socket, message);
        }
        if let Some(from) = read_from.filter(|from| *from <= self.stream.pruned()) {
            return self.left_behind(socket, from);
        }
        if let Some(from) = read_from {
            let token = self.token(Pending::Read { socket });
            if let Some(cursor) = self.sessions.get_mut(&socket).and_then(|session| session.cursor.as_mut()) {
                cursor.reading = Some(token);
            }
            self.out.push(Output::ReadEntries { token, from, limit: READ_LIMIT });
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
        let component_id = self.sessions.get(&socket)?.component.as_ref()?;
        self.components.get(component_id).map(|component| component.role)
    }

    pub(super) fn label(&self, socket: SocketId) -> String {
        let component = self.sessions.get(&socket).and_then(|session| session.component.as_ref());
        component.map_or_else(|| format!("socket {socket}"), ComponentId::to_string)
    }
}

fn item_text(item: &EventsItem) -> String {
    // A struct of strings, numbers and raw JSON.
    serde_json::to_string(item).expect("an item is serializable")
}

/// Moves the cursor as far as its window goes. Returns the position to read from the store, if that is needed.
fn fill(
    cursor: &mut Cursor,
    stream: &Stream,
    config: &Config,
    role: Option<Role>,
    is_within: bool,
    messages: &mut Vec<FromHub>,
) -> Option<Position> {
    let events = |entries| FromHub::Events(Events { entries });
    let mut frame = Packer::new(FRAME_BYTES);
    let mut read_from = None;
    while cursor.sent < stream.head() && !cursor.is_full(config) && cursor.reading.is_none() {
        let next = cursor.sent.next();
        let from_backlog = cursor.backlog.front().is_some_and(|kept| kept.entry.position == next);
        let backlog = if from_backlog { cursor.backlog.pop_front() } else { None };
        let Some(kept) = backlog.as_ref().or_else(|| stream.get(next)) else {
            read_from = Some(next);
            break;
        };
        cursor.sent = next;
        let item = cursor.item(role, is_within, kept);
        cursor.own.remove(&next);
        let Some(item) = item else { continue };
        let size = match &item.whole {
            Some(entry) if Arc::ptr_eq(entry, &kept.entry) => kept.bytes(),
            Some(_) => ITEM_BYTES,
            None => ITEM_BYTES + item.data.as_ref().map_or(0, Payload::size_bytes),
        };
        cursor.in_flight.push_back((next, size));
        cursor.in_flight_bytes += size;
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

/// A slice's state in pages; the last page is marked.
fn pages(slice: &Slice, epoch: Epoch, state: &SliceState) -> Vec<StatePage> {
    let page = |items, part| StatePage { slice: slice.clone(), epoch, items, part, last: false };
    let mut pages = Vec::new();
    let mut frame = Packer::new(FRAME_BYTES);
    for item in &state.items {
        // Items are structs of strings, numbers and raw JSON: serializing them cannot fail.
        let item = Payload::of(item).expect("a slice item is serializable");
        let size = item.size_bytes();
        if size > FRAME_BYTES {
            pages.extend(frame.take().map(|items| page(items, None)));
            pages.extend(pieces(item.get()).into_iter().map(|part| page(Vec::new(), Some(part))));
        } else {
            pages.extend(frame.push(item, size).map(|items| page(items, None)));
        }
    }
    pages.push(StatePage { last: true, ..page(frame.take().unwrap_or_default(), None) });
    pages
}

/// A text in pieces of at most a frame, cut between characters.
fn pieces(text: &str) -> Vec<Part> {
    let mut cuts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.floor_char_boundary(FRAME_BYTES);
        let (piece, after) = rest.split_at(end);
        cuts.push(piece);
        rest = after;
    }
    let of = u32::try_from(cuts.len()).unwrap_or(u32::MAX);
    (0..of).zip(cuts).map(|(part, text)| Part { part, of, text: text.to_owned() }).collect()
}

#[cfg(test)]
mod tests;
