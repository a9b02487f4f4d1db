//! Where each component stands with the hub: whether all are registered, and what is logged about the connection.
//!
//! However many components there are, losing the hub and having it back is told once each.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tracing::{debug, error, info, warn};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Away,
    Registered,
    /// On its way out or gone.
    Left,
}

/// What was last logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    There,
    Away,
}

#[derive(Debug)]
struct State {
    standings: Vec<Standing>,
    told: Told,
    refused: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Roster {
    state: Mutex<State>,
    ready: watch::Sender<bool>,
    url: String,
}

impl Roster {
    pub(crate) fn new(url: &str) -> Arc<Self> {
        let state = State { standings: Vec::new(), told: Told::Nothing, refused: None };
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

    /// The start takes long: says so if nothing was said yet.
    pub(crate) fn overdue(&self) {
        let mut state = self.state();
        if state.told == Told::Nothing && state.standings.contains(&Standing::Away) {
            state.told = Told::Away;
            warn!(url = self.url, "the control plane cannot be reached yet, trying on");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is complete in itself: a panic elsewhere leaves nothing half done.
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
        match (standing, state.told) {
            (Standing::Registered, told) if all == registered && told != Told::There => {
                state.told = Told::There;
                state.refused = None;
                let message =
                    if told == Told::Away { "the control plane is back" } else { "all components registered" };
                info!(url = self.url, components = all, "{message}");
            }
            (Standing::Away, Told::There) => {
                state.told = Told::Away;
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
            state.told = Told::Away;
            error!(url = self.roster.url, status, message, "the control plane does not let this agent in, trying on");
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
