//! Sockets: in order within one, in any order across; what is under way when one is cut is gone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use gleitzeit_mesh::wire::{FromHub, ToHub};

use super::agenda::Time;

pub(crate) type SocketId = u64;

/// Who holds the far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Far {
    /// A worker by number, in its incarnation.
    Worker(usize, u64),
    Watcher,
    /// Somebody who forges what others say.
    Stranger,
}

/// On its way to the hub.
#[derive(Clone, Debug)]
pub(crate) enum Up {
    Open,
    Message(ToHub),
    Closed { clean: bool },
}

/// On its way from the hub.
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
    /// Nothing sent from now on arrives.
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
        self.last += 1;
        let (up, down) = (VecDeque::new(), VecDeque::new());
        self.sockets.insert(self.last, Socket { far, up, down, cut: false, last_up: 0, last_down: 0 });
        self.last
    }

    /// Whether hearing the same once more must change nothing. Calls are made once: a second one is a second execution.
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
