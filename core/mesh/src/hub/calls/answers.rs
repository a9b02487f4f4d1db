//! Answers to calls: whether an answer is wanted, which component may send it, and where it goes.

use gleitzeit_run::id::ComponentId;
use gleitzeit_workflow::error::ErrorCode;

use super::Holder;
use crate::hub::{Hub, SocketId};
use crate::id::CallId;
use crate::wire::{CallEnd, Role};

impl Hub {
    pub(in crate::hub) fn call_answered(
        &mut self,
        socket: SocketId,
        component: Option<&ComponentId>,
        mut end: CallEnd,
        in_reply_to: Option<String>,
    ) {
        end.outcome = end.outcome.bounded(self.config.max_payload_bytes);
        let checked =
            self.engine_call_id(&end.id).and_then(|id| self.check_answer(component, &id, &end.id).map(|()| id));
        end.id = match checked {
            Ok(id) => id,
            Err((code, message)) => {
                if code == ErrorCode::HistoryLost {
                    self.log(true, "an answer to a call of a lost history was refused", self.label(socket));
                }
                return self.refuse(socket, code, message, in_reply_to);
            }
        };
        match self.calls.finish(&end.id) {
            Some(call) => {
                self.deliver(&call.engine, end);
                if let Holder::Provider { provider, .. } = call.holder {
                    self.provider_has_room(&provider);
                }
            }
            // The hub has restarted since the call was made: the id determines where the answer goes.
            None => {
                let Some((engine, _)) = end.id.parse() else { return };
                self.calls.ended.insert(end.id.clone());
                self.deliver(&engine, end);
            }
        }
    }

    /// Checks whether an answer is wanted, and whether this component may send it. Refusals name the call by the
    /// provider's id for it.
    fn check_answer(
        &self,
        component: Option<&ComponentId>,
        id: &CallId,
        alias: &CallId,
    ) -> Result<(), (ErrorCode, String)> {
        let not_yours = || {
            Err((
                ErrorCode::CallNotYours,
                format!("call `{alias}` was assigned to another provider or is not assigned yet"),
            ))
        };
        let role = component.and_then(|component| self.presence.get(component)).map(|it| it.role);
        if role.is_some_and(|role| role != Role::Provider) {
            return not_yours();
        }
        if let Some(call) = self.calls.calls.get(id) {
            let is_given = match (&call.holder, component) {
                (Holder::Hub { .. }, _) => false,
                (Holder::Provider { provider, .. }, Some(component)) => provider == component,
                // A component that has not registered again yet may be the one that was given the call, unless the
                // holder is connected.
                (Holder::Provider { provider, .. }, None) => self.socket_of(provider).is_none(),
                (Holder::Nobody { last: Some(last), .. }, Some(component)) => last == component,
                (Holder::Nobody { .. }, _) => true,
            };
            return if is_given { Ok(()) } else { not_yours() };
        }
        let Some((engine, at)) = id.parse() else {
            return Err((ErrorCode::CallNotFound, format!("`{alias}` is not the id of a call")));
        };
        if !self.leases.holds(&engine, &at) || self.calls.ended.contains(id) {
            return Err((ErrorCode::CallEnded, format!("call `{alias}` has ended already")));
        }
        if !self.leases.is_restored(&at) {
            return Err((ErrorCode::CallNotFound, format!("call `{alias}` was not made")));
        }
        Ok(())
    }

    pub(super) fn deliver(&mut self, engine: &ComponentId, end: CallEnd) {
        if self.socket_of(engine).is_some() {
            self.calls.to_engines.entry(engine.clone()).or_default().push(end);
        } else if let Some((_, at)) = end.id.parse() {
            // At most one answer for each open attempt.
            let kept = self.calls.kept.entry(engine.clone()).or_default();
            if self.leases.holds(engine, &at) && kept.iter().all(|other| other.id != end.id) {
                kept.push(end);
            }
        }
    }
}
