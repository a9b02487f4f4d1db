//! What clients did and observed, and the final state after the faults. Only data.

use std::collections::BTreeMap;

use gleitzeit_sdk::RunStatus;

/// Everything that happened on the clients' side.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// The requests by their id.
    pub(crate) asks: BTreeMap<String, Ask>,
    pub(crate) reads: Vec<Read>,
    /// Runs whose cancellation was acknowledged.
    pub(crate) cancelled: Vec<String>,
    /// The numbers of the events that a watcher of a run saw up to its end.
    pub(crate) watched: Vec<(String, Vec<u64>)>,
    /// Answers that no client should ever get.
    pub(crate) complaints: Vec<String>,
}

/// A submission or a retry under one request id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    /// For a retry, the run to repeat.
    pub(crate) retry_of: Option<String>,
    /// For a submission, the workflow, under a unique name.
    pub(crate) workflow: String,
    /// Whether a task of it fails.
    pub(crate) fails: bool,
    /// The runs that were named in acknowledgements.
    pub(crate) answers: Vec<String>,
}

/// One read of a run; times count from the beginning of the test.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) run_id: String,
    pub(crate) began_us: u128,
    pub(crate) ended_us: u128,
    pub(crate) status: RunStatus,
    pub(crate) seq: u64,
}

/// The final state.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Runs that were read to their ends.
    pub(crate) runs: BTreeMap<String, Facts>,
    /// Acknowledged runs that were not found, with the answer instead.
    pub(crate) missing: BTreeMap<String, String>,
    /// Runs that do not end, with what they wait for.
    pub(crate) stuck: BTreeMap<String, String>,
    /// All runs on the list.
    pub(crate) listed: Vec<Listed>,
    /// Executions: run, task and attempt of each.
    pub(crate) marks: Vec<(String, String, u32)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) status: RunStatus,
    pub(crate) events: Vec<Event>,
}

#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) seq: u64,
    pub(crate) kind: String,
    pub(crate) task: String,
    pub(crate) attempt: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) run_id: String,
    pub(crate) name: String,
    pub(crate) retry_of: Option<String>,
}
