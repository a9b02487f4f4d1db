//! Registered protocols: their schemas and size, when each was last used, and which of their entries a replay can do
//! without. A protocol is removed only if it is not served, no unfinished run needs it and it has been unused for long.

use std::collections::{BTreeMap, BTreeSet};

use gleitzeit_workflow::id::{MethodName, ProtocolName};
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::time::Timestamp;

use crate::event::{ProtocolRegistered, ProtocolRemoved, ProtocolsUsed};
use crate::id::Position;
use crate::ledger::Ledger;
use crate::planted_bugs;
use crate::planted_bugs::Bug;
use crate::{Entry, Event, ProtocolUse, State};

/// The maximum number of protocols that one request removes, so that it does not hold up other requests.
const MAX_REMOVED: usize = 500;
/// The maximum number of protocols that one `protocols_used` names.
const MAX_NOTED: usize = 1_000;
/// The minimum time between two recorded uses of a protocol, in milliseconds.
const NOTE_EVERY_MS: u64 = 3_600_000;
/// A use is recorded once this fraction (1/N) of the retention time has passed since the last one on record. A restart
/// may forget that much, so removal allows for it.
const NOTED_PART: u64 = 8;

/// The position of an entry and when it was recorded.
type Mark = (Position, Timestamp);

#[derive(Clone, Debug)]
struct Known {
    methods: Payload,
    registered: Mark,
    /// The latest `protocols_used` that names it, if there is one after its registration.
    noted: Option<Mark>,
}

impl Known {
    /// The last use on record.
    fn recorded_use(&self) -> Timestamp {
        self.noted.unwrap_or(self.registered).1
    }
}

/// The registered protocols.
#[derive(Clone, Debug, Default)]
pub(super) struct Protocols {
    known: BTreeMap<ProtocolName, Known>,
    /// The total size of their methods, in bytes.
    bytes: usize,
    /// By the position of each `protocols_used`: when it was recorded, and for how many protocols it is the latest.
    notes: BTreeMap<Position, (Timestamp, usize)>,
    /// Entries that a replay can leave out without changing its result, with their times.
    obsolete: BTreeMap<Position, Timestamp>,
    /// Protocols that are never removed, since each start registers them again. This is not a fold: it is set after
    /// each start.
    kept: BTreeSet<ProtocolName>,
    /// When each was last seen in use. This is not a fold: only the uses in `protocols_used` survive a restart.
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
            self.release_note(before);
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

    /// The entries of a protocol that was removed or registered again are obsolete.
    fn release(&mut self, known: &Known) {
        self.bytes -= known.methods.size_bytes();
        self.obsolete.insert(known.registered.0, known.registered.1);
        self.release_note(known.noted);
    }

    fn release_note(&mut self, mark: Option<Mark>) {
        let Some((position, recorded_at)) = mark else { return };
        let Some((_, count)) = self.notes.get_mut(&position) else { return };
        *count -= 1;
        if *count == 0 {
            self.notes.remove(&position);
            self.obsolete.insert(position, recorded_at);
        }
    }

    fn note_use(&mut self, name: ProtocolName, at: Timestamp) {
        if self.known.contains_key(&name) {
            let seen = self.seen.entry(name).or_insert(at);
            *seen = at.max(*seen);
        }
    }

    /// A run has ended: its protocols were in use until then.
    pub(super) fn note_run_use(&mut self, run: &State, at: Timestamp) {
        for (name, version) in needs(run) {
            self.note_use(ProtocolName::new(name, version), at);
        }
    }

    /// When a protocol was last used. The time that a restart may have forgotten counts as use.
    fn last_use(&self, name: &ProtocolName, known: &Known, forgotten_ms: u64) -> Timestamp {
        let recorded = known.recorded_use().plus_ms(forgotten_ms);
        self.seen.get(name).map_or(recorded, |seen| recorded.max(*seen))
    }

    /// The protocols whose use was not recorded for this long.
    fn unrecorded_uses(&self, every_ms: u64) -> Vec<ProtocolName> {
        let late = |name: &ProtocolName, known: &Known| {
            self.seen.get(name).is_some_and(|seen| *seen > known.recorded_use().plus_ms(every_ms))
        };
        self.known.iter().filter(|(name, known)| late(name, known)).map(|(name, _)| name.clone()).collect()
    }
}

impl Ledger {
    /// Marks protocols that are never removed because each start registers them.
    pub fn keep_protocols(&mut self, names: impl IntoIterator<Item = ProtocolName>) {
        self.protocols.kept.extend(names);
    }

    /// Records that the served protocols are in use now.
    pub(super) fn note_served(&mut self, served: &[ProtocolUse], now: Timestamp) {
        for used in served {
            self.protocols.note_use(used.protocol.clone(), now.minus_ms(used.ago_ms));
        }
    }

    /// The events that remove unused protocols and record uses for after a restart.
    pub(super) fn decide_prune(&self, unused_ms: u64, served: &[ProtocolUse], now: Timestamp) -> Vec<Event> {
        let removed = self.unused(unused_ms, served, now);
        let every_ms = (unused_ms / NOTED_PART).max(NOTE_EVERY_MS);
        let mut used = self.protocols.unrecorded_uses(every_ms);
        used.retain(|name| !removed.contains(name));
        let notes = used.chunks(MAX_NOTED).map(|some| ProtocolsUsed { protocols: some.to_vec() }.into());
        let gone = removed.iter().map(|it| {
            let ProtocolName { name, version } = it.clone();
            ProtocolRemoved { name, version }.into()
        });
        gone.chain(notes).collect()
    }

    /// The protocols that can be removed.
    fn unused(&self, unused_ms: u64, served: &[ProtocolUse], now: Timestamp) -> BTreeSet<ProtocolName> {
        // The needs of a run that cannot be read are unknown.
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
        if !old.is_empty() && !planted_bugs::is(Bug::NeededProtocols) {
            let unfinished = self.runs.values().filter(|run| !run.status.is_final());
            let needed: BTreeSet<(&str, &str)> = unfinished.flat_map(needs).collect();
            old.retain(|it| !needed.contains(&(it.name.as_str(), it.version.as_str())));
        }
        old.into_iter().take(MAX_REMOVED).cloned().collect()
    }

    /// Entries recorded no later than `before` that a replay can leave out: the oldest ones, at most `most`. An entry
    /// is returned only together with all earlier ones.
    pub fn obsolete(&self, before: Timestamp, most: usize) -> Vec<Position> {
        let old = self.protocols.obsolete.iter().take_while(|(_, recorded_at)| **recorded_at <= before);
        old.map(|(position, _)| *position).take(most).collect()
    }

    /// Forgets entries that are no longer in the store.
    pub fn forget_obsolete(&mut self, positions: &[Position]) {
        for position in positions {
            self.protocols.obsolete.remove(position);
        }
    }
}

/// The protocols that the methods of a run's tasks need, each once: name and version.
fn needs(run: &State) -> Vec<(&str, &str)> {
    let mut needs: Vec<(&str, &str)> = Vec::new();
    for task in &run.submitted.workflow.tasks {
        let it = (protocol_of(&task.method), task.protocol_version.as_str());
        // Adjacent tasks mostly need the same protocol, and there are few.
        if !needs.iter().rev().any(|known| *known == it) {
            needs.push(it);
        }
    }
    needs
}

fn protocol_of(method: &MethodName) -> &str {
    method.as_str().split_once('/').map_or(method.as_str(), |(protocol, _)| protocol)
}
