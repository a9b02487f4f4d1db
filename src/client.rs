//! Reaching a control plane, and finding the run that the user means.

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

/// Connects to the control plane that was named. If none was and none answers at the default, starts one in the
/// background and says so, unless `before` finds that there is no use in it.
///
/// # Errors
/// If it cannot be reached or started, or what `before` found.
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
                // Somebody else may have started one at the same time.
                Err(error) => return Client::connect(config).await.map_err(|_| error),
            };
            output::note(&format!(
                "no control plane answered at {DEFAULT_URL}: started one in the background (pid {}, log {}); \
                 `gleitzeit stop` ends it",
                started.pid,
                started.log.display()
            ));
            Ok(Client::connect(config).await?)
        }
        connected => connected.map_err(|error| unreached(error, args)),
    }
}

/// An error with what to do about it, after where the address came from.
pub(crate) fn unreached(error: gleitzeit_sdk::Error, args: &ClientArgs) -> CommandError {
    let mut error = CommandError::from(error);
    if let (Exit::Unreachable, Some(origin)) = (error.exit, hub_url::origin(args.hub_url.as_deref())) {
        error.hint = Some(error.hint.map_or(origin.clone(), |hint| format!("{origin}; {hint}")));
    }
    error
}

/// What accepts connections holds the port, whatever it is: nothing can be started there.
pub(crate) fn nobody_listens(error: &gleitzeit_sdk::Error) -> bool {
    error.is_unreachable() && error.known() == Some(ErrorCode::ConnectionRefused)
}

pub(crate) fn config(args: &ClientArgs) -> ClientConfig {
    let url = hub_url::named(args.hub_url.as_deref()).unwrap_or(DEFAULT_URL);
    args.token.for_client(ClientConfig { ca: trust::ca(), traceparent: caller(), ..ClientConfig::new(url) })
}

/// The trace that this command is called in, if whoever calls says so.
pub(crate) fn caller() -> Option<String> {
    std::env::var("TRACEPARENT").ok().filter(|context| !context.is_empty())
}

/// How many runs begin so, counted to two; none if the control plane does not say.
pub(crate) async fn count_of(client: &Client, prefix: &str) -> Option<usize> {
    let filter = RunFilter { run_id_prefix: Some(prefix.to_owned()), page_size: 2, ..RunFilter::default() };
    client.list_runs(&filter).await.ok().map(|page| page.items.len())
}

/// The id of the run that the user means: an id, the beginning of one, or `last`.
///
/// # Errors
/// If there is none, or several begin so.
pub(crate) async fn find_run(client: &Client, wanted: &str) -> Result<String, CommandError> {
    if is_full_id(wanted) {
        return Ok(wanted.to_owned());
    }
    let runs = client.list_runs(&filter_of(wanted)?).await?.items;
    the_one(&runs, wanted)
}

/// Whether it can be nothing but a run's whole id.
pub(crate) fn is_full_id(wanted: &str) -> bool {
    wanted.len() == 36 || (wanted.len() == 32 && !wanted.contains('-'))
}

/// What lists the runs that the user may mean.
///
/// # Errors
/// If it is no run's id, nor the beginning of one, nor `last`.
pub(crate) fn filter_of(wanted: &str) -> Result<RunFilter, CommandError> {
    let last = wanted == "last";
    if wanted.is_empty() {
        let error = CommandError::usage("the run's id is empty");
        return Err(error.hint("give a run's id, the beginning of one, or `last`"));
    }
    if !last && !wanted.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
        let error = CommandError::usage(format!("`{wanted}` names no run"));
        return Err(error.hint("give a run's id, the beginning of one, or `last`; `gleitzeit list` shows them"));
    }
    Ok(RunFilter {
        run_id_prefix: (!last).then(|| wanted.to_owned()),
        page_size: if last { 1 } else { SHOWN },
        ..RunFilter::default()
    })
}

/// The id of the only run that was found; of several that `last` found, the newest, which is the first.
///
/// # Errors
/// If there is none, or several begin so.
pub(crate) fn the_one(runs: &[RunSummary], wanted: &str) -> Result<String, CommandError> {
    let last = wanted == "last";
    let runs = if last { runs.get(..1).unwrap_or_default() } else { runs };
    match runs {
        [run] => Ok(run.run_id.clone()),
        [] if last => Err(not_found("there are no runs yet")
            .hint("make one with `gleitzeit run FILE`, or submit one with `gleitzeit submit FILE`")),
        [] => {
            Err(not_found(format!("no run begins with `{wanted}`")).hint("`gleitzeit list` shows the runs there are"))
        }
        several => Err(CommandError::new(
            Exit::Failed,
            ErrorCode::InvalidParams,
            format!("several runs begin with `{wanted}`: {}", ids(several)),
        )
        .hint("give more of the id")),
    }
}

/// How many runs an ambiguous beginning names.
const SHOWN: u32 = 5;

fn ids(runs: &[RunSummary]) -> String {
    runs.iter().map(|run| run.run_id.as_str()).collect::<Vec<_>>().join(", ")
}

fn not_found(message: impl Into<String>) -> CommandError {
    CommandError::new(Exit::Failed, ErrorCode::WorkflowNotFound, message)
}

/// Everything of a list that comes in pages.
///
/// # Errors
/// What a page ends with.
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
/// If it is not there or the control plane cannot be reached.
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
