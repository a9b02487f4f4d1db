//! Queries a control plane for completions, with a very short timeout and only if one is running.

use std::time::Duration;

use gleitzeit_sdk::{Client, ClientConfig, DEFAULT_URL, RunFilter, RunStatus, RunSummary, Task, TaskFilter};

use super::Given;
use crate::{client, hub_url, states, text, view};

/// Limit for connecting and for an answer: a person is waiting after a key press.
const MOMENT: Duration = Duration::from_millis(250);
/// How many runs or tasks are offered.
const OFFERED: u32 = 50;

/// The newest runs whose ids have this prefix.
pub(super) fn runs(given: &Given, statuses: Vec<RunStatus>, start: &str) -> Vec<RunSummary> {
    let is_id = !start.is_empty() && start.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let filter = RunFilter {
        statuses,
        run_id_prefix: is_id.then(|| start.to_owned()),
        page_size: OFFERED,
        ..RunFilter::default()
    };
    asked(given, async |client: Client| client.list_runs(&filter).await.ok().map(|page| page.items)).unwrap_or_default()
}

/// A description of a run for the list of candidates.
pub(super) fn about(run: &RunSummary) -> String {
    let name = text::first_line(&run.name, 40);
    format!("{name}, {}, {}", states::run_status(run.status), view::time(run.submitted_at))
}

/// The first tasks of a run.
pub(super) fn tasks(given: &Given, run: &str) -> Vec<Task> {
    let filter = TaskFilter { without_results: true, page_size: OFFERED, ..TaskFilter::default() };
    asked(given, async |client: Client| {
        let run_id = client::find_run(&client, run).await.ok()?;
        client.list_tasks(&run_id, &filter).await.ok().map(|page| page.items)
    })
    .unwrap_or_default()
}

/// Protocols and methods with their descriptions; `None` if no control plane answers.
pub(super) fn methods(given: &Given) -> Option<Vec<(String, String)>> {
    asked(given, async |client: Client| {
        let protocols = client.protocols(None).await.ok()?.items;
        let names = protocols.into_iter().flat_map(|it| {
            let methods = it.methods.into_iter().map(|method| (method.name, method.description));
            names(&it.name, methods).collect::<Vec<_>>()
        });
        Some(names.collect())
    })
}

/// A protocol and its methods.
pub(super) fn names(
    protocol: &str,
    methods: impl Iterator<Item = (String, Option<String>)>,
) -> impl Iterator<Item = (String, String)> {
    let of_protocol = (protocol.to_owned(), "a protocol".to_owned());
    let about = |text: Option<String>| text.map_or_else(|| "a method".to_owned(), |text| text::first_line(&text, 60));
    std::iter::once(of_protocol).chain(methods.map(move |(name, text)| (name, about(text))))
}

/// Asks the control plane that the words or the environment name, or the default one.
fn asked<T>(given: &Given, ask: impl AsyncFnOnce(Client) -> Option<T>) -> Option<T> {
    let url = hub_url::named(given.hub_url.as_deref()).map(str::to_owned).or_else(hub_url::of_environment);
    let config = given.token.for_client(ClientConfig {
        ca: given.ca.clone().filter(|path| !path.as_os_str().is_empty()),
        connect_timeout: MOMENT,
        call_timeout: MOMENT,
        max_retries: 0,
        ..ClientConfig::new(url.unwrap_or_else(|| DEFAULT_URL.to_owned()))
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let found = runtime.block_on(async {
        let client = tokio::time::timeout(MOMENT, Client::connect(config)).await.ok()?.ok()?;
        tokio::time::timeout(MOMENT, ask(client)).await.ok()?
    });
    // A pending name lookup continues on its thread and must not delay the exit.
    runtime.shutdown_background();
    found
}
