//! The sending end of a response stream. At most one message waits for the reader; the task that fills the stream waits
//! until there is room and builds no other message meanwhile. A reader that takes no message for too long loses its
//! whole connection, because HTTP/2 cannot take back what was sent: it would stay in memory until that reader reads it.

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

/// Messages that may wait for a slow reader, besides the one being sent.
const BUFFERED: usize = 1;
/// The most streams that one caller may have open: half of what all callers together can have.
const STREAMS_OF_CALLER: usize = 2_048;

/// The stream that the RPC handler returns.
pub(super) type Messages<T> = ReceiverStream<Result<T, Status>>;

/// The sending end of a stream, for the task that fills it.
pub(super) struct Outlet<T> {
    messages: mpsc::Sender<Result<T, Status>>,
    connection: Option<Connection>,
    patience: Duration,
    quiet: Duration,
    _place: Place,
}

/// The reader is gone, or has taken no message for too long.
pub(super) struct Gone;

/// Reserved room for one message.
pub(super) struct Room<'a, T>(mpsc::Permit<'a, Result<T, Status>>);

impl<T> Room<'_, T> {
    pub(super) fn fill(self, message: T) {
        self.0.send(Ok(message));
    }
}

impl<T: Send + 'static> Outlet<T> {
    /// Waits until there is room for a message. Build the message only after this returns, so that it takes no memory
    /// while the reader is slow. Cancel-safe.
    pub(super) async fn room(&self) -> Result<Room<'_, T>, Gone> {
        match timeout(self.patience, self.messages.reserve()).await {
            Ok(Ok(permit)) => Ok(Room(permit)),
            Ok(Err(_)) => Err(Gone),
            Err(_) => {
                let waited_s = self.patience.as_secs();
                tracing::warn!(waited_s, "a reader of events does not receive them and is disconnected");
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

    /// When a keepalive message is due if nothing else is sent until then.
    pub(super) fn quiet_until(&self) -> Instant {
        Instant::now() + self.quiet
    }

    /// Sends an empty message, so that no proxy takes the stream for dead. Does nothing if a message is already
    /// waiting.
    pub(super) fn send_keepalive(&self, empty: T) {
        // `fill` notices when the reader is gone.
        self.messages.try_send(Ok(empty)).ok();
    }

    /// Ends the stream with an error.
    pub(super) async fn fail(&self, why: Status) {
        if let Ok(room) = self.room().await {
            room.0.send(Err(why));
        }
    }

    /// Fills the stream in its own task, which ends when `fill` is done, when the reader is gone, or when the server
    /// stops. On a stop the stream ends with the error `stopped`, if there is room for it.
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

/// Counts the streams of each caller, so that no caller takes all of them.
#[derive(Debug)]
pub(super) struct Outlets {
    callers: Arc<Callers>,
    patience: Duration,
    quiet: Duration,
}

#[derive(Debug, Default)]
struct Callers(Mutex<HashMap<Address, usize>>);

/// One counted stream of a caller; dropping it frees the place.
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
    /// `patience` is how long a reader may take no message, `quiet` how long a stream stays silent before a keepalive
    /// message.
    pub(super) fn new(patience: Duration, quiet: Duration) -> Self {
        Self { callers: Arc::default(), patience, quiet }
    }

    /// Opens a stream for the caller on this connection.
    ///
    /// # Errors
    /// If the caller already has as many streams as it may.
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
    async fn one_message_waits_and_a_stuck_reader_is_dropped() {
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
    async fn each_caller_has_its_own_share() {
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
