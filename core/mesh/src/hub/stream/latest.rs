//! The latest entries in memory, each with what is derived from it once for all readers.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::sync::Arc;

use gleitzeit_run::event::WorkflowSubmitted;
use gleitzeit_run::id::Position;
use gleitzeit_run::ledger::{Audience, audience, without_payload};
use gleitzeit_run::{Entry, Event};
use gleitzeit_workflow::payload::Payload;

use crate::wire::EventsItem;

/// The estimated size of an item besides its body; generous.
pub(super) const ITEM_BYTES: usize = 256;

/// An entry with what is derived from it once for all receivers.
#[derive(Debug)]
pub(super) struct Kept {
    entry: Arc<Entry>,
    audience: Audience,
    full: OnceCell<EventsItem>,
    slim: OnceCell<EventsItem>,
    /// The same without payloads, for receivers in this process.
    slim_whole: OnceCell<Arc<Entry>>,
}

impl Kept {
    pub(super) fn new(entry: Arc<Entry>) -> Self {
        let (full, slim, slim_whole) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Self { audience: audience(&entry), entry, full, slim, slim_whole }
    }

    pub(super) fn full(&self) -> &EventsItem {
        self.full.get_or_init(|| EventsItem::full(&self.entry))
    }

    pub(super) fn slim(&self) -> &EventsItem {
        self.slim.get_or_init(|| EventsItem::full(&without_payload(&self.entry)))
    }

    /// For a component in this process, in full or without payloads.
    pub(super) fn whole(&self, in_full: bool) -> EventsItem {
        EventsItem::whole(match in_full {
            true => self.entry.clone(),
            false => self.slim_whole.get_or_init(|| Arc::new(without_payload(&self.entry))).clone(),
        })
    }

    /// For readers of the whole journal: without files and environment.
    pub(super) fn public(&self) -> EventsItem {
        let Event::WorkflowSubmitted(submitted) = &self.entry.event else { return self.full().clone() };
        let submitted = WorkflowSubmitted {
            files: Default::default(),
            env: Default::default(),
            ..WorkflowSubmitted::clone(submitted)
        };
        EventsItem::full(&Entry { event: Event::WorkflowSubmitted(Arc::new(submitted)), ..Entry::clone(&self.entry) })
    }

    pub(super) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// Whom the entry concerns.
    pub(super) fn audience(&self) -> &Audience {
        &self.audience
    }

    pub(super) fn position(&self) -> Position {
        self.entry.position
    }

    /// Roughly what it holds in memory.
    pub(super) fn bytes(&self) -> usize {
        let payload = self.entry.event.meaning().payload.map_or(0, Payload::size_bytes);
        // Shared with the run's state: what is encoded for the wire counts.
        let tasks =
            if let Event::WorkflowSubmitted(event) = &self.entry.event { event.workflow.tasks.len() } else { 0 };
        ITEM_BYTES + 2 * (256 * tasks + payload)
    }
}

/// The latest entries, in order and without gaps.
#[derive(Debug)]
pub(super) struct Latest {
    head: Position,
    /// Entries up to here may be gone from the store.
    pruned: Position,
    kept: VecDeque<Kept>,
    bytes: usize,
    max_bytes: usize,
}

impl Latest {
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

    pub(super) fn get(&self, position: Position) -> Option<&Kept> {
        let first = self.kept.front()?.entry.position;
        let at = usize::try_from(position.0.checked_sub(first.0)?).ok()?;
        self.kept.get(at)
    }
}
