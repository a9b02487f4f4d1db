//! The options of a provider file, checked.

use std::path::PathBuf;

use gleitzeit_protocols::yaml::{Node, Reader};

use crate::executors::process::limits::Limits;

#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) shell: PathBuf,
    pub(super) limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self { shell: "/bin/sh".into(), limits: Limits::default() }
    }
}

/// Reads them; what is wrong is noted in `reader`.
pub(super) fn read(reader: &mut Reader, node: Option<&Node>) -> Options {
    let mut options = Options::default();
    let Some(node) = node else { return options };
    let known = [&["shell"], &Limits::FIELDS[..]].concat();
    let fields = reader.fields(node, "`options`", &known);
    if let Some(node) = fields.get("shell")
        && let Some(shell) = reader.text(node, "shell")
    {
        options.shell = shell.into();
        if !options.shell.is_absolute() {
            let hint = Some("write the whole path, such as `/bin/bash`".to_owned());
            reader.problem(node.place, "`shell` is no absolute path", hint);
        }
    }
    options.limits = Limits::read(reader, &fields);
    options
}
