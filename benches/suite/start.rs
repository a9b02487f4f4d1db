//! W5 cold start, idle memory and size of the binary; W9 a start with many unfinished tasks.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use gleitzeit_proto::v1;
use gleitzeit_proto::v1::system_service_client::SystemServiceClient;

use crate::floors::Floors;
use crate::plane::Plane;
use crate::report::{Report, Row};
use crate::support::{Cluster, PATIENCE, Sandbox};
use crate::times::{Times, millis};
use crate::workloads::ONE_TASK;
use crate::{Size, stores};

const BINARY: &str = env!("CARGO_BIN_EXE_gleitzeit");
/// How long idle processes are left alone before their memory is read.
const SETTLED: Duration = Duration::from_secs(3);

pub(crate) fn cold(size: Size, floors: Option<&Floors>, report: &mut Report) -> anyhow::Result<()> {
    let sandbox = Sandbox::new();
    let file = sandbox.file("one.yaml", ONE_TASK);
    let mut medians = Vec::new();
    for _ in 0..size.repeats {
        let mut times = Vec::new();
        for _ in 0..size.cold_starts {
            let mut command = sandbox.command(&["run", &file, "-o", "json"]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let started = Instant::now();
            let status = command.status()?;
            times.push(started.elapsed());
            ensure!(status.success(), "`gleitzeit run` ended with {status}");
        }
        medians.push(Times::new(times).median());
    }
    let row = Row::new("W5 `gleitzeit run` of one echo task, to its exit", "ms", medians).at_most(30.0);
    report.row(row.beside("fresh python", floors.map(|it| it.python_ms)));
    idle(report)?;
    report.row(Row::new("W5 the binary, stripped", "MB", vec![stripped_mb()?]).at_most(30.0));
    Ok(())
}

/// The memory of an idle control plane with an agent: in one process, and in two.
fn idle(report: &mut Report) -> anyhow::Result<()> {
    let one = Cluster::all_in_one(&[]);
    std::thread::sleep(SETTLED);
    let (resident, anonymous) = memory_mb(&one.pids())?;
    report.row(Row::new("W5 idle `gleitzeit start`: resident", "MB", vec![resident]).at_most(30.0));
    report.row(Row::new("W5 … of it not backed by the binary's file", "MB", vec![anonymous]));
    drop(one);
    let mut two = Cluster::new();
    two.start_hub();
    two.start_agent("all", "all");
    two.until_connected("engine", 1);
    std::thread::sleep(SETTLED);
    let (resident, anonymous) = memory_mb(&two.pids())?;
    report.row(Row::new("W5 idle hub and agent, two processes: proportional", "MB", vec![resident]).at_most(30.0));
    report.row(Row::new("W5 … of it not backed by the binary's file", "MB", vec![anonymous]));
    Ok(())
}

/// Proportional and anonymous memory of several processes: pages that they share count once.
fn memory_mb(pids: &[i32]) -> anyhow::Result<(f64, f64)> {
    let (mut all, mut anonymous) = (0.0, 0.0);
    for pid in pids {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
            .context("only root sees the memory of a process that keeps a token")?;
        let kib = |name: &str| -> anyhow::Result<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).context("a line of it")?;
            Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
        };
        all += kib("Pss:")?;
        anonymous += kib("Pss_Anon:")?;
    }
    Ok((all * 1.024 / 1_000.0, anonymous * 1.024 / 1_000.0))
}

fn stripped_mb() -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("stripped");
    let status = Command::new("strip").arg("-o").arg(&copy).arg(BINARY).status()?;
    ensure!(status.success(), "`strip` ended with {status}");
    Ok(std::fs::metadata(copy)?.len() as f64 / 1e6)
}

pub(crate) async fn recovery(size: Size, report: &mut Report) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for _ in 0..size.repeats {
        let tasks = size.unfinished_tasks;
        let (took, cluster) = tokio::task::spawn_blocking(move || {
            let mut cluster = Cluster::new();
            stores::unfinished(&cluster.sandbox.path().join("hub.db"), tasks)?;
            let started = Instant::now();
            cluster.start_hub();
            anyhow::Ok((started.elapsed(), cluster))
        })
        .await??;
        // It announces that it is ready; the answer to a call proves it.
        let started = Instant::now();
        let mut client = SystemServiceClient::new(Plane::at(cluster.url.clone()).await?.channel);
        let status = client.get_status(v1::GetStatusRequest::default()).await?.into_inner();
        ensure!(status.runs.is_some_and(|runs| runs.running == 1), "the run is there");
        times.push(millis(took + started.elapsed()));
        tokio::task::spawn_blocking(move || drop({ cluster }.terminate(PATIENCE))).await?;
    }
    let name = format!("W9 a start with {} unfinished tasks, until it answers", size.unfinished_tasks);
    report.row(Row::new(name, "ms", times).at_most(2_000.0));
    Ok(())
}
