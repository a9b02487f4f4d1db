//! A TCP relay between processes, which can lose, delay and cut its traffic.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{sleep, spawn};
use std::time::Duration;

/// A direction through a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the clients.
    Up,
    /// To the clients.
    Down,
}

/// What happens to bytes in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Condition {
    #[default]
    Fine,
    /// Each piece is delayed by this time.
    Slow(Duration),
    /// Bytes are read and dropped; the connection stays.
    Lost,
    /// The first answer of a connection arrives, and nothing after it; for HTTP/2 only.
    LostAfterAnswer,
    /// Bytes are not even read.
    Stalled,
}

#[derive(Default)]
struct State {
    up: Condition,
    down: Condition,
    open: Vec<TcpStream>,
    closed: bool,
}

/// Forwards connections to `to`. Stops on drop.
pub(crate) struct Relay {
    port: u16,
    state: Arc<Mutex<State>>,
}

const POLL: Duration = Duration::from_millis(5);

impl Relay {
    pub(crate) fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        spawn(move || {
            for incoming in listener.incoming().flatten() {
                let mut now = lock(&shared);
                if now.closed {
                    return;
                }
                // In such weather no connection is made.
                if matches!(now.up, Condition::Lost | Condition::Stalled) {
                    continue;
                }
                let Ok(outgoing) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                for stream in [&incoming, &outgoing] {
                    stream.set_nodelay(true).ok();
                    now.open.extend(stream.try_clone());
                }
                drop(now);
                pass(&incoming, &outgoing, Direction::Up, &shared);
                pass(&outgoing, &incoming, Direction::Down, &shared);
            }
        });
        Self { port, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn set(&self, way: Direction, condition: Condition) {
        let mut state = lock(&self.state);
        match way {
            Direction::Up => state.up = condition,
            Direction::Down => state.down = condition,
        }
    }

    /// Drops everything in both directions, without ending connections.
    pub(crate) fn partition(&self) {
        self.set(Direction::Up, Condition::Lost);
        self.set(Direction::Down, Condition::Lost);
    }

    /// Ends the partition and its connections: lost bytes do not come back, and a stream with a gap is useless.
    pub(crate) fn heal(&self) {
        self.cut();
        self.set(Direction::Up, Condition::Fine);
        self.set(Direction::Down, Condition::Fine);
    }

    /// Ends all connections; new ones can be made.
    pub(crate) fn cut(&self) {
        for stream in lock(&self.state).open.drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        lock(&self.state).closed = true;
        self.cut();
        // Wakes the accepting thread.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pass(from: &TcpStream, to: &TcpStream, way: Direction, state: &Arc<Mutex<State>>) {
    let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else { return };
    let state = state.clone();
    spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        let mut frames = Frames::default();
        let condition = || {
            let state = lock(&state);
            if way == Direction::Up { state.up } else { state.down }
        };
        loop {
            while condition() == Condition::Stalled && !lock(&state).closed {
                sleep(POLL);
            }
            let Ok(read @ 1..) = from.read(&mut buffer) else { break };
            let first_answer = frames.until_answered(&buffer[..read]);
            let sent = match condition() {
                Condition::Fine => to.write_all(&buffer[..read]),
                Condition::Slow(delay) => {
                    sleep(delay);
                    to.write_all(&buffer[..read])
                }
                Condition::Lost => Ok(()),
                Condition::LostAfterAnswer => to.write_all(&buffer[..first_answer]),
                // Bytes read before the weather changed wait as well.
                Condition::Stalled => {
                    while condition() == Condition::Stalled && !lock(&state).closed {
                        sleep(POLL);
                    }
                    to.write_all(&buffer[..read])
                }
            };
            if sent.is_err() {
                break;
            }
        }
        from.shutdown(Shutdown::Both).ok();
        to.shutdown(Shutdown::Both).ok();
    });
}

/// Follows HTTP/2's frames (RFC 9113, section 4.1) until one ends a stream.
#[derive(Default)]
struct Frames {
    header: Vec<u8>,
    /// How much of a frame's payload is still to come.
    payload: usize,
    has_answered: bool,
}

impl Frames {
    const END_STREAM: u8 = 1;

    /// How many of these bytes belong to the first answer or to anything before it.
    fn until_answered(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            if self.has_answered && self.payload == 0 {
                return at;
            }
            if self.payload > 0 {
                self.payload -= 1;
                continue;
            }
            self.header.push(*byte);
            if let [a, b, c, kind, flags, _, _, _, _] = self.header[..] {
                self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                // DATA or HEADERS.
                self.has_answered |= kind <= 1 && flags & Self::END_STREAM != 0;
                self.header.clear();
            }
        }
        bytes.len()
    }
}
