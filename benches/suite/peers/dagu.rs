//! Dagu through its command line: every run is a separate process, so W1 includes a cold start.

use std::collections::VecDeque;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::Found;
use super::process::Owned;

/// The time limit of one run.
const PATIENCE: Duration = Duration::from_secs(120);
/// Concurrent runs in W2: each one is a process, so there are fewer than for the others.
const SIDE_BY_SIDE: usize = 16;

pub(super) fn measure(quick: bool) -> anyhow::Result<Found> {
    let (repeats, runs, side_by_side, length, width) = if quick { (1, 3, 16, 5, 10) } else { (3, 40, 200, 100, 1_000) };
    let home = tempfile::tempdir()?;
    let one = home.path().join("one.yaml");
    std::fs::write(&one, "steps:\n  - name: only\n    command: \"true\"\n")?;
    let chain = home.path().join("chain.yaml");
    std::fs::write(&chain, steps(length, |at| (at > 0).then(|| vec![format!("s{}", at - 1)])))?;
    let wide = home.path().join("wide.yaml");
    let all: Vec<String> = (0..width).map(|at| format!("s{at}")).collect();
    std::fs::write(&wide, steps(width + 1, |at| (at == width).then(|| all.clone())))?;

    let mut found = Found::default();
    for _ in 0..repeats {
        let mut times = Vec::new();
        for _ in 0..runs {
            times.push(timed(home.path(), &one)?);
        }
        times.sort_unstable_by(f64::total_cmp);
        found.w1_p50.extend(times.get(times.len() / 2));
        found.w1_p99.extend(times.last());
        let started = Instant::now();
        let mut open = VecDeque::new();
        for _ in 0..side_by_side {
            if open.len() == SIDE_BY_SIDE
                && let Some(first) = open.pop_front()
            {
                Owned::output(first, PATIENCE)?;
            }
            open.push_back(Owned::start(command(home.path(), &one), true)?);
        }
        for rest in open {
            rest.output(PATIENCE)?;
        }
        found.w2.push(side_by_side as f64 / started.elapsed().as_secs_f64());
        found.w3.push(timed(home.path(), &chain)? / length as f64);
        found.w4.push((width + 1) as f64 * 1_000.0 / timed(home.path(), &wide)?);
    }
    Ok(found)
}

fn steps(count: usize, depends: impl Fn(usize) -> Option<Vec<String>>) -> String {
    let mut yaml = "type: graph\nsteps:\n".to_owned();
    for at in 0..count {
        yaml.push_str(&format!("  - name: s{at}\n    command: \"true\"\n"));
        if let Some(names) = depends(at) {
            yaml.push_str(&format!("    depends: [{}]\n", names.join(", ")));
        }
    }
    yaml
}

fn command(home: &Path, file: &Path) -> Command {
    let mut command = Command::new("dagu");
    command.args(["start", "--quiet"]).arg(file).env("DAGU_HOME", home).env("HOME", home);
    command
}

/// The time of one run in milliseconds.
fn timed(home: &Path, file: &Path) -> anyhow::Result<f64> {
    let started = Instant::now();
    Owned::start(command(home, file), true)?.output(PATIENCE)?;
    Ok(started.elapsed().as_secs_f64() * 1_000.0)
}
