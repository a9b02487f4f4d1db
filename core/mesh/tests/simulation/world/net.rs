//! Sockets: in order within one, in any order across several. Messages in transit on a cut socket are lost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub(crate) use gleitzeit_mesh::hub::SocketId;
use gleitzeit_mesh::wire::{FromHub, ToHub};

use super::agenda::Time;

/// The component at the far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Far {
    /// A worker by number, and its incarnation.
    Worker(usize, u64),
    Watcher,
    /// An intruder that forges the messages of others.
    Intruder,
}

/// An event on its way to the hub.
#[derive(Clone, Debug)]
pub(crate) enum Up {
    Open,
    Message(ToHub),
    Closed { clean: bool },
}

/// An event on its way from the hub.
#[derive(Clone, Debug)]
pub(crate) enum Down {
    Message(Arc<FromHub>),
    Closed,
}

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) far: Far,
    pub(crate) up: VecDeque<Up>,
    pub(crate) down: VecDeque<Down>,
    /// Whether the socket is cut: nothing sent from now on arrives.
    pub(crate) cut: bool,
    pub(crate) last_up: Time,
    pub(crate) last_down: Time,
}

#[derive(Debug, Default)]
pub(crate) struct Net {
    pub(crate) sockets: BTreeMap<SocketId, Socket>,
    last: SocketId,
}

impl Net {
    pub(crate) fn open(&mut self, far: Far) -> SocketId {
        self.last = SocketId(self.last.0 + 1);
        let (up, down) = (VecDeque::new(), VecDeque::new());
        self.sockets.insert(self.last, Socket { far, up, down, cut: false, last_up: 0, last_down: 0 });
        self.last
    }

    /// Whether receiving the message twice must change nothing. Calls are made once: a second one is a second
    /// execution.
    pub(crate) fn may_repeat_up(message: &ToHub) -> bool {
        let is_made_once = matches!(message, ToHub::RegisterComponent(_) | ToHub::Watch(_) | ToHub::ExecuteMethod(_));
        !is_made_once
    }

    pub(crate) fn may_repeat_down(message: &FromHub) -> bool {
        matches!(
            message,
            FromHub::ExecuteTask(_)
                | FromHub::CancelTask(_)
                | FromHub::CancelMethod(_)
                | FromHub::MethodResult(_)
                | FromHub::ComponentStatus(_)
                | FromHub::Events(_)
                | FromHub::AppendResult(_)
                | FromHub::Heartbeat(_)
        )
    }
}
