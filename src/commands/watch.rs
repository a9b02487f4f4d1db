//! `gleitzeit watch`: prints a run's events until its end, and the output of its tasks.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::time::Instant;

use gleitzeit_sdk::{RunEvent, Timestamp, Watch};
use tokio::time::interval;

use crate::cli::{Format, WatchArgs};
use crate::color::Tone;
use crate::document::EventDocument;
use crate::error::{CommandError, CommandResult, Exit};
use crate::find_runs::{self, Found};
use crate::follow::{AWAY, outcome};
use crate::lines::{Line, Lines};
use crate::output::Reader;
use crate::progress::{Progress, REDRAW};
use crate::signals::{OnSignal, block_on};
use crate::{causes, color, output, view};

pub(crate) fn run(args: WatchArgs) -> CommandResult {
    // The run does not depend on its watchers.
    block_on(OnSignal::Drop, |_| async move {
        let found = find_runs::find(&args.client, &args.run).await?;
        found.note_if_elsewhere().await?;
        let Found { client, run_id, .. } = found;
        let format = args.output.format();
        let mut watch = client.watch(&run_id, args.from).with_progress_so_far();
        if format != Format::Table {
            while let Some(event) = watch.next().await? {
                if output::one_of_many(format, &EventDocument::from(&event))? == Reader::Gone {
                    return Ok(Exit::Success);
                }
            }
            return Ok(ended(&watch));
        }
        let mut progress = Progress::below();
        // If a live view shows the output of running tasks, it is not repeated between the events.
        let mut said = (!progress.is_live() || !io::stdout().is_terminal()).then(Lines::default);
        let mut redraw = interval(REDRAW);
        let mut away = false;
        loop {
            tokio::select! {
                event = watch.next() => {
                    let Some(event) = event? else { break };
                    let printed = said.as_mut().map(|said| shown(&output_lines(said, &event), event.time));
                    let mut text = printed.unwrap_or_default();
                    if let Some(line) = view::event(&event) {
                        let line = color::stdout().event(&event, &line);
                        let _ = write!(text, "{}  {line}\n{}", stamp(event.time), causes::of_event(&event));
                    }
                    if print(&text, &mut progress)? == Reader::Gone {
                        return Ok(Exit::Success);
                    }
                    away = false;
                    progress.event(&event);
                }
                _ = redraw.tick() => {
                    let idle = said.as_mut().map(|said| shown(&said.idle(Instant::now()), None)).unwrap_or_default();
                    if print(&idle, &mut progress)? == Reader::Gone {
                        return Ok(Exit::Success);
                    }
                    if watch.away_since().is_some() && !std::mem::replace(&mut away, true) {
                        progress.clear();
                        output::note(AWAY);
                    }
                    if progress.is_live() {
                        progress.tick();
                    }
                }
            }
        }
        progress.clear();
        Ok(ended(&watch))
    })
}

/// Prints text above the live view.
fn print(text: &str, progress: &mut Progress) -> Result<Reader, CommandError> {
    if text.is_empty() {
        return Ok(Reader::There);
    }
    progress.clear();
    output::print(text)
}

/// The lines of output in an event. The end of an attempt brings lines only if some of its output came before.
fn output_lines(said: &mut Lines, event: &RunEvent) -> Vec<Line> {
    let is_heard = said.has_output(event.task_id.as_deref().unwrap_or_default(), event.attempt);
    if event.kind == "method_progress" || is_heard { said.event(event, Instant::now()) } else { Vec::new() }
}

/// Lines from the end of an attempt carry the time of that end.
fn shown(lines: &[Line], end: Option<Timestamp>) -> String {
    lines.iter().map(|line| format!("{}  {}\n", stamp(line.time.or(end)), line.shown())).collect()
}

/// A line may be read long after it was printed, so it carries an absolute time.
fn stamp(time: Option<Timestamp>) -> String {
    color::stdout().text(Tone::Dim, &time.map_or_else(|| "-".to_owned(), |time| time.to_string()))
}

fn ended(watch: &Watch) -> Exit {
    if let Some(error) = watch.run().filter(|run| run.is_interrupted()).and_then(|run| run.error.as_ref()) {
        output::note(&causes::failure(error));
    }
    watch.run().map_or(Exit::Success, |run| outcome(run.status))
}
