//! Calls whose engine or provider comes back, or does not.

use std::collections::BTreeSet;

use gleitzeit_run::id::ComponentId;
use gleitzeit_run::planted_bugs::{self, Bug};
use gleitzeit_workflow::time::Instant;

use super::{Around, Call, Calls, Expired, Holder, lost};
use crate::hub::leases::Leases;
use crate::id::CallId;

impl Calls {
    /// The calls of an engine that it does not list.
    pub(in crate::hub) fn unlisted(&self, engine: &ComponentId, listed: &BTreeSet<CallId>) -> Vec<CallId> {
        let mine = self.calls.iter().filter(|(id, call)| call.engine == *engine && !listed.contains(*id));
        mine.map(|(id, _)| id.clone()).collect()
    }

    /// The calls whose answers an engine is sent at the end of this input.
    pub(in crate::hub) fn answers_to(&self, engine: &ComponentId) -> BTreeSet<CallId> {
        self.to_engines.get(engine).into_iter().flatten().map(|end| end.id.clone()).collect()
    }

    /// Records a call that no known component holds. Returns by when one must have taken it.
    pub(in crate::hub) fn orphan(&mut self, id: CallId, engine: ComponentId, alias: CallId, now: Instant) -> Instant {
        let until = now.plus_ms(self.orphan_timeout_ms);
        self.insert(id, engine, alias, Holder::Nobody { until, last: None });
        until
    }

    /// A provider lists a call. Returns whether it is to go on with it.
    pub(in crate::hub) fn claim(&mut self, provider: &ComponentId, id: CallId, alias: CallId, leases: &Leases) -> bool {
        match self.calls.get(&id) {
            Some(call) if call.is_held_by(provider) => true,
            Some(Call { holder: Holder::Nobody { .. }, .. }) => {
                self.hold(&id, provider);
                true
            }
            Some(_) => false,
            None if self.ended.contains(&id) => false,
            None => {
                let Some((engine, _)) = id.parse().filter(|(engine, at)| leases.holds(engine, at)) else {
                    return false;
                };
                let holder = Holder::Provider { provider: provider.clone(), is_idle: false };
                self.insert(id, engine, alias, holder);
                true
            }
        }
    }

    /// The calls that a provider was given and does not list are held by nobody. Returns them, and by when somebody
    /// must have taken them.
    pub(in crate::hub) fn abandon(
        &mut self,
        provider: &ComponentId,
        listed: &BTreeSet<CallId>,
        now: Instant,
    ) -> Vec<(Instant, CallId)> {
        let until = now.plus_ms(self.orphan_timeout_ms);
        let missing = self.held_by(provider).into_iter().filter(|id| !listed.contains(id));
        let mut abandoned = Vec::new();
        for id in missing {
            if let Some(Call { engine, alias, said_waiting, .. }) = self.remove(&id) {
                self.insert(id.clone(), engine, alias, Holder::Nobody { until, last: Some(provider.clone()) });
                self.said(id.clone(), said_waiting);
                abandoned.push((until, id));
            }
        }
        abandoned
    }

    /// The deadline for taking a call has passed.
    pub(in crate::hub) fn expire(&mut self, id: &CallId, around: Around<'_>) -> Expired {
        match self.calls.get(id).map(|call| &call.holder) {
            Some(Holder::Nobody { until, .. }) if *until <= around.now => {}
            Some(Holder::Hub { .. }) => return Expired::Waits,
            Some(Holder::Nobody { .. } | Holder::Provider { .. }) | None => return Expired::No,
        }
        let Some(call) = self.finish(id) else { return Expired::No };
        self.deliver(&call.engine, lost(id.clone(), "no provider holds the call"), around);
        Expired::Lost
    }

    /// A provider is lost: what it was to be sent is not sent.
    pub(in crate::hub) fn unsend(&mut self, provider: &ComponentId) {
        self.to_providers.remove(provider);
    }

    /// The calls that a lost provider held are answered as lost.
    pub(in crate::hub) fn lose(&mut self, held: Vec<CallId>, around: Around<'_>) {
        for id in held {
            if let Some(call) = self.finish(&id)
                && !planted_bugs::is(Bug::LostCalls)
            {
                self.deliver(&call.engine, lost(id, "the provider was lost"), around);
            }
        }
    }
}
