//! The admitted sockets, and what the hub knows of each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gleitzeit_run::id::{ComponentId, Position};
use gleitzeit_workflow::time::Instant;

use crate::hub::{SocketId, Token};
use crate::wire::{ProposalResult, RegisterComponent};

/// The maximum number of a component's unanswered proposals.
pub(super) const MAX_UNANSWERED: usize = 1_000;

/// The maximum number of refused events between two heartbeats; for a socket without heartbeats, the maximum in total.
const MAX_REFUSALS: usize = 100;

/// One admitted socket.
#[derive(Debug, Default)]
struct Session {
    /// Whether its component is in this process.
    is_within: bool,
    /// The component's id, once it is registered.
    component: Option<ComponentId>,
    /// A registration that waits for its protocols to be recorded.
    registering: Option<Registering>,
    /// Answers to its proposals, each to be sent after the entries up to a position.
    answers: VecDeque<(Position, ProposalResult)>,
    /// Its proposals that are unanswered.
    unanswered: BTreeSet<Token>,
    /// How many of its events were refused, see [`MAX_REFUSALS`].
    refusals: usize,
    /// When the last heartbeat was sent, if nothing has been received since.
    unanswered_heartbeat: Option<Instant>,
    /// Whether it has ever answered a heartbeat; only then does a missing answer count.
    answers_heartbeats: bool,
}

/// A registration that waits.
#[derive(Debug)]
struct Registering {
    register: Box<RegisterComponent>,
    /// Protocols whose recording is not answered yet.
    open: usize,
}

/// The admitted sockets.
#[derive(Debug, Default)]
pub(super) struct Sessions(BTreeMap<SocketId, Session>);

impl Sessions {
    /// A socket was admitted.
    pub(super) fn open(&mut self, socket: SocketId, is_within: bool) {
        self.0.insert(socket, Session { is_within, ..Session::default() });
    }

    /// A socket is no more. Returns the component that had registered on it.
    pub(super) fn close(&mut self, socket: SocketId) -> Option<ComponentId> {
        self.0.remove(&socket)?.component
    }

    pub(super) fn contains(&self, socket: SocketId) -> bool {
        self.0.contains_key(&socket)
    }

    /// Whether the component of an admitted socket is in this process.
    pub(super) fn is_within(&self, socket: SocketId) -> Option<bool> {
        self.0.get(&socket).map(|session| session.is_within)
    }

    /// The component that has registered on a socket.
    pub(super) fn component(&self, socket: SocketId) -> Option<&ComponentId> {
        self.0.get(&socket)?.component.as_ref()
    }

    /// An admitted socket sent something, so that its heartbeat is answered. Returns whether it is admitted.
    pub(super) fn hear(&mut self, socket: SocketId) -> bool {
        self.0.get_mut(&socket).map(|session| session.unanswered_heartbeat = None).is_some()
    }

    /// A component registered on a socket. Returns whether one had before.
    pub(super) fn register(&mut self, socket: SocketId, component_id: ComponentId) -> bool {
        self.0.get_mut(&socket).is_some_and(|session| session.component.replace(component_id).is_some())
    }

    /// Whether a registration on the socket waits for its protocols.
    pub(super) fn is_registering(&self, socket: SocketId) -> bool {
        self.0.get(&socket).is_some_and(|session| session.registering.is_some())
    }

    /// A registration waits for this many protocols. Returns whether the socket is admitted.
    pub(super) fn await_protocols(&mut self, socket: SocketId, register: Box<RegisterComponent>, open: usize) -> bool {
        let Some(session) = self.0.get_mut(&socket) else { return false };
        session.registering = Some(Registering { register, open });
        true
    }

    /// A protocol was recorded. Returns the registration that waited for it, if it was the last.
    pub(super) fn protocol_recorded(&mut self, socket: SocketId) -> Option<Box<RegisterComponent>> {
        let session = self.0.get_mut(&socket)?;
        let registering = session.registering.as_mut()?;
        registering.open -= 1;
        if registering.open > 0 {
            return None;
        }
        session.registering.take().map(|registering| registering.register)
    }

    /// A protocol was refused. Returns whether a registration waited for it.
    pub(super) fn stop_registering(&mut self, socket: SocketId) -> bool {
        self.0.get_mut(&socket).is_some_and(|session| session.registering.take().is_some())
    }

    /// How many proposals of a socket are unanswered.
    pub(super) fn unanswered(&self, socket: SocketId) -> usize {
        self.0.get(&socket).map_or(0, |session| session.unanswered.len())
    }

    /// A proposal of a socket was passed on.
    pub(super) fn proposed(&mut self, socket: SocketId, token: Token) {
        if let Some(session) = self.0.get_mut(&socket) {
            session.unanswered.insert(token);
        }
    }

    /// A proposal of a socket was decided. Returns whether the socket is admitted.
    pub(super) fn decided(&mut self, socket: SocketId, token: Token) -> bool {
        self.0.get_mut(&socket).map(|session| session.unanswered.remove(&token)).is_some()
    }

    /// An answer is due to a socket after the entries up to a position. Returns whether the socket is admitted.
    pub(super) fn answer(&mut self, socket: SocketId, after: Position, result: ProposalResult) -> bool {
        self.0.get_mut(&socket).map(|session| session.answers.push_back((after, result))).is_some()
    }

    /// The answers that are due to a socket that has the entries up to a position.
    pub(super) fn take_answers(&mut self, socket: SocketId, sent: Position) -> Vec<ProposalResult> {
        let Some(session) = self.0.get_mut(&socket) else { return Vec::new() };
        let due = session.answers.iter().take_while(|(after, _)| *after <= sent).count();
        session.answers.drain(..due).map(|(_, result)| result).collect()
    }

    /// Counts a refused event. Returns whether there were too many.
    pub(super) fn count_refusal(&mut self, socket: SocketId) -> bool {
        let Some(session) = self.0.get_mut(&socket) else { return false };
        session.refusals += 1;
        session.refusals > MAX_REFUSALS
    }

    /// A heartbeat is due on a socket. Returns its component, and since when it owes an answer if it should have given
    /// one.
    pub(super) fn heartbeat(&mut self, socket: SocketId, now: Instant) -> Option<(ComponentId, Option<Instant>)> {
        let session = self.0.get_mut(&socket)?;
        let component_id = session.component.clone()?;
        let missed = session.unanswered_heartbeat.filter(|_| session.answers_heartbeats);
        session.unanswered_heartbeat.get_or_insert(now);
        session.refusals = 0;
        Some((component_id, missed))
    }

    /// A socket has answered a heartbeat: from now on a missing answer counts.
    pub(super) fn heartbeat_answered(&mut self, socket: SocketId) {
        if let Some(session) = self.0.get_mut(&socket) {
            session.answers_heartbeats = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKET: SocketId = SocketId(1);

    fn open() -> Sessions {
        let mut sessions = Sessions::default();
        sessions.open(SOCKET, false);
        sessions
    }

    #[test]
    fn a_missed_heartbeat_counts_only_once_one_was_answered() {
        let mut sessions = open();
        assert_eq!(sessions.heartbeat(SOCKET, Instant(1)), None, "nobody has registered");
        let id = ComponentId::from("c");
        assert!(!sessions.register(SOCKET, id.clone()) && sessions.register(SOCKET, id.clone()));
        assert_eq!(sessions.heartbeat(SOCKET, Instant(1)), Some((id.clone(), None)));
        sessions.heartbeat_answered(SOCKET);
        assert_eq!(sessions.heartbeat(SOCKET, Instant(2)), Some((id.clone(), Some(Instant(1)))));
        assert!(sessions.hear(SOCKET));
        assert_eq!(sessions.heartbeat(SOCKET, Instant(3)), Some((id.clone(), None)));
        assert_eq!(sessions.close(SOCKET), Some(id));
        assert!(!sessions.hear(SOCKET) && !sessions.contains(SOCKET));
    }

    #[test]
    fn a_proposal_is_unanswered_until_it_is_decided() {
        let mut sessions = open();
        sessions.proposed(SOCKET, Token(1));
        sessions.proposed(SOCKET, Token(2));
        assert!(sessions.decided(SOCKET, Token(1)) && sessions.decided(SOCKET, Token(1)));
        assert_eq!((sessions.unanswered(SOCKET), sessions.unanswered(SocketId(2))), (1, 0));
        assert!(!sessions.decided(SocketId(2), Token(2)));
    }

    #[test]
    fn too_many_refusals_are_counted_between_two_heartbeats() {
        let mut sessions = open();
        sessions.register(SOCKET, "c".into());
        assert!((0..MAX_REFUSALS).all(|_| !sessions.count_refusal(SOCKET)));
        assert!(sessions.count_refusal(SOCKET));
        sessions.heartbeat(SOCKET, Instant(1));
        assert!(!sessions.count_refusal(SOCKET));
    }
}
