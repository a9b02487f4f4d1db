//! Injects many faults at once, by a seed: processes are killed, stopped and frozen while workflows are submitted,
//! cancelled and watched. Then everything is repaired, and a checker compares the records with every promise.
//!
//! `cargo test --test chaos` runs a short test; `cargo test --test chaos -- --seconds 600 --seed 7` runs as long as
//! wanted.

mod checker;
mod checker_tests;
mod clients;
mod fleet;
mod hosts;
mod schedule;
#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "shared with tests that need more of it")]
mod support;
mod workload;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gleitzeit_sdk::{Client, RunStatus};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use checker::{Case, Counts};
use clients::{Accepted, connect, read_ledger, submit, watched};
use fleet::{Fleet, HOSTS, Usage};
use hosts::Hosts;
use schedule::{Fault, Kind};
use support::Sandbox;

/// How long the runs may take to end after the last fault.
const CALM: Duration = Duration::from_secs(120);
const SUBMITTERS: u64 = 3;

/// The arguments of the command line.
struct Asked {
    seconds: u64,
    seed: u64,
    keep: bool,
}

impl Asked {
    /// `None` if this target is not meant: a filter names another test, or the tests are only to be listed.
    fn read(arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut asked = Self { seconds: 20, seed: 1, keep: false };
        let mut arguments = arguments.peekable();
        let mut meant = true;
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let text = arguments.next().unwrap_or_default();
                text.parse::<u64>().map_err(|_| format!("`{argument}` needs a number, not `{text}`"))
            };
            match argument.as_str() {
                "--seconds" => asked.seconds = number()?,
                "--seed" => asked.seed = number()?,
                "--keep" => asked.keep = true,
                "--list" => return Ok(None),
                // Options of the usual test runner are ignored.
                "--test-threads" | "--skip" | "--color" | "--format" => drop(arguments.next()),
                flag if flag.starts_with('-') => {}
                filter => meant = "chaos".contains(filter),
            }
        }
        Ok(meant.then_some(asked))
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is a program of its own")]
fn main() -> ExitCode {
    let asked = match Asked::read(std::env::args().skip(1)) {
        Ok(Some(asked)) => asked,
        Ok(None) => return ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    checker_tests::run();
    // Before the hosts are made: a package index cannot be reached from them.
    drop(support::python(&[]));
    // Before other threads exist, so that they run on the same host as this one.
    let hosts = match Hosts::make(HOSTS) {
        Ok(hosts) => hosts,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::FAILURE;
        }
    };
    if hosts.is_none() {
        println!("without network faults, because of GLEITZEIT_SKIP_NETNS=1");
    }
    let outcome = chaos(&asked, hosts);
    println!("{}", outcome.table);
    if outcome.wrong.is_empty() {
        return ExitCode::SUCCESS;
    }
    for wrong in &outcome.wrong {
        eprintln!("WRONG: {wrong}");
    }
    eprintln!("\nagain: cargo test --test chaos -- --seconds {} --seed {}", asked.seconds, asked.seed);
    ExitCode::FAILURE
}

struct Outcome {
    table: String,
    wrong: Vec<String>,
}

/// What one chaos test observed.
struct Observed {
    accepted: Vec<Accepted>,
    verdict: Verdict,
    faults: BTreeMap<(Kind, &'static str), u64>,
    /// From the last fault until every process ran again.
    healed: Duration,
    /// From then until every run had ended.
    settled: Duration,
    /// The resources of each process, at the start and when all is done.
    before: BTreeMap<String, Usage>,
    after: BTreeMap<String, Usage>,
}

/// What the checker says of all accepted runs.
#[derive(Default)]
struct Verdict {
    counts: Counts,
    statuses: BTreeMap<String, usize>,
    stuck: usize,
    wrong: Vec<String>,
}

fn chaos(asked: &Asked, hosts: Option<Hosts>) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let mut fleet = Fleet::start(hosts);
    let (url, ledger) = (fleet.url.clone(), fleet.sandbox.path().join("ledger"));
    let end = Arc::new(AtomicBool::new(false));
    let submitters: Vec<_> = (0..SUBMITTERS)
        .map(|n| runtime.spawn(submit(url.clone(), ledger.clone(), asked.seed * 1_000 + n, end.clone())))
        .collect();

    let before = break_everything(&mut fleet, asked);
    end.store(true, Ordering::Relaxed);
    let healed = heal_everything(&mut fleet);
    let calm = Instant::now();
    let (accepted, histories) = runtime.block_on(async {
        let mut accepted = Vec::new();
        for submitter in submitters {
            accepted.extend(submitter.await.expect("it does not panic"));
        }
        let histories = read(&connect(&url).await, &accepted).await;
        (accepted, histories)
    });
    let settled = calm.elapsed();
    let after = fleet.usage();
    let verdict = Verdict::of(&accepted, &histories, &read_ledger(&ledger));
    let faults = std::mem::take(&mut fleet.faults);
    let (complaints, sandbox) = fleet.finish();

    let mut observed = Observed { accepted, verdict, faults, healed, settled, before, after };
    let wrong = &mut observed.verdict.wrong;
    wrong.extend(complaints);
    if asked.keep || !wrong.is_empty() {
        wrong.extend(keep(&sandbox));
    }
    let leaking = observed.after.iter().filter(|(_, usage)| usage.is_too_much());
    wrong.extend(leaking.map(|(name, usage)| format!("{name} holds {usage:?} when all is done")));
    Outcome { table: observed.table(asked), wrong: observed.verdict.wrong }
}

/// Ends all faults; returns how long it takes until every process runs again.
fn heal_everything(fleet: &mut Fleet) -> Duration {
    let healing = Instant::now();
    while !fleet.is_well() {
        fleet.heal(true);
        std::thread::sleep(Duration::from_millis(20));
    }
    healing.elapsed()
}

/// Copies journal and logs to where they stay; returns a line that names the copy.
fn keep(sandbox: &Sandbox) -> Option<String> {
    let kept = std::env::temp_dir().join(format!("gleitzeit-chaos-{}", std::process::id()));
    let copied = std::process::Command::new("cp").arg("-a").args([sandbox.path(), &kept]).status();
    copied.is_ok().then(|| format!("(journal and logs are kept in {})", kept.display()))
}

impl Verdict {
    fn of(accepted: &[Accepted], histories: &[History], ledger: &str) -> Self {
        let (executions, none) = (checker::executions(ledger), BTreeMap::new());
        let mut verdict = Self::default();
        for (accepted, history) in accepted.iter().zip(histories) {
            verdict.wrong.extend(accepted.complaints.iter().cloned());
            match history {
                Ok((run, events)) => {
                    *verdict.statuses.entry(format!("{:?}", run.status).to_lowercase()).or_default() += 1;
                    let executions = executions.get(&run.run_id).unwrap_or(&none);
                    let (plan, cancelled) = (&accepted.plan, accepted.cancelled);
                    let watched = accepted.watched.as_deref();
                    let case = Case { plan, cancelled, watched, run, events, executions };
                    verdict.wrong.extend(case.check(&mut verdict.counts));
                }
                Err(message) => {
                    verdict.stuck += 1;
                    verdict.wrong.push(format!("{} {}: {message}", accepted.plan.shape, accepted.run_id));
                }
            }
        }
        verdict
    }
}

impl Observed {
    fn table(&self, asked: &Asked) -> String {
        let mut table = format!("chaos of {} s, seed {}\n", asked.seconds, asked.seed);
        let mut line = |name: &str, value: String| table.push_str(&format!("  {name:<42} {value}\n"));
        for ((kind, who), count) in &self.faults {
            line(&format!("{kind}: {who}"), count.to_string());
        }
        let Verdict { counts, statuses, stuck, wrong } = &self.verdict;
        line("runs accepted", self.accepted.len().to_string());
        for (status, count) in statuses {
            line(&format!("  {status}"), count.to_string());
        }
        let watched = self.accepted.iter().filter(|it| it.watched.is_some()).count();
        line("watched through it all", watched.to_string());
        line("tasks", counts.tasks.to_string());
        line("attempts", counts.attempts.to_string());
        line("attempts lost and tried again", counts.lost_attempts.to_string());
        line("lost or stuck runs", stuck.to_string());
        line("everything running again after", format!("{:.1} s", self.healed.as_secs_f64()));
        line("all runs ended after another", format!("{:.1} s", self.settled.as_secs_f64()));
        for (name, usage) in &self.after {
            let Usage { files, resident_kib, threads, children } = usage;
            let first = self.before.get(name).copied().unwrap_or_default().resident_kib;
            line(
                &format!("{name}: files, threads, children, memory"),
                format!("{files}, {threads}, {children}, {resident_kib} KiB (first {first} KiB)"),
            );
        }
        line("promises broken", wrong.len().to_string());
        table
    }
}

/// Injects one fault after another for the requested time; returns the resources of each process at the start.
fn break_everything(fleet: &mut Fleet, asked: &Asked) -> BTreeMap<String, Usage> {
    let mut rng = StdRng::seed_from_u64(asked.seed);
    let over = Instant::now() + Duration::from_secs(asked.seconds);
    let mut fault = Fault::draw(&mut rng);
    let mut due = Instant::now() + Duration::from_secs(2);
    let mut before = BTreeMap::new();
    while Instant::now() < over {
        fleet.heal(false);
        if Instant::now() >= due {
            if before.is_empty() {
                before = fleet.usage();
            }
            fleet.hurt(fault);
            fault = Fault::draw(&mut rng);
            due = Instant::now() + fault.pause;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    before
}

type History = Result<(gleitzeit_sdk::Run, Vec<gleitzeit_sdk::RunEvent>), String>;

/// Waits for the end of each run and reads its whole history.
async fn read(client: &Client, accepted: &[Accepted]) -> Vec<History> {
    let over = tokio::time::Instant::now() + CALM;
    let mut histories = Vec::new();
    for Accepted { run_id, .. } in accepted {
        let left = over.saturating_duration_since(tokio::time::Instant::now()).max(Duration::from_secs(1));
        let history = async {
            let run = client.wait(run_id, Some(left)).await.map_err(|error| format!("lost: {error}"))?;
            if run.status == RunStatus::Running {
                let waits: Vec<_> = run.tasks.iter().filter(|task| task.waiting.is_some()).collect();
                return Err(format!("stuck, {CALM:?} after the last fault: {waits:#?}"));
            }
            Ok((run, watched(client, run_id).await?))
        };
        histories.push(history.await);
    }
    histories
}
