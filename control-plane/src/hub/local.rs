//! The hub for components of its own process.

use std::sync::Arc;
use std::task::{Context, Poll};

use gleitzeit_core::mesh::{FromHub, LocalHub, LocalSocket, ToHub};
use tokio::sync::mpsc;

use crate::hub::inbox::{Entrance, Inbox};
use crate::hub::peer::Peer;

/// Events that may wait for a slow component; past it its socket is closed and it continues from its position.
const BUFFER_EVENTS: usize = 8_192;

/// Admits whoever asks: the process trusts itself.
#[derive(Debug)]
pub(crate) struct Local(pub(crate) Entrance);

impl LocalHub for Local {
    fn connect(&self) -> Box<dyn LocalSocket> {
        let inbox = self.0.inbox();
        let (peer, events) = mpsc::channel(BUFFER_EVENTS);
        inbox.opened(Peer::Local(peer));
        Box::new(Socket { inbox, events, says_goodbye: false })
    }
}

#[derive(Debug)]
struct Socket {
    inbox: Inbox,
    events: mpsc::Receiver<Arc<FromHub>>,
    says_goodbye: bool,
}

impl LocalSocket for Socket {
    fn send(&self, message: ToHub) {
        self.inbox.take(0, || Ok((message, None)));
    }

    fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Arc<FromHub>>> {
        self.events.poll_recv(context)
    }

    fn try_recv(&mut self) -> Option<Arc<FromHub>> {
        self.events.try_recv().ok()
    }

    fn leave(mut self: Box<Self>) {
        self.says_goodbye = true;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.inbox.gone(self.says_goodbye);
    }
}
