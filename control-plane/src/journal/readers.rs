//! A small pool of readers for many callers. Reading blocks, so it runs on blocking threads; the writer does not use
//! this pool.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{JournalError, Reader, Store, StoreError};

/// How many readers are in use at the same time; other callers wait.
const READERS: usize = 4;

/// How many of them may serve callers that follow runs or the journal. Such callers read for as long as there is
/// something to read; the other readers stay free for single requests.
const FOLLOWER_READERS: usize = 2;

/// The pool, and the permits to use it.
#[derive(Debug)]
pub(super) struct Readers {
    shelf: Arc<Shelf>,
    permits: Arc<Semaphore>,
    followers: Semaphore,
}

/// The idle readers. More are opened on demand: most stores are read by one caller at a time.
struct Shelf(Mutex<Idle>);

struct Idle {
    /// Never lent out: the other readers are opened from it.
    first: Box<dyn Reader>,
    rest: Vec<Box<dyn Reader>>,
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shelf")
    }
}

impl Shelf {
    /// Takes an idle reader or opens another. May block.
    fn get(&self) -> Result<Box<dyn Reader>, StoreError> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.rest.pop().map_or_else(|| idle.first.another(), Ok)
    }
}

/// A reader in use; it returns to the pool when dropped.
struct Lent {
    reader: Option<Box<dyn Reader>>,
    shelf: Arc<Shelf>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Returned before the permit, which is dropped afterwards.
        self.shelf.0.lock().unwrap_or_else(PoisonError::into_inner).rest.extend(self.reader.take());
    }
}

impl Readers {
    pub(super) fn open(store: &dyn Store) -> Result<Self, StoreError> {
        Ok(Self::of(store.reader()?))
    }

    pub(super) fn of(first: Box<dyn Reader>) -> Self {
        let idle = Idle { first, rest: Vec::new() };
        Self {
            shelf: Arc::new(Shelf(Mutex::new(idle))),
            permits: Arc::new(Semaphore::new(READERS)),
            followers: Semaphore::new(FOLLOWER_READERS),
        }
    }

    /// Gives a reader away for good; the pool has one less.
    pub(super) async fn take(&self) -> Result<Box<dyn Reader>, JournalError> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| JournalError::Closed)?;
        permit.forget();
        let shelf = self.shelf.clone();
        Ok(tokio::task::spawn_blocking(move || shelf.get()).await.map_err(|_| JournalError::Closed)??)
    }

    /// Like [`Readers::read`], for callers that follow runs or the journal.
    pub(super) async fn read_for_follower<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let _turn = self.followers.acquire().await.map_err(|_| JournalError::Closed)?;
        self.read(read).await
    }

    /// Calls `read` with a reader, on a blocking thread.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| JournalError::Closed)?;
        let shelf = self.shelf.clone();
        let done = tokio::task::spawn_blocking(move || {
            let reader = shelf.get()?;
            let lent = Lent { reader: Some(reader), shelf, _permit: permit };
            lent.reader.as_deref().map(read).transpose()
        });
        // The closure does not panic and is never aborted, and `lent` always holds a reader.
        done.await.map_err(|_| JournalError::Closed)??.ok_or(JournalError::Closed)
    }
}
