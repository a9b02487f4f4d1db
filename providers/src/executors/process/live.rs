//! What a stream of a process says, told while the process still runs: `{"stream": "stdout", "offset": 0, "text": "…"}`.
//!
//! Nothing is kept for this: pieces are cut from what is kept for the result anyway, so the texts of a stream, one after
//! the other, are what the result has. Where a piece begins is said with it (`offset`, in bytes of UTF-8), for pieces may
//! be lost on their way. Telling never waits: a piece for which there is no room is told later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gleitzeit_workflow::payload::Payload;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

/// One piece in so long, for each stream that has spoken: a person reads no faster, and a call that ends before is told
/// of once. What a stream brings is gathered for so long, and then a line that has not ended is told as well.
const PACE: Duration = Duration::from_millis(100);
/// The text of a piece as JSON. The hub drops progress over 64 KiB and keeps the last 64 KiB of an attempt.
const MOST_JSON_BYTES: usize = 24 * 1024;

/// How many streams of a call have spoken: they share its pace.
#[derive(Clone, Debug, Default)]
pub(super) struct Speakers(Arc<AtomicU32>);

/// A stream's way to whoever watches.
#[derive(Debug)]
pub(super) struct Live {
    to: mpsc::Sender<Payload>,
    stream: &'static str,
    speakers: Speakers,
    pieces: Pieces,
    due: Option<Instant>,
    /// Before this it is another stream's turn.
    not_before: Option<Instant>,
    has_spoken: bool,
    has_noted: bool,
}

#[derive(Serialize)]
struct Piece<'a> {
    stream: &'static str,
    offset: u64,
    text: &'a str,
    /// The text is not the stream's own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    note: bool,
}

/// What there is to tell of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard<'a> {
    /// All that is kept of it.
    pub(super) kept: &'a [u8],
    /// Nothing is kept beyond this, although the stream goes on.
    pub(super) is_full: bool,
    /// Nothing more comes.
    pub(super) has_ended: bool,
}

impl Live {
    pub(super) fn new(to: mpsc::Sender<Payload>, stream: &'static str, speakers: Speakers) -> Self {
        let pieces = Pieces::default();
        Self { to, stream, speakers, pieces, due: None, not_before: None, has_spoken: false, has_noted: false }
    }

    /// When [`Live::tell`] is due, if there is anything to tell.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The stream has brought something.
    pub(super) fn heard(&mut self, heard: Heard<'_>) {
        if self.due.is_none() && self.has_more(heard) {
            let gathered = Instant::now() + PACE;
            self.due = Some(self.not_before.map_or(gathered, |turn| turn.max(gathered)));
        }
    }

    /// Tells the next piece.
    pub(super) fn tell(&mut self, heard: Heard<'_>) {
        if self.say(heard).is_err() {
            self.due = None;
            return;
        }
        let streams = self.speakers.0.load(Ordering::Relaxed).max(1);
        self.not_before = Some(Instant::now() + PACE * streams);
        self.due = self.not_before.filter(|_| self.has_more(heard));
    }

    /// Tells what is left, as far as there is room: the result has the rest.
    pub(super) fn tell_rest(&mut self, heard: Heard<'_>) {
        self.due = None;
        while self.has_more(heard) && self.to.capacity() > 0 {
            if self.say(heard).is_err() {
                return;
            }
        }
    }

    fn has_more(&self, heard: Heard<'_>) -> bool {
        self.pieces.taken < heard.kept.len() || (heard.is_full && !self.has_noted)
    }

    /// One piece, unless there is no room for it.
    ///
    /// # Errors
    /// If nobody takes any.
    fn say(&mut self, heard: Heard<'_>) -> Result<(), Closed> {
        let permit = match self.to.try_reserve() {
            Ok(permit) => permit,
            Err(TrySendError::Full(())) => return Ok(()),
            Err(TrySendError::Closed(())) => return Err(Closed),
        };
        let offset = self.pieces.given;
        let text = self.pieces.next(heard.kept, heard.is_full || heard.has_ended);
        let (text, note) = match text {
            Some(text) => (text, false),
            None if heard.is_full && !self.has_noted && self.pieces.taken == heard.kept.len() => {
                self.has_noted = true;
                (full_note(heard.kept), true)
            }
            None => return Ok(()),
        };
        if !std::mem::replace(&mut self.has_spoken, true) {
            self.speakers.0.fetch_add(1, Ordering::Relaxed);
        }
        let piece = Piece { stream: self.stream, offset, text: &text, note };
        match Payload::of(&piece) {
            Ok(data) => permit.send(data),
            Err(error) => tracing::debug!(%error, "output cannot be told"),
        }
        Ok(())
    }
}

/// Nobody takes what is told.
struct Closed;

fn full_note(kept: &[u8]) -> String {
    let begin = if kept.last().is_none_or(|last| *last == b'\n') { "" } else { "\n" };
    format!("{begin}[output goes on and is not shown: {} bytes are kept, see `max_output_bytes`]\n", kept.len())
}

/// Cuts bytes that become more into pieces of text: whole lines if there are any, never within a character. What is no
/// UTF-8 becomes U+FFFD as if all were read at once.
#[derive(Debug, Default)]
struct Pieces {
    /// So many bytes are cut off.
    taken: usize,
    /// So many bytes their texts have.
    given: u64,
}

impl Pieces {
    /// The next piece of `kept`; none if there is not even a character. `is_last`: `kept` becomes no more.
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

/// So many bytes at the end are the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    let begins = |byte: &u8| *byte >= 0xc0;
    let Some(at) = tail.iter().rposition(begins) else { return 0 };
    let is_begun = std::str::from_utf8(&tail[at..]).is_err_and(|error| error.error_len().is_none());
    if is_begun { tail.len() - at } else { 0 }
}

/// As much of the bytes as a piece may hold, as text, and how many bytes that are. What must be cut is cut behind a line,
/// if there is one.
fn cut(bytes: &[u8]) -> (String, usize) {
    let (mut text, mut used, mut json) = (String::new(), 0, 0);
    let mut line = None;
    for chunk in bytes.utf8_chunks() {
        let broken = (!chunk.invalid().is_empty()).then_some((char::REPLACEMENT_CHARACTER, chunk.invalid().len()));
        for (c, bytes) in chunk.valid().chars().map(|c| (c, c.len_utf8())).chain(broken) {
            json += json_bytes(c);
            if json > MOST_JSON_BYTES {
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

/// How much a character takes in a JSON text.
fn json_bytes(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        _ => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests;
