//! What differs between operating systems in the command line: process information and its protection, the allocator.
//! `linux` has what only Linux offers, `portable` does as much as is possible elsewhere. The priorities of threads are
//! set by the control plane's crate.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod portable;

#[cfg(target_os = "linux")]
pub(crate) use linux::*;
#[cfg(not(target_os = "linux"))]
pub(crate) use portable::*;
