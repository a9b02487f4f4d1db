//! What is measured: W1 latency, W2 throughput of small workflows, W3 a chain, W4 a wide fan-out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use gleitzeit_proto::v1;
use gleitzeit_proto::v1::system_service_client::SystemServiceClient;
use gleitzeit_proto::v1::workflow_service_client::WorkflowServiceClient;
use tokio::sync::Semaphore;
use tonic::transport::Channel;

use crate::Times;
use crate::plane::Plane;

const ONE_TASK: &str = "name: One\ntasks:\n  - {id: only, method: util/echo, parameters: {text: hello}}\n";
/// Before anything counts.
const WARM_UP: usize = 50;

/// Submits a workflow and waits until its completion is known to the client.
async fn run(client: &mut WorkflowServiceClient<Channel>, yaml: &str) -> anyhow::Result<()> {
    let source = v1::submit_workflow_request::Source::Yaml(yaml.to_owned());
    let request = v1::SubmitWorkflowRequest { source: Some(source), ..v1::SubmitWorkflowRequest::default() };
    let run_id = client.submit_workflow(request).await?.into_inner().run_id;
    let wait = prost_types::Duration { seconds: 60, nanos: 0 };
    let request = v1::GetRunRequest { run_id, wait: Some(wait), include_results: Some(false) };
    let run = client.get_run(request).await?.into_inner().run.context("a run")?;
    ensure!(run.status() == v1::RunStatus::Completed, "the run is {:?}: {:?}", run.status(), run.error);
    Ok(())
}

pub(crate) async fn unary(plane: &Plane, count: usize) -> anyhow::Result<Times> {
    let mut client = SystemServiceClient::new(plane.channel.clone());
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        client.list_components(v1::ListComponentsRequest { page_size: 1, ..Default::default() }).await?;
        times.push(started.elapsed());
    }
    Ok(Times::new(times))
}

pub(crate) async fn latency(plane: &Plane, count: usize) -> anyhow::Result<Times> {
    times(plane, ONE_TASK, count).await
}

/// Of one run after the other.
pub(crate) async fn times(plane: &Plane, yaml: &str, count: usize) -> anyhow::Result<Times> {
    let mut client = plane.client.clone();
    for _ in 0..WARM_UP.min(count) {
        run(&mut client, yaml).await?;
    }
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        run(&mut client, yaml).await?;
        times.push(started.elapsed());
    }
    Ok(Times::new(times))
}

/// Workflows a second, once for each repeat.
pub(crate) async fn throughput(
    plane: &Plane,
    count: usize,
    in_flight: usize,
    repeats: usize,
) -> anyhow::Result<Vec<f64>> {
    let mut rates = Vec::new();
    for _ in 0..repeats {
        let permits = Arc::new(Semaphore::new(in_flight));
        let started = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..count {
            let permit = permits.clone().acquire_owned().await?;
            let mut client = plane.client.clone();
            tasks.spawn(async move {
                let ended = run(&mut client, ONE_TASK).await;
                drop(permit);
                ended
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        rates.push(rate(count, started.elapsed()));
    }
    Ok(rates)
}

/// Milliseconds a task in a chain, once for each repeat.
pub(crate) async fn chain(plane: &Plane, tasks: usize, repeats: usize) -> anyhow::Result<Vec<f64>> {
    let mut yaml = "name: Chain\ntasks:\n  - {id: t0, method: util/echo, parameters: {n: 0}}\n".to_owned();
    for at in 1..tasks {
        let line = format!("  - {{id: t{at}, method: util/echo, parameters: {{n: \"${{t{}.n}}\"}}}}\n", at - 1);
        yaml.push_str(&line);
    }
    let mut client = plane.client.clone();
    let mut times = Vec::new();
    for _ in 0..repeats {
        let started = Instant::now();
        run(&mut client, &yaml).await?;
        times.push(started.elapsed().as_secs_f64() * 1_000.0 / tasks as f64);
    }
    Ok(times)
}

/// Tasks a second with a join at the end, once for each repeat.
pub(crate) async fn wide(plane: &Plane, tasks: usize, repeats: usize) -> anyhow::Result<Vec<f64>> {
    let mut yaml = "name: Wide\ntasks:\n".to_owned();
    for at in 0..tasks {
        yaml.push_str(&format!("  - {{id: t{at}, method: util/echo, parameters: {{n: {at}}}}}\n"));
    }
    let ids: Vec<String> = (0..tasks).map(|at| format!("t{at}")).collect();
    yaml.push_str(&format!("  - {{id: join, method: util/echo, dependencies: [{}]}}\n", ids.join(", ")));
    let mut client = plane.client.clone();
    let mut rates = Vec::new();
    for _ in 0..repeats {
        let started = Instant::now();
        run(&mut client, &yaml).await?;
        rates.push(rate(tasks + 1, started.elapsed()));
    }
    Ok(rates)
}

pub(crate) fn rate(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}
