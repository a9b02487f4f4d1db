//! W7: tasks whose parameters and results are larger.

use std::time::Instant;

use crate::Size;
use crate::plane::Plane;
use crate::report::{Report, Row};
use crate::times::{Times, millis};

/// Sizes in KiB.
const SIZES: [usize; 3] = [1, 16, 256];
/// Each task passes its text to the next.
const TASKS: usize = 4;

pub(crate) async fn measure(size: Size, plane: &Plane, report: &mut Report) -> anyhow::Result<()> {
    for kib in SIZES {
        let text = "0123456789abcdef".repeat(kib * 64);
        let mut yaml =
            format!("name: Large\ntasks:\n  - {{id: t0, method: util/echo, parameters: {{text: \"{text}\"}}}}\n");
        for at in 1..TASKS {
            let line =
                format!("  - {{id: t{at}, method: util/echo, parameters: {{text: \"${{t{}.text}}\"}}}}\n", at - 1);
            yaml.push_str(&line);
        }
        let mut medians = Vec::new();
        for _ in 0..size.repeats {
            let mut times = Vec::with_capacity(size.payload_runs);
            for _ in 0..size.payload_runs.min(20_000 / kib.max(20)) {
                let started = Instant::now();
                plane.run(&yaml).await?;
                times.push(started.elapsed());
            }
            medians.push(Times::new(times).median());
        }
        let row = Row::new(format!("W7 a chain of {TASKS} that hand on {kib} KiB, p50"), "ms", medians);
        let bytes = (kib * 1024 * TASKS) as f64;
        let through = bytes / 1e6 / (row.median() / millis(std::time::Duration::from_secs(1)));
        report.row(row);
        report.row(Row::new(format!("W7 … payload of {kib} KiB through the journal"), "MB/s", vec![through]));
    }
    Ok(())
}
