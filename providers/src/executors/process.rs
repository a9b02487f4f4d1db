//! What executors that start processes share: the limits of a call, its folder, its streams, a look at what its
//! processes take together, their end where only a group holds them, and what keeps them from starting.

pub(super) mod capture;
pub(super) mod confined;
pub(super) mod group;
pub(super) mod limits;
mod live;
pub(super) mod readiness;
pub(super) mod system_calls;
pub(super) mod watch;
pub(super) mod workspace;
