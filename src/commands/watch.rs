//! `gleitzeit watch`: a run's events to its end, and what its tasks say meanwhile.

use gleitzeit_sdk::Watch;
use tokio::time::interval;

use crate::cli::{Format, WatchArgs};
use crate::document::EventDocument;
use crate::error::{CommandResult, Exit};
use crate::follow::{AWAY, outcome};
use crate::output::Reader;
use crate::progress::{Progress, REDRAW};
use crate::reading::{self, Found};
use crate::signals::{OnSignal, block_on};
use crate::{causes, output, view};

pub(crate) fn run(args: WatchArgs) -> CommandResult {
    // The run goes on whoever watches.
    block_on(OnSignal::Drop, |_| async move {
        let Found { client, run_id, .. } = reading::find(&args.client, &args.run).await?;
        let format = args.output.format();
        let mut watch = client.watch(&run_id, args.from).with_progress();
        if format != Format::Table {
            while let Some(event) = watch.next().await? {
                if output::one_of_many(format, &EventDocument::from(&event))? == Reader::Gone {
                    return Ok(Exit::Success);
                }
            }
            return Ok(ended(&watch));
        }
        let mut progress = Progress::below();
        let mut redraw = interval(REDRAW);
        let mut away = false;
        loop {
            tokio::select! {
                event = watch.next() => {
                    let Some(event) = event? else { break };
                    if let Some(line) = view::event(&event) {
                        progress.clear();
                        let text = format!("{}  {line}\n{}", view::time(event.time), causes::of_event(&event));
                        if output::print(&text)? == Reader::Gone {
                            return Ok(Exit::Success);
                        }
                    }
                    away = false;
                    progress.event(&event);
                }
                _ = redraw.tick() => {
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

fn ended(watch: &Watch) -> Exit {
    if let Some(error) = watch.run().filter(|run| run.is_interrupted()).and_then(|run| run.error.as_ref()) {
        output::note(&view::failure(error));
    }
    watch.run().map_or(Exit::Success, |run| outcome(run.status))
}
