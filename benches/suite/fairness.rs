//! What a small run costs while a large run is working, and how much that slows the large run down.

use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::task::JoinHandle;

use crate::Size;
use crate::plane::Plane;
use crate::report::{Report, Row};
use crate::times::{Times, rate};
use crate::workloads::{self, ONE_TASK};

/// At most this many small runs are measured beside one large run.
const MOST_SMALL: usize = 2_000;
/// The pause before the next small run, so that the large run is not measured under a full load of small ones.
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) async fn measure(size: Size, report: &mut Report) -> anyhow::Result<()> {
    let plane = Plane::start().await?;
    workloads::wide(&plane, 100, 3).await?;
    let alone = workloads::times(&plane, ONE_TASK, size.latency_runs).await?;
    report.row(Row::new("a run of one task alone, p50", "ms", vec![alone.median()]));
    report.row(Row::new("the same, p99", "ms", vec![alone.quantile(0.99)]));

    let tasks = size.large_tasks;
    let rates = workloads::wide(&plane, tasks, size.repeats.min(3)).await?;
    report.row(Row::new(format!("a run of {tasks} tasks alone"), "tasks/s", rates));

    let large = workloads::fan_out(tasks);
    let beside = [
        ("equal priority", ONE_TASK.to_owned()),
        ("`priority: urgent`", ONE_TASK.replace("id: only", "id: only, priority: urgent")),
        ("a queue of its own", ONE_TASK.replace("id: only", "id: only, queue: own")),
    ];
    for (name, small) in beside {
        let (mut p50, mut p99, mut most, mut rates) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..size.repeats.min(3) {
            let (times, rate) = beside_large(&plane, &large, tasks, &small).await?;
            p50.push(times.median());
            p99.push(times.quantile(0.99));
            most.push(times.quantile(1.0));
            rates.push(rate);
        }
        report.row(Row::new(format!("one task beside {tasks}, {name}, p50"), "ms", p50));
        report.row(Row::new("the same, p99", "ms", p99).at_most(50.0));
        report.row(Row::new("the same, the longest", "ms", most));
        report.row(Row::new("the large run beside them", "tasks/s", rates));
    }
    plane.stop().await
}

/// Times of small runs, one after the other, from the acceptance of a large run to its end; and the large run's tasks
/// per second.
async fn beside_large(plane: &Plane, large: &str, tasks: usize, small: &str) -> anyhow::Result<(Times, f64)> {
    let begun = Instant::now();
    let run_id = plane.submit(large).await?;
    let other = plane.client_only();
    let ended: JoinHandle<anyhow::Result<f64>> = tokio::spawn(async move {
        other.completed(run_id).await?;
        Ok(rate(tasks + 1, begun.elapsed()))
    });
    let mut times = Vec::new();
    while times.len() < MOST_SMALL {
        let started = Instant::now();
        plane.run(small).await?;
        // A small run that ended after the large one did not run beside it.
        if ended.is_finished() && !times.is_empty() {
            break;
        }
        times.push(started.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    ensure!(!times.is_empty(), "a small run was measured");
    Ok((Times::new(times), ended.await??))
}
