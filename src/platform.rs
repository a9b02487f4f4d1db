//! What differs between systems, for the command line: what a process hides and says of itself, priorities of threads, the
//! allocator. `linux` holds what only Linux has, `portable` does as much as there is elsewhere.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod portable;

#[cfg(target_os = "linux")]
pub(crate) use linux::*;
#[cfg(not(target_os = "linux"))]
pub(crate) use portable::*;
