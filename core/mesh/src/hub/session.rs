//! One socket and what the hub knows of it.

use std::collections::VecDeque;

use gleitzeit_run::id::{ComponentId, Position};
use gleitzeit_workflow::time::Instant;

use crate::hub::stream::Cursor;
use crate::wire::{ProposalResult, RegisterComponent};

/// A component may have so many proposals unanswered.
pub(super) const MAX_UNANSWERED: usize = 1_000;

/// A socket may be refused so many events until it is asked for its next heartbeat; who is never asked, altogether.
pub(super) const MAX_REFUSALS: usize = 100;

/// One admitted socket.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Whether its component is in this process.
    pub(super) is_within: bool,
    /// Who it is, once it is registered.
    pub(super) component: Option<ComponentId>,
    /// A registration that waits for its protocols to be recorded.
    pub(super) registering: Option<Registering>,
    /// Owners and watchers: how far the journal was sent to it.
    pub(super) cursor: Option<Cursor>,
    /// Answers to its proposals, each to be sent after the entries up to a position.
    pub(super) answers: VecDeque<(Position, ProposalResult)>,
    /// How many of its proposals are unanswered.
    pub(super) unanswered: usize,
    /// How many of its events were refused, see [`MAX_REFUSALS`].
    pub(super) refusals: usize,
    /// A heartbeat was sent then, and nothing was heard since.
    pub(super) unanswered_heartbeat: Option<Instant>,
    /// Whether it has ever answered a heartbeat: then a missing answer counts.
    pub(super) answers_heartbeats: bool,
}

/// A registration that waits.
#[derive(Debug)]
pub(super) struct Registering {
    pub(super) register: Box<RegisterComponent>,
    /// Protocols whose recording is not answered yet.
    pub(super) open: usize,
}
