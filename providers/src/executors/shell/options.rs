//! The checked options of a provider file.

use std::path::PathBuf;

use gleitzeit_protocols::yaml::{Kind, Node, Reader};

use crate::executors::process::limits::Limits;

#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) shell: PathBuf,
    /// The default of `strict` for calls that do not set it.
    pub(super) strict: bool,
    pub(super) limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self { shell: "/bin/sh".into(), strict: false, limits: Limits::default() }
    }
}

/// Reads the options; problems are noted in `reader`.
pub(super) fn read(reader: &mut Reader, node: Option<&Node>) -> Options {
    let mut options = Options::default();
    let Some(node) = node else { return options };
    let known = [&["shell", "strict"], &Limits::FIELDS[..]].concat();
    let fields = reader.fields(node, "`options`", &known);
    if let Some(node) = fields.get("shell")
        && let Some(shell) = reader.text(node, "shell")
    {
        options.shell = shell.into();
        if !options.shell.is_absolute() {
            let hint = Some("write the whole path, such as `/bin/bash`".to_owned());
            reader.problem(node.spot, "`shell` is not an absolute path", hint);
        }
    }
    if let Some(node) = fields.get("strict") {
        match &node.kind {
            Kind::Bool(strict) => options.strict = *strict,
            _ => reader.problem(node.spot, format!("`strict` is true or false, not {}", node.describe()), None),
        }
    }
    options.limits = Limits::read(reader, &fields);
    options
}
