//! Pipelines: from a file to what workers run.
//!
//! [`load`] reads a file and compiles everything in it; [`compile`] and [`program`] turn filters into flat lists of
//! steps; [`worker`] is what a worker does with a record; [`encode`] and [`id`] make documents of events.

mod ahead;
pub mod compile;
pub mod destination;
pub mod encode;
pub mod id;
mod lint;
pub mod load;
mod memory;
mod offline;
pub mod program;
mod replaced;
pub mod schema;
mod sources;
pub mod worker;
