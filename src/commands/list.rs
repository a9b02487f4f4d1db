//! `gleitzeit list`: runs, the newest first.

use gleitzeit_sdk::{RunFilter, RunStatus};

use crate::cli::{Format, ListArgs};
use crate::document::{List, RunItem};
use crate::error::{CommandError, CommandResult, Exit};
use crate::signals::{OnSignal, block_on};
use crate::color::Tone;
use crate::table::Table;
use crate::{client, color, ids, inputs, output, view};

const STATUSES: [RunStatus; 4] = [RunStatus::Running, RunStatus::Completed, RunStatus::Failed, RunStatus::Cancelled];

pub(crate) fn run(args: ListArgs) -> CommandResult {
    let again = same_filter(&args);
    // Nothing was left out between the runs of a page.
    let is_gapless = args.status.is_empty() && args.name.is_none() && args.labels.is_empty();
    let filter = RunFilter {
        statuses: args.status.iter().map(|word| status(word)).collect::<Result<_, _>>()?,
        name: args.name,
        labels: inputs::labels(&args.labels)?,
        page_size: args.limit,
        page_token: args.page_token,
        ..RunFilter::default()
    };
    block_on(OnSignal::Drop, |_| async move {
        let client = client::connect(&args.client).await?;
        let page = client.list_runs(&filter).await?;
        let paint = color::stdout();
        let ids: Vec<&str> = page.items.iter().map(|run| run.run_id.as_str()).collect();
        let ids = match args.output.format() {
            Format::Table => ids::Shown::of_page(&client, ids, is_gapless, page.next_page_token.is_some()).await,
            Format::Json | Format::Yaml => ids::Shown::default(),
        };
        let rows: Vec<Vec<String>> = page
            .items
            .iter()
            .map(|run| {
                let (status, tone) = view::status_of(run.status, run.is_set_aside());
                vec![
                    paint.text(Tone::Id, ids.of(&run.run_id)),
                    view::cell(&run.name, 40),
                    paint.text(tone, status),
                    run.task_count.to_string(),
                    view::time(run.submitted_at),
                    view::time(run.finished_at),
                ]
            })
            .collect();
        let list =
            List { items: page.items.into_iter().map(RunItem::from).collect(), next_page_token: page.next_page_token };
        output::document(args.output.format(), &list, |list| {
            let head = ["run", "name", "status", "tasks", "submitted", "finished"];
            let mut text = view::fitted(&Table::new(&head, &rows).spare(&["tasks", "finished", "submitted"]));
            if let Some(token) = &list.next_page_token {
                text.push_str(&format!("\nthere are more: {again} --page-token {token}\n"));
            }
            text
        })?;
        Ok(Exit::Success)
    })
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
