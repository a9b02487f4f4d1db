//! Requests to the writer that are not answered yet.

use gleitzeit_run::id::{AttemptRef, ComponentId, Epoch, Slice};

use crate::hub::SocketId;
use crate::id::ProposalId;
use crate::wire::ComponentRegistered;

/// What a request to the writer was made for.
#[derive(Debug)]
pub(super) enum Pending {
    Proposal { socket: SocketId, proposal_id: ProposalId },
    Grant { slice: Slice },
    Protocol { socket: SocketId },
    Restored,
    Stop { at: AttemptRef },
    Slice { slice: Slice, component_id: ComponentId, epoch: Epoch, socket: SocketId },
    Engine { engine: ComponentId, socket: SocketId, answer: Option<ComponentRegistered> },
    Read { socket: SocketId },
}
