//! `gleitzeit list`: runs, the newest first.

mod printed;
mod watch;

use gleitzeit_sdk::{Page, RunFilter, RunStatus, RunSummary, Timestamp};

use crate::cli::{Format, ListArgs};
use crate::color::Tone;
use crate::document::{List, RunItem};
use crate::error::{CommandError, CommandResult, Exit};
use crate::find_runs::Sources;
use crate::signals::{OnSignal, block_on};
use crate::table::Table;
use crate::{color, hub_url, ids, inputs, output, states, view, when};

const HEAD: [&str; 7] = ["run", "name", "status", "tasks", "submitted", "finished", "where"];

pub(crate) fn run(args: ListArgs) -> CommandResult {
    let now = when::now();
    let (since, until) = (args.since.map(|it| it.seen_at(now)), args.until.map(|it| it.seen_at(now)));
    if let (Some(since), Some(until)) = (since, until)
        && since >= until
    {
        let error = CommandError::usage(format!("no run can be listed: --since is {since} and --until is {until}"));
        return Err(error.hint("--since names the earlier time, --until the later one"));
    }
    let again = same_filter(&args, since, until);
    // No run is missing between those on a page.
    let is_gapless = args.status.is_empty() && args.name.is_none() && args.labels.is_empty();
    let is_everything = is_gapless && args.page_token.is_none() && since.is_none() && until.is_none();
    let also_interrupted = args.status.iter().any(|word| word == states::INTERRUPTED);
    if also_interrupted {
        check_interrupted(&args)?;
    }
    let plain = args.status.iter().filter(|word| *word != states::INTERRUPTED);
    let filter = RunFilter {
        statuses: plain.map(|word| status(word)).collect::<Result<_, _>>()?,
        name: args.name,
        labels: inputs::labels(&args.labels)?,
        submitted_after: since,
        submitted_before: until,
        page_size: args.limit,
        page_token: args.page_token,
        ..RunFilter::default()
    };
    if args.watch {
        return watch::run(&args.client, filter, is_gapless, args.output.format());
    }
    block_on(OnSignal::Drop, |_| async move {
        let mut sources = Sources::open(&args.client).await?;
        let (page, places) = sources.list(&filter, also_interrupted).await?;
        let ids = match args.output.format() {
            Format::Table => shown_ids(&page, is_gapless, async |short| sources.names_one(short).await).await,
            Format::Json | Format::Yaml => ids::Shown::default(),
        };
        let rows: Vec<Vec<String>> = page
            .items
            .iter()
            .zip(&places)
            .map(|(run, place)| row(run, &ids).into_iter().chain(place.clone()).collect())
            .collect();
        let items = page.items.into_iter().zip(places);
        let list = List {
            items: items.map(|(run, place)| RunItem::from(run).at(place)).collect(),
            next_page_token: page.next_page_token,
        };
        output::document(args.output.format(), &list, |_| table(&rows))?;
        if let (Some(token), Format::Table) = (&list.next_page_token, args.output.format()) {
            output::note(&format!("there are more runs: `{again} --page-token {token}`"));
        }
        if list.items.is_empty() && args.output.format() == Format::Table && is_everything {
            output::note("there are no runs yet: make one with `gleitzeit run FILE` or `gleitzeit submit FILE`");
        }
        Ok(Exit::Success)
    })
}

/// Refuses to look for interrupted runs where there cannot be any.
fn check_interrupted(args: &ListArgs) -> Result<(), CommandError> {
    let (what, instead) = match hub_url::named(args.client.hub_url.as_deref()) {
        Some(url) => (
            format!("this lists the runs of the control plane at {url}"),
            "name no control plane, also not by GLEITZEIT_HUB_URL: interrupted runs are in stores on this machine",
        ),
        None if args.watch => ("`--watch` shows the runs of a control plane".to_owned(), "list without --watch"),
        None => return Ok(()),
    };
    let error = CommandError::usage(format!("{what}, and none of them is interrupted"));
    Err(error.hint(format!("leave `interrupted` out of --status, or {instead}")))
}

async fn shown_ids(page: &Page<RunSummary>, is_gapless: bool, names_one: impl AsyncFn(&str) -> bool) -> ids::Shown {
    let ids = page.items.iter().map(|run| run.run_id.as_str()).collect();
    ids::Shown::of_page(names_one, ids, is_gapless, page.next_page_token.is_some()).await
}

/// A column for the place appears only if the runs are in several places.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(HEAD.len() - 1, Vec::len);
    view::fitted(&Table::new(&HEAD[..columns], rows).optional(&["tasks", "finished", "submitted"]))
}

fn row(run: &RunSummary, ids: &ids::Shown) -> Vec<String> {
    let paint = color::stdout();
    let (status, tone) = view::status_of(run.status, run.error.as_ref());
    vec![
        paint.text(Tone::Id, ids.of(&run.run_id)),
        view::cell(&run.name, 40),
        paint.text(tone, status),
        run.task_count.to_string(),
        view::time(run.submitted_at),
        view::time(run.finished_at),
    ]
}

/// The command line with its filters, for the next page: a page token belongs to its filters, and ages would have moved
/// on.
fn same_filter(args: &ListArgs, since: Option<Timestamp>, until: Option<Timestamp>) -> String {
    let mut command = "gleitzeit list".to_owned();
    if !args.status.is_empty() {
        command.push_str(&format!(" --status {}", args.status.join(",")));
    }
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    if let Some(name) = &args.name {
        command.push_str(&format!(" --name {}", quoted(name)));
    }
    for label in &args.labels {
        command.push_str(&format!(" --label {}", quoted(label)));
    }
    if let Some(url) = hub_url::named(args.client.hub_url.as_deref())
        && hub_url::of_environment().as_deref() != Some(url)
    {
        command.push_str(&format!(" --hub-url {}", quoted(url)));
    }
    command.push_str(&format!(" --limit {}", args.limit));
    for (flag, time) in [("since", since), ("until", until)] {
        if let Some(time) = time {
            command.push_str(&format!(" --{flag} {time}"));
        }
    }
    command
}

fn status(word: &str) -> Result<RunStatus, CommandError> {
    let words = states::RUN_STATUSES.map(states::run_status).join(", ");
    states::RUN_STATUSES.into_iter().find(|status| states::run_status(*status) == word).ok_or_else(|| {
        let error = CommandError::usage(format!("`{word}` is not a run status"));
        error.hint(format!("use {words}, {}", states::INTERRUPTED))
    })
}
