//! Writes stdout and stderr such that a slow or absent reader never blocks the work.
//!
//! Stderr has a queue and a thread that empties it, so writing there never waits. Text that does not fit is dropped and
//! counted, and the log says how much once it flows again. Stdout must be complete, so a writer waits for the reader,
//! but no longer than until the process is asked to end.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;

/// How many bytes may wait for a reader of stderr: some thousand lines.
const MAX_WAITING: usize = 1024 * 1024;
/// How long the end of the process waits for a reader that takes nothing.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);
/// A pipe that is reported as writable accepts this much without blocking (POSIX's `PIPE_BUF` on Linux).
const PIPE_BUF: usize = 4_096;
/// How soon a writer that waits for a reader of stdout notices the shutdown.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

static STDERR: Sink = Sink::new();
/// The process was asked to end.
static ENDING: AtomicBool = AtomicBool::new(false);
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// The queue of stderr, and its writer.
struct Sink {
    queue: Mutex<Queue>,
    /// Signalled when there is something to write, and when it was written.
    changed: Condvar,
    thread: Once,
}

struct Queue {
    texts: VecDeque<Vec<u8>>,
    /// The bytes of all texts, including the one being written.
    bytes: usize,
    /// How many dropped texts have not been reported in the log yet.
    dropped: u64,
    /// How many pieces were written.
    written: u64,
    /// The value of `written` when a flush gave up waiting for the rest.
    given_up: Option<u64>,
}

impl Sink {
    const fn new() -> Self {
        let queue = Queue { texts: VecDeque::new(), bytes: 0, dropped: 0, written: 0, given_up: None };
        Self { queue: Mutex::new(queue), changed: Condvar::new(), thread: Once::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Every change under the lock is complete, so a poisoned lock holds valid data.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&'static self, text: &[u8]) {
        self.thread.call_once(|| {
            let started = std::thread::Builder::new().name("stderr".to_owned()).spawn(|| self.empty());
            // Without a thread nothing is written, and texts are dropped once the queue is full.
            drop(started);
        });
        let mut queue = self.lock();
        if queue.bytes + text.len() > MAX_WAITING {
            queue.dropped += 1;
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.bytes += text.len();
        queue.texts.push_back(text.to_vec());
        drop(queue);
        self.changed.notify_all();
    }

    /// The loop of the writer thread.
    fn empty(&self) {
        loop {
            let (text, dropped) = self.next();
            if dropped > 0 {
                tracing::warn!(lines = dropped, "log lines were dropped because they were not read");
            }
            for piece in text.chunks(PIPE_BUF) {
                // A failure to write to stderr cannot be reported.
                let _ = write_all(io::stderr(), piece);
                self.lock().written += 1;
                self.changed.notify_all();
            }
            self.lock().bytes -= text.len();
            self.changed.notify_all();
        }
    }

    /// Waits for the next text, or until the number of dropped texts can be reported, that is, once there is room
    /// again.
    fn next(&self) -> (Vec<u8>, u64) {
        let mut queue = self.lock();
        loop {
            let dropped = if queue.bytes <= MAX_WAITING / 2 { std::mem::take(&mut queue.dropped) } else { 0 };
            let text = if dropped > 0 { None } else { queue.texts.pop_front() };
            if text.is_some() || dropped > 0 {
                return (text.unwrap_or_default(), dropped);
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until everything was written, or until nothing was written for a while.
    fn flush(&self) {
        let mut queue = self.lock();
        let (mut written, mut since) = (queue.written, Instant::now());
        while (queue.bytes > 0 || queue.dropped > 0) && queue.given_up != Some(queue.written) {
            if queue.written != written {
                (written, since) = (queue.written, Instant::now());
            }
            let left = FLUSH_LIMIT.saturating_sub(since.elapsed());
            if left.is_zero() {
                queue.given_up = Some(written);
                return;
            }
            queue = self.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A writer to stderr that never waits. The text of each write is kept or dropped as a whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stderr;

impl io::Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        static IS_TERMINAL: LazyLock<bool> = LazyLock::new(|| io::stderr().is_terminal());
        match std::str::from_utf8(text) {
            Ok(shown) if *IS_TERMINAL => STDERR.say(visible(shown).as_bytes()),
            _ => STDERR.say(text),
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many texts were dropped because stderr was not read.
pub(crate) fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Waits until stderr is written, unless its reader takes nothing for a second.
pub(crate) fn flush() {
    STDERR.flush();
}

/// Notes that the process was asked to end: from now on, writers to stdout do not wait much longer for the reader.
pub(crate) fn end() {
    ENDING.store(true, Ordering::Relaxed);
}

/// Routes panic messages through the queue, too.
pub(crate) fn take_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::capture();
        let shown = match backtrace.status() {
            std::backtrace::BacktraceStatus::Captured => format!("{panic}\n{backtrace}\n"),
            _ => format!("{panic}\n"),
        };
        STDERR.say(shown.as_bytes());
    }));
}

/// Writes text to stdout, after everything that was written to stderr before: both may be the same file or terminal.
///
/// # Errors
/// If stdout cannot be written; `TimedOut` if nobody read it during a shutdown.
pub(crate) fn print(text: &str) -> io::Result<()> {
    flush();
    let stdout = io::stdout();
    let text = if stdout.is_terminal() { visible(text) } else { Cow::Borrowed(text) };
    let mut rest = text.as_bytes();
    let mut ending_since: Option<Instant> = None;
    while !rest.is_empty() {
        if is_writable(&stdout)? {
            let written = write(&stdout, &rest[..rest.len().min(PIPE_BUF)])?;
            rest = &rest[written..];
        } else if ENDING.load(Ordering::Relaxed)
            && ending_since.get_or_insert_with(Instant::now).elapsed() > FLUSH_LIMIT
        {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

/// Whether stdout becomes writable within a moment.
fn is_writable(stdout: &impl AsFd) -> io::Result<bool> {
    let mut stdout = [PollFd::new(stdout, PollFlags::OUT)];
    match poll(&mut stdout, Some(&LOOK)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Text for a terminal, in which characters that change the direction of what follows (Unicode's UAX 9) are made
/// visible: they can make a text look like another.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let turns =
        |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if text.is_ascii() || !text.contains(turns) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if turns(c) {
            shown.push_str(&format!("<U+{:04X}>", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

fn write(file: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    match rustix::io::write(file, bytes) {
        Ok(written) => Ok(written),
        // Another process has made the terminal or pipe non-blocking: try again when it is writable.
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn write_all(file: impl AsFd, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = write(&file, rest)?;
        if written == 0 {
            is_writable(&file)?;
        }
        rest = &rest[written..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bidirectional_controls_are_made_visible() {
        assert!(matches!(visible("plain ä 漢"), Cow::Borrowed(_)));
        assert_eq!(visible("a\u{202e}b\u{2066}\u{200f}"), "a<U+202E>b<U+2066><U+200F>");
    }

    #[test]
    fn records_that_do_not_fit_are_dropped_whole_and_reported_later() {
        // The writer thread is not started: nobody reads.
        let sink = Sink::new();
        sink.thread.call_once(|| {});
        let sink = Box::leak(Box::new(sink));
        for _ in 0..3 {
            sink.say(&vec![b'x'; MAX_WAITING / 2]);
        }
        assert_eq!(sink.next().1, 0, "there is no room yet");
        assert_eq!(sink.lock().dropped, 1);
        sink.lock().bytes -= MAX_WAITING / 2;
        assert_eq!(sink.next(), (Vec::new(), 1));
        assert_eq!(sink.next().0.len(), MAX_WAITING / 2);
    }

    #[test]
    fn a_stalled_reader_is_waited_for_only_once() {
        let sink = Sink::new();
        sink.thread.call_once(|| {});
        let sink = Box::leak(Box::new(sink));
        sink.say(b"x");
        let begun = Instant::now();
        sink.flush();
        assert!(begun.elapsed() >= FLUSH_LIMIT);
        let begun = Instant::now();
        sink.flush();
        assert!(begun.elapsed() < FLUSH_LIMIT);
    }
}
