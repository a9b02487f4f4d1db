//! Where the messages of a stream go. One message waits for its reader; then whoever fills the stream waits, and makes no
//! other meanwhile. A reader that takes none for too long is cut off with its connection, for what it was sent stays in
//! memory until it is read: HTTP/2 has no way to take it back from a reader that does not listen.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gleitzeit_proto::status;
use gleitzeit_workflow::{ErrorCode, Failure};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::connection::{Address, Connection};

/// Messages that may wait for a slow reader, besides the one that is being sent.
const BUFFERED: usize = 1;
/// So many streams of one caller are filled at a time: half of what all callers together can have.
const STREAMS_OF_CALLER: usize = 2_048;

/// The stream as it is answered with.
pub(super) type Messages<T> = ReceiverStream<Result<T, Status>>;

/// The stream's own end, for whoever fills it.
pub(super) struct Outlet<T> {
    messages: mpsc::Sender<Result<T, Status>>,
    connection: Option<Connection>,
    patience: Duration,
    quiet: Duration,
    _place: Place,
}

/// Nobody reads any more, or not for too long.
pub(super) struct Gone;

/// Room for one message.
pub(super) struct Room<'a, T>(mpsc::Permit<'a, Result<T, Status>>);

impl<T> Room<'_, T> {
    pub(super) fn fill(self, message: T) {
        self.0.send(Ok(message));
    }
}

impl<T: Send + 'static> Outlet<T> {
    /// Waits until there is room for a message. What is to be sent is best made after this: it takes no memory before.
    /// Cancel-safe.
    pub(super) async fn room(&self) -> Result<Room<'_, T>, Gone> {
        match timeout(self.patience, self.messages.reserve()).await {
            Ok(Ok(permit)) => Ok(Room(permit)),
            Ok(Err(_)) => Err(Gone),
            Err(_) => {
                let waited_s = self.patience.as_secs();
                tracing::warn!(waited_s, "a reader of events takes none and is cut off");
                if let Some(connection) = &self.connection {
                    connection.cut();
                }
                Err(Gone)
            }
        }
    }

    pub(super) async fn send(&self, message: T) -> Result<(), Gone> {
        self.room().await.map(|room| room.fill(message))
    }

    /// When something is to be said again if nothing is until then.
    pub(super) fn quiet_until(&self) -> Instant {
        Instant::now() + self.quiet
    }

    /// Sends a message that says nothing, so that no proxy in between takes the stream for dead; none if one waits anyway.
    pub(super) fn say_nothing(&self, nothing: T) {
        // A reader that is gone is noticed elsewhere.
        self.messages.try_send(Ok(nothing)).ok();
    }

    /// The last that is sent.
    pub(super) async fn fail(&self, why: Status) {
        if let Ok(room) = self.room().await {
            room.0.send(Err(why));
        }
    }

    /// Fills it in a task of its own, until that is done, nobody reads any more or the server stops; then a reader that
    /// can be told is told `stopped`.
    pub(super) fn fill<F>(self, stopping: CancellationToken, stopped: &'static str, fill: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let outlet = Arc::new(self);
        let filled = fill(outlet.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = filled => {}
                () = outlet.messages.closed() => {}
                () = stopping.cancelled() => drop(outlet.messages.try_send(Err(Status::unavailable(stopped)))),
            }
        });
    }
}

/// Counts the streams of each caller, so that none has those of all.
#[derive(Debug)]
pub(super) struct Outlets {
    callers: Arc<Callers>,
    patience: Duration,
    quiet: Duration,
}

#[derive(Debug, Default)]
struct Callers(Mutex<HashMap<Address, usize>>);

/// The place of one stream among those of its caller.
#[derive(Debug)]
struct Place(Option<(Arc<Callers>, Address)>);

impl Drop for Place {
    fn drop(&mut self) {
        let Some((callers, address)) = &self.0 else { return };
        let mut counts = callers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(address);
            }
        }
    }
}

impl Outlets {
    /// Readers may take nothing for so long, and are told nothing for so long.
    pub(super) fn new(patience: Duration, quiet: Duration) -> Self {
        Self { callers: Arc::default(), patience, quiet }
    }

    /// A stream for who called over this connection.
    ///
    /// # Errors
    /// If the caller has as many as it may.
    pub(super) fn open<T>(&self, connection: Option<Connection>) -> Result<(Outlet<T>, Messages<T>), Status> {
        let place = connection.as_ref().map_or(Ok(Place(None)), |connection| self.place(connection.address()))?;
        let (messages, stream) = mpsc::channel(BUFFERED);
        let outlet = Outlet { messages, connection, patience: self.patience, quiet: self.quiet, _place: place };
        Ok((outlet, ReceiverStream::new(stream)))
    }

    fn place(&self, address: Address) -> Result<Place, Status> {
        let mut counts = self.callers.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= STREAMS_OF_CALLER {
            let message = format!("{STREAMS_OF_CALLER} streams are open from this address; end one first");
            return Err(status::to_status(&Failure::new(ErrorCode::ResourceExhausted, message)));
        }
        *count += 1;
        Ok(Place(Some((self.callers.clone(), address))))
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_message_waits_and_a_reader_that_takes_none_is_given_up() {
        let outlets = Outlets::new(Duration::from_secs(30), Duration::from_secs(20));
        let (outlet, mut stream) = outlets.open::<u32>(None).expect("room");
        outlet.send(1).await.ok().expect("the first waits");
        let late = timeout(Duration::from_secs(29), outlet.send(2)).await;
        assert!(late.is_err(), "there is room for one");
        assert!(matches!(stream.next().await, Some(Ok(1))));
        outlet.send(2).await.ok().expect("one was taken");
        assert!(outlet.send(3).await.is_err(), "none was taken for 30 s");
    }

    #[tokio::test]
    async fn a_caller_has_its_share_and_others_theirs() {
        let outlets = Outlets::new(Duration::from_secs(30), Duration::from_secs(20));
        let address = |ip: &str| Address::from(ip.parse::<std::net::IpAddr>().expect("an address"));
        let places: Vec<Place> =
            (0..STREAMS_OF_CALLER).map(|_| outlets.place(address("10.0.0.1")).expect("room")).collect();
        let refused = outlets.place(address("10.0.0.1")).expect_err("it has its share");
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(outlets.place(address("10.0.0.2")).is_ok());
        drop(places);
        assert!(outlets.place(address("10.0.0.1")).is_ok());
    }
}
