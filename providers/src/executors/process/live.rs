//! Sends the output of a process to watchers while it is running: `{"stream": "stdout", "offset": 0, "text": "…"}`.
//!
//! This takes no memory of its own: pieces are cut from what is kept for the result, so the texts of a stream, put
//! together, are what the result contains. Each piece says where it begins (`offset`, in bytes of UTF-8), because
//! pieces may be lost on their way. Sending never waits: a piece for which there is no room is sent later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gleitzeit_workflow::payload::Payload;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

/// The time between two pieces, for each stream with output: nobody reads faster, and a call that ends sooner sends its
/// output at once. Output is gathered for this long; after that an unfinished line is sent too.
const PACE: Duration = Duration::from_millis(100);
/// The most bytes that the text of a piece may take as JSON. The hub drops progress over 64 KiB and keeps the last 64
/// KiB of an attempt.
const MAX_JSON_BYTES: usize = 24 * 1024;

/// How many streams of a call have sent output: they share its pace.
#[derive(Clone, Debug, Default)]
pub(super) struct ActiveStreams(Arc<AtomicU32>);

/// Sends one stream to watchers.
#[derive(Debug)]
pub(super) struct Live {
    to: mpsc::Sender<Payload>,
    stream: &'static str,
    active_streams: ActiveStreams,
    pieces: Pieces,
    due: Option<Instant>,
    /// Until then it is another stream's turn.
    not_before: Option<Instant>,
    has_sent: bool,
    has_noted: bool,
}

#[derive(Serialize)]
struct Piece<'a> {
    stream: &'static str,
    offset: u64,
    text: &'a str,
    /// Whether the text is a note and not output of the stream.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    note: bool,
}

/// The output of a stream so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamOutput<'a> {
    /// All output that is kept.
    pub(super) kept: &'a [u8],
    /// Whether nothing more is kept, although the stream continues.
    pub(super) is_full: bool,
    /// Whether the stream has ended.
    pub(super) has_ended: bool,
}

impl Live {
    pub(super) fn new(to: mpsc::Sender<Payload>, stream: &'static str, active_streams: ActiveStreams) -> Self {
        let pieces = Pieces::default();
        Self { to, stream, active_streams, pieces, due: None, not_before: None, has_sent: false, has_noted: false }
    }

    /// When [`Live::send_next`] must be called; `None` if there is nothing to send.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Records that the stream has produced output.
    pub(super) fn received(&mut self, output: StreamOutput<'_>) {
        if self.due.is_none() && self.has_more(output) {
            let gathered = Instant::now() + PACE;
            self.due = Some(self.not_before.map_or(gathered, |turn| turn.max(gathered)));
        }
    }

    /// Sends the next piece.
    pub(super) fn send_next(&mut self, output: StreamOutput<'_>) {
        if self.send_piece(output).is_err() {
            self.due = None;
            return;
        }
        let streams = self.active_streams.0.load(Ordering::Relaxed).max(1);
        self.not_before = Some(Instant::now() + PACE * streams);
        self.due = self.not_before.filter(|_| self.has_more(output));
    }

    /// Sends the rest, as far as there is room: the result contains all of it.
    pub(super) fn send_rest(&mut self, output: StreamOutput<'_>) {
        self.due = None;
        while self.has_more(output) && self.to.capacity() > 0 {
            if self.send_piece(output).is_err() {
                return;
            }
        }
    }

    fn has_more(&self, output: StreamOutput<'_>) -> bool {
        self.pieces.taken < output.kept.len() || (output.is_full && !self.has_noted)
    }

    /// Sends one piece, unless there is no room for it.
    ///
    /// # Errors
    /// If the receiver is gone.
    fn send_piece(&mut self, output: StreamOutput<'_>) -> Result<(), Closed> {
        let permit = match self.to.try_reserve() {
            Ok(permit) => permit,
            Err(TrySendError::Full(())) => return Ok(()),
            Err(TrySendError::Closed(())) => return Err(Closed),
        };
        let offset = self.pieces.given;
        let text = self.pieces.next(output.kept, output.is_full || output.has_ended);
        let (text, note) = match text {
            Some(text) => (text, false),
            None if output.is_full && !self.has_noted && self.pieces.taken == output.kept.len() => {
                self.has_noted = true;
                (full_note(output.kept), true)
            }
            None => return Ok(()),
        };
        if !std::mem::replace(&mut self.has_sent, true) {
            self.active_streams.0.fetch_add(1, Ordering::Relaxed);
        }
        let piece = Piece { stream: self.stream, offset, text: &text, note };
        match Payload::of(&piece) {
            Ok(data) => permit.send(data),
            Err(error) => tracing::debug!(%error, "output cannot be shown"),
        }
        Ok(())
    }
}

/// The receiver of progress is gone.
struct Closed;

fn full_note(kept: &[u8]) -> String {
    let begin = if kept.last().is_none_or(|last| *last == b'\n') { "" } else { "\n" };
    format!("{begin}[output goes on and is not shown: {} bytes are kept, see `max_output_bytes`]\n", kept.len())
}

/// Cuts growing output into pieces of text: whole lines if possible, and never within a character. Invalid UTF-8
/// becomes U+FFFD, as if everything were decoded at once.
#[derive(Debug, Default)]
struct Pieces {
    /// How many bytes were cut off.
    taken: usize,
    /// How many bytes the texts of all pieces have.
    given: u64,
}

impl Pieces {
    /// The next piece of `kept`; `None` if there is not even one character. `is_last`: `kept` will not grow any more.
    fn next(&mut self, kept: &[u8], is_last: bool) -> Option<String> {
        let open = kept.get(self.taken..).unwrap_or_default();
        let end = match open.iter().rposition(|byte| *byte == b'\n') {
            Some(newline) if !is_last => newline + 1,
            None if !is_last => open.len() - unfinished(open),
            Some(_) | None => open.len(),
        };
        let (text, used) = cut(&open[..end]);
        self.taken += used;
        self.given += u64::try_from(text.len()).unwrap_or(u64::MAX);
        (!text.is_empty()).then_some(text)
    }
}

/// How many bytes at the end are an incomplete character.
fn unfinished(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    let begins = |byte: &u8| *byte >= 0xc0;
    let Some(at) = tail.iter().rposition(begins) else { return 0 };
    let is_begun = std::str::from_utf8(&tail[at..]).is_err_and(|error| error.error_len().is_none());
    if is_begun { tail.len() - at } else { 0 }
}

/// As much of the bytes as a piece may contain, as text, and the number of these bytes. If the text must be cut, it is
/// cut after a line, if there is one.
fn cut(bytes: &[u8]) -> (String, usize) {
    let (mut text, mut used, mut json) = (String::new(), 0, 0);
    let mut line = None;
    for chunk in bytes.utf8_chunks() {
        let broken = (!chunk.invalid().is_empty()).then_some((char::REPLACEMENT_CHARACTER, chunk.invalid().len()));
        for (c, bytes) in chunk.valid().chars().map(|c| (c, c.len_utf8())).chain(broken) {
            json += json_bytes(c);
            if json > MAX_JSON_BYTES {
                let (text_end, used_end) = line.unwrap_or((text.len(), used));
                text.truncate(text_end);
                return (text, used_end);
            }
            text.push(c);
            used += bytes;
            if c == '\n' {
                line = Some((text.len(), used));
            }
        }
    }
    (text, used)
}

/// How many bytes a character takes in a JSON text.
fn json_bytes(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        _ => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests;
