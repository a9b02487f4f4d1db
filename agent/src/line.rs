//! A component's line to the hub, over whatever transport: events in both directions, and notices when a connection
//! begins or ends. It reconnects by itself until it is closed.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use gleitzeit_link::{Cause, Link, LinkEvent, LinkEvents, SendError};
use gleitzeit_mesh::wire::{FromHub, LocalHub, LocalSocket, ToHub};
use gleitzeit_workflow::tagged::Body;
use tokio::time::{Instant, sleep_until};

/// The pause before a new socket after a local hub closed one.
const RECONNECT_DELAY: Duration = Duration::from_millis(100);

/// What a line delivers, in order.
pub(crate) enum LineEvent {
    /// The hub sent `welcome`; from now on events can be sent.
    Connected,
    /// The connection ended; everything unsent is lost.
    Disconnected { reason: String },
    /// The hub refuses the connection.
    Refused { status: Option<u16>, message: String },
    /// The hub cannot be reached, for this reason.
    Unreachable(Cause),
    /// An event from the hub.
    Message(FromHub),
    /// An event that could not be parsed. A newer hub may have sent it, or it was damaged in transit; in that case the
    /// line reconnects and the event comes again.
    Unreadable { event: String, error: String },
}

pub(crate) enum Line {
    Linked { link: Link, events: LinkEvents },
    Within(Within),
}

impl Line {
    pub(crate) fn linked(link: Link, events: LinkEvents) -> Self {
        Self::Linked { link, events }
    }

    pub(crate) fn within(hub: Arc<dyn LocalHub>) -> Self {
        Self::Within(Within { hub, state: State::Away { until: Instant::now() } })
    }

    /// The next event; `None` once the line is closed. Cancel-safe.
    pub(crate) async fn recv(&mut self) -> Option<LineEvent> {
        match self {
            Self::Within(within) => within.recv().await,
            Self::Linked { link, events } => events.recv().await.map(|event| read(link, event)),
        }
    }

    /// The next event, if there is one already.
    pub(crate) fn try_recv(&mut self) -> Option<LineEvent> {
        match self {
            Self::Within(within) => within.try_recv(),
            Self::Linked { link, events } => events.try_recv().map(|event| read(link, event)),
        }
    }

    /// Sends an event, in the order of the calls; waits while the queue to the hub is full.
    ///
    /// # Errors
    /// If there is no connection, or the event is too large for it.
    pub(crate) async fn send(&mut self, message: ToHub) -> Result<(), SendError> {
        match self {
            Self::Linked { link, .. } => link.send(message.kind(), &Body(&message)).await,
            Self::Within(within) => within.send(message),
        }
    }

    /// Drops the connection and opens another one.
    pub(crate) fn reconnect(&mut self, reason: &str) {
        match self {
            Self::Linked { link, .. } => link.reconnect(reason),
            Self::Within(within) => within.drop_socket(reason),
        }
    }

    /// Disconnects cleanly, after everything that was sent. Nothing is received any more.
    pub(crate) fn close(&mut self) {
        match self {
            Self::Linked { link, .. } => link.close(),
            Self::Within(within) => within.leave(),
        }
    }
}

fn read(link: &Link, event: LinkEvent) -> LineEvent {
    let (event, body) = match event {
        LinkEvent::Connected { .. } => return LineEvent::Connected,
        LinkEvent::Disconnected { reason } => return LineEvent::Disconnected { reason },
        LinkEvent::Refused { status, message } => return LineEvent::Refused { status, message },
        LinkEvent::Unreachable(cause) => return LineEvent::Unreachable(cause),
        LinkEvent::Message { event, body } => (event, body),
    };
    match FromHub::decode(&event, &body) {
        Ok(message) => LineEvent::Message(message),
        Err(error) => {
            link.not_understood(&body);
            LineEvent::Unreadable { event, error: error.to_string() }
        }
    }
}

/// A line inside this process.
pub(crate) struct Within {
    hub: Arc<dyn LocalHub>,
    state: State,
}

enum State {
    /// Waits until then before connecting.
    Away { until: Instant },
    /// A socket, and whether `welcome` has arrived on it.
    Open { socket: Box<dyn LocalSocket>, is_welcome: bool },
    /// The connection ended; this is still to be delivered.
    Lost { reason: String },
    /// Closed for good.
    Closed,
}

impl Within {
    async fn recv(&mut self) -> Option<LineEvent> {
        loop {
            match &mut self.state {
                State::Closed => return None,
                State::Lost { reason } => {
                    let reason = std::mem::take(reason);
                    self.state = State::Away { until: Instant::now() + RECONNECT_DELAY };
                    return Some(LineEvent::Disconnected { reason });
                }
                State::Away { until } => {
                    sleep_until(*until).await;
                    self.state = State::Open { socket: self.hub.connect(), is_welcome: false };
                }
                State::Open { socket, .. } => {
                    let received = poll_fn(|context| socket.poll_recv(context)).await;
                    if let Some(event) = self.deliver(received) {
                        return Some(event);
                    }
                }
            }
        }
    }

    fn try_recv(&mut self) -> Option<LineEvent> {
        let State::Open { socket, .. } = &mut self.state else { return None };
        // `recv` notices later if the socket was closed.
        let received = socket.try_recv()?;
        self.deliver(Some(received))
    }

    fn deliver(&mut self, received: Option<Arc<FromHub>>) -> Option<LineEvent> {
        let State::Open { is_welcome, .. } = &mut self.state else { return None };
        match received.map(Arc::unwrap_or_clone) {
            Some(FromHub::Welcome(_)) => {
                *is_welcome = true;
                Some(LineEvent::Connected)
            }
            Some(message) => Some(LineEvent::Message(message)),
            None => {
                self.drop_socket("the hub closed the connection");
                None
            }
        }
    }

    fn send(&self, message: ToHub) -> Result<(), SendError> {
        match &self.state {
            State::Open { socket, is_welcome: true } => {
                socket.send(message);
                Ok(())
            }
            State::Closed => Err(SendError::Closed),
            State::Away { .. } | State::Open { .. } | State::Lost { .. } => Err(SendError::NotConnected),
        }
    }

    fn drop_socket(&mut self, reason: &str) {
        self.state = match &self.state {
            State::Open { is_welcome: true, .. } => State::Lost { reason: reason.to_owned() },
            State::Open { .. } => State::Away { until: Instant::now() + RECONNECT_DELAY },
            State::Away { .. } | State::Lost { .. } | State::Closed => return,
        };
    }

    fn leave(&mut self) {
        if let State::Open { socket, .. } = std::mem::replace(&mut self.state, State::Closed) {
            socket.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::task::{Context, Poll};

    use gleitzeit_mesh::wire::{Heartbeat, HeartbeatResponse, Welcome};
    use tokio::sync::mpsc;

    use super::*;

    /// A test hub: everything that the sockets did, and the hub's end of the newest one.
    #[derive(Debug, Default)]
    struct TestHub {
        saw: Arc<Mutex<Vec<&'static str>>>,
        newest: Mutex<Option<mpsc::Sender<Arc<FromHub>>>>,
    }

    #[derive(Debug)]
    struct TestSocket {
        saw: Arc<Mutex<Vec<&'static str>>>,
        events: mpsc::Receiver<Arc<FromHub>>,
    }

    impl TestHub {
        fn sends(&self, message: impl Into<FromHub>) {
            let newest = self.newest.lock().expect("no panic");
            newest.as_ref().expect("a socket").try_send(Arc::new(message.into())).expect("it is open");
        }

        fn closes(&self) {
            *self.newest.lock().expect("no panic") = None;
        }

        fn saw(&self) -> Vec<&'static str> {
            std::mem::take(&mut *self.saw.lock().expect("no panic"))
        }
    }

    impl LocalHub for TestHub {
        fn connect(&self) -> Box<dyn LocalSocket> {
            let (hub, events) = mpsc::channel(16);
            *self.newest.lock().expect("no panic") = Some(hub);
            self.saw.lock().expect("no panic").push("open");
            Box::new(TestSocket { saw: self.saw.clone(), events })
        }
    }

    impl LocalSocket for TestSocket {
        fn send(&self, message: ToHub) {
            self.saw.lock().expect("no panic").push(message.kind());
        }

        fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Arc<FromHub>>> {
            self.events.poll_recv(context)
        }

        fn try_recv(&mut self) -> Option<Arc<FromHub>> {
            self.events.try_recv().ok()
        }

        fn leave(self: Box<Self>) {
            self.saw.lock().expect("no panic").push("goodbye");
        }
    }

    impl Drop for TestSocket {
        fn drop(&mut self) {
            self.saw.lock().expect("no panic").push("dropped");
        }
    }

    fn line() -> (Arc<TestHub>, Line) {
        let hub = Arc::new(TestHub::default());
        (hub.clone(), Line::within(hub))
    }

    /// Polls for the next event while the hub has sent nothing yet.
    async fn listens(line: &mut Line) {
        tokio::select! {
            biased;
            _ = line.recv() => panic!("the hub said nothing"),
            () = tokio::task::yield_now() => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_sent_before_welcome_and_everything_after_it() {
        let (hub, mut line) = line();
        assert!(matches!(line.send(HeartbeatResponse::default().into()).await, Err(SendError::NotConnected)));
        listens(&mut line).await;
        assert!(matches!(line.send(HeartbeatResponse::default().into()).await, Err(SendError::NotConnected)));
        hub.sends(Welcome::default());
        assert!(matches!(line.recv().await, Some(LineEvent::Connected)));
        hub.sends(Heartbeat::default());
        assert!(matches!(line.try_recv(), Some(LineEvent::Message(FromHub::Heartbeat(_)))));
        assert!(line.try_recv().is_none());
        line.send(HeartbeatResponse::default().into()).await.expect("connected");
        assert_eq!(hub.saw(), ["open", "heartbeat_response"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_socket_is_reported_once_and_replaced() {
        let (hub, mut line) = line();
        listens(&mut line).await;
        hub.sends(Welcome::default());
        assert!(matches!(line.recv().await, Some(LineEvent::Connected)));
        hub.closes();
        assert!(matches!(line.recv().await, Some(LineEvent::Disconnected { .. })));
        assert!(matches!(line.send(HeartbeatResponse::default().into()).await, Err(SendError::NotConnected)));
        let back = Instant::now() + RECONNECT_DELAY;
        let (event, ()) = tokio::join!(line.recv(), async {
            sleep_until(back + Duration::from_millis(1)).await;
            hub.sends(Welcome::default());
        });
        assert!(matches!(event, Some(LineEvent::Connected)));

        line.reconnect("wanted");
        assert!(matches!(line.recv().await, Some(LineEvent::Disconnected { reason }) if reason == "wanted"));
        assert_eq!(hub.saw(), ["open", "dropped", "open", "dropped"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_line_reconnects_until_it_is_closed() {
        let (hub, mut line) = line();
        listens(&mut line).await;
        for _ in 0..3 {
            hub.closes();
            tokio::select! {
                biased;
                _ = line.recv() => panic!("it was never welcome: there is nothing to tell"),
                () = tokio::time::sleep(RECONNECT_DELAY + Duration::from_millis(1)) => {}
            }
        }
        assert_eq!(hub.saw().iter().filter(|saw| **saw == "open").count(), 4);
        line.close();
        assert!(line.recv().await.is_none());
        assert_eq!(hub.saw(), ["goodbye", "dropped"]);
        assert!(matches!(line.send(HeartbeatResponse::default().into()).await, Err(SendError::Closed)));
    }
}
