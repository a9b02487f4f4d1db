//! Ownership of slices: recorded before it is granted, spread evenly over the live instances, with few moves when one
//! joins.
//!
//! `state` owns what is recorded and plans. Here the hub asks the journal and tells the owners.

mod state;

use gleitzeit_run::Request;
use gleitzeit_run::event::OwnershipGranted;
use gleitzeit_run::id::{ComponentId, Epoch, Slice};

use crate::hub::pending::Pending;
use crate::hub::{Hub, Output, SocketId};
use crate::wire::{FromHub, Owned, Ownership, OwnershipStatus};

pub(super) use state::Ownerships;

use state::Resumed;

impl Hub {
    /// Requests the owners that are planned, if a plan is due.
    pub(super) fn plan(&mut self) {
        for (slice, component_id) in self.ownerships.plan(&self.presence) {
            self.request(Pending::Grant { slice: slice.clone() }, Request::Grant { slice, component_id });
        }
    }

    /// An ownership was recorded.
    pub(super) fn granted(&mut self, granted: &OwnershipGranted) {
        let OwnershipGranted { slice, component_id, epoch } = granted.clone();
        let before = self.ownerships.granted(granted.clone());
        let socket = before.as_ref().and_then(|(before, _)| self.presence.socket(before));
        if let (Some((_, epoch)), Some(socket)) = (before, socket) {
            self.revoke(socket, slice.clone(), epoch);
        }
        match self.presence.socket(&component_id) {
            Some(socket) => self.query_slice(socket, slice, component_id, epoch),
            None => self.ownerships.plan_again(),
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
        // The entries that it missed must still be available.
        let there = self.stream.pruned()..=self.stream.head();
        let Resumed { revoked, kept } = self.ownerships.resume(component_id, held, &there);
        for (slice, epoch) in revoked {
            self.revoke(socket, slice, epoch);
        }
        for (slice, epoch, from) in kept {
            let Some(position) = from else {
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
