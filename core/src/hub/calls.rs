//! Method calls between engines and providers: the engine names who may serve a call, the hub hands it to the one with
//! the fewest open calls and holds it while none has room.
//!
//! For the hub a call ends with its answer, its cancel or the loss of its provider. Nothing of this is stored: after a
//! restart the ids say where answers go, and what nobody holds is answered as lost.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{ErrorCode, Failure};
use crate::hub::frames::frames;
use crate::hub::presence::Component;
use crate::hub::{Hub, Output, SocketId, Timer};
use crate::id::{AttemptRef, CallId, ComponentId, MethodName};
use crate::mesh::{
    CallEnd, CancelMethod, ExecuteMethod, FromHub, HealthState, MethodCall, MethodOutcome, MethodProgress,
    MethodResult, Role,
};
use crate::payload::Payload;
use crate::planted::{self, Bug};
use crate::time::Instant;

/// Why a call is given back that waited.
const NOBODY: &str = "no provider that is connected and well serves the method";
/// A call that came before its providers were back is held for so many of them.
const MAX_AWAITED: usize = 100;
/// Larger progress is dropped: it is for people who watch, and many pieces are kept for slow ones.
const MAX_PROGRESS_BYTES: usize = 64 * 1024;

#[derive(Clone, Debug, PartialEq)]
enum Holder {
    /// The hub, until one of the named providers has room.
    Hub { order: u64, call: Box<MethodCall> },
    /// A provider.
    Provider(ComponentId),
    /// Nobody that is known; lost if that does not change until then.
    Nobody { until: Instant },
}

#[derive(Debug)]
struct Call {
    engine: ComponentId,
    named: Vec<ComponentId>,
    holder: Holder,
}

#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: BTreeMap<CallId, Call>,
    /// By provider.
    open: BTreeMap<ComponentId, BTreeSet<CallId>>,
    /// By each named provider, in the order of arrival.
    waiting: BTreeMap<ComponentId, BTreeMap<u64, CallId>>,
    next_order: u64,
    /// Calls that ended while their attempt is still open.
    ended: BTreeSet<CallId>,
    /// Answers for engines that are not there.
    kept: BTreeMap<ComponentId, Vec<CallEnd>>,
    /// To be sent at the end of this input.
    to_providers: BTreeMap<ComponentId, Vec<MethodCall>>,
    to_engines: BTreeMap<ComponentId, Vec<CallEnd>>,
}

/// Where the work of an open attempt is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallPlace {
    /// Its engine has not taken it.
    NotTaken,
    /// With its engine, which calls nobody at the moment.
    Engine,
    /// Here: none of the providers has room for its call.
    Hub,
    /// With a provider.
    Provider(ComponentId),
}

impl Calls {
    /// Who holds the call of an engine's attempt, if it has made one.
    fn place(&self, engine: &ComponentId, at: &AttemptRef) -> Option<CallPlace> {
        match &self.calls.get(&CallId::new(engine, at))?.holder {
            Holder::Hub { .. } => Some(CallPlace::Hub),
            Holder::Provider(provider) => Some(CallPlace::Provider(provider.clone())),
            Holder::Nobody { .. } => None,
        }
    }

    pub(super) fn count(&self, provider: &ComponentId) -> usize {
        self.open.get(provider).map_or(0, BTreeSet::len)
    }

    fn hold(&mut self, id: &CallId, provider: &ComponentId) {
        if let Some(call) = self.calls.get_mut(id) {
            call.holder = Holder::Provider(provider.clone());
            self.open.entry(provider.clone()).or_default().insert(id.clone());
        }
    }

    fn insert(&mut self, id: CallId, engine: ComponentId, named: Vec<ComponentId>, holder: Holder) {
        if let Holder::Hub { order, .. } = &holder {
            for provider in &named {
                self.waiting.entry(provider.clone()).or_default().insert(*order, id.clone());
            }
        }
        self.calls.insert(id, Call { engine, named, holder });
    }

    fn stop_waiting(&mut self, named: &[ComponentId], order: u64) {
        for provider in named {
            if let Some(waiting) = self.waiting.get_mut(provider) {
                waiting.remove(&order);
                if waiting.is_empty() {
                    self.waiting.remove(provider);
                }
            }
        }
    }

    fn remove(&mut self, id: &CallId) -> Option<Call> {
        let call = self.calls.remove(id)?;
        match &call.holder {
            Holder::Hub { order, .. } => self.stop_waiting(&call.named, *order),
            Holder::Provider(provider) => {
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
        let (size, limit) = (call.params.size_bytes(), self.config.max_payload_bytes);
        if size > limit {
            let message = format!("`params` is {size} bytes; the limit is {limit}");
            let error = Failure::new(ErrorCode::TaskParameterError, message);
            return self.deliver(engine, CallEnd { id: call.id, outcome: MethodOutcome::Error(error) });
        }
        let wanted = std::mem::take(&mut call.providers);
        let is_provider =
            |id: &&ComponentId| self.components.get(*id).is_some_and(|component| component.role == Role::Provider);
        let mut named: Vec<ComponentId> = wanted.iter().filter(is_provider).cloned().collect();
        if !named.iter().any(|id| self.is_fit(id)) {
            named = self.fit_for(&call.method);
        }
        if named.is_empty() && self.is_young() {
            // Whoever is named was there before the hub started, and may be back in a moment.
            named.extend(wanted.into_iter().take(MAX_AWAITED));
            self.timers.insert((self.grown_up_at(), Timer::Orphan(call.id.clone())));
        }
        self.calls.next_order += 1;
        self.place(engine.clone(), self.calls.next_order, Box::new(call), named);
    }

    /// Whether providers that were here before the hub started may not have had the time to come back.
    fn is_young(&self) -> bool {
        self.now < self.grown_up_at()
    }

    fn grown_up_at(&self) -> Instant {
        self.born.plus_ms(self.config.orphan_timeout_ms)
    }

    /// Gives a call to one of these providers, or holds it until one has room.
    fn place(&mut self, engine: ComponentId, order: u64, call: Box<MethodCall>, named: Vec<ComponentId>) {
        let id = call.id.clone();
        if named.is_empty() {
            self.calls.ended.insert(id.clone());
            return self.deliver(&engine, lost(id, NOBODY));
        }
        let best = named.iter().filter(|id| self.has_room(id)).min_by_key(|id| self.calls.count(id)).cloned();
        self.calls.insert(id.clone(), engine, named, Holder::Hub { order, call });
        if let Some(provider) = best {
            self.give(&id, &provider);
        }
    }

    /// Calls that wait for providers none of which can serve them any more: whoever can serves them, so that nobody has to
    /// begin anew because providers are replaced by others.
    fn place_elsewhere(&mut self, stranded: Vec<CallId>) {
        for id in stranded {
            let Some(Call { engine, holder: Holder::Hub { order, call }, .. }) = self.calls.remove(&id) else {
                continue;
            };
            let others = self.fit_for(&call.method);
            self.place(engine, order, call, others);
        }
    }

    fn fit_for(&self, method: &MethodName) -> Vec<ComponentId> {
        let serves = |(id, it): &(&ComponentId, &Component)| {
            it.role == Role::Provider && it.is_connected() && it.methods.contains(method) && self.is_fit(id)
        };
        self.components.iter().filter(serves).map(|(id, _)| id.clone()).collect()
    }

    fn has_room(&self, provider: &ComponentId) -> bool {
        self.components.get(provider).is_some_and(|component| {
            let capacity = usize::try_from(component.capacity).unwrap_or(usize::MAX);
            let well = component.health.state == HealthState::Healthy;
            component.is_connected() && well && self.calls.count(provider) < capacity
        })
    }

    /// Whether it may serve calls, now or soon.
    fn is_fit(&self, provider: &ComponentId) -> bool {
        self.components.get(provider).is_some_and(|it| it.capacity > 0 && it.health.state != HealthState::Unhealthy)
    }

    /// A provider's health or capacity may have changed. What waited for nobody else goes to others, or back to where it
    /// came from.
    pub(super) fn provider_changed(&mut self, provider: &ComponentId) {
        self.provider_has_room(provider);
        if self.is_fit(provider) {
            return;
        }
        let waiting = self.calls.waiting.get(provider).into_iter().flat_map(BTreeMap::values);
        let named = |id: &CallId| self.calls.calls.get(id).map(|call| call.named.as_slice()).unwrap_or_default();
        let stranded: Vec<CallId> =
            waiting.filter(|id| !named(id).iter().any(|other| self.is_fit(other))).cloned().collect();
        self.place_elsewhere(stranded);
    }

    fn give(&mut self, id: &CallId, provider: &ComponentId) {
        let Some(Call { named, holder, .. }) = self.calls.calls.get_mut(id) else { return };
        let held = std::mem::replace(holder, Holder::Provider(provider.clone()));
        let Holder::Hub { order, call } = held else { return };
        let named = named.clone();
        self.calls.stop_waiting(&named, order);
        self.calls.hold(id, provider);
        self.calls.to_providers.entry(provider.clone()).or_default().push(*call);
    }

    /// Gives a provider what waits for it, as far as it has room.
    pub(super) fn provider_has_room(&mut self, provider: &ComponentId) {
        while self.has_room(provider) {
            let first = self.calls.waiting.get(provider).and_then(|waiting| waiting.values().next().cloned());
            let Some(id) = first else { return };
            self.give(&id, provider);
        }
    }

    pub(super) fn call_answered(
        &mut self,
        socket: SocketId,
        component: Option<&ComponentId>,
        mut end: CallEnd,
        in_reply_to: Option<String>,
    ) {
        end.outcome = end.outcome.bounded(self.config.max_payload_bytes);
        if let Err((code, message)) = self.check_answer(component, &end.id) {
            return self.refuse(socket, code, message, in_reply_to);
        }
        match self.calls.finish(&end.id) {
            Some(call) => {
                self.deliver(&call.engine, end);
                if let Holder::Provider(provider) = call.holder {
                    self.provider_has_room(&provider);
                }
            }
            // The hub started anew: the id says where the answer goes.
            None => {
                let Some((engine, _)) = end.id.parse() else { return };
                self.calls.ended.insert(end.id.clone());
                self.deliver(&engine, end);
            }
        }
    }

    /// Whether an answer is wanted, and from whom it comes.
    fn check_answer(&self, component: Option<&ComponentId>, id: &CallId) -> Result<(), (ErrorCode, String)> {
        let not_yours =
            || Err((ErrorCode::CallNotYours, format!("call `{id}` was given to another provider or to none yet")));
        let role = component.and_then(|component| self.components.get(component)).map(|it| it.role);
        if role.is_some_and(|role| role != Role::Provider) {
            return not_yours();
        }
        if let Some(call) = self.calls.calls.get(id) {
            let is_given = match (&call.holder, component) {
                (Holder::Hub { .. }, _) => false,
                (Holder::Provider(holder), Some(component)) => holder == component,
                // Whoever has not registered again yet may have been given it, unless that one is still there.
                (Holder::Provider(holder), None) => self.socket_of(holder).is_none(),
                (Holder::Nobody { .. }, component) => {
                    call.named.is_empty() || component.is_none_or(|component| call.named.contains(component))
                }
            };
            return if is_given { Ok(()) } else { not_yours() };
        }
        let Some((engine, at)) = id.parse() else {
            return Err((ErrorCode::CallNotFound, format!("`{id}` is not the id of a call")));
        };
        if !self.leases.holds(&engine, &at) || self.calls.ended.contains(id) {
            return Err((ErrorCode::CallEnded, format!("call `{id}` has ended already")));
        }
        if !self.leases.is_restored(&at) {
            return Err((ErrorCode::CallNotFound, format!("call `{id}` was not made")));
        }
        Ok(())
    }

    fn deliver(&mut self, engine: &ComponentId, end: CallEnd) {
        if self.socket_of(engine).is_some() {
            self.calls.to_engines.entry(engine.clone()).or_default().push(end);
        } else if let Some((_, at)) = end.id.parse() {
            // At most one for each of its open attempts.
            let kept = self.calls.kept.entry(engine.clone()).or_default();
            if self.leases.holds(engine, &at) && kept.iter().all(|other| other.id != end.id) {
                kept.push(end);
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
        let held =
            self.calls.calls.get(&progress.id).is_some_and(|call| call.holder == Holder::Provider(provider.clone()));
        if !held || progress.data.size_bytes() > MAX_PROGRESS_BYTES {
            return;
        }
        if let Err(problem) = progress.data.check() {
            let message = problem.within("data").to_string();
            return self.refuse(socket, ErrorCode::InvalidRequest, message, in_reply_to);
        }
        if let Some((_, at)) = progress.id.parse() {
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
        if let Holder::Provider(provider) = call.holder {
            self.cancel_at(&provider, id);
            self.provider_has_room(&provider);
        }
    }

    fn cancel_at(&mut self, provider: &ComponentId, id: &CallId) {
        if let Some(unsent) = self.calls.to_providers.get_mut(provider) {
            let before = unsent.len();
            unsent.retain(|call| call.id != *id);
            if unsent.len() < before {
                return;
            }
        }
        if let Some(socket) = self.components.get(provider).and_then(|component| component.socket) {
            self.send(socket, FromHub::CancelMethod(CancelMethod { id: id.clone() }));
        }
    }

    /// An engine registered: the calls it lists are wanted, no others.
    pub(super) fn resume_engine_calls(&mut self, engine: &ComponentId, listed: Vec<CallId>) {
        let listed: BTreeSet<CallId> = listed.into_iter().collect();
        let mine = self.calls.calls.iter().filter(|(id, call)| call.engine == *engine && !listed.contains(*id));
        let unwanted: Vec<CallId> = mine.map(|(id, _)| id.clone()).collect();
        unwanted.iter().for_each(|id| self.end_call(id));
        self.deliver_kept(engine);
        let answered: BTreeSet<CallId> =
            self.calls.to_engines.get(engine).into_iter().flatten().map(|end| end.id.clone()).collect();
        for id in listed {
            let is_open = id.parse().is_some_and(|(of, at)| of == *engine && self.leases.holds(engine, &at));
            if is_open && !self.calls.calls.contains_key(&id) && !answered.contains(&id) {
                self.orphan(id, engine.clone(), Vec::new());
            }
        }
    }

    /// An engine is there again: it gets the answers that came meanwhile.
    pub(super) fn deliver_kept(&mut self, engine: &ComponentId) {
        for end in self.calls.kept.remove(engine).unwrap_or_default() {
            self.deliver(engine, end);
        }
    }

    fn orphan(&mut self, id: CallId, engine: ComponentId, named: Vec<ComponentId>) {
        let until = self.now.plus_ms(self.config.orphan_timeout_ms);
        self.timers.insert((until, Timer::Orphan(id.clone())));
        self.calls.insert(id, engine, named, Holder::Nobody { until });
    }

    /// A provider registered: it holds what it lists; what it was given and does not list is held by nobody.
    pub(super) fn resume_provider_calls(
        &mut self,
        socket: SocketId,
        provider: &ComponentId,
        listed: Option<Vec<CallId>>,
        again: bool,
    ) {
        let Some(listed) = listed else { return };
        for id in &listed {
            match self.calls.calls.get(id).map(|call| call.holder.clone()) {
                Some(Holder::Provider(holder)) if holder == *provider => {}
                Some(Holder::Nobody { .. }) => self.calls.hold(id, provider),
                Some(Holder::Provider(_) | Holder::Hub { .. }) => self.cancel_listed(socket, id),
                None if self.calls.ended.contains(id) => self.cancel_listed(socket, id),
                None => match id.parse().filter(|(engine, at)| self.leases.holds(engine, at)) {
                    Some((engine, _)) => {
                        let holder = Holder::Provider(provider.clone());
                        self.calls.insert(id.clone(), engine, vec![provider.clone()], holder);
                        self.calls.hold(id, provider);
                    }
                    None => self.cancel_listed(socket, id),
                },
            }
        }
        if again {
            return;
        }
        let given = self.calls.open.get(provider).into_iter().flatten();
        let missing: Vec<CallId> = given.filter(|id| !listed.contains(id)).cloned().collect();
        for id in missing {
            if let Some(call) = self.calls.remove(&id) {
                self.orphan(id, call.engine, call.named);
            }
        }
    }

    fn cancel_listed(&mut self, socket: SocketId, id: &CallId) {
        self.send(socket, FromHub::CancelMethod(CancelMethod { id: id.clone() }));
    }

    pub(super) fn check_orphan(&mut self, id: &CallId) {
        let Some(call) = self.calls.calls.get(id) else { return };
        match call.holder {
            Holder::Nobody { until } if until <= self.now => {}
            Holder::Hub { .. } if !call.named.iter().any(|id| self.is_fit(id)) => {
                return self.place_elsewhere(vec![id.clone()]);
            }
            _ => return,
        }
        if let Some(call) = self.calls.finish(id) {
            self.log(true, "a call was lost", id.to_string());
            self.deliver(&call.engine, lost(id.clone(), "no provider holds the call"));
        }
    }

    pub(super) fn provider_lost(&mut self, provider: &ComponentId) {
        self.calls.to_providers.remove(provider);
        let held: Vec<CallId> = self.calls.open.get(provider).into_iter().flatten().cloned().collect();
        let waiting = self.calls.waiting.remove(provider).unwrap_or_default();
        let stranded = waiting.into_values().filter(|id| {
            let named = self.calls.calls.get(id).map(|call| call.named.as_slice()).unwrap_or_default();
            !named.iter().any(|provider| self.is_fit(provider))
        });
        let stranded = stranded.collect();
        self.place_elsewhere(stranded);
        for id in held {
            if let Some(call) = self.calls.finish(&id)
                && !planted::is(Bug::LostCalls)
            {
                self.deliver(&call.engine, lost(id, "the provider was lost"));
            }
        }
    }

    /// Sends what has gathered.
    pub(super) fn flush_calls(&mut self) {
        for (provider, calls) in std::mem::take(&mut self.calls.to_providers) {
            let Some(component) = self.components.get(&provider) else { continue };
            let (Some(socket), batch) = (component.socket, component.batch) else { continue };
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
    }
}

fn lost(id: CallId, why: &str) -> CallEnd {
    let data = Payload::from_value(&serde_json::json!({"lost": true}));
    let error = Failure::new(ErrorCode::ProviderNotAvailable, why).with_data(data);
    CallEnd { id, outcome: MethodOutcome::Error(error) }
}
