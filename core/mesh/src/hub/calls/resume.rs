//! Calls whose engine or provider disconnected, and either reconnects or does not.

use std::collections::BTreeSet;

use gleitzeit_run::id::ComponentId;
use gleitzeit_workflow::error::ErrorCode;

use super::state::Expired;
use crate::hub::{Hub, SocketId, Timer};
use crate::id::CallId;
use crate::wire::{CancelMethod, FromHub};

impl Hub {
    /// An engine registered: only the calls that it lists are still wanted. It assumes that they are being worked on
    /// unless it is told again that they wait.
    pub(in crate::hub) fn resume_engine_calls(&mut self, engine: &ComponentId, listed: Vec<CallId>) {
        let listed: BTreeSet<CallId> = listed.into_iter().collect();
        let unlisted = self.calls.unlisted(engine, &listed);
        unlisted.iter().for_each(|id| self.end_call(id));
        self.deliver_kept(engine);
        let answered = self.calls.answers_to(engine);
        for id in listed {
            self.calls.said(id.clone(), false);
            let open = id.parse().filter(|(of, at)| of == engine && self.leases.holds(engine, at));
            if let Some((_, at)) = open
                && !self.calls.contains(&id)
                && !answered.contains(&id)
            {
                let alias = self.provider_call_id(&id, &at);
                let until = self.calls.orphan(id.clone(), engine.clone(), alias, self.now);
                self.timers.set(until, Timer::Orphan(id));
            }
        }
    }

    /// An engine is connected again and receives the answers that arrived in the meantime.
    pub(in crate::hub) fn deliver_kept(&mut self, engine: &ComponentId) {
        self.calls.deliver_kept(engine, around!(self));
    }

    /// A provider registered: it holds the calls that it lists. A call that it was given and does not list is held by
    /// no provider.
    pub(in crate::hub) fn resume_provider_calls(
        &mut self,
        socket: SocketId,
        provider: &ComponentId,
        listed: Option<Vec<CallId>>,
        again: bool,
    ) {
        if !again {
            // On a new connection the provider reports again which of them it cannot begin.
            let given = self.calls.held_by(provider);
            self.calls.turn(provider, given, false);
        }
        let Some(listed) = listed else { return };
        let mut listed_ids = BTreeSet::new();
        let mut lost_calls = 0_usize;
        for alias in listed {
            let id = match self.engine_call_id(&alias) {
                Ok(id) => id,
                Err((code, _)) => {
                    lost_calls += usize::from(code == ErrorCode::HistoryLost);
                    self.cancel_listed(socket, alias);
                    continue;
                }
            };
            listed_ids.insert(id.clone());
            if !self.calls.claim(provider, id, alias.clone(), &self.leases) {
                self.cancel_listed(socket, alias);
            }
        }
        if lost_calls > 0 {
            let detail = format!("{provider}: {lost_calls} calls");
            self.log(true, "calls were made for attempts that are not in this journal and are cancelled", detail);
        }
        if again {
            return;
        }
        let abandoned = self.calls.abandon(provider, &listed_ids, self.now);
        for (until, id) in abandoned {
            self.timers.set(until, Timer::Orphan(id));
        }
    }

    fn cancel_listed(&mut self, socket: SocketId, alias: CallId) {
        self.send(socket, FromHub::CancelMethod(CancelMethod { id: alias }));
    }

    pub(in crate::hub) fn check_orphan(&mut self, id: &CallId) {
        match self.calls.expire(id, around!(self)) {
            Expired::Lost => self.log(true, "a call was lost", id.to_string()),
            Expired::Waits => self.give_back(),
            Expired::No => {}
        }
    }

    pub(in crate::hub) fn provider_lost(&mut self, provider: &ComponentId) {
        self.calls.unsend(provider);
        let held = self.calls.held_by(provider);
        self.give_back();
        self.calls.lose(held, around!(self));
    }
}
