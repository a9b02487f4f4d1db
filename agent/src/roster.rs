//! The state of each component's connection: whether all are registered, and what is logged about it.
//!
//! However many components there are, losing the hub and getting it back is logged once each.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gleitzeit_link::Cause;
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Away,
    Registered,
    /// Leaving or gone.
    Left,
}

/// What was logged last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Logged {
    Nothing,
    There,
    Away,
}

#[derive(Debug)]
struct State {
    standings: Vec<Standing>,
    logged: Logged,
    refused: Option<String>,
    /// Why the hub cannot be reached, and whether that was logged.
    cause: Option<(Cause, bool)>,
    /// The start is overdue, so every cause is worth a log line.
    is_overdue: bool,
}

impl State {
    /// Logs once why the hub cannot be reached.
    fn log_cause(&mut self) {
        if let Some((cause, is_logged @ false)) = &mut self.cause {
            *is_logged = true;
            warn!(hint = cause.hint, code = cause.code.name(), "{}; retrying", cause.message);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Roster {
    state: Mutex<State>,
    ready: watch::Sender<bool>,
    url: String,
}

impl Roster {
    pub(crate) fn new(url: &str) -> Arc<Self> {
        let state =
            State { standings: Vec::new(), logged: Logged::Nothing, refused: None, cause: None, is_overdue: false };
        Arc::new(Self { state: Mutex::new(state), ready: watch::Sender::new(false), url: url.to_owned() })
    }

    pub(crate) fn join(self: &Arc<Self>, id: &str) -> Member {
        let mut state = self.state();
        state.standings.push(Standing::Away);
        Member { roster: self.clone(), at: state.standings.len() - 1, id: id.to_owned() }
    }

    /// Whether every component is registered now.
    pub(crate) fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Marks the start as overdue; logs that if nothing was logged yet.
    pub(crate) fn overdue(&self) {
        let mut state = self.state();
        state.is_overdue = state.logged != Logged::There;
        if state.logged == Logged::Nothing && state.standings.contains(&Standing::Away) {
            state.logged = Logged::Away;
            if state.cause.is_some() {
                state.log_cause();
            } else {
                warn!(url = self.url, "the control plane cannot be reached yet, retrying");
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every update is complete in itself, so a panic elsewhere leaves no partial state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, at: usize, standing: Standing, reason: &str) {
        let mut state = self.state();
        let Some(own) = state.standings.get_mut(at) else { return };
        if *own == Standing::Left {
            return;
        }
        *own = standing;
        let staying = state.standings.iter().filter(|standing| **standing != Standing::Left);
        let (all, registered) = staying.fold((0, 0), |(all, registered), standing| {
            (all + 1, registered + usize::from(*standing == Standing::Registered))
        });
        self.ready.send_if_modified(|ready| std::mem::replace(ready, all > 0 && all == registered) != *ready);
        match (standing, state.logged) {
            (Standing::Registered, logged) if all == registered && logged != Logged::There => {
                state.logged = Logged::There;
                (state.refused, state.cause, state.is_overdue) = (None, None, false);
                let message =
                    if logged == Logged::Away { "the control plane is back" } else { "all components registered" };
                info!(url = self.url, components = all, "{message}");
            }
            (Standing::Away, Logged::There) => {
                state.logged = Logged::Away;
                warn!(url = self.url, reason, "lost the control plane, reconnecting");
            }
            _ => {}
        }
    }
}

/// One component's place in the roster.
#[derive(Debug)]
pub(crate) struct Member {
    roster: Arc<Roster>,
    at: usize,
    id: String,
}

impl Member {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Whether all components of this agent are registered now.
    pub(crate) fn all_ready(&self) -> watch::Receiver<bool> {
        self.roster.ready()
    }

    pub(crate) fn registered(&self) {
        debug!(component = self.id, "registered");
        self.roster.set(self.at, Standing::Registered, "");
    }

    pub(crate) fn away(&self, reason: &str) {
        debug!(component = self.id, reason, "disconnected");
        self.roster.set(self.at, Standing::Away, reason);
    }

    pub(crate) fn refused(&self, status: Option<u16>, message: &str) {
        let mut state = self.roster.state();
        if state.refused.as_deref() != Some(message) {
            state.refused = Some(message.to_owned());
            state.logged = Logged::Away;
            error!(url = self.roster.url, status, message, "the control plane refuses this agent, retrying");
        }
    }

    /// Logs a cause. A transient one is logged only once the start is overdue, since losing the hub was already logged;
    /// any other one at once.
    pub(crate) fn unreachable(&self, cause: Cause) {
        debug!(component = self.id, message = cause.message, "unreachable");
        let mut state = self.roster.state();
        if state.cause.as_ref().is_some_and(|(known, _)| *known == cause) {
            return;
        }
        let is_of_interest = !cause.may_pass || state.is_overdue;
        state.cause = Some((cause, false));
        if is_of_interest {
            state.logged = Logged::Away;
            state.log_cause();
        }
    }

    pub(crate) fn left(&self) {
        self.roster.set(self.at, Standing::Left, "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_ready_while_all_that_stay_are_registered() {
        let roster = Roster::new("http://hub");
        let ready = roster.ready();
        let members = [roster.join("a"), roster.join("b")];
        members[0].registered();
        assert!(!*ready.borrow());
        members[1].registered();
        assert!(*ready.borrow());
        members[0].away("restart");
        assert!(!*ready.borrow());
        members[0].left();
        assert!(*ready.borrow(), "the other one is still there");
        members[1].left();
        assert!(!*ready.borrow());
        members[1].registered();
        assert!(!*ready.borrow(), "who left does not come back");
    }
}
