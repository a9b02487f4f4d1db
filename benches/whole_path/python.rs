//! W6: Python code, at its provider alone and through the whole path.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use gleitzeit_core::payload::Payload;
use gleitzeit_protocols::Registry;
use gleitzeit_providers::{Call, Context, Factory, Provider, Settings, shipped};
use serde_json::json;

use crate::Times;
use crate::plane::Plane;
use crate::workloads;

const TASK: &str = "name: One\ntasks:\n  - {id: only, method: python/execute, parameters: {code: \"result = 1\"}}\n";
/// Before anything counts.
const WARM_UP: usize = 20;

/// What the shipped provider needs for a call, and calls a second with as many at a time as it takes.
pub(crate) async fn provider(count: usize) -> anyhow::Result<(Times, f64)> {
    let definition = shipped().into_iter().find(|it| it.name == "python_local").context("it is shipped")?;
    let settings = Settings::from_env(|name| std::env::var_os(name));
    let provider = Factory::build(&definition, &Registry::shipped(), &settings)?;
    for _ in 0..WARM_UP {
        call(&provider).await?;
    }
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        call(&provider).await?;
        times.push(started.elapsed());
    }
    let provider = Arc::new(provider);
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
    Ok((Times::new(times), workloads::rate(count * at_a_time, started.elapsed())))
}

async fn call(provider: &Provider) -> anyhow::Result<()> {
    let params = Payload::from_value(&json!({"code": "result = 1", "context": {}}));
    let call = Call { method: "python/execute".into(), params };
    provider.call(call, Context::default()).await.map(drop).map_err(|error| anyhow!(error.message))
}

/// One task, submit to result known.
pub(crate) async fn whole_path(plane: &Plane, count: usize) -> anyhow::Result<Times> {
    workloads::times(plane, TASK, count).await
}
