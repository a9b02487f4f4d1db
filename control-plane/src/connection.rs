//! Connections: how many may be open in all and from one address, how long they may stay silent, and how the server
//! drops them. A Socket.IO client that is asked to disconnect does not return; one whose connection is dropped
//! reconnects. So the server drops the connection of a client that may return.
//!
//! A connection is busy while one of its requests is being answered, as the socket of an admitted component always is;
//! otherwise it is idle. When the limit is reached, an idle connection is dropped for a new one; a busy connection
//! never is. So silent connections cannot lock anyone out.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// The time within which the first request must arrive; an HTTP/2 connection must have begun within it.
const FIRST_REQUEST: Duration = Duration::from_secs(20);
/// The first bytes of an HTTP/2 connection.
const HTTP_2: &[u8] = b"PRI ";
/// The length of the HTTP/2 preface and the shortest settings frame after it (RFC 9113, 3.4). A client that has sent
/// both must answer pings from then on, or its connection is dropped.
const HTTP_2_BEGUN: usize = 24 + 9;
/// Refused connections are logged at most this often.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// How long to wait after a failed accept, unless another connection could be dropped to make room.
const PAUSE: Duration = Duration::from_millis(100);

/// How many connections may be open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// In all.
    pub(crate) all: usize,
    /// From one [`Address`].
    pub(crate) of_address: usize,
}

/// What counts as one caller: a network address. All loopback addresses are one caller, and so is each IPv6 /64, which
/// a single host is usually given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address(IpAddr);

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        match ip {
            ip if ip.is_loopback() => Self(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            IpAddr::V4(_) => Self(ip),
            IpAddr::V6(ip) => Self(IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)))),
        }
    }
}

/// The connection over which a request arrived, as handlers see it.
#[derive(Clone, Debug)]
pub(crate) struct Connection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: u64,
    address: Address,
    cut: CancellationToken,
    /// How many requests are being answered.
    requests: AtomicUsize,
    has_served: AtomicBool,
    since: Instant,
    /// When it last became idle, in milliseconds after `since`.
    idle_since_ms: AtomicU64,
}

impl Connection {
    /// Counts a request as being answered until the returned guard is dropped.
    pub(crate) fn begin_request(&self) -> OpenRequest {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        self.0.has_served.store(true, Ordering::Relaxed);
        OpenRequest(self.clone())
    }

    /// Makes the connection never give way to another: it became the socket of an admitted component.
    pub(crate) fn keep(&self) {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Drops the connection; whatever was not sent yet is lost.
    pub(crate) fn cut(&self) {
        self.0.cut.cancel();
    }

    /// The caller's address.
    pub(crate) fn address(&self) -> Address {
        self.0.address
    }

    /// The order in which idle connections give way, lowest first: those that never sent a request, then the longest
    /// idle. `None` if the connection is busy.
    fn idle(&self) -> Option<(bool, Instant)> {
        let inner = &self.0;
        let is_idle = inner.requests.load(Ordering::Relaxed) == 0;
        let since = inner.since + Duration::from_millis(inner.idle_since_ms.load(Ordering::Relaxed));
        is_idle.then(|| (inner.has_served.load(Ordering::Relaxed), since))
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct OpenRequest(Connection);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let inner = &self.0.0;
        let ms = u64::try_from(inner.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        inner.idle_since_ms.store(ms, Ordering::Relaxed);
        inner.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The open connections and their limits.
#[derive(Debug)]
struct Room {
    limits: Limits,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    last_id: u64,
    all: HashMap<u64, Connection>,
    by_address: HashMap<Address, usize>,
}

impl Room {
    fn places(&self) -> MutexGuard<'_, Places> {
        // A panicking thread cannot have left a change half done: each one is complete before the lock is released.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a new connection, dropping an idle one if a limit is reached. `None` if all connections are busy.
    fn enter(&self, ip: IpAddr, cut_all: &CancellationToken) -> Option<Connection> {
        let address = Address::from(ip);
        let mut places = self.places();
        if places.by_address.get(&address).is_some_and(|count| *count >= self.limits.of_address) {
            places.drop_one(Some(address))?;
        }
        if places.all.len() >= self.limits.all {
            places.drop_one(None)?;
        }
        places.last_id += 1;
        let connection = Connection(Arc::new(Inner {
            id: places.last_id,
            address,
            cut: cut_all.child_token(),
            requests: AtomicUsize::new(0),
            has_served: AtomicBool::new(false),
            since: Instant::now(),
            idle_since_ms: AtomicU64::new(0),
        }));
        places.all.insert(connection.0.id, connection.clone());
        *places.by_address.entry(address).or_default() += 1;
        Some(connection)
    }
}

impl Places {
    /// Drops the idle connection that is first to give way; only one from the address `of`, if given.
    fn drop_one(&mut self, of: Option<Address>) -> Option<()> {
        let candidates = self.all.values().filter(|connection| of.is_none_or(|of| of == connection.address()));
        let idle = candidates.filter_map(|connection| Some((connection.idle()?, connection)));
        let (_, connection) =
            idle.min_by_key(|((has_served, since), connection)| (*has_served, *since, connection.0.id))?;
        let connection = connection.clone();
        connection.cut();
        self.leave(&connection);
        Some(())
    }

    /// Frees the place of a connection, which may have left before.
    fn leave(&mut self, connection: &Connection) {
        if self.all.remove(&connection.0.id).is_none() {
            return;
        }
        if let Some(count) = self.by_address.get_mut(&connection.address()) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&connection.address());
            }
        }
    }
}

/// A listener whose connections can be dropped.
pub(crate) struct CuttableListener {
    listener: TcpListener,
    /// Cancelling it drops all connections.
    pub(crate) cut_all: CancellationToken,
    room: Arc<Room>,
    last_logged: Option<Instant>,
}

impl CuttableListener {
    /// Accepts connections within these limits; others are dropped at once.
    pub(crate) fn new(listener: TcpListener, limits: Limits) -> Self {
        let room = Arc::new(Room { limits, places: Mutex::default() });
        Self { listener, cut_all: CancellationToken::new(), room, last_logged: None }
    }

    /// Waits for the next connection. Cancel-safe.
    pub(crate) async fn accept(&mut self) -> (CuttableStream, Connection) {
        let (stream, connection) = loop {
            match self.listener.accept().await {
                Ok((stream, address)) => match self.room.enter(address.ip(), &self.cut_all) {
                    Some(connection) => break (stream, connection),
                    None => self.log_at_intervals(
                        "there are as many connections as `--max-connections` or \
                                       `--max-connections-per-address` allows, all in use: others are refused",
                    ),
                },
                // The peer closed this connection; the listener is fine.
                Err(error) if is_of_connection(&error) => {}
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    self.log_at_intervals(
                        "connections cannot be accepted: this process may have too few open files (`ulimit -n`)",
                    );
                    if self.room.places().drop_one(None).is_none() {
                        sleep(PAUSE).await;
                    } else {
                        // The dropped connection is closed by its own task.
                        tokio::task::yield_now().await;
                    }
                }
            }
        };
        // Otherwise small messages wait for the acknowledgement of the previous one.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set on a connection");
        }
        let stream = CuttableStream {
            stream,
            cut: Box::pin(connection.0.cut.clone().cancelled_owned()),
            first: Some(First { late: Box::pin(sleep(FIRST_REQUEST)), is_http_2: None, bytes: 0 }),
            connection: connection.clone(),
            room: self.room.clone(),
        };
        (stream, connection)
    }

    fn log_at_intervals(&mut self, message: &'static str) {
        if self.last_logged.is_none_or(|last_logged| last_logged.elapsed() >= LOG_EVERY) {
            self.last_logged = Some(Instant::now());
            tracing::warn!("{message}");
        }
    }
}

fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// The stream of a connection, until it is dropped.
pub(crate) struct CuttableStream {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Set until the first request has arrived.
    first: Option<First>,
    connection: Connection,
    room: Arc<Room>,
}

/// The wait for the first request.
struct First {
    late: Pin<Box<Sleep>>,
    /// Whether the client speaks HTTP/2; `None` until it has sent something.
    is_http_2: Option<bool>,
    /// How many bytes the client has sent.
    bytes: usize,
}

impl CuttableStream {
    /// Fails once the connection is cut or the first request is late. Registers the caller's waker for both.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if let Some(first) = &mut self.first {
            if self.connection.0.has_served.load(Ordering::Relaxed) {
                self.first = None;
            } else if first.late.as_mut().poll(context).is_ready() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        match self.cut.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// An HTTP/2 connection that has begun may wait for its first request as long as it likes: it answers pings
    /// meanwhile.
    fn note_first_bytes(&mut self, bytes: &[u8]) {
        let Some(first) = &mut self.first else { return };
        first.bytes += bytes.len();
        if first.is_http_2.is_none() && !bytes.is_empty() {
            first.is_http_2 = Some(HTTP_2.starts_with(&bytes[..bytes.len().min(HTTP_2.len())]));
        }
        if first.is_http_2 == Some(true) && first.bytes >= HTTP_2_BEGUN {
            self.first = None;
        }
    }
}

impl Drop for CuttableStream {
    fn drop(&mut self) {
        self.room.places().leave(&self.connection);
    }
}

impl AsyncRead for CuttableStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        self.note_first_bytes(&into.filled()[before..]);
        read
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn listening(most: usize) -> (CuttableListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        (CuttableListener::new(listener, Limits { all: most, of_address: most }), address)
    }

    #[tokio::test]
    async fn beyond_the_limit_connections_are_dropped_until_one_ends() {
        let (mut listener, address) = listening(1).await;
        let first = TcpStream::connect(address).await.expect("it listens");
        let (accepted, connection) = listener.accept().await;
        let request = connection.begin_request();
        let mut second = TcpStream::connect(address).await.expect("it listens");
        let refused = async { second.read(&mut [0; 8]).await.map_or(true, |read| read == 0) };
        tokio::select! {
            refused = refused => assert!(refused),
            _ = listener.accept() => panic!("there is room for one"),
        }
        drop((first, accepted, request));
        let _third = TcpStream::connect(address).await.expect("it listens");
        listener.accept().await;
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connections_are_dropped_first_silent_ones_before_others() {
        let (mut listener, address) = listening(3).await;
        let mut clients = Vec::new();
        let mut accepted = Vec::new();
        for _ in 0..3 {
            clients.push(TcpStream::connect(address).await.expect("it listens"));
            accepted.push(listener.accept().await);
        }
        // The first is busy, the second was busy before, and the third never sent a request.
        let _at_work = accepted[0].1.begin_request();
        drop(accepted[1].1.begin_request());
        for gone in [2, 1] {
            clients.push(TcpStream::connect(address).await.expect("it listens"));
            let (stream, connection) = listener.accept().await;
            accepted.push((stream, connection.clone()));
            // It stays busy.
            std::mem::forget(connection.begin_request());
            assert!(accepted[gone].0.read(&mut [0; 8]).await.is_err(), "{gone} was dropped");
        }
        let idle = tokio::time::timeout(Duration::from_secs(1), accepted[0].0.read(&mut [0; 8])).await;
        assert!(idle.is_err(), "who has a request stays");
    }

    #[tokio::test]
    async fn one_address_leaves_room_for_others() {
        let room = Room { limits: Limits { all: 4, of_address: 2 }, places: Mutex::default() };
        let cut_all = CancellationToken::new();
        let enter = |ip: &str| room.enter(ip.parse().expect("an address"), &cut_all);
        let at_work = |ip: &str| enter(ip).map(|connection| std::mem::forget(connection.begin_request())).is_some();
        // The addresses of each line count as one caller.
        assert!(at_work("127.0.0.1") && at_work("127.9.9.9") && !at_work("::1"));
        assert!(at_work("2001:db8::1") && at_work("2001:db8::2") && !at_work("2001:db8::3"));
        assert!(!at_work("10.0.0.1"), "there is no room at all");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_dropped_in_time() {
        let (mut listener, address) = listening(10).await;
        for beginning in ["GET / HT", "PRI * HTTP/2.0\r\n", "P"] {
            let mut slow = TcpStream::connect(address).await.expect("it listens");
            let (mut accepted, _) = listener.accept().await;
            slow.write_all(beginning.as_bytes()).await.expect("sent");
            let mut head = [0; 64];
            assert_eq!(accepted.read(&mut head).await.expect("the beginning of a request"), beginning.len());
            let error = accepted.read(&mut head).await.expect_err("nothing more comes");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_served_a_request_or_uses_http_2_may_be_idle() {
        let (mut listener, address) = listening(10).await;
        for beginning in ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0", "GET / HTTP/1.1\r\n"] {
            let mut client = TcpStream::connect(address).await.expect("it listens");
            let (mut accepted, connection) = listener.accept().await;
            client.write_all(beginning.as_bytes()).await.expect("sent");
            let mut head = [0; 64];
            assert_eq!(accepted.read(&mut head).await.expect("a request"), beginning.len());
            if beginning.starts_with("GET") {
                drop(connection.begin_request());
            }
            let idle = tokio::time::timeout(10 * FIRST_REQUEST, accepted.read(&mut head)).await;
            assert!(idle.is_err(), "{beginning}: {idle:?}");
            connection.cut();
            assert!(accepted.read(&mut head).await.is_err());
        }
    }
}
