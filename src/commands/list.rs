//! `gleitzeit list`: runs, the newest first.

use gleitzeit_sdk::{RunFilter, RunStatus, RunSummary};

use crate::cli::{Format, ListArgs};
use crate::document::{List, RunItem};
use crate::error::{CommandError, CommandResult, Exit};
use crate::reading::Sources;
use crate::signals::{OnSignal, block_on};
use crate::{inputs, output, view};

const STATUSES: [RunStatus; 4] = [RunStatus::Running, RunStatus::Completed, RunStatus::Failed, RunStatus::Cancelled];

pub(crate) fn run(args: ListArgs) -> CommandResult {
    let again = same_filter(&args);
    let is_everything =
        args.status.is_empty() && args.name.is_none() && args.labels.is_empty() && args.page_token.is_none();
    let filter = RunFilter {
        statuses: args.status.iter().map(|word| status(word)).collect::<Result<_, _>>()?,
        name: args.name,
        labels: inputs::labels(&args.labels)?,
        page_size: args.limit,
        page_token: args.page_token,
        ..RunFilter::default()
    };
    block_on(OnSignal::Drop, |_| async move {
        let (page, places) = Sources::open(&args.client).await?.list(&filter).await?;
        let rows: Vec<_> = page.items.iter().zip(&places).map(|(run, place)| row(run, place.as_ref())).collect();
        let items = page.items.into_iter().zip(places);
        let list = List {
            items: items.map(|(run, place)| RunItem::from(run).at(place)).collect(),
            next_page_token: page.next_page_token,
        };
        output::document(args.output.format(), &list, |list| {
            let mut text = table(&rows);
            if let Some(token) = &list.next_page_token {
                text.push_str(&format!("\nthere are more: {again} --page-token {token}\n"));
            }
            text
        })?;
        if list.items.is_empty() && args.output.format() == Format::Table && is_everything {
            output::note("there are no runs yet: `gleitzeit run FILE` makes one, and so does `gleitzeit submit FILE`");
        }
        Ok(Exit::Success)
    })
}

/// A run, and where it is if there are several places.
fn row(run: &RunSummary, place: Option<&String>) -> Vec<String> {
    let mut row = vec![
        run.run_id.clone(),
        view::first_line(&run.name, 40),
        view::standing(run.status, run.error.as_ref()).to_owned(),
        run.task_count.to_string(),
        view::time(run.submitted_at),
        view::time(run.finished_at),
    ];
    row.extend(place.cloned());
    row
}

fn table(rows: &[Vec<String>]) -> String {
    let head = ["run", "name", "status", "tasks", "submitted", "finished", "where"];
    let columns = rows.first().map_or(head.len() - 1, Vec::len);
    view::table(&head[..columns], rows)
}

/// The command with its filters: the token of the next page belongs to them.
fn same_filter(args: &ListArgs) -> String {
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
    command
}

fn status(word: &str) -> Result<RunStatus, CommandError> {
    let words = STATUSES.map(view::run_status);
    STATUSES.into_iter().find(|status| view::run_status(*status) == word).ok_or_else(|| {
        let error = CommandError::usage(format!("`{word}` is no status of a run"));
        error.hint(format!("use {}", words.join(", ")))
    })
}
