//! The link without sockets: the same [`Link`] and [`LinkEvents`], with the hub's end held by the test.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::LinkConfig;
use crate::frame::{self, Packet};
use crate::link::{self, Ends, Link, LinkEvent, LinkEvents};

/// What the hub's end sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerEvent {
    /// A message from the link.
    Message {
        /// The name of the event.
        event: String,
        /// JSON text of its object.
        body: String,
    },
    /// The host asked for another connection; answer with [`Server::disconnect`].
    ReconnectWanted {
        /// The host's reason.
        reason: String,
    },
    /// The host closed the link.
    Closed,
}

/// The hub's end of a link in memory.
pub struct Server {
    ends: Ends,
    generation: u64,
}

/// Makes a link and its hub's end, not connected yet. Capacities and limits come from the configuration.
pub fn pair(config: &LinkConfig) -> (Link, LinkEvents, Server) {
    let (link, events, ends) = link::link(config, &CancellationToken::new());
    (link, events, Server { ends, generation: 0 })
}

impl Server {
    /// Opens a connection; an open one must be ended first.
    ///
    /// # Errors
    /// If the host's queue is full or the host is gone.
    pub fn connect(&mut self, welcome: &str) -> Result<(), mpsc::error::TrySendError<LinkEvent>> {
        self.generation += 1;
        self.ends.generations.set_live(self.generation);
        self.ends.events.try_send(LinkEvent::Connected { generation: self.generation, welcome: welcome.to_owned() })
    }

    /// Ends the connection; messages that the host sent and nobody received are lost.
    ///
    /// # Errors
    /// If the host's queue is full or the host is gone.
    pub fn disconnect(&mut self, reason: &str) -> Result<(), mpsc::error::TrySendError<LinkEvent>> {
        self.ends.generations.set_live(0);
        while self.ends.frames.try_recv().is_ok() {}
        self.ends.events.try_send(LinkEvent::Disconnected { reason: reason.to_owned() })
    }

    /// Refuses to let the host connect.
    ///
    /// # Errors
    /// If the host's queue is full or the host is gone.
    pub fn refuse(&mut self, message: &str) -> Result<(), mpsc::error::TrySendError<LinkEvent>> {
        self.ends.events.try_send(LinkEvent::Refused { status: None, message: message.to_owned() })
    }

    /// Sends a message to the host.
    ///
    /// # Errors
    /// If the host's queue is full or the host is gone.
    pub fn send(&mut self, event: &str, body: &str) -> Result<(), mpsc::error::TrySendError<LinkEvent>> {
        self.ends.events.try_send(LinkEvent::Message { event: event.to_owned(), body: body.to_owned() })
    }

    /// What the host did next; `None` once every [`Link`] has been dropped. Cancel-safe.
    pub async fn recv(&mut self) -> Option<ServerEvent> {
        loop {
            let frame = tokio::select! {
                biased;
                Some((of, reason)) = self.ends.reconnects.recv() => {
                    if of == self.generation {
                        return Some(ServerEvent::ReconnectWanted { reason });
                    }
                    continue;
                }
                frame = self.ends.frames.recv() => frame?,
                () = self.ends.closing.cancelled() => return Some(ServerEvent::Closed),
            };
            if frame.generation != self.generation {
                continue;
            }
            // Our own encoder wrote the frame.
            if let Packet::Event(json) = frame::parse(&frame.text)
                && let Ok(event) = frame::event(json)
                && let Some(body) = event.body()
            {
                return Some(ServerEvent::Message { event: event.name.to_string(), body: body.to_owned() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SendError;

    #[tokio::test]
    async fn the_twin_behaves_like_a_link() {
        let (link, mut events, mut server) = pair(&LinkConfig { max_frame_bytes: 100, ..LinkConfig::default() });
        let body = serde_json::json!({"n": 1});
        assert!(matches!(link.send("a", &body).await, Err(SendError::NotConnected)));

        server.connect("{}").expect("room");
        assert!(matches!(link.send("a", &body).await, Err(SendError::NotConnected)), "not seen yet");
        assert_eq!(events.recv().await, Some(LinkEvent::Connected { generation: 1, welcome: "{}".to_owned() }));
        link.send("a", &body).await.expect("connected");
        let message = ServerEvent::Message { event: "a".to_owned(), body: "{\"n\":1}".to_owned() };
        assert_eq!(server.recv().await, Some(message));
        let large = serde_json::json!({"text": "x".repeat(100)});
        assert!(matches!(link.send("a", &large).await, Err(SendError::TooLarge { limit_bytes: 100, .. })));

        link.send("lost", &body).await.expect("connected");
        server.disconnect("restart").expect("room");
        server.connect("{}").expect("room");
        assert!(matches!(link.send("early", &body).await, Err(SendError::NotConnected)), "not seen yet");
        assert_eq!(events.recv().await, Some(LinkEvent::Disconnected { reason: "restart".to_owned() }));
        assert!(matches!(events.recv().await, Some(LinkEvent::Connected { generation: 2, .. })));
        link.send("kept", &body).await.expect("connected");
        assert!(matches!(server.recv().await, Some(ServerEvent::Message { event, .. }) if event == "kept"));

        link.reconnect("stuck");
        assert_eq!(server.recv().await, Some(ServerEvent::ReconnectWanted { reason: "stuck".to_owned() }));
        link.close();
        assert_eq!(server.recv().await, Some(ServerEvent::Closed));
        assert!(matches!(link.send("late", &body).await, Err(SendError::Closed)));
    }
}
