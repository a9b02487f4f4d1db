//! `gleitzeit graph`: draws the tasks of a workflow, or of a run with their states, and their dependencies.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use gleitzeit_sdk::{Client, RunStatus, TaskFilter, TaskStatus};
use gleitzeit_workflow::graph::Graph;
use gleitzeit_workflow::spec::{Limits, Priority, RetryPolicy, Task, Workflow};
use serde_json::json;

use crate::cli::{GraphArgs, GraphForm};
use crate::error::{CommandError, CommandResult, Exit};
use crate::find_runs::{self, Found};
use crate::graph::Marks;
use crate::signals::{OnSignal, block_on};
use crate::workflow::Source;
use crate::{client, definitions, graph, output};

pub(crate) fn run(args: &GraphArgs) -> CommandResult {
    match run_in(&args.of) {
        Some(wanted) => of_run(args, wanted),
        None => of_file(args),
    }
}

/// The run that the argument means. An existing file takes precedence, and text that cannot be a run is a missing file.
fn run_in(word: &Path) -> Option<&str> {
    let text = word.to_str().filter(|_| word != Path::new("-") && !word.exists())?;
    let is_id = !text.is_empty() && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    (is_id || text == "last").then_some(text)
}

fn of_file(args: &GraphArgs) -> CommandResult {
    let source = Source::read(&args.of).map_err(|mut error| {
        if let Some(problem) = error.problems.first_mut() {
            problem.hint = Some("name a workflow's file, or a run: its id, the beginning of it, or `last`".to_owned());
        }
        error
    })?;
    let registry = definitions::registry(&args.definitions)?;
    // Methods of providers elsewhere are unknown here, and a drawing does not need them.
    let workflow = match source.check(&registry, &Limits::DEFAULT).workflow {
        Ok(workflow) => workflow,
        Err(_) => source.check_shape().workflow.map_err(CommandError::problems)?,
    };
    print(args, &workflow, None)
}

fn of_run(args: &GraphArgs, wanted: &str) -> CommandResult {
    block_on(OnSignal::Drop, |_| async move {
        let found = find_runs::find(&args.client, wanted).await.map_err(|error| {
            let hint = error.hint.clone().unwrap_or_default();
            error.hint(format!("there is no file `{wanted}`, so a run was meant; {hint}"))
        })?;
        found.note_if_elsewhere().await?;
        let Found { client, run_id, .. } = found;
        let (workflow, run) = snapshot(&client, &run_id).await?;
        print(args, &workflow, Some(&run))
    })
}

/// The tasks of a run with their states.
struct Drawn {
    run_id: String,
    status: RunStatus,
    states: Vec<TaskStatus>,
}

/// The part of a run's workflow that is drawn, and the states of its tasks.
async fn snapshot(client: &Client, run_id: &str) -> Result<(Workflow, Drawn), CommandError> {
    let run = client.wait_without_results(run_id, Some(Duration::ZERO)).await?;
    let filter =
        TaskFilter { without_results: true, with_dependencies: true, page_size: 1_000, ..TaskFilter::default() };
    let tasks = client::all_pages(async |token: Option<&str>| {
        client.list_tasks(run_id, &TaskFilter { page_token: token.map(str::to_owned), ..filter.clone() }).await
    })
    .await?;
    let states = tasks.iter().map(|task| task.status).collect();
    let task = |task: gleitzeit_sdk::Task| Task {
        id: task.id.as_str().into(),
        method: task.method.as_str().into(),
        provider: task.provider.as_deref().map(Into::into),
        protocol_version: String::new(),
        priority: Priority::default(),
        queue: task.queue.as_str().into(),
        timeout_ms: None,
        retry: RetryPolicy::default(),
        dependencies: task.dependencies.iter().map(|id| id.as_str().into()).collect(),
        parameters: json!({}),
        code: Default::default(),
    };
    let workflow = Workflow {
        name: run.name,
        description: None,
        version: None,
        labels: Default::default(),
        inputs: Default::default(),
        files: Default::default(),
        timeout_ms: None,
        tasks: tasks.into_iter().map(task).collect(),
        outputs: Default::default(),
    };
    Ok((workflow, Drawn { run_id: run.run_id, status: run.status, states }))
}

fn print(args: &GraphArgs, workflow: &Workflow, run: Option<&Drawn>) -> CommandResult {
    let marks = Marks { states: run.map_or(&[][..], |run| run.states.as_slice()), colour: is_coloured() };
    output::document(args.output.format(), &document(workflow, run), |_| match args.form {
        GraphForm::Terminal => graph::terminal(workflow, output::columns(), &marks),
        GraphForm::Mermaid => graph::mermaid(workflow, &marks),
        GraphForm::Dot => graph::dot(workflow, &marks),
    })?;
    Ok(Exit::Success)
}

/// `NO_COLOR` set to anything means no colour, and a file or a pipe has none either.
fn is_coloured() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn document(workflow: &Workflow, run: Option<&Drawn>) -> serde_json::Value {
    let (graph, steps) = (Graph::new(workflow), graph::steps(workflow));
    let task = |(at, step): (usize, usize)| {
        let task = &workflow.tasks[at];
        let dependencies: Vec<&str> =
            graph::dependencies(workflow, &graph, at).iter().map(|it| it.id.as_str()).collect();
        let mut document = json!({
            "id": task.id, "method": task.method, "provider": task.provider, "queue": task.queue, "step": step,
            "dependencies": dependencies,
        });
        if let Some(state) = run.and_then(|run| run.states.get(at)) {
            document["status"] = json!(state);
        }
        document
    };
    let tasks: Vec<serde_json::Value> = steps.into_iter().enumerate().map(task).collect();
    let mut document = json!({"name": workflow.name, "tasks": tasks});
    if let Some(run) = run {
        document["run_id"] = json!(run.run_id);
        document["status"] = json!(run.status);
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_takes_precedence_over_a_run_and_text_that_is_no_run_id_is_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("cafe");
        assert_eq!(run_in(&file), None, "a path");
        for (word, expected) in
            [("last", Some("last")), ("0193cafe-", Some("0193cafe-")), ("missing.yaml", None), ("-", None), ("", None)]
        {
            assert_eq!(run_in(Path::new(word)), expected, "{word}");
        }
        assert_eq!(run_in(Path::new("src")), None, "it is there");
    }
}
