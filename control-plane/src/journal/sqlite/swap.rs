//! Replaces a store by a finished file. A store consists of up to three files, and no system can rename three files at
//! once. So a note beside the store first records what is to be done. Before the note exists, nothing has changed;
//! afterwards the replacement is completed, if need be by the next process that uses the store.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use gleitzeit_run::Position;

use super::part_file::{Part, beside, is_id, part_of, sync_folder};
use super::sum::Sum;
use super::watermark::Mark;
use super::{create_private, lock};
use crate::journal::StoreError;

/// A planned replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Swap {
    /// The id in the names of the new file and of the old one.
    id: String,
    /// The id of the new store.
    store_id: String,
    /// The position of its last entry.
    position: Position,
}

impl Swap {
    /// Replaces the store, whose lock the caller holds, by a finished file. Returns where the previous store is kept.
    ///
    /// # Errors
    /// If the files cannot be moved. The next command continues what was noted by then.
    pub(super) fn put(
        part: Part,
        store: &Path,
        (store_id, position): (String, Position),
        mark: &mut Mark,
    ) -> Result<Option<PathBuf>, StoreError> {
        let swap = Self { id: part.id.clone(), store_id, position };
        part.sync().and_then(|()| swap.note(store)).map_err(|source| opened(store, source))?;
        part.keep();
        swap.complete(store, mark, &mut |_| Ok(()))
    }

    /// Writes the note atomically.
    fn note(&self, store: &Path) -> std::io::Result<()> {
        let new = beside(&note_of(store), ".new");
        let _ = std::fs::remove_file(&new);
        let mut file = create_private(&new)?.ok_or(std::io::ErrorKind::AlreadyExists)?;
        file.write_all(self.line().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, note_of(store))?;
        sync_folder(store)
    }

    fn line(&self) -> String {
        let Self { id, store_id, position } = self;
        let at = i64::try_from(position.0).unwrap_or(i64::MAX);
        let sum = Sum::new().bytes(id.as_bytes()).bytes(store_id.as_bytes()).number(at).value();
        format!("{id} {store_id} {position} {sum:016x}\n")
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let (id, store_id, position) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
        let swap = Self { id: id.to_owned(), store_id: store_id.to_owned(), position: Position(position) };
        (is_id(id) && swap.line() == text).then_some(swap)
    }

    /// Does the remaining steps. `before` is called before each step; an error from it simulates a kill at that point.
    fn complete(
        &self,
        store: &Path,
        mark: &mut Mark,
        before: &mut dyn FnMut(&'static str) -> std::io::Result<()>,
    ) -> Result<Option<PathBuf>, StoreError> {
        let (part, old) = (part_of(store, &self.id), beside(store, &format!(".{}.old", self.id)));
        let mut moved = || {
            if part.exists() {
                // The log moves with its file: beside another file it would be taken for that file's log.
                for (step, ending) in [("move the log", "-wal"), ("move the index", "-shm"), ("move the old store", "")]
                {
                    let from = beside(store, ending);
                    if from.exists() {
                        before(step)?;
                        std::fs::rename(&from, beside(&old, ending))?;
                    }
                }
                before("name the new store")?;
                std::fs::rename(&part, store)?;
            }
            sync_folder(store)?;
            before("mark it")?;
            mark.force(&self.store_id, self.position)?;
            before("forget the note")?;
            std::fs::remove_file(note_of(store))?;
            sync_folder(store)
        };
        if !part.exists() && !store.exists() {
            let why = format!(
                "its replacement was interrupted, and the new store is missing too; the previous store is `{}`",
                old.display()
            );
            return Err(StoreError::Incomplete { path: store.to_owned(), why });
        }
        moved().map_err(|source| StoreError::CutOff { path: store.to_owned(), source })?;
        Ok(old.exists().then_some(old))
    }
}

/// Continues an interrupted replacement; returns whether there was one. The caller must hold the store's lock.
///
/// # Errors
/// If it cannot be continued.
pub(super) fn resume(store: &Path, mark: &mut Mark) -> Result<bool, StoreError> {
    let Some(swap) = noted(store)? else { return Ok(false) };
    let Some(swap) = swap else {
        let note = note_of(store);
        let why = format!(
            "its replacement was interrupted, and `{}` is unreadable; remove that file to continue with the existing store",
            note.display()
        );
        return Err(StoreError::Incomplete { path: store.to_owned(), why });
    };
    let old = swap.complete(store, mark, &mut |_| Ok(()))?;
    tracing::warn!(
        store = %store.display(),
        kept = old.map(|old| old.display().to_string()),
        "an interrupted restore of this store was completed"
    );
    Ok(true)
}

/// Completes an interrupted replacement, before a store is read.
///
/// # Errors
/// If the replacement is still running, or cannot be completed.
pub(super) fn finish(store: &Path) -> Result<(), StoreError> {
    if is_noted(store) {
        resume(store, &mut lock(store)?)?;
    }
    Ok(())
}

/// Whether a replacement was interrupted.
fn is_noted(store: &Path) -> bool {
    note_of(store).exists()
}

fn noted(store: &Path) -> Result<Option<Option<Swap>>, StoreError> {
    use std::io::Read as _;
    let mut text = String::new();
    match std::fs::File::open(note_of(store)).and_then(|file| file.take(1_024).read_to_string(&mut text)) {
        Ok(_) => Ok(Some(Swap::read(&text))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(Some(None)),
        Err(source) => Err(opened(store, source)),
    }
}

fn note_of(store: &Path) -> PathBuf {
    beside(store, ".restore")
}

fn opened(store: &Path, source: std::io::Error) -> StoreError {
    StoreError::Open { path: store.to_owned(), source }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::backup::check;
    use super::super::lock;
    use super::*;

    /// Restores a copy and dies before step `at`. Returns the name of that step; `None` if there are fewer.
    pub(in super::super) fn cut_off(copy: &Path, store: &Path, at: usize) -> Option<&'static str> {
        let mut mark = lock(store).expect("not in use");
        let part = Part::new(store).expect("made");
        std::fs::copy(copy, &part.path).expect("copied");
        let (copied, store_id) = check(&part.path, |_| Ok(())).expect("whole");
        let swap = Swap { id: part.id.clone(), store_id, position: copied.position };
        swap.note(store).expect("noted");
        part.keep();
        let (mut steps, mut died) = (0, None);
        let done = swap.complete(store, &mut mark, &mut |step| {
            if steps == at {
                died = Some(step);
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            steps += 1;
            Ok(())
        });
        assert_eq!(done.is_err(), died.is_some());
        died
    }
}
