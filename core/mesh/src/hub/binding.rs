//! Ids are bound to secrets: who registers an id first brings a secret or is given one, and whoever comes by that id
//! later, while it is known, must have it. Ids that are made from a secret are bound to it for ever.

use gleitzeit_run::id::ComponentId;
use gleitzeit_run::secret::{Proof, Secret};
use gleitzeit_workflow::error::{ErrorCode, Failure};

use crate::hub::{Hub, SocketId};
use crate::wire::RegisterComponent;

impl Hub {
    /// Whether a socket may register the id that it names.
    ///
    /// # Errors
    /// If the id is bound to a secret that the socket does not show.
    pub(super) fn check_binding(&self, socket: SocketId, register: &RegisterComponent) -> Result<(), Failure> {
        if register.secret.as_ref().is_some_and(|secret| !secret.is_valid()) {
            return Err(Failure::new(ErrorCode::InvalidRequest, "`secret` must have 16 to 200 bytes"));
        }
        let Some(id) = &register.component_id else { return Ok(()) };
        let given = register.secret.as_ref().map(Secret::proof);
        // A socket that is registered need not show its secret again, but may not show another.
        let is_again = self.sessions.get(&socket).is_some_and(|session| session.component.as_ref() == Some(id));
        let is_proven = match self.bound(id) {
            Some(bound) => given.map_or(is_again, |given| given == bound),
            None => id.needs(given.as_ref()).unwrap_or(true),
        };
        if is_proven {
            return Ok(());
        }
        let why = match &given {
            Some(_) => "the `secret` is not that of its registration",
            None => "it comes without the `secret` of its registration",
        };
        Err(Failure::new(
            ErrorCode::ComponentIdTaken,
            format!("component `{id}` is known, and {why}; take another id, or wait until it is lost"),
        ))
    }

    /// By what a component is known again. None is known of one that has not come since the hub started.
    fn bound(&self, id: &ComponentId) -> Option<Proof> {
        self.components.get(id)?.proof
    }

    /// What a component is bound to that was let in, and the secret if it has to be told.
    pub(super) fn bind(&mut self, id: &ComponentId, brought: Option<&Secret>) -> (Proof, Option<Secret>) {
        if let Some(bound) = self.bound(id) {
            return (bound, None);
        }
        if let Some(brought) = brought {
            return (brought.proof(), None);
        }
        self.secrets_given += 1;
        let secret = Secret::of_seed(&self.seed, self.secrets_given);
        (secret.proof(), Some(secret))
    }
}
