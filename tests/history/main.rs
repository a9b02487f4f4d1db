//! A history checker. Clients submit with request ids, cancel, retry, watch and read while the control plane and the
//! agents are killed and frozen by a seed. Then everything runs again, and the clients' records are compared with the
//! actual state: nothing acknowledged is lost, nothing is doubled, nothing is stuck.
//!
//! `cargo test --test history` injects faults for a quarter of a minute. `GLEITZEIT_HISTORY_SECONDS=600` makes it
//! longer, and `GLEITZEIT_HISTORY_SEED` repeats the faults and requests of another test run.

mod checker;
mod checker_tests;
mod clients;
mod fleet;
mod record;
#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "shared with tests that need more of it")]
mod support;

use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use gleitzeit_sdk::{Client, RunFilter};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use clients::Shared;
use fleet::Fleet;
use record::{Event, Facts, Found, History, Listed};
use support::{PATIENCE, until};

/// How long the runs may take to end after the last fault.
const CALM: Duration = Duration::from_secs(60);
const CLIENTS: u64 = 4;

/// A number from the environment.
fn asked<T: FromStr<Err: Display>>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("`{name}` is `{text}`: {error}")))
}

#[test]
#[expect(clippy::print_stderr, reason = "who repeats it needs the seed")]
fn acknowledged_work_survives_every_fault() {
    let seconds = asked("GLEITZEIT_HISTORY_SECONDS").unwrap_or(15);
    let of_clock = || SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| u64::from(since.subsec_micros()));
    let seed: u64 = asked("GLEITZEIT_HISTORY_SEED").unwrap_or_else(of_clock);
    let again = format!("GLEITZEIT_HISTORY_SECONDS={seconds} GLEITZEIT_HISTORY_SEED={seed} cargo test --test history");
    eprintln!("again: {again}");

    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let (mut fleet, shared) = (Fleet::start(), Shared::new());
    let (url, marks) = (fleet.url.clone(), fleet.sandbox.path().join("marks"));
    let stop = tokio_util::sync::CancellationToken::new();
    let provider = runtime.spawn(clients::serve(url.clone(), marks.clone(), stop.clone().cancelled_owned()));
    let patient = runtime.block_on(clients::connect(&url, true));
    until("all methods are there", PATIENCE, || runtime.block_on(has_all_methods(&patient)).then_some(()));
    let acting: Vec<_> =
        (0..CLIENTS).map(|number| runtime.spawn(clients::act(url.clone(), number, seed, shared.clone()))).collect();

    hurt_and_heal(&mut fleet, seed, Duration::from_secs(seconds));
    shared.end.store(true, Ordering::Relaxed);
    fleet.heal(true);

    let (history, found) = runtime.block_on(async {
        for client in acting {
            client.await.expect("it does not panic");
        }
        let mut history = ask_again(&patient, &shared).await;
        let found = find(&patient, &history, &marks).await;
        stop.cancel();
        if let Err(error) = provider.await.expect("it does not panic") {
            history.complaints.push(format!("the provider ended with {error}"));
        }
        (history, found)
    });
    let faults = std::mem::take(&mut fleet.faults);
    let mut verdict = checker::check(&history, &found);
    verdict.broken.extend(fleet.finish());

    let (runs, events) = (found.listed.len(), found.runs.values().map(|facts| facts.events.len()).sum::<usize>());
    eprintln!(
        "{seconds} s, seed {seed}, faults {faults:?}: {} requests, {runs} runs, {} executions, {events} events, {} reads, {} watchers",
        history.asks.len(),
        found.marks.len(),
        history.reads.len(),
        history.watched.len(),
    );
    let counts = [&verdict.lost, &verdict.doubled, &verdict.stuck].map(Vec::len);
    eprintln!("lost {}, doubled {}, stuck {}", counts[0], counts[1], counts[2]);
    assert!(verdict.is_good(), "{verdict:#?}\nagain: {again}");
    assert!(runs > 0 && !found.marks.is_empty() && !faults.is_empty(), "nothing happened, so that this shows nothing");
}

/// Whether the provider of the marks and a provider of an echo are registered.
async fn has_all_methods(client: &Client) -> bool {
    let Ok(protocols) = client.protocols(None).await else { return false };
    let Ok(echoing) = client.providers(Some("util/echo"), None).await else { return false };
    protocols.items.iter().any(|protocol| protocol.name == "marks") && !echoing.items.is_empty()
}

/// Injects one fault after another for this time.
fn hurt_and_heal(fleet: &mut Fleet, seed: u64, time: Duration) {
    let mut rng = StdRng::seed_from_u64(seed);
    let over = Instant::now() + time;
    let mut due = Instant::now() + Duration::from_secs(1);
    while Instant::now() < over {
        fleet.heal(false);
        if Instant::now() >= due {
            fleet.hurt(&mut rng);
            due = Instant::now() + Duration::from_millis(rng.random_range(100..1_500));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends every request once more, now that each is answered, including those whose outcome is unknown.
async fn ask_again(client: &Client, shared: &Shared) -> History {
    let requests: Vec<String> = shared.history().asks.keys().cloned().collect();
    for request_id in requests {
        clients::send(client, shared, &request_id).await;
    }
    shared.take()
}

/// Reads the whole final state.
async fn find(client: &Client, history: &History, marks: &Path) -> Found {
    let mut found = Found::default();
    let over = Instant::now() + CALM;
    let mut acknowledged: Vec<&String> = history.asks.values().flat_map(|ask| &ask.answers).collect();
    acknowledged.sort();
    acknowledged.dedup();
    for run_id in acknowledged {
        let left = over.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
        let run = match client.wait(run_id, Some(left)).await {
            Ok(run) => run,
            Err(error) => {
                found.missing.insert(run_id.clone(), error.to_string());
                continue;
            }
        };
        if !clients::is_final(run.status) {
            let waits: Vec<_> = run.tasks.iter().filter_map(|task| task.waiting.as_ref()).collect();
            found.stuck.insert(run_id.clone(), format!("{waits:?}"));
            continue;
        }
        let mut watch = client.watch(run_id, 1);
        let mut events = Vec::new();
        while let Ok(Some(event)) = watch.next().await {
            let task = event.task_id.unwrap_or_default();
            events.push(Event { seq: event.seq, kind: event.kind, task, attempt: event.attempt });
        }
        found.runs.insert(run_id.clone(), Facts { status: run.status, events });
    }
    let mut filter = RunFilter { page_size: 1_000, ..RunFilter::default() };
    loop {
        let page = client.list_runs(&filter).await.expect("runs can be listed");
        let listed = page.items.into_iter();
        found.listed.extend(listed.map(|run| Listed { run_id: run.run_id, name: run.name, retry_of: run.retry_of }));
        filter.page_token = page.next_page_token;
        if filter.page_token.is_none() {
            break;
        }
    }
    // A growing list is read while nothing is added to it.
    let text = std::fs::read_to_string(marks).unwrap_or_default();
    found.marks = text.lines().filter_map(mark).collect();
    found
}

fn mark(line: &str) -> Option<(String, String, u32)> {
    let mut words = line.split(' ');
    Some((words.next()?.to_owned(), words.next()?.to_owned(), words.next()?.parse().ok()?))
}
