//! The results of `prune`, `backup`, `restore` and `store check`.

use gleitzeit_sdk::RunStatus;
use serde::Serialize;

/// The result of `prune`.
#[derive(Serialize)]
pub(crate) struct Pruned {
    pub(crate) runs: u64,
    pub(crate) entries: u64,
    /// How many stores of `gleitzeit run` were removed.
    pub(crate) run_stores: u64,
    /// How many registered protocols were removed that were unused for as long.
    pub(crate) protocols: u64,
}

/// The result of `backup` and `restore`.
#[derive(Serialize)]
pub(crate) struct Copy {
    pub(crate) file: String,
    pub(crate) journal_position: u64,
    pub(crate) entries: u64,
    pub(crate) runs: u64,
    /// Where the previous store was moved to.
    pub(crate) replaced: Option<String>,
}

/// The result of `store check`.
#[derive(Serialize)]
pub(crate) struct StoreCheck {
    pub(crate) file: String,
    pub(crate) journal_position: u64,
    pub(crate) entries: u64,
    pub(crate) runs: u64,
    /// Whether no problem was found.
    pub(crate) whole: bool,
    /// Whether `--repair` may help.
    pub(crate) lists_damaged: bool,
    /// Where the store was moved that `--repair` replaced.
    pub(crate) replaced: Option<String>,
    pub(crate) wrong: Vec<StoreWrong>,
}

/// One problem of a store.
#[derive(Serialize)]
pub(crate) struct StoreWrong {
    pub(crate) run_id: Option<String>,
    pub(crate) status: Option<RunStatus>,
    pub(crate) why: String,
}
