//! Connections: how many there may be, how long they may say nothing, and how the server drops them. A Socket.IO client
//! that is told to disconnect stays away for good; one that loses its connection comes back. So whoever may return loses
//! its connection.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Within this time the first request must have come; an HTTP/2 connection says at once what it is.
const FIRST_REQUEST: Duration = Duration::from_secs(20);
/// How HTTP/2 begins.
const HTTP_2: &[u8] = b"PRI ";
/// Refused connections are told of at most as often.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What handlers know of the connection that a request came over.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    cut: CancellationToken,
    has_served: Arc<AtomicBool>,
}

impl Connection {
    /// Notes that it has brought a request.
    pub(crate) fn note_request(&self) {
        self.has_served.store(true, Ordering::Relaxed);
    }

    /// Drops it; whatever was not sent yet is lost.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }
}

/// Accepts such connections.
pub(crate) struct Cuttable {
    pub(crate) listener: TcpListener,
    /// Drops all of them.
    pub(crate) cut_all: CancellationToken,
    room: Arc<Semaphore>,
    told: Option<Instant>,
}

impl Cuttable {
    /// Accepts at most so many at a time; more are dropped at once.
    pub(crate) fn new(listener: TcpListener, most: usize) -> Self {
        let room = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self { listener, cut_all: CancellationToken::new(), room, told: None }
    }

    fn refused(&mut self) {
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            tracing::warn!("there are as many connections as `--max-connections` allows: others are refused");
        }
    }
}

impl Listener for Cuttable {
    type Io = CuttableStream;
    type Addr = Connection;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, permit) = loop {
            let (stream, _): (TcpStream, SocketAddr) = Listener::accept(&mut self.listener).await;
            match self.room.clone().try_acquire_owned() {
                Ok(permit) => break (stream, permit),
                Err(_) => self.refused(),
            }
        };
        // Without it small messages wait for the acknowledgement of the one before.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection could not be set to send at once");
        }
        let cut = self.cut_all.child_token();
        let connection = Connection { cut: cut.clone(), has_served: Arc::default() };
        let stream = CuttableStream {
            stream,
            cut: Box::pin(cut.cancelled_owned()),
            first: Some((Box::pin(sleep(FIRST_REQUEST)), connection.has_served.clone())),
            _permit: permit,
        };
        (stream, connection)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(Connection { cut: self.cut_all.clone(), has_served: Arc::default() })
    }
}

/// A connection until it is cut.
pub(crate) struct CuttableStream {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Until the first request has come: when it has to, and whether it has.
    first: Option<(Pin<Box<Sleep>>, Arc<AtomicBool>)>,
    _permit: OwnedSemaphorePermit,
}

impl CuttableStream {
    /// Also wakes the caller once it is cut.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if let Some((late, has_served)) = &mut self.first {
            if has_served.load(Ordering::Relaxed) {
                self.first = None;
            } else if late.as_mut().poll(context).is_ready() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        match self.cut.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for CuttableStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        if self.first.is_some() && into.filled()[before..].starts_with(HTTP_2) {
            self.first = None;
        }
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn listening(most: usize) -> (Cuttable, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        (Cuttable::new(listener, most), address)
    }

    #[tokio::test]
    async fn beyond_the_limit_connections_are_dropped_until_one_ends() {
        let (mut listener, address) = listening(1).await;
        let first = TcpStream::connect(address).await.expect("it listens");
        let (accepted, _) = listener.accept().await;
        let mut second = TcpStream::connect(address).await.expect("it listens");
        let refused = async { second.read(&mut [0; 8]).await.map_or(true, |read| read == 0) };
        tokio::select! {
            refused = refused => assert!(refused),
            _ = listener.accept() => panic!("there is room for one"),
        }
        drop((first, accepted));
        let _third = TcpStream::connect(address).await.expect("it listens");
        listener.accept().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_dropped_in_time() {
        let (mut listener, address) = listening(10).await;
        let mut slow = TcpStream::connect(address).await.expect("it listens");
        let (mut accepted, _) = listener.accept().await;
        slow.write_all(b"GET / HT").await.expect("sent");
        let mut head = [0; 64];
        assert_eq!(accepted.read(&mut head).await.expect("the beginning of a request"), 8);
        let error = accepted.read(&mut head).await.expect_err("nothing more comes");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_has_served_or_speaks_http_2_may_be_idle() {
        let (mut listener, address) = listening(10).await;
        for beginning in ["PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\n"] {
            let mut client = TcpStream::connect(address).await.expect("it listens");
            let (mut accepted, connection) = listener.accept().await;
            client.write_all(beginning.as_bytes()).await.expect("sent");
            let mut head = [0; 64];
            assert_eq!(accepted.read(&mut head).await.expect("a request"), 16);
            if beginning.starts_with("GET") {
                connection.note_request();
            }
            let idle = tokio::time::timeout(10 * FIRST_REQUEST, accepted.read(&mut head)).await;
            assert!(idle.is_err(), "{beginning}: {idle:?}");
            connection.cut();
            assert!(accepted.read(&mut head).await.is_err());
        }
    }
}
