//! The mark beside the file: how far the journal has come, as far as the file itself cannot know. A log that was cut off
//! looks like one whose end was never written; the mark tells them apart.
//!
//! It is written after each commit and not forced to the disk, so it may lag after a power cut, and is never ahead.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

use gleitzeit_core::Position;

use super::sum::Sum;

/// The lock file, which holds the mark.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
}

impl Mark {
    pub(super) fn new(file: File) -> Self {
        Self { file }
    }

    /// What was marked last for this store; none if nothing was, or it cannot be read.
    pub(super) fn read(&mut self, store_id: &str) -> Option<Position> {
        let (of, position) = self.any()?;
        (of == store_id).then_some(position)
    }

    /// What was marked last, and for which store.
    pub(super) fn any(&mut self) -> Option<(String, Position)> {
        let mut text = String::new();
        self.file.seek(SeekFrom::Start(0)).ok()?;
        (&self.file).take(1_024).read_to_string(&mut text).ok()?;
        let mut words = text.split_whitespace();
        let (of, position, sum) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        (line(of, Position(position)).split_whitespace().nth(2) == Some(sum))
            .then(|| (of.to_owned(), Position(position)))
    }

    /// Marks how far a store has come. A mark that cannot be written protects less, and nothing else.
    pub(super) fn write(&mut self, store_id: &str, position: Position) {
        let line = line(store_id, position);
        let written = self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.write_all(line.as_bytes()));
        if let Err(error) = written {
            tracing::debug!(%error, "the mark beside the store could not be written");
        }
    }
}

/// Always of the same length, so that a shorter one leaves nothing of a longer one.
fn line(store_id: &str, position: Position) -> String {
    let at = i64::try_from(position.0).unwrap_or(i64::MAX);
    let sum = Sum::new().bytes(store_id.as_bytes()).number(at).value();
    format!("{store_id} {:020} {sum:016x}\n", position.0)
}
