//! Method calls between engines and providers. The engine names the providers that may serve a call, and the hub hands
//! it to the one with the fewest open calls. If none has room, the call waits here for the next provider with room that
//! serves its method, whether it was named or not. The hub tells the engine so, because an attempt's time counts only
//! while a provider works on it. The invariant: a call whose task names a provider is never given to a provider of
//! another name.
//!
//! For the hub a call ends with its answer, its cancel or the loss of its provider. Calls are not stored: after a
//! restart their ids determine where answers go, and a call that no provider holds is answered as lost.
//!
//! `state` owns the calls. Here the hub routes to it; `answers` and `resume` do so for answers and for components that
//! come back.

/// What calls depend on, of a hub.
macro_rules! around {
    ($hub:expr) => {
        $crate::hub::calls::Around { presence: &$hub.presence, leases: &$hub.leases, now: $hub.now }
    };
}

mod answers;
mod resume;
mod state;

use gleitzeit_run::id::{AttemptRef, ComponentId};
use gleitzeit_run::route::Route;
use gleitzeit_workflow::error::{ErrorCode, Failure};

use crate::frames::frames;
use crate::hub::{Hub, Output, SocketId, Timer};
use crate::id::CallId;
use crate::wire::{
    CallEnd, CancelMethod, ExecuteMethod, FromHub, MethodCall, MethodOutcome, MethodProgress, MethodResult,
    MethodStarted, MethodWaiting,
};

pub(super) use state::{CallPlace, Calls};

use state::{Around, Cancelled, NewCall};

/// Larger progress is dropped: it is for people who watch, and many pieces are kept for slow ones.
const MAX_PROGRESS_BYTES: usize = 64 * 1024;

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
        if !self.leases.holds(engine, &at) || self.calls.contains(&call.id) {
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
        let new = NewCall { engine: engine.clone(), alias, route, wanted, priority, call };
        if let Some(check_at) = self.calls.call(new, around!(self)) {
            self.timers.set(check_at, Timer::Orphan(id));
        }
    }

    /// A provider's health, capacity or methods may have changed.
    pub(super) fn provider_changed(&mut self, provider: &ComponentId) {
        self.calls.fill(provider, &self.presence);
        self.give_back();
    }

    /// Answers the waiting calls of routes that no provider serves any more, so that their tasks are requeued.
    fn give_back(&mut self) {
        let later = self.calls.give_back(around!(self));
        for (at, id) in later {
            self.timers.set(at, Timer::Orphan(id));
        }
    }

    /// A provider reports whether it could begin some of its calls.
    pub(super) fn provider_turned(&mut self, provider: &ComponentId, aliases: Vec<CallId>, are_waiting: bool) {
        let ids = aliases.iter().filter_map(|alias| self.engine_call_id(alias).ok()).collect();
        self.calls.turn(provider, ids, are_waiting);
    }

    pub(super) fn call_progress(
        &mut self,
        socket: SocketId,
        provider: &ComponentId,
        progress: MethodProgress,
        in_reply_to: Option<String>,
    ) {
        let Ok(id) = self.engine_call_id(&progress.id) else { return };
        if !self.calls.is_held_by(&id, provider) || progress.data.size_bytes() > MAX_PROGRESS_BYTES {
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
        if self.calls.is_of(id, engine) {
            self.end_call(id);
        }
    }

    /// An attempt ended: whatever was called for it is not wanted any more.
    pub(super) fn attempt_ended(&mut self, engine: &ComponentId, at: &AttemptRef) {
        let id = CallId::new(engine, at);
        self.end_call(&id);
        self.calls.forget_attempt(engine, &id);
    }

    fn end_call(&mut self, id: &CallId) {
        let Some(Cancelled { provider, alias }) = self.calls.end(id, &self.presence) else { return };
        if let Some(socket) = self.presence.socket(&provider) {
            self.send(socket, FromHub::CancelMethod(CancelMethod { id: alias }));
        }
    }

    /// An answer goes to its engine, now or when the engine is connected.
    fn deliver(&mut self, engine: &ComponentId, end: CallEnd) {
        self.calls.deliver(engine, end, around!(self));
    }

    /// Sends what has gathered.
    pub(super) fn flush_calls(&mut self) {
        for (provider, calls) in self.calls.take_for_providers() {
            let Some(component) = self.presence.get(&provider) else { continue };
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
        for (engine, ends) in self.calls.take_for_engines() {
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
        for ((socket, are_waiting), ids) in self.calls.take_turned(&self.presence) {
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
