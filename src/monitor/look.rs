//! Queries the control plane without blocking the keys: one query at a time, one action at a time, and the events of
//! all runs and of the open one as they arrive.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, pending};
use gleitzeit_sdk::{Client, Events, RecordedEvent, Result, RunEvent, RunFilter, Task, TaskFilter, Watch};

use super::query::{Act, Detail, Seen, Wanted};

/// The most runs that are shown, the newest.
const RUNS: u32 = 100;
/// The most tasks of a run that are shown.
const TASKS: u32 = 500;
/// The most runs or tasks that a filter examines beyond what the control plane can apply.
const FILTERED: u32 = 1_000;

/// A result.
#[derive(Debug)]
pub(super) enum Answer {
    /// The answer to a query.
    Seen(Wanted, Box<Result<Seen>>),
    Done(Result<String>),
    Event(Box<RecordedEvent>),
    OfRun(String, Box<RunEvent>),
    /// An event of the open task.
    OfTask(Box<RunEvent>, OpenTaskId),
}

/// A task, by its run's id and its own.
pub(super) type OpenTaskId = (String, String);

/// The pending requests.
#[derive(Default)]
pub(super) struct Reader {
    look: Option<BoxFuture<'static, Answer>>,
    /// Whether something has changed since the running query began.
    again: bool,
    act: Option<BoxFuture<'static, Answer>>,
    events: AllEvents,
    run: Option<Feed>,
    task: Option<Feed>,
}

/// The events of all runs.
#[derive(Default)]
enum AllEvents {
    #[default]
    Closed,
    Opening(BoxFuture<'static, Result<Events>>),
    Open(Box<Events>),
}

/// The events of the open run, or of its open task.
struct Feed {
    run_id: String,
    /// If set, only this task is followed, with its progress.
    task_id: Option<String>,
    /// `None` while the control plane is away.
    watch: Option<Watch>,
    /// Whether the run has ended and all events have arrived.
    is_over: bool,
    /// The `seq` to continue from.
    next: u64,
}

impl Feed {
    fn new(client: &Client, run_id: &str, task_id: Option<&str>) -> Self {
        let watch = client.watch(run_id, 1);
        let watch = if task_id.is_some() { watch.with_progress_so_far() } else { watch };
        let (run_id, task_id) = (run_id.to_owned(), task_id.map(str::to_owned));
        Self { run_id, task_id, watch: Some(watch), is_over: false, next: 1 }
    }

    fn is_of(&self, run_id: &str, task_id: Option<&str>) -> bool {
        self.run_id == run_id && self.task_id.as_deref() == task_id
    }

    /// Resumes after the control plane was away.
    fn resume(&mut self, client: &Client) {
        if self.watch.is_none() && !self.is_over {
            let watch = client.watch(&self.run_id, self.next);
            self.watch = Some(if self.task_id.is_some() { watch.with_progress() } else { watch });
        }
    }
}

impl Reader {
    /// Runs a query, now or after the current one.
    pub(super) fn look(&mut self, client: &Client, wanted: Wanted) {
        self.again = self.look.is_some();
        if !self.again {
            let client = client.clone();
            let look = async move {
                let seen = look(&client, &wanted).await;
                Answer::Seen(wanted, Box::new(seen))
            };
            self.look = Some(look.boxed());
        }
    }

    /// Whether another query should follow the one that has just ended.
    pub(super) fn take_pending(&mut self) -> bool {
        std::mem::take(&mut self.again)
    }

    /// Starts an action on a run; false while another one is running.
    pub(super) fn act(&mut self, client: &Client, act: Act) -> bool {
        if self.act.is_some() {
            return false;
        }
        let client = client.clone();
        self.act = Some(async move { Answer::Done(done(&client, act).await) }.boxed());
        true
    }

    /// Follows the events of all runs from a position on, unless that is already happening.
    pub(super) fn follow_all(&mut self, client: &Client, from: u64) {
        if matches!(self.events, AllEvents::Closed) {
            let client = client.clone();
            self.events = AllEvents::Opening(async move { client.events(from).await }.boxed());
        }
    }

    /// Follows the events of the open run and task, and of no others.
    pub(super) fn follow(&mut self, client: &Client, wanted: &Wanted) {
        let run = wanted.run.as_deref();
        follow(&mut self.run, client, run.map(|run| (run, None)));
        follow(&mut self.task, client, run.zip(wanted.task.as_deref()).map(|(run, task)| (run, Some(task))));
    }

    /// Discards the open task's events so that they are read from the beginning; false if there are none.
    pub(super) fn forget_task(&mut self) -> bool {
        self.task.take().is_some()
    }

    /// Resumes after the control plane was away.
    pub(super) fn resume(&mut self, client: &Client) {
        [&mut self.run, &mut self.task].into_iter().flatten().for_each(|feed| feed.resume(client));
    }

    /// The next result. Cancel-safe.
    pub(super) async fn next(&mut self) -> Answer {
        tokio::select! {
            answer = of(&mut self.look) => answer,
            answer = of(&mut self.act) => answer,
            answer = event(&mut self.events) => answer,
            answer = of_feed(&mut self.run) => answer,
            answer = of_feed(&mut self.task) => answer,
        }
    }
}

/// Awaits a pending request; its slot is empty afterwards.
async fn of(asked: &mut Option<BoxFuture<'static, Answer>>) -> Answer {
    match asked {
        Some(future) => {
            let answer = future.await;
            *asked = None;
            answer
        }
        None => pending().await,
    }
}

async fn event(events: &mut AllEvents) -> Answer {
    loop {
        match events {
            AllEvents::Closed => return pending().await,
            AllEvents::Opening(opening) => {
                let opened = opening.await;
                *events = opened.map_or(AllEvents::Closed, |events| AllEvents::Open(Box::new(events)));
            }
            AllEvents::Open(open) => match open.next().await {
                Ok(event) => return Answer::Event(Box::new(event)),
                // The stream is opened again with the next query.
                Err(_) => *events = AllEvents::Closed,
            },
        }
    }
}

fn follow(feed: &mut Option<Feed>, client: &Client, wanted: Option<(&str, Option<&str>)>) {
    match (&feed, wanted) {
        (Some(there), Some((run, task))) if there.is_of(run, task) => {}
        (_, wanted) => *feed = wanted.map(|(run, task)| Feed::new(client, run, task)),
    }
}

async fn of_feed(feed: &mut Option<Feed>) -> Answer {
    if let Some(Feed { run_id, task_id, watch, is_over, next }) = feed {
        while let Some(open) = watch {
            let event = match open.next().await {
                Ok(Some(event)) => event,
                other => {
                    (*watch, *is_over) = (None, other.is_ok());
                    break;
                }
            };
            *next = (*next).max(event.seq + 1);
            match task_id {
                None => return Answer::OfRun(run_id.clone(), Box::new(event)),
                Some(task) if event.task_id.as_ref() == Some(task) => {
                    return Answer::OfTask(Box::new(event), (run_id.clone(), task.clone()));
                }
                Some(_) => {}
            }
        }
    }
    pending().await
}

/// Reads everything that is shown, as it is now.
async fn look(client: &Client, wanted: &Wanted) -> Result<Seen> {
    let page_size = if wanted.filter.is_empty() { RUNS } else { FILTERED };
    let filter = RunFilter { page_size, ..wanted.filter.asked() };
    let status = client.status().await?;
    let runs = client.list_runs(&filter).await?;
    let components = client.components(&[], None).await?.items;
    let providers = client.providers(None, None).await?.items;
    let detail = match &wanted.run {
        None => None,
        Some(run_id) => Some(detail(client, run_id, wanted).await?),
    };
    let task = match (&wanted.run, &wanted.task) {
        (Some(run_id), Some(task_id)) if !wanted.is_task_known => task(client, run_id, task_id).await?,
        _ => None,
    };
    let (has_more_runs, runs) = (runs.next_page_token.is_some(), runs.items);
    Ok(Seen { status, runs, has_more_runs, components, providers, detail, task })
}

/// Reads a task with its result.
async fn task(client: &Client, run_id: &str, task_id: &str) -> Result<Option<Task>> {
    let filter = TaskFilter { task_ids: vec![task_id.to_owned()], with_dependencies: true, ..TaskFilter::default() };
    Ok(client.list_tasks(run_id, &filter).await?.items.into_iter().next())
}

async fn detail(client: &Client, run_id: &str, wanted: &Wanted) -> Result<Detail> {
    let page_size = if wanted.task_filter.is_empty() { TASKS } else { FILTERED };
    let filter = TaskFilter { page_size, ..wanted.task_filter.asked_tasks() };
    let run = client.wait_without_results(run_id, Some(Duration::ZERO)).await?;
    let explanation = client.explain(run_id, None).await?;
    let tasks = client.list_tasks(run_id, &filter).await?;
    Ok(Detail { run, explanation, has_more_tasks: tasks.next_page_token.is_some(), tasks: tasks.items })
}

async fn done(client: &Client, act: Act) -> Result<String> {
    match act {
        Act::Cancel { run_id, .. } => {
            client.cancel(&run_id, "cancelled in the monitor").await.map(|_| "requested its cancellation".to_owned())
        }
        Act::Retry { run_id, .. } => {
            client.retry(&run_id, None, false).await.map(|new| format!("retried as {}", new.id()))
        }
    }
}
