//! Detects that a store's file was replaced: the file's identity is recorded when the store is opened and compared with
//! what its path leads to before any write counts as durable. A file that was deleted or moved away can still be
//! written to, but no later start would find it.
//!
//! The file itself is locked too: under another name, for instance as a bind-mounted single file, it has a different
//! lock file.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::journal::StoreError;
use crate::platform::{Identity, identity, lock};

use super::log_of;

/// A store's file, which nobody else may open as a store.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    itself: Identity,
    /// The identity of the write-ahead log. Losing the log loses the latest entries.
    log: Option<Identity>,
    /// Kept open because it holds the lock, and because closing it would release the locks that the database has on the
    /// file.
    file: File,
}

impl Claim {
    /// Claims the file at `path`, which must be canonical.
    ///
    /// # Errors
    /// `InUse` if another store has it; `Open` if it cannot be opened for writing; `Linked` if it has several names:
    /// each name would have its own log, and entries in one are missing under the other.
    pub(super) fn new(path: &Path) -> Result<Self, StoreError> {
        let claim = Self::of_any(path)?;
        let found = claim.file.metadata().map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
        match found.nlink() {
            0 | 1 => Ok(claim),
            names => Err(StoreError::Linked { path: path.to_owned(), names }),
        }
    }

    /// Claims a file that is only to be moved away, whatever it contains.
    ///
    /// # Errors
    /// As for [`Claim::new`], except that the file may have several names.
    pub(super) fn of_any(path: &Path) -> Result<Self, StoreError> {
        let refused = |source| StoreError::Open { path: path.to_owned(), source };
        let file = File::options().read(true).write(true).open(path).map_err(refused)?;
        let found = file.metadata().map_err(refused)?;
        match lock(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(StoreError::InUse(path.to_owned())),
            Err(error) => {
                tracing::warn!(%error, "the store itself cannot be locked here; only its lock file protects it");
            }
        }
        Ok(Self { path: path.to_owned(), itself: Identity::of(&found), log: None, file })
    }

    /// Records which log the database is writing to.
    ///
    /// # Errors
    /// If there is no log.
    pub(super) fn note_log(&mut self) -> io::Result<()> {
        self.log = Some(identity(&log_of(&self.path))?);
        Ok(())
    }

    /// Checks that a start would find the file and the log that are being written.
    ///
    /// # Errors
    /// `Gone` if it would not.
    pub(super) fn confirm(&self) -> Result<(), StoreError> {
        let found = check(&self.path, self.itself)
            .and_then(|()| self.log.map_or(Ok(()), |log| check(&log_of(&self.path), log)));
        found.map_err(|why| StoreError::Gone { path: self.path.clone(), why })
    }

    /// Flushes the file to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// Checks that a path leads to the expected file; otherwise says why not.
fn check(path: &Path, expected: Identity) -> Result<(), String> {
    match identity(path) {
        Ok(found) if found == expected => Ok(()),
        Ok(_) => Err(format!("another file is at `{}`", path.display())),
        Err(error) => Err(format!("`{}` cannot be found: {error}", path.display())),
    }
}
