//! The rough sizes of events and runs, in bytes: enough for limits of memory and of transactions, and they need no
//! encoding.

use gleitzeit_run::event::WorkflowSubmitted;
use gleitzeit_run::{Event, State};
use gleitzeit_workflow::Payload;
use gleitzeit_workflow::template::FileContent;

/// What an event takes besides its payloads, as JSON.
const ENTRY_BYTES: usize = 200;
/// What a task of a run takes in memory besides its payloads.
const TASK_BYTES: usize = 1_024;

/// The size of an event as JSON, roughly.
pub(super) fn of_event(event: &Event) -> usize {
    ENTRY_BYTES + of_payloads(event)
}

/// The size of the payloads of an event as JSON, roughly. Failures, reasons and names are short texts and do not count.
pub(super) fn of_payloads(event: &Event) -> usize {
    let beside = if let Event::WorkflowSubmitted(submitted) = event {
        of_files(submitted) + ENTRY_BYTES * submitted.workflow.tasks.len()
    } else if let Event::ProtocolsUsed(used) = event {
        ENTRY_BYTES * used.protocols.len()
    } else {
        0
    };
    beside + event.meaning().payload.map_or(0, Payload::size_bytes)
}

/// The memory that a run takes, roughly: its texts, and a flat sum for each task.
pub(super) fn of_run(state: &State) -> usize {
    let payloads = state.tasks.iter().flat_map(|task| [task.result(), task.parameters()]).flatten();
    TASK_BYTES * (1 + state.tasks.len())
        + state.submitted.inputs.size_bytes()
        + state.outputs.as_ref().map_or(0, Payload::size_bytes)
        + of_files(&state.submitted)
        + payloads.map(Payload::size_bytes).sum::<usize>()
}

fn of_files(submitted: &WorkflowSubmitted) -> usize {
    let files = submitted.files.values().map(|content| match content {
        FileContent::Text(text) | FileContent::Base64(text) => text.len(),
    });
    files.sum()
}
