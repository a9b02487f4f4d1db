//! W6: Python code, at its provider alone and through the whole path.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use gleitzeit_protocols::Registry;
use gleitzeit_providers::{Call, Context, Factory, Provider, Settings, shipped};
use gleitzeit_workflow::payload::Payload;
use serde_json::json;

use crate::Size;
use crate::floors::Floors;
use crate::plane::Plane;
use crate::report::{Report, Row};
use crate::times::{Times, rate};
use crate::workloads;

const TASK: &str = "name: One\ntasks:\n  - {id: only, method: python/execute, parameters: {code: \"result = 1\"}}\n";
/// Calls before the measurement starts.
const WARM_UP: usize = 20;

pub(crate) async fn measure(
    size: Size,
    plane: &Plane,
    floors: Option<&Floors>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (mut alone, mut whole, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    let provider = Arc::new(start()?);
    for _ in 0..size.repeats {
        alone.push(one_after_the_other(&provider, size.python_calls).await?.median());
        rates.push(side_by_side(&provider, size.python_calls).await?);
        whole.push(workloads::times(plane, TASK, size.python_calls).await?.median());
    }
    let row = Row::new("W6 python/execute at its provider, p50", "ms", alone).at_most(2.5);
    report.row(row.beside("fresh python", floors.map(|it| it.python_ms)));
    report.row(Row::new("W6 as many at a time as CPUs", "calls/s", rates).at_least(600.0));
    let row = Row::new("W6 as a workflow, submit to result known, p50", "ms", whole);
    report.row(row.beside("fresh python", floors.map(|it| it.python_ms)));
    Ok(())
}

/// Starts the shipped provider.
fn start() -> anyhow::Result<Provider> {
    let definition = shipped().into_iter().find(|it| it.name == "python_local").context("it is shipped")?;
    let settings = Settings::from_env(|name| std::env::var_os(name));
    Ok(Factory::build(&definition, &Registry::shipped(), &settings)?)
}

async fn one_after_the_other(provider: &Provider, count: usize) -> anyhow::Result<Times> {
    for _ in 0..WARM_UP {
        call(provider).await?;
    }
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        call(provider).await?;
        times.push(started.elapsed());
    }
    Ok(Times::new(times))
}

/// Calls per second, with as many at a time as the provider takes.
async fn side_by_side(provider: &Arc<Provider>, count: usize) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    let at_a_time = usize::try_from(provider.max_concurrency())?.max(2);
    for _ in 0..at_a_time {
        let provider = provider.clone();
        tasks.spawn(async move {
            for _ in 0..count {
                call(&provider).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(rate(count * at_a_time, started.elapsed()))
}

async fn call(provider: &Provider) -> anyhow::Result<()> {
    let params = Payload::from_value(&json!({"code": "result = 1", "context": {}}));
    let call = Call { method: "python/execute".into(), params };
    provider.call(call, Context::default()).await.map(drop).map_err(|error| anyhow!(error.message))
}
