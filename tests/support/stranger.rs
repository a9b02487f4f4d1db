//! Servers that are no control plane, at a port where one is expected.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a connection may stay open that nobody speaks on.
const IDLE: Duration = Duration::from_secs(60);

/// What such a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Answers 404 to everything.
    Http,
    /// Answers as a proxy does whose server is away.
    Gateway,
    /// Speaks first, and no HTTP.
    Ssh,
    /// Accepts connections and says nothing.
    Silent,
    /// Accepts connections and closes them.
    Closing,
    /// Answers to whatever is no TLS with an alert of TLS.
    Tls,
    /// Answers with the first frames of HTTP/2, and then closes since it was spoken to otherwise or about nothing that it
    /// has.
    Http2,
}

/// Such a server; it ends with this.
pub(crate) struct Stranger {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stranger {
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
                // The other side may have gone.
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

impl Drop for Stranger {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // It waits for somebody.
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
        // Settings that say nothing, and a farewell for an error of the protocol.
        Kind::Http2 => &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    };
    let mut said = [0; 4_096];
    if kind != Kind::Ssh {
        let _ = stream.read(&mut said)?;
    }
    stream.write_all(answer)?;
    stream.shutdown(Shutdown::Write)?;
    // What is left unread would take the answer with it.
    while stream.read(&mut said)? > 0 {}
    Ok(())
}
