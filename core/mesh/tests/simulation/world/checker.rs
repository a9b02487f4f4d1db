//! The checker: a second, simpler implementation of the rules. It sees which entries became durable and what caused
//! them, and trusts nothing else.

use std::collections::{BTreeMap, BTreeSet};

use gleitzeit_run::event::CancelCause;
use gleitzeit_run::ledger::Ledger;
use gleitzeit_run::{
    AttemptRef, ComponentId, Entry, Epoch, Event, Limits, Position, ProtocolUse, Request, RunId, RunStatus, Seq, Slice,
};
use gleitzeit_workflow::spec::Workflow;
use gleitzeit_workflow::{ProtocolName, TaskId, Timestamp};

use super::plane::{Caused, Store, tag};
use super::spans::Traces;
use super::workload;
use tasks::{Stage, Task, TaskEntry};

/// The error names the broken rule and how it was broken.
pub(crate) type Verified<T = ()> = Result<T, String>;

macro_rules! rule {
    ($holds:expr, $($text:tt)*) => {
        if !$holds {
            return Err(format!($($text)*));
        }
    };
}

mod tasks;

#[derive(Clone, Debug)]
struct Run {
    seq: Seq,
    tasks: BTreeMap<TaskId, Task>,
    cancel: Option<CancelCause>,
    end: Option<RunStatus>,
    /// The protocols that its tasks name.
    needs: BTreeSet<ProtocolName>,
}

#[derive(Debug, Default)]
pub(crate) struct Checker {
    /// All entries that the checker was given and that are not lost.
    log: Vec<Caused>,
    /// How often the last entries were lost, and for each entry the value of that count when it became durable.
    losses: u64,
    born: Vec<u64>,
    /// Each with when it was registered.
    protocols: BTreeMap<ProtocolName, Timestamp>,
    runs: BTreeMap<RunId, Run>,
    owners: BTreeMap<Slice, (ComponentId, Epoch)>,
    used: BTreeMap<ComponentId, u32>,
    position: Position,
    recorded_at: Timestamp,
    request_ids: BTreeSet<String>,
    /// The journal, replayed entry by entry as it became durable.
    replayed: Ledger,
    traces: Traces,
}

impl Checker {
    pub(crate) fn new() -> Self {
        Self { replayed: Ledger::new(Limits::default()), ..Self::default() }
    }

    /// Entries became durable.
    pub(crate) fn durable(&mut self, caused: &[Caused]) -> Verified {
        for it in caused {
            self.entry(it)
                .map_err(|broken| format!("{broken}\n  entry: {:?}\n  asked by: {:?}", it.entry, it.request))?;
            self.replayed.apply(&it.entry).map_err(|error| format!("it cannot be replayed: {error}"))?;
            self.traces.take(&it.entry)?;
        }
        self.log.extend(caused.iter().cloned());
        for run_id in caused.iter().filter_map(|it| it.entry.run_id) {
            let Some(run) = self.runs.get(&run_id) else { continue };
            let are_final = run.tasks.values().all(Task::is_final);
            rule!(are_final == run.end.is_some(), "run {run_id} is {:?} with tasks {:?}", run.end, run.tasks);
            if are_final {
                self.replayed.evict(run_id);
            }
        }
        Ok(())
    }

    /// The store has lost everything after an entry: the remaining entries define what is true.
    pub(crate) fn lose(&mut self, after: Position) -> Verified {
        let kept = usize::try_from(after.0).unwrap_or(usize::MAX);
        let mut log = std::mem::take(&mut self.log);
        log.truncate(kept);
        self.born.truncate(kept);
        *self = Self { losses: self.losses + 1, born: std::mem::take(&mut self.born), ..Self::new() };
        self.durable(&log)
    }

    /// Checks that the live state equals the replayed one. May only be called when every decision is durable.
    pub(crate) fn live_equals_replayed(&self, live: &Ledger, touched: &BTreeSet<RunId>) -> Verified {
        for run_id in touched {
            let (live, replayed) = (live.run(*run_id), self.replayed.run(*run_id));
            rule!(
                live == replayed,
                "live state and replayed journal differ\n  live: {live:?}\n  replayed: {replayed:?}"
            );
        }
        self.open_and_owners(live)
    }

    fn open_and_owners(&self, live: &Ledger) -> Verified {
        let replayed = &self.replayed;
        rule!(live.open_attempts().eq(replayed.open_attempts()), "open attempts differ from the replayed ones");
        rule!(live.owners().eq(replayed.owners()), "owners differ from the replayed ones");
        rule!(live.protocols().eq(replayed.protocols()), "protocols differ from the replayed ones");
        rule!(live.position() == replayed.position(), "positions differ: {} {}", live.position(), replayed.position());
        for (engine, used) in &self.used {
            let counted = live.used_slots(engine);
            rule!(usize::try_from(*used) == Ok(counted), "{engine} has {used} open attempts, but {counted} used slots");
        }
        Ok(())
    }

    /// A control plane started: checks that it knows everything unfinished, and nothing else.
    pub(crate) fn restarted(&self, live: &Ledger, store: &Store) -> Verified {
        rule!(store.position() == self.position, "the store ends at {}, not {}", store.position(), self.position);
        rule!(live.runs().eq(self.replayed.runs()), "a restarted control plane knows other runs");
        self.open_and_owners(live)
    }

    pub(crate) fn knows(&self, run_id: RunId) -> bool {
        self.runs.contains_key(&run_id)
    }

    pub(crate) fn end_of(&self, run_id: RunId) -> Option<RunStatus> {
        self.runs.get(&run_id)?.end
    }

    /// Whether the end of a run was requested.
    pub(crate) fn is_asked_to_end(&self, run_id: RunId) -> bool {
        self.runs.get(&run_id).is_some_and(|run| run.cancel == Some(CancelCause::Requested))
    }

    pub(crate) fn unfinished(&self) -> Vec<RunId> {
        self.runs.iter().filter(|(_, run)| run.end.is_none()).map(|(id, _)| *id).collect()
    }

    /// Whether an attempt is open.
    pub(crate) fn is_open(&self, at: &AttemptRef) -> bool {
        let task = self.runs.get(&at.run_id).and_then(|run| run.tasks.get(&at.task_id));
        task.is_some_and(|task| task.stage == Stage::Open && task.attempt == at.attempt)
    }

    /// Checks that a provider of this name may be given the call.
    pub(crate) fn was_given(&self, at: &AttemptRef, name: &str) -> Verified {
        let task = self.runs.get(&at.run_id).and_then(|run| run.tasks.get(&at.task_id));
        let wanted = task.and_then(|task| task.provider.as_ref());
        rule!(
            wanted.is_none_or(|wanted| wanted.as_str() == name),
            "{at} was given to a provider named `{name}`, and its task names {wanted:?}"
        );
        Ok(())
    }

    fn entry(&mut self, caused: &Caused) -> Verified {
        let Caused { entry, request, slots } = caused;
        rule!(entry.position == self.position.next(), "position {} follows {}", entry.position, self.position);
        rule!(entry.recorded_at >= self.recorded_at, "the journal's clock went back");
        (self.position, self.recorded_at) = (entry.position, entry.recorded_at);
        let at = usize::try_from(entry.position.0 - 1).unwrap_or(usize::MAX);
        // An entry that is sent again after a loss keeps its age.
        if at == self.born.len() {
            self.born.push(self.losses);
        }
        let tag = tag(entry.position, self.born[at]);
        self.authority(request)?;
        let Some(run_id) = entry.run_id else {
            if let Event::OwnershipGranted(granted) = &entry.event {
                let before = self.owners.get(&granted.slice).map_or(Epoch(0), |(_, epoch)| *epoch);
                rule!(granted.epoch > before, "epoch {} of {} follows {before}", granted.epoch, granted.slice);
                self.owners.insert(granted.slice.clone(), (granted.component_id.clone(), granted.epoch));
            }
            return self.protocol_event(entry, request);
        };
        if let Event::WorkflowSubmitted(submitted) = &entry.event {
            rule!(!self.runs.contains_key(&run_id), "run {run_id} was submitted twice");
            if let Some(key) = &submitted.request {
                rule!(self.request_ids.insert(key.request_id.clone()), "request id {} made two runs", key.request_id);
            }
            self.runs.insert(run_id, run(&submitted.workflow, entry.seq));
            return Ok(());
        }
        let Some(run) = self.runs.get_mut(&run_id) else { return Err(format!("run {run_id} was never submitted")) };
        rule!(entry.seq == run.seq.next(), "seq {} follows {}", entry.seq, run.seq);
        rule!(run.end.is_none(), "run {run_id} had ended");
        run.seq = entry.seq;
        if let Some(task_id) = entry.event.task_id() {
            let entry = TaskEntry { task_id, entry, request, slots: *slots, tag: &tag };
            return tasks::check(run, &entry, &mut self.used);
        }
        run_event(run, &entry.event)
    }

    /// Checks that a protocol in use is not removed.
    fn protocol_event(&mut self, entry: &Entry, request: &Request) -> Verified {
        match &entry.event {
            Event::ProtocolRegistered(event) => {
                self.protocols.insert(ProtocolName::new(&event.name, &event.version), entry.recorded_at);
            }
            Event::ProtocolRemoved(event) => {
                let name = ProtocolName::new(&event.name, &event.version);
                let Some(registered) = self.protocols.remove(&name) else {
                    return Err(format!("`{name}` was removed and not registered"));
                };
                let Request::PruneProtocols { unused_ms, served } = request else {
                    return Err(format!("nobody asked that `{name}` is removed"));
                };
                let is_in_use = |it: &ProtocolUse| it.protocol == name && (it.ago_ms == 0 || it.ago_ms < *unused_ms);
                let is_old = entry.recorded_at.ms_since(registered) >= *unused_ms;
                rule!(is_old && !served.iter().any(is_in_use), "`{name}` was removed and is in use");
                let mut unfinished = self.runs.iter().filter(|(_, run)| run.end.is_none());
                if let Some((run_id, _)) = unfinished.find(|(_, run)| run.needs.contains(&name)) {
                    return Err(format!("`{name}` was removed and run {run_id} needs it"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Checks that only a current owner is accepted.
    fn authority(&self, request: &Request) -> Verified {
        let Request::Component { component_id, fence: Some(fence), .. } = request else { return Ok(()) };
        // A grant in the same batch counts too: entries come in the order of their positions.
        let owner = self.owners.get(&fence.slice);
        let is_current = owner.is_some_and(|(owner, epoch)| owner == component_id && *epoch == fence.epoch);
        rule!(
            is_current,
            "{component_id} was heard with epoch {} for {}, owned by {owner:?}",
            fence.epoch,
            fence.slice
        );
        Ok(())
    }
}

fn run(workflow: &Workflow, seq: Seq) -> Run {
    let results = workload::results(workflow);
    let task = |it: &gleitzeit_workflow::spec::Task| {
        let result = results.get(&it.id).cloned().unwrap_or_default();
        (it.id.clone(), Task::new(it, result))
    };
    let tasks = workflow.tasks.iter().map(task).collect();
    let protocol = |task: &gleitzeit_workflow::spec::Task| {
        let name = task.method.as_str().split('/').next().unwrap_or_default();
        ProtocolName::new(name, &task.protocol_version)
    };
    Run { seq, tasks, cancel: None, end: None, needs: workflow.tasks.iter().map(protocol).collect() }
}

fn run_event(run: &mut Run, event: &Event) -> Verified {
    let all = |stage: Stage| run.tasks.values().all(|task| task.stage == stage);
    let any = |stage: Stage| run.tasks.values().any(|task| task.stage == stage);
    let are_final = run.tasks.values().all(Task::is_final);
    let by_time = run.cancel == Some(CancelCause::Timeout);
    run.end = match event {
        Event::WorkflowCancelRequested(event) => {
            rule!(run.cancel.is_none(), "it was asked to end before");
            run.cancel = Some(event.cause);
            return Ok(());
        }
        Event::WorkflowCompleted(_) => {
            rule!(all(Stage::Completed), "it completed without all its tasks");
            Some(RunStatus::Completed)
        }
        Event::WorkflowFailed(_) => {
            rule!(are_final && (any(Stage::Failed) || by_time), "it failed without a failed task");
            Some(RunStatus::Failed)
        }
        Event::WorkflowCancelled(_) => {
            rule!(are_final && run.cancel == Some(CancelCause::Requested), "it was not to be cancelled");
            Some(RunStatus::Cancelled)
        }
        other => return Err(format!("`{}` is no event of a run", other.kind())),
    };
    Ok(())
}
