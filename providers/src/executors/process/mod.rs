//! What executors that start processes share: the limits of a call, its folder, its streams, and a look at what its
//! processes take together.

pub(super) mod capture;
pub(super) mod limits;
pub(super) mod watch;
pub(super) mod workspace;
