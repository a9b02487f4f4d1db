//! Calls whose engine or provider disconnected, and either reconnects or does not.

use std::collections::BTreeSet;

use gleitzeit_run::id::ComponentId;
use gleitzeit_run::planted_bugs::{self, Bug};
use gleitzeit_workflow::error::ErrorCode;
use gleitzeit_workflow::time::Instant;

use super::{Call, Holder, lost};
use crate::hub::{Hub, SocketId, Timer};
use crate::id::CallId;
use crate::wire::{CancelMethod, FromHub};

impl Hub {
    /// Whether providers from before the hub's start may not have had time to reconnect.
    pub(super) fn is_young(&self) -> bool {
        self.now < self.aged_at()
    }

    pub(super) fn aged_at(&self) -> Instant {
        self.started_at.plus_ms(self.config.orphan_timeout_ms)
    }

    /// An engine registered: only the calls that it lists are still wanted. It assumes that they are being worked on
    /// unless it is told again that they wait.
    pub(in crate::hub) fn resume_engine_calls(&mut self, engine: &ComponentId, listed: Vec<CallId>) {
        let listed: BTreeSet<CallId> = listed.into_iter().collect();
        let mine = self.calls.calls.iter().filter(|(id, call)| call.engine == *engine && !listed.contains(*id));
        let unwanted: Vec<CallId> = mine.map(|(id, _)| id.clone()).collect();
        unwanted.iter().for_each(|id| self.end_call(id));
        self.deliver_kept(engine);
        let answered: BTreeSet<CallId> =
            self.calls.to_engines.get(engine).into_iter().flatten().map(|end| end.id.clone()).collect();
        for id in listed {
            self.calls.said(id.clone(), false);
            let open = id.parse().filter(|(of, at)| of == engine && self.leases.holds(engine, at));
            if let Some((_, at)) = open
                && !self.calls.calls.contains_key(&id)
                && !answered.contains(&id)
            {
                let alias = self.provider_call_id(&id, &at);
                self.orphan(id, engine.clone(), alias, None);
            }
        }
    }

    /// An engine is connected again and receives the answers that arrived in the meantime.
    pub(in crate::hub) fn deliver_kept(&mut self, engine: &ComponentId) {
        for end in self.calls.kept.remove(engine).unwrap_or_default() {
            self.deliver(engine, end);
        }
    }

    fn orphan(&mut self, id: CallId, engine: ComponentId, alias: CallId, last: Option<ComponentId>) {
        let until = self.now.plus_ms(self.config.orphan_timeout_ms);
        self.timers.insert((until, Timer::Orphan(id.clone())));
        self.calls.insert(id, engine, alias, Holder::Nobody { until, last });
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
            let given = self.calls.open.get(provider).into_iter().flatten().cloned().collect();
            self.calls_turned(provider, given, false);
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
            match self.calls.calls.get(&id) {
                Some(call) if call.is_held_by(provider) => {}
                Some(Call { holder: Holder::Nobody { .. }, .. }) => self.calls.hold(&id, provider),
                Some(_) => self.cancel_listed(socket, alias),
                None if self.calls.ended.contains(&id) => self.cancel_listed(socket, alias),
                None => match id.parse().filter(|(engine, at)| self.leases.holds(engine, at)) {
                    Some((engine, _)) => {
                        let holder = Holder::Provider { provider: provider.clone(), is_idle: false };
                        self.calls.insert(id, engine, alias, holder);
                    }
                    None => self.cancel_listed(socket, alias),
                },
            }
        }
        if lost_calls > 0 {
            let detail = format!("{provider}: {lost_calls} calls");
            self.log(true, "calls were made for attempts that are not in this journal and are cancelled", detail);
        }
        if again {
            return;
        }
        let given = self.calls.open.get(provider).into_iter().flatten();
        let missing: Vec<CallId> = given.filter(|id| !listed_ids.contains(*id)).cloned().collect();
        for id in missing {
            if let Some(call) = self.calls.remove(&id) {
                self.orphan(id.clone(), call.engine, call.alias, Some(provider.clone()));
                self.calls.said(id, call.said_waiting);
            }
        }
    }

    fn cancel_listed(&mut self, socket: SocketId, alias: CallId) {
        self.send(socket, FromHub::CancelMethod(CancelMethod { id: alias }));
    }

    pub(in crate::hub) fn check_orphan(&mut self, id: &CallId) {
        let Some(call) = self.calls.calls.get(id) else { return };
        match call.holder {
            Holder::Nobody { until, .. } if until <= self.now => {}
            Holder::Hub { .. } => return self.give_back(),
            Holder::Nobody { .. } | Holder::Provider { .. } => return,
        }
        if let Some(call) = self.calls.finish(id) {
            self.log(true, "a call was lost", id.to_string());
            self.deliver(&call.engine, lost(id.clone(), "no provider holds the call"));
        }
    }

    pub(in crate::hub) fn provider_lost(&mut self, provider: &ComponentId) {
        self.calls.to_providers.remove(provider);
        let held: Vec<CallId> = self.calls.open.get(provider).into_iter().flatten().cloned().collect();
        self.give_back();
        for id in held {
            if let Some(call) = self.calls.finish(&id)
                && !planted_bugs::is(Bug::LostCalls)
            {
                self.deliver(&call.engine, lost(id, "the provider was lost"));
            }
        }
    }
}
