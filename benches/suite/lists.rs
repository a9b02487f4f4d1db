//! W8: lists over many finished runs, and many watchers of one run.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use gleitzeit_proto::v1;
use tokio::time::timeout;

use crate::plane::Plane;
use crate::report::{Report, Row};
use crate::support::Cluster;
use crate::times::{Times, millis, rate};
use crate::{Size, stores};

/// A run that goes on while its watchers connect.
const WATCHED: &str = "name: Watched\ntasks:\n  - {id: wait, method: util/sleep, parameters: {seconds: 3}}\n";
const PATIENCE: Duration = Duration::from_secs(120);

/// Pages of ListRuns as people and programs request them.
pub(crate) async fn lists(size: Size, report: &mut Report) -> anyhow::Result<()> {
    let cluster = Cluster::new();
    let path = cluster.sandbox.path().join("hub.db");
    let (made_at, runs) = (path.clone(), size.finished_runs);
    let started = Instant::now();
    tokio::task::spawn_blocking(move || stores::finished(&made_at, runs)).await??;
    report.note(format!("made {runs} finished runs in {:.0} s", started.elapsed().as_secs_f64()));
    let bytes = std::fs::metadata(&path)?.len();
    report.row(Row::new("W8 disk for a finished run of one task", "bytes", vec![bytes as f64 / runs as f64]));
    let started = Instant::now();
    let plane = Plane::start_in(cluster).await?;
    let row = Row::new(
        format!("W8 a start with {runs} finished runs, until an agent works"),
        "ms",
        vec![millis(started.elapsed())],
    );
    report.row(row);

    let first = v1::ListRunsRequest { page_size: 100, ..Default::default() };
    page(report, &plane, size, "the newest 100", first.clone()).await?;
    page(report, &plane, size, "the newest 1,000", v1::ListRunsRequest { page_size: 1_000, ..first.clone() }).await?;
    let token = deep(&plane, runs / 2).await?;
    page(report, &plane, size, "100 from the middle", v1::ListRunsRequest { page_token: token, ..first.clone() })
        .await?;
    let statuses = vec![v1::RunStatus::Completed.into()];
    let by_status = v1::ListRunsRequest { statuses, ..first.clone() };
    page(report, &plane, size, "100 that completed", by_status).await?;
    let both = vec![v1::RunStatus::Failed.into(), v1::RunStatus::Completed.into()];
    let by_statuses = v1::ListRunsRequest { statuses: both, ..first.clone() };
    page(report, &plane, size, "100 of two statuses", by_statuses).await?;
    let none = v1::ListRunsRequest { statuses: vec![v1::RunStatus::Failed.into()], ..first.clone() };
    page(report, &plane, size, "those that failed: none", none).await?;
    let by_name = v1::ListRunsRequest { name: "One".to_owned(), ..first.clone() };
    page(report, &plane, size, "100 of a name", by_name).await?;
    let labels = [("team".to_owned(), "bench".to_owned())].into();
    page(report, &plane, size, "100 of a label", v1::ListRunsRequest { labels, ..first.clone() }).await?;
    let nobody = [("team".to_owned(), "nobody".to_owned())].into();
    // These filters are applied to every run, so a few repetitions are enough.
    let few = Size { list_calls: size.list_calls.div_ceil(100), repeats: 1, ..size };
    page(report, &plane, few, "a label that none has", v1::ListRunsRequest { labels: nobody, ..first }).await?;
    plane.stop().await
}

/// The token of a page at that distance from the newest run.
async fn deep(plane: &Plane, runs: usize) -> anyhow::Result<String> {
    let mut token = String::new();
    for _ in 0..(runs / 1_000).max(1) {
        let request = v1::ListRunsRequest { page_size: 1_000, page_token: token, ..Default::default() };
        token = plane.client.clone().list_runs(request).await?.into_inner().next_page_token;
        if token.is_empty() {
            break;
        }
    }
    Ok(token)
}

async fn page(
    report: &mut Report,
    plane: &Plane,
    size: Size,
    what: &str,
    request: v1::ListRunsRequest,
) -> anyhow::Result<()> {
    let mut client = plane.client.clone();
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for _ in 0..size.repeats {
        let mut times = Vec::with_capacity(size.list_calls);
        for _ in 0..size.list_calls {
            let started = Instant::now();
            client.list_runs(request.clone()).await?;
            times.push(started.elapsed());
        }
        let times = Times::new(times);
        p50.push(times.median());
        p99.push(times.quantile(0.99));
    }
    report.row(Row::new(format!("W8 ListRuns, {what}, p50"), "ms", p50));
    report.row(Row::new(format!("W8 ListRuns, {what}, p99"), "ms", p99).at_most(10.0));
    Ok(())
}

/// Many watchers of one run from its beginning, over a few connections; each receives all events and the end.
pub(crate) async fn watchers(size: Size, report: &mut Report) -> anyhow::Result<()> {
    let plane = Plane::start().await?;
    let run_id = plane.submit(WATCHED).await?;
    let mut watching = tokio::task::JoinSet::new();
    for _ in 0..size.watchers {
        let (mut client, run_id) = (plane.client.clone(), run_id.clone());
        watching.spawn(async move {
            let request = v1::WatchRunRequest { run_id, ..Default::default() };
            let mut stream = client.watch_run(request).await?.into_inner();
            let (mut events, mut has_ended) = (0, false);
            while let Some(message) = stream.message().await? {
                events += message.events.len();
                has_ended |= message.run.is_some();
            }
            ensure!(has_ended, "a watcher did not receive the last event");
            anyhow::Ok((events, Instant::now()))
        });
    }
    plane.completed(run_id).await?;
    let ended_at = Instant::now();
    let (mut last, mut heard) = (Duration::ZERO, 0);
    while let Some(watched) = timeout(PATIENCE, watching.join_next()).await.context("watchers end")? {
        let (events, at) = watched??;
        last = last.max(at.saturating_duration_since(ended_at));
        heard += events;
    }
    let row = Row::new(format!("W8 … until the last of {} has heard the end", size.watchers), "ms", vec![millis(last)]);
    report.row(row);
    report.note(format!("{} watchers heard {heard} events", size.watchers));
    // Throughput under observation: as many watchers again, each of a run of its own.
    let started = Instant::now();
    let mut watched = tokio::task::JoinSet::new();
    for _ in 0..size.watchers {
        let plane = plane.client_only();
        watched.spawn(async move {
            let run_id = plane.submit("name: One\ntasks:\n  - {id: only, method: util/echo}\n").await?;
            let request = v1::WatchRunRequest { run_id, ..Default::default() };
            let mut stream = plane.client.clone().watch_run(request).await?.into_inner();
            let mut ended = false;
            while let Some(message) = stream.message().await? {
                ended |= message.run.is_some();
            }
            ensure!(ended, "a watcher did not receive the last event");
            Ok(())
        });
    }
    while let Some(done) = timeout(PATIENCE, watched.join_next()).await.context("watched runs end")? {
        done??;
    }
    let rates = vec![rate(size.watchers, started.elapsed())];
    report.row(Row::new(format!("W8 {} runs at once, each watched", size.watchers), "workflows/s", rates));
    plane.stop().await
}
