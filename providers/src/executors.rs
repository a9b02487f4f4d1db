//! The executors, one file or folder each. None of them depends on the mesh.

#[cfg(test)]
mod again;
pub(crate) mod builtin;
pub(crate) mod http;
pub(crate) mod llm;
mod process;
pub(crate) mod python;
pub(crate) mod shell;
