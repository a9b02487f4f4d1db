//! The two ends that a host holds, [`Link`] to send and [`LinkEvents`] to receive, and the bounded queues behind them.
//!
//! The queue to the hub belongs to one connection and is emptied when that connection ends: hosts propose again from
//! their state, after `Connected`, whatever must survive. Every frame carries the number of the connection it was meant
//! for.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde::de::IgnoredAny;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cause::Cause;
use crate::config::LinkConfig;
use crate::frame;

/// What a link reports to its host, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// The hub sent `welcome`; from now on messages can be sent.
    Connected {
        /// Number of this connection, from 1.
        generation: u64,
        /// JSON text of the body of `welcome`.
        welcome: String,
    },
    /// The connection ended. No more of its events follow, and everything unsent is lost. The link reconnects by
    /// itself.
    Disconnected {
        /// The reason, for people.
        reason: String,
    },
    /// The hub refuses the connection. Reported once for each different message; the link keeps trying.
    Refused {
        /// The HTTP status, if the hub refused before the upgrade.
        status: Option<u16>,
        /// The hub's own message.
        message: String,
    },
    /// The hub cannot be reached. Reported once for each different reason; the link keeps trying.
    Unreachable(Cause),
    /// An event from the hub, other than `welcome`.
    Message {
        /// The name of the event.
        event: String,
        /// JSON text of its one argument, an object, as the hub wrote it.
        body: String,
    },
}

/// Why a message was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// There is no connection, or its `Connected` has not been received yet.
    #[error("not connected to the control plane")]
    NotConnected,
    /// The link was closed for good.
    #[error("the link is closed")]
    Closed,
    /// The outgoing queue is full (only from [`Link::try_send`]).
    #[error("the outgoing queue is full")]
    Full,
    /// The message is larger than allowed; the connection is kept.
    #[error("message `{event}` has {size_bytes} bytes, the limit is {limit_bytes}")]
    TooLarge {
        /// The name of the event.
        event: String,
        /// Its size in bytes, including the envelope.
        size_bytes: usize,
        /// The limit in bytes, [`LinkConfig::max_frame_bytes`].
        limit_bytes: usize,
    },
    /// The body cannot be written as JSON.
    #[error("message cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
}

/// A frame and the connection it is for.
pub(crate) struct Frame {
    pub(crate) generation: u64,
    pub(crate) text: String,
}

/// Which connection is open, and which one the host has seen. 0 means none.
#[derive(Debug, Default)]
pub(crate) struct Generations {
    live: AtomicU64,
    seen: AtomicU64,
}

impl Generations {
    pub(crate) fn set_live(&self, generation: u64) {
        self.live.store(generation, Ordering::SeqCst);
    }

    fn current(&self) -> Option<u64> {
        let live = self.live.load(Ordering::SeqCst);
        (live != 0 && live == self.seen.load(Ordering::SeqCst)).then_some(live)
    }
}

/// The sending half: a cheap handle.
#[derive(Clone)]
pub struct Link {
    frames: mpsc::Sender<Frame>,
    reconnects: mpsc::Sender<(u64, String)>,
    generations: Arc<Generations>,
    closing: CancellationToken,
    max_frame_bytes: usize,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("generations", &self.generations).finish_non_exhaustive()
    }
}

impl Link {
    /// Sends an event with one JSON object, in the order of the calls; waits while the queue is full. `body` is
    /// anything that serializes to an object, including raw JSON text; it is serialized before this function returns
    /// its future.
    ///
    /// `Ok` means that the message was handed over: if the connection ends first, the message is lost. Cancel-safe: a
    /// call that is dropped sends nothing.
    ///
    /// # Errors
    /// Each [`SendError`] except `Full`.
    pub fn send<'a, T: Serialize + ?Sized>(
        &'a self,
        event: &str,
        body: &T,
    ) -> impl Future<Output = Result<(), SendError>> + Send + use<'a, T> {
        let frame = self.frame(event, body);
        async move {
            let frame = frame?;
            let permit = self.frames.reserve().await.map_err(|_closed| SendError::Closed)?;
            // The connection may have ended during the wait.
            if self.generations.current() != Some(frame.generation) {
                return Err(SendError::NotConnected);
            }
            permit.send(frame);
            Ok(())
        }
    }

    /// Sends like [`Link::send`], but does not wait.
    ///
    /// # Errors
    /// Each [`SendError`].
    pub fn try_send<T: Serialize + ?Sized>(&self, event: &str, body: &T) -> Result<(), SendError> {
        self.frames.try_send(self.frame(event, body)?).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::Closed,
        })
    }

    /// Whether a message could be sent now.
    pub fn is_connected(&self) -> bool {
        self.generations.current().is_some()
    }

    /// Reports a body that the host could not parse. A body that is not valid JSON was damaged in transit; its content
    /// is lost, so the link reconnects and the new connection continues from the receiver's position. Any other body
    /// was sent by a hub of a newer version.
    pub fn not_understood(&self, body: &str) {
        if serde_json::from_str::<IgnoredAny>(body).is_err() {
            self.reconnect("a message could not be read");
        }
    }

    /// Drops the current connection without a goodbye and reconnects. Does nothing if there is no connection.
    pub fn reconnect(&self, reason: &str) {
        if let Some(generation) = self.generations.current() {
            // A full channel holds a request for the same connection, or a stale one that the driver discards at once.
            self.reconnects.try_send((generation, reason.to_owned())).ok();
        }
    }

    /// Sends what is queued, disconnects cleanly and ends the driver. Returns at once: the driver's end is the proof.
    pub fn close(&self) {
        self.closing.cancel();
    }

    fn frame<T: Serialize + ?Sized>(&self, event: &str, body: &T) -> Result<Frame, SendError> {
        if self.frames.is_closed() || self.closing.is_cancelled() {
            return Err(SendError::Closed);
        }
        let generation = self.generations.current().ok_or(SendError::NotConnected)?;
        let text = frame::encode(event, body).map_err(SendError::Encode)?;
        if text.len() > self.max_frame_bytes {
            return Err(SendError::TooLarge {
                event: event.to_owned(),
                size_bytes: text.len(),
                limit_bytes: self.max_frame_bytes,
            });
        }
        Ok(Frame { generation, text })
    }
}

/// The receiving half. Dropping it ends the driver.
#[derive(Debug)]
pub struct LinkEvents {
    events: mpsc::Receiver<LinkEvent>,
    generations: Arc<Generations>,
}

impl LinkEvents {
    /// The next event; `None` once the driver has ended. Cancel-safe.
    pub async fn recv(&mut self) -> Option<LinkEvent> {
        let event = self.events.recv().await?;
        self.note(&event);
        Some(event)
    }

    /// The next event, if there is one already.
    pub fn try_recv(&mut self) -> Option<LinkEvent> {
        let event = self.events.try_recv().ok()?;
        self.note(&event);
        Some(event)
    }

    fn note(&self, event: &LinkEvent) {
        match event {
            LinkEvent::Connected { generation, .. } => self.generations.seen.store(*generation, Ordering::SeqCst),
            LinkEvent::Disconnected { .. } => self.generations.seen.store(0, Ordering::SeqCst),
            LinkEvent::Refused { .. } | LinkEvent::Unreachable(_) | LinkEvent::Message { .. } => {}
        }
    }
}

/// The other ends of the queues, held by the driver or the in-memory twin.
pub(crate) struct Ends {
    pub(crate) frames: mpsc::Receiver<Frame>,
    pub(crate) reconnects: mpsc::Receiver<(u64, String)>,
    pub(crate) events: mpsc::Sender<LinkEvent>,
    pub(crate) generations: Arc<Generations>,
    pub(crate) closing: CancellationToken,
}

/// Makes both sides of a link.
pub(crate) fn link(config: &LinkConfig, token: &CancellationToken) -> (Link, LinkEvents, Ends) {
    let (frame_sender, frames) = mpsc::channel(config.outbound_capacity);
    let (reconnect_sender, reconnects) = mpsc::channel(1);
    let (events, event_receiver) = mpsc::channel(config.inbound_capacity);
    let generations = Arc::new(Generations::default());
    let closing = token.child_token();
    let link = Link {
        frames: frame_sender,
        reconnects: reconnect_sender,
        generations: generations.clone(),
        closing: closing.clone(),
        max_frame_bytes: config.max_frame_bytes,
    };
    let link_events = LinkEvents { events: event_receiver, generations: generations.clone() };
    (link, link_events, Ends { frames, reconnects, events, generations, closing })
}
