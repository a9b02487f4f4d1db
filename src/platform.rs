//! What differs between systems, for the command line: what a process hides and says of itself, the allocator.
//! `linux` holds what only Linux has, `portable` does as much as there is elsewhere. Priorities of
//! threads are the business of the control plane, which exports them.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod portable;

#[cfg(target_os = "linux")]
pub(crate) use linux::*;
#[cfg(not(target_os = "linux"))]
pub(crate) use portable::*;
