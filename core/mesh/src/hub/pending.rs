//! Requests to the writer that are not answered yet.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use gleitzeit_run::id::{AttemptRef, ComponentId, Epoch, Slice};

use crate::hub::{SocketId, Token};
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

impl Pending {
    fn is_answered_by_verdict(&self) -> bool {
        match self {
            Self::Proposal { .. } | Self::Grant { .. } | Self::Protocol { .. } | Self::Restored | Self::Stop { .. } => {
                true
            }
            Self::Slice { .. } | Self::Engine { .. } | Self::Read { .. } => false,
        }
    }
}

/// The requests that are not answered yet.
#[derive(Debug)]
pub(super) struct Requests {
    last: Token,
    open: BTreeMap<Token, Pending>,
}

impl Default for Requests {
    fn default() -> Self {
        Self { last: Token(0), open: BTreeMap::new() }
    }
}

impl Requests {
    /// Adds a request. Returns the token that its answer will have.
    pub(super) fn add(&mut self, pending: Pending) -> Token {
        self.last = Token(self.last.0 + 1);
        self.open.insert(self.last, pending);
        self.last
    }

    /// Takes the request that is answered.
    pub(super) fn take(&mut self, token: Token) -> Option<Pending> {
        self.open.remove(&token)
    }

    /// Takes the request that a verdict answers; queries and reads have answers of their own.
    pub(super) fn take_verdict(&mut self, token: Token) -> Option<Pending> {
        match self.open.entry(token) {
            Entry::Occupied(request) if request.get().is_answered_by_verdict() => Some(request.remove()),
            Entry::Occupied(_) | Entry::Vacant(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_once_and_a_read_not_by_a_verdict() {
        let mut requests = Requests::default();
        let (restored, read) = (requests.add(Pending::Restored), requests.add(Pending::Read { socket: SocketId(1) }));
        assert_ne!(restored, read);
        assert!(requests.take_verdict(restored).is_some() && requests.take_verdict(restored).is_none());
        assert!(requests.take_verdict(read).is_none() && requests.take(read).is_some());
    }
}
