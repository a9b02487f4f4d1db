//! The executors, one file or folder each. None of them depends on the mesh.

pub(crate) mod builtin;
pub(crate) mod http;
pub(crate) mod llm;
mod process;
pub(crate) mod python;
pub(crate) mod shell;
#[cfg(test)]
mod tests;

use gleitzeit_protocols::yaml::{Fields, Reader};

/// A result is sent in one frame, so a larger part of one could not be delivered.
const MAX_RESULT_BYTES: u64 = 8 << 20;

/// An option that limits how many bytes of what was read or printed become part of a result.
fn result_bytes(reader: &mut Reader, fields: &Fields<'_>, name: &str) -> Option<usize> {
    reader.positive_up_to(fields, name, MAX_RESULT_BYTES).and_then(|bytes| usize::try_from(bytes).ok())
}
