//! `gleitzeit logs -f`: prints a run's output so far, and then what its tasks print, line by line, until the run ends.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use gleitzeit_sdk::{Client, RunEvent, Task, Timestamp};
use gleitzeit_workflow::Payload;
use tokio::time::{interval, sleep_until};

use super::{before, is_open, is_since, so_far, tasks};
use crate::cli::{Format, LogsArgs};
use crate::error::{CommandError, CommandResult, Exit};
use crate::follow::{AWAY, outcome};
use crate::lines::{End, Line, Lines, tail};
use crate::output::Reader;
use crate::{output, view};

/// How often to check whether the control plane is away.
const LOOK: Duration = Duration::from_secs(1);

pub(super) async fn follow(client: &Client, run_id: &str, args: &LogsArgs) -> CommandResult {
    let seq = client.get_run(run_id).await?.seq;
    let mut follower = Follower {
        client,
        run_id,
        only: args.task.as_deref(),
        format: args.output.format(),
        lines: Lines::default(),
        ended_before: BTreeSet::new(),
        repeats: HashMap::new(),
    };
    let what_there_is = follower.begin(args.since.map(before), args.tail).await?;
    if follower.print(what_there_is)? == Reader::Gone {
        return Ok(Exit::Success);
    }
    let mut watch = client.watch(run_id, seq + 1).with_progress_so_far();
    let (mut look, mut away) = (interval(LOOK), false);
    loop {
        let lines = tokio::select! {
            event = watch.next() => {
                let Some(event) = event? else { break };
                away = false;
                follower.event(event).await?
            }
            () = until(follower.lines.due()) => follower.lines.idle(Instant::now()),
            _ = look.tick() => {
                if watch.away_since().is_some() && !std::mem::replace(&mut away, true) {
                    output::note(AWAY);
                }
                continue;
            }
        };
        if follower.print(lines)? == Reader::Gone {
            return Ok(Exit::Success);
        }
    }
    Ok(watch.run().map_or(Exit::Success, |run| outcome(run.status)))
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

struct Follower<'a> {
    client: &'a Client,
    run_id: &'a str,
    /// If set, only this task is followed.
    only: Option<&'a str>,
    format: Format,
    lines: Lines,
    /// Attempts that had ended before the watch began.
    ended_before: BTreeSet<(String, u32)>,
    /// Output of open attempts from before the watch began; the watch delivers it once more.
    repeats: HashMap<(String, u32), VecDeque<RunEvent>>,
}

impl Follower<'_> {
    /// The existing output, task by task.
    async fn begin(&mut self, since: Option<Timestamp>, most: Option<usize>) -> Result<Vec<Line>, CommandError> {
        let tasks = tasks(self.client, self.run_id, self.only).await?;
        let mut so_far = so_far(self.client, self.run_id, &tasks).await?;
        let (mut all, now) = (Vec::new(), Instant::now());
        for task in &tasks {
            let mut lines = Vec::new();
            if is_open(task) {
                for event in so_far.remove(&task.id).unwrap_or_default() {
                    lines.extend(event.output().into_iter().flat_map(|piece| self.lines.add(piece, now)));
                    self.repeats.entry((task.id.clone(), event.attempt)).or_default().push_back(event);
                }
                lines.retain(|line| line.time.zip(since).is_none_or(|(time, since)| time >= since));
            } else {
                if is_since(task, since) {
                    lines = ended(&mut Lines::default(), task, now);
                }
                self.ended_before.insert((task.id.clone(), task.attempt));
            }
            all.extend(tail(lines, most));
        }
        Ok(all)
    }

    /// The output in an event.
    async fn event(&mut self, event: RunEvent) -> Result<Vec<Line>, CommandError> {
        self.note(&event);
        let Some(task_id) = event.task_id.clone() else { return Ok(Vec::new()) };
        let at = (task_id, event.attempt);
        if self.only.is_some_and(|only| only != at.0) || self.ended_before.contains(&at) {
            return Ok(Vec::new());
        }
        let now = Instant::now();
        Ok(match event.kind.as_str() {
            "method_progress" if self.is_repeat(&at, &event) => Vec::new(),
            "task_completed" | "task_attempt_failed" if event.payload_omitted => {
                let tasks = tasks(self.client, self.run_id, Some(&at.0)).await?;
                let task = tasks.iter().find(|task| task.attempt == at.1 && !is_open(task));
                task.map(|task| ended(&mut self.lines, task, now)).unwrap_or_default()
            }
            _ => self.lines.event(&event, now),
        })
    }

    /// Whether this event is such a repeat; if so, advances to the next expected one.
    fn is_repeat(&mut self, at: &(String, u32), event: &RunEvent) -> bool {
        let Some(repeats) = self.repeats.get_mut(at) else { return false };
        // The first of them may no longer be kept.
        let found = repeats.iter().position(|before| before == event);
        match found {
            Some(place) => drop(repeats.drain(..=place)),
            None => drop(self.repeats.remove(at)),
        }
        found.is_some()
    }

    /// Tells people why the output ends or starts over.
    fn note(&self, event: &RunEvent) {
        let is_of_task = event.task_id.as_deref().is_none_or(|task| self.only.is_none_or(|only| only == task));
        let is_worth_it = matches!(
            event.kind.as_str(),
            "task_attempt_failed"
                | "task_attempt_stopped"
                | "task_retry_scheduled"
                | "task_failed"
                | "workflow_failed"
                | "workflow_cancelled"
        );
        if self.format == Format::Table
            && is_of_task
            && is_worth_it
            && let Some(line) = view::event(event)
        {
            output::note(&line);
        }
    }

    fn print(&self, lines: Vec<Line>) -> Result<Reader, CommandError> {
        if self.format == Format::Table {
            let text: String = lines.iter().map(|line| format!("{}\n", line.shown())).collect();
            return if text.is_empty() { Ok(Reader::There) } else { output::print(&text) };
        }
        for line in lines {
            if output::one_of_many(self.format, &line)? == Reader::Gone {
                return Ok(Reader::Gone);
            }
        }
        Ok(Reader::There)
    }
}

/// The output of a task's latest attempt, after that has ended.
fn ended(lines: &mut Lines, task: &Task, now: Instant) -> Vec<Line> {
    let data = task.error.as_ref().and_then(|error| error.data.as_ref()).map(Payload::shown);
    match (&task.result, data) {
        (Some(result), _) => lines.ended(&task.id, task.attempt, End::Result(&result.shown()), now),
        (None, Some(data)) => lines.ended(&task.id, task.attempt, End::Error(&data), now),
        (None, None) => lines.stopped(&task.id, task.attempt),
    }
}
