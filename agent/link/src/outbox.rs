//! The two ends a host holds: [`Link`] to send, [`LinkEvents`] to receive, and the bounded queues behind them.
//!
//! The queue to the hub belongs to one connection and is emptied when that ends: what must survive is proposed again
//! from state after `Connected`. Every frame carries the number of the connection it was meant for.

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

/// What a link tells its host, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// The hub said `welcome`; from now on messages can be sent.
    Connected {
        /// Number of this connection, from 1.
        generation: u64,
        /// JSON text of the body of `welcome`.
        welcome: String,
    },
    /// The connection ended; nothing more of it follows and everything unsent is gone. The link tries again by itself.
    Disconnected {
        /// Why, for people.
        reason: String,
    },
    /// The hub does not let us in. Said once for each different message; the link keeps trying.
    Refused {
        /// HTTP status if it was refused before the upgrade.
        status: Option<u16>,
        /// The hub's own words.
        message: String,
    },
    /// The hub cannot be reached. Said once for each different reason; the link keeps trying.
    Unreachable(Cause),
    /// An event from the hub, other than `welcome`.
    Message {
        /// Its name.
        event: String,
        /// JSON text of its one argument, an object, as the hub wrote it.
        body: String,
    },
}

/// Why a message was not taken.
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
        /// Its event name.
        event: String,
        /// Its size with envelope.
        size_bytes: usize,
        /// The limit.
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

/// Which connection is open, and which one the host knows of. 0: none.
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
    /// Sends an event with one JSON object, in the order of the calls; waits while the queue is full. `body` is anything
    /// that serializes to an object, raw JSON text too; it is written before this returns its future.
    ///
    /// `Ok` means handed over: if the connection ends first, the message is gone. Cancel-safe: not sent if dropped.
    ///
    /// # Errors
    /// Each [`SendError`] but `Full`.
    pub fn send<'a, T: Serialize + ?Sized>(
        &'a self,
        event: &str,
        body: &T,
    ) -> impl Future<Output = Result<(), SendError>> + Send + use<'a, T> {
        let frame = self.frame(event, body);
        async move {
            let frame = frame?;
            let permit = self.frames.reserve().await.map_err(|_closed| SendError::Closed)?;
            // The connection may have ended while this waited.
            if self.generations.current() != Some(frame.generation) {
                return Err(SendError::NotConnected);
            }
            permit.send(frame);
            Ok(())
        }
    }

    /// As [`Link::send`], but does not wait.
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

    /// Told of a body that could not be understood. One that is no JSON was damaged on its way: what it said is missing,
    /// and a new connection begins where the receiver is. Any other was sent by a hub that knows more.
    pub fn not_understood(&self, body: &str) {
        if serde_json::from_str::<IgnoredAny>(body).is_err() {
            self.reconnect("a message could not be read");
        }
    }

    /// Drops the current connection without a goodbye and connects anew; nothing happens if there is none.
    pub fn reconnect(&self, reason: &str) {
        if let Some(generation) = self.generations.current() {
            // A full channel holds a wish for the same connection or a stale one, which the driver takes out at once.
            self.reconnects.try_send((generation, reason.to_owned())).ok();
        }
    }

    /// Says goodbye after what is queued, and ends the driver. Returns at once: the driver's end is the proof.
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

    /// The next event if there is one already.
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

/// The other ends, held by the driver or the in-memory twin.
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
