//! The stores that `gleitzeit run` leaves behind: one folder for each run. Only the run's own process writes to it;
//! later commands read it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gleitzeit_control_plane::StoreConfig;
use gleitzeit_control_plane::unserved_stores::{self, Effort, Keep, Removed, STORE};

use crate::cli::Retention;
use crate::error::{CommandError, chain};
use crate::{folders, output, store_url};

/// The most stores that are kept, the newest ones; with little content they take about 150 MB.
const MOST: usize = 1_000;
/// How much of the cleanup one `run` does after its own work: it removes a few more stores than the one that it adds.
const SHARE: Effort = Effort { looks: 8, removals: 4 };

/// How far a run has come in this process.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    pub(crate) submitted: AtomicBool,
    /// The run itself is final, not merely this process's work on it.
    pub(crate) ended: AtomicBool,
}

/// The folder of a run that this process executes.
#[derive(Debug)]
pub(crate) struct OwnFolder {
    path: PathBuf,
    /// Whether a later command could find the folder.
    is_found: bool,
}

/// The parent of all run folders, which may not exist yet. `None` for a user without a data folder.
pub(crate) fn folder() -> Option<PathBuf> {
    folders::data_folder().map(|folder| folder.join("runs")).ok()
}

impl OwnFolder {
    /// Creates a new folder, which no other run uses.
    ///
    /// # Errors
    /// If it cannot be created.
    pub(crate) fn new() -> Result<Self, CommandError> {
        let (runs, is_found) = folder().map_or_else(|| (std::env::temp_dir(), false), |runs| (runs, true));
        let path = runs.join(unserved_stores::folder_name());
        folders::make_private(&path, "name a folder in XDG_DATA_HOME that you may write to: runs are kept there")?;
        Ok(Self { path, is_found })
    }

    /// The path of the store in it.
    pub(crate) fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    /// Says where the run is, once its store is closed. Removes the folder if it holds nothing useful or is not to be
    /// kept.
    pub(crate) fn leave(&self, reached: &Reached, retention: Retention, to_people: bool) {
        let (submitted, ended) = (reached.submitted.load(Ordering::Relaxed), reached.ended.load(Ordering::Relaxed));
        let is_kept = self.is_found && retention != Retention(Some(Duration::ZERO));
        match (submitted, ended) {
            (true, false) => {
                let store = self.store();
                output::note(&format!(
                    "the run has not ended: `gleitzeit start --store sqlite:{}` continues it",
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

/// The file that `gleitzeit start` would open without `--store`; `None` if that would be no file.
pub(crate) fn control_plane_store() -> Option<PathBuf> {
    let named = std::env::var("GLEITZEIT_STORE_URL").ok().filter(|url| !url.is_empty());
    match store_url::parse(named.as_deref()) {
        Ok(StoreConfig::Sqlite(file)) => Some(file),
        Ok(StoreConfig::Memory) => None,
        Err(error) => {
            // A missing data folder means that there is no store; an error in a named store is reported.
            if named.is_some() {
                output::note(&format!("the store of GLEITZEIT_STORE_URL is left out: {}", error.message));
            }
            None
        }
    }
}

/// Removes some of the stores that are not to be kept.
pub(crate) fn tidy(retention: Retention) {
    // With `off`, all stores are kept.
    let (Retention(Some(age)), Some(folder)) = (retention, folder()) else { return };
    let removed = unserved_stores::prune(&folder, Keep { age: Some(age), count: Some(MOST) }, SHARE);
    for (folder, error) in removed.failed {
        tracing::debug!(folder = %folder.display(), error = chain(&*error), "cannot remove an old run");
    }
}

/// Removes all stores whose runs ended at least this long ago, and says which ones could not be removed. Returns how
/// many were removed and how many were not.
pub(crate) fn prune(age: Duration) -> (u64, usize) {
    let Some(folder) = folder() else { return (0, 0) };
    let Removed { stores, failed } = unserved_stores::prune(&folder, Keep { age: Some(age), count: None }, Effort::ALL);
    for (folder, error) in &failed {
        output::note(&format!("cannot remove `{}`: {}", folder.display(), chain(&**error)));
    }
    (stores, failed.len())
}
