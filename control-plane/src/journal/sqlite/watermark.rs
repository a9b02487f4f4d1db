//! The mark beside the store's file: the position that the journal has reached, which the file alone does not show. A
//! truncated log looks like one whose end was never written; the mark distinguishes the two.
//!
//! It is written after each commit and not flushed, so it may lag after a power failure, but is never ahead.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;

use gleitzeit_run::Position;

use super::sum::Sum;

/// The lock file, which contains the mark.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
}

impl Mark {
    pub(super) fn new(file: File) -> Self {
        Self { file }
    }

    /// The last marked position, and the id of its store; `None` if nothing was marked or it cannot be read.
    pub(super) fn read(&mut self) -> Option<(String, Position)> {
        let mut text = String::new();
        self.file.seek(SeekFrom::Start(0)).ok()?;
        (&self.file).take(1_024).read_to_string(&mut text).ok()?;
        let mut words = text.split_whitespace();
        let (of, position, sum) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        (line(of, Position(position)).split_whitespace().nth(2) == Some(sum))
            .then(|| (of.to_owned(), Position(position)))
    }

    /// Marks how far a store has come. If that fails, the only loss is some protection.
    pub(super) fn write(&mut self, store_id: &str, position: Position) {
        if let Err(error) = self.put(store_id, position) {
            tracing::debug!(%error, "the mark beside the store could not be written");
        }
    }

    /// Replaces the mark by that of another store and flushes it: with the old mark, the new store would be refused.
    ///
    /// # Errors
    /// If the mark cannot be written.
    pub(super) fn force(&mut self, store_id: &str, position: Position) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.put(store_id, position)?;
        self.file.sync_all()
    }

    fn put(&mut self, store_id: &str, position: Position) -> std::io::Result<()> {
        self.file.write_all_at(line(store_id, position).as_bytes(), 0)
    }
}

/// Positions are padded, so that a shorter line never leaves the end of a longer one.
fn line(store_id: &str, position: Position) -> String {
    let at = i64::try_from(position.0).unwrap_or(i64::MAX);
    let sum = Sum::new().bytes(store_id.as_bytes()).number(at).value();
    format!("{store_id} {:020} {sum:016x}\n", position.0)
}
