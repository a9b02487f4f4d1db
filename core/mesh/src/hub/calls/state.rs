//! The calls that have not ended: who holds each, which of them wait, and what is sent about them at the end of an input.

mod back;
mod choice;

use std::collections::{BTreeMap, BTreeSet};

use gleitzeit_run::id::{AttemptRef, ComponentId};
use gleitzeit_run::route::Route;
use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::spec::Priority;
use gleitzeit_workflow::time::Instant;

use crate::hub::SocketId;
use crate::hub::call_lines::{Lines, Place};
use crate::hub::leases::Leases;
use crate::hub::presence::Presence;
use crate::id::CallId;
use crate::wire::{CallEnd, MethodCall, MethodOutcome};

use choice::{is_served, serves};

/// Why a waiting call is returned to its engine.
const NOBODY: &str = "no connected and healthy provider serves the method";

#[derive(Clone, Debug, PartialEq)]
enum Holder {
    /// The hub, until a provider has room.
    Hub { place: Place, route: Route, call: Box<MethodCall> },
    /// A provider; `is_idle` if it has reported that it cannot begin yet.
    Provider { provider: ComponentId, is_idle: bool },
    /// No known component; `last` held it before, if any did. The call is lost if nobody takes it by `until`.
    Nobody { until: Instant, last: Option<ComponentId> },
}

#[derive(Debug)]
struct Call {
    engine: ComponentId,
    /// The id under which providers know it, see `call_ids`.
    alias: CallId,
    holder: Holder,
    /// Whether its engine has last heard that it waits.
    said_waiting: bool,
}

impl Call {
    fn is_waiting(&self) -> bool {
        matches!(self.holder, Holder::Hub { .. } | Holder::Provider { is_idle: true, .. })
    }

    fn is_held_by(&self, component: &ComponentId) -> bool {
        matches!(&self.holder, Holder::Provider { provider, .. } if provider == component)
    }
}

/// What calls depend on besides themselves.
#[derive(Clone, Copy, Debug)]
pub(in crate::hub) struct Around<'a> {
    pub(in crate::hub) presence: &'a Presence,
    pub(in crate::hub) leases: &'a Leases,
    pub(in crate::hub) now: Instant,
}

/// A call as its engine makes it.
#[derive(Debug)]
pub(in crate::hub) struct NewCall {
    pub(in crate::hub) engine: ComponentId,
    pub(in crate::hub) alias: CallId,
    pub(in crate::hub) route: Route,
    /// Providers that its engine would have it given to.
    pub(in crate::hub) wanted: Vec<ComponentId>,
    pub(in crate::hub) priority: Priority,
    pub(in crate::hub) call: MethodCall,
}

/// A call that a provider need not go on with.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::hub) struct Cancelled {
    pub(in crate::hub) provider: ComponentId,
    pub(in crate::hub) alias: CallId,
}

/// What became of a call that somebody was to take by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::hub) enum Expired {
    /// It has ended, or somebody took it.
    No,
    /// It waits here: whether anybody serves it must be checked.
    Waits,
    /// It is lost, and its engine is answered so.
    Lost,
}

/// The calls that have not ended, and what is to be sent about them. Methods are also in `back` and `choice`.
#[derive(Debug)]
pub(in crate::hub) struct Calls {
    /// When providers from before the hub's start have had time to reconnect.
    aged_at: Instant,
    /// How long a call that nobody holds may be so.
    orphan_timeout_ms: u64,
    calls: BTreeMap<CallId, Call>,
    /// By provider.
    open: BTreeMap<ComponentId, BTreeSet<CallId>>,
    lines: Lines,
    /// Calls that ended while their attempt is still open.
    ended: BTreeSet<CallId>,
    /// Answers for engines that are not connected.
    kept: BTreeMap<ComponentId, Vec<CallEnd>>,
    /// To be sent at the end of this input.
    to_providers: BTreeMap<ComponentId, Vec<MethodCall>>,
    to_engines: BTreeMap<ComponentId, Vec<CallEnd>>,
    /// Calls that began or ceased to wait, so that their engines may have to be told.
    turned: BTreeSet<CallId>,
}

/// Where the work of an open attempt is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::hub) enum CallPlace {
    /// Its engine has not taken it.
    NotTaken,
    /// With its engine, which calls nobody at the moment.
    Engine,
    /// At the hub: no provider has room for its call, and `before` calls of the method are served first.
    Hub { before: usize },
    /// With a provider, which cannot begin it yet.
    Idle(ComponentId),
    /// With a provider that works on it.
    Provider(ComponentId),
}

impl Calls {
    pub(in crate::hub) fn new(started_at: Instant, orphan_timeout_ms: u64) -> Self {
        Self {
            aged_at: started_at.plus_ms(orphan_timeout_ms),
            orphan_timeout_ms,
            calls: BTreeMap::new(),
            open: BTreeMap::new(),
            lines: Lines::default(),
            ended: BTreeSet::new(),
            kept: BTreeMap::new(),
            to_providers: BTreeMap::new(),
            to_engines: BTreeMap::new(),
            turned: BTreeSet::new(),
        }
    }

    /// Who holds the call of an engine's attempt, if it has made one.
    pub(in crate::hub) fn place(&self, engine: &ComponentId, at: &AttemptRef) -> Option<CallPlace> {
        match &self.calls.get(&CallId::new(engine, at))?.holder {
            Holder::Hub { place, route, .. } => Some(CallPlace::Hub { before: self.lines.before(route, place) }),
            Holder::Provider { provider, is_idle: true } => Some(CallPlace::Idle(provider.clone())),
            Holder::Provider { provider, is_idle: false } => Some(CallPlace::Provider(provider.clone())),
            Holder::Nobody { .. } => None,
        }
    }

    pub(in crate::hub) fn count(&self, provider: &ComponentId) -> usize {
        self.open.get(provider).map_or(0, BTreeSet::len)
    }

    /// The routes on which calls wait for a provider that has room, and how many.
    pub(in crate::hub) fn waiting(&self) -> impl Iterator<Item = (Route, usize)> {
        self.lines.routes().map(|route| (route.clone(), self.lines.of(route).count()))
    }

    fn hold(&mut self, id: &CallId, provider: &ComponentId) {
        if let Some(call) = self.calls.get_mut(id) {
            call.holder = Holder::Provider { provider: provider.clone(), is_idle: false };
            self.open.entry(provider.clone()).or_default().insert(id.clone());
            if call.said_waiting {
                self.turned.insert(id.clone());
            }
        }
    }

    fn insert(&mut self, id: CallId, engine: ComponentId, alias: CallId, holder: Holder) {
        match &holder {
            Holder::Hub { place, route, .. } => {
                self.lines.insert(route.clone(), *place, id.clone());
                self.turned.insert(id.clone());
            }
            Holder::Provider { provider, .. } => {
                self.open.entry(provider.clone()).or_default().insert(id.clone());
            }
            Holder::Nobody { .. } => {}
        }
        self.calls.insert(id, Call { engine, alias, holder, said_waiting: false });
    }

    fn remove(&mut self, id: &CallId) -> Option<Call> {
        let call = self.calls.remove(id)?;
        match &call.holder {
            Holder::Hub { place, route, .. } => self.lines.remove(route, place),
            Holder::Provider { provider, .. } => {
                if let Some(open) = self.open.get_mut(provider) {
                    open.remove(id);
                    if open.is_empty() {
                        self.open.remove(provider);
                    }
                }
            }
            Holder::Nobody { .. } => {}
        }
        Some(call)
    }

    /// Records what the engine of a call was last told.
    pub(in crate::hub) fn said(&mut self, id: CallId, waiting: bool) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.said_waiting = waiting;
            self.turned.insert(id);
        }
    }

    /// Removes a call for good.
    fn finish(&mut self, id: &CallId) -> Option<Call> {
        let call = self.remove(id)?;
        self.ended.insert(id.clone());
        Some(call)
    }

    pub(in crate::hub) fn contains(&self, id: &CallId) -> bool {
        self.calls.contains_key(id)
    }

    /// Whether an engine made the call, and it has not ended.
    pub(in crate::hub) fn is_of(&self, id: &CallId, engine: &ComponentId) -> bool {
        self.calls.get(id).is_some_and(|call| call.engine == *engine)
    }

    /// Whether a provider holds the call.
    pub(in crate::hub) fn is_held_by(&self, id: &CallId, provider: &ComponentId) -> bool {
        self.calls.get(id).is_some_and(|call| call.is_held_by(provider))
    }

    /// The calls that a provider holds.
    pub(in crate::hub) fn held_by(&self, provider: &ComponentId) -> Vec<CallId> {
        self.open.get(provider).into_iter().flatten().cloned().collect()
    }

    /// Gives a call to a provider with room, or has it wait for one. If nobody serves it, it is answered as lost, or,
    /// while providers from before may still come back, to be checked at the time that is returned.
    pub(in crate::hub) fn call(&mut self, new: NewCall, around: Around<'_>) -> Option<Instant> {
        let NewCall { engine, alias, route, wanted, priority, call } = new;
        let id = call.id.clone();
        if let Some(provider) = self.roomiest(around.presence, &route, &wanted) {
            let holder = Holder::Provider { provider: provider.clone(), is_idle: false };
            self.insert(id, engine, alias, holder);
            self.to_providers.entry(provider).or_default().push(call);
            return None;
        }
        let mut check_at = None;
        if !is_served(around.presence, &route) {
            if around.now >= self.aged_at {
                self.ended.insert(id.clone());
                self.deliver(&engine, lost(id, NOBODY), around);
                return None;
            }
            // A named provider was connected before the hub started, and may be back in a moment.
            check_at = Some(self.aged_at);
        }
        let place = self.lines.place(around.now, priority);
        self.insert(id, engine, alias, Holder::Hub { place, route, call: Box::new(call) });
        check_at
    }

    /// Answers the waiting calls of routes that no provider serves any more, so that their tasks are requeued. Returns
    /// those that are to be checked later instead, and when.
    pub(in crate::hub) fn give_back(&mut self, around: Around<'_>) -> Vec<(Instant, CallId)> {
        let unserved: Vec<Route> =
            self.lines.routes().filter(|route| !is_served(around.presence, route)).cloned().collect();
        let mut later = Vec::new();
        for route in unserved {
            let stranded: Vec<CallId> = self.lines.of(&route).cloned().collect();
            for id in stranded {
                if around.now < self.aged_at {
                    later.push((self.aged_at, id));
                } else if let Some(call) = self.finish(&id) {
                    self.deliver(&call.engine, lost(id, NOBODY), around);
                }
            }
        }
        later
    }

    /// Gives a provider waiting calls for as long as it has room.
    pub(in crate::hub) fn fill(&mut self, provider: &ComponentId, presence: &Presence) {
        while self.has_room(presence, provider) {
            let Some(id) = self.lines.first(|route| serves(presence, provider, route)).cloned() else { return };
            let Some(Call { engine, alias, holder: Holder::Hub { call, .. }, said_waiting }) = self.remove(&id) else {
                return;
            };
            let holder = Holder::Provider { provider: provider.clone(), is_idle: false };
            self.insert(id.clone(), engine, alias, holder);
            self.said(id, said_waiting);
            self.to_providers.entry(provider.clone()).or_default().push(*call);
        }
    }

    /// A provider could or could not begin these calls.
    pub(in crate::hub) fn turn(&mut self, provider: &ComponentId, ids: Vec<CallId>, are_waiting: bool) {
        for id in ids {
            let call = self.calls.get_mut(&id).filter(|call| call.is_held_by(provider));
            if let Some(Call { holder: Holder::Provider { is_idle, .. }, .. }) = call {
                *is_idle = are_waiting;
                self.turned.insert(id);
            }
        }
    }

    /// Ends a call that is not wanted any more. Returns what its provider must be told, if it was sent the call.
    pub(in crate::hub) fn end(&mut self, id: &CallId, presence: &Presence) -> Option<Cancelled> {
        let call = self.finish(id)?;
        let Holder::Provider { provider, .. } = call.holder else { return None };
        let unsent = self.to_providers.get_mut(&provider);
        let was_sent = unsent.is_none_or(|unsent| {
            let before = unsent.len();
            unsent.retain(|call| call.id != *id);
            unsent.len() == before
        });
        self.fill(&provider, presence);
        was_sent.then_some(Cancelled { provider, alias: call.alias })
    }

    /// An attempt ended: from now on the attempt itself records that its call has ended.
    pub(in crate::hub) fn forget_attempt(&mut self, engine: &ComponentId, id: &CallId) {
        self.ended.remove(id);
        if let Some(kept) = self.kept.get_mut(engine) {
            kept.retain(|end| end.id != *id);
            if kept.is_empty() {
                self.kept.remove(engine);
            }
        }
    }

    /// An answer goes to its engine at the end of this input, or is kept until the engine is connected.
    pub(in crate::hub) fn deliver(&mut self, engine: &ComponentId, end: CallEnd, around: Around<'_>) {
        if around.presence.socket_of(engine).is_some() {
            self.to_engines.entry(engine.clone()).or_default().push(end);
        } else if let Some((_, at)) = end.id.parse() {
            // At most one answer for each open attempt.
            let kept = self.kept.entry(engine.clone()).or_default();
            if around.leases.holds(engine, &at) && kept.iter().all(|other| other.id != end.id) {
                kept.push(end);
            }
        }
    }

    /// An engine is connected again and receives the answers that arrived in the meantime.
    pub(in crate::hub) fn deliver_kept(&mut self, engine: &ComponentId, around: Around<'_>) {
        for end in self.kept.remove(engine).unwrap_or_default() {
            self.deliver(engine, end, around);
        }
    }

    /// An answer that was checked: the call has ended, and its provider has room for another.
    pub(in crate::hub) fn answered(&mut self, end: CallEnd, around: Around<'_>) {
        match self.finish(&end.id) {
            Some(call) => {
                self.deliver(&call.engine, end, around);
                if let Holder::Provider { provider, .. } = call.holder {
                    self.fill(&provider, around.presence);
                }
            }
            // The hub has restarted since the call was made: the id determines where the answer goes.
            None => {
                let Some((engine, _)) = end.id.parse() else { return };
                self.ended.insert(end.id.clone());
                self.deliver(&engine, end, around);
            }
        }
    }

    /// Whether a component may answer a call; `None` if the call is not known, or has ended.
    pub(in crate::hub) fn may_answer(
        &self,
        component: Option<&ComponentId>,
        id: &CallId,
        presence: &Presence,
    ) -> Option<bool> {
        let call = self.calls.get(id)?;
        Some(match (&call.holder, component) {
            (Holder::Hub { .. }, _) => false,
            (Holder::Provider { provider, .. }, Some(component)) => provider == component,
            // A component that has not registered again yet may be the one that was given the call, unless the holder
            // is connected.
            (Holder::Provider { provider, .. }, None) => presence.socket_of(provider).is_none(),
            (Holder::Nobody { last: Some(last), .. }, Some(component)) => last == component,
            (Holder::Nobody { .. }, _) => true,
        })
    }

    /// Whether the call has ended while its attempt is still open.
    pub(in crate::hub) fn has_ended(&self, id: &CallId) -> bool {
        self.ended.contains(id)
    }

    /// The calls to send, by provider, under the ids by which providers know them.
    pub(in crate::hub) fn take_for_providers(&mut self) -> Vec<(ComponentId, Vec<MethodCall>)> {
        let with_alias = |call: MethodCall| match self.calls.get(&call.id) {
            Some(known) => MethodCall { id: known.alias.clone(), ..call },
            None => call,
        };
        let unsent = std::mem::take(&mut self.to_providers).into_iter();
        unsent.map(|(provider, calls)| (provider, calls.into_iter().map(with_alias).collect())).collect()
    }

    /// The answers to send, by engine.
    pub(in crate::hub) fn take_for_engines(&mut self) -> BTreeMap<ComponentId, Vec<CallEnd>> {
        std::mem::take(&mut self.to_engines)
    }

    /// The calls of connected engines that began (`true`) or ceased to wait since their engines were told. They count
    /// as told.
    pub(in crate::hub) fn take_turned(&mut self, presence: &Presence) -> BTreeMap<(SocketId, bool), Vec<CallId>> {
        let mut turned: BTreeMap<(SocketId, bool), Vec<CallId>> = BTreeMap::new();
        for id in std::mem::take(&mut self.turned) {
            let Some(call) = self.calls.get_mut(&id).filter(|call| call.is_waiting() != call.said_waiting) else {
                continue;
            };
            // An engine without a socket is told when it registers.
            if let Some(socket) = presence.socket(&call.engine) {
                call.said_waiting = !call.said_waiting;
                turned.entry((socket, call.said_waiting)).or_default().push(id);
            }
        }
        turned
    }
}

fn lost(id: CallId, why: &str) -> CallEnd {
    let data = Payload::from_value(&serde_json::json!({"lost": true}));
    let error = Failure::new(ErrorCode::ProviderNotAvailable, why).with_data(data);
    CallEnd { id, outcome: MethodOutcome::Error(error) }
}

#[cfg(test)]
mod tests;
