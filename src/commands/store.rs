//! `gleitzeit store check`: reads a whole store and changes nothing, unless `--repair` is given.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use gleitzeit_control_plane::journal::{self, Checked, Wrong};
use gleitzeit_run::RunStatus;

use super::backup;
use crate::cli::CheckArgs;
use crate::document::{StoreCheck, StoreWrong};
use crate::error::{CommandResult, Exit};
use crate::output;

pub(crate) fn check(args: &CheckArgs) -> CommandResult {
    let file = backup::file(args.store.as_deref())?;
    let mut checked = journal::check(&file);
    let is_damaged = match &checked {
        Ok(checked) => checked.lists_damaged,
        Err(error) => error.is_damage(),
    };
    let mut kept = None;
    if args.repair && is_damaged {
        kept = Some(journal::repair(&file).map_err(backup::failed)?);
        checked = journal::check(&file);
    }
    let document = document(&file, checked.map_err(backup::failed)?, kept);
    output::document(args.output.format(), &document, text)?;
    Ok(if document.whole { Exit::Success } else { Exit::Failed })
}

fn document(file: &Path, checked: Checked, kept: Option<PathBuf>) -> StoreCheck {
    let wrong = |Wrong { run_id, status, why }| StoreWrong { run_id: run_id.map(|id| id.to_string()), status, why };
    StoreCheck {
        file: file.display().to_string(),
        journal_position: checked.position.0,
        entries: checked.entries,
        runs: checked.runs,
        whole: checked.wrong.is_empty(),
        lists_damaged: checked.lists_damaged,
        replaced: kept.map(|old| old.display().to_string()),
        wrong: checked.wrong.into_iter().map(wrong).collect(),
    }
}

fn text(it: &StoreCheck) -> String {
    let mut text = String::new();
    if let Some(old) = &it.replaced {
        let _ = writeln!(text, "the lists were rebuilt; the previous store is kept as {old}");
    }
    let _ = write!(text, "{} holds {} runs and {} entries", it.file, it.runs, it.entries);
    if it.whole {
        text.push_str(", without damage\n");
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
                let _ = writeln!(text, "the store is damaged: {}", wrong.why);
            }
        }
    }
    if it.lists_damaged {
        text.push_str("if the entries are intact, `gleitzeit store check --repair` rebuilds the lists from them\n");
    }
    text
}
