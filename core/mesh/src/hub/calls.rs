//! Method calls between engines and providers. The engine names the providers that may serve a call, and the hub hands
//! it to the one with the fewest open calls. If none has room, the call waits here for the next provider with room that
//! serves its method, whether it was named or not. The hub tells the engine so, because an attempt's time counts only
//! while a provider works on it. The invariant: a call whose task names a provider is never given to a provider of
//! another name.
//!
//! For the hub a call ends with its answer, its cancel or the loss of its provider. Calls are not stored: after a
//! restart their ids determine where answers go, and a call that no provider holds is answered as lost.

mod answers;
mod resume;

use std::collections::{BTreeMap, BTreeSet};

use gleitzeit_run::id::{AttemptRef, ComponentId};
use gleitzeit_run::planted_bugs::{self, Bug};
use gleitzeit_run::route::Route;
use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::time::Instant;

use crate::frames::frames;
use crate::hub::call_lines::{Lines, Place};
use crate::hub::{Hub, Output, SocketId, Timer};
use crate::id::CallId;
use crate::wire::{
    CallEnd, CancelMethod, ExecuteMethod, FromHub, HealthState, MethodCall, MethodOutcome, MethodProgress,
    MethodResult, MethodStarted, MethodWaiting, Role,
};

/// Why a waiting call is returned to its engine.
const NOBODY: &str = "no connected and healthy provider serves the method";
/// Larger progress is dropped: it is for people who watch, and many pieces are kept for slow ones.
const MAX_PROGRESS_BYTES: usize = 64 * 1024;

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

#[derive(Debug, Default)]
pub(super) struct Calls {
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
pub(super) enum CallPlace {
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
    /// Who holds the call of an engine's attempt, if it has made one.
    fn place(&self, engine: &ComponentId, at: &AttemptRef) -> Option<CallPlace> {
        match &self.calls.get(&CallId::new(engine, at))?.holder {
            Holder::Hub { place, route, .. } => Some(CallPlace::Hub { before: self.lines.before(route, place) }),
            Holder::Provider { provider, is_idle: true } => Some(CallPlace::Idle(provider.clone())),
            Holder::Provider { provider, is_idle: false } => Some(CallPlace::Provider(provider.clone())),
            Holder::Nobody { .. } => None,
        }
    }

    pub(super) fn count(&self, provider: &ComponentId) -> usize {
        self.open.get(provider).map_or(0, BTreeSet::len)
    }

    /// The routes on which calls wait for a provider that has room, and how many.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (Route, usize)> {
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
    fn said(&mut self, id: CallId, waiting: bool) {
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
}

impl Hub {
    /// Where the work of an open attempt is; `None` if it is not open.
    pub(super) fn place_of(&self, at: &AttemptRef) -> Option<CallPlace> {
        let (engine, is_taken) = self.leases.holder(at)?;
        if !is_taken {
            return Some(CallPlace::NotTaken);
        }
        Some(self.calls.place(engine, at).unwrap_or(CallPlace::Engine))
    }

    /// An engine calls a method.
    pub(super) fn call(
        &mut self,
        socket: SocketId,
        engine: &ComponentId,
        mut call: MethodCall,
        in_reply_to: Option<String>,
    ) {
        let Some((_, at)) = call.id.parse().filter(|(named, _)| named == engine) else {
            let message = format!("call id `{}` does not name this engine and an attempt", call.id);
            return self.refuse(socket, ErrorCode::InvalidRequest, message, in_reply_to);
        };
        // The attempt has ended meanwhile: the engine is told separately, or reported the end itself.
        if !self.leases.holds(engine, &at) || self.calls.calls.contains_key(&call.id) {
            return;
        }
        if let Some(message) = call.params.over(self.config.max_payload_bytes, "`params`") {
            let error = Failure::new(ErrorCode::TaskParameterError, message);
            return self.deliver(engine, CallEnd { id: call.id, outcome: MethodOutcome::Error(error) });
        }
        let wanted = std::mem::take(&mut call.providers);
        let priority = std::mem::take(&mut call.priority);
        // The provider's name comes from the journal, whether or not its engine supports names.
        let (id, route) = (call.id.clone(), Route::new(&call.method, self.leases.provider(&at)));
        let alias = self.provider_call_id(&id, &at);
        if let Some(provider) = self.roomiest(&route, &wanted) {
            let holder = Holder::Provider { provider: provider.clone(), is_idle: false };
            self.calls.insert(id, engine.clone(), alias, holder);
            self.calls.to_providers.entry(provider).or_default().push(call);
            return;
        }
        if !self.is_served(&route) {
            if !self.is_young() {
                self.calls.ended.insert(id.clone());
                return self.deliver(engine, lost(id, NOBODY));
            }
            // A named provider was connected before the hub started, and may be back in a moment.
            self.timers.insert((self.aged_at(), Timer::Orphan(id.clone())));
        }
        let place = self.calls.lines.place(self.now, priority);
        self.calls.insert(id, engine.clone(), alias, Holder::Hub { place, route, call: Box::new(call) });
    }

    /// The provider with room and the fewest calls: one of those that are named, if any has room.
    fn roomiest(&self, route: &Route, named: &[ComponentId]) -> Option<ComponentId> {
        let may_take = |id: &&ComponentId| self.serves(id, route) && self.has_room(id);
        let named = named.iter().filter(may_take).min_by_key(|id| self.calls.count(id));
        let any = || self.presence.iter().map(|(id, _)| id).filter(may_take).min_by_key(|id| self.calls.count(id));
        named.or_else(any).cloned()
    }

    fn serves(&self, component: &ComponentId, route: &Route) -> bool {
        let component = self.presence.get(component).filter(|component| component.role == Role::Provider);
        component.is_some_and(|component| {
            let is_admitted = route.admits(&component.name) || planted_bugs::is(Bug::AnyName);
            is_admitted && component.methods.binary_search(&route.method).is_ok()
        })
    }

    fn has_room(&self, provider: &ComponentId) -> bool {
        self.presence.get(provider).is_some_and(|component| {
            let capacity = usize::try_from(component.capacity).unwrap_or(usize::MAX);
            let well = component.health.state.works();
            component.is_connected() && well && self.calls.count(provider) < capacity
        })
    }

    /// Whether a provider may serve a route, now or soon.
    fn is_served(&self, route: &Route) -> bool {
        let is_fit = |id: &ComponentId| {
            self.presence.get(id).is_some_and(|it| it.capacity > 0 && it.health.state != HealthState::Unhealthy)
        };
        self.presence.iter().map(|(id, _)| id).any(|id| self.serves(id, route) && is_fit(id))
    }

    /// A provider's health, capacity or methods may have changed.
    pub(super) fn provider_changed(&mut self, provider: &ComponentId) {
        self.provider_has_room(provider);
        self.give_back();
    }

    /// Answers the waiting calls of routes that no provider serves any more, so that their tasks are requeued.
    fn give_back(&mut self) {
        let unserved: Vec<Route> = self.calls.lines.routes().filter(|route| !self.is_served(route)).cloned().collect();
        for route in unserved {
            let stranded: Vec<CallId> = self.calls.lines.of(&route).cloned().collect();
            for id in stranded {
                if self.is_young() {
                    self.timers.insert((self.aged_at(), Timer::Orphan(id)));
                } else if let Some(call) = self.calls.finish(&id) {
                    self.deliver(&call.engine, lost(id, NOBODY));
                }
            }
        }
    }

    /// Gives a provider waiting calls for as long as it has room.
    pub(super) fn provider_has_room(&mut self, provider: &ComponentId) {
        while self.has_room(provider) {
            let serves = |route: &Route| self.serves(provider, route);
            let Some(id) = self.calls.lines.first(serves).cloned() else { return };
            let Some(Call { engine, alias, holder: Holder::Hub { call, .. }, said_waiting }) = self.calls.remove(&id)
            else {
                return;
            };
            let holder = Holder::Provider { provider: provider.clone(), is_idle: false };
            self.calls.insert(id.clone(), engine, alias, holder);
            self.calls.said(id, said_waiting);
            self.calls.to_providers.entry(provider.clone()).or_default().push(*call);
        }
    }

    /// A provider reports whether it could begin some of its calls.
    pub(super) fn provider_turned(&mut self, provider: &ComponentId, aliases: Vec<CallId>, are_waiting: bool) {
        let ids = aliases.iter().filter_map(|alias| self.engine_call_id(alias).ok()).collect();
        self.calls_turned(provider, ids, are_waiting);
    }

    fn calls_turned(&mut self, provider: &ComponentId, ids: Vec<CallId>, are_waiting: bool) {
        for id in ids {
            let call = self.calls.calls.get_mut(&id).filter(|call| call.is_held_by(provider));
            if let Some(Call { holder: Holder::Provider { is_idle, .. }, .. }) = call {
                *is_idle = are_waiting;
                self.calls.turned.insert(id);
            }
        }
    }

    pub(super) fn call_progress(
        &mut self,
        socket: SocketId,
        provider: &ComponentId,
        progress: MethodProgress,
        in_reply_to: Option<String>,
    ) {
        let Ok(id) = self.engine_call_id(&progress.id) else { return };
        let held = self.calls.calls.get(&id).is_some_and(|call| call.is_held_by(provider));
        if !held || progress.data.size_bytes() > MAX_PROGRESS_BYTES {
            return;
        }
        if let Err(problem) = progress.data.check() {
            let message = problem.within("data").to_string();
            return self.refuse(socket, ErrorCode::InvalidRequest, message, in_reply_to);
        }
        if let Some((_, at)) = id.parse() {
            self.out.push(Output::Progress { at, data: progress.data });
        }
    }

    /// The engine no longer wants an answer.
    pub(super) fn cancel_call(&mut self, engine: &ComponentId, id: &CallId) {
        if self.calls.calls.get(id).is_some_and(|call| call.engine == *engine) {
            self.end_call(id);
        }
    }

    /// An attempt ended: whatever was called for it is not wanted any more.
    pub(super) fn attempt_ended(&mut self, engine: &ComponentId, at: &AttemptRef) {
        let id = CallId::new(engine, at);
        self.end_call(&id);
        // From now on the attempt itself records that it has ended.
        self.calls.ended.remove(&id);
        if let Some(kept) = self.calls.kept.get_mut(engine) {
            kept.retain(|end| end.id != id);
            if kept.is_empty() {
                self.calls.kept.remove(engine);
            }
        }
    }

    fn end_call(&mut self, id: &CallId) {
        let Some(call) = self.calls.finish(id) else { return };
        if let Holder::Provider { provider, .. } = call.holder {
            self.cancel_at(&provider, id, call.alias);
            self.provider_has_room(&provider);
        }
    }

    fn cancel_at(&mut self, provider: &ComponentId, id: &CallId, alias: CallId) {
        if let Some(unsent) = self.calls.to_providers.get_mut(provider) {
            let before = unsent.len();
            unsent.retain(|call| call.id != *id);
            if unsent.len() < before {
                return;
            }
        }
        if let Some(socket) = self.presence.socket(provider) {
            self.send(socket, FromHub::CancelMethod(CancelMethod { id: alias }));
        }
    }

    /// Sends what has gathered.
    pub(super) fn flush_calls(&mut self) {
        for (provider, calls) in std::mem::take(&mut self.calls.to_providers) {
            let Some(component) = self.presence.get(&provider) else { continue };
            let (Some(socket), batch) = (component.socket, component.batch) else { continue };
            let with_alias = |call: MethodCall| match self.calls.calls.get(&call.id) {
                Some(known) => MethodCall { id: known.alias.clone(), ..call },
                None => call,
            };
            let calls: Vec<MethodCall> = calls.into_iter().map(with_alias).collect();
            let together = if batch {
                frames(calls, |call| call.params.size_bytes())
            } else {
                calls.into_iter().map(|call| vec![call]).collect()
            };
            for calls in together {
                self.send(socket, FromHub::ExecuteMethod(ExecuteMethod { calls }));
            }
        }
        for (engine, ends) in std::mem::take(&mut self.calls.to_engines) {
            let Some(socket) = self.presence.socket(&engine) else {
                ends.into_iter().for_each(|end| self.deliver(&engine, end));
                continue;
            };
            for results in frames(ends, |end| end.outcome.size_bytes()) {
                self.send(socket, FromHub::MethodResult(MethodResult { results }));
            }
        }
        self.tell_what_waits();
    }

    /// Tells engines which of their calls wait and which no longer do. A call that is handed over at once needs no
    /// message.
    fn tell_what_waits(&mut self) {
        let mut turned: BTreeMap<(SocketId, bool), Vec<CallId>> = BTreeMap::new();
        for id in std::mem::take(&mut self.calls.turned) {
            let Some(call) = self.calls.calls.get_mut(&id).filter(|call| call.is_waiting() != call.said_waiting) else {
                continue;
            };
            // An engine without a socket is told when it registers.
            if let Some(socket) = self.presence.socket(&call.engine) {
                call.said_waiting = !call.said_waiting;
                turned.entry((socket, call.said_waiting)).or_default().push(id);
            }
        }
        for ((socket, are_waiting), ids) in turned {
            for ids in frames(ids, |id| id.as_str().len()) {
                self.send(
                    socket,
                    match are_waiting {
                        true => FromHub::MethodWaiting(MethodWaiting { ids }),
                        false => FromHub::MethodStarted(MethodStarted { ids }),
                    },
                );
            }
        }
    }
}

fn lost(id: CallId, why: &str) -> CallEnd {
    let data = Payload::from_value(&serde_json::json!({"lost": true}));
    let error = Failure::new(ErrorCode::ProviderNotAvailable, why).with_data(data);
    CallEnd { id, outcome: MethodOutcome::Error(error) }
}
