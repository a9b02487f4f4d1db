//! The hub's shell: sockets and the journal on one side, the pure machine (`gleitzeit_mesh::hub`) on the other.
//!
//! One task owns the machine. Sockets hand it decoded events through one ordered channel; it writes to sockets and to the
//! journal's writer. No rule of the domain lives here.

mod admit;
mod compile;
mod host;
mod inbox;
mod local;
mod machine;
mod message;
mod packet;
mod peer;
mod said;
mod socket;
mod waiting;

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use gleitzeit_mesh::hub::{ComponentView, Present};
use gleitzeit_protocols::Registry;
use gleitzeit_run::{AttemptRef, ProtocolUse, RunId};
use gleitzeit_workflow::{Payload, Timestamp};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::timeout;

pub(crate) use admit::{
    Admission, CONNECT_TIMEOUT, check_handshake, check_origin, check_token, check_upgrade, token_refusal,
};
pub(crate) use host::Hosts;
pub(crate) use inbox::Entrance;
pub(crate) use local::Local;
pub(crate) use machine::HubTask;
use message::ToMachine;
use said::Said;
pub(crate) use socket::{Pings, layer};

/// How long an answer of the hub's task may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// So many pieces of progress are kept for slow watchers.
const PROGRESS_KEPT: usize = 1_024;

/// What a provider said while an attempt runs.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) at: AttemptRef,
    /// By this machine's clock.
    pub(crate) heard_at: Timestamp,
    pub(crate) data: Payload,
}

/// How the API asks the hub.
#[derive(Clone, Debug)]
pub(crate) struct HubHandle {
    machine: mpsc::UnboundedSender<ToMachine>,
    progress: broadcast::Sender<Arc<Progress>>,
    /// Locked for moments only. What is added is told to `progress` under the same lock.
    said: Arc<Mutex<Said>>,
    registry: Arc<RwLock<Registry>>,
    /// There is no hub, and so nobody is connected.
    is_none: bool,
}

impl HubHandle {
    /// Where there is no hub: nobody is connected.
    pub(crate) fn none() -> Self {
        #[expect(clippy::disallowed_methods, reason = "nothing is ever sent")]
        let (machine, _) = mpsc::unbounded_channel();
        let (progress, _) = broadcast::channel(1);
        Self { machine, progress, said: Arc::default(), registry: Arc::default(), is_none: true }
    }

    /// Everyone who is connected or silent; `None` if the hub is going down.
    pub(crate) async fn components(&self) -> Option<Vec<ComponentView>> {
        let (reply, answer) = oneshot::channel();
        self.machine.send(ToMachine::Components(reply)).ok()?;
        timeout(ANSWER_TIMEOUT, answer).await.ok()?.ok()
    }

    /// Who is there, and where these attempts are; `None` if the hub is going down.
    pub(crate) async fn present(&self, attempts: Vec<AttemptRef>) -> Option<Present> {
        if self.is_none {
            return Some(Present::default());
        }
        let (reply, answer) = oneshot::channel();
        self.machine.send(ToMachine::Present(attempts, reply)).ok()?;
        timeout(ANSWER_TIMEOUT, answer).await.ok()?.ok()
    }

    /// When components served which protocols; `None` if the hub is going down.
    pub(crate) async fn served(&self) -> Option<Vec<ProtocolUse>> {
        let (reply, answer) = oneshot::channel();
        self.machine.send(ToMachine::Served(reply)).ok()?;
        timeout(ANSWER_TIMEOUT, answer).await.ok()?.ok()
    }

    /// Output of running attempts from now on.
    pub(crate) fn progress(&self) -> broadcast::Receiver<Arc<Progress>> {
        self.progress.subscribe()
    }

    /// What the open attempts of a run have said so far, and what all attempts say after that.
    pub(crate) fn progress_so_far(&self, run_id: RunId) -> (Vec<Arc<Progress>>, broadcast::Receiver<Arc<Progress>>) {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        (said.of(run_id), self.progress.subscribe())
    }

    /// Every protocol that is registered.
    pub(crate) fn registry(&self) -> &RwLock<Registry> {
        &self.registry
    }
}
