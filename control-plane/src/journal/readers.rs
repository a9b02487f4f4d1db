//! A few readers for many callers. Reading blocks, so it happens on threads that may; the writer is not among them.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{JournalError, Reader, Store, StoreError};

/// How many read at once; the others wait for their turn.
const READERS: usize = 4;

/// How many of those read for callers who follow what is recorded: they read for as long as there is something, and leave
/// the others to whoever asks once.
const READERS_BEHIND: usize = 2;

/// Readers and who may use one.
#[derive(Debug)]
pub(super) struct Readers {
    shelf: Arc<Shelf>,
    permits: Arc<Semaphore>,
    behind: Semaphore,
}

/// The readers that nobody uses. More are opened when they are needed: most stores are read by one at a time.
struct Shelf(Mutex<Idle>);

struct Idle {
    /// Never lent: the others are opened from it.
    first: Box<dyn Reader>,
    rest: Vec<Box<dyn Reader>>,
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shelf")
    }
}

impl Shelf {
    /// One that nobody uses. May block.
    fn get(&self) -> Result<Box<dyn Reader>, StoreError> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.rest.pop().map_or_else(|| idle.first.another(), Ok)
    }
}

/// A reader in use: it goes back however the use ends.
struct Lent {
    reader: Option<Box<dyn Reader>>,
    shelf: Arc<Shelf>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Before the permit, which is dropped after this.
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
            behind: Semaphore::new(READERS_BEHIND),
        }
    }

    /// Hands a reader over for good; the others have one less.
    pub(super) async fn take(&self) -> Result<Box<dyn Reader>, JournalError> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| JournalError::Closed)?;
        permit.forget();
        let shelf = self.shelf.clone();
        Ok(tokio::task::spawn_blocking(move || shelf.get()).await.map_err(|_| JournalError::Closed)??)
    }

    /// As [`Readers::read`], for one of many who follow what is recorded.
    pub(super) async fn read_behind<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let _turn = self.behind.acquire().await.map_err(|_| JournalError::Closed)?;
        self.read(read).await
    }

    /// Reads on a thread that may block.
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
        // Nothing panics there or is aborted, and what is lent is a reader.
        done.await.map_err(|_| JournalError::Closed)??.ok_or(JournalError::Closed)
    }
}
