//! `gleitzeit monitor`: a view of the whole that fills the terminal. `model` knows what is shown and what keys mean,
//! `draw` how it looks; here it is fetched and done.

mod draw;
mod model;
#[cfg(test)]
mod tests;

use std::io::IsTerminal as _;
use std::time::Duration;

use gleitzeit_sdk::{Client, Events, RecordedEvent, RunFilter, TaskFilter};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::cli::ClientArgs;
use crate::client;
use crate::error::{CommandError, CommandResult, Exit};
use model::{Action, Detail, Model, Seen};

/// How often it is looked again.
const REFRESH: Duration = Duration::from_secs(1);
/// How often it is looked whether the terminal is still wanted.
const KEYS: Duration = Duration::from_millis(100);
/// So many runs are shown, the newest.
const RUNS: u32 = 100;
/// So many tasks and events of a run.
const TASKS: u32 = 500;
const EVENTS: usize = 500;

/// Shows it until somebody leaves it.
///
/// # Errors
/// If there is no terminal, or the control plane cannot be reached at all.
pub(crate) async fn show(reach: &ClientArgs) -> CommandResult {
    if !std::io::stdout().is_terminal() {
        return Err(CommandError::usage("`monitor` fills a terminal, and this is none")
            .hint("use `gleitzeit status`, `list` and `components`, with -o json for programs"));
    }
    let client = client::connect_or_start(reach, || Ok(())).await?;
    let mut terminal =
        ratatui::try_init().map_err(|error| CommandError::internal(format!("cannot use the terminal: {error}")))?;
    let _restored = Restored;
    Box::pin(serve(&client, &mut terminal)).await
}

/// However it ends, the terminal is put right again.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

async fn serve(client: &Client, terminal: &mut DefaultTerminal) -> CommandResult {
    let mut keys = keys();
    let mut model = Model::new(client.config().url.clone());
    let mut events = client.events(0).await.ok();
    let mut last = 0;
    let mut refresh = interval(REFRESH);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let drawn = terminal.draw(|frame| draw::all(&mut model, frame));
        drawn.map_err(|error| CommandError::internal(format!("cannot draw: {error}")))?;
        let action = tokio::select! {
            _ = refresh.tick() => Action::Refresh,
            event = next(&mut events) => {
                match event {
                    Some(event) => {
                        last = event.position;
                        model.happened(event);
                    }
                    // The control plane is away: it is tried again when it is looked at next.
                    None => events = None,
                }
                Action::None
            }
            event = keys.recv() => match event {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => model.key(key),
                // Resized: drawn anew.
                Some(_) => Action::None,
                None => Action::Leave,
            },
        };
        match action {
            Action::None => {}
            Action::Leave => return Ok(Exit::Success),
            Action::Refresh => {
                model.see(look(client, model.open()).await);
                if events.is_none() && !model.is_away {
                    events = client.events(last + 1).await.ok();
                }
            }
            Action::Cancel(run) => {
                let asked = client.cancel(&run, "cancelled in the monitor").await;
                model.say(asked.map(|_| "asked it to end".to_owned()));
                model.see(look(client, model.open()).await);
            }
            Action::Retry(run) => {
                let asked = client.retry(&run, None, false).await;
                model.say(asked.map(|new| format!("retried as {}", new.id())));
                model.see(look(client, model.open()).await);
            }
        }
    }
}

/// The next event; none if the stream broke. Stays pending without one.
async fn next(events: &mut Option<Events>) -> Option<RecordedEvent> {
    match events {
        Some(events) => events.next().await.ok(),
        None => std::future::pending().await,
    }
}

/// What the terminal says. The thread ends within a moment of this process losing interest.
fn keys() -> mpsc::Receiver<Event> {
    let (sender, keys) = mpsc::channel(64);
    tokio::task::spawn_blocking(move || {
        while !sender.is_closed() {
            match event::poll(KEYS) {
                Ok(false) => {}
                Ok(true) => match event::read() {
                    Ok(event) => {
                        if sender.blocking_send(event).is_err() {
                            return;
                        }
                    }
                    Err(_) => return,
                },
                Err(_) => return,
            }
        }
    });
    keys
}

/// Everything that is shown, as it is now.
async fn look(client: &Client, open: Option<String>) -> gleitzeit_sdk::Result<Seen> {
    let filter = RunFilter { page_size: RUNS, ..RunFilter::default() };
    let status = client.status().await?;
    let runs = client.list_runs(&filter).await?.items;
    let components = client.components(&[], None).await?.items;
    let providers = client.providers(None, None).await?.items;
    let detail = match open {
        None => None,
        Some(run_id) => {
            let filter = TaskFilter { page_size: TASKS, ..TaskFilter::default() };
            let (run, explanation) = (client.get_run(&run_id).await?, client.explain(&run_id, None).await?);
            let tasks = client.list_tasks(&run_id, &filter).await?.items;
            Some(Detail { run, explanation, tasks, events: recent_events(client, &run_id).await? })
        }
    };
    Ok(Seen { status, runs, components, providers, detail })
}

/// The last events of a run that are there already.
async fn recent_events(client: &Client, run_id: &str) -> gleitzeit_sdk::Result<Vec<gleitzeit_sdk::RunEvent>> {
    let mut events = Vec::new();
    let mut watch = client.watch(run_id, 1);
    // A run that goes on has more to come: what is there comes at once.
    while let Ok(next) = tokio::time::timeout(Duration::from_millis(50), watch.next()).await {
        let Some(event) = next? else { break };
        events.push(event);
    }
    let surplus = events.len().saturating_sub(EVENTS);
    events.drain(..surplus);
    Ok(events)
}
