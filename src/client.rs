//! Connects to a control plane, and finds the run that the user means.

use gleitzeit_sdk::{Client, ClientConfig, DEFAULT_URL, Page, Run, RunFilter, RunSummary, TaskFilter};
use gleitzeit_workflow::ErrorCode;

use crate::background;
use crate::cli::ClientArgs;
use crate::error::{CommandError, Exit};
use crate::{hub_url, output, trust};

/// Connects to the control plane that was named, or to the default one.
///
/// # Errors
/// If it cannot be reached.
pub(crate) async fn connect(args: &ClientArgs) -> Result<Client, CommandError> {
    Client::connect(config(args)).await.map_err(|error| unreached(error, args))
}

/// Connects to the control plane that was named. If none was named and none answers at the default address, starts one
/// in the background and says so, unless `before` fails.
///
/// # Errors
/// If it cannot be reached or started, or with the error of `before`.
pub(crate) async fn connect_or_start(
    args: &ClientArgs,
    before: impl FnOnce() -> Result<(), CommandError>,
) -> Result<Client, CommandError> {
    let config = config(args);
    match Client::connect(config.clone()).await {
        Err(error) if nobody_listens(&error) && hub_url::named(args.hub_url.as_deref()).is_none() => {
            before()?;
            let started = match background::start_default().await {
                Ok(started) => started,
                // Another process may have started one at the same time.
                Err(error) => return Client::connect(config).await.map_err(|_| error),
            };
            output::note(&format!(
                "no control plane answered at {DEFAULT_URL}: started one in the background (pid {}, log {}); \
                 `gleitzeit stop` stops it",
                started.pid,
                started.log.display()
            ));
            Ok(Client::connect(config).await?)
        }
        connected => connected.map_err(|error| unreached(error, args)),
    }
}

/// Adds to an error where the address came from, and what to do about it.
pub(crate) fn unreached(error: gleitzeit_sdk::Error, args: &ClientArgs) -> CommandError {
    let mut error = CommandError::from(error);
    if let (Exit::Unreachable, Some(origin)) = (error.exit, hub_url::origin(args.hub_url.as_deref())) {
        error.hint = Some(error.hint.map_or(origin.clone(), |hint| format!("{origin}; {hint}")));
    }
    error
}

/// Whether nothing listens. Anything that accepts connections holds the port, so no control plane could be started
/// there.
pub(crate) fn nobody_listens(error: &gleitzeit_sdk::Error) -> bool {
    error.is_unreachable() && error.known() == Some(ErrorCode::ConnectionRefused)
}

pub(crate) fn config(args: &ClientArgs) -> ClientConfig {
    let url = hub_url::named(args.hub_url.as_deref()).unwrap_or(DEFAULT_URL);
    args.token.for_client(ClientConfig { ca: trust::ca(), traceparent: caller(), ..ClientConfig::new(url) })
}

/// The trace context in which this command was called, if its caller passed one.
pub(crate) fn caller() -> Option<String> {
    std::env::var("TRACEPARENT").ok().filter(|context| !context.is_empty())
}

/// How many runs have an id with this prefix, counted up to two; `None` if the control plane does not answer.
pub(crate) async fn count_of(client: &Client, prefix: &str) -> Option<usize> {
    let filter = RunFilter { run_id_prefix: Some(prefix.to_owned()), page_size: 2, ..RunFilter::default() };
    client.list_runs(&filter).await.ok().map(|page| page.items.len())
}

/// The id of the run that the user means, by an id, a prefix of one, or `last`.
///
/// # Errors
/// If there is none, or the prefix is ambiguous.
pub(crate) async fn find_run(client: &Client, wanted: &str) -> Result<String, CommandError> {
    if is_full_id(wanted) {
        return Ok(wanted.to_owned());
    }
    let runs = client.list_runs(&filter_of(wanted)?).await?.items;
    the_one(&runs, wanted)
}

/// Whether the text can only be a complete run id.
pub(crate) fn is_full_id(wanted: &str) -> bool {
    wanted.len() == 36 || (wanted.len() == 32 && !wanted.contains('-'))
}

/// The filter that lists the runs that the user may mean.
///
/// # Errors
/// If the text is not a run id, a prefix of one, or `last`.
pub(crate) fn filter_of(wanted: &str) -> Result<RunFilter, CommandError> {
    let last = wanted == "last";
    if wanted.is_empty() {
        let error = CommandError::usage("the run's id is empty");
        return Err(error.hint("give a run's id, the beginning of one, or `last`"));
    }
    if !last && !wanted.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
        let error = CommandError::usage(format!("`{wanted}` cannot be a run id"));
        return Err(error.hint("give a run's id, the beginning of one, or `last`; `gleitzeit list` shows them"));
    }
    Ok(RunFilter {
        run_id_prefix: (!last).then(|| wanted.to_owned()),
        page_size: if last { 1 } else { SHOWN },
        ..RunFilter::default()
    })
}

/// The id of the only run that was found; if `last` found several, that of the first, which is the newest.
///
/// # Errors
/// If there is none, or the prefix is ambiguous.
pub(crate) fn the_one(runs: &[RunSummary], wanted: &str) -> Result<String, CommandError> {
    let last = wanted == "last";
    let runs = if last { runs.get(..1).unwrap_or_default() } else { runs };
    match runs {
        [run] => Ok(run.run_id.clone()),
        [] if last => Err(not_found("there are no runs yet")
            .hint("make one with `gleitzeit run FILE`, or submit one with `gleitzeit submit FILE`")),
        [] => Err(not_found(format!("no run begins with `{wanted}`")).hint("`gleitzeit list` shows all runs")),
        several => Err(CommandError::new(
            Exit::Failed,
            ErrorCode::InvalidParams,
            format!("several runs begin with `{wanted}`: {}", ids(several)),
        )
        .hint("give more digits of the id")),
    }
}

/// How many runs are named for an ambiguous prefix.
const SHOWN: u32 = 5;

fn ids(runs: &[RunSummary]) -> String {
    runs.iter().map(|run| run.run_id.as_str()).collect::<Vec<_>>().join(", ")
}

fn not_found(message: impl Into<String>) -> CommandError {
    CommandError::new(Exit::Failed, ErrorCode::WorkflowNotFound, message)
}

/// All items of a paged list.
///
/// # Errors
/// With the error of the first page that fails.
pub(crate) async fn all_pages<T>(
    mut read: impl AsyncFnMut(Option<&str>) -> gleitzeit_sdk::Result<Page<T>>,
) -> Result<Vec<T>, CommandError> {
    let (mut items, mut token) = (Vec::new(), None::<String>);
    loop {
        let page = read(token.as_deref()).await?;
        items.extend(page.items);
        token = page.next_page_token;
        if token.is_none() {
            return Ok(items);
        }
    }
}

/// A run with all its tasks and their results, however many there are.
///
/// # Errors
/// If the run does not exist or the control plane cannot be reached.
pub(crate) async fn whole_run(client: &Client, run_id: &str) -> Result<Run, CommandError> {
    let mut run = client.get_run(run_id).await?;
    if !run.tasks_truncated && !run.tasks.iter().any(|task| task.result_omitted) {
        return Ok(run);
    }
    run.tasks = all_pages(async |token: Option<&str>| {
        let page_token = token.map(str::to_owned);
        client.list_tasks(run_id, &TaskFilter { page_size: 1_000, page_token, ..TaskFilter::default() }).await
    })
    .await?;
    run.tasks_truncated = false;
    Ok(run)
}
