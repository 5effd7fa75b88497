//! Delivery: from a source to the acknowledgement of every sink, without loss.
//!
//! ```text
//! source thread ──RawBatch──► workers ──DocumentBatch──► sinks (tokio) ──outcomes──► ledger ──► commit
//! ```
//! Only batches, never single events, are passed between threads. The [`budget`] applies backpressure to the source,
//! the [`ledger`] determines the offsets that may be committed, and [`run()`] starts the parts and stops them in order.

pub mod batch;
pub mod bounds;
pub mod budget;
pub mod cgroup;
pub mod document;
mod hub;
pub mod ledger;
mod pace;
pub mod processor;
mod processors;
mod run;
pub mod shutdown;
#[cfg(test)]
mod simulation;
mod summary_log;
mod tally;
mod worker;

pub use batch::{BatchBuilder, NewRecord, Origin, RawBatch, RawRecord, Shape, Span};
pub use document::{DocumentBatch, DocumentBuffer, Fate, Limits, Outputs, Rejected};
pub use hub::{Hub, Summary};
pub(crate) use pace::Pace;
pub use processor::{DeadLetterReason, Processor, Reason, Verdict};
pub use processors::Processors;
pub use run::{Plan, RunError, RunFailure, Settings, run};
pub use shutdown::{Phase, Shutdown};
pub(crate) use tally::count;
pub use tally::{Counts, Tally};
pub(crate) use worker::Worker;
