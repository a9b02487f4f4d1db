//! What can be told of runs in a store that is only looked at: their entries, and whether anybody works on them. Nobody
//! knows here what they wait for.

use std::path::PathBuf;
use std::sync::Arc;

use gleitzeit_proto::{convert, v1};
use gleitzeit_workflow::{ErrorCode, Failure};
use tokio_util::sync::CancellationToken;

use crate::api::State;
use crate::config::Config;
use crate::hub::HubHandle;
use crate::journal::{Journal, Look};

/// Whose a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `gleitzeit run` made it for a run of its own.
    Run,
    /// A control plane's, which served it before.
    ControlPlane,
}

/// Which store is looked at.
#[derive(Clone, Debug)]
pub(crate) struct Looked {
    pub(crate) store: PathBuf,
    pub(crate) kind: Kind,
}

impl Looked {
    /// Why a run that has not ended does not go on, and how it would.
    pub(crate) fn interrupted(&self) -> Failure {
        let store = self.store.display();
        let message = match self.kind {
            Kind::Run => format!(
                "the process of this run is gone, and the run has not ended; \
                 `gleitzeit start --store sqlite:{store}` goes on with it"
            ),
            Kind::ControlPlane => format!(
                "no control plane works on the store `{store}` now, and the run has not ended; \
                 `gleitzeit start` goes on with it"
            ),
        };
        Failure::new(ErrorCode::WorkflowInterrupted, message)
    }
}

impl State {
    /// What answers for the runs of a store that is looked at.
    pub(crate) fn looked_at(config: &Config, look: Look, of: Looked) -> Self {
        let journal = Journal::looked_at(look);
        let inner = Self::inner(config, journal, HubHandle::none(), CancellationToken::new());
        Self(Arc::new(super::Inner { looked: Some(of), ..inner }))
    }

    /// The store that is looked at, if the runs of this one have not ended in it.
    fn looked_at_running(&self, status: i32) -> Option<&Looked> {
        self.0.looked.as_ref().filter(|_| status == i32::from(v1::RunStatus::Running))
    }

    /// A run, as far as it is known.
    pub(super) fn known_run(&self, mut run: v1::Run) -> v1::Run {
        if let Some(looked) = self.looked_at_running(run.status) {
            run.tasks.iter_mut().for_each(|task| task.waiting = None);
            if !self.0.journal.is_written() {
                run.error = Some(convert::error(&looked.interrupted()));
            }
        }
        run
    }

    /// A task, as far as it is known.
    pub(super) fn known_task(&self, mut task: v1::TaskRun) -> v1::TaskRun {
        if self.0.looked.is_some() {
            task.waiting = None;
        }
        task
    }

    /// Why a run has not ended, as far as it is known.
    pub(super) fn known_reason(&self, mut it: v1::ExplainRunResponse) -> v1::ExplainRunResponse {
        if let Some(looked) = self.looked_at_running(it.status) {
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
                it.error = Some(convert::error(&looked.interrupted()));
            }
        }
        it
    }
}
