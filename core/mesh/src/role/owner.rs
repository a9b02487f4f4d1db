//! The part that queue and resolver share: a session that owns slices.
//!
//! It joins pages and parts, tracks positions, turns messages into [`Fact`]s for the role, and sends the role's
//! proposals. It gives up a slice only when the hub revokes it.

use std::collections::BTreeMap;

use gleitzeit_run::id::{Epoch, Position, Slice};
use gleitzeit_run::ledger::SliceItem;
use gleitzeit_run::{Command, Entry, Fence};
use gleitzeit_workflow::error::Failure;
use gleitzeit_workflow::json;
use gleitzeit_workflow::time::Instant;

use crate::role::outbox::{Outbox, ProposalNumber};
use crate::role::{Identity, Input, Link, MAX_UNANSWERED, Output, Past, earliest};
use crate::wire::{
    ComponentRegistered, EventsAck, EventsItem, FromHub, HeartbeatResponse, Owned, Ownership, OwnershipStatus, Part,
    ProposalResult, ProposalVerdict, Role, StatePage, ToHub,
};

/// The largest text that may be joined from parts, in bytes: a submission with its files, encoded. A definition of 64
/// MiB, the most that a control plane can be configured to accept, holds a million short tasks and becomes several
/// times as long.
const MAX_JOINED_BYTES: usize = 512 * 1024 * 1024;

/// What a role receives from its session, in order.
#[derive(Debug)]
pub(super) enum Fact {
    /// A slice's state follows. With `alone` the session owned nothing else, so everything received before is void.
    Begin { alone: bool },
    /// A piece of that state.
    Item { slice: Slice, item: SliceItem, granted_at: Instant },
    /// The state is complete: the role acts for the slice from now on.
    Owned { slice: Slice },
    /// The slice is owned by another component now.
    Revoked { slice: Slice },
    /// A complete entry; `owned` if it must be applied to an owned slice.
    Entry { entry: Box<Entry>, owned: bool },
    /// A proposal was recorded.
    Recorded { command: Command, owned: bool },
    /// A proposal was answered with a verdict other than `ok`.
    Refused { number: ProposalNumber, command: Command, verdict: ProposalVerdict, error: Option<Failure> },
    /// Any other event from the hub.
    Message(FromHub),
    /// The session begins anew: forget what the hub repeats after each registration.
    Registered,
}

#[derive(Debug)]
struct Held {
    epoch: Epoch,
    /// Entries up to this position are in the state.
    from: Position,
    granted_at: Instant,
    complete: bool,
    joining: Joining,
}

/// Pieces of one text that arrive in order.
#[derive(Debug, Default)]
struct Joining {
    next: u32,
    text: String,
}

impl Joining {
    /// Adds a part; returns the whole text once the last part is there.
    fn push(&mut self, part: u32, of: u32, text: &str) -> Result<Option<String>, &'static str> {
        if part != self.next || part >= of {
            return Err("a part is missing");
        }
        if self.text.len() + text.len() > MAX_JOINED_BYTES {
            return Err("a text in parts is too large");
        }
        self.next += 1;
        self.text.push_str(text);
        if self.next < of {
            return Ok(None);
        }
        Ok(Some(std::mem::take(self).text))
    }
}

#[derive(Debug)]
pub(super) struct Owner {
    identity: Identity,
    role: Role,
    link: Link,
    held: BTreeMap<Slice, Held>,
    /// Slices that went to other components; the role has not been told yet.
    revoked: Vec<Slice>,
    /// The last position that was processed.
    position: Position,
    confirmed: Position,
    past: Past,
    joining: Joining,
    pub(super) outbox: Outbox,
}

impl Owner {
    pub(super) fn new(identity: Identity, role: Role) -> Self {
        Self {
            identity,
            role,
            link: Link::Down,
            held: BTreeMap::new(),
            revoked: Vec::new(),
            position: Position::default(),
            confirmed: Position::default(),
            past: Past::default(),
            joining: Joining::default(),
            outbox: Outbox::default(),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.link.is_up()
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// The slices whose state is complete.
    pub(super) fn owned(&self) -> Vec<Slice> {
        self.held.iter().filter(|(_, held)| held.complete).map(|(slice, _)| slice.clone()).collect()
    }

    /// Whether more proposals can be sent at once; a role that makes many checks this first.
    pub(super) fn has_room(&self) -> bool {
        self.outbox.len() < MAX_UNANSWERED
    }

    /// The number of unanswered proposals, including those that were not sent yet.
    pub(super) fn unanswered(&self) -> usize {
        self.outbox.len()
    }

    /// Proposes a command for a slice. Returns the proposal's number, or `None` if the slice is not owned.
    pub(super) fn propose(&mut self, slice: &Slice, command: Command) -> Option<ProposalNumber> {
        let held = self.held.get(slice).filter(|held| held.complete)?;
        let fence = Fence { slice: slice.clone(), epoch: held.epoch };
        Some(self.outbox.push(Some(fence), command))
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        earliest([self.link.deadline(), self.outbox.deadline().filter(|_| self.link.is_up())])
    }

    /// Takes an input, and returns what the role learns from it, in order.
    pub(super) fn accept(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) -> Vec<Fact> {
        let mut facts = Vec::new();
        match input {
            Input::Connected => self.register(now, &mut facts, out),
            Input::Disconnected => self.drop_link(),
            Input::Tick => {
                out.extend(self.link.tick(now));
                if self.link.is_up() && self.outbox.deadline().is_some_and(|at| at <= now) {
                    self.reconnect("proposals were not answered", out);
                }
            }
            Input::Message(message) => {
                if let Err(reason) = self.message(now, message, &mut facts, out) {
                    self.reconnect(reason, out);
                }
            }
        }
        facts
    }

    /// Sends proposals and acknowledges entries; called after the role has handled the facts.
    pub(super) fn flush(&mut self, now: Instant, out: &mut Vec<Output>) {
        if !self.link.is_up() {
            return;
        }
        let position = (self.position > self.confirmed).then_some(self.position);
        self.confirmed = self.position;
        let sent = self.outbox.flush(now, position, out);
        if let (false, Some(position)) = (sent, position) {
            out.push(Output::Send(ToHub::EventsAck(EventsAck { position })));
        }
    }

    fn register(&mut self, now: Instant, facts: &mut Vec<Fact>, out: &mut Vec<Output>) {
        self.drop_link();
        let owned = self.held.iter().map(|(slice, held)| Owned {
            slice: slice.clone(),
            epoch: held.epoch,
            position: self.position.max(held.from),
        });
        let mut register = self.identity.register(self.role, &self.past);
        register.owned = owned.collect();
        out.push(Output::Send(ToHub::RegisterComponent(Box::new(register))));
        self.link = Link::Registering { since: now };
        facts.push(Fact::Registered);
    }

    fn drop_link(&mut self) {
        self.link = Link::Down;
        self.joining = Joining::default();
        // An incomplete state is useless: the hub sends the whole state again.
        self.held.retain(|_, held| held.complete);
    }

    fn reconnect(&mut self, reason: &str, out: &mut Vec<Output>) {
        self.drop_link();
        out.push(Output::Reconnect { reason: reason.to_owned() });
    }

    /// The state can no longer be trusted: start over with fresh states.
    fn resync(&mut self, facts: &mut Vec<Fact>) {
        for slice in std::mem::take(&mut self.held).into_keys() {
            self.outbox.revoke(&slice);
            facts.push(Fact::Revoked { slice });
        }
    }

    /// The journal that everything came from is lost: forget all of it.
    fn start_anew(&mut self, facts: &mut Vec<Fact>) {
        self.resync(facts);
        self.outbox.clear();
        (self.position, self.confirmed) = (Position::default(), Position::default());
    }

    fn message(
        &mut self,
        now: Instant,
        message: FromHub,
        facts: &mut Vec<Fact>,
        out: &mut Vec<Output>,
    ) -> Result<(), &'static str> {
        if self.link == Link::Down {
            return Ok(());
        }
        match message {
            FromHub::ComponentRegistered(answer) => self.registered(&answer, facts, out),
            FromHub::RegistrationRejected(rejected) => {
                self.drop_link();
                out.push(Output::Rejected { error: rejected.error });
            }
            FromHub::Heartbeat(_) => self.heartbeat(out),
            FromHub::Ownership(ownership) => self.ownership(now, ownership, facts),
            FromHub::State(page) => self.state(page, facts)?,
            FromHub::Events(events) => {
                for item in events.entries {
                    self.item(item, facts)?;
                }
            }
            FromHub::AppendResult(answer) => {
                for result in answer.results {
                    self.answered(now, result, facts, out);
                }
            }
            FromHub::MeshError(error) => out.push(Output::refused(&error)),
            other => facts.push(Fact::Message(other)),
        }
        Ok(())
    }

    fn registered(&mut self, answer: &ComponentRegistered, facts: &mut Vec<Fact>, out: &mut Vec<Output>) {
        if let Some(log) = self.past.registered(answer) {
            out.push(log);
            self.start_anew(facts);
        }
        if !self.link.is_up() {
            self.link = Link::Up;
            self.outbox.rewind();
        }
        out.push(Output::Registered);
    }

    /// Answers a heartbeat and logs the slices that were lost since the last one.
    fn heartbeat(&mut self, out: &mut Vec<Output>) {
        if let Some(last) = self.revoked.pop() {
            let others = std::mem::take(&mut self.revoked).len();
            let detail = if others == 0 { last.to_string() } else { format!("{last} and {others} more") };
            let message = "another component owns the slices that this one owned";
            out.push(Output::Log { warning: false, message, detail });
        }
        let load = u32::try_from(self.held.len()).ok();
        let response = HeartbeatResponse { load, ..HeartbeatResponse::default() };
        out.push(Output::Send(ToHub::HeartbeatResponse(response)));
    }

    /// The hub answered a proposal.
    fn answered(&mut self, now: Instant, result: ProposalResult, facts: &mut Vec<Fact>, out: &mut Vec<Output>) {
        self.past.see(result.position.unwrap_or_default());
        let Some((number, item)) = self.outbox.settle(now, &result.proposal_id) else { return };
        if matches!(result.verdict, ProposalVerdict::Invalid) {
            let error = result.error.as_ref().map(ToString::to_string).unwrap_or_default();
            let detail = format!("{}: {error}", item.command.kind());
            out.push(Output::Log { warning: true, message: "proposal refused as invalid", detail });
        }
        if result.verdict != ProposalVerdict::Ok && !item.applied {
            let (command, verdict, error) = (item.command, result.verdict, result.error);
            facts.push(Fact::Refused { number, command, verdict, error });
        }
    }

    fn ownership(&mut self, now: Instant, ownership: Ownership, facts: &mut Vec<Fact>) {
        let Ownership { status, slice, epoch, position, state_follows } = ownership;
        self.past.see(position);
        match status {
            OwnershipStatus::Revoked => {
                self.outbox.revoke(&slice);
                if self.held.remove(&slice).is_some() {
                    self.revoked.push(slice.clone());
                    facts.push(Fact::Revoked { slice });
                }
            }
            OwnershipStatus::Granted if !state_follows => {
                if let Some(held) = self.held.get_mut(&slice) {
                    held.epoch = epoch;
                }
            }
            OwnershipStatus::Granted => {
                self.outbox.revoke(&slice);
                if self.held.remove(&slice).is_some() {
                    facts.push(Fact::Revoked { slice: slice.clone() });
                }
                facts.push(Fact::Begin { alone: self.held.is_empty() });
                let held =
                    Held { epoch, from: position, granted_at: now, complete: false, joining: Joining::default() };
                self.held.insert(slice, held);
            }
        }
    }

    fn state(&mut self, page: StatePage, facts: &mut Vec<Fact>) -> Result<(), &'static str> {
        let slice = page.slice;
        let Some(held) = self.held.get_mut(&slice).filter(|held| held.epoch == page.epoch && !held.complete) else {
            return Ok(());
        };
        let joined = match page.part {
            Some(Part { part, of, text }) => held.joining.push(part, of, &text)?,
            None => None,
        };
        let texts = page.items.iter().map(gleitzeit_workflow::payload::Payload::get).chain(joined.as_deref());
        for text in texts {
            let item = json::decode(text).map_err(|_| "an item of a state could not be read")?;
            facts.push(Fact::Item { slice: slice.clone(), item, granted_at: held.granted_at });
        }
        if page.last {
            held.complete = true;
            facts.push(Fact::Owned { slice });
        }
        Ok(())
    }

    fn holds(&self, slice: &Slice, position: Position) -> bool {
        self.held.get(slice).is_some_and(|held| position > held.from)
    }

    fn item(&mut self, item: EventsItem, facts: &mut Vec<Fact>) -> Result<(), &'static str> {
        if item.position <= self.position {
            return Ok(());
        }
        let item = match (item.part, item.of, item.text.as_deref()) {
            (Some(part), Some(of), Some(text)) => match self.joining.push(part, of, text)? {
                Some(whole) => json::decode(&whole).map_err(|_| "an entry in parts could not be read")?,
                None => return Ok(()),
            },
            _ => item,
        };
        let position = item.position;
        match item.entry() {
            Ok(Some(entry)) => self.entry(entry, facts)?,
            Ok(None) => {
                if let Some(id) = &item.proposal_id {
                    let Some(proposal) = self.outbox.get_mut(id) else {
                        self.resync(facts);
                        return Err("an entry of an unknown proposal came without its body");
                    };
                    if !proposal.applied {
                        proposal.applied = true;
                        let (command, fence) = (proposal.command.clone(), proposal.fence.clone());
                        let owned = fence.is_some_and(|fence| self.holds(&fence.slice, position));
                        facts.push(Fact::Recorded { command, owned });
                    }
                }
            }
            Err(_) => {
                self.resync(facts);
                return Err("an entry could not be read");
            }
        }
        self.position = position;
        self.past.see(position);
        Ok(())
    }

    fn entry(&mut self, entry: Entry, facts: &mut Vec<Fact>) -> Result<(), &'static str> {
        let slice = match self.role {
            Role::Resolver => entry.run_id.map(|run_id| Slice::Shard(run_id.shard())),
            _ => entry.queue.clone().map(Slice::Queue),
        };
        let owned = match slice.and_then(|slice| self.held.get(&slice)) {
            Some(held) if entry.position <= held.from => false,
            Some(held) if held.complete => true,
            // The hub sends a complete state before it continues with entries.
            Some(_) => return Err("an entry came before the state of its slice"),
            None => false,
        };
        facts.push(Fact::Entry { entry: Box::new(entry), owned });
        Ok(())
    }
}
