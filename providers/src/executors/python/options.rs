//! The checked options of a provider file.

use std::path::PathBuf;

use gleitzeit_protocols::yaml::{Node, Reader};

use crate::executors::process::limits::Limits;
use crate::executors::result_bytes;

#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) python_executable: String,
    /// The folder that scripts named by `file` are in.
    pub(super) scripts_dir: Option<PathBuf>,
    pub(super) max_result_bytes: usize,
    pub(super) limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            python_executable: "python3".to_owned(),
            scripts_dir: None,
            max_result_bytes: 1 << 20,
            limits: Limits::default(),
        }
    }
}

/// Reads the options; problems are noted in `reader`.
pub(super) fn read(reader: &mut Reader, node: Option<&Node>) -> Options {
    let mut options = Options::default();
    let Some(node) = node else { return options };
    let known = [&["python_executable", "scripts_dir", "max_result_bytes"], &Limits::FIELDS[..]].concat();
    let fields = reader.fields(node, "`options`", &known);
    if let Some(executable) = reader.optional_text(&fields, "python_executable") {
        options.python_executable = executable;
    }
    if let Some(folder) = reader.optional_text(&fields, "scripts_dir") {
        options.scripts_dir = Some(reader.beside(&folder));
    }
    if let Some(bytes) = result_bytes(reader, &fields, "max_result_bytes") {
        options.max_result_bytes = bytes;
    }
    options.limits = Limits::read(reader, &fields);
    options
}
