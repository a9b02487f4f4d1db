//! Servers that are not control planes, at a port where one is expected.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a silent connection may stay open.
const IDLE: Duration = Duration::from_secs(60);

/// The behaviour of such a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Answers 404 to everything.
    Http,
    /// Answers like a proxy whose server is away.
    Gateway,
    /// Sends first, and does not speak HTTP.
    Ssh,
    /// Accepts connections and sends nothing.
    Silent,
    /// Accepts connections and closes them.
    Closing,
    /// Answers anything but TLS with a TLS alert.
    Tls,
    /// Answers with the first frames of HTTP/2, then closes with a protocol error.
    Http2,
}

/// Such a server; it stops on drop.
pub(crate) struct ForeignServer {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ForeignServer {
    pub(crate) fn start(kind: Kind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let thread = std::thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                // The other side may be gone.
                drop(speak(kind, &stream));
                if kind == Kind::Silent {
                    open.push(stream);
                }
            }
        });
        Self { address, is_over, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for ForeignServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn speak(kind: Kind, mut stream: &TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    let answer: &[u8] = match kind {
        Kind::Silent => return Ok(()),
        Kind::Closing => b"",
        Kind::Http => {
            b"HTTP/1.1 404 Not Found\r\nserver: stranger/1\r\ncontent-length: 5\r\nconnection: close\r\n\r\nno\r\n\n"
        }
        Kind::Gateway => {
            b"HTTP/1.1 502 Bad Gateway\r\nserver: proxy/1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        }
        Kind::Ssh => b"SSH-2.0-OpenSSH_9.6\r\n",
        Kind::Tls => &[0x15, 3, 1, 0, 2, 2, 70],
        // Empty SETTINGS, and a GOAWAY with a protocol error.
        Kind::Http2 => &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    };
    let mut said = [0; 4_096];
    if kind != Kind::Ssh {
        let _ = stream.read(&mut said)?;
    }
    stream.write_all(answer)?;
    stream.shutdown(Shutdown::Write)?;
    // Unread data would make the close discard the answer.
    while stream.read(&mut said)? > 0 {}
    Ok(())
}
