//! Which file a store is: noted when it is opened, and compared with what stands at its path before anything that was
//! written counts as kept. A file that was deleted or moved away can be written as before, and no later start finds it.
//!
//! The file itself is locked too: by another name, such as that of a file mounted alone, it has another lock file.

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
    /// Of the write-ahead log. Without it the latest entries are lost, as without the file.
    log: Option<Identity>,
    /// Kept open, since it holds the lock, and since closing it would give up the locks that the database has on the file.
    file: File,
}

impl Claim {
    /// Claims the file at `path`, which is its real name.
    ///
    /// # Errors
    /// `InUse` if another store has it; `Open` if it cannot be opened for writing or has a second name: each name would
    /// have a log of its own, and entries in one are missing under the other.
    pub(super) fn new(path: &Path) -> Result<Self, StoreError> {
        let claim = Self::of_any(path)?;
        let found = claim.file.metadata().map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
        match found.nlink() {
            0 | 1 => Ok(claim),
            names => Err(StoreError::Linked { path: path.to_owned(), names }),
        }
    }

    /// The same for a file that is only to be moved away, whatever it is.
    ///
    /// # Errors
    /// As for [`Claim::new`], except that it may have several names.
    pub(super) fn of_any(path: &Path) -> Result<Self, StoreError> {
        let refused = |source| StoreError::Open { path: path.to_owned(), source };
        let file = File::options().read(true).write(true).open(path).map_err(refused)?;
        let found = file.metadata().map_err(refused)?;
        match lock(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(StoreError::InUse(path.to_owned())),
            Err(error) => {
                tracing::warn!(%error, "the store itself cannot be locked here; its lock file alone keeps others out");
            }
        }
        Ok(Self { path: path.to_owned(), itself: Identity::of(&found), log: None, file })
    }

    /// Notes which log the database writes now.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn note_log(&mut self) -> io::Result<()> {
        self.log = Some(identity(&log_of(&self.path))?);
        Ok(())
    }

    /// Whether a start would find the file and its log that are being written.
    ///
    /// # Errors
    /// `Gone` if not.
    pub(super) fn confirm(&self) -> Result<(), StoreError> {
        let found = check(&self.path, self.itself)
            .and_then(|()| self.log.map_or(Ok(()), |log| check(&log_of(&self.path), log)));
        found.map_err(|why| StoreError::Gone { path: self.path.clone(), why })
    }

    /// Forces the file to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// Whether a path leads to a file; if not, why.
fn check(path: &Path, expected: Identity) -> Result<(), String> {
    match identity(path) {
        Ok(found) if found == expected => Ok(()),
        Ok(_) => Err(format!("another file stands at `{}`", path.display())),
        Err(error) => Err(format!("`{}` cannot be found: {error}", path.display())),
    }
}
