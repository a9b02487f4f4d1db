//! Component ids are bound to secrets. The first registration of an id brings a secret or is given one, and each later
//! registration must present it for as long as the id is known. An id that is derived from a secret is bound to it
//! permanently.

use gleitzeit_run::id::ComponentId;
use gleitzeit_run::secret::{Proof, Secret};
use gleitzeit_workflow::error::{ErrorCode, Failure};

use crate::hub::{Hub, SocketId};
use crate::wire::RegisterComponent;

impl Hub {
    /// Checks whether a socket may register the id that it names.
    ///
    /// # Errors
    /// If the id is bound to a secret that the socket does not present.
    pub(super) fn check_binding(&self, socket: SocketId, register: &RegisterComponent) -> Result<(), Failure> {
        if register.secret.as_ref().is_some_and(|secret| !secret.is_valid()) {
            return Err(Failure::new(ErrorCode::InvalidRequest, "`secret` must have 16 to 200 bytes"));
        }
        let Some(id) = &register.component_id else { return Ok(()) };
        let given = register.secret.as_ref().map(Secret::proof);
        // A socket that is registered need not present its secret again, but may not present another one.
        let is_again = self.sessions.component(socket) == Some(id);
        let is_proven = match self.bound(id) {
            Some(bound) => given.map_or(is_again, |given| given == bound),
            None => id.check_proof(given.as_ref()).unwrap_or(true),
        };
        if is_proven {
            return Ok(());
        }
        let why = match &given {
            Some(_) => "the `secret` differs from that of its registration",
            None => "the `secret` of its registration is missing",
        };
        Err(Failure::new(
            ErrorCode::ComponentIdTaken,
            format!("component `{id}` is known, and {why}; use another id, or wait until it is lost"),
        ))
    }

    /// The proof that identifies a component; `None` if it has not registered since the hub started.
    fn bound(&self, id: &ComponentId) -> Option<Proof> {
        self.presence.get(id)?.proof
    }

    /// The proof that an admitted component is bound to, and the secret if the component has yet to receive it.
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
