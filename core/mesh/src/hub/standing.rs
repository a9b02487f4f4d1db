//! Whether what a component has seen of the journal is in this one. After a backup was restored or a store removed it
//! may not be: then the component starts anew, and nothing that it did in the lost history counts.

use gleitzeit_run::id::{ComponentId, Position};
use gleitzeit_run::planted::{self, Bug};
use gleitzeit_run::term::Seen;
use gleitzeit_workflow::error::{ErrorCode, Failure};

use crate::hub::{Hub, SocketId};
use crate::wire::RegisterComponent;

/// What the past of a component that registers is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is in this journal; what the component holds counts as far as the journal says so.
    Current,
    /// It is of a history that is lost: the component must forget it.
    Lost,
}

impl Hub {
    /// What the past of a component is worth.
    ///
    /// # Errors
    /// If it holds something and cannot say in which history it got it.
    pub(super) fn standing(&self, socket: SocketId, register: &RegisterComponent) -> Result<Standing, Failure> {
        let Some(term) = self.history.current() else { return Ok(Standing::Current) };
        let head = self.stream.head();
        if let Some(seen) = &register.seen {
            let is_here = self.history.has(seen, head) || planted::is(Bug::LostSeen);
            return Ok(if is_here { Standing::Current } else { Standing::Lost });
        }
        // Calls say themselves where they come from.
        let holds_nothing = register.owned.is_empty() && register.attempts.is_empty();
        let is_within = register.owned.iter().all(|owned| owned.position <= head);
        if holds_nothing || self.was_here(socket, register.component_id.as_ref()) {
            return Ok(Standing::Current);
        }
        // A version without terms wrote the journal, and perhaps this component's as well.
        if self.history.is_first() && term.after > Position(0) && is_within {
            return Ok(Standing::Current);
        }
        let message = "the component holds attempts or slices and does not say in which term it got them (`seen`), so \
                       they may be of a journal that is lost; restart it";
        Err(Failure::new(ErrorCode::HistoryLost, message))
    }

    /// Whether a component registered since this hub started: a journal is never lost under a hub that runs.
    fn was_here(&self, socket: SocketId, component_id: Option<&ComponentId>) -> bool {
        let is_registered = self.sessions.get(&socket).is_some_and(|session| session.component.is_some());
        let is_known = component_id
            .and_then(|id| self.components.get(id))
            .is_some_and(|component| component.connected_at.is_some());
        is_registered || is_known
    }

    /// Why something that was seen counts no more, for people.
    pub(super) fn not_of_this_journal(&self, seen: &Seen) -> String {
        let Seen { term, position } = seen;
        let head = self.stream.head();
        format!(
            "entry {position} of term `{term}` is not in this journal, which ends with entry {head}: a backup was \
             restored, or the store was removed"
        )
    }
}
