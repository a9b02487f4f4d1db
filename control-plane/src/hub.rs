//! The hub's shell: it connects sockets and the journal to the pure state machine (`gleitzeit_mesh::hub`).
//!
//! One task owns the machine. Sockets send it decoded events through one ordered channel; it writes to the sockets and
//! to the journal's writer. No domain rules live here.

mod admit;
mod allowed_hosts;
mod compile;
mod inbox;
mod inbox_limits;
mod local;
mod machine;
mod message;
mod packet;
mod peer;
mod so_far;
mod socket;

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
pub(crate) use allowed_hosts::Hosts;
pub(crate) use inbox::Entrance;
pub(crate) use local::Local;
pub(crate) use machine::HubTask;
use message::ToMachine;
use so_far::ProgressSoFar;
pub(crate) use socket::{Pings, layer};

/// How long to wait for an answer of the hub's task.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How many pieces of progress are buffered for slow watchers.
const PROGRESS_KEPT: usize = 1_024;

/// Progress that a provider sent while an attempt runs.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) at: AttemptRef,
    /// When it was received, by this machine's clock.
    pub(crate) received_at: Timestamp,
    pub(crate) data: Payload,
}

/// A handle by which the API queries the hub.
#[derive(Clone, Debug)]
pub(crate) struct HubHandle {
    machine: mpsc::UnboundedSender<ToMachine>,
    progress: broadcast::Sender<Arc<Progress>>,
    /// Locked only for moments. A piece of progress is added here and sent to `progress` under the same lock.
    so_far: Arc<Mutex<ProgressSoFar>>,
    registry: Arc<RwLock<Registry>>,
    /// Whether there is no hub, so that nothing can be connected.
    is_none: bool,
}

impl HubHandle {
    /// The handle of a process without a hub: nothing is connected.
    pub(crate) fn none() -> Self {
        #[expect(clippy::disallowed_methods, reason = "nothing is ever sent")]
        let (machine, _) = mpsc::unbounded_channel();
        let (progress, _) = broadcast::channel(1);
        Self { machine, progress, so_far: Arc::default(), registry: Arc::default(), is_none: true }
    }

    /// All components that are connected or silent; `None` if the hub is shutting down.
    pub(crate) async fn components(&self) -> Option<Vec<ComponentView>> {
        let (reply, answer) = oneshot::channel();
        self.machine.send(ToMachine::Components(reply)).ok()?;
        timeout(ANSWER_TIMEOUT, answer).await.ok()?.ok()
    }

    /// Which components are present, and where these attempts are; `None` if the hub is shutting down.
    pub(crate) async fn present(&self, attempts: Vec<AttemptRef>) -> Option<Present> {
        if self.is_none {
            return Some(Present::default());
        }
        let (reply, answer) = oneshot::channel();
        self.machine.send(ToMachine::Present(attempts, reply)).ok()?;
        timeout(ANSWER_TIMEOUT, answer).await.ok()?.ok()
    }

    /// When components served which protocols; `None` if the hub is shutting down.
    pub(crate) async fn served(&self) -> Option<Vec<ProtocolUse>> {
        let (reply, answer) = oneshot::channel();
        self.machine.send(ToMachine::Served(reply)).ok()?;
        timeout(ANSWER_TIMEOUT, answer).await.ok()?.ok()
    }

    /// Subscribes to the progress of running attempts from now on.
    pub(crate) fn progress(&self) -> broadcast::Receiver<Arc<Progress>> {
        self.progress.subscribe()
    }

    /// The progress of a run's open attempts so far, and a subscription to all later progress.
    pub(crate) fn progress_so_far(&self, run_id: RunId) -> (Vec<Arc<Progress>>, broadcast::Receiver<Arc<Progress>>) {
        let so_far = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        (so_far.of(run_id), self.progress.subscribe())
    }

    /// All registered protocols.
    pub(crate) fn registry(&self) -> &RwLock<Registry> {
        &self.registry
    }
}
