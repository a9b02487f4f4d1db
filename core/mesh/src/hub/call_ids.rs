//! The ids under which providers know calls. They contain the position of the attempt's dispatch in addition to the
//! engine's own id, so that an answer to a call of a lost history is never taken for an answer to a current one.

use gleitzeit_run::id::{AttemptRef, Position, TermId};
use gleitzeit_run::planted_bugs::{self, Bug};
use gleitzeit_workflow::error::ErrorCode;

use crate::hub::Hub;
use crate::id::CallId;

/// Prefixes the engine's id with where the attempt was dispatched: `tPOSITION.TERM/…`. Ids without the prefix begin
/// with a run id, which has no `t`.
fn name(position: Position, term: &TermId, id: &CallId) -> CallId {
    CallId::from(format!("t{position}.{term}/{id}"))
}

/// The engine's id, and the position and term of the dispatch if the id contains them.
fn parse(alias: &CallId) -> (Option<(Position, TermId)>, CallId) {
    let read = || {
        let (tag, id) = alias.as_str().strip_prefix('t')?.split_once('/')?;
        let (position, term) = tag.split_once('.')?;
        Some(((Position(position.parse().ok()?), TermId::from(term)), CallId::from(id)))
    };
    match read() {
        Some((tag, id)) => (Some(tag), id),
        None => (None, alias.clone()),
    }
}

impl Hub {
    /// The id by which a provider knows a call for an open attempt.
    pub(super) fn provider_call_id(&self, id: &CallId, at: &AttemptRef) -> CallId {
        let dispatched = self.leases.dispatched(at).unwrap_or_default();
        match self.history.of(dispatched) {
            Some(term) => name(dispatched, &term.id, id),
            None => id.clone(),
        }
    }

    /// Maps a provider's id of a call to the engine's id.
    ///
    /// # Errors
    /// If the call was made in a history that is lost, or was never made.
    pub(super) fn engine_call_id(&self, alias: &CallId) -> Result<CallId, (ErrorCode, String)> {
        let (tag, id) = parse(alias);
        if planted_bugs::is(Bug::LostCallNames) {
            return Ok(id);
        }
        if let Some((position, term)) = &tag {
            let is_known = self.history.of(*position).is_some_and(|of| of.id == *term);
            if !is_known || *position > self.stream.head() {
                let message = format!("call `{alias}` was made for an attempt that is not in this journal");
                return Err((ErrorCode::HistoryLost, message));
            }
        }
        let Some((_, at)) = id.parse() else { return Ok(id) };
        if self.leases.dispatched(&at).is_some() && self.provider_call_id(&id, &at) != *alias {
            return Err((ErrorCode::CallNotFound, format!("call `{alias}` was not made")));
        }
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_name_parses_back_and_any_other_text_is_an_engine_id() {
        let id = CallId::from("01900000-0000-7000-8000-000000000000/1/a/t7.x/e");
        let alias = name(Position(7), &"ab".into(), &id);
        assert_eq!(parse(&alias), (Some((Position(7), "ab".into())), id.clone()));
        for text in [id.as_str(), "", "t", "t7/x", "t.ab/x", "tx.ab/x", "t-1.ab/x", "t7.ab"] {
            assert_eq!(parse(&text.into()), (None, text.into()), "{text}");
        }
    }
}
