//! What a store can do. Everything is synchronous: it is called from a thread that may block.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gleitzeit_run::{Entry, History, Position, RunId, RunStatus, Seq, TermId};
use gleitzeit_workflow::{ErrorCode, Timestamp};
use thiserror::Error;

use crate::journal::{RunCounts, RunFilter, RunRow};

/// The store format this code writes; a store of a later one is refused.
pub const FORMAT_VERSION: u32 = 2;

/// Where a journal ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Of the last entry; 0 if there is none.
    pub position: Position,
    /// Of the last entry.
    pub recorded_at: Timestamp,
}

/// What one step of pruning has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The runs that are no longer there, with their last statuses.
    pub runs: Vec<(RunId, RunStatus)>,
    /// How many entries were removed, of these runs or of those of steps before.
    pub entries: u64,
    /// Whether another step has something to do.
    pub more: bool,
}

/// What one step of removing protocols has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrunedProtocols {
    /// How many protocols are no longer known.
    pub protocols: u64,
    /// How many entries were removed, also those about protocols of steps before.
    pub entries: u64,
    /// Whether another step has something to do.
    pub more: bool,
}

/// Why a store could not do something.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The file or its folder cannot be used.
    #[error("cannot open the store `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("the store `{}` is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The database cannot use the file: no right to write, no room, or not a file.
    #[error("cannot use the store `{}`", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The file is no database, or not the whole of one.
    #[error("PERSISTENCE_INTEGRITY_ERROR: `{}` is no store, or a damaged one", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the database says.
        #[source]
        source: rusqlite::Error,
    },
    /// Something that was acknowledged is not there any more.
    #[error("PERSISTENCE_INTEGRITY_ERROR: the store `{}` is not whole: {why}; restore a backup", path.display())]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// What is missing.
        why: String,
    },
    /// The file that is written is not the one that a start would find.
    #[error(
        "PERSISTENCE_STORE_LOST: the store `{}` was taken away while it was in use: {why}; put it back where it was, or \
         restore a backup, and start again",
        path.display()
    )]
    Gone {
        /// Where it was.
        path: PathBuf,
        /// What is there instead.
        why: String,
    },
    /// The file has several names, under each of which its log would be another.
    #[error(
        "the store `{}` has {names} names (hard links), and entries written under one are missing under another; remove \
         all names but the one that is used",
        path.display()
    )]
    Linked {
        /// The file.
        path: PathBuf,
        /// How many names.
        names: u64,
    },
    /// A store that is being replaced could not be.
    #[error(
        "the store `{}` is half replaced; the next start, `restore` or `backup` goes on with that",
        path.display()
    )]
    CutOff {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The lists, which are made of the entries, are not what the entries say.
    #[error(
        "PERSISTENCE_INTEGRITY_ERROR: the lists of the store `{}` are damaged: {why}; \
         `gleitzeit store check --repair --store sqlite:{}` makes them again from its entries",
        path.display(),
        path.display()
    )]
    Lists {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        why: String,
    },
    /// There is no room to write.
    #[error("no room is left to write the store `{}`: free some space on its disk and start again", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// A file may not grow further.
    #[error(
        "the store `{}` has reached the limit of file sizes, {limit} bytes: raise it (`ulimit -f`) and start again",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// How many bytes a file may have.
        limit: u64,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// Removing what is old needs room that is not there. Nothing was changed, and writing goes on.
    #[error(
        "there is no room to remove what is old from the store `{}`: {why}; what is removed is written to its log \
         first, so make some room and try again",
        path.display()
    )]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// What is full.
        why: String,
    },
    /// An earlier write failed.
    #[error("the store `{}` could not be written and is not written any more", .0.display())]
    Broken(PathBuf),
    /// A backup cannot be made or restored.
    #[error("{}", .0)]
    Backup(String),
    /// It was written by a later version.
    #[error("PERSISTENCE_INTEGRITY_ERROR: the store has format {found}, this version reads up to {known}")]
    Format {
        /// In the store.
        found: u32,
        /// In this code.
        known: u32,
    },
    /// An entry cannot be read by this version, or does not follow on the last one.
    #[error("PERSISTENCE_INTEGRITY_ERROR: entry {position}: {why}")]
    Entry {
        /// Of the entry.
        position: u64,
        /// What is wrong with it.
        why: String,
    },
    /// An entry is as it was written, and this version cannot read it.
    #[error("PERSISTENCE_INTEGRITY_ERROR: {}", .0)]
    Unreadable(Box<Unreadable>),
    /// What is stored of a run contradicts itself.
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
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// Whether what was stored is not there any more as it was.
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

    /// The same about a file that was looked at under another name.
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

    /// Its place in the table of errors; none for what should not happen.
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

/// Whether the database found the file damaged, or a value that nobody wrote there.
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

/// An entry that is as it was written and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Of the entry.
    pub position: Position,
    /// Whose it is; none for ownerships and protocols.
    pub run_id: Option<RunId>,
    /// Its place in the run.
    pub seq: Seq,
    /// What is wrong with it.
    pub why: String,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "entry {}: {}", self.position, self.why)
    }
}

/// Where entries are kept. What `append` returned `Ok` for survives a crash.
pub trait Store: Send {
    /// Where the journal ends.
    fn tail(&self) -> Tail;

    /// Begins a term after the last entry and makes that durable. Returns the terms of this store, this one the last.
    ///
    /// # Errors
    /// If it could not be written.
    fn begin_term(&mut self, id: TermId) -> Result<History, StoreError>;

    /// Writes consecutive entries in one transaction and makes them durable.
    ///
    /// # Errors
    /// If anything could not be written; then nothing of it was.
    fn append(&mut self, entries: &[Arc<Entry>]) -> Result<(), StoreError>;

    /// Whether the next start would find what was appended.
    ///
    /// # Errors
    /// If what is written is not the store any more.
    fn confirm(&self) -> Result<(), StoreError>;

    /// Entries up to here may be gone, with their runs or since they no longer matter; whatever comes after is there.
    fn pruned(&self) -> Position;

    /// Removes finished runs that ended no later than `ended`: a small step that keeps nobody waiting for long. Whoever
    /// reads a run meanwhile sees its first entries, or none.
    ///
    /// # Errors
    /// `NoRoom` if there is no room to write it: then nothing was changed, and the store can be used as before. Else if it
    /// could not be written.
    fn prune(&mut self, ended: Timestamp) -> Result<Pruned, StoreError>;

    /// Whether so many bytes more could be written, as far as that can be told without writing them.
    ///
    /// # Errors
    /// `NoRoom` if not.
    fn check_room(&self, _bytes: u64) -> Result<(), StoreError> {
        Ok(())
    }

    /// Removes entries of no run, given by their places in order: a few at a time. Returns how many were there.
    ///
    /// # Errors
    /// As for [`Store::prune`].
    fn remove(&mut self, positions: &[Position]) -> Result<u64, StoreError>;

    /// Something to read with beside the writer; it sees all that was appended before each call.
    ///
    /// # Errors
    /// If the store cannot be opened once more.
    fn reader(&self) -> Result<Box<dyn Reader>, StoreError>;
}

/// How much is read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// So many entries.
    pub entries: usize,
    /// A page ends with the entry that reaches so many bytes of bodies. Where entries are held in memory anyway it need not.
    pub bytes: usize,
}

impl Most {
    /// So that large results do not fill the memory.
    const BYTES: usize = 1024 * 1024;
}

impl From<usize> for Most {
    /// So many entries, or a MiB.
    fn from(entries: usize) -> Self {
        Self { entries, bytes: Self::BYTES }
    }
}

/// What takes the entries of a start, or what is wrong with one.
pub type Replay<'a> = dyn FnMut(Result<Entry, Unreadable>) -> Result<(), StoreError> + 'a;

/// Reads what was appended, without keeping the writer waiting.
pub trait Reader: Send {
    /// Another one of the same store.
    ///
    /// # Errors
    /// If the store cannot be opened once more.
    fn another(&self) -> Result<Box<dyn Reader>, StoreError>;

    /// Entries from a position on, in order: at most `most`, none only where the journal ends.
    ///
    /// # Errors
    /// If they cannot be read.
    fn read_from(&self, from: Position, most: Most) -> Result<Vec<Entry>, StoreError>;

    /// Entries of a run from `from` on, in order: at most `most`, none only where they end.
    ///
    /// # Errors
    /// If they cannot be read.
    fn read_run(&self, run_id: RunId, from: Seq, most: Most) -> Result<Vec<Entry>, StoreError>;

    /// Hands over all entries in order, leaving out those of finished runs: what a start must replay. An entry of a run
    /// that cannot be read is handed over as such, and so are those with which a run has more than `run_bytes` of bodies,
    /// which are not read; where entries are held in memory anyway there is no such limit.
    ///
    /// # Errors
    /// If they cannot be read, or what `each` returned.
    fn replay(&self, run_bytes: usize, each: &mut Replay<'_>) -> Result<(), StoreError>;

    /// The run submitted under a request id, with the hash of that request's body.
    ///
    /// # Errors
    /// If it cannot be read.
    fn find_request(&self, request_id: &str) -> Result<Option<(RunId, String)>, StoreError>;

    /// At most `limit` runs that pass the filter, newest first, beginning after the run `after`.
    ///
    /// # Errors
    /// If they cannot be read.
    fn list_runs(&self, filter: &RunFilter, after: Option<RunId>, limit: usize) -> Result<Vec<RunRow>, StoreError>;

    /// At most `limit` runs that ended at `from` or later, with their ends, by end and then id.
    ///
    /// # Errors
    /// If they cannot be read.
    fn ended_since(&self, from: Timestamp, limit: usize) -> Result<Vec<(RunId, Timestamp)>, StoreError>;

    /// How many runs there are.
    ///
    /// # Errors
    /// If they cannot be counted.
    fn counts(&self) -> Result<RunCounts, StoreError>;
}
