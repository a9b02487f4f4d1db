//! YAML with places, and what is said of it.

pub(crate) mod parse;
pub(crate) mod problem;
pub(crate) mod tree;
