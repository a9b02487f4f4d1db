//! `gleitzeit monitor`: a full-screen view. `model` knows what is shown and what keys mean (by the table in `keys`),
//! `draw` renders it, and `look` queries the control plane. This file reads and writes the terminal.

mod draw;
mod filter;
mod keys;
mod list;
mod log;
mod look;
mod model;
mod paint;
mod query;
mod recent;
mod task;
#[cfg(test)]
mod tests;

use std::io::IsTerminal as _;
use std::time::Duration;

use gleitzeit_sdk::Client;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::cli::ClientArgs;
use crate::error::{CommandError, CommandResult, Exit};
use crate::{client, output_settings, when};
use look::{Answer, Reader};
use model::{Action, Looks, Model};
use task::OpenTask;

/// How often the control plane is queried.
const REFRESH: Duration = Duration::from_secs(1);
/// The least time between two frames, however much happens.
const FRAME: Duration = Duration::from_millis(50);
/// How often the key reader checks whether the terminal is still wanted.
const KEYS: Duration = Duration::from_millis(100);

/// Shows the monitor until the user leaves it.
///
/// # Errors
/// If there is no terminal, or the control plane cannot be reached at all.
pub(crate) async fn show(reach: &ClientArgs) -> CommandResult {
    if !std::io::stdout().is_terminal() {
        return Err(CommandError::usage("`monitor` needs a terminal")
            .hint("use `gleitzeit status`, `list` and `components`, with -o json for programs"));
    }
    let client = client::connect_or_start(reach, || Ok(())).await?;
    let mut terminal =
        ratatui::try_init().map_err(|error| CommandError::internal(format!("cannot use the terminal: {error}")))?;
    let _restored = Restored;
    Box::pin(serve(&client, &mut terminal)).await
}

/// Restores the terminal on drop, however the monitor ends.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

async fn serve(client: &Client, terminal: &mut DefaultTerminal) -> CommandResult {
    let mut keys = keys();
    let shown = Looks { relative_times: output_settings::relative_times(), short_ids: output_settings::short_ids() };
    let mut model = Model::new(client.config().url.clone(), shown, when::now());
    let mut monitor = Monitor { client, reader: Reader::default(), last: None };
    let mut refresh = interval(REFRESH);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // When the next frame is due; `None` if nothing has changed since the last one.
    let mut frame = Some(Instant::now());
    monitor.reader.follow_all(client, 0);
    loop {
        if frame.is_some_and(|frame| frame <= Instant::now()) {
            model.now = when::now();
            let drawn = terminal.draw(|frame| draw::all(&mut model, frame));
            drawn.map_err(|error| CommandError::internal(format!("cannot draw: {error}")))?;
            frame = None;
        }
        monitor.reader.follow(client, &model.wanted());
        tokio::select! {
            () = at(frame) => {}
            _ = refresh.tick() => monitor.reader.look(client, model.wanted()),
            answer = monitor.reader.next() => {
                frame = frame.or_else(|| Some(Instant::now() + FRAME));
                monitor.take(&mut model, answer);
            }
            event = keys.recv() => {
                // The effect of a key or a resize is shown at once.
                frame = Some(Instant::now());
                let action = match event {
                    Some(Event::Key(key)) if key.kind != KeyEventKind::Release => model.key(key),
                    Some(_) => Action::None,
                    None => Action::Leave,
                };
                if action == Action::Leave {
                    return Ok(Exit::Success);
                }
                monitor.act(&mut model, action);
            }
        }
    }
}

async fn at(frame: Option<Instant>) {
    match frame {
        Some(frame) => sleep_until(frame).await,
        None => std::future::pending().await,
    }
}

/// Connects the model and the control plane.
struct Monitor<'a> {
    client: &'a Client,
    reader: Reader,
    /// The position of the last event received, of all runs.
    last: Option<u64>,
}

impl Monitor<'_> {
    fn act(&mut self, model: &mut Model, action: Action) {
        match action {
            Action::None | Action::Leave => {}
            Action::Refresh => self.reader.look(self.client, model.wanted()),
            Action::Do(act) => {
                if !self.reader.act(self.client, act) {
                    model.show_note(Ok("the previous request is not finished yet".to_owned()));
                }
            }
        }
    }

    fn take(&mut self, model: &mut Model, answer: Answer) {
        match answer {
            Answer::Seen(wanted, seen) => {
                let was_away = model.is_away;
                model.see(&wanted, *seen);
                // Output printed meanwhile was missed, but the control plane keeps it.
                if was_away && !model.is_away && self.reader.forget_task() {
                    model.task_mut().into_iter().for_each(OpenTask::restart_output);
                }
                if self.reader.take_pending() {
                    self.reader.look(self.client, model.wanted());
                }
                if !model.is_away {
                    self.reader.follow_all(self.client, self.last.map_or(0, |last| last + 1));
                    self.reader.resume(self.client);
                }
            }
            Answer::Done(said) => {
                model.show_note(said);
                self.reader.look(self.client, model.wanted());
            }
            Answer::Event(event) => {
                self.last = Some(event.position);
                model.happened(&event);
            }
            Answer::OfRun(run_id, event) => model.happened_in(&run_id, &event),
            Answer::OfTask(event, of) => model.happened_to(&of, &event, Instant::now().into_std()),
        }
    }
}

/// Reads terminal events on a thread, which ends shortly after the receiver is dropped.
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
