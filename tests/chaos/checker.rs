//! Checks whether every promise was kept. Pure: it judges recorded data.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gleitzeit_sdk::{Run, RunEvent, RunStatus, TaskStatus};
use serde_json::Value;

use crate::schedule::LONGEST_FREEZE;
use crate::workload::{Expected, Plan};

/// How long code may go on after its attempt was given to another engine: an agent stops it once it knows that it is
/// cut off (10 s), and it knows nothing while it is frozen itself.
const GOES_ON: Duration = LONGEST_FREEZE.saturating_add(Duration::from_secs(14));

/// One accepted run with all its data.
pub(crate) struct Case<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) cancelled: bool,
    pub(crate) watched: Option<&'a [u64]>,
    pub(crate) run: &'a Run,
    pub(crate) events: &'a [RunEvent],
    /// Executions of this run's marked code, by task.
    pub(crate) executions: &'a BTreeMap<String, Vec<Execution>>,
}

/// One execution of marked code, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Execution {
    pub(crate) begin_ms: i64,
    /// `None` if it was killed before its end.
    pub(crate) end_ms: Option<i64>,
}

/// One attempt as recorded.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    from_ms: i64,
    to_ms: Option<i64>,
}

/// The totals.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) tasks: usize,
    pub(crate) attempts: usize,
    pub(crate) lost_attempts: usize,
}

/// Parses the ledger file into executions by run and task.
pub(crate) fn executions(ledger: &str) -> BTreeMap<String, BTreeMap<String, Vec<Execution>>> {
    let mut open: BTreeMap<&str, (String, String, usize)> = BTreeMap::new();
    let mut found: BTreeMap<String, BTreeMap<String, Vec<Execution>>> = BTreeMap::new();
    for line in ledger.lines() {
        let [what, run, task, token, ms] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
        let ms = ms.parse().unwrap_or_default();
        let of = found.entry(run.to_owned()).or_default().entry(task.to_owned()).or_default();
        if what == "begin" {
            open.insert(token, (run.to_owned(), task.to_owned(), of.len()));
            of.push(Execution { begin_ms: ms, end_ms: None });
        } else if let Some((_, _, at)) = open.remove(token) {
            of[at].end_ms = Some(ms);
        }
    }
    found
}

impl Case<'_> {
    /// The broken promises; empty if there are none.
    pub(crate) fn check(&self, counts: &mut Counts) -> Vec<String> {
        let mut wrong = Vec::new();
        self.check_sequence(&mut wrong);
        let attempts = self.attempts(&mut wrong, counts);
        self.check_outcome(&mut wrong);
        for task in &self.plan.marked {
            let (none, no_attempts) = (Vec::new(), Vec::new());
            let executions = self.executions.get(task).unwrap_or(&none);
            check_executions(task, executions, attempts.get(task.as_str()).unwrap_or(&no_attempts), &mut wrong);
        }
        wrong.into_iter().map(|what| format!("{} {}: {what}", self.plan.shape, self.run.run_id)).collect()
    }

    /// Every event number occurs once, in order, from the first to the last, for us and for every watcher.
    fn check_sequence(&self, wrong: &mut Vec<String>) {
        let seqs: Vec<u64> = self.events.iter().map(|event| event.seq).collect();
        let whole: Vec<u64> = (1..=u64::try_from(seqs.len()).unwrap_or(0)).collect();
        if seqs != whole || seqs.is_empty() {
            wrong.push(format!("its events have the places {seqs:?}"));
        }
        if let Some(watched) = self.watched.filter(|watched| *watched != seqs) {
            wrong.push(format!("a watcher saw {watched:?} of {seqs:?}"));
        }
        let ends = |event: &&RunEvent| {
            matches!(event.kind.as_str(), "workflow_completed" | "workflow_failed" | "workflow_cancelled")
        };
        if self.events.iter().filter(ends).count() != 1 {
            wrong.push("it did not end exactly once".to_owned());
        }
    }

    /// The recorded attempts by task: numbered without gaps, one at a time, with at most one accepted result.
    fn attempts(&self, wrong: &mut Vec<String>, counts: &mut Counts) -> BTreeMap<&str, Vec<Attempt>> {
        let mut attempts: BTreeMap<&str, Vec<Attempt>> = BTreeMap::new();
        let mut completed = BTreeSet::new();
        for event in self.events {
            let Some(task) = event.task_id.as_deref() else { continue };
            let of = attempts.entry(task).or_default();
            let (number, at_ms) = (event.attempt, event.time.map_or(0, gleitzeit_sdk::Timestamp::as_millis));
            let latest = u32::try_from(of.len()).unwrap_or(u32::MAX);
            let is_open = of.last().is_some_and(|attempt| attempt.to_ms.is_none());
            match event.kind.as_str() {
                "task_dispatched" => {
                    if number != latest + 1 || is_open || completed.contains(task) {
                        wrong.push(format!("attempt {number} of `{task}` was given away out of order"));
                    }
                    of.push(Attempt { from_ms: at_ms, to_ms: None });
                }
                "task_completed" | "task_attempt_failed" | "task_attempt_stopped" => {
                    if number != latest || !is_open {
                        wrong.push(format!("{} of attempt {number} of `{task}`, which was not open", event.kind));
                    }
                    if let Some(attempt) = of.last_mut() {
                        attempt.to_ms = Some(at_ms);
                    }
                    counts.lost_attempts += usize::from(event.kind == "task_attempt_stopped");
                    if event.kind == "task_completed" && !completed.insert(task) {
                        wrong.push(format!("`{task}` completed twice"));
                    }
                }
                _ => {}
            }
        }
        counts.tasks += self.run.tasks.len();
        counts.attempts += attempts.values().map(Vec::len).sum::<usize>();
        for (task, attempts) in &attempts {
            if attempts.iter().any(|attempt| attempt.to_ms.is_none()) {
                wrong.push(format!("an attempt of `{task}` is open in a run that has ended"));
            }
        }
        attempts
    }

    fn check_outcome(&self, wrong: &mut Vec<String>) {
        let status = self.run.status;
        if self.run.tasks.iter().any(|task| !is_final(task.status)) {
            wrong.push("it has ended, and a task of it has not".to_owned());
        }
        if self.cancelled && status == RunStatus::Cancelled {
            return;
        }
        match &self.plan.expected {
            Expected::Completed(results) => {
                if status != RunStatus::Completed {
                    let error = self.run.error.as_ref().map(|error| error.message.as_str()).unwrap_or_default();
                    wrong.push(format!("it is {status:?}, not completed: {error}"));
                }
                for (task, expected) in results {
                    let result = self.run.task(task).and_then(|task| task.result::<Value>().ok()).unwrap_or_default();
                    if !agrees(&result, expected) {
                        wrong.push(format!("`{task}` gave {result}, not {expected}"));
                    }
                }
            }
            Expected::Failed(task) => {
                let failed = self.run.task(task).is_some_and(|task| task.status == TaskStatus::Failed);
                if status != RunStatus::Failed || !failed {
                    wrong.push(format!("it is {status:?}, but `{task}` had to fail"));
                }
            }
        }
    }
}

fn is_final(status: TaskStatus) -> bool {
    matches!(status, TaskStatus::Completed | TaskStatus::Failed | TaskStatus::Skipped | TaskStatus::Cancelled)
}

/// Whether a result has everything that is expected of it; it may have more.
fn agrees(result: &Value, expected: &Value) -> bool {
    match (result, expected) {
        (Value::Object(result), Value::Object(expected)) => {
            expected.iter().all(|(name, value)| result.get(name).is_some_and(|it| agrees(it, value)))
        }
        _ => result == expected,
    }
}

/// Each execution belongs to a different attempt, and none goes on long after its attempt has ended.
fn check_executions(task: &str, executions: &[Execution], attempts: &[Attempt], wrong: &mut Vec<String>) {
    // The journal records an end and the code writes its own by the clocks of two processes.
    const SKEW_MS: i64 = 1_000;
    let goes_on_ms = i64::try_from(GOES_ON.as_millis()).unwrap_or(i64::MAX);
    if executions.len() > attempts.len() {
        wrong.push(format!("`{task}` ran {} times in {} attempts", executions.len(), attempts.len()));
        return;
    }
    let mut executions = executions.to_vec();
    executions.sort_by_key(|execution| execution.begin_ms);
    let mut open = attempts.iter();
    for execution in &executions {
        let is_of = |attempt: &&Attempt| {
            execution.begin_ms >= attempt.from_ms - SKEW_MS
                && attempt.to_ms.is_none_or(|to_ms| execution.begin_ms <= to_ms + goes_on_ms)
        };
        let Some(attempt) = open.by_ref().find(is_of) else {
            wrong.push(format!("an execution of `{task}` belongs to no attempt: {execution:?} of {attempts:?}"));
            return;
        };
        if let (Some(end_ms), Some(to_ms)) = (execution.end_ms, attempt.to_ms)
            && end_ms > to_ms + goes_on_ms
        {
            wrong.push(format!("`{task}` went on {} ms after its attempt had ended", end_ms - to_ms));
        }
    }
}
