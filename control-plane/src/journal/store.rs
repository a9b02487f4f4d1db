//! The interface of a store. Everything is synchronous and may block, so it must be called from a thread that may.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gleitzeit_run::{Entry, History, Position, RunId, RunStatus, Seq, TermId};
use gleitzeit_workflow::{ErrorCode, Timestamp};
use thiserror::Error;

use crate::journal::{RunCounts, RunFilter, RunRow};

/// The store format that this code writes; a store with a later one is refused.
pub const FORMAT_VERSION: u32 = 2;

/// The end of a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// The position of the last entry; 0 if there is none.
    pub position: Position,
    /// The time of the last entry.
    pub recorded_at: Timestamp,
}

/// What one pruning step has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The removed runs, with their final statuses.
    pub runs: Vec<(RunId, RunStatus)>,
    /// How many entries were removed, of these runs and of runs from earlier steps.
    pub entries: u64,
    /// Whether there is work for another step.
    pub more: bool,
}

/// What one step of removing protocols has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrunedProtocols {
    /// How many protocols were removed.
    pub protocols: u64,
    /// How many entries were removed, including entries about protocols from earlier steps.
    pub entries: u64,
    /// Whether there is work for another step.
    pub more: bool,
}

/// Why a store operation failed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The file or its folder cannot be used.
    #[error("cannot open the store `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// Another process has the store open.
    #[error("the store `{}` is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The database cannot use the file: it lacks permission or room, or the path is not a file.
    #[error("cannot use the store `{}`", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The database's error.
        #[source]
        source: rusqlite::Error,
    },
    /// The file is not a database, or is not a complete one.
    #[error("PERSISTENCE_INTEGRITY_ERROR: `{}` is not a store, or is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The database's error.
        #[source]
        source: rusqlite::Error,
    },
    /// Something that was acknowledged is missing.
    #[error("PERSISTENCE_INTEGRITY_ERROR: the store `{}` is incomplete: {why}; restore a backup", path.display())]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// What is missing.
        why: String,
    },
    /// The file that is being written is not the one that a start would find.
    #[error(
        "PERSISTENCE_STORE_LOST: the store `{}` was removed or replaced while in use: {why}; put it back, or restore a backup, \
         and start again",
        path.display()
    )]
    Gone {
        /// The path of the store.
        path: PathBuf,
        /// What is there instead.
        why: String,
    },
    /// The file has several names. Under each of them its log would be a different file.
    #[error(
        "the store `{}` has {names} names (hard links), and entries written under one are missing under another; remove \
         all names except the one in use",
        path.display()
    )]
    Linked {
        /// The file.
        path: PathBuf,
        /// The number of names.
        names: u64,
    },
    /// Replacing a store could not be completed.
    #[error(
        "the store `{}` is only partly replaced; the next start, `restore` or `backup` completes the replacement",
        path.display()
    )]
    CutOff {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The lists, which are derived from the entries, do not match them.
    #[error(
        "PERSISTENCE_INTEGRITY_ERROR: the lists of the store `{}` are damaged: {why}; \
         `gleitzeit store check --repair --store sqlite:{}` rebuilds them from its entries",
        path.display(),
        path.display()
    )]
    Lists {
        /// The file.
        path: PathBuf,
        /// What is wrong with the lists.
        why: String,
    },
    /// There is no room to write.
    #[error("no room is left to write the store `{}`: free some space on its disk and start again", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// The database's error.
        #[source]
        source: rusqlite::Error,
    },
    /// A file may not grow any further.
    #[error(
        "the store `{}` has reached the limit of file sizes, {limit} bytes: raise it (`ulimit -f`) and start again",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The largest file size in bytes that this process may write.
        limit: u64,
        /// The database's error.
        #[source]
        source: rusqlite::Error,
    },
    /// Removing old data needs room that is not there. Nothing was changed, and writing continues.
    #[error(
        "there is no room to remove old data from the store `{}`: {why}; each removal is written to its log \
         first, so make some room and try again",
        path.display()
    )]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// What is full.
        why: String,
    },
    /// An earlier write failed, so the store takes no more.
    #[error("the store `{}` could not be written; nothing more is written to it", .0.display())]
    Broken(PathBuf),
    /// A backup cannot be made or restored.
    #[error("{}", .0)]
    Backup(String),
    /// The store was written by a later version.
    #[error("PERSISTENCE_INTEGRITY_ERROR: the store has format {found}, this version reads up to {known}")]
    Format {
        /// The format of the store.
        found: u32,
        /// The latest format that this code knows.
        known: u32,
    },
    /// An entry cannot be read by this version, or does not follow on the previous one.
    #[error("PERSISTENCE_INTEGRITY_ERROR: entry {position}: {why}")]
    Entry {
        /// The position of the entry.
        position: u64,
        /// What is wrong with the entry.
        why: String,
    },
    /// An entry is intact, but this version cannot read it.
    #[error("PERSISTENCE_INTEGRITY_ERROR: {}", .0)]
    Unreadable(Box<Unreadable>),
    /// The stored data of a run contradicts itself.
    #[error("PERSISTENCE_INTEGRITY_ERROR: {0}")]
    Run(String),
    /// The writer's thread could not be started.
    #[error("cannot start the journal's thread")]
    Thread(#[source] std::io::Error),
    /// The database refused an operation.
    #[error("the store could not {what}")]
    Database {
        /// The operation.
        what: &'static str,
        /// The database's error.
        #[source]
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// Whether the error means that stored data was lost or changed.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. }
            | Self::Incomplete { .. }
            | Self::Lists { .. }
            | Self::Entry { .. }
            | Self::Unreadable(_)
            | Self::Run(_) => true,
            Self::Database { source, .. } | Self::Unusable { source, .. } => is_corrupt(source),
            _ => false,
        }
    }

    /// The same error for a file that was inspected under another name.
    #[must_use]
    pub(crate) fn about(mut self, file: &Path) -> Self {
        match &mut self {
            Self::Incomplete { path, .. }
            | Self::Lists { path, .. }
            | Self::Damaged { path, .. }
            | Self::Unusable { path, .. } => file.clone_into(path),
            _ => {}
        }
        self
    }

    /// The code of the error in the table of errors; `None` for errors that should not happen.
    pub fn code(&self) -> Option<ErrorCode> {
        Some(match self {
            error if error.is_damage() => ErrorCode::PersistenceIntegrityError,
            Self::Gone { .. } => ErrorCode::PersistenceStoreLost,
            Self::InUse(_) | Self::Linked { .. } => ErrorCode::ConfigurationError,
            Self::Full { .. } | Self::TooLarge { .. } | Self::NoRoom { .. } | Self::Broken(_) => {
                ErrorCode::PersistenceWriteFailed
            }
            Self::Open { .. } | Self::Unusable { .. } | Self::CutOff { .. } => ErrorCode::PersistenceConnectionFailed,
            Self::Format { .. } => ErrorCode::PersistenceIntegrityError,
            _ => return None,
        })
    }
}

/// Whether the database found the file damaged, or found a value that was never written there.
pub(super) fn is_corrupt(error: &rusqlite::Error) -> bool {
    use rusqlite::{Error, ErrorCode};
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
        || matches!(
            error,
            Error::FromSqlConversionFailure(..)
                | Error::InvalidColumnType(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::Utf8Error(..)
        )
}

/// An entry that is intact but cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The position of the entry.
    pub position: Position,
    /// The run it belongs to; `None` for entries about ownerships and protocols.
    pub run_id: Option<RunId>,
    /// The number of the entry within the run.
    pub seq: Seq,
    /// What is wrong with the entry.
    pub why: String,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "entry {}: {}", self.position, self.why)
    }
}

/// Where entries are stored. Once `append` has returned `Ok`, its entries survive a crash.
pub trait Store: Send {
    /// The end of the journal.
    fn tail(&self) -> Tail;

    /// Begins a term after the last entry and makes it durable. Returns the terms of this store; the new one is the
    /// last.
    ///
    /// # Errors
    /// If the term could not be written.
    fn begin_term(&mut self, id: TermId) -> Result<History, StoreError>;

    /// Writes consecutive entries in one transaction and makes them durable.
    ///
    /// # Errors
    /// If any of them could not be written; then none was.
    fn append(&mut self, entries: &[Arc<Entry>]) -> Result<(), StoreError>;

    /// Checks that the next start would find what was appended.
    ///
    /// # Errors
    /// If the file being written is no longer the store.
    fn confirm(&self) -> Result<(), StoreError>;

    /// Entries up to this position may have been removed, with their runs or because they no longer matter; all later
    /// entries are there.
    fn pruned(&self) -> Position;

    /// Removes finished runs that ended no later than `ended`, in one small step. A concurrent reader of such a run
    /// sees its first entries, or none.
    ///
    /// # Errors
    /// `NoRoom` if there is no room to write the step: then nothing was changed, and the store can be used as before.
    /// Any other error if it could not be written.
    fn prune(&mut self, ended: Timestamp) -> Result<Pruned, StoreError>;

    /// Checks whether that many more bytes could be written, as far as that is known without writing them.
    ///
    /// # Errors
    /// `NoRoom` if they could not.
    fn check_room(&self, _bytes: u64) -> Result<(), StoreError> {
        Ok(())
    }

    /// Removes a few entries that belong to no run, given by their positions in order. Returns how many of them
    /// existed.
    ///
    /// # Errors
    /// As for [`Store::prune`].
    fn remove(&mut self, positions: &[Position]) -> Result<u64, StoreError>;

    /// Opens a reader beside the writer; it sees everything that was appended before each of its calls.
    ///
    /// # Errors
    /// If the store cannot be opened again.
    fn reader(&self) -> Result<Box<dyn Reader>, StoreError>;
}

/// The most that is read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimit {
    /// The most entries.
    pub entries: usize,
    /// A page ends with the entry that reaches this many bytes of bodies. Stores in memory may ignore it.
    pub bytes: usize,
}

impl ReadLimit {
    /// Keeps large results from filling the memory.
    const BYTES: usize = 1024 * 1024;
}

impl From<usize> for ReadLimit {
    /// At most `entries` entries, or about a MiB.
    fn from(entries: usize) -> Self {
        Self { entries, bytes: Self::BYTES }
    }
}

/// Receives each entry that a start replays, or the error of one that cannot be read.
pub type Replay<'a> = dyn FnMut(Result<Entry, Unreadable>) -> Result<(), StoreError> + 'a;

/// Reads what was appended, without blocking the writer.
pub trait Reader: Send {
    /// Opens another reader of the same store.
    ///
    /// # Errors
    /// If the store cannot be opened again.
    fn another(&self) -> Result<Box<dyn Reader>, StoreError>;

    /// Entries from a position on, in order: at most `most`, and none only at the end of the journal.
    ///
    /// # Errors
    /// If they cannot be read.
    fn read_from(&self, from: Position, most: ReadLimit) -> Result<Vec<Entry>, StoreError>;

    /// Entries of a run from `from` on, in order: at most `most`, and none only at their end.
    ///
    /// # Errors
    /// If they cannot be read.
    fn read_run(&self, run_id: RunId, from: Seq, most: ReadLimit) -> Result<Vec<Entry>, StoreError>;

    /// Passes all entries that a start must replay to `each`, in order: all except those of finished runs. An entry
    /// that cannot be read is passed as [`Unreadable`], and so, unread, are the entries with which a run exceeds
    /// `run_bytes` of bodies. Stores in memory have no such limit.
    ///
    /// # Errors
    /// If the entries cannot be read, or with the error of `each`.
    fn replay(&self, run_bytes: usize, each: &mut Replay<'_>) -> Result<(), StoreError>;

    /// The run that was submitted under a request id, with the hash of the request body.
    ///
    /// # Errors
    /// If it cannot be read.
    fn find_request(&self, request_id: &str) -> Result<Option<(RunId, String)>, StoreError>;

    /// The first `limit` runs after the run `after` that pass the filter, newest first.
    ///
    /// # Errors
    /// If they cannot be read.
    fn list_runs(&self, filter: &RunFilter, after: Option<RunId>, limit: usize) -> Result<Vec<RunRow>, StoreError>;

    /// The first `limit` runs that ended at `from` or later, with the times of their ends, ordered by end and then by
    /// id.
    ///
    /// # Errors
    /// If they cannot be read.
    fn ended_since(&self, from: Timestamp, limit: usize) -> Result<Vec<(RunId, Timestamp)>, StoreError>;

    /// The number of runs by status.
    ///
    /// # Errors
    /// If they cannot be counted.
    fn counts(&self) -> Result<RunCounts, StoreError>;
}
