//! Compiled pipelines: [`compile`] and [`program`] turn filters into flat lists of steps, which [`worker`] executes for
//! batches of records.

mod ahead;
pub mod compile;
pub mod destination;
pub mod program;
pub mod worker;
