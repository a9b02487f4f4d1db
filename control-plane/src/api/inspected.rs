//! What can be reported about runs in a store that is only inspected: their entries, and whether another process is
//! working on them. What the tasks are waiting for is not known here.

use std::path::PathBuf;
use std::sync::Arc;

use gleitzeit_proto::{convert, v1};
use gleitzeit_workflow::{ErrorCode, Failure};
use tokio_util::sync::CancellationToken;

use crate::api::State;
use crate::config::Config;
use crate::hub::HubHandle;
use crate::journal::{Journal, Look};

/// What kind of store it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Created by `gleitzeit run` for a single run.
    Run,
    /// Used by a control plane before.
    ControlPlane,
}

/// The store that is being inspected.
#[derive(Clone, Debug)]
pub(crate) struct InspectedStore {
    pub(crate) store: PathBuf,
    pub(crate) kind: Kind,
}

impl InspectedStore {
    /// Explains why an unfinished run is not progressing, and how to resume it.
    pub(crate) fn interrupted(&self) -> Failure {
        let store = self.store.display();
        let message = match self.kind {
            Kind::Run => format!(
                "the process of this run is gone, and the run has not ended; \
                 `gleitzeit start --store sqlite:{store}` continues it"
            ),
            Kind::ControlPlane => format!(
                "no control plane works on the store `{store}` now, and the run has not ended; \
                 `gleitzeit start` continues it"
            ),
        };
        Failure::new(ErrorCode::WorkflowInterrupted, message)
    }
}

impl State {
    /// The API state for the runs of a store that is being inspected.
    pub(crate) fn read_only(config: &Config, look: Look, of: InspectedStore) -> Self {
        let journal = Journal::read_only(look);
        let inner = Self::inner(config, journal, HubHandle::none(), CancellationToken::new());
        Self(Arc::new(super::Inner { inspected: Some(of), ..inner }))
    }

    /// The inspected store, if a run with this status has not ended.
    fn inspected_running(&self, status: i32) -> Option<&InspectedStore> {
        self.0.inspected.as_ref().filter(|_| status == i32::from(v1::RunStatus::Running))
    }

    /// Completes a run with what is known about it here.
    pub(super) fn known_run(&self, mut run: v1::Run) -> v1::Run {
        if let Some(inspected) = self.inspected_running(run.status) {
            run.tasks.iter_mut().for_each(|task| task.waiting = None);
            if !self.0.journal.is_written() {
                run.error = Some(convert::error(&inspected.interrupted()));
            }
        }
        run
    }

    /// Completes a task with what is known about it here.
    pub(super) fn known_task(&self, mut task: v1::TaskRun) -> v1::TaskRun {
        if self.0.inspected.is_some() {
            task.waiting = None;
        }
        task
    }

    /// Completes the explanation of an unfinished run with what is known about it here.
    pub(super) fn known_reason(&self, mut it: v1::ExplainRunResponse) -> v1::ExplainRunResponse {
        if let Some(inspected) = self.inspected_running(it.status) {
            it.tasks.iter_mut().for_each(|task| task.waiting = None);
            let since = it.waiting.take().and_then(|waiting| waiting.since);
            if self.0.journal.is_written() {
                it.waiting = Some(v1::Waiting {
                    reason: "it runs in another process, which alone knows what its tasks wait for".to_owned(),
                    since,
                    until: None,
                    remedy: format!("`gleitzeit watch {}` follows it", it.run_id),
                });
            } else {
                it.error = Some(convert::error(&inspected.interrupted()));
            }
        }
        it
    }
}
