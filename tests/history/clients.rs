//! Clients that submit, cancel, retry, watch and read by a seed while processes die, over the public API only.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gleitzeit_sdk::provider::{CallError, Provider, Schemas};
use gleitzeit_sdk::{Client, ClientConfig, Error, ErrorCode, RunStatus, Submission};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::record::{Ask, History, Read};

/// The record that all clients write.
#[derive(Clone)]
pub(crate) struct Shared {
    begun: Instant,
    history: Arc<Mutex<History>>,
    pub(crate) end: Arc<AtomicBool>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), history: Arc::default(), end: Arc::default() }
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(&self) -> History {
        std::mem::take(&mut *self.history())
    }

    fn now_us(&self) -> u128 {
        self.begun.elapsed().as_micros()
    }

    fn is_over(&self) -> bool {
        self.end.load(Ordering::Relaxed)
    }
}

/// A client that gives up soon, so that the outcome of its requests is unknown to it; or one that never gives up.
pub(crate) async fn connect(url: &str, is_patient: bool) -> Client {
    let config = ClientConfig {
        max_retries: if is_patient { 200 } else { 1 },
        patience: Duration::from_secs(if is_patient { 120 } else { 1 }),
        call_timeout: Duration::from_secs(if is_patient { 10 } else { 2 }),
        ..ClientConfig::new(url)
    };
    loop {
        match Client::connect(config.clone()).await {
            Ok(client) => return client,
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// A provider in this process: each execution writes a line to a file, and takes a moment.
pub(crate) async fn serve(url: String, marks: PathBuf, stop: impl Future<Output = ()> + Send) -> Result<(), Error> {
    let provider =
        Provider::new("marks").at(&url, None).method("marks/leave", Schemas::default(), move |ms: Value, call| {
            let marks = marks.clone();
            async move {
                let line = format!("{} {} {}\n", call.run_id(), call.task_id(), call.attempt());
                let written = File::options().append(true).create(true).open(marks);
                written
                    .and_then(|mut file| file.write_all(line.as_bytes()))
                    .map_err(|error| CallError::new(error.to_string()))?;
                sleep(Duration::from_millis(ms["ms"].as_u64().unwrap_or(0))).await;
                Ok::<Value, CallError>(json!({}))
            }
        });
    provider.serve(stop).await
}

/// One client: one action after another until the end, with watchers beside it.
pub(crate) async fn act(url: String, number: u64, seed: u64, shared: Shared) {
    let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(number));
    let (hasty, patient) = (connect(&url, false).await, connect(&url, true).await);
    let mut watchers = JoinSet::new();
    let (mut requests, mut runs): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    while !shared.is_over() {
        sleep(Duration::from_millis(rng.random_range(5..150))).await;
        let known = |rng: &mut StdRng| (!runs.is_empty()).then(|| runs[rng.random_range(0..runs.len())].clone());
        let answered = match rng.random_range(0..100) {
            0..40 => {
                let request_id = format!("{number}-{}", requests.len());
                let ask = draw(&mut rng, &request_id);
                shared.history().asks.insert(request_id.clone(), ask);
                requests.push(request_id.clone());
                let answered = send(&hasty, &shared, &request_id).await;
                if let Some(run_id) = answered.clone().filter(|_| rng.random_bool(0.4)) {
                    watchers.spawn(watch(patient.clone(), run_id, shared.clone()));
                }
                answered
            }
            // The same request again: an answer may have been lost, or come twice.
            40..50 if !requests.is_empty() => {
                let request_id = requests[rng.random_range(0..requests.len())].clone();
                send(&hasty, &shared, &request_id).await
            }
            50..60 => {
                if let Some(of) = known(&mut rng) {
                    let request_id = format!("{number}-{}", requests.len());
                    let ask = repeated(&shared, &of);
                    shared.history().asks.insert(request_id.clone(), ask);
                    requests.push(request_id.clone());
                    send(&hasty, &shared, &request_id).await
                } else {
                    None
                }
            }
            60..68 => {
                if let Some(run_id) = known(&mut rng)
                    && hasty.cancel(&run_id, "history").await.is_ok()
                {
                    shared.history().cancelled.push(run_id);
                }
                None
            }
            _ => {
                if let Some(run_id) = known(&mut rng) {
                    read(&hasty, &run_id, &shared).await;
                }
                None
            }
        };
        runs.extend(answered.filter(|run_id| !runs.contains(run_id)));
    }
    watchers.join_all().await;
}

/// A workflow of three tasks, of which two leave marks and one may fail.
fn draw(rng: &mut StdRng, request_id: &str) -> Ask {
    let fails = rng.random_bool(0.2);
    let mark = |id: &str, ms: u64, on: &[&str]| json!({"id": id, "method": "marks/leave", "parameters": {"ms": ms}, "dependencies": on});
    let middle = match fails {
        true => {
            json!({"id": "middle", "method": "util/fail", "parameters": {"message": "no"}, "dependencies": ["first"]})
        }
        false => json!({"id": "middle", "method": "util/echo", "parameters": {"n": 1}, "dependencies": ["first"]}),
    };
    let (one, other) = (rng.random_range(0..400), rng.random_range(0..100));
    let name = format!("history-{request_id}");
    let workflow = json!({"name": name, "tasks": [mark("first", one, &[]), middle, mark("last", other, &["middle"])]});
    Ask { workflow: workflow.to_string(), fails, ..Ask::default() }
}

/// A retry of a run, with the same expected outcome as that run.
fn repeated(shared: &Shared, of: &str) -> Ask {
    let history = shared.history();
    let fails = history.asks.values().any(|ask| ask.fails && ask.answers.iter().any(|run_id| run_id == of));
    Ask { retry_of: Some(of.to_owned()), fails, ..Ask::default() }
}

/// Sends a request under its id, for the first time or again; returns the run, if it was acknowledged.
pub(crate) async fn send(client: &Client, shared: &Shared, request_id: &str) -> Option<String> {
    let ask = shared.history().asks.get(request_id).cloned()?;
    let answer = match &ask.retry_of {
        Some(of) => client.retry(of, Some(request_id), true).await,
        None => client.submit(Submission::yaml(ask.workflow).request_id(request_id)).await,
    };
    match answer {
        Ok(run) => {
            let run_id = run.id().to_owned();
            if let Some(ask) = shared.history().asks.get_mut(request_id) {
                ask.answers.push(run_id.clone());
            }
            Some(run_id)
        }
        // A run that is running or completed cannot be retried; any other error leaves the outcome open.
        Err(error) if error.name() == "WORKFLOW_INVALID_STATE" && ask.retry_of.is_some() => None,
        Err(error) if error.is_retryable() || error.is_unreachable() => None,
        Err(error) => {
            shared.history().complaints.push(format!("request `{request_id}` was answered with {error}"));
            None
        }
    }
}

async fn read(client: &Client, run_id: &str, shared: &Shared) {
    let began_us = shared.now_us();
    match client.get_run(run_id).await {
        Ok(run) => {
            let read = Read {
                run_id: run_id.to_owned(),
                began_us,
                ended_us: shared.now_us(),
                status: run.status,
                seq: run.seq,
            };
            shared.history().reads.push(read);
        }
        Err(error) if error.is_retryable() || error.is_unreachable() => {}
        Err(error) => shared.history().complaints.push(format!("reading run {run_id} was answered with {error}")),
    }
}

async fn watch(client: Client, run_id: String, shared: Shared) {
    let mut watch = client.watch(&run_id, 1);
    let mut seqs = Vec::new();
    loop {
        match watch.next().await {
            Ok(Some(event)) => seqs.push(event.seq),
            Ok(None) => return shared.history().watched.push((run_id, seqs)),
            // The limit of watches for an address is documented, so this breaks no promise: hours of faults leave much
            // unfinished.
            Err(error) if error.known() == Some(ErrorCode::ResourceExhausted) => return,
            Err(error) => {
                return shared.history().complaints.push(format!("watching run {run_id} ended with {error}"));
            }
        }
    }
}

/// Whether a run is final.
pub(crate) fn is_final(status: RunStatus) -> bool {
    status != RunStatus::Running
}
