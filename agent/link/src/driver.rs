//! The driver: connects, moves messages while the connection lasts, and starts over.
//!
//! It owns the receiving ends of every queue, so no lock is held anywhere. It ends only on [`Link::close`], when the
//! caller's token is cancelled, or when the [`LinkEvents`] are dropped; each time with a goodbye to the hub.

use std::pin::pin;
use std::time::Duration;

use gleitzeit_tls::Connector;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, trace, warn};

use crate::backoff::Backoff;
use crate::cause::{Cause, Speech};
use crate::config::{ConfigError, LinkConfig, base_url};
use crate::frame::{self, Packet};
use crate::link::{self, Ends, Frame, Link, LinkEvent, LinkEvents};
use crate::probe::look;
use crate::reach::Found;
use crate::transport::{Connection, Failure};

/// How many queued frames share one flush.
const FLUSH_BATCH: usize = 256;
/// How long the goodbye may take.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// Makes a link. Nothing happens until [`Driver::run`] is polled.
///
/// # Errors
/// If the configuration is invalid.
pub fn connect(config: LinkConfig, token: &CancellationToken) -> Result<(Link, LinkEvents, Driver), ConfigError> {
    config.validate()?;
    let (link, events, ends) = link::link(&config, token);
    let is_tls = config.address().is_ok_and(|address| address.is_tls);
    let tls = is_tls.then(|| Connector::http1(&config.trust));
    Ok((link, events, Driver { config, tls, ends }))
}

/// The work of one link, to be spawned by its owner. Dropping it drops the connection without a goodbye.
pub struct Driver {
    config: LinkConfig,
    /// The TLS settings, for an `https` address.
    tls: Option<Connector>,
    ends: Ends,
}

/// How a connection ended.
enum End {
    /// Closed for good, by our side.
    Closed,
    /// Lost; the driver reconnects.
    Lost(String),
}

/// The problem that was reported last, so that each is reported once. The host, which has several links, logs it.
#[derive(PartialEq, Eq)]
enum Trouble {
    None,
    Refused(String),
    /// For this reason, in the connection's own words.
    Unreachable(String),
}

impl Driver {
    /// Runs until the link is closed.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(self.config.initial_backoff, self.config.max_backoff);
        let mut trouble = Trouble::None;
        let mut generation = 0;
        loop {
            let established = tokio::select! {
                () = self.ends.closing.cancelled() => return,
                () = self.ends.events.closed() => return,
                result = discarding(&mut self.ends.frames, Connection::establish(&self.config, self.tls.as_ref())) => result,
            };
            match established {
                Ok(connection) => {
                    generation += 1;
                    trouble = Trouble::None;
                    let since = Instant::now();
                    debug!(url = self.config.url, generation, "connected to the control plane");
                    let end = self.serve(connection, generation).await;
                    self.ends.generations.set_live(0);
                    while self.ends.frames.try_recv().is_ok() {}
                    let End::Lost(reason) = end else { return };
                    debug!(url = self.config.url, reason, "lost the control plane, reconnecting");
                    if !self.emit(LinkEvent::Disconnected { reason }).await {
                        return;
                    }
                    // A connection that breaks at once does not reset the backoff.
                    if since.elapsed() >= self.config.max_backoff {
                        backoff.reset();
                    }
                }
                Err(failure) => {
                    if !self.report(failure, &mut trouble).await {
                        return;
                    }
                }
            }
            tokio::select! {
                () = self.ends.closing.cancelled() => return,
                () = self.ends.events.closed() => return,
                () = discarding(&mut self.ends.frames, sleep(backoff.delay())) => {}
            }
        }
    }

    async fn report(&mut self, failure: Failure, trouble: &mut Trouble) -> bool {
        let url = &self.config.url;
        match failure {
            Failure::Refused { status, message } => {
                let new = Trouble::Refused(message.clone());
                if *trouble == new {
                    debug!(url, message, "refused by the control plane again");
                    return true;
                }
                *trouble = new;
                debug!(url, status, message, "refused by the control plane, retrying");
                self.emit(LinkEvent::Refused { status, message }).await
            }
            Failure::Unreachable(reason) => {
                let new = Trouble::Unreachable(reason.clone());
                if *trouble == new {
                    debug!(url, reason, "control plane still cannot be reached");
                    return true;
                }
                *trouble = new;
                debug!(url, reason, "control plane cannot be reached, retrying");
                // The probe takes a moment; neither the shutdown nor senders should wait for it.
                let looking = cause(self.config.clone(), reason);
                let cause = tokio::select! {
                    () = self.ends.closing.cancelled() => return false,
                    () = self.ends.events.closed() => return false,
                    cause = discarding(&mut self.ends.frames, looking) => cause,
                };
                self.emit(LinkEvent::Unreachable(cause)).await
            }
        }
    }

    /// Delivers an event, however long that takes; false if the receiver is gone.
    async fn emit(&self, event: LinkEvent) -> bool {
        tokio::select! {
            () = self.ends.closing.cancelled() => false,
            sent = self.ends.events.send(event) => sent.is_ok(),
        }
    }

    async fn serve(&mut self, mut connection: Connection, generation: u64) -> End {
        self.ends.generations.set_live(generation);
        let welcome = std::mem::take(&mut connection.welcome);
        if !self.emit(LinkEvent::Connected { generation, welcome }).await {
            return self.leave(connection, generation).await;
        }
        let silence = connection.silence;
        let mut silent = pin!(sleep_until(Instant::now() + silence));
        loop {
            tokio::select! {
                () = self.ends.closing.cancelled() => return self.leave(connection, generation).await,
                () = self.ends.events.closed() => return self.leave(connection, generation).await,
                () = &mut silent => return End::Lost(format!("nothing was received for {silence:?}")),
                Some((of, reason)) = self.ends.reconnects.recv() => {
                    if of == generation {
                        return End::Lost(reason);
                    }
                }
                received = connection.next() => {
                    silent.as_mut().reset(Instant::now() + silence);
                    let text = match received {
                        Ok(text) => text,
                        Err(reason) => return End::Lost(reason),
                    };
                    if let Err(end) = self.take(&mut connection, &text).await {
                        return end;
                    }
                    // Time spent waiting for the host does not count as the hub's silence.
                    silent.as_mut().reset(Instant::now() + silence);
                }
                Some(first) = self.ends.frames.recv() => {
                    let written = timeout(silence, self.write(&mut connection, first, generation)).await;
                    match written {
                        Ok(Ok(())) => {}
                        Ok(Err(reason)) => return End::Lost(reason),
                        Err(_elapsed) => return End::Lost(format!("the hub accepted no data for {silence:?}")),
                    }
                }
            }
        }
    }

    async fn take(&self, connection: &mut Connection, text: &str) -> Result<(), End> {
        match frame::parse(text) {
            Packet::Event(json) => match frame::event(json) {
                Ok(event) => match event.body() {
                    Some(body) => {
                        trace!(event = %event.name, bytes = body.len(), "received");
                        let message = LinkEvent::Message { event: event.name.into_owned(), body: body.to_owned() };
                        self.deliver(message).await
                    }
                    None => {
                        warn!(event = %event.name, "ignored an event whose argument is not an object");
                        Ok(())
                    }
                },
                Err(error) => Err(End::Lost(format!("unreadable event: {error}"))),
            },
            Packet::Ping => {
                let pong = async {
                    connection.feed(frame::PONG.to_owned()).await?;
                    connection.flush().await
                };
                match timeout(self.config.connect_timeout, pong).await {
                    Ok(sent) => sent.map_err(End::Lost),
                    Err(_elapsed) => Err(End::Lost("the hub does not take the answer to its ping".to_owned())),
                }
            }
            Packet::Close | Packet::Disconnected => Err(End::Lost("the hub closed the connection".to_owned())),
            Packet::Refused(message) => Err(End::Lost(message)),
            Packet::Open(_) | Packet::Connected | Packet::Other => Ok(()),
        }
    }

    /// A full queue first slows the hub down through TCP, then the connection is dropped.
    async fn deliver(&self, message: LinkEvent) -> Result<(), End> {
        let message = match self.ends.events.try_send(message) {
            Ok(()) => return Ok(()),
            // The loop ends by itself once the receiver is gone.
            Err(TrySendError::Closed(_)) => return Ok(()),
            Err(TrySendError::Full(message)) => message,
        };
        tokio::select! {
            () = self.ends.closing.cancelled() => Ok(()),
            sent = timeout(self.config.inbound_patience, self.ends.events.send(message)) => match sent {
                Ok(_) => Ok(()),
                Err(_elapsed) => Err(End::Lost("the host is too slow for what the hub sends".to_owned())),
            },
        }
    }

    async fn write(&mut self, connection: &mut Connection, first: Frame, generation: u64) -> Result<(), String> {
        let mut next = Some(first);
        let mut room = FLUSH_BATCH;
        while let Some(frame) = next {
            if frame.generation == generation {
                connection.feed(frame.text).await?;
            }
            room -= 1;
            next = if room > 0 { self.ends.frames.try_recv().ok() } else { None };
        }
        connection.flush().await
    }

    /// Sends what is queued, then says goodbye.
    async fn leave(&mut self, mut connection: Connection, generation: u64) -> End {
        self.ends.frames.close();
        let farewell = async {
            while let Some(first) = self.ends.frames.recv().await {
                self.write(&mut connection, first, generation).await?;
            }
            connection.goodbye().await
        };
        match timeout(GOODBYE_TIMEOUT, farewell).await {
            Ok(Ok(())) => debug!(url = self.config.url, "disconnected from the control plane"),
            Ok(Err(reason)) => debug!(reason, "the disconnect was not acknowledged"),
            Err(_elapsed) => debug!("the disconnect took too long"),
        }
        End::Closed
    }
}

/// Finds out why the hub cannot be reached.
async fn cause(config: LinkConfig, reason: String) -> Cause {
    // An invalid address was refused before anything began.
    let found = look(&config.url, Speech::Mesh, &reason, &config.trust).await.unwrap_or_else(Found::NoHost);
    let shown = base_url(&config.url).unwrap_or(config.url);
    Cause::new(&shown, &found, Speech::Mesh, &reason).beside_proxy(config.unused_proxy)
}

/// Awaits a future and meanwhile discards frames that were meant for an earlier connection.
async fn discarding<F: Future>(frames: &mut mpsc::Receiver<Frame>, future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        tokio::select! {
            output = &mut future => return output,
            Some(_) = frames.recv() => {}
        }
    }
}
