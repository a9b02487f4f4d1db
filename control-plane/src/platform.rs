//! What differs between operating systems, for this whole crate: locks of open files, thread priorities and file
//! identities. `linux` contains what only Linux has, `portable` comes as close as other systems allow.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod portable;

#[cfg(target_os = "linux")]
pub use linux::yield_to_others;
#[cfg(target_os = "linux")]
pub(crate) use linux::{identity, is_claimed, lock};
#[cfg(not(target_os = "linux"))]
pub use portable::yield_to_others;
#[cfg(not(target_os = "linux"))]
pub(crate) use portable::{identity, is_claimed, lock};

/// The identity of a file, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// The identity in a file's metadata.
    pub(crate) fn of(file: &Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino() }
    }
}
