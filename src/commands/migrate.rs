//! `gleitzeit migrate`: converts files of the original Gleitzeit to the current format, or shows what that would
//! change.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use gleitzeit_protocols::Registry;
use gleitzeit_workflow::spec::{Change, Limits, Note, Problem, migrate};
use serde::Serialize;
use similar::TextDiff;

use crate::cli::{Format, MigrateArgs};
use crate::error::{CommandError, CommandResult, Exit};
use crate::workflow::{Source, missing_files};
use crate::{definitions, output};

/// The result for all files.
#[derive(Serialize)]
struct Document {
    files: Vec<FileDocument>,
}

#[derive(Serialize)]
struct FileDocument {
    file: String,
    /// Whether the text has changed.
    changed: bool,
    /// Whether the new text was written to the file.
    written: bool,
    /// Whether the new workflow is valid.
    valid: bool,
    changes: Vec<Change>,
    /// Changes that are left to the author.
    left: Vec<Change>,
    errors: Vec<Problem>,
    notes: Vec<Note>,
    /// The new text; null if there is none.
    text: Option<String>,
    #[serde(skip)]
    before: String,
}

pub(crate) fn run(args: &MigrateArgs) -> CommandResult {
    if args.write && args.files.iter().any(|file| file == Path::new("-")) {
        return Err(CommandError::usage("`--write` has no file to write to: `-` is stdin")
            .hint("leave it out: the new text goes to stdout"));
    }
    let registry = definitions::registry(&args.definitions)?;
    let mut files = Vec::new();
    for path in &args.files {
        let mut file = one(path, &registry);
        if args.write && file.changed {
            match file.text.as_deref().map_or(Ok(()), |text| replace(path, text)) {
                Ok(()) => file.written = true,
                Err(error) => {
                    let message = format!("cannot be written: {error}");
                    let code = gleitzeit_workflow::ErrorCode::InvalidParams;
                    file.errors.push(Problem::of_file(&file.file, code, message));
                }
            }
        }
        files.push(file);
    }
    let document = Document { files };
    output::document(args.output.format(), &document, |it| it.files.iter().map(shown).collect())?;
    if args.output.format() == Format::Table {
        document.files.iter().for_each(report);
    }
    let all_well = document.files.iter().all(|file| file.valid && file.errors.is_empty());
    Ok(if all_well { Exit::Success } else { Exit::Usage })
}

fn one(path: &Path, registry: &Registry) -> FileDocument {
    let mut file = FileDocument {
        file: path.display().to_string(),
        changed: false,
        written: false,
        valid: false,
        changes: Vec::new(),
        left: Vec::new(),
        errors: Vec::new(),
        notes: Vec::new(),
        text: None,
        before: String::new(),
    };
    let source = match Source::read(path) {
        Ok(source) => source,
        Err(error) => return FileDocument { errors: error.problems, ..file },
    };
    match source.text() {
        Ok(text) => text.clone_into(&mut file.before),
        Err(error) => return FileDocument { errors: error.problems, ..file },
    }
    let folder = source.folder();
    let locate = |path: &str| located(&folder, path);
    match migrate(&file.before, &source.name, registry, &Limits::DEFAULT, &locate) {
        Ok(migrated) => {
            let checked = Source { name: source.name, bytes: migrated.text.clone().into_bytes() };
            let outcome = checked.check(registry, &Limits::DEFAULT);
            file.errors = match outcome.workflow {
                Ok(workflow) => missing_files(&checked, &workflow),
                Err(problems) => problems,
            };
            file.notes = outcome.notes;
            file.valid = file.errors.is_empty();
            file.changed = migrated.text != file.before;
            (file.changes, file.left, file.text) = (migrated.changes, migrated.left, Some(migrated.text));
        }
        Err(problem) => file.errors = vec![*problem],
    }
    file
}

/// The path of a file relative to the workflow's folder. In the original, paths were relative to the working directory,
/// which is the folder itself or its parent.
fn located(folder: &Path, path: &str) -> String {
    if Path::new(path).is_absolute() || folder.join(path).is_file() {
        return path.to_owned();
    }
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(here) = fs::canonicalize(here) else { return path.to_owned() };
    for (up, above) in here.ancestors().enumerate().skip(1) {
        if above.join(path).is_file() {
            return format!("{}{path}", "../".repeat(up));
        }
    }
    path.to_owned()
}

/// The new text if it came from stdin; for files, the changes.
fn shown(file: &FileDocument) -> String {
    match &file.text {
        Some(text) if file.file == "-" => text.clone(),
        Some(text) if file.changed => {
            let diff = TextDiff::from_lines(file.before.as_str(), text.as_str());
            diff.unified_diff().header(&file.file, &format!("{} (migrated)", file.file)).to_string()
        }
        _ => String::new(),
    }
}

/// Reports what was done to a file, and its problems.
fn report(file: &FileDocument) {
    let name = &file.file;
    for change in &file.changes {
        output::note(&format!("{name} {}: {}", change.field, change.message));
    }
    for left in &file.left {
        output::note(&format!("{name} {}: to be migrated by hand: {}", left.field, left.message));
    }
    output::notes(&file.notes);
    file.errors.iter().for_each(output::problem);
    let done = match (file.changed, file.written) {
        (true, true) => "migrated",
        (true, false) if file.file != "-" => "would be migrated with `--write`",
        (true, false) => "migrated",
        (false, _) if file.text.is_none() => "cannot be migrated",
        (false, _) => "nothing to migrate",
    };
    let is = if file.valid { "valid" } else { "not valid" };
    output::note(&format!("{name}: {done}; {is}"));
}

/// Replaces the content of a file atomically.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // A symbolic link keeps pointing to its target.
    let path = fs::canonicalize(path)?;
    let mut temporary = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new("/")))?;
    temporary.write_all(text.as_bytes())?;
    temporary.as_file().set_permissions(fs::metadata(&path)?.permissions())?;
    temporary.as_file().sync_all()?;
    temporary.persist(&path).map(drop).map_err(|error| error.error)
}
