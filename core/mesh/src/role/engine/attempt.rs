//! One attempt from taking it to its end.

use std::collections::BTreeSet;

use gleitzeit_run::Command;
use gleitzeit_run::command::{CompleteAttempt, FailAttempt, StartAttempt, StopAttempt};
use gleitzeit_run::event::StopReason;
use gleitzeit_run::id::{AttemptRef, ComponentId};
use gleitzeit_run::ledger::Assignment;
use gleitzeit_run::planted_bugs::{self, Bug};
use gleitzeit_run::route::Route;
use gleitzeit_run::trace;
use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::time::Instant;

use super::{DEFAULT_TIMEOUT_MS, Engine, Output, RESTATED_MS, START_AFTER_MS, Stage, Timer, Work, send};
use crate::frames::frames;
use crate::id::CallId;
use crate::role::{self, earliest};
use crate::wire::{
    CallMeta, CancelMethod, ExecuteMethod, HealthState, MethodCall, MethodOutcome, ProposalResult, ProposalVerdict,
    TaskTaken, ToHub,
};

/// How many providers' reasons an error contains; each reason is cut as well.
const MAX_REASONS: usize = 10;
const MAX_REASON_CHARS: usize = 500;

/// The reasons of providers of which none can serve a call.
#[derive(Default)]
struct Unhealthy {
    /// Name and reason of each.
    reasons: BTreeSet<(String, String)>,
    /// Whether one of them says that waiting does not help.
    lasting: bool,
    /// Whether another one has been healthy before, so that it may be healthy again.
    hopeful: bool,
}

enum Choice {
    Providers(Vec<ComponentId>),
    /// A provider does not know yet whether it can serve the call.
    Wait,
    Unhealthy(Unhealthy),
    Nobody,
}

impl Engine {
    pub(super) fn take(&mut self, now: Instant, assignment: Assignment, out: &mut Vec<Output>) {
        let at = assignment.at.clone();
        self.past.see(assignment.dispatched);
        self.taken.push(at.clone());
        if self.work.contains_key(&at) || self.reported.contains(&at) {
            return;
        }
        if self.drain.is_some() && self.is_known() {
            return self.stop(&at, StopReason::Drain);
        }
        let work = Work {
            limit_ms: assignment.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS),
            run_ends: assignment.run_remaining_ms.map(|left_ms| now.plus_ms(left_ms)),
            began: None,
            answered: None,
            is_started: false,
            stage: Stage::Preparing,
            assignment: assignment.clone(),
        };
        self.timers.extend(work.timers(&at));
        self.work.insert(at, work);
        out.push(Output::Prepare { assignment });
    }

    pub(super) fn on_prepared(
        &mut self,
        now: Instant,
        at: &AttemptRef,
        result: Result<(Payload, Option<u64>), Failure>,
    ) {
        let Some(work) = self.work.get_mut(at).filter(|work| work.stage == Stage::Preparing) else { return };
        match result {
            Ok((parameters, timeout_ms)) => {
                // The task's limit, else the method's, else the default.
                work.limit_ms = work.assignment.timeout_ms.or(timeout_ms).unwrap_or(DEFAULT_TIMEOUT_MS);
                work.stage = Stage::Prepared(parameters);
                self.prepared.insert(at.clone());
            }
            Err(error) => self.fail(now, at, error, false, None),
        }
    }

    pub(super) fn on_checked(&mut self, now: Instant, at: &AttemptRef, result: Result<Payload, Failure>) {
        let Some(work) = self.work.get(at).filter(|work| work.stage == Stage::Checking) else { return };
        let ran_ms = work.ran_ms(now);
        match result {
            Ok(result) => {
                self.forget(at);
                self.report(CompleteAttempt { at: at.clone(), result, ran_ms }.into());
            }
            Err(error) => self.fail(now, at, error, false, None),
        }
    }

    pub(super) fn call_ended(&mut self, now: Instant, id: &CallId, outcome: MethodOutcome, out: &mut Vec<Output>) {
        let Some((engine, at)) = id.parse() else { return };
        if engine != self.identity.component_id {
            return;
        }
        if self.work.get(&at).is_none_or(|work| work.stage != Stage::Calling) {
            return;
        }
        // The provider answered in time, however long the check of the answer takes.
        self.set_time(&at, |work| work.answered = Some(now));
        let Some(work) = self.work.get_mut(&at) else { return };
        match outcome.bounded(self.config.max_payload_bytes) {
            MethodOutcome::Result(result) => {
                work.stage = Stage::Checking;
                let method = work.assignment.method.clone();
                let protocol_version = work.assignment.protocol_version.clone();
                out.push(Output::CheckResult { at, method, protocol_version, result });
            }
            MethodOutcome::Error(error) => {
                let advice = error.advice();
                // The call is over: nothing is left to cancel.
                work.stage = Stage::Checking;
                if advice.lost {
                    self.stop(&at, StopReason::ProviderLost);
                } else {
                    let retryable = advice.is_retryable(&error);
                    self.fail(now, &at, error, retryable, advice.retry_after_ms);
                }
            }
        }
    }

    /// The hub reports that a call waits for a provider, or when one began to work on it.
    pub(super) fn call_turned(&mut self, id: &CallId, began: Option<Instant>) {
        let Some((_, at)) = id.parse().filter(|(engine, _)| *engine == self.identity.component_id) else { return };
        let Some(work) = self.work.get(&at).filter(|work| work.stage == Stage::Calling) else { return };
        // A repeated message does not restart the time.
        let is_news = match began {
            None => !planted_bugs::is(Bug::TimeInLine),
            Some(now) => work.began.is_none_or(|began| began > now),
        };
        if is_news {
            self.set_time(&at, |work| work.began = began);
        }
    }

    /// A new connection: its hub names the calls that wait. The time of the others continues, so that each of them
    /// ends.
    pub(super) fn resume_time(&mut self, now: Instant) {
        let waiting = self.work.iter().filter(|(_, work)| work.stage == Stage::Calling && work.began.is_none());
        let waiting: Vec<AttemptRef> = waiting.map(|(at, _)| at.clone()).collect();
        for at in waiting {
            self.set_time(&at, |work| work.began = Some(now.plus_ms(RESTATED_MS)));
        }
    }

    fn set_time(&mut self, at: &AttemptRef, set: impl FnOnce(&mut Work)) {
        let Some(work) = self.work.get_mut(at) else { return };
        for timer in work.timers(at) {
            self.timers.remove(&timer);
        }
        set(work);
        self.timers.extend(work.timers(at));
    }

    pub(super) fn fail(
        &mut self,
        now: Instant,
        at: &AttemptRef,
        error: Failure,
        retryable: bool,
        retry_after_ms: Option<u64>,
    ) {
        let ran_ms = self.work.get(at).map_or(0, |work| work.ran_ms(now));
        self.forget(at);
        let error = error.bounded();
        self.report(FailAttempt { at: at.clone(), error, retryable, retry_after_ms, ran_ms }.into());
    }

    /// The hub answered a report.
    pub(super) fn answered(&mut self, now: Instant, result: ProposalResult, out: &mut Vec<Output>) {
        self.past.see(result.position.unwrap_or_default());
        let Some((_, item)) = self.outbox.settle(now, &result.proposal_id) else { return };
        let Some(at) = item.command.ended_attempt() else { return };
        self.reported.remove(at);
        if result.verdict == ProposalVerdict::Fenced {
            let warning = !matches!(item.command, Command::StopAttempt(_));
            let message = "a report is ignored: the attempt was ended without this engine";
            let detail = format!("{} of {at}", item.command.kind());
            out.push(Output::Hub(role::Output::Log { warning, message, detail }));
        }
        if result.verdict != ProposalVerdict::Invalid {
            return;
        }
        let error = result.error.unwrap_or_else(|| Failure::new(ErrorCode::InternalError, "no reason was given"));
        let detail = format!("{} of {at}: {error}", item.command.kind());
        out.push(Output::Hub(role::Output::Log { warning: true, message: "report refused as invalid", detail }));
        // The attempt is still open in the journal, and no other component can end it.
        if let Command::CompleteAttempt(complete) = item.command {
            let ran_ms = complete.ran_ms;
            self.report(FailAttempt { at: complete.at, error, retryable: false, retry_after_ms: None, ran_ms }.into());
        }
    }

    /// Ends an attempt without a statement about the work; an unknown one too, because the hub waits for it.
    pub(super) fn stop(&mut self, at: &AttemptRef, reason: StopReason) {
        self.forget(at);
        if !self.reported.contains(at) {
            self.report(StopAttempt { at: at.clone(), reason }.into());
        }
    }

    pub(super) fn report(&mut self, command: Command) {
        self.reported.extend(command.ended_attempt().cloned());
        self.outbox.push(None, command);
    }

    /// Takes an attempt off the table; its call is no longer wanted.
    pub(super) fn forget(&mut self, at: &AttemptRef) {
        let Some(work) = self.work.remove(at) else { return };
        for timer in work.timers(at) {
            self.timers.remove(&timer);
        }
        self.prepared.remove(at);
        if work.stage == Stage::Calling {
            self.cancels.push(CallId::new(&self.identity.component_id, at));
        }
    }

    pub(super) fn run_timers(&mut self, now: Instant) {
        if self.settled_at.is_some_and(|at| at <= now) {
            self.settled_at = None;
            self.providers.retain(|_, (_, named)| *named);
            self.proven.retain(|id| self.providers.contains_key(id));
        }
        if self.down_since.is_some_and(|since| since.plus_ms(self.config.max_disconnected_ms) <= now) {
            let all: Vec<AttemptRef> = self.work.keys().cloned().collect();
            all.iter().for_each(|at| self.stop(at, StopReason::ProviderLost));
        }
        while let Some((_, at, timer)) = self.timers.first().cloned().filter(|(due, _, _)| *due <= now) {
            self.timers.pop_first();
            let Some(work) = self.work.get_mut(&at) else { continue };
            let ran_ms = work.ran_ms(now);
            match timer {
                Timer::Start => {
                    work.is_started = true;
                    self.report(StartAttempt { at, ran_ms }.into());
                }
                Timer::Timeout => {
                    let (code, message) = if work.is_out_of_time(now) {
                        let limit_ms = work.limit_ms;
                        (ErrorCode::TaskTimeout, format!("the attempt ran longer than its timeout of {limit_ms} ms"))
                    } else {
                        let message = match work.began {
                            Some(_) => format!("the run timed out after the attempt had run for {ran_ms} ms"),
                            None => "the run timed out before a provider worked on the attempt".to_owned(),
                        };
                        (ErrorCode::WorkflowTimeout, message)
                    };
                    self.fail(now, &at, Failure::new(code, message), code.is_retryable(), None);
                }
            }
        }
    }

    /// Makes the calls of attempts that are valid; without a hub, or before it has named the providers, they wait.
    pub(super) fn name_providers(&mut self, now: Instant) {
        if !self.link.is_up() {
            return;
        }
        for at in std::mem::take(&mut self.prepared) {
            let Some(work) = self.work.get(&at) else { continue };
            let route = work.assignment.route();
            match self.choose(&route) {
                Choice::Providers(providers) => {
                    self.set_time(&at, |work| work.began = Some(now));
                    let Some(work) = self.work.get_mut(&at) else { continue };
                    let Stage::Prepared(params) = std::mem::replace(&mut work.stage, Stage::Calling) else { continue };
                    self.calls.push(MethodCall {
                        jsonrpc: "2.0".to_owned(),
                        id: CallId::new(&self.identity.component_id, &at),
                        method: route.method,
                        params,
                        meta: meta(work, now),
                        providers,
                        priority: work.assignment.priority,
                    });
                }
                Choice::Unhealthy(_) | Choice::Nobody if self.settled_at.is_some() => {
                    self.prepared.insert(at);
                }
                Choice::Wait => {
                    self.prepared.insert(at);
                }
                Choice::Unhealthy(found) => {
                    let mut error = unhealthy(&route, &found.reasons);
                    let retryable = found.hopeful || !found.lasting;
                    if !retryable {
                        // The code's default in the table says otherwise.
                        error = error.with_data(Payload::from_value(&serde_json::json!({"retryable": false})));
                    }
                    self.fail(now, &at, error, retryable, None);
                }
                Choice::Nobody => self.stop(&at, StopReason::NoProvider),
            }
        }
    }

    fn choose(&self, route: &Route) -> Choice {
        let (mut healthy, mut starting, mut found) = (Vec::new(), false, Unhealthy::default());
        for (id, (status, _)) in &self.providers {
            if status.capacity == 0 || !status.methods.contains(&route.method) || !route.admits(&status.name) {
                continue;
            }
            match status.health.state {
                HealthState::Healthy | HealthState::Slow => healthy.push(id.clone()),
                HealthState::Starting => starting = true,
                HealthState::Unhealthy => {
                    let name = if status.name.is_empty() { id.as_str() } else { &status.name };
                    let reason = status.health.reason.as_deref().unwrap_or("no reason was given");
                    found.reasons.insert((name.to_owned(), reason.chars().take(MAX_REASON_CHARS).collect()));
                    match status.health.lasting {
                        true => found.lasting = true,
                        false => found.hopeful |= self.proven.contains(id),
                    }
                }
            }
        }
        if !healthy.is_empty() {
            Choice::Providers(healthy)
        } else if starting {
            Choice::Wait
        } else if found.reasons.is_empty() {
            Choice::Nobody
        } else {
            Choice::Unhealthy(found)
        }
    }
}

/// Says of each provider why it cannot; those that say the same under the same name count once.
fn unhealthy(route: &Route, reasons: &BTreeSet<(String, String)>) -> Failure {
    let shown: Vec<String> =
        reasons.iter().take(MAX_REASONS).map(|(name, reason)| format!("{name}: {reason}")).collect();
    let more = match reasons.len().saturating_sub(MAX_REASONS) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let message = format!("all providers of {route} are unhealthy: {}{more}", shown.join("; "));
    Failure::new(ErrorCode::ProviderUnhealthy, message)
}

impl Work {
    /// When its own time is up, if a provider works on it.
    fn own_end(&self) -> Option<Instant> {
        let began = self.began.filter(|_| self.answered.is_none())?;
        Some(began.plus_ms(self.limit_ms))
    }

    /// Whether its own time is up, and the run's was not before.
    fn is_out_of_time(&self, now: Instant) -> bool {
        self.own_end().is_some_and(|end| end <= now && self.run_ends.is_none_or(|run| end <= run))
    }

    /// How long a provider has worked on it.
    fn ran_ms(&self, now: Instant) -> u64 {
        self.began.map_or(0, |began| self.answered.unwrap_or(now).ms_since(began))
    }

    /// The deadlines of an attempt.
    fn timers(&self, at: &AttemptRef) -> impl Iterator<Item = (Instant, AttemptRef, Timer)> {
        let start = self.began.filter(|_| !self.is_started).map(|began| (began.plus_ms(START_AFTER_MS), Timer::Start));
        let timeout = earliest([self.own_end(), self.run_ends]).map(|end| (end, Timer::Timeout));
        [start, timeout].into_iter().flatten().map(|(due, timer)| (due, at.clone(), timer))
    }
}

fn meta(work: &Work, now: Instant) -> CallMeta {
    let Assignment { at, correlation_id, traceparent, .. } = &work.assignment;
    CallMeta {
        run_id: at.run_id,
        task_id: at.task_id.clone(),
        attempt: at.attempt,
        correlation_id: correlation_id.clone(),
        traceparent: trace::traceparent(at, correlation_id, traceparent.as_deref()),
        timeout_ms: work.limit_ms.min(work.run_ends.map_or(u64::MAX, |end| end.ms_since(now))),
    }
}

pub(super) fn send_all(taken: Vec<AttemptRef>, calls: Vec<MethodCall>, cancels: Vec<CallId>, out: &mut Vec<Output>) {
    if !taken.is_empty() {
        send(out, ToHub::TaskTaken(TaskTaken { attempts: taken }));
    }
    for calls in frames(calls, |call| call.params.size_bytes()) {
        send(out, ToHub::ExecuteMethod(ExecuteMethod { calls }));
    }
    for id in cancels {
        send(out, ToHub::CancelMethod(CancelMethod { id }));
    }
}
