//! Delivery: from a source to the acknowledgement of every sink, with nothing lost on the way.
//!
//! ```text
//! source thread ──RawBatch──► workers ──DocumentBatch──► sinks (tokio) ──outcomes──► ledger ──► commit
//! ```
//! A batch, never an event, crosses a thread. The [`budget`] holds the source back, the [`ledger`] says what may be
//! committed, [`run()`] puts the parts together and takes them down in order.

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
mod summary_log;
#[cfg(test)]
mod simulation;
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
