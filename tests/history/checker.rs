//! Checks whether a recorded history is one that the promises allow. Pure: it judges recorded data.

use std::collections::{BTreeMap, BTreeSet};

use gleitzeit_sdk::RunStatus;

use crate::record::{Facts, Found, History, Read};

/// The tasks whose executions leave marks.
pub(crate) const MARKED: [&str; 2] = ["first", "last"];

/// The violations that were found.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Verdict {
    /// Acknowledged runs that no longer exist, and tasks that are recorded as done but were never executed.
    pub(crate) lost: Vec<String>,
    /// More than one run for a request id, more than one execution of an attempt, or more than one end.
    pub(crate) doubled: Vec<String>,
    /// Runs that do not end although all faults are over.
    pub(crate) stuck: Vec<String>,
    /// Violations of any other promise.
    pub(crate) broken: Vec<String>,
}

impl Verdict {
    pub(crate) fn is_good(&self) -> bool {
        *self == Self::default()
    }
}

pub(crate) fn check(history: &History, found: &Found) -> Verdict {
    let mut verdict = Verdict { broken: history.complaints.clone(), ..Verdict::default() };
    verdict.lost.extend(found.missing.iter().map(|(run, why)| format!("run {run} is not found: {why}")));
    verdict.stuck.extend(found.stuck.iter().map(|(run, why)| format!("run {run} does not end: {why}")));
    requests(history, found, &mut verdict);
    reads(history, found, &mut verdict);
    outcomes(history, found, &mut verdict);
    for (run_id, seqs) in &history.watched {
        if !is_gapless(seqs.iter().copied()) {
            verdict.broken.push(format!("a watcher of run {run_id} saw the events {seqs:?}"));
        }
    }
    for (run_id, facts) in &found.runs {
        attempts(run_id, facts, &mut verdict);
    }
    executions(found, &mut verdict);
    verdict
}

/// There is one run for each request id, whether or not the answers arrived.
fn requests(history: &History, found: &Found, verdict: &mut Verdict) {
    for (request_id, ask) in &history.asks {
        let answers: BTreeSet<&String> = ask.answers.iter().collect();
        if answers.len() > 1 {
            verdict.doubled.push(format!("request id `{request_id}` gave the runs {answers:?}"));
        }
    }
    let listed: BTreeSet<&str> = found.listed.iter().map(|run| run.run_id.as_str()).collect();
    if listed.len() < found.listed.len() {
        verdict.doubled.push("a run is listed twice".to_owned());
    }
    for run_id in history.asks.values().flat_map(|ask| &ask.answers).collect::<BTreeSet<_>>() {
        if !listed.contains(run_id.as_str()) {
            verdict.lost.push(format!("run {run_id} was acknowledged and is not listed"));
        }
    }
    // Every workflow has a unique name, and every run that repeats another was requested.
    let mut submitted: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut repeated: BTreeMap<&str, usize> = BTreeMap::new();
    for run in &found.listed {
        match &run.retry_of {
            None => submitted.entry(&run.name).or_default().push(&run.run_id),
            Some(of) => *repeated.entry(of).or_default() += 1,
        }
    }
    for (name, runs) in submitted.iter().filter(|(_, runs)| runs.len() > 1) {
        verdict.doubled.push(format!("workflow `{name}` was submitted once and has the runs {runs:?}"));
    }
    for (of, runs) in repeated {
        let asked = history.asks.values().filter(|ask| ask.retry_of.as_deref() == Some(of)).count();
        if runs > asked {
            verdict.doubled.push(format!("run {of} was to be repeated {asked} times, and was {runs} times"));
        }
    }
}

/// A read that began after another was answered sees at least as much; a final run does not change.
fn reads(history: &History, found: &Found, verdict: &mut Verdict) {
    let mut by_run: BTreeMap<&str, Vec<&Read>> = BTreeMap::new();
    for read in &history.reads {
        by_run.entry(&read.run_id).or_default().push(read);
    }
    for (run_id, reads) in by_run {
        let mut by_end = reads.clone();
        by_end.sort_by_key(|read| read.ended_us);
        let mut by_begin = reads;
        by_begin.sort_by_key(|read| read.began_us);
        let (mut ended, mut latest) = (by_end.into_iter().peekable(), None::<&Read>);
        for read in by_begin {
            while let Some(before) = ended.next_if(|before| before.ended_us < read.began_us) {
                latest = Some(match latest {
                    Some(latest) if latest.seq >= before.seq => latest,
                    _ => before,
                });
            }
            let Some(before) = latest else { continue };
            let went_back = read.seq < before.seq;
            let changed = before.status != RunStatus::Running && read.status != before.status;
            if went_back || changed {
                verdict.broken.push(format!("a read of run {run_id} went back: {read:?} after {before:?}"));
            }
        }
        for read in history.reads.iter().filter(|read| read.run_id == run_id && read.status != RunStatus::Running) {
            if let Some(facts) = found.runs.get(run_id).filter(|facts| facts.status != read.status) {
                verdict.broken.push(format!("run {run_id} was {:?} and is {:?}", read.status, facts.status));
            }
        }
    }
}

/// Each run ended as it had to.
fn outcomes(history: &History, found: &Found, verdict: &mut Verdict) {
    for run_id in &history.cancelled {
        if let Some(facts) = found.runs.get(run_id).filter(|facts| facts.status != RunStatus::Cancelled) {
            verdict.broken.push(format!("run {run_id} was cancelled and is {:?}", facts.status));
        }
    }
    for ask in history.asks.values() {
        let wanted = if ask.fails { RunStatus::Failed } else { RunStatus::Completed };
        let answers: BTreeSet<&String> = ask.answers.iter().collect();
        for (run_id, facts) in answers.into_iter().filter_map(|run_id| found.runs.get_key_value(run_id)) {
            if facts.status != wanted && facts.status != RunStatus::Cancelled {
                verdict.broken.push(format!("run {run_id} had to be {wanted:?} and is {:?}", facts.status));
            }
        }
    }
}

/// Events have no gaps, there is one end, and attempts follow each other with at most one result.
fn attempts(run_id: &str, facts: &Facts, verdict: &mut Verdict) {
    if !is_gapless(facts.events.iter().map(|event| event.seq)) {
        verdict.broken.push(format!("the events of run {run_id} have gaps"));
    }
    let ends = facts.events.iter().enumerate().filter(|(_, event)| is_end(&event.kind));
    match ends.map(|(at, _)| at + 1).collect::<Vec<_>>()[..] {
        [at] if at == facts.events.len() => {}
        [_] => verdict.broken.push(format!("run {run_id} goes on after its end")),
        [] => verdict.broken.push(format!("run {run_id} is final and has no end")),
        _ => verdict.doubled.push(format!("run {run_id} ended more than once")),
    }
    let mut open: BTreeMap<&str, u32> = BTreeMap::new();
    let mut latest: BTreeMap<&str, u32> = BTreeMap::new();
    let mut completed: BTreeSet<&str> = BTreeSet::new();
    for event in &facts.events {
        let task = event.task.as_str();
        match event.kind.as_str() {
            "task_dispatched" => {
                let before = latest.insert(task, event.attempt).unwrap_or(0);
                if event.attempt != before + 1 || open.insert(task, event.attempt).is_some() || completed.contains(task)
                {
                    let attempt = event.attempt;
                    verdict.doubled.push(format!("attempt {attempt} of `{task}` of run {run_id} was out of order"));
                }
            }
            // Carried over from the run that this one repeats.
            "task_completed" if event.attempt == 0 => {}
            "task_completed" | "task_attempt_failed" | "task_attempt_stopped" => {
                if open.remove(task) != Some(event.attempt) {
                    verdict.doubled.push(format!("{} of `{task}` of run {run_id} without an attempt", event.kind));
                }
                if event.kind == "task_completed" && !completed.insert(task) {
                    verdict.doubled.push(format!("`{task}` of run {run_id} completed twice"));
                }
            }
            _ => {}
        }
    }
}

/// No attempt is executed twice, and none is recorded as completed that was never executed.
fn executions(found: &Found, verdict: &mut Verdict) {
    let mut marks: BTreeSet<(&str, &str, u32)> = BTreeSet::new();
    for (run_id, task, attempt) in &found.marks {
        if !marks.insert((run_id, task, *attempt)) {
            verdict.doubled.push(format!("attempt {attempt} of `{task}` of run {run_id} was executed twice"));
        }
    }
    for (run_id, facts) in &found.runs {
        let done = facts.events.iter().filter(|event| event.kind == "task_completed" && event.attempt > 0);
        for event in done.filter(|event| MARKED.contains(&event.task.as_str())) {
            if !marks.contains(&(run_id.as_str(), event.task.as_str(), event.attempt)) {
                let (task, attempt) = (&event.task, event.attempt);
                verdict.lost.push(format!("attempt {attempt} of `{task}` of run {run_id} left no mark"));
            }
        }
    }
}

fn is_end(kind: &str) -> bool {
    matches!(kind, "workflow_completed" | "workflow_failed" | "workflow_cancelled")
}

/// Whether the numbers count from 1 without gaps.
fn is_gapless(seqs: impl IntoIterator<Item = u64>) -> bool {
    seqs.into_iter().zip(1..).all(|(seq, expected)| seq == expected)
}
