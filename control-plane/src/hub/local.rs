//! The hub's end for components in its own process.

use std::sync::Arc;
use std::task::{Context, Poll};

use gleitzeit_mesh::wire::{FromHub, LocalHub, LocalSocket, ToHub};
use tokio::sync::mpsc;

use crate::hub::inbox::{Entrance, Inbox};
use crate::hub::peer::Peer;

/// Events that may wait for a slow component; beyond that its socket is closed, and it continues from its position.
const BUFFER_EVENTS: usize = 8_192;

/// Admits every component: the process trusts itself.
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
        // Bytes are not counted: roles in this process bound their own open work.
        self.inbox.take(0, None, || Ok((message, None)));
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
        self.inbox.gone(self.says_goodbye, None);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use gleitzeit_mesh::wire::RegisterComponent;
    use serde_json::json;
    use tokio::time::timeout;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{Config, StoreConfig, build};

    async fn next(socket: &mut Box<dyn LocalSocket>) -> Option<String> {
        let received = poll_fn(|context| socket.poll_recv(context));
        let received = timeout(Duration::from_secs(10), received).await.expect("in time");
        received.map(|message| message.kind().to_owned())
    }

    /// Receives events up to one with this name.
    async fn until(socket: &mut Box<dyn LocalSocket>, wanted: &str) -> Vec<String> {
        let mut heard = Vec::new();
        while heard.last().is_none_or(|last| last != wanted) {
            heard.push(next(socket).await.expect("it is open"));
        }
        heard
    }

    fn queue(id: &str) -> ToHub {
        let secret = format!("what only {id} knows");
        let register = json!({"component_type": "queue", "component_id": id, "secret": secret, "name": "here"});
        let register: RegisterComponent = serde_json::from_value(register).expect("a registration");
        ToHub::from(Box::new(register))
    }

    #[tokio::test]
    async fn a_component_of_this_process_behaves_like_a_remote_one() {
        let app = build(Config { port: 0, store: StoreConfig::Memory, ..Config::default() }).await.expect("it starts");
        let (hub, stop) = (app.local_hub(), CancellationToken::new());
        let running = tokio::spawn(app.run(stop.clone()));

        let mut socket = hub.connect();
        assert_eq!(next(&mut socket).await.as_deref(), Some("welcome"));
        socket.send(queue("queue-1"));
        assert!(until(&mut socket, "ownership").await.contains(&"component_registered".to_owned()));

        // A second socket of the same component closes the first and keeps what the component owns.
        let mut second = hub.connect();
        until(&mut second, "welcome").await;
        second.send(queue("queue-1"));
        until(&mut second, "ownership").await;
        while next(&mut socket).await.is_some() {}

        // A goodbye hands over ownership at once.
        let mut other = hub.connect();
        until(&mut other, "welcome").await;
        other.send(queue("queue-2"));
        until(&mut other, "component_registered").await;
        second.leave();
        until(&mut other, "ownership").await;

        stop.cancel();
        while next(&mut other).await.is_some() {}
        running.await.expect("no panic").expect("a clean end");
        assert_eq!(next(&mut hub.connect()).await, None, "a hub that has ended closes at once");
    }
}
