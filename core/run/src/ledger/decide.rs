//! From a request to events. Decisions that need more than the state of one run are made here, the others by the run.

use std::sync::Arc;

use gleitzeit_workflow::contract;
use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::time::Timestamp;

use crate::command::{CancelWorkflow, Command, Fence};
use crate::event::{OwnershipGranted, ProtocolRegistered, RequestKey, TaskCompleted, WorkflowSubmitted};
use crate::id::{ComponentId, Epoch, RunId, Slice};
use crate::ledger::Ledger;
use crate::planted_bugs;
use crate::planted_bugs::Bug;
use crate::{Entry, Event, Refusal, Request, RunStatus, State, Verdict};

/// The maximum number of protocol versions: each start reads them all, and each resolver and engine receives them.
const MAX_PROTOCOLS: usize = 10_000;
/// The maximum size of their methods' schemas in total, in bytes.
const MAX_PROTOCOL_BYTES: usize = 64 * 1024 * 1024;

type Decided = Result<(Option<RunId>, Vec<Event>), Verdict>;

impl Ledger {
    pub(super) fn decide(&self, request: &Request, now: Timestamp) -> Decided {
        match request {
            Request::Submit { run_id, submitted, known } => {
                self.check_request(submitted.request.as_ref(), known.as_ref())?;
                self.check_new(*run_id)?;
                Ok((Some(*run_id), vec![Event::WorkflowSubmitted(submitted.clone())]))
            }
            Request::Retry { old, run_id, all, correlation_id, traceparent, request, known } => {
                self.check_request(request.as_ref(), known.as_ref())?;
                self.check_new(*run_id)?;
                let submitted = WorkflowSubmitted {
                    correlation_id: correlation_id.clone(),
                    traceparent: traceparent.clone(),
                    retry_of: Some(old.run_id),
                    request: request.clone(),
                    ..WorkflowSubmitted::clone(&old.submitted)
                };
                Ok((Some(*run_id), self.decide_retry(old, *run_id, *all, submitted, now)?))
            }
            Request::Cancel { cancel } => {
                let state = self.runs.get(&cancel.run_id).ok_or_else(|| not_running(cancel))?;
                let command = Command::CancelWorkflow(cancel.clone());
                let events = state.decide(&command, None, now, self.limits).map_err(verdict)?;
                Ok((Some(cancel.run_id), events))
            }
            Request::CancelSetAside { run_id, reason } => {
                Ok((Some(*run_id), vec![self.decide_cancel_set_aside(*run_id, reason)?]))
            }
            Request::Component { component_id, fence, command } => {
                self.decide_component(component_id, fence.as_ref(), command, now)
            }
            Request::HubStop { stop } => {
                let state = self.runs.get(&stop.at.run_id).ok_or(Verdict::Fenced)?;
                let command = Command::StopAttempt(stop.clone());
                let events = state.decide(&command, None, now, self.limits).map_err(verdict)?;
                Ok((Some(stop.at.run_id), events))
            }
            Request::Grant { slice, component_id } => self.decide_grant(slice, component_id),
            Request::RegisterProtocol { protocol } => self.decide_protocol(protocol),
            Request::ShipProtocol { protocol } => self.decide_shipped(protocol),
            Request::PruneProtocols { unused_ms, served } => match self.decide_prune(*unused_ms, served, now) {
                events if events.is_empty() => Err(Verdict::Duplicate { run_id: None }),
                events => Ok((None, events)),
            },
        }
    }

    fn decide_component(
        &self,
        component_id: &ComponentId,
        fence: Option<&Fence>,
        command: &Command,
        now: Timestamp,
    ) -> Decided {
        let run_id = command.run_id();
        // A run that is not in memory ended long ago or was never accepted, so the command is stale.
        let state = self.runs.get(&run_id).ok_or(Verdict::Fenced)?;
        let engine = self.authorize(state, component_id, fence, command)?;
        let events = state.decide(command, engine, now, self.limits).map_err(verdict)?;
        if let Command::DispatchTask(dispatch) = command {
            self.check_slot(&dispatch.engine)?;
        }
        Ok((Some(run_id), events))
    }

    fn check_slot(&self, engine: &ComponentId) -> Result<(), Verdict> {
        let slots = self.roster.get(engine).copied().unwrap_or(0);
        let free = usize::try_from(slots).is_ok_and(|slots| self.used_slots(engine) < slots);
        if !free && !planted_bugs::is(Bug::NoSlotCheck) {
            return Err(Verdict::NoSlot);
        }
        Ok(())
    }

    fn decide_grant(&self, slice: &Slice, component_id: &ComponentId) -> Decided {
        let epoch = match self.owners.get(slice) {
            Some((owner, _)) if owner == component_id => return Err(Verdict::Duplicate { run_id: None }),
            Some((_, epoch)) => epoch.next(),
            None => Epoch(1),
        };
        let (slice, component_id) = (slice.clone(), component_id.clone());
        Ok((None, vec![OwnershipGranted { slice, component_id, epoch }.into()]))
    }

    /// Checks for a known request id: with the same body the request is a duplicate, with another body it is an error.
    fn check_request(&self, request: Option<&RequestKey>, stored: Option<&(RunId, String)>) -> Result<(), Verdict> {
        let Some(request) = request else { return Ok(()) };
        let Some((run_id, hash)) = self.requests.get(&request.request_id).or(stored) else { return Ok(()) };
        if planted_bugs::is(Bug::NoRequestId) {
            return Ok(());
        }
        if *hash == request.body_hash {
            return Err(Verdict::Duplicate { run_id: Some(*run_id) });
        }
        Err(Verdict::Invalid(Failure::new(
            ErrorCode::InvalidRequest,
            format!("request id `{}` was used before with another body, for run {run_id}", request.request_id),
        )))
    }

    fn check_new(&self, run_id: RunId) -> Result<(), Verdict> {
        if self.runs.contains_key(&run_id) {
            let message = format!("run {run_id} exists already");
            return Err(Verdict::Invalid(Failure::new(ErrorCode::InvalidRequest, message)));
        }
        Ok(())
    }

    /// The events of a retry: the new run, a completed task for each result that is carried over, and the end if
    /// nothing is left to do.
    fn decide_retry(
        &self,
        old: &State,
        run_id: RunId,
        all: bool,
        submitted: WorkflowSubmitted,
        now: Timestamp,
    ) -> Result<Vec<Event>, Verdict> {
        if !matches!(old.status, RunStatus::Failed | RunStatus::Cancelled) {
            let status = if old.status == RunStatus::Running { "running" } else { "completed" };
            return Err(Verdict::Invalid(Failure::new(
                ErrorCode::WorkflowInvalidState,
                format!("run {} is {status}; only failed or cancelled runs can be retried", old.run_id),
            )));
        }
        let submitted = Arc::new(submitted);
        let mut events = vec![Event::WorkflowSubmitted(submitted.clone())];
        let mut state = State::new(run_id, submitted, now);
        for (at, task) in old.tasks.iter().enumerate() {
            let Some(result) = task.result().filter(|_| !all) else { continue };
            let event: Event = TaskCompleted {
                task_id: old.task(at).id.clone(),
                attempt: 0,
                result: result.clone(),
                ran_ms: 0,
                carried: true,
            }
            .into();
            let entry = Entry {
                position: self.position,
                run_id: Some(run_id),
                seq: state.seq.next(),
                recorded_at: now,
                queue: None,
                event,
            };
            // The entries follow a fresh state in which no task is final, so applying them cannot fail.
            if state.apply(&entry).is_ok() {
                events.push(entry.event);
            }
        }
        if state.unfinished() == 0 {
            events.push(state.completion(self.limits));
        }
        Ok(events)
    }

    /// A built-in protocol may differ from the one that another release recorded.
    fn decide_shipped(&self, protocol: &ProtocolRegistered) -> Decided {
        match self.protocols.get(&protocol.name, &protocol.version) {
            Some(known) if *known == protocol.methods => Err(Verdict::Duplicate { run_id: None }),
            Some(_) => Ok((None, vec![protocol.clone().into()])),
            None => self.decide_protocol(protocol),
        }
    }

    fn decide_protocol(&self, protocol: &ProtocolRegistered) -> Decided {
        let Some(known) = self.protocols.get(&protocol.name, &protocol.version) else {
            return self.check_room(protocol).map(|()| (None, vec![protocol.clone().into()])).map_err(Verdict::Invalid);
        };
        if *known == protocol.methods {
            return Err(Verdict::Duplicate { run_id: None });
        }
        let (known, new) = match (known.to_value(), protocol.methods.to_value()) {
            (Ok(known), Ok(new)) => (known, new),
            // If one of them cannot be read, they cannot be compared.
            (known, new) => {
                let problem = known.err().or(new.err()).map_or_else(String::new, |problem| problem.to_string());
                let name = format!("protocol `{}/{}`", protocol.name, protocol.version);
                return Err(Verdict::Invalid(Failure::new(
                    ErrorCode::ProtocolVersionMismatch,
                    format!("{name} is registered and cannot be compared: {problem}; give the new one a new version"),
                )));
            }
        };
        let differences = contract::differences(&known, &new);
        if differences.is_empty() {
            return Err(Verdict::Duplicate { run_id: None });
        }
        Err(Verdict::Invalid(Failure::new(
            ErrorCode::ProtocolVersionMismatch,
            format!(
                "protocol `{}/{}` is registered with other schemas ({}); give the changed one a new version",
                protocol.name,
                protocol.version,
                differences.join(", ")
            ),
        )))
    }
}

impl Ledger {
    /// Checks that there is room for another protocol: every start reads all of them, and each is kept until it has
    /// been unused for long.
    fn check_room(&self, protocol: &ProtocolRegistered) -> Result<(), Failure> {
        let full = |what: String| {
            let ProtocolRegistered { name, version, .. } = protocol;
            Failure::new(
                ErrorCode::ResourceExhausted,
                format!(
                    "there is no room for protocol `{name}/{version}`: {what}; `gleitzeit prune` removes those that nobody \
                     serves, needs or has used for as long as runs are kept (--retention), or for --older-than"
                ),
            )
        };
        if self.protocols.len() >= MAX_PROTOCOLS {
            return Err(full(format!(
                "a journal has at most {MAX_PROTOCOLS} protocol versions, one for each method without a schema included"
            )));
        }
        if self.protocols.bytes() + protocol.methods.size_bytes() > MAX_PROTOCOL_BYTES {
            return Err(full(format!("a journal has at most {MAX_PROTOCOL_BYTES} bytes of schemas")));
        }
        Ok(())
    }
}

fn not_running(cancel: &CancelWorkflow) -> Verdict {
    let message = format!("run {} has already ended", cancel.run_id);
    Verdict::Invalid(Failure::new(ErrorCode::WorkflowInvalidState, message))
}

fn verdict(refusal: Refusal) -> Verdict {
    match refusal {
        Refusal::Duplicate => Verdict::Duplicate { run_id: None },
        Refusal::Fenced => Verdict::Fenced,
        Refusal::Invalid(failure) => Verdict::Invalid(failure),
    }
}
