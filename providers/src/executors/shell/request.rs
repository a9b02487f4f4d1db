//! Parses what a call asks for, and writes the files that its processes read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use gleitzeit_workflow::error::ErrorCode;
use serde::Deserialize;

use super::interpreter::Named;
use super::sizes;
use crate::call::{Call, CallError};
use crate::executors::builtin::parameters;

/// The kernel accepts 128 KiB in one argument; a longer command is passed in a file.
const MAX_ARGUMENT: usize = 100_000;

/// The parameters of a call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    command: String,
    #[serde(default)]
    stdin: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    pub(super) shell: Option<Named>,
    pub(super) strict: Option<bool>,
    pub(super) timeout: Option<f64>,
    #[serde(default = "zero")]
    pub(super) expected_exit_codes: Vec<u8>,
}

fn zero() -> Vec<u8> {
    vec![0]
}

impl Wanted {
    pub(super) fn read(call: &Call) -> Result<Self, CallError> {
        if call.method.as_str() != "shell/run" {
            let message = format!("method `{}` is not a method of a shell provider", call.method.as_str());
            return Err(CallError::new(ErrorCode::MethodNotSupported, message));
        }
        let wanted: Self = parameters(call)?;
        let refused = |message: String| Err(CallError::new(ErrorCode::InvalidParams, message));
        if wanted.command.contains('\0') {
            return refused("`command` has a NUL character, which no shell can take".to_owned());
        }
        for (name, value) in &wanted.env {
            let is_name = !name.starts_with(|c: char| c.is_ascii_digit())
                && !name.is_empty()
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_name {
                return refused(format!("`env`: `{name}` cannot be the name of a variable"));
            }
            if value.contains('\0') {
                return refused(format!("`env`: the value of `{name}` has a NUL character"));
            }
        }
        sizes::check(&wanted.env, wanted.argument())?;
        Ok(wanted)
    }

    /// The command, if it is short enough to be an argument.
    fn argument(&self) -> &str {
        if self.command.len() <= MAX_ARGUMENT { &self.command } else { "" }
    }

    /// Writes the input of a call's processes into its folder `in`; returns the arguments of the shell.
    pub(super) fn write(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut set = String::new();
        if !self.env.is_empty() {
            // Set by a program, because some variables mean something to the shell that would set them.
            set.push_str("set -- env");
            for (name, value) in &self.env {
                // Within single quotes every character stands for itself, except a single quote.
                let value = value.replace('\'', "'\\''");
                write!(set, " '{name}={value}'").map_err(io::Error::other)?;
            }
            set.push_str(" \"$@\"\n");
        }
        std::fs::write(folder.join("env"), set)?;
        if !self.stdin.is_empty() {
            std::fs::write(folder.join("stdin"), &self.stdin)?;
        }
        if self.command.len() <= MAX_ARGUMENT {
            // A command may begin with a hyphen.
            return Ok(vec!["-c".to_owned(), "--".to_owned(), self.command.clone()]);
        }
        let file = folder.join("command");
        std::fs::write(&file, &self.command)?;
        let file = file.into_os_string().into_string();
        let file = file.map_err(|_| io::Error::other("the path of the temporary folder is not UTF-8"))?;
        Ok(vec!["--".to_owned(), file])
    }
}
