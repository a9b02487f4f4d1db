//! How far traces are exported: a small file beside the store. If it is lost, some traces are exported again.

use std::fs;
use std::path::{Path, PathBuf};

use gleitzeit_workflow::Timestamp;

/// A position in the order in which runs end; stored on disk if the journal is.
#[derive(Debug)]
pub(crate) struct Cursor {
    at: Timestamp,
    file: Option<PathBuf>,
}

impl Cursor {
    /// The cursor of the journal at this path, or of a journal in memory.
    pub(crate) fn of(store: Option<&Path>) -> Self {
        let file = store.map(|store| {
            let mut name = store.as_os_str().to_owned();
            name.push("-traced");
            PathBuf::from(name)
        });
        Self { at: Timestamp::default(), file }
    }

    /// Continues at the position in the file, but not before `earliest`. Without a file it begins at `now`, because
    /// earlier traces were not to be exported.
    pub(crate) fn begin(&mut self, now: Timestamp, earliest: Timestamp) {
        let text = self.file.as_ref().and_then(|file| fs::read_to_string(file).ok());
        let told = text.and_then(|text| Timestamp::parse(text.trim()).ok());
        // Runs that ended in that millisecond may be exported again: which of them were exported is not stored.
        self.at = told.unwrap_or(now).max(earliest);
    }

    pub(crate) fn at(&self) -> Timestamp {
        self.at
    }

    pub(crate) fn advance(&mut self, at: Timestamp) {
        self.at = at;
        let Some(file) = &self.file else { return };
        let mut new = file.as_os_str().to_owned();
        new.push("-new");
        let written = fs::write(&new, format!("{at}\n")).and_then(|()| fs::rename(&new, file));
        if let Err(error) = written {
            tracing::debug!(%error, file = %file.display(), "the position of the export of traces cannot be written");
        }
    }
}
