//! What is asked of the control plane, so that nothing of it holds up the keys: one look at a time, one act at a time, and
//! the events of all runs and of the open one as they come.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, pending};
use gleitzeit_sdk::{Client, Events, RecordedEvent, Result, RunEvent, RunFilter, TaskFilter, Watch};

use super::model::{Act, Detail, Seen, Wanted};

/// So many runs are shown, the newest.
const RUNS: u32 = 100;
/// So many tasks of a run.
const TASKS: u32 = 500;

/// What came.
#[derive(Debug)]
pub(super) enum Told {
    /// Of what was wanted.
    Seen(Wanted, Box<Result<Seen>>),
    Done(Result<String>),
    Event(Box<RecordedEvent>),
    OfRun(String, Box<RunEvent>),
}

/// What is being asked.
#[derive(Default)]
pub(super) struct Reader {
    look: Option<BoxFuture<'static, Told>>,
    /// Whether something has changed since the look that goes on began.
    again: bool,
    act: Option<BoxFuture<'static, Told>>,
    events: AllEvents,
    run: Option<OfRun>,
}

/// The events of all runs.
#[derive(Default)]
enum AllEvents {
    #[default]
    Closed,
    Opening(BoxFuture<'static, Result<Events>>),
    Open(Box<Events>),
}

/// The events of the open run.
struct OfRun {
    id: String,
    /// None while the control plane is away.
    watch: Option<Watch>,
    /// Whether the run has ended and they have all come.
    is_over: bool,
    /// Where they go on.
    next: u64,
}

impl Reader {
    /// Looks at what is wanted, at once or after the look that goes on.
    pub(super) fn look(&mut self, client: &Client, wanted: Wanted) {
        self.again = self.look.is_some();
        if !self.again {
            let client = client.clone();
            let look = async move {
                let seen = look(&client, &wanted).await;
                Told::Seen(wanted, Box::new(seen))
            };
            self.look = Some(look.boxed());
        }
    }

    /// Whether a look is to follow the one that has just ended.
    pub(super) fn take_again(&mut self) -> bool {
        std::mem::take(&mut self.again)
    }

    /// Does something to a run; false while something else is being done.
    pub(super) fn act(&mut self, client: &Client, act: Act) -> bool {
        if self.act.is_some() {
            return false;
        }
        let client = client.clone();
        self.act = Some(async move { Told::Done(done(&client, act).await) }.boxed());
        true
    }

    /// Follows the events of all runs from a position on, unless that goes on.
    pub(super) fn follow_all(&mut self, client: &Client, from: u64) {
        if matches!(self.events, AllEvents::Closed) {
            let client = client.clone();
            self.events = AllEvents::Opening(async move { client.events(from).await }.boxed());
        }
    }

    /// Follows the events of the open run, and of no other.
    pub(super) fn follow(&mut self, client: &Client, wanted: &Wanted) {
        let Some(id) = &wanted.run else { return self.run = None };
        if self.run.as_ref().is_none_or(|run| run.id != *id) {
            self.run = Some(OfRun { id: id.clone(), watch: Some(client.watch(id, 1)), is_over: false, next: 1 });
        }
    }

    /// Goes on where the control plane went away.
    pub(super) fn resume(&mut self, client: &Client) {
        if let Some(OfRun { id, watch: watch @ None, is_over: false, next }) = &mut self.run {
            *watch = Some(client.watch(id, *next));
        }
    }

    /// What comes next. Cancel-safe.
    pub(super) async fn next(&mut self) -> Told {
        tokio::select! {
            told = of(&mut self.look) => told,
            told = of(&mut self.act) => told,
            told = event(&mut self.events) => told,
            told = of_run(&mut self.run) => told,
        }
    }
}

/// What is being asked for, once it is there.
async fn of(asked: &mut Option<BoxFuture<'static, Told>>) -> Told {
    match asked {
        Some(future) => {
            let told = future.await;
            *asked = None;
            told
        }
        None => pending().await,
    }
}

async fn event(events: &mut AllEvents) -> Told {
    loop {
        match events {
            AllEvents::Closed => return pending().await,
            AllEvents::Opening(opening) => {
                let opened = opening.await;
                *events = opened.map_or(AllEvents::Closed, |events| AllEvents::Open(Box::new(events)));
            }
            AllEvents::Open(open) => match open.next().await {
                Ok(event) => return Told::Event(Box::new(event)),
                // It is opened again when it is looked at next.
                Err(_) => *events = AllEvents::Closed,
            },
        }
    }
}

async fn of_run(run: &mut Option<OfRun>) -> Told {
    if let Some(OfRun { id, watch, is_over, next }) = run
        && let Some(open) = watch
    {
        let came = open.next().await;
        if let Ok(Some(event)) = came {
            *next = (*next).max(event.seq + 1);
            return Told::OfRun(id.clone(), Box::new(event));
        }
        (*watch, *is_over) = (None, came.is_ok());
    }
    pending().await
}

/// Everything that is shown, as it is now.
async fn look(client: &Client, wanted: &Wanted) -> Result<Seen> {
    let filter = RunFilter { page_size: RUNS, ..RunFilter::default() };
    let status = client.status().await?;
    let runs = client.list_runs(&filter).await?.items;
    let components = client.components(&[], None).await?.items;
    let providers = client.providers(None, None).await?.items;
    let detail = match &wanted.run {
        None => None,
        Some(run_id) => Some(detail(client, run_id).await?),
    };
    Ok(Seen { status, runs, components, providers, detail })
}

async fn detail(client: &Client, run_id: &str) -> Result<Detail> {
    let filter = TaskFilter { page_size: TASKS, ..TaskFilter::default() };
    let run = client.wait_without_results(run_id, Some(Duration::ZERO)).await?;
    let explanation = client.explain(run_id, None).await?;
    let tasks = client.list_tasks(run_id, &filter).await?.items;
    Ok(Detail { run, explanation, tasks })
}

async fn done(client: &Client, act: Act) -> Result<String> {
    match act {
        Act::Cancel { run_id, .. } => {
            client.cancel(&run_id, "cancelled in the monitor").await.map(|_| "asked it to end".to_owned())
        }
        Act::Retry { run_id, .. } => {
            client.retry(&run_id, None, false).await.map(|new| format!("retried as {}", new.id()))
        }
    }
}
