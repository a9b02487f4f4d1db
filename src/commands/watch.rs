//! `gleitzeit watch`: a run's events to its end, and what its tasks say meanwhile.

use gleitzeit_sdk::Watch;
use tokio::time::interval;

use crate::cli::{Format, WatchArgs};
use crate::color::Tone;
use crate::document::EventDocument;
use crate::error::{CommandResult, Exit};
use crate::follow::{AWAY, outcome};
use crate::output::Reader;
use crate::progress::{Progress, REDRAW};
use crate::signals::{OnSignal, block_on};
use crate::{causes, client, color, output, view};

pub(crate) fn run(args: WatchArgs) -> CommandResult {
    // The run goes on whoever watches.
    block_on(OnSignal::Drop, |_| async move {
        let client = client::connect(&args.client).await?;
        let run_id = client::find_run(&client, &args.run).await?;
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
                        // A line is read long after it was printed, so it has the time itself.
                        let (paint, time) = (color::stdout(), event.time.map(|it| it.to_string()).unwrap_or_else(|| "-".to_owned()));
                        let (time, line) = (paint.text(Tone::Dim, &time), paint.event(&event, &line));
                        let text = format!("{time}  {line}\n{}", causes::of_event(&event));
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
    watch.run().map_or(Exit::Success, |run| outcome(run.status))
}
