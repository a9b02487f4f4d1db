//! Ownership of slices: recorded before it is granted, spread evenly over the live instances, with few moves when one
//! joins.

use std::collections::{BTreeMap, BTreeSet};

use gleitzeit_run::Request;
use gleitzeit_run::event::OwnershipGranted;
use gleitzeit_run::id::{ComponentId, Epoch, Position, Shard, Slice};
use gleitzeit_run::planted_bugs::{self, Bug};
use gleitzeit_workflow::id::QueueName;

use crate::hub::pending::Pending;
use crate::hub::{Hub, Output, SocketId};
use crate::wire::{FromHub, Owned, Ownership, OwnershipStatus, Role};

#[derive(Debug)]
pub(super) struct Ownerships {
    /// The owners on record.
    owners: BTreeMap<Slice, (ComponentId, Epoch)>,
    /// Every queue that exists.
    queues: BTreeSet<QueueName>,
    /// Slices whose grant was requested and is not answered yet.
    asked: BTreeSet<Slice>,
}

impl Ownerships {
    pub(super) fn new(owners: Vec<(Slice, ComponentId, Epoch)>, queues: Vec<QueueName>) -> Self {
        let owners: BTreeMap<_, _> = owners.into_iter().map(|(slice, owner, epoch)| (slice, (owner, epoch))).collect();
        let mut queues: BTreeSet<QueueName> = queues.into_iter().collect();
        queues.insert(QueueName::default_queue());
        queues.extend(owners.keys().filter_map(|slice| match slice {
            Slice::Queue(queue) => Some(queue.clone()),
            Slice::Shard(_) => None,
        }));
        Self { owners, queues, asked: BTreeSet::new() }
    }

    pub(super) fn owner(&self, slice: &Slice) -> Option<(&ComponentId, Epoch)> {
        self.owners.get(slice).map(|(owner, epoch)| (owner, *epoch))
    }

    pub(super) fn owned_by(&self, component_id: &ComponentId) -> impl Iterator<Item = (&Slice, Epoch)> {
        let owned = self.owners.iter().filter(move |(_, (owner, _))| owner == component_id);
        owned.map(|(slice, (_, epoch))| (slice, *epoch))
    }

    pub(super) fn owners_by_role(&self) -> Vec<(ComponentId, Role)> {
        let owners = self.owners.iter().map(|(slice, (owner, _))| (owner.clone(), role_for(slice)));
        owners.collect::<BTreeMap<_, _>>().into_iter().collect()
    }

    pub(super) fn grant_answered(&mut self, slice: &Slice) {
        self.asked.remove(slice);
    }

    fn slices(&self, role: Role) -> Vec<Slice> {
        match role {
            Role::Resolver => Shard::all().map(Slice::Shard).collect(),
            _ => self.queues.iter().cloned().map(Slice::Queue).collect(),
        }
    }
}

fn role_for(slice: &Slice) -> Role {
    match slice {
        Slice::Shard(_) => Role::Resolver,
        Slice::Queue(_) => Role::Queue,
    }
}

impl Hub {
    /// Registers a queue, which exists from the first task or engine that names it.
    pub(super) fn name_queue(&mut self, queue: &QueueName) {
        if !self.ownerships.queues.contains(queue) {
            self.ownerships.queues.insert(queue.clone());
            self.replan = true;
        }
    }

    /// Requests owners for slices that have none, and a fair share for owners that have less.
    pub(super) fn plan(&mut self) {
        for role in [Role::Resolver, Role::Queue] {
            let live: BTreeSet<ComponentId> = self.presence.connected(role).cloned().collect();
            if live.is_empty() {
                continue;
            }
            let slices = self.ownerships.slices(role);
            if slices.iter().any(|slice| self.ownerships.asked.contains(slice)) {
                // One plan at a time: the answers start the next one.
                continue;
            }
            for (slice, component_id) in self.moves(&slices, &live) {
                self.ownerships.asked.insert(slice.clone());
                self.request(Pending::Grant { slice: slice.clone() }, Request::Grant { slice, component_id });
            }
        }
    }

    /// Which slices should move to which component.
    fn moves(&self, slices: &[Slice], live: &BTreeSet<ComponentId>) -> Vec<(Slice, ComponentId)> {
        let mut shares: BTreeMap<&ComponentId, Vec<&Slice>> = live.iter().map(|id| (id, Vec::new())).collect();
        let mut free = Vec::new();
        for slice in slices {
            match self.ownerships.owner(slice) {
                Some((owner, _)) if live.contains(owner) => {
                    if let Some(share) = shares.get_mut(owner) {
                        share.push(slice);
                    }
                }
                // A silent owner may reconnect.
                Some((owner, _)) if self.presence.contains(owner) => {}
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

    /// An ownership was recorded.
    pub(super) fn granted(&mut self, granted: &OwnershipGranted) {
        let OwnershipGranted { slice, component_id, epoch } = granted.clone();
        self.ownerships.grant_answered(&slice);
        let before = self.ownerships.owners.insert(slice.clone(), (component_id.clone(), epoch));
        let socket = before.as_ref().and_then(|(before, _)| self.presence.socket(before));
        if let (Some((_, epoch)), Some(socket)) = (before, socket) {
            self.revoke(socket, slice.clone(), epoch);
        }
        match self.presence.socket(&component_id) {
            Some(socket) => self.query_slice(socket, slice, component_id, epoch),
            None => self.replan = true,
        }
    }

    fn revoke(&mut self, socket: SocketId, slice: Slice, epoch: Epoch) {
        self.stream.disown(socket, &slice);
        let (status, position) = (OwnershipStatus::Revoked, self.stream.head());
        self.send(socket, FromHub::Ownership(Ownership { status, slice, epoch, position, state_follows: false }));
    }

    fn query_slice(&mut self, socket: SocketId, slice: Slice, component_id: ComponentId, epoch: Epoch) {
        let token = self.token(Pending::Slice { slice: slice.clone(), component_id, epoch, socket });
        self.out.push(Output::QuerySlice { token, slice });
    }

    /// An owner registered: it keeps what it still owns, is told what it lost, and receives the rest anew.
    pub(super) fn resume_ownership(&mut self, socket: SocketId, component_id: &ComponentId, held: Vec<Owned>) {
        let recorded: BTreeMap<Slice, Epoch> =
            self.ownerships.owned_by(component_id).map(|(slice, epoch)| (slice.clone(), epoch)).collect();
        // The entries that it missed must still be available.
        let there = self.stream.pruned()..=self.stream.head();
        let mut goes_on: BTreeMap<Slice, Position> = BTreeMap::new();
        for owned in held {
            if recorded.get(&owned.slice) == Some(&owned.epoch) && there.contains(&owned.position) {
                let from = if planted_bugs::is(Bug::NoResync) { *there.end() } else { owned.position };
                goes_on.insert(owned.slice, from);
            } else if !recorded.contains_key(&owned.slice) {
                self.revoke(socket, owned.slice, owned.epoch);
            }
        }
        for (slice, epoch) in recorded {
            let Some(position) = goes_on.get(&slice).copied() else {
                self.query_slice(socket, slice, component_id.clone(), epoch);
                continue;
            };
            let (status, state_follows) = (OwnershipStatus::Granted, false);
            let ownership = Ownership { status, slice: slice.clone(), epoch, position, state_follows };
            self.send(socket, FromHub::Ownership(ownership));
            self.own_slice(socket, slice, position);
        }
    }
}
