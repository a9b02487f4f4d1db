//! Clients: they submit, cancel and retry runs, and repeat each request until it is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gleitzeit_run::command::CancelWorkflow;
use gleitzeit_run::event::{CancelCause, RequestKey, WorkflowSubmitted};
use gleitzeit_run::{Request, RunId, RunStatus, State, Verdict};
use gleitzeit_workflow::{Instant, Payload};
use serde_json::json;

use super::agenda::Time;
use super::checker::{Checker, Verified};
use super::plane::{Question, Work};
use super::{SimEvent, World, workload};

/// An action of a client.
#[derive(Clone, Debug)]
pub(crate) enum ClientAction {
    Submit,
    /// Ends some run.
    Cancel,
    /// Repeats a run that did not complete.
    Retry,
    /// Requests the removal of protocols that were unused for this many milliseconds.
    Prune(u64),
    /// Repeats a request that was not answered.
    Again(Question),
}

#[derive(Clone, Debug)]
enum Asked {
    Submit { key: RequestKey, submitted: Arc<WorkflowSubmitted> },
    Retry { key: RequestKey, old: Arc<State> },
    Cancel { run_id: RunId },
    Prune { unused_ms: u64 },
}

#[derive(Debug, Default)]
pub(crate) struct Clients {
    questions: BTreeMap<Question, Asked>,
    last: u64,
    /// Acknowledged submissions, by request id: these runs must exist.
    acknowledged: BTreeMap<String, RunId>,
    /// Acknowledged cancels: these runs must end cancelled.
    cancelled: BTreeSet<RunId>,
}

impl Clients {
    pub(crate) fn unanswered(&self) -> usize {
        self.questions.len()
    }

    /// Checks that all acknowledgements were honoured.
    pub(crate) fn check_promises(&self, checker: &Checker) -> Verified {
        for (request_id, run_id) in &self.acknowledged {
            if !checker.knows(*run_id) {
                return Err(format!("run {run_id} was acknowledged to {request_id} and is lost"));
            }
        }
        for run_id in &self.cancelled {
            let end = checker.end_of(*run_id);
            if end != Some(RunStatus::Cancelled) {
                return Err(format!("the cancel of {run_id} was acknowledged, but it ended {end:?}"));
            }
        }
        Ok(())
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

impl World {
    /// Plans the actions of all clients; returns when there will be work.
    pub(super) fn plan_actions(&mut self) -> Vec<Time> {
        let until = self.settings.faults_until;
        let busy: Vec<Time> = (0..self.chance.within(1..7)).map(|_| self.chance.within(0..until)).collect();
        for at in &busy {
            self.at(*at, SimEvent::Client(ClientAction::Submit));
        }
        for action in [ClientAction::Cancel, ClientAction::Retry] {
            for _ in 0..self.chance.within(0..3) {
                let at = self.chance.within(0..until + 5_000);
                self.at(at, SimEvent::Client(action.clone()));
            }
        }
        for _ in 0..self.chance.within(0..6) {
            let at = self.chance.within(0..until + 5_000);
            let unused_ms = [0, 1_000, 30_000][self.chance.index(3)];
            self.at(at, SimEvent::Client(ClientAction::Prune(unused_ms)));
        }
        busy
    }

    pub(super) fn act(&mut self, action: ClientAction) {
        let asked = match action {
            ClientAction::Again(question) => return self.ask(question),
            ClientAction::Submit => {
                let workflow = workload::workflow(&mut self.chance);
                let key = self.request_key();
                let submitted = WorkflowSubmitted {
                    workflow,
                    inputs: Payload::from_value(&json!({})),
                    files: Default::default(),
                    env: Default::default(),
                    labels: Default::default(),
                    correlation_id: "2".repeat(32),
                    traceparent: None,
                    retry_of: None,
                    request: Some(key.clone()),
                    prepared: Default::default(),
                };
                Asked::Submit { key, submitted: Arc::new(submitted) }
            }
            ClientAction::Retry => {
                let failed = self.store.finished.values().filter(|run| run.status != RunStatus::Completed);
                let failed: Vec<Arc<State>> = failed.cloned().collect();
                let Some(old) = self.chance.pick(&failed) else { return };
                Asked::Retry { key: self.request_key(), old }
            }
            ClientAction::Cancel => {
                let Some(run_id) = self.chance.pick(&self.checker.unfinished()) else { return };
                Asked::Cancel { run_id }
            }
            ClientAction::Prune(unused_ms) => Asked::Prune { unused_ms },
        };
        let question = self.clients.next();
        self.clients.questions.insert(question, asked);
        self.ask(question);
    }

    fn request_key(&mut self) -> RequestKey {
        let number = self.clients.next();
        RequestKey { request_id: format!("request-{number}"), body_hash: number.to_string() }
    }

    /// Sends a request; if there is no answer for a while, it is repeated with the same request id.
    fn ask(&mut self, question: Question) {
        let Some(asked) = self.clients.questions.get(&question).cloned() else { return };
        let again = self.chance.within(3_000..8_000);
        self.later(again, SimEvent::Client(ClientAction::Again(question)));
        let request = match asked {
            Asked::Submit { submitted, .. } => Request::Submit { run_id: self.new_run_id(), submitted, known: None },
            Asked::Retry { key, old } => Request::Retry {
                old,
                run_id: self.new_run_id(),
                all: false,
                correlation_id: "1".repeat(32),
                traceparent: None,
                request: Some(key),
                known: None,
            },
            Asked::Cancel { run_id } => {
                let reason = "a client wished it".to_owned();
                Request::Cancel { cancel: CancelWorkflow { run_id, cause: CancelCause::Requested, reason } }
            }
            Asked::Prune { unused_ms } => {
                let Some(plane) = &self.plane else { return };
                Request::PruneProtocols { unused_ms, served: plane.hub.served(Instant(self.agenda.now())) }
            }
        };
        let Some(plane) = &mut self.plane else { return };
        plane.to_writer.push_back(Work::Propose { question, request: Box::new(request) });
        self.wake_writer();
    }

    fn new_run_id(&mut self) -> RunId {
        let random = u128::from(self.chance.within(0..u64::MAX)) << 64 | u128::from(self.chance.within(0..u64::MAX));
        RunId(uuid::Uuid::from_u128(random))
    }

    pub(super) fn answered(&mut self, question: Question, verdict: &Verdict) -> Verified {
        let Some(asked) = self.clients.questions.remove(&question) else { return Ok(()) };
        let key = match &asked {
            Asked::Submit { key, .. } | Asked::Retry { key, .. } => key.request_id.clone(),
            Asked::Cancel { run_id } => {
                match verdict {
                    Verdict::Ok { .. } => drop(self.clients.cancelled.insert(*run_id)),
                    // The run has ended meanwhile, or its end was requested already.
                    Verdict::Invalid(_) | Verdict::Duplicate { .. } => {}
                    other => return Err(format!("a cancel was answered with {other:?}")),
                }
                return Ok(());
            }
            Asked::Prune { .. } => match verdict {
                Verdict::Ok { .. } | Verdict::Duplicate { .. } => return Ok(()),
                other => return Err(format!("a prune was answered with {other:?}")),
            },
        };
        let run_id = match verdict {
            // The first entry is the submission.
            Verdict::Ok { position } => {
                let entry = self.store.read(*position, 1).pop().and_then(|entry| entry.run_id);
                entry.ok_or_else(|| format!("{key} was acknowledged at {position}, where nothing is durable"))?
            }
            Verdict::Duplicate { run_id: Some(run_id) } => *run_id,
            other => return Err(format!("{key} was answered with {other:?}")),
        };
        self.clients.acknowledged.insert(key, run_id);
        Ok(())
    }

    /// Acknowledgements in a lost history are void; the remaining ones still hold.
    pub(super) fn clients_lose_history(&mut self) {
        let Self { clients, checker, store, .. } = self;
        clients.acknowledged.retain(|_, run_id| checker.knows(*run_id));
        clients.cancelled.retain(|run_id| checker.is_asked_to_end(*run_id));
        // A run that did not end cannot be repeated.
        clients.questions.retain(|_, asked| match asked {
            Asked::Retry { old, .. } => store.finished.contains_key(&old.run_id),
            Asked::Submit { .. } | Asked::Cancel { .. } | Asked::Prune { .. } => true,
        });
    }

    /// A client repeats its unanswered requests.
    pub(super) fn clients_lose_connection(&mut self) {
        let lost: Vec<Question> = self.clients.questions.keys().copied().collect();
        for question in lost {
            let after = self.chance.within(0..2_000);
            self.later(after, SimEvent::Client(ClientAction::Again(question)));
        }
    }
}
