//! W1 latency, W2 throughput of small workflows, W3 a chain, W4 a wide fan-out.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;

use crate::Size;
use crate::floors::Floors;
use crate::plane::Plane;
use crate::report::{Report, Row};
use crate::times::{Times, millis, rate};

pub(crate) const ONE_TASK: &str = "name: One\ntasks:\n  - {id: only, method: util/echo, parameters: {text: hello}}\n";
/// Runs before the measurement starts.
const WARM_UP: usize = 50;
const IN_FLIGHT: usize = 64;

pub(crate) async fn small(
    size: Size,
    plane: &Plane,
    floors: Option<&Floors>,
    report: &mut Report,
    wanted: impl Fn(&str) -> bool,
) -> anyhow::Result<()> {
    if wanted("W1") {
        let (mut p50, mut p99) = (Vec::new(), Vec::new());
        for _ in 0..size.repeats {
            let times = times(plane, ONE_TASK, size.latency_runs).await?;
            p50.push(times.median());
            p99.push(times.quantile(0.99));
        }
        let row = Row::new("W1 one task, submit to result known, p50", "ms", p50).at_most(1.5);
        report.row(row.beside("echo", floors.map(|it| it.echo_ms)).beside("commit", floors.map(|it| it.commit_ms)));
        report.row(Row::new("W1 the same, p99", "ms", p99).at_most(5.0));
    }
    if wanted("W2") {
        let rates = throughput(plane, size.throughput_runs, size.repeats).await?;
        let row = Row::new("W2 one-task workflows, 64 in flight", "workflows/s", rates).at_least(5_000.0);
        report.row(row.beside("routing", floors.map(|it| it.routed_per_s)));
    }
    if wanted("W3") {
        let times = chain(plane, size.chain_tasks, size.repeats).await?;
        let row = Row::new(format!("W3 a chain of {}, per task", size.chain_tasks), "ms", times).at_most(0.8);
        report.row(row.beside("echo", floors.map(|it| it.echo_ms)).beside("commit", floors.map(|it| it.commit_ms)));
    }
    if wanted("W4") {
        for (tasks, repeats) in [(size.wide_tasks, size.repeats), (size.widest_tasks, size.repeats.min(3))] {
            let rates = wide(plane, tasks, repeats).await?;
            let row = Row::new(format!("W4 {tasks} independent tasks and a join"), "tasks/s", rates);
            report.row(row.at_least(12_000.0).beside("routing", floors.map(|it| it.routed_per_s)));
        }
    }
    Ok(())
}

/// The times of runs, one after the other.
pub(crate) async fn times(plane: &Plane, yaml: &str, count: usize) -> anyhow::Result<Times> {
    for _ in 0..WARM_UP.min(count) {
        plane.run(yaml).await?;
    }
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        plane.run(yaml).await?;
        times.push(started.elapsed());
    }
    Ok(Times::new(times))
}

/// Workflows per second, one value for each repeat.
async fn throughput(plane: &Plane, count: usize, repeats: usize) -> anyhow::Result<Vec<f64>> {
    let mut rates = Vec::new();
    for _ in 0..repeats {
        let started = Instant::now();
        many(plane, ONE_TASK, count).await?;
        rates.push(rate(count, started.elapsed()));
    }
    Ok(rates)
}

/// Executes `count` runs, 64 of them in flight.
pub(crate) async fn many(plane: &Plane, yaml: &'static str, count: usize) -> anyhow::Result<()> {
    let permits = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..count {
        let permit = permits.clone().acquire_owned().await?;
        let plane = plane.client_only();
        tasks.spawn(async move {
            let ended = plane.run(yaml).await;
            drop(permit);
            ended
        });
        while let Some(ended) = tasks.try_join_next() {
            ended??;
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// Milliseconds per task in a chain, one value for each repeat.
async fn chain(plane: &Plane, tasks: usize, repeats: usize) -> anyhow::Result<Vec<f64>> {
    let mut yaml = "name: Chain\ntasks:\n  - {id: t0, method: util/echo, parameters: {n: 0}}\n".to_owned();
    for at in 1..tasks {
        let line = format!("  - {{id: t{at}, method: util/echo, parameters: {{n: \"${{t{}.n}}\"}}}}\n", at - 1);
        yaml.push_str(&line);
    }
    let mut times = Vec::new();
    for _ in 0..repeats {
        let started = Instant::now();
        plane.run(&yaml).await?;
        times.push(millis(started.elapsed()) / tasks as f64);
    }
    Ok(times)
}

/// From this many tasks on, their text is as short as possible: a definition may have 64 MiB.
const SHORT_FROM: usize = 500_000;

/// Independent tasks with a join at the end.
pub(crate) fn fan_out(tasks: usize) -> String {
    let mut yaml = "name: Wide\ntasks:\n".to_owned();
    for at in 0..tasks {
        let rest = if tasks < SHORT_FROM { format!(", parameters: {{n: {at}}}") } else { String::new() };
        yaml.push_str(&format!("  - {{id: t{at}, method: util/echo{rest}}}\n"));
    }
    let ids: Vec<String> = (0..tasks).map(|at| format!("t{at}")).collect();
    yaml.push_str(&format!("  - {{id: join, method: util/echo, dependencies: [{}]}}\n", ids.join(", ")));
    yaml
}

/// Tasks per second with a join at the end, one value for each repeat.
pub(crate) async fn wide(plane: &Plane, tasks: usize, repeats: usize) -> anyhow::Result<Vec<f64>> {
    let yaml = fan_out(tasks);
    let mut rates = Vec::new();
    for _ in 0..repeats {
        let started = Instant::now();
        plane.run(&yaml).await?;
        rates.push(rate(tasks + 1, started.elapsed()));
    }
    Ok(rates)
}
