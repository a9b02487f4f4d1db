//! Clients that submit, cancel and watch while processes fail, over the public API only.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gleitzeit_sdk::{Client, ClientConfig, RunEvent, Submission};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::workload::{Plan, draw};

/// A submit that was acknowledged.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) run_id: String,
    pub(crate) plan: Plan,
    /// A cancel was requested; whether it came in time varies.
    pub(crate) cancelled: bool,
    /// The numbers of the events that a watcher saw, if one watched the run to its end.
    pub(crate) watched: Option<Vec<u64>>,
    /// Violations that were observed.
    pub(crate) complaints: Vec<String>,
}

/// A client configuration that outlasts every fault.
pub(crate) fn config(url: &str) -> ClientConfig {
    ClientConfig {
        max_retries: 200,
        patience: Duration::from_secs(180),
        call_timeout: Duration::from_secs(10),
        ..ClientConfig::new(url)
    }
}

/// Connects, however long that takes.
pub(crate) async fn connect(url: &str) -> Client {
    loop {
        match Client::connect(config(url)).await {
            Ok(client) => return client,
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Submits until `end` is set; returns everything that was acknowledged, with what its watchers saw.
pub(crate) async fn submit(url: String, ledger: PathBuf, seed: u64, end: Arc<AtomicBool>) -> Vec<Accepted> {
    let mut rng = StdRng::seed_from_u64(seed);
    let client = connect(&url).await;
    let mut followed = JoinSet::new();
    while !end.load(Ordering::Relaxed) {
        let plan = draw(&mut rng, &ledger);
        let fate = Fate::draw(&mut rng);
        sleep(Duration::from_millis(rng.random_range(200..1_400))).await;
        followed.spawn(follow(client.clone(), plan, fate));
    }
    followed.join_all().await.into_iter().flatten().collect()
}

/// What happens to a run besides its submission.
#[derive(Clone, Copy, Debug)]
struct Fate {
    twice: bool,
    cancel_after: Option<Duration>,
    watch: bool,
}

impl Fate {
    fn draw(rng: &mut StdRng) -> Self {
        let cancel_after = rng.random_bool(0.15).then(|| Duration::from_millis(rng.random_range(0..3_000)));
        Self { twice: rng.random_bool(0.2), cancel_after, watch: rng.random_bool(0.4) }
    }
}

async fn follow(client: Client, plan: Plan, fate: Fate) -> Option<Accepted> {
    let submission = Submission::yaml(plan.workflow.to_string());
    // It was not acknowledged, so nothing was promised.
    let run = client.submit(submission.clone()).await.ok()?;
    let run_id = run.id().to_owned();
    let mut accepted = Accepted { run_id, plan, cancelled: false, watched: None, complaints: Vec::new() };
    let run_id = accepted.run_id.clone();
    if fate.twice
        && let Ok(again) = client.submit(submission).await
        && again.id() != run_id
    {
        accepted.complaints.push(format!("one request id gave the runs {run_id} and {}", again.id()));
    }
    let cancel = async {
        let after = fate.cancel_after?;
        sleep(after).await;
        Some(client.cancel(&run_id, "chaos").await.err().filter(|error| error.name() != "WORKFLOW_INVALID_STATE"))
    };
    let watch = async { if fate.watch { Some(watched(&client, &run_id).await) } else { None } };
    let (cancelled, watched) = tokio::join!(cancel, watch);
    accepted.cancelled = cancelled.is_some();
    if let Some(error) = cancelled.flatten() {
        accepted.complaints.push(format!("cancelling {run_id} ended with {error}"));
    }
    match watched {
        Some(Ok(seen)) => accepted.watched = Some(seen.into_iter().map(|event| event.seq).collect()),
        Some(Err(complaint)) => accepted.complaints.push(complaint),
        None => {}
    }
    Some(accepted)
}

/// All events of a run to its end, across all interruptions.
pub(crate) async fn watched(client: &Client, run_id: &str) -> Result<Vec<RunEvent>, String> {
    let mut watch = client.watch(run_id, 1);
    let mut seen = Vec::new();
    loop {
        match watch.next().await {
            Ok(Some(event)) => seen.push(event),
            Ok(None) => return Ok(seen),
            Err(error) => return Err(format!("watching {run_id} ended with {error}")),
        }
    }
}

/// The ledger that the code of tasks writes: `begin|end RUN TASK TOKEN MILLISECONDS`.
pub(crate) fn read_ledger(ledger: &Path) -> String {
    std::fs::read_to_string(ledger).unwrap_or_default()
}
