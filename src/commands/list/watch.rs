//! `gleitzeit list --watch`: on a terminal redraws the list in place, elsewhere prints a line for each run that is new
//! or has changed. It ends when it is interrupted, or when its reader is gone.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use gleitzeit_sdk::{Client, RunFilter, RunSummary};
use tokio::time::{Instant, sleep};

use super::printed::Printed;
use super::{row, shown_ids, table};
use crate::cli::{ClientArgs, Format};
use crate::document::RunItem;
use crate::error::{CommandError, CommandResult, Exit};
use crate::follow::AWAY;
use crate::ids::Shown;
use crate::output::Reader;
use crate::signals::{OnSignal, block_on};
use crate::{client, output, states, text, view};

/// The refresh interval.
const EVERY: Duration = Duration::from_secs(1);
/// The height assumed for a terminal that does not report its size.
const DEFAULT_ROWS: usize = 24;

pub(super) fn run(reach: &ClientArgs, filter: RunFilter, is_gapless: bool, format: Format) -> CommandResult {
    block_on(OnSignal::Finish, |stop| async move {
        tokio::select! {
            // An interrupt is the only end of this command, so it counts as success.
            () = stop.cancelled() => Ok(Exit::Success),
            ended = watch(reach, &filter, is_gapless, format) => ended,
        }
    })
}

async fn watch(reach: &ClientArgs, filter: &RunFilter, is_gapless: bool, format: Format) -> CommandResult {
    let client = client::connect(reach).await?;
    let mut view = if format == Format::Table && is_screen() {
        View::Screen(Screen { is_gapless, ..Screen::default() })
    } else {
        View::Lines(Printed::default())
    };
    let mut away: Option<Instant> = None;
    loop {
        match view.look(&client, filter, format).await {
            Ok(Reader::There) => away = None,
            Ok(Reader::Gone) => return Ok(Exit::Success),
            Err(error) if error.exit == Exit::Unreachable => {
                if away.is_none() {
                    output::note(AWAY);
                }
                if away.get_or_insert_with(Instant::now).elapsed() > client.config().patience {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
        sleep(EVERY).await;
    }
}

/// Whether stdout is a terminal that can be redrawn.
fn is_screen() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

enum View {
    Screen(Screen),
    Lines(Printed),
}

impl View {
    async fn look(&mut self, client: &Client, filter: &RunFilter, format: Format) -> Result<Reader, CommandError> {
        let page = client.list_runs(filter).await?;
        match self {
            Self::Screen(screen) => {
                // Short ids can be computed only for a gapless page; otherwise each would need a request every second.
                let ids = if screen.is_gapless {
                    shown_ids(&page, true, async |short| client::count_of(client, short).await == Some(1)).await
                } else {
                    Shown::default()
                };
                let rows: Vec<Vec<String>> = page.items.iter().map(|run| row(run, &ids)).collect();
                match screen.drawing(&table(&rows), rows_of_terminal()) {
                    Some(text) => output::print(&text),
                    None => Ok(Reader::There),
                }
            }
            Self::Lines(printed) => {
                let mut changed = beyond(printed, client).await?;
                changed.extend(printed.page(page.items));
                changed.sort_by(|a, b| a.run_id.cmp(&b.run_id));
                print_changes(changed, format)
            }
        }
    }
}

/// The current state of runs that are no longer among the newest.
async fn beyond(printed: &mut Printed, client: &Client) -> Result<Vec<RunSummary>, CommandError> {
    let mut changed = Vec::new();
    for id in printed.beyond() {
        let filter = RunFilter { run_id_prefix: Some(id.clone()), page_size: 1, ..RunFilter::default() };
        let run = client.list_runs(&filter).await?.items.pop();
        if printed.one(&id, run.as_ref()) {
            changed.extend(run);
        }
    }
    Ok(changed)
}

fn print_changes(runs: Vec<RunSummary>, format: Format) -> Result<Reader, CommandError> {
    for run in runs {
        let reader = match format {
            Format::Table => output::print(&line(&run))?,
            Format::Json | Format::Yaml => output::one_of_many(format, &RunItem::from(run))?,
        };
        if reader == Reader::Gone {
            return Ok(Reader::Gone);
        }
    }
    Ok(Reader::There)
}

/// A line with fixed column widths, since later lines are unknown; the name comes last.
fn line(run: &RunSummary) -> String {
    let status = states::standing(run.status, run.error.as_ref());
    let (from, to) = (view::time(run.submitted_at), view::time(run.finished_at));
    let width = from.chars().count();
    format!("{}  {status:9}  {from}  {to:width$}  {}\n", run.run_id, text::first_line(&run.name, 60))
}

fn rows_of_terminal() -> usize {
    let reported = rustix::termios::tcgetwinsize(io::stdout()).ok();
    reported.map(|size| usize::from(size.ws_row)).filter(|rows| *rows > 0).unwrap_or(DEFAULT_ROWS)
}

/// The redrawn part of a terminal.
#[derive(Debug, Default)]
struct Screen {
    /// Whether no run is missing between those listed.
    is_gapless: bool,
    shown: String,
}

impl Screen {
    /// The text that replaces the last drawing by this one, on a terminal with this many rows; `None` if nothing
    /// changed.
    fn drawing(&mut self, text: &str, rows: usize) -> Option<String> {
        // A line that has scrolled away could not be overwritten.
        let shown = text.lines().take(rows.saturating_sub(1)).fold(String::new(), |mut shown, line| {
            let _ = writeln!(shown, "{line}");
            shown
        });
        if shown == self.shown {
            return None;
        }
        let last = std::mem::replace(&mut self.shown, shown);
        // Moves to the first line of the last drawing and clears from there.
        let clear = match last.lines().count() {
            0 => String::new(),
            lines => format!("\x1b[{lines}F\x1b[J"),
        };
        Some(format!("{clear}{}", self.shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_redrawn_in_place_and_only_if_it_has_changed() {
        let mut screen = Screen::default();
        assert_eq!(screen.drawing("RUN\na\nb\n", 24).as_deref(), Some("RUN\na\nb\n"));
        assert_eq!(screen.drawing("RUN\na\nb\n", 24), None);
        assert_eq!(screen.drawing("RUN\na\nb\nc\n", 4).as_deref(), None, "no more has room");
        assert_eq!(screen.drawing("RUN\nc\n", 24).as_deref(), Some("\x1b[3F\x1b[JRUN\nc\n"));
    }
}
