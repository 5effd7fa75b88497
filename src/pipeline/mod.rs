//! Pipelines: from a specification to what workers run.

pub mod compile;
pub mod program;
