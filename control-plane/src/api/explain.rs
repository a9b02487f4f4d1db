//! Explains why a run has not ended.

use gleitzeit_proto::{convert, status, v1};
use gleitzeit_run as run;
use gleitzeit_run::Owed;
use gleitzeit_workflow::suggest::closest;
use gleitzeit_workflow::{ErrorCode, Failure};
use tonic::Status;

use crate::api::{State, run_id};

/// The most tasks that one answer explains.
const MAX_TASKS: usize = 100;

impl State {
    pub(super) async fn explain(&self, request: v1::ExplainRunRequest) -> Result<v1::ExplainRunResponse, Status> {
        let run = self.find(run_id(&request.run_id)?).await?;
        let present = self.present(&run).await?;
        let tasks: Vec<usize> = match request.task_id.as_str() {
            "" => run.blockers().collect(),
            id => {
                let at = run.index_of(id).ok_or_else(|| no_such_task(&run, id))?;
                [vec![at], run.blockers_of(at)].concat()
            }
        };
        let dependent = run.outstanding().filter(|(_, owed)| *owed == Owed::Dependencies).count();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(self.known_reason(v1::ExplainRunResponse {
            run_id: run.run_id.to_string(),
            name: run.workflow().name.clone(),
            status: convert::run_status(run.status).into(),
            waiting: run.run_waiting().as_ref().map(convert::waiting),
            error: run.error.as_ref().map(convert::error),
            tasks: tasks.iter().take(MAX_TASKS).map(|&at| convert::explained(&run, at, &present)).collect(),
            more_tasks: number(tasks.len().saturating_sub(MAX_TASKS)),
            dependent_tasks: number(dependent),
        }))
    }
}

fn no_such_task(run: &run::State, id: &str) -> Status {
    let ids = run.workflow().tasks.iter().map(|task| task.id.as_str());
    let meant = closest(id, ids).map_or_else(String::new, |id| format!("; did you mean `{id}`?"));
    let shown: String = id.chars().take(100).collect();
    let message = format!("run {} has no task `{shown}`{meant}", run.run_id);
    status::to_status(&Failure::new(ErrorCode::TaskNotFound, message))
}
