//! Ids of proposals and method calls, which identify them on the mesh until they are answered.

use gleitzeit_run::id::{AttemptRef, ComponentId};
use gleitzeit_workflow::id::TaskId;
use gleitzeit_workflow::text_id;

text_id!(
    /// Identifies a proposal of one component until it is answered; opaque to the hub.
    ProposalId
);
text_id!(
    /// Identifies a method call. It is opaque to providers, and contains engine, run, task and attempt.
    CallId
);

impl CallId {
    /// The id of the one call that an engine makes for an attempt: `run/attempt/task/engine`. The parts with a fixed
    /// form come first, and a task id contains no slash, so the engine's id may contain anything.
    pub fn new(engine: &ComponentId, at: &AttemptRef) -> Self {
        Self::from(format!("{}/{}/{}/{engine}", at.run_id, at.attempt, at.task_id))
    }

    /// The engine and the attempt that a call was made for; `None` if the text is not a call id.
    pub fn parse(&self) -> Option<(ComponentId, AttemptRef)> {
        let mut parts = self.as_str().splitn(4, '/');
        let run_id = parts.next()?.parse().ok()?;
        let attempt = parts.next()?.parse().ok()?;
        let task_id = parts.next().filter(|id| !id.is_empty())?;
        let engine = parts.next().filter(|id| !id.is_empty())?;
        Some((ComponentId::from(engine), AttemptRef { run_id, task_id: TaskId::from(task_id), attempt }))
    }
}

#[cfg(test)]
mod tests {
    use gleitzeit_run::RunId;

    use super::*;

    #[test]
    fn a_call_id_round_trips_for_any_engine_run_task_and_attempt() {
        let run_id = RunId(uuid::Uuid::from_u128(7));
        for (engine, task_id) in [("e1", "a"), ("host/é-1/x", "my-task_2-3"), ("00000000-0000", "_")] {
            let at = AttemptRef { run_id, task_id: task_id.into(), attempt: 12 };
            let id = CallId::new(&engine.into(), &at);
            assert_eq!(id.parse(), Some((engine.into(), at)), "{id}");
        }
        for text in ["", "x", "a/b/c/d", "00000000-0000-0000-0000-000000000007/1//e"] {
            assert_eq!(CallId::from(text).parse(), None, "{text}");
        }
    }
}
