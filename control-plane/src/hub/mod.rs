//! The hub's shell: sockets and the journal on one side, the pure machine (`gleitzeit_core::hub`) on the other.
//!
//! One task owns the machine. Sockets hand it decoded events through one ordered channel; it writes to sockets and to the
//! journal's writer. No rule of the domain lives here.

mod admit;
mod compile;
mod host;
mod inbox;
mod local;
mod machine;
mod packet;
mod peer;
mod socket;

use std::sync::{Arc, RwLock};
use std::time::Duration;

use gleitzeit_core::hub::{ComponentView, Present};
use gleitzeit_core::{AttemptRef, Payload};
use gleitzeit_protocols::Registry;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::timeout;

pub(crate) use admit::{Admission, CONNECT_TIMEOUT, check_handshake, check_origin, check_token, token_refusal};
pub(crate) use host::Hosts;
pub(crate) use inbox::Entrance;
pub(crate) use local::Local;
pub(crate) use machine::HubTask;
use machine::ToMachine;
pub(crate) use socket::{Pings, layer};

/// How long an answer of the hub's task may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// So many pieces of progress are kept for slow watchers.
const PROGRESS_KEPT: usize = 1_024;

/// What a provider said while an attempt runs.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) at: AttemptRef,
    pub(crate) data: Payload,
}

/// How the API asks the hub.
#[derive(Clone, Debug)]
pub(crate) struct HubHandle {
    machine: mpsc::UnboundedSender<ToMachine>,
    progress: broadcast::Sender<Arc<Progress>>,
    registry: Arc<RwLock<Registry>>,
}

impl HubHandle {
    /// Everyone who is connected or silent; `None` if the hub is going down.
    pub(crate) async fn components(&self) -> Option<Vec<ComponentView>> {
        let (reply, answer) = oneshot::channel();
        self.machine.send(ToMachine::Components(reply)).ok()?;
        timeout(ANSWER_TIMEOUT, answer).await.ok()?.ok()
    }

    /// Who is there, and where these attempts are; `None` if the hub is going down.
    pub(crate) async fn present(&self, attempts: Vec<AttemptRef>) -> Option<Present> {
        let (reply, answer) = oneshot::channel();
        self.machine.send(ToMachine::Present(attempts, reply)).ok()?;
        timeout(ANSWER_TIMEOUT, answer).await.ok()?.ok()
    }

    /// Output of running attempts from now on.
    pub(crate) fn progress(&self) -> broadcast::Receiver<Arc<Progress>> {
        self.progress.subscribe()
    }

    /// Every protocol that is registered.
    pub(crate) fn registry(&self) -> &RwLock<Registry> {
        &self.registry
    }
}
