//! The owners on record, the queues that exist, and the plan of who should own what.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use gleitzeit_run::event::OwnershipGranted;
use gleitzeit_run::id::{ComponentId, Epoch, Position, Shard, Slice};
use gleitzeit_run::planted_bugs::{self, Bug};
use gleitzeit_workflow::id::QueueName;

use crate::hub::presence::Presence;
use crate::wire::{Owned, Role};

/// What becomes of the slices of an owner that registers.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::hub) struct Resumed {
    /// Those that it holds and does not own.
    pub(in crate::hub) revoked: Vec<(Slice, Epoch)>,
    /// Those that it owns, each with the position from which it continues; without one it receives the state anew.
    pub(in crate::hub) kept: Vec<(Slice, Epoch, Option<Position>)>,
}

/// Who owns which slice, and which owners were asked for.
#[derive(Debug)]
pub(in crate::hub) struct Ownerships {
    /// The owners on record.
    owners: BTreeMap<Slice, (ComponentId, Epoch)>,
    /// Every queue that exists.
    queues: BTreeSet<QueueName>,
    /// Slices whose grant was requested and is not answered yet.
    asked: BTreeSet<Slice>,
    /// Whether it must be planned again because a component came or went, or a slice appeared.
    replan: bool,
}

impl Ownerships {
    pub(in crate::hub) fn new(owners: Vec<(Slice, ComponentId, Epoch)>, queues: Vec<QueueName>) -> Self {
        let owners: BTreeMap<_, _> = owners.into_iter().map(|(slice, owner, epoch)| (slice, (owner, epoch))).collect();
        let mut queues: BTreeSet<QueueName> = queues.into_iter().collect();
        queues.insert(QueueName::default_queue());
        queues.extend(owners.keys().filter_map(|slice| match slice {
            Slice::Queue(queue) => Some(queue.clone()),
            Slice::Shard(_) => None,
        }));
        Self { owners, queues, asked: BTreeSet::new(), replan: true }
    }

    pub(in crate::hub) fn owner(&self, slice: &Slice) -> Option<(&ComponentId, Epoch)> {
        self.owners.get(slice).map(|(owner, epoch)| (owner, *epoch))
    }

    pub(in crate::hub) fn owned_by(&self, component_id: &ComponentId) -> impl Iterator<Item = (&Slice, Epoch)> {
        let owned = self.owners.iter().filter(move |(_, (owner, _))| owner == component_id);
        owned.map(|(slice, (_, epoch))| (slice, *epoch))
    }

    pub(in crate::hub) fn owners_by_role(&self) -> Vec<(ComponentId, Role)> {
        let owners = self.owners.iter().map(|(slice, (owner, _))| (owner.clone(), role_for(slice)));
        owners.collect::<BTreeMap<_, _>>().into_iter().collect()
    }

    /// A grant was recorded or refused.
    pub(in crate::hub) fn grant_answered(&mut self, slice: &Slice) {
        self.asked.remove(slice);
        self.replan = true;
    }

    /// A component came or went: it is planned again at the end of this input.
    pub(in crate::hub) fn plan_again(&mut self) {
        self.replan = true;
    }

    /// Registers a queue, which exists from the first task or engine that names it.
    pub(in crate::hub) fn name_queue(&mut self, queue: &QueueName) {
        if !self.queues.contains(queue) {
            self.queues.insert(queue.clone());
            self.replan = true;
        }
    }

    /// Records an owner. Returns the one before.
    pub(in crate::hub) fn granted(&mut self, granted: OwnershipGranted) -> Option<(ComponentId, Epoch)> {
        let OwnershipGranted { slice, component_id, epoch } = granted;
        self.asked.remove(&slice);
        self.owners.insert(slice, (component_id, epoch))
    }

    /// If a plan is due: owners for slices that have none, and a fair share for owners that have less. Each is to be
    /// asked for and counts as asked.
    pub(in crate::hub) fn plan(&mut self, presence: &Presence) -> Vec<(Slice, ComponentId)> {
        let mut planned = Vec::new();
        if !std::mem::take(&mut self.replan) {
            return planned;
        }
        for role in [Role::Resolver, Role::Queue] {
            let live: BTreeSet<ComponentId> = presence.connected(role).cloned().collect();
            if live.is_empty() {
                continue;
            }
            let slices = self.slices(role);
            if slices.iter().any(|slice| self.asked.contains(slice)) {
                // One plan at a time: the answers start the next one.
                continue;
            }
            planned.extend(self.moves(&slices, &live, presence));
        }
        self.asked.extend(planned.iter().map(|(slice, _)| slice.clone()));
        planned
    }

    /// What becomes of the slices of an owner that registers and names those that it holds; `there` are the positions
    /// from which it can continue.
    pub(in crate::hub) fn resume(
        &self,
        component_id: &ComponentId,
        held: Vec<Owned>,
        there: &RangeInclusive<Position>,
    ) -> Resumed {
        let recorded: BTreeMap<Slice, Epoch> =
            self.owned_by(component_id).map(|(slice, epoch)| (slice.clone(), epoch)).collect();
        let (mut revoked, mut goes_on) = (Vec::new(), BTreeMap::new());
        for owned in held {
            if recorded.get(&owned.slice) == Some(&owned.epoch) && there.contains(&owned.position) {
                let from = if planted_bugs::is(Bug::NoResync) { *there.end() } else { owned.position };
                goes_on.insert(owned.slice, from);
            } else if !recorded.contains_key(&owned.slice) {
                revoked.push((owned.slice, owned.epoch));
            }
        }
        let kept = recorded.into_iter().map(|(slice, epoch)| {
            let from = goes_on.get(&slice).copied();
            (slice, epoch, from)
        });
        Resumed { revoked, kept: kept.collect() }
    }

    fn slices(&self, role: Role) -> Vec<Slice> {
        match role {
            Role::Resolver => Shard::all().map(Slice::Shard).collect(),
            _ => self.queues.iter().cloned().map(Slice::Queue).collect(),
        }
    }

    /// Which slices should move to which component.
    fn moves(&self, slices: &[Slice], live: &BTreeSet<ComponentId>, presence: &Presence) -> Vec<(Slice, ComponentId)> {
        let mut shares: BTreeMap<&ComponentId, Vec<&Slice>> = live.iter().map(|id| (id, Vec::new())).collect();
        let mut free = Vec::new();
        for slice in slices {
            match self.owner(slice) {
                Some((owner, _)) if live.contains(owner) => {
                    if let Some(share) = shares.get_mut(owner) {
                        share.push(slice);
                    }
                }
                // A silent owner may reconnect.
                Some((owner, _)) if presence.contains(owner) => {}
                _ => free.push(slice),
            }
        }
        let total = free.len() + shares.values().map(Vec::len).sum::<usize>();
        let (least, most) = (total / live.len(), total.div_ceil(live.len()));
        let mut moves = Vec::new();
        for share in shares.values_mut() {
            while share.len() > most {
                free.extend(share.pop());
            }
        }
        let lacking: usize = shares.values().map(|share| least.saturating_sub(share.len())).sum();
        let mut lacking = lacking.saturating_sub(free.len());
        for share in shares.values_mut() {
            if lacking > 0 && share.len() > least {
                free.extend(share.pop());
                lacking -= 1;
            }
        }
        for slice in free {
            let smallest = shares.iter_mut().min_by_key(|(_, share)| share.len());
            if let Some((component_id, share)) = smallest {
                moves.push((slice.clone(), (*component_id).clone()));
                share.push(slice);
            }
        }
        moves
    }
}

fn role_for(slice: &Slice) -> Role {
    match slice {
        Slice::Shard(_) => Role::Resolver,
        Slice::Queue(_) => Role::Queue,
    }
}

#[cfg(test)]
mod tests;
