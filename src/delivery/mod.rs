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
pub mod document;
mod gauges;
mod hub;
pub mod ledger;
mod pace;
pub mod processor;
mod processors;
mod run;
pub mod shutdown;
#[cfg(test)]
mod simulation;
pub mod sink;
pub mod source;
mod summary_log;
mod tally;
mod worker;

pub use batch::{BatchBuilder, NewRecord, Origin, RawBatch, RawRecord, Shape, Span};
pub use bounds::Parts;
pub use document::{DocumentBatch, DocumentBuffer, Fate, Limits, Outputs, Rejected};
pub use hub::{Hub, Summary};
pub(crate) use pace::Pace;
pub use processor::{DeadLetterReason, Processor, Reason, Verdict};
pub use processors::Processors;
pub use run::{DeadLetters, DeadLettersFuture, Plan, PlannedSink, RunError, RunFailure, Settings, run};
pub use shutdown::{Phase, Shutdown};
pub use sink::{Sink, SinkContext, SinkError, SinkFuture};
pub use source::{Source, SourceContext, SourceFailure, Submit};
pub(crate) use tally::count;
pub use tally::{Counts, Tally};
