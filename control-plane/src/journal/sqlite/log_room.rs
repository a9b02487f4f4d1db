//! Room for the write-ahead log. A commit that makes the log's file longer has to bring its new length to the disk too,
//! which takes about as long again as the entries (measured on ext4: 0.24 ms instead of 0.14). So the file is made longer
//! ahead of time, in a few steps, until it is as long as it gets before the log is written back and begins anew.
//!
//! What is ahead of the log are zeros: no frame of a log begins so, and the database stops reading there, as it does at
//! what is left of the log before. Only between two commits: the database writes to the same file.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// What a page takes in the log, with its header.
const FRAME_BYTES: u64 = 4096 + 24;
/// A store that writes less is not given room: most runs of `gleitzeit run` end before.
const FIRST_BYTES: u64 = 256 * 1024;
/// So much more at a time.
const STEP_BYTES: u64 = 4 * 1024 * 1024;

/// The log beside a store's file.
#[derive(Debug)]
pub(super) struct LogRoom {
    path: PathBuf,
    /// Opened when it is first given room.
    file: Option<File>,
    /// When the file is longer than this, the log has grown into its end.
    used_up_at: u64,
    /// It is made no longer than this.
    most: u64,
}

/// The name of the log of a store's file.
pub(super) fn log_of(path: &Path) -> PathBuf {
    let mut log = OsString::from(path);
    log.push("-wal");
    log.into()
}

impl LogRoom {
    /// For a log that is written back after so many pages.
    pub(super) fn beside(path: &Path, pages: u32) -> Self {
        // A batch may take it somewhat beyond.
        let most = FRAME_BYTES * u64::from(pages) + STEP_BYTES / 2;
        Self { path: log_of(path), file: None, used_up_at: FIRST_BYTES, most }
    }

    /// Gives the log room if it has none left. To be called after a commit. A log without room is slower, and nothing
    /// else.
    pub(super) fn keep(&mut self) {
        if self.used_up_at >= self.most {
            return;
        }
        if let Err(error) = self.make() {
            tracing::debug!(%error, "the log of the store cannot be made longer ahead of time");
            self.used_up_at = self.most;
        }
    }

    fn make(&mut self) -> std::io::Result<()> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(File::options().write(true).open(&self.path)?),
        };
        let length = file.metadata()?.len();
        if length <= self.used_up_at {
            return Ok(());
        }
        let end = (length + STEP_BYTES).min(self.most);
        let zeros = vec![0; usize::try_from(end.saturating_sub(length)).unwrap_or(0)];
        file.write_all_at(&zeros, length)?;
        self.used_up_at = end;
        Ok(())
    }
}
