//! Whether the cost of a task grows with the number of tasks, and how much memory waiting tasks and finished runs take.

use std::time::Instant;

use anyhow::Context as _;

use crate::Size;
use crate::plane::{Plane, resident_bytes};
use crate::report::{Report, Row};
use crate::support::Cluster;
use crate::times::rate;
use crate::workloads::{self, ONE_TASK};

pub(crate) async fn measure(size: Size, report: &mut Report) -> anyhow::Result<()> {
    for tasks in [1_000, 10_000, 100_000, 1_000_000] {
        if tasks > size.most_tasks {
            break;
        }
        // Each size gets a new control plane, so that none profits from the one before.
        let plane = Plane::start().await?;
        workloads::wide(&plane, 100, 3).await?;
        let repeats = (100_000 / tasks).clamp(1, size.repeats);
        let rates = workloads::wide(&plane, tasks, repeats).await?;
        let micros = rates.iter().map(|rate| 1e6 / rate).collect();
        report.row(Row::new(format!("one run of {tasks} tasks and a join, per task"), "µs", micros));
        plane.stop().await?;
    }
    for runs in [10, 100, 1_000, 10_000, 100_000] {
        if runs > size.most_runs {
            break;
        }
        let plane = Plane::start().await?;
        workloads::many(&plane, ONE_TASK, 100).await?;
        let repeats = (10_000 / runs).clamp(1, size.repeats);
        let mut micros = Vec::new();
        for _ in 0..repeats {
            let started = Instant::now();
            workloads::many(&plane, ONE_TASK, runs).await?;
            micros.push(1e6 / rate(runs, started.elapsed()));
        }
        report.row(Row::new(format!("{runs} runs of one task, 64 in flight, per run"), "µs", micros));
        plane.stop().await?;
    }
    waiting(size, report).await?;
    finished(size, report).await
}

/// The control plane's memory for tasks that no agent takes.
async fn waiting(size: Size, report: &mut Report) -> anyhow::Result<()> {
    let tasks = size.most_tasks.min(100_000);
    let grown = tokio::task::spawn_blocking(move || {
        let mut cluster = Cluster::new();
        cluster.start_hub();
        cluster.start_agent("roles", "queue,resolver,provider");
        cluster.until_connected("queue", 1);
        let before = resident_bytes(&cluster)?;
        let file = cluster.sandbox.file("many.yaml", workloads::fan_out(tasks));
        let run = cluster.submit(&file);
        let last = format!("t{}", tasks - 1);
        crate::support::until("all tasks wait for an engine", std::time::Duration::from_secs(120), || {
            let explained = cluster.ask(&["explain", &run, &last]).to_string();
            explained.contains("no connected engine").then_some(())
        });
        let after = resident_bytes(&cluster)?;
        cluster.client(&["cancel", &run]).exits(0);
        anyhow::Ok(after - before)
    })
    .await??;
    report.row(Row::new(
        format!("{tasks} tasks that wait: memory of the control plane, each"),
        "bytes",
        vec![grown / tasks as f64],
    ));
    Ok(())
}

/// The control plane's memory for runs that have ended.
async fn finished(size: Size, report: &mut Report) -> anyhow::Result<()> {
    let plane = Plane::separate().await?;
    let runs = size.most_runs.min(20_000);
    // Caches and the allocator fill up first.
    workloads::many(&plane, ONE_TASK, runs).await?;
    let before = plane.resident_bytes().context("processes of its own")?;
    workloads::many(&plane, ONE_TASK, runs).await?;
    let after = plane.resident_bytes().context("processes of its own")?;
    let each = vec![(after - before) / runs as f64];
    report.row(Row::new(format!("{runs} more runs that have ended: memory of the control plane, each"), "bytes", each));
    plane.stop().await
}
