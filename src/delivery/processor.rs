//! The interface between delivery and the pipeline: a worker passes each record to a [`Processor`].

use std::borrow::Cow;

use super::batch::RawBatch;
use super::document::Outputs;

/// A pipeline as run by one worker, with its own scratch buffers.
pub trait Processor: Send {
    /// Processes record `index` of `batch` and appends the resulting documents to `out`.
    fn process(&mut self, batch: &RawBatch, index: usize, out: &mut Outputs) -> Verdict;

    /// Announces the next records of `batch`, in processing order, so that the processor can do most of their work
    /// together. Any of them may be skipped later.
    fn look_ahead(&mut self, _batch: &RawBatch, _records: &[usize]) {}

    /// Called after the last record of a batch, to flush local counters into metrics.
    fn end_of_batch(&mut self) {}
}

/// The outcome of processing a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The record became the documents that were appended.
    Done,
    /// The record was dropped on purpose. The reason is a bounded label for metrics (`filter`, `sampled`).
    Dropped(&'static str),
    /// The record can't be processed and is to be written as a dead letter.
    DeadLetter(Reason),
}

/// The reason why a record is dead-lettered.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// A bounded label: `decode`, `filter`, `oversized`, `rejected`, `too_large`, `poison`, `panic`.
    pub kind: &'static str,
    /// Filter or sink that rejected the record.
    pub component: Option<Cow<'static, str>>,
    /// Description of the problem; for Elasticsearch, the error type and reason.
    pub message: String,
    /// HTTP status with which Elasticsearch rejected the document, if it did.
    pub status: Option<u16>,
}

impl Reason {
    /// Returns a reason that originates in the pipeline.
    pub fn new(kind: &'static str, component: Option<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Reason { kind, component, message: message.into(), status: None }
    }
}

/// An alias of [`Reason`], used by the pipeline.
pub type DeadLetterReason = Reason;
