//! `gleitzeit store check`: reads a store from end to end and changes nothing.

use std::fmt::Write as _;

use gleitzeit_control_plane::journal::{self, Checked, Wrong};
use gleitzeit_core::run::RunStatus;

use super::backup;
use crate::cli::CheckArgs;
use crate::document::{StoreCheck, StoreWrong};
use crate::error::{CommandResult, Exit};
use crate::output;

pub(crate) fn check(args: &CheckArgs) -> CommandResult {
    let file = backup::file(args.store.as_deref())?;
    let checked = journal::check(&file).map_err(backup::failed)?;
    let document = document(&file, checked);
    output::document(args.output.format, &document, text)?;
    Ok(if document.whole { Exit::Success } else { Exit::Failed })
}

fn document(file: &std::path::Path, checked: Checked) -> StoreCheck {
    let wrong = |Wrong { run_id, status, why }| StoreWrong { run_id: run_id.map(|id| id.to_string()), status, why };
    StoreCheck {
        file: file.display().to_string(),
        journal_position: checked.position.0,
        entries: checked.entries,
        runs: checked.runs,
        whole: checked.wrong.is_empty(),
        wrong: checked.wrong.into_iter().map(wrong).collect(),
    }
}

fn text(it: &StoreCheck) -> String {
    let mut text = format!("{} holds {} runs and {} entries", it.file, it.runs, it.entries);
    if it.whole {
        text.push_str(", and nothing is wrong with them\n");
        return text;
    }
    text.push('\n');
    for wrong in &it.wrong {
        match (&wrong.run_id, wrong.status) {
            (Some(id), Some(RunStatus::Running)) => {
                let _ = writeln!(text, "run {id} cannot be replayed and is set aside at each start: {}", wrong.why);
                let _ = writeln!(text, "  `gleitzeit cancel --force {id}` ends it");
            }
            (Some(id), _) => {
                let _ = writeln!(text, "run {id} has ended and cannot be shown: {}", wrong.why);
            }
            (None, _) => {
                let _ = writeln!(text, "the store is not whole: {}", wrong.why);
            }
        }
    }
    text
}
