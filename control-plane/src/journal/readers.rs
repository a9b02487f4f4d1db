//! A few readers for many callers. Reading blocks, so it happens on threads that may; the writer is not among them.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{JournalError, Reader, Store, StoreError};

/// How many read at once; the others wait for their turn.
const READERS: usize = 4;

/// Readers and who may use one.
#[derive(Debug)]
pub(super) struct Readers {
    idle: Arc<Idle>,
    permits: Arc<Semaphore>,
}

/// The readers that nobody uses: as many as there are permits.
struct Idle(Mutex<Vec<Box<dyn Reader>>>);

impl std::fmt::Debug for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Idle")
    }
}

/// A reader in use: it goes back however the use ends.
struct Lent {
    reader: Option<Box<dyn Reader>>,
    idle: Arc<Idle>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Before the permit, which is dropped after this.
        self.idle.0.lock().unwrap_or_else(PoisonError::into_inner).extend(self.reader.take());
    }
}

impl Readers {
    pub(super) fn open(store: &dyn Store) -> Result<Self, StoreError> {
        let readers = (0..READERS).map(|_| store.reader()).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { idle: Arc::new(Idle(Mutex::new(readers))), permits: Arc::new(Semaphore::new(READERS)) })
    }

    /// Hands a reader over for good; the others have one less.
    pub(super) async fn take(&self) -> Result<Box<dyn Reader>, JournalError> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| JournalError::Closed)?;
        permit.forget();
        let reader = self.idle.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        reader.ok_or(JournalError::Closed)
    }

    /// Reads on a thread that may block.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| JournalError::Closed)?;
        let reader = self.idle.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let lent = Lent { reader, idle: self.idle.clone(), _permit: permit };
        let done = tokio::task::spawn_blocking(move || lent.reader.as_deref().map(read));
        // None of both is expected: a reader for each permit, and nothing that panics or aborts.
        Ok(done.await.ok().flatten().ok_or(JournalError::Closed)??)
    }
}
