//! One socket and what the hub knows of it.

use std::collections::VecDeque;

use gleitzeit_run::id::{ComponentId, Position};
use gleitzeit_workflow::time::Instant;

use crate::wire::{ProposalResult, RegisterComponent};

/// The maximum number of a component's unanswered proposals.
pub(super) const MAX_UNANSWERED: usize = 1_000;

/// The maximum number of refused events between two heartbeats; for a socket without heartbeats, the maximum in total.
pub(super) const MAX_REFUSALS: usize = 100;

/// One admitted socket.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Whether its component is in this process.
    pub(super) is_within: bool,
    /// The component's id, once it is registered.
    pub(super) component: Option<ComponentId>,
    /// A registration that waits for its protocols to be recorded.
    pub(super) registering: Option<Registering>,
    /// Answers to its proposals, each to be sent after the entries up to a position.
    pub(super) answers: VecDeque<(Position, ProposalResult)>,
    /// How many of its proposals are unanswered.
    pub(super) unanswered: usize,
    /// How many of its events were refused, see [`MAX_REFUSALS`].
    pub(super) refusals: usize,
    /// When the last heartbeat was sent, if nothing has been received since.
    pub(super) unanswered_heartbeat: Option<Instant>,
    /// Whether it has ever answered a heartbeat; only then does a missing answer count.
    pub(super) answers_heartbeats: bool,
}

/// A registration that waits.
#[derive(Debug)]
pub(super) struct Registering {
    pub(super) register: Box<RegisterComponent>,
    /// Protocols whose recording is not answered yet.
    pub(super) open: usize,
}
