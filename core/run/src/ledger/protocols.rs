//! Registered protocols: which there are, what they weigh, when each was last used, and which entries about them a replay
//! can do without. Only what nobody serves, no unfinished run needs and nobody has used for long is removed.

use std::collections::{BTreeMap, BTreeSet};

use gleitzeit_workflow::id::{MethodName, ProtocolName};
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::time::Timestamp;

use crate::event::{ProtocolRegistered, ProtocolRemoved, ProtocolsUsed};
use crate::id::Position;
use crate::ledger::Ledger;
use crate::planted;
use crate::planted::Bug;
use crate::{Entry, Event, ProtocolUse, State};

/// So many protocols are removed by one request, so that it keeps nobody waiting.
const MAX_REMOVED: usize = 500;
/// A `protocols_used` names at most so many.
const MAX_NOTED: usize = 1_000;
/// A use is noted at most once in so many milliseconds for each protocol.
const NOTE_EVERY_MS: u64 = 3_600_000;
/// A use is noted once this part of the time is over after which protocols are removed: so much of what a restart forgets
/// is allowed for.
const NOTED_PART: u64 = 8;

/// Where an entry stands and when it was recorded.
type Mark = (Position, Timestamp);

#[derive(Clone, Debug)]
struct Known {
    methods: Payload,
    registered: Mark,
    /// The last `protocols_used` that names it and is later.
    noted: Option<Mark>,
}

impl Known {
    /// When it was last used, as far as that is recorded.
    fn recorded_use(&self) -> Timestamp {
        self.noted.unwrap_or(self.registered).1
    }
}

/// The registered protocols.
#[derive(Clone, Debug, Default)]
pub(super) struct Protocols {
    known: BTreeMap<ProtocolName, Known>,
    /// What the methods of all of them take.
    bytes: usize,
    /// Each `protocols_used` by its place: when it was recorded, and for how many protocols it is the last.
    notes: BTreeMap<Position, (Timestamp, usize)>,
    /// Entries without which a replay comes to the same, with their times.
    obsolete: BTreeMap<Position, Timestamp>,
    /// Never removed, since a start makes them known again. Not a fold: said after each start.
    kept: BTreeSet<ProtocolName>,
    /// When each was last seen in use. Not a fold: what of it outlives a restart is noted by `protocols_used`.
    seen: BTreeMap<ProtocolName, Timestamp>,
}

impl Protocols {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, name: &str, version: &str) -> Option<&Payload> {
        self.known.get(&ProtocolName::new(name, version)).map(|known| &known.methods)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str, &Payload)> {
        self.known.iter().map(|(it, known)| (it.name.as_str(), it.version.as_str(), &known.methods))
    }

    pub(super) fn registered(&mut self, entry: &Entry, protocol: &ProtocolRegistered) {
        let ProtocolRegistered { name, version, methods } = protocol.clone();
        self.bytes += methods.size_bytes();
        let known = Known { methods, registered: (entry.position, entry.recorded_at), noted: None };
        if let Some(before) = self.known.insert(ProtocolName { name, version }, known) {
            self.release(&before);
        }
    }

    pub(super) fn used(&mut self, entry: &Entry, used: &ProtocolsUsed) {
        let mark = (entry.position, entry.recorded_at);
        let mut count = 0;
        for name in &used.protocols {
            let Some(known) = self.known.get_mut(name) else { continue };
            let before = known.noted.replace(mark);
            count += 1;
            self.unnote(before);
        }
        match count {
            0 => drop(self.obsolete.insert(mark.0, mark.1)),
            count => drop(self.notes.insert(mark.0, (mark.1, count))),
        }
    }

    pub(super) fn removed(&mut self, entry: &Entry, removed: &ProtocolRemoved) {
        let name = ProtocolName::new(&removed.name, &removed.version);
        if let Some(known) = self.known.remove(&name) {
            self.release(&known);
        }
        self.seen.remove(&name);
        self.obsolete.insert(entry.position, entry.recorded_at);
    }

    /// The entries of one that is not known any more, or known by another entry, no longer matter.
    fn release(&mut self, known: &Known) {
        self.bytes -= known.methods.size_bytes();
        self.obsolete.insert(known.registered.0, known.registered.1);
        self.unnote(known.noted);
    }

    fn unnote(&mut self, mark: Option<Mark>) {
        let Some((position, recorded_at)) = mark else { return };
        let Some((_, count)) = self.notes.get_mut(&position) else { return };
        *count -= 1;
        if *count == 0 {
            self.notes.remove(&position);
            self.obsolete.insert(position, recorded_at);
        }
    }

    fn saw(&mut self, name: ProtocolName, at: Timestamp) {
        if self.known.contains_key(&name) {
            let seen = self.seen.entry(name).or_insert(at);
            *seen = at.max(*seen);
        }
    }

    /// A run has ended: until then it had use for its protocols.
    pub(super) fn saw_run(&mut self, run: &State, at: Timestamp) {
        for (name, version) in needs(run) {
            self.saw(ProtocolName::new(name, version), at);
        }
    }

    /// When it was last used: what a restart may have forgotten of that is counted as use.
    fn last_use(&self, name: &ProtocolName, known: &Known, forgotten_ms: u64) -> Timestamp {
        let recorded = known.recorded_use().plus_ms(forgotten_ms);
        self.seen.get(name).map_or(recorded, |seen| recorded.max(*seen))
    }

    /// Those whose use was not noted for long.
    fn unnoted(&self, every_ms: u64) -> Vec<ProtocolName> {
        let late = |name: &ProtocolName, known: &Known| {
            self.seen.get(name).is_some_and(|seen| *seen > known.recorded_use().plus_ms(every_ms))
        };
        self.known.iter().filter(|(name, known)| late(name, known)).map(|(name, _)| name.clone()).collect()
    }
}

impl Ledger {
    /// These protocols are never removed: each start makes them known.
    pub fn keep_protocols(&mut self, names: impl IntoIterator<Item = ProtocolName>) {
        self.protocols.kept.extend(names);
    }

    /// What is served now was used now.
    pub(super) fn saw_served(&mut self, served: &[ProtocolUse], now: Timestamp) {
        for used in served {
            self.protocols.saw(used.protocol.clone(), now.minus_ms(used.ago_ms));
        }
    }

    /// What is to be recorded so that unused protocols are gone, and uses are known after a restart.
    pub(super) fn decide_prune(&self, unused_ms: u64, served: &[ProtocolUse], now: Timestamp) -> Vec<Event> {
        let removed = self.unused(unused_ms, served, now);
        let every_ms = (unused_ms / NOTED_PART).max(NOTE_EVERY_MS);
        let mut used = self.protocols.unnoted(every_ms);
        used.retain(|name| !removed.contains(name));
        let notes = used.chunks(MAX_NOTED).map(|some| ProtocolsUsed { protocols: some.to_vec() }.into());
        let gone = removed.iter().map(|it| {
            let ProtocolName { name, version } = it.clone();
            ProtocolRemoved { name, version }.into()
        });
        gone.chain(notes).collect()
    }

    /// The protocols that can go.
    fn unused(&self, unused_ms: u64, served: &[ProtocolUse], now: Timestamp) -> BTreeSet<ProtocolName> {
        // What a run needs that cannot be read is not known.
        if self.aside.values().next().is_some() {
            return BTreeSet::new();
        }
        let protocols = &self.protocols;
        let before = now.minus_ms(unused_ms);
        let served: BTreeSet<&ProtocolName> =
            served.iter().filter(|it| it.ago_ms == 0).map(|it| &it.protocol).collect();
        let old = protocols.known.iter().filter(|(name, known)| {
            let last_use = protocols.last_use(name, known, unused_ms / NOTED_PART);
            last_use <= before && !protocols.kept.contains(*name) && !served.contains(*name)
        });
        let mut old: BTreeSet<&ProtocolName> = old.map(|(name, _)| name).collect();
        if !old.is_empty() && !planted::is(Bug::NeededProtocols) {
            let unfinished = self.runs.values().filter(|run| !run.status.is_final());
            let needed: BTreeSet<(&str, &str)> = unfinished.flat_map(needs).collect();
            old.retain(|it| !needed.contains(&(it.name.as_str(), it.version.as_str())));
        }
        old.into_iter().take(MAX_REMOVED).cloned().collect()
    }

    /// Entries that were recorded no later than `before` and without which a replay comes to the same: at most `most`, the
    /// oldest, and each together with all before it that are such entries.
    pub fn obsolete(&self, before: Timestamp, most: usize) -> Vec<Position> {
        let old = self.protocols.obsolete.iter().take_while(|(_, recorded_at)| **recorded_at <= before);
        old.map(|(position, _)| *position).take(most).collect()
    }

    /// These entries are no longer in the store.
    pub fn forget_obsolete(&mut self, positions: &[Position]) {
        for position in positions {
            self.protocols.obsolete.remove(position);
        }
    }
}

/// The protocols whose methods a run's tasks name, each once: name and version.
fn needs(run: &State) -> Vec<(&str, &str)> {
    let mut needs: Vec<(&str, &str)> = Vec::new();
    for task in &run.submitted.workflow.tasks {
        let it = (protocol_of(&task.method), task.protocol_version.as_str());
        // Neighbours are mostly alike, and there are few of them.
        if !needs.iter().rev().any(|known| *known == it) {
            needs.push(it);
        }
    }
    needs
}

fn protocol_of(method: &MethodName) -> &str {
    method.as_str().split_once('/').map_or(method.as_str(), |(protocol, _)| protocol)
}
