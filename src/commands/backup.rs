//! `gleitzeit backup` and `gleitzeit restore`: copy a store into a file and back. They work on the files themselves, so
//! no control plane needs to run.

use std::path::PathBuf;

use gleitzeit_control_plane::StoreConfig;
use gleitzeit_control_plane::journal::{self, Copied, StoreError};
use gleitzeit_workflow::ErrorCode;

use crate::cli::{BackupArgs, RestoreArgs};
use crate::document::Copy;
use crate::error::{CommandError, CommandResult, Exit, chain};
use crate::{output, store_url};

pub(crate) fn backup(args: &BackupArgs) -> CommandResult {
    let store = file(args.store.as_deref())?;
    let copied = journal::backup(&store, &args.file).map_err(failed)?;
    let document = document(&args.file, copied, None);
    output::document(args.output.format(), &document, |it| {
        format!("{} holds {} runs and {} entries, all of them checked\n", it.file, it.runs, it.entries)
    })?;
    Ok(Exit::Success)
}

pub(crate) fn restore(args: &RestoreArgs) -> CommandResult {
    let store = file(args.store.as_deref())?;
    let (copied, old) = journal::restore(&args.file, &store, args.replace).map_err(failed)?;
    let document = document(&store, copied, old);
    output::document(args.output.format(), &document, |it| {
        let kept = it.replaced.as_ref().map(|old| format!("the previous store is kept as {old}\n"));
        format!("{} holds {} runs and {} entries\n{}", it.file, it.runs, it.entries, kept.unwrap_or_default())
    })?;
    Ok(Exit::Success)
}

pub(super) fn file(url: Option<&str>) -> Result<PathBuf, CommandError> {
    match store_url::parse(url)? {
        StoreConfig::Sqlite(path) => Ok(path),
        StoreConfig::Memory => Err(CommandError::usage("a store in memory cannot be copied")),
    }
}

fn document(file: &std::path::Path, copied: Copied, old: Option<PathBuf>) -> Copy {
    let counts = copied.counts;
    Copy {
        file: file.display().to_string(),
        journal_position: copied.position.0,
        entries: copied.entries,
        runs: counts.running + counts.completed + counts.failed + counts.cancelled,
        replaced: old.map(|old| old.display().to_string()),
    }
}

pub(super) fn failed(error: StoreError) -> CommandError {
    let text = chain(&error);
    match &error {
        StoreError::Backup(_) => CommandError::usage(text),
        StoreError::InUse(_) => CommandError::new(Exit::Failed, ErrorCode::ConfigurationError, text)
            .hint("stop its control plane first: `gleitzeit stop`"),
        StoreError::Lists { .. } => CommandError::new(Exit::Failed, ErrorCode::PersistenceIntegrityError, text)
            .hint("the entries are intact; only the lists derived from them are damaged"),
        error if error.is_damage() => {
            CommandError::new(Exit::Failed, ErrorCode::PersistenceIntegrityError, text).hint("use another backup")
        }
        error => {
            let code = error.code().unwrap_or(ErrorCode::PersistenceWriteFailed);
            CommandError::new(Exit::Failed, code, text).hint(code.remedy())
        }
    }
}
