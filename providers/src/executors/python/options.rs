//! The options of a provider file, checked.

use std::path::PathBuf;

use gleitzeit_protocols::yaml::{Fields, Node, Reader};

use super::capture::StreamLimits;

/// Results travel in one frame, so more than this could not be delivered.
const MOST_TEXT: u64 = 8 << 20;
/// More than any machine has; keeps sums from overflowing.
const MOST: u64 = 1 << 50;

const KNOWN: &[&str] = &[
    "python_executable",
    "sandbox",
    "scripts_dir",
    "max_output_bytes",
    "max_stream_bytes",
    "max_result_bytes",
    "max_memory_bytes",
    "max_cpu_seconds",
    "max_processes",
    "max_open_files",
    "max_file_bytes",
];

/// How much is kept from the code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sandbox {
    /// It may do what the agent's user may, within limits.
    #[default]
    Limits,
    /// No network, and of the files only Python itself and its own folder.
    Strict,
}

#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) python_executable: String,
    pub(super) max_output_bytes: usize,
    pub(super) max_stream_bytes: u64,
    pub(super) max_result_bytes: usize,
    pub(super) max_memory_bytes: u64,
    pub(super) max_processes: u64,
    pub(super) max_cpu_seconds: u64,
    pub(super) max_open_files: u64,
    pub(super) max_file_bytes: u64,
    pub(super) sandbox: Sandbox,
    /// Where `file` is looked for.
    pub(super) scripts_dir: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            python_executable: "python3".to_owned(),
            max_output_bytes: 256 * 1024,
            max_stream_bytes: 64 << 20,
            max_result_bytes: 1 << 20,
            max_memory_bytes: 2 << 30,
            max_processes: 64,
            max_cpu_seconds: 3600,
            max_open_files: 1024,
            max_file_bytes: 1 << 30,
            sandbox: Sandbox::Limits,
            scripts_dir: None,
        }
    }
}

impl Options {
    /// Of standard output, and of standard error.
    pub(super) fn streams(&self) -> StreamLimits {
        StreamLimits { kept: self.max_output_bytes, most: self.max_stream_bytes }
    }
}

/// Reads them; what is wrong is noted in `reader`.
pub(super) fn read(reader: &mut Reader, node: Option<&Node>) -> Options {
    let mut options = Options::default();
    let Some(node) = node else { return options };
    let fields = reader.fields(node, "`options`", KNOWN);
    if let Some(executable) = reader.optional_text(&fields, "python_executable") {
        options.python_executable = executable;
    }
    if let Some(folder) = reader.optional_text(&fields, "scripts_dir") {
        options.scripts_dir = Some(folder.into());
    }
    for (name, field) in
        [("max_output_bytes", &mut options.max_output_bytes), ("max_result_bytes", &mut options.max_result_bytes)]
    {
        if let Some(bytes) = number(reader, &fields, name, MOST_TEXT).and_then(|bytes| usize::try_from(bytes).ok()) {
            *field = bytes;
        }
    }
    for (name, field, most) in [
        ("max_stream_bytes", &mut options.max_stream_bytes, MOST),
        ("max_memory_bytes", &mut options.max_memory_bytes, MOST),
        ("max_processes", &mut options.max_processes, 10_000),
        ("max_cpu_seconds", &mut options.max_cpu_seconds, 1 << 30),
        ("max_open_files", &mut options.max_open_files, 1 << 20),
        ("max_file_bytes", &mut options.max_file_bytes, MOST),
    ] {
        if let Some(number) = number(reader, &fields, name, most) {
            *field = number;
        }
    }
    if let Some(node) = fields.get("sandbox") {
        match reader.text(node, "sandbox").as_deref() {
            Some("limits") | None => {}
            Some("strict") => options.sandbox = Sandbox::Strict,
            Some(other) => {
                let message = format!("`sandbox` is `limits` or `strict`, not `{other}`");
                reader.problem(node.place, message, None);
            }
        }
    }
    options
}

fn number(reader: &mut Reader, fields: &Fields<'_>, name: &str, most: u64) -> Option<u64> {
    let node = fields.get(name)?;
    let number = reader.positive(node, name)?;
    if number > most {
        reader.problem(node.place, format!("`{name}` is at most {most}"), None);
        return None;
    }
    Some(number)
}
