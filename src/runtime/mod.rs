//! Loading of pipeline files, and the parts of a process around a run: reload and the container's limits.

mod lint;
pub mod load;
mod memory;
mod offline;
mod plan;
pub(crate) mod reload;
mod replaced;
pub mod schema;
mod sources;

pub use plan::PlanSpec;
