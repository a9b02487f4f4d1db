//! Other engines on the same workloads in the same run, where they are installed: Celery with Redis, Restate, Dagu.
//!
//! Each engine acknowledges as durably as it can. A failure of one is reported and does not affect the others.

mod dagu;
mod process;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::report::{Report, Row};
use process::{Owned, free_port, is_there, until_listening};

/// A driver that takes longer is abandoned.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a driver measured, one value for each repetition.
#[derive(Debug, Default, Deserialize)]
struct Found {
    w1_p50: Vec<f64>,
    w1_p99: Vec<f64>,
    w2: Vec<f64>,
    w3: Vec<f64>,
    w4: Vec<f64>,
}

/// The number of repetitions, then of: submissions one after the other, workflows, tasks in a chain, independent tasks.
const FULL: [usize; 5] = [3, 200, 1_000, 100, 1_000];
const QUICK: [usize; 5] = [1, 20, 64, 10, 50];

pub(crate) fn measure(quick: bool, report: &mut Report) -> anyhow::Result<()> {
    let size = if quick { QUICK } else { FULL };
    report.group("other engines, same machine, same run");
    let celery = if !is_there("redis-server") {
        None
    } else if !python_has(&["celery", "redis"]) {
        Some(Err(anyhow::anyhow!("the interpreter has no `celery` and `redis` (GLEITZEIT_BENCH_PYTHON names another)")))
    } else {
        Some(celery(size))
    };
    add_rows(report, "Celery with Redis, appendfsync always", "redis-server", celery);
    let restate = if !is_there("restate-server") {
        None
    } else if !python_has(&["restate", "hypercorn"]) {
        Some(Err(anyhow::anyhow!("the interpreter has no `restate_sdk` and `hypercorn`")))
    } else {
        Some(restate(size))
    };
    add_rows(report, "Restate, a service call for each task", "restate-server", restate);
    let dagu = is_there("dagu").then(|| dagu::measure(quick));
    add_rows(report, "Dagu, command line", "dagu", dagu);
    Ok(())
}

fn add_rows(report: &mut Report, engine: &str, program: &str, found: Option<anyhow::Result<Found>>) {
    let found = match found {
        None => return report.note(format!("{engine}: `{program}` is not installed, so it was not measured")),
        Some(Err(error)) => return report.note(format!("{engine}: not measured: {error:#}")),
        Some(Ok(found)) => found,
    };
    let mut row = |what: &str, unit: &'static str, values: Vec<f64>| {
        if !values.is_empty() {
            report.row(Row::new(format!("{engine}: {what}"), unit, values));
        }
    };
    row("W1 p50", "ms", found.w1_p50);
    row("W1 p99", "ms", found.w1_p99);
    row("W2", "workflows/s", found.w2);
    row("W3, per task", "ms", found.w3);
    row("W4", "tasks/s", found.w4);
}

fn python() -> String {
    std::env::var("GLEITZEIT_BENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

fn python_has(modules: &[&str]) -> bool {
    let code = format!("import {}", modules.join(", "));
    let mut command = Command::new(python());
    command.args(["-c", &code]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs a driver to its end and parses its one line of output.
fn driven(script: &Path, size: [usize; 5], variable: &str, value: &str) -> anyhow::Result<Found> {
    let mut command = Command::new(python());
    command.arg(script).args(size.map(|it| it.to_string())).env(variable, value);
    let output = Owned::start(command, true)?.output(PATIENCE)?;
    serde_json::from_str(output.trim()).with_context(|| format!("the driver printed `{}`", output.trim()))
}

fn celery(size: [usize; 5]) -> anyhow::Result<Found> {
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("celery_bench.py");
    std::fs::write(&script, include_str!("peers/celery_bench.py"))?;
    let port = free_port()?;
    let mut redis = Command::new("redis-server");
    redis.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--appendonly", "yes"]);
    redis.args(["--appendfsync", "always", "--save", "", "--dir"]).arg(folder.path());
    let _redis = Owned::start(redis, false)?;
    until_listening(port)?;
    let url = format!("redis://127.0.0.1:{port}/0");
    let mut worker = Command::new(python());
    worker.args(["-m", "celery", "-A", "celery_bench", "worker", "--concurrency", "2", "--loglevel", "ERROR"]);
    worker.current_dir(folder.path()).env("BENCH_REDIS_URL", &url);
    let _worker = Owned::start(worker, false)?;
    driven(&script, size, "BENCH_REDIS_URL", &url)
}

fn restate(size: [usize; 5]) -> anyhow::Result<Found> {
    let folder = tempfile::tempdir()?;
    let (service, driver) = (folder.path().join("restate_service.py"), folder.path().join("restate_bench.py"));
    std::fs::write(&service, include_str!("peers/restate_service.py"))?;
    std::fs::write(&driver, include_str!("peers/restate_bench.py"))?;
    let (ingress, admin, node, of_service) = (free_port()?, free_port()?, free_port()?, free_port()?);
    let mut server = Command::new("restate-server");
    server.arg("--base-dir").arg(folder.path().join("data"));
    server
        .env("RESTATE_DISABLE_TELEMETRY", "true")
        .env("RESTATE_BIND_ADDRESS", format!("127.0.0.1:{node}"))
        .env("RESTATE_ADVERTISED_ADDRESS", format!("http://127.0.0.1:{node}"))
        .env("RESTATE_INGRESS__BIND_ADDRESS", format!("127.0.0.1:{ingress}"))
        .env("RESTATE_ADMIN__BIND_ADDRESS", format!("127.0.0.1:{admin}"))
        .env("RESTATE_LOG_FILTER", "error");
    let _server = Owned::start(server, false)?;
    let mut services = Command::new(python());
    services.arg(&service).env("BENCH_SERVICE_PORT", of_service.to_string());
    let _services = Owned::start(services, false)?;
    for port in [ingress, admin, of_service] {
        until_listening(port)?;
    }
    let body = format!("{{\"uri\": \"http://127.0.0.1:{of_service}\"}}");
    process::until("the services are known", || process::post(admin, "/deployments", &body))?;
    match driven(&driver, size, "BENCH_INGRESS_PORT", &ingress.to_string()) {
        Ok(found) if found.w1_p50.is_empty() => bail!("nothing was measured"),
        found => found,
    }
}
