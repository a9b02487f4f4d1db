//! What differs between systems, for all of this crate: locks of open files, the priority of a thread, which file stands at a
//! path. `linux` holds what only Linux has, `portable` does as much as there is elsewhere.

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

/// A file under whatever name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Of a file that was looked at.
    pub(crate) fn of(file: &Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino() }
    }
}
