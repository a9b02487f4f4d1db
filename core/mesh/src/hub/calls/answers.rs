//! Answers to calls: whether an answer is wanted, which component may send it, and where it goes.

use gleitzeit_run::id::ComponentId;
use gleitzeit_workflow::error::ErrorCode;

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
        self.calls.answered(end, around!(self));
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
        if let Some(may_answer) = self.calls.may_answer(component, id, &self.presence) {
            return if may_answer { Ok(()) } else { not_yours() };
        }
        let Some((engine, at)) = id.parse() else {
            return Err((ErrorCode::CallNotFound, format!("`{alias}` is not the id of a call")));
        };
        if !self.leases.holds(&engine, &at) || self.calls.has_ended(id) {
            return Err((ErrorCode::CallEnded, format!("call `{alias}` has ended already")));
        }
        if !self.leases.is_restored(&at) {
            return Err((ErrorCode::CallNotFound, format!("call `{alias}` was not made")));
        }
        Ok(())
    }
}
