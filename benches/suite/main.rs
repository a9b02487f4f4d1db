//! Measures the cost of orchestration, from command to durable result, beside the floors of the same machine in the
//! same run.
//!
//! `cargo bench --bench suite -- [--quick] [--json] [--only W1,W3,…] [--hub-url URL] [--large-tasks N]`. What can be named: `floors`
//! (with the ratios to them), `W1` to `W9`, `worst`, `scale`, `fairness` (small runs beside a large one), `separate` (W1 to W4, W6 and W7 also against processes of their own)
//! and `peers` (other engines, where they are installed). With an address only what a control plane elsewhere can be
//! asked is measured.

mod fairness;
mod floors;
mod lists;
mod payloads;
mod peers;
mod plane;
mod python;
mod report;
mod scale;
mod start;
mod stores;
#[path = "../../tests/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "shared with tests that need more of it")]
mod support;
mod times;
mod workloads;
mod worst;

use anyhow::Context as _;
use floors::Floors;
use plane::Plane;
use report::Report;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    quick: bool,
    repeats: usize,
    latency_runs: usize,
    throughput_runs: usize,
    chain_tasks: usize,
    wide_tasks: usize,
    widest_tasks: usize,
    python_calls: usize,
    payload_runs: usize,
    cold_starts: usize,
    finished_runs: usize,
    list_calls: usize,
    watchers: usize,
    unfinished_tasks: usize,
    most_tasks: usize,
    most_runs: usize,
    /// The tasks of the large run that small runs are measured beside.
    large_tasks: usize,
}

impl Size {
    const FULL: Self = Self {
        quick: false,
        repeats: 5,
        latency_runs: 1_000,
        throughput_runs: 5_000,
        chain_tasks: 100,
        wide_tasks: 1_000,
        widest_tasks: 100_000,
        python_calls: 300,
        payload_runs: 200,
        cold_starts: 40,
        finished_runs: 1_000_000,
        list_calls: 500,
        watchers: 1_000,
        unfinished_tasks: 100_000,
        most_tasks: 1_000_000,
        most_runs: 100_000,
        large_tasks: 100_000,
    };
    /// Takes seconds and only checks that everything still works. Its figures mean nothing.
    const QUICK: Self = Self {
        quick: true,
        repeats: 1,
        latency_runs: 10,
        throughput_runs: 64,
        chain_tasks: 10,
        wide_tasks: 50,
        widest_tasks: 200,
        python_calls: 5,
        payload_runs: 3,
        cold_starts: 2,
        finished_runs: 1_000,
        list_calls: 10,
        watchers: 20,
        unfinished_tasks: 500,
        most_tasks: 1_000,
        most_runs: 100,
        large_tasks: 500,
    };
}

/// The groups that can be measured against a running control plane.
const ON_PLANE: [&str; 6] = ["W1", "W2", "W3", "W4", "W6", "W7"];
const NAMES: [&str; 15] =
    ["floors", "W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8", "W9", "worst", "separate", "scale", "fairness", "peers"];

/// The parsed arguments.
struct Asked {
    size: Size,
    json: bool,
    only: Option<Vec<String>>,
    hub_url: Option<String>,
}

impl Asked {
    fn read() -> anyhow::Result<Self> {
        let mut asked = Self { size: Size::FULL, json: false, only: None, hub_url: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // `cargo bench` adds `--bench`; `cargo test --benches` adds `--test`, and then the suite only checks
                // that it works.
                "--bench" => {}
                "--quick" | "--test" => asked.size = Size::QUICK,
                "--json" => asked.json = true,
                "--only" => asked.only = Some(names(&arguments.next().context("`--only` takes names")?)?),
                "--hub-url" => asked.hub_url = Some(arguments.next().context("`--hub-url` takes an address")?),
                "--large-tasks" => {
                    let tasks = arguments.next().context("`--large-tasks` takes a number")?;
                    asked.size.large_tasks = tasks.parse().context("`--large-tasks` takes a number")?;
                }
                other => {
                    let known = "--quick, --json, --only NAMES, --hub-url URL, --large-tasks N";
                    anyhow::bail!("unknown argument `{other}`; use {known}")
                }
            }
        }
        Ok(asked)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|it| it.eq_ignore_ascii_case(name)))
    }

    fn wants_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.wants(name))
    }
}

/// Parses the names of the groups to measure.
fn names(list: &str) -> anyhow::Result<Vec<String>> {
    let names: Vec<String> = list.split(',').map(str::to_owned).collect();
    let is_known = |name: &&String| NAMES.iter().any(|known| known.eq_ignore_ascii_case(name));
    if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
        anyhow::bail!("unknown group `{unknown}`; use {}", NAMES.join(", "));
    }
    let measured = |name: &String| ON_PLANE.iter().any(|it| it.eq_ignore_ascii_case(name));
    if names.iter().any(|name| name == "separate") && !names.iter().any(measured) {
        anyhow::bail!("`separate` needs groups to measure: add some of {}", ON_PLANE.join(", "));
    }
    Ok(names)
}

async fn measure(asked: &Asked, report: &mut Report) -> anyhow::Result<()> {
    let size = asked.size;
    let floors = if asked.wants("floors") {
        report.group("floors of this machine");
        Some(Floors::measure(size, report).await?)
    } else {
        None
    };
    let floors = floors.as_ref();
    if let Some(url) = &asked.hub_url {
        report.group(format!("the control plane at {url}"));
        let plane = Plane::at(url.clone()).await?;
        return on_plane(asked, &plane, floors, report).await;
    }
    on_planes(asked, floors, report).await?;
    starts_and_lists(asked, floors, report).await?;
    limits(asked, report).await?;
    if asked.wants("peers") {
        peers(size, report).await?;
    }
    Ok(())
}

/// Measures the groups of `ON_PLANE` on a control plane in one process with its agent, and on processes of their own.
async fn on_planes(asked: &Asked, floors: Option<&Floors>, report: &mut Report) -> anyhow::Result<()> {
    if asked.wants_any(&ON_PLANE) {
        report.group("control plane and agent in one process (`gleitzeit start`), the client in another");
        let plane = Plane::start().await?;
        on_plane(asked, &plane, floors, report).await?;
        plane.stop().await?;
    }
    if asked.wants("separate") {
        report.group("control plane, agent and client in a process each");
        let plane = Plane::separate().await?;
        on_plane(asked, &plane, floors, report).await?;
        plane.stop().await?;
    }
    Ok(())
}

async fn starts_and_lists(asked: &Asked, floors: Option<&Floors>, report: &mut Report) -> anyhow::Result<()> {
    let size = asked.size;
    if asked.wants_any(&["W5", "W8", "W9"]) {
        report.group("starting, listing, watching");
    }
    if asked.wants("W5") {
        start::cold(size, floors, report)?;
    }
    if asked.wants("W8") {
        lists::lists(size, report).await?;
        lists::watchers(size, report).await?;
    }
    if asked.wants("W9") {
        start::recovery(size, report).await?;
    }
    Ok(())
}

/// Measures the worst inputs, the largest sizes, and small runs beside a large one.
async fn limits(asked: &Asked, report: &mut Report) -> anyhow::Result<()> {
    let size = asked.size;
    if asked.wants("worst") {
        report.group("the worst that small inputs can do");
        let plane = Plane::start().await?;
        worst::measure(size, &plane, report).await?;
        plane.stop().await?;
    }
    if asked.wants("scale") {
        report.group("scale in one process");
        scale::measure(size, report).await?;
    }
    if asked.wants("fairness") {
        report.group("small runs beside a large one (`gleitzeit start`)");
        fairness::measure(size, report).await?;
    }
    Ok(())
}

/// Measures other engines. They run as processes, and waiting for them blocks.
async fn peers(size: Size, report: &mut Report) -> anyhow::Result<()> {
    let mut measured = std::mem::take(report);
    *report =
        tokio::task::spawn_blocking(move || peers::measure(size.quick, &mut measured).map(|()| measured)).await??;
    Ok(())
}

async fn on_plane(asked: &Asked, plane: &Plane, floors: Option<&Floors>, report: &mut Report) -> anyhow::Result<()> {
    let size = asked.size;
    if asked.wants_any(&["W1", "W2", "W3", "W4"]) {
        workloads::small(size, plane, floors, report, |name| asked.wants(name)).await?;
    }
    if asked.wants("W6") {
        python::measure(size, plane, floors, report).await?;
    }
    if asked.wants("W7") {
        payloads::measure(size, plane, report).await?;
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let asked = Asked::read()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut report = Report::default();
    runtime.block_on(measure(&asked, &mut report))?;
    print(&if asked.json { format!("{:#}", report.json()) } else { report.table() });
    Ok(())
}

#[expect(clippy::print_stdout, reason = "its whole purpose")]
fn print(text: &str) {
    println!("{text}");
}
