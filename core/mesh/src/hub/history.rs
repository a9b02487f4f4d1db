//! Whether what a component has seen of the journal is in this journal. After a backup was restored or a store removed,
//! it may not be. The component must then start anew, and nothing that it did in the lost history counts.

use gleitzeit_run::id::{ComponentId, Position};
use gleitzeit_run::planted_bugs::{self, Bug};
use gleitzeit_run::term::Seen;
use gleitzeit_workflow::error::{ErrorCode, Failure};

use crate::hub::{Hub, SocketId};
use crate::wire::RegisterComponent;

/// Whether the history that a registering component comes from is this journal's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SeenHistory {
    /// It is this journal's: what the component holds counts as far as the journal confirms it.
    Current,
    /// It is a history that is lost: the component must forget everything from it.
    Lost,
}

impl Hub {
    /// Determines which history a registering component comes from.
    ///
    /// # Errors
    /// If the component holds something and cannot say in which history it got it.
    pub(super) fn check_history(&self, socket: SocketId, register: &RegisterComponent) -> Result<SeenHistory, Failure> {
        let Some(term) = self.history.current() else { return Ok(SeenHistory::Current) };
        let head = self.stream.head();
        if let Some(seen) = &register.seen {
            let is_here = self.history.has(seen, head) || planted_bugs::is(Bug::LostSeen);
            return Ok(if is_here { SeenHistory::Current } else { SeenHistory::Lost });
        }
        // Calls carry their own origin in their ids.
        let holds_nothing = register.owned.is_empty() && register.attempts.is_empty();
        let is_within = register.owned.iter().all(|owned| owned.position <= head);
        if holds_nothing || self.has_registered(socket, register.component_id.as_ref()) {
            return Ok(SeenHistory::Current);
        }
        // The journal was written by a version without terms, and the component may be of that version too.
        if self.history.is_first() && term.after > Position(0) && is_within {
            return Ok(SeenHistory::Current);
        }
        let message = "the component holds attempts or slices and does not say in which term it got them (`seen`), so \
                       they may be of a journal that is lost; restart it";
        Err(Failure::new(ErrorCode::HistoryLost, message))
    }

    /// Whether a component has registered since this hub started: the journal is never replaced under a running hub.
    fn has_registered(&self, socket: SocketId, component_id: Option<&ComponentId>) -> bool {
        let is_registered = self.sessions.component(socket).is_some();
        let is_known =
            component_id.and_then(|id| self.presence.get(id)).is_some_and(|component| component.connected_at.is_some());
        is_registered || is_known
    }

    /// An explanation, for people, of why something that was seen does not count.
    pub(super) fn not_of_this_journal(&self, seen: &Seen) -> String {
        let Seen { term, position } = seen;
        let head = self.stream.head();
        format!(
            "entry {position} of term `{term}` is not in this journal, which ends with entry {head}: a backup was \
             restored, or the store was removed"
        )
    }
}
