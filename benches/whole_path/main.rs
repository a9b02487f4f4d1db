//! Measures the whole path, command to durable result, over real sockets in one process, beside the floors of the same
//! machine in the same run.
//!
//! `cargo bench --bench whole_path -- [--quick] [--json] [--hub-url URL]`: a table, or one JSON document; with an address
//! of a control plane that runs elsewhere, with workers of its own.

mod floors;
mod plane;
mod python;
mod workloads;

use std::time::Duration;

use serde_json::{Value, json};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Size {
    latency_runs: usize,
    throughput_runs: usize,
    chain_tasks: usize,
    wide_tasks: usize,
    repeats: usize,
    python_calls: usize,
}

impl Size {
    const FULL: Self = Self {
        latency_runs: 1_000,
        throughput_runs: 1_000,
        chain_tasks: 100,
        wide_tasks: 1_000,
        repeats: 5,
        python_calls: 500,
    };
    const QUICK: Self =
        Self { latency_runs: 20, throughput_runs: 64, chain_tasks: 10, wide_tasks: 50, repeats: 1, python_calls: 10 };
}

/// Times of one thing, sorted.
struct Times(Vec<Duration>);

impl Times {
    fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// In milliseconds.
    fn quantile(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of a short list")]
        let at = (last as f64 * share).round() as usize;
        self.0.get(at).map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
    }
}

fn row(name: &str, unit: &str, value: f64, more: Value) -> Value {
    json!({"name": name, "unit": unit, "value": (value * 1_000.0).round() / 1_000.0, "more": more})
}

async fn measure(size: Size, hub_url: Option<String>) -> anyhow::Result<Value> {
    let echo = floors::socket_echo(size.latency_runs * 5).await?;
    let commit = tokio::task::spawn_blocking(move || floors::store_commit(size.latency_runs)).await??;
    let plane = match hub_url {
        Some(url) => plane::Plane::at(url).await?,
        None => plane::Plane::start().await?,
    };
    let unary = workloads::unary(&plane, size.latency_runs).await?;
    let latency = workloads::latency(&plane, size.latency_runs).await?;
    let throughput = workloads::throughput(&plane, size.throughput_runs, 64, size.repeats).await?;
    let chain = workloads::chain(&plane, size.chain_tasks, size.repeats).await?;
    let wide = workloads::wide(&plane, size.wide_tasks, size.repeats).await?;
    let whole_python = python::whole_path(&plane, size.python_calls).await?;
    plane.stop().await?;
    let fresh = tokio::task::spawn_blocking(move || floors::fresh_python(size.python_calls)).await??;
    let (python_call, python_rate) = python::provider(size.python_calls).await?;

    let echo_ms = echo.quantile(0.5);
    let fresh_ms = fresh.quantile(0.5);
    let commit_ms = commit.quantile(0.5);
    let best = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let median = |values: &[f64]| {
        let mut values = values.to_vec();
        values.sort_unstable_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    Ok(json!({
        "floors": [
            row("socket echo round trip, p50", "ms", echo_ms, json!({"p99": echo.quantile(0.99)})),
            row("one entry committed and fsynced, p50", "ms", commit_ms, json!({"p99": commit.quantile(0.99)})),
            row("gRPC unary, p50", "ms", unary.quantile(0.5), json!({"p99": unary.quantile(0.99)})),
            row("a fresh `python3 -c pass`, p50", "ms", fresh_ms, json!({"p99": fresh.quantile(0.99)})),
        ],
        "workloads": [
            row("W1 one task, submit to result known, p50", "ms", latency.quantile(0.5), json!({
                "p99": latency.quantile(0.99), "in_echo_round_trips": latency.quantile(0.5) / echo_ms,
                "in_commits": latency.quantile(0.5) / commit_ms})),
            row("W2 one-task workflows, 64 in flight", "workflows/s", median(&throughput), json!({"best": best(&throughput)})),
            row("W3 chain, per task", "ms", median(&chain), json!({
                "in_echo_round_trips": median(&chain) / echo_ms, "in_commits": median(&chain) / commit_ms})),
            row("W4 independent tasks and a join", "tasks/s", median(&wide), json!({"best": best(&wide)})),
            row("W6 python/execute at its provider, p50", "ms", python_call.quantile(0.5), json!({
                "p99": python_call.quantile(0.99), "in_fresh_pythons": python_call.quantile(0.5) / fresh_ms})),
            row("W6 python/execute, submit to result known, p50", "ms", whole_python.quantile(0.5), json!({
                "p99": whole_python.quantile(0.99), "in_fresh_pythons": whole_python.quantile(0.5) / fresh_ms})),
            row("W6 python/execute, as many at a time as CPUs", "calls/s", python_rate, json!({})),
        ],
        "size": format!("{size:?}"),
    }))
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    // `cargo test --benches` runs it too, with `--test`: then it only shows that it works.
    let size = if has("--quick") || has("--test") { Size::QUICK } else { Size::FULL };
    let hub_url = arguments.iter().skip_while(|argument| *argument != "--hub-url").nth(1).cloned();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(measure(size, hub_url))?;
    if has("--json") {
        print(&format!("{report:#}"));
    } else {
        for group in ["floors", "workloads"] {
            for row in report[group].as_array().into_iter().flatten() {
                let (name, unit) = (row["name"].as_str().unwrap_or_default(), row["unit"].as_str().unwrap_or_default());
                print(&format!("{name:<45} {:>12} {unit:<12} {}", row["value"], row["more"]));
            }
        }
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "its whole purpose")]
fn print(text: &str) {
    println!("{text}");
}
