//! The worst that small inputs can do: workflow files of 64 KiB that expand or take long to process, and a run whose
//! references resolve to far more than may be built. Each time is shown with the peak memory of the control plane.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use gleitzeit_proto::v1;

use crate::Size;
use crate::plane::Plane;
use crate::report::{Report, Row};
use crate::times::{Times, millis};

/// The most bytes of a file.
const BYTES: usize = 64 * 1024;
/// How often the run refers to its value, and the size of that value in bytes.
const REFERENCES: usize = 3_000;
const VALUE_BYTES: usize = 700_000;

pub(crate) async fn measure(size: Size, plane: &Plane, report: &mut Report) -> anyhow::Result<()> {
    for (name, text) in files() {
        ensure!(text.len() <= BYTES, "{name} has {} bytes", text.len());
        let (mut times, mut memory) = (Vec::new(), Vec::new());
        for _ in 0..size.repeats {
            let before = plane.reset_peak();
            let started = Instant::now();
            plane.validate(&text).await?;
            times.push(millis(started.elapsed()));
            memory.extend(before.and_then(|before| Some(plane.peak_bytes()? - before)).map(|bytes| bytes / 1e6));
        }
        report.row(Row::new(format!("worst 64 KiB, {name}: validated"), "ms", times).at_most(200.0));
        if !memory.is_empty() {
            report.row(Row::new("… memory at most", "MB", memory).at_most(64.0));
        }
    }
    run(size, plane, report).await
}

async fn run(size: Size, plane: &Plane, report: &mut Report) -> anyhow::Result<()> {
    let yaml = format!(
        "name: Many\ninputs: {{v: null}}\ntasks:\n  - {{id: a, method: util/echo, parameters: {{v: \"${{inputs.v}}\"}}}}\n  \
         - {{id: b, method: util/echo, parameters: {{v: \"{}\"}}}}\n",
        "${a}".repeat(REFERENCES)
    );
    let inputs = serde_json::json!({"v": "x".repeat(VALUE_BYTES)}).to_string();
    let (mut times, mut memory, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..size.repeats {
        let before = plane.reset_peak();
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let beside = plane.client_only();
        let small = "name: Small\ntasks:\n  - {id: a, method: util/echo, parameters: {v: 1}}\n";
        let others_run = tokio::spawn(async move {
            let mut times = Vec::new();
            while stopped.try_recv().is_err_and(|error| error == tokio::sync::oneshot::error::TryRecvError::Empty) {
                let started = Instant::now();
                beside.run(small).await?;
                times.push(started.elapsed());
            }
            anyhow::Ok(times)
        });
        let started = Instant::now();
        let error = plane.failed(plane.submit_with(&yaml, &inputs).await?).await?;
        times.push(millis(started.elapsed()));
        ensure!(error.name == "WORKFLOW_EXECUTION_FAILED" && error.message.contains("does not fit"), "{error:?}");
        // The small runs go on for a moment, so that each trial has some of them.
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(stop);
        others.push(Times::new(others_run.await??).quantile(1.0));
        memory.extend(before.and_then(|before| Some(plane.peak_bytes()? - before)).map(|bytes| bytes / 1e6));
    }
    let what = format!("{REFERENCES} references to {} kB: submitted until failed", VALUE_BYTES / 1_000);
    report.row(Row::new(what, "ms", times).at_most(1_000.0));
    if !memory.is_empty() {
        report.row(Row::new("… memory at most", "MB", memory).at_most(100.0));
    }
    report.row(Row::new("… the slowest of the small runs meanwhile", "ms", others));
    Ok(())
}

/// The most expensive known inputs, one of each kind.
fn files() -> Vec<(&'static str, String)> {
    const HEAD: &str = "name: n\ntasks:\n- id: a\n  method: util/echo\n  parameters:\n";
    let mut levels = format!("{HEAD}    a0: &a0 [x]\n");
    for level in 1..20 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        levels.push_str(&format!("    a{level}: &a{level} [{aliases}]\n"));
    }
    let items = vec!["0"; 15_000].join(",");
    let fields: String = (0..200).map(|field| format!("k{field}: 1, ")).collect();
    let filled = |head: &str, line: &dyn Fn(usize) -> String| {
        let mut text = head.to_owned();
        for at in 0.. {
            let next = line(at);
            if text.len() + next.len() > BYTES {
                break;
            }
            text.push_str(&next);
        }
        text
    };
    let tasks = "name: n\ntasks:\n";
    vec![
        ("aliases of aliases", levels),
        ("one list, often", format!("{HEAD}    a: &a [{items}]\n    b: [{}]\n", vec!["*a"; 8_000].join(","))),
        (
            "a long text, often",
            format!("{HEAD}    a: &a {}\n    b: [{}]\n", "x".repeat(30_000), vec!["*a"; 8_000].join(",")),
        ),
        ("merged, often", format!("{HEAD}    a: &a {{{fields}}}\n    b: [{}]\n", vec!["{<<: *a}"; 5_000].join(","))),
        ("values, one after the other", filled(HEAD, &|at| format!("    k{at}: {at}\n"))),
        ("tasks", filled(tasks, &|at| format!("- {{id: t{at}, method: util/echo}}\n"))),
        (
            "tasks in a row",
            filled(&format!("{tasks}- {{id: t0, method: util/echo}}\n"), &|at| {
                format!("- {{id: t{}, method: util/echo, dependencies: [t{at}]}}\n", at + 1)
            }),
        ),
        ("references to nothing", filled(HEAD, &|at| format!("    k{at}: ${{tsk{at}.x}}\n"))),
        ("references in one text", format!("{HEAD}    v: \"{}\"\n", "${b}".repeat(16_000))),
        ("fields that do not exist", filled("name: n\n", &|at| format!("k{at}: 1\n"))),
        ("methods that do not exist", filled(tasks, &|at| format!("- {{id: t{at}, method: utill/ecko{at}}}\n"))),
        ("the same id", filled(tasks, &|_| "- {id: a, method: util/echo}\n".to_owned())),
        ("the same key", filled("name: n\n", &|_| "key: 1\n".to_owned())),
        (
            "program text",
            format!(
                "name: n\ntasks:\n- id: a\n  method: python/execute\n  parameters: {{code: \"{}\"}}\n",
                "f'{${b}}' ".repeat(6_000)
            ),
        ),
        ("nested", format!("{HEAD}    v: {}{}\n", "[".repeat(30_000), "]".repeat(30_000))),
    ]
}

impl Plane {
    async fn validate(&self, text: &str) -> anyhow::Result<()> {
        let source = v1::validate_workflow_request::Source::Yaml(text.to_owned());
        let request = v1::ValidateWorkflowRequest { source: Some(source), ..v1::ValidateWorkflowRequest::default() };
        self.client.clone().validate_workflow(request).await?;
        Ok(())
    }

    async fn submit_with(&self, yaml: &str, inputs: &str) -> anyhow::Result<String> {
        let source = v1::submit_workflow_request::Source::Yaml(yaml.to_owned());
        let inputs_json = inputs.to_owned();
        let request =
            v1::SubmitWorkflowRequest { source: Some(source), inputs_json, ..v1::SubmitWorkflowRequest::default() };
        Ok(self.client.clone().submit_workflow(request).await?.into_inner().run_id)
    }

    /// Waits until a run has failed.
    async fn failed(&self, run_id: String) -> anyhow::Result<v1::Error> {
        let wait = prost_types::Duration { seconds: 60, nanos: 0 };
        let request = v1::GetRunRequest { run_id, wait: Some(wait), include_results: Some(false) };
        let run = self.client.clone().get_run(request).await?.into_inner().run.context("a run")?;
        ensure!(run.status() == v1::RunStatus::Failed, "the run is {:?}", run.status());
        run.error.context("an error")
    }
}
