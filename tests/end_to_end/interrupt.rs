//! Ctrl-C and SIGTERM: running work is ended, and the command says so.

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Beat, PATIENCE, Sandbox, beat, gone};

fn beating(sandbox: &Sandbox, file: &std::path::Path) -> String {
    let text = format!(
        "name: Endless\ntasks:\n  - id: beat\n    method: python/execute\n    parameters:\n      code: |\n{}  - {{id: after, \
         method: util/echo, dependencies: [beat]}}\n",
        beat(file)
    );
    sandbox.file("endless.yaml", text)
}

#[test]
fn an_interrupt_cancels_the_run_ends_its_python_and_exits_with_130() {
    for signal in [Signal::INT, Signal::TERM] {
        let sandbox = Sandbox::new();
        let file = sandbox.path().join("beat");
        let run = sandbox.start(&["run", &beating(&sandbox, &file), "-o", "json"]);
        Beat::first(&file);
        run.signal(signal);
        let ended = run.wait(PATIENCE).exits(130);
        gone(&file, PATIENCE);
        let document = ended.json();
        assert_eq!(document["status"], "cancelled", "{ended}");
        assert_eq!(document["error"]["name"], "WORKFLOW_CANCELLED", "{ended}");
        let statuses = ["beat", "after"].map(|id| document["tasks"][id]["status"].clone());
        assert_eq!(statuses, [json!("cancelled"), json!("cancelled")]);
        assert_eq!(sandbox.kept_stores().len(), 1, "{ended}");
    }
}

#[test]
fn python_dies_with_its_agent_even_on_kill_9() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("beat");
    let mut run = sandbox.start(&["run", &beating(&sandbox, &file)]);
    Beat::first(&file);
    run.kill_9();
    gone(&file, PATIENCE);
}
