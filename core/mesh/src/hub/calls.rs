//! Method calls between engines and providers: the engine names who may serve a call, the hub hands it to the one with
//! the fewest open calls. While none has room it waits here for the next provider that serves its method and has, be it
//! one of those that were named or not, and its engine is told so: the attempt's time counts only while somebody works.
//! The invariant: a call whose task names a provider is given to nobody of another name.
//!
//! For the hub a call ends with its answer, its cancel or the loss of its provider. Nothing of this is stored: after a
//! restart the ids say where answers go, and what nobody holds is answered as lost.

mod answers;
mod resume;

use std::collections::{BTreeMap, BTreeSet};

use gleitzeit_run::id::{AttemptRef, ComponentId};
use gleitzeit_run::planted::{self, Bug};
use gleitzeit_run::route::Route;
use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::time::Instant;

use crate::frames::frames;
use crate::hub::waiting::{Lines, Place};
use crate::hub::{Hub, Output, SocketId, Timer};
use crate::id::CallId;
use crate::wire::{
    CallEnd, CancelMethod, ExecuteMethod, FromHub, HealthState, MethodCall, MethodOutcome, MethodProgress,
    MethodResult, MethodStarted, MethodWaiting, Role,
};

/// Why a call is given back that waited.
const NOBODY: &str = "no provider that is connected and well serves the method";
/// Larger progress is dropped: it is for people who watch, and many pieces are kept for slow ones.
const MAX_PROGRESS_BYTES: usize = 64 * 1024;

#[derive(Clone, Debug, PartialEq)]
enum Holder {
    /// The hub, until a provider has room.
    Hub { place: Place, route: Route, call: Box<MethodCall> },
    /// A provider; an idle one has told that it cannot begin yet.
    Provider { provider: ComponentId, is_idle: bool },
    /// Nobody that is known, `last` had it if anybody did; lost if that does not change until then.
    Nobody { until: Instant, last: Option<ComponentId> },
}

#[derive(Debug)]
struct Call {
    engine: ComponentId,
    /// The id under which providers know it, see `names`.
    told: CallId,
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
    /// Answers for engines that are not there.
    kept: BTreeMap<ComponentId, Vec<CallEnd>>,
    /// To be sent at the end of this input.
    to_providers: BTreeMap<ComponentId, Vec<MethodCall>>,
    to_engines: BTreeMap<ComponentId, Vec<CallEnd>>,
    /// Calls of which their engines may have to hear that they wait, or do so no more.
    turned: BTreeSet<CallId>,
}

/// Where the work of an open attempt is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallPlace {
    /// Its engine has not taken it.
    NotTaken,
    /// With its engine, which calls nobody at the moment.
    Engine,
    /// Here: no provider has room for its call, and so many calls of the method are served before.
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

    fn insert(&mut self, id: CallId, engine: ComponentId, told: CallId, holder: Holder) {
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
        self.calls.insert(id, Call { engine, told, holder, said_waiting: false });
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

    /// Notes what the engine of a call has heard of it.
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
        // An attempt that has ended meanwhile: the engine hears of that, or has said so itself.
        if !self.leases.holds(engine, &at) || self.calls.calls.contains_key(&call.id) {
            return;
        }
        if let Some(message) = call.params.over(self.config.max_payload_bytes, "`params`") {
            let error = Failure::new(ErrorCode::TaskParameterError, message);
            return self.deliver(engine, CallEnd { id: call.id, outcome: MethodOutcome::Error(error) });
        }
        let wanted = std::mem::take(&mut call.providers);
        let priority = std::mem::take(&mut call.priority);
        // What the journal says of it, whatever its engine knows of names.
        let (id, route) = (call.id.clone(), Route::new(&call.method, self.leases.provider(&at)));
        let told = self.told_id(&id, &at);
        if let Some(provider) = self.roomiest(&route, &wanted) {
            let holder = Holder::Provider { provider: provider.clone(), is_idle: false };
            self.calls.insert(id, engine.clone(), told, holder);
            self.calls.to_providers.entry(provider).or_default().push(call);
            return;
        }
        if !self.is_served(&route) {
            if !self.is_young() {
                self.calls.ended.insert(id.clone());
                return self.deliver(engine, lost(id, NOBODY));
            }
            // Whoever is named was there before the hub started, and may be back in a moment.
            self.timers.insert((self.grown_up_at(), Timer::Orphan(id.clone())));
        }
        let place = self.calls.lines.place(self.now, priority);
        self.calls.insert(id, engine.clone(), told, Holder::Hub { place, route, call: Box::new(call) });
    }

    /// The provider with room that has the fewest calls, of those that are named if there is one.
    fn roomiest(&self, route: &Route, named: &[ComponentId]) -> Option<ComponentId> {
        let may_take = |id: &&ComponentId| self.serves(id, route) && self.has_room(id);
        let named = named.iter().filter(may_take).min_by_key(|id| self.calls.count(id));
        let any = || self.components.keys().filter(may_take).min_by_key(|id| self.calls.count(id));
        named.or_else(any).cloned()
    }

    fn serves(&self, component: &ComponentId, route: &Route) -> bool {
        let component = self.components.get(component).filter(|component| component.role == Role::Provider);
        component.is_some_and(|component| {
            let is_admitted = route.admits(&component.name) || planted::is(Bug::AnyName);
            is_admitted && component.methods.binary_search(&route.method).is_ok()
        })
    }

    fn has_room(&self, provider: &ComponentId) -> bool {
        self.components.get(provider).is_some_and(|component| {
            let capacity = usize::try_from(component.capacity).unwrap_or(usize::MAX);
            let well = component.health.state.works();
            component.is_connected() && well && self.calls.count(provider) < capacity
        })
    }

    /// Whether somebody may serve a route, now or soon.
    fn is_served(&self, route: &Route) -> bool {
        let is_fit = |id: &ComponentId| {
            self.components.get(id).is_some_and(|it| it.capacity > 0 && it.health.state != HealthState::Unhealthy)
        };
        self.components.keys().any(|id| self.serves(id, route) && is_fit(id))
    }

    /// A provider's health, capacity or methods may have changed.
    pub(super) fn provider_changed(&mut self, provider: &ComponentId) {
        self.provider_has_room(provider);
        self.give_back();
    }

    /// Answers calls that wait on a route which nobody serves any more: their tasks go back to where they came from.
    fn give_back(&mut self) {
        let unserved: Vec<Route> = self.calls.lines.routes().filter(|route| !self.is_served(route)).cloned().collect();
        for route in unserved {
            let stranded: Vec<CallId> = self.calls.lines.of(&route).cloned().collect();
            for id in stranded {
                if self.is_young() {
                    self.timers.insert((self.grown_up_at(), Timer::Orphan(id)));
                } else if let Some(call) = self.calls.finish(&id) {
                    self.deliver(&call.engine, lost(id, NOBODY));
                }
            }
        }
    }

    /// Gives a provider what waits for it, as far as it has room.
    pub(super) fn provider_has_room(&mut self, provider: &ComponentId) {
        while self.has_room(provider) {
            let serves = |route: &Route| self.serves(provider, route);
            let Some(id) = self.calls.lines.first(serves).cloned() else { return };
            let Some(Call { engine, told, holder: Holder::Hub { call, .. }, said_waiting }) = self.calls.remove(&id)
            else {
                return;
            };
            let holder = Holder::Provider { provider: provider.clone(), is_idle: false };
            self.calls.insert(id.clone(), engine, told, holder);
            self.calls.said(id, said_waiting);
            self.calls.to_providers.entry(provider.clone()).or_default().push(*call);
        }
    }

    /// A provider says of calls that it has whether it could begin them.
    pub(super) fn provider_turned(&mut self, provider: &ComponentId, told: Vec<CallId>, are_waiting: bool) {
        let ids = told.iter().filter_map(|told| self.own_id(told).ok()).collect();
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
        let Ok(id) = self.own_id(&progress.id) else { return };
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
        // From now on the attempt itself says that it has ended.
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
            self.cancel_at(&provider, id, call.told);
            self.provider_has_room(&provider);
        }
    }

    fn cancel_at(&mut self, provider: &ComponentId, id: &CallId, told: CallId) {
        if let Some(unsent) = self.calls.to_providers.get_mut(provider) {
            let before = unsent.len();
            unsent.retain(|call| call.id != *id);
            if unsent.len() < before {
                return;
            }
        }
        if let Some(socket) = self.components.get(provider).and_then(|component| component.socket) {
            self.send(socket, FromHub::CancelMethod(CancelMethod { id: told }));
        }
    }

    /// Sends what has gathered.
    pub(super) fn flush_calls(&mut self) {
        for (provider, calls) in std::mem::take(&mut self.calls.to_providers) {
            let Some(component) = self.components.get(&provider) else { continue };
            let (Some(socket), batch) = (component.socket, component.batch) else { continue };
            let told = |call: MethodCall| match self.calls.calls.get(&call.id) {
                Some(known) => MethodCall { id: known.told.clone(), ..call },
                None => call,
            };
            let calls: Vec<MethodCall> = calls.into_iter().map(told).collect();
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
            let Some(socket) = self.components.get(&engine).and_then(|component| component.socket) else {
                ends.into_iter().for_each(|end| self.deliver(&engine, end));
                continue;
            };
            for results in frames(ends, |end| end.outcome.size_bytes()) {
                self.send(socket, FromHub::MethodResult(MethodResult { results }));
            }
        }
        self.tell_what_waits();
    }

    /// Tells engines which of their calls wait, and which do so no more; what is given at once costs no word.
    fn tell_what_waits(&mut self) {
        let mut told: BTreeMap<(SocketId, bool), Vec<CallId>> = BTreeMap::new();
        for id in std::mem::take(&mut self.calls.turned) {
            let Some(call) = self.calls.calls.get_mut(&id).filter(|call| call.is_waiting() != call.said_waiting) else {
                continue;
            };
            // Without a socket it hears of it when it registers.
            if let Some(socket) = self.components.get(&call.engine).and_then(|component| component.socket) {
                call.said_waiting = !call.said_waiting;
                told.entry((socket, call.said_waiting)).or_default().push(id);
            }
        }
        for ((socket, are_waiting), ids) in told {
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
