//! Files: paths with wildcards, and appending of lines that other processes append to as well.

pub(crate) mod append;
pub mod glob;
