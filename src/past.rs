//! The stores that `gleitzeit run` leaves behind: one folder for each run, which its process alone writes and later
//! commands look at.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gleitzeit_control_plane::StoreConfig;
use gleitzeit_control_plane::kept::{self, Effort, Keep, Removed, STORE};

use crate::cli::Retention;
use crate::error::{CommandError, chain};
use crate::{output, place};

/// So many stores are kept at most, the newest ones: with little in them they take about 150 MB.
const MOST: usize = 1_000;
/// What a `run` does for it after its own work: a few more than the one that it adds.
const SHARE: Effort = Effort { looks: 8, removals: 4 };

/// How far a run has come in this process.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    pub(crate) submitted: AtomicBool,
    /// It is final, and not only this process's work on it.
    pub(crate) ended: AtomicBool,
}

/// The folder of a run that is worked on here.
#[derive(Debug)]
pub(crate) struct OwnFolder {
    path: PathBuf,
    /// Whether anybody would find it later.
    is_found: bool,
}

/// The folder with the folders of runs; it may not be there. None for a user without a data folder.
pub(crate) fn folder() -> Option<PathBuf> {
    place::data_folder().map(|folder| folder.join("runs")).ok()
}

impl OwnFolder {
    /// A new one, which no other run uses.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn new() -> Result<Self, CommandError> {
        let (runs, is_found) = folder().map_or_else(|| (std::env::temp_dir(), false), |runs| (runs, true));
        let path = runs.join(kept::folder_name());
        place::make_folder(&path, "name a folder in XDG_DATA_HOME that you may write to: runs are kept there")?;
        Ok(Self { path, is_found })
    }

    /// The store in it.
    pub(crate) fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    /// Says where the run is, once its store is closed. The folder goes if nothing of use is in it, or it is not to be kept.
    pub(crate) fn leave(&self, reached: &Reached, retention: Retention, to_people: bool) {
        let (submitted, ended) = (reached.submitted.load(Ordering::Relaxed), reached.ended.load(Ordering::Relaxed));
        let is_kept = self.is_found && retention != Retention(Some(Duration::ZERO));
        match (submitted, ended) {
            (true, false) => {
                let store = self.store();
                output::note(&format!(
                    "the run has not ended: `gleitzeit start --store sqlite:{}` goes on with it",
                    store.display()
                ));
            }
            (true, true) if is_kept => {
                if to_people {
                    output::note("see it again with `gleitzeit status last` or `gleitzeit logs last`");
                }
            }
            (ran, _) => {
                if ran && !self.is_found {
                    output::note("the run is not kept: neither XDG_DATA_HOME nor HOME names an absolute path");
                }
                self.remove();
            }
        }
    }

    fn remove(&self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            output::note(&format!("cannot remove `{}`: {error}", self.path.display()));
        }
    }
}

/// The file that `gleitzeit start` without a store of its own would open; none if it keeps nothing in a file.
pub(crate) fn control_plane_store() -> Option<PathBuf> {
    let named = std::env::var("GLEITZEIT_STORE_URL").ok().filter(|url| !url.is_empty());
    match place::store(named.as_deref()) {
        Ok(StoreConfig::Sqlite(file)) => Some(file),
        Ok(StoreConfig::Memory) => None,
        Err(error) => {
            // Without a data folder there is none; what was named is to be right.
            if named.is_some() {
                output::note(&format!("the store of GLEITZEIT_STORE_URL is left out: {}", error.message));
            }
            None
        }
    }
}

/// Removes some of the stores that are not to be kept.
pub(crate) fn tidy(retention: Retention) {
    // Who keeps all of them has said so.
    let (Retention(Some(age)), Some(folder)) = (retention, folder()) else { return };
    let removed = kept::prune(&folder, Keep { age: Some(age), count: Some(MOST) }, SHARE);
    for (folder, error) in removed.failed {
        tracing::debug!(folder = %folder.display(), error = chain(&*error), "an old run could not be removed");
    }
}

/// Removes all stores whose runs ended at least so long ago, and says which could not be removed. How many were, and how
/// many not.
pub(crate) fn prune(age: Duration) -> (u64, usize) {
    let Some(folder) = folder() else { return (0, 0) };
    let Removed { stores, failed } = kept::prune(&folder, Keep { age: Some(age), count: None }, Effort::ALL);
    for (folder, error) in &failed {
        output::note(&format!("`{}` could not be removed: {}", folder.display(), chain(&**error)));
    }
    (stores, failed.len())
}
