//! What a worker does with a record: the seam between delivery and the pipeline.

use std::borrow::Cow;

use super::batch::RawBatch;
use super::document::Outputs;

/// A pipeline as one worker runs it, with its own scratch space.
pub trait Processor: Send {
    /// Turns record `index` of `batch` into documents, appended to `out`.
    fn process(&mut self, batch: &RawBatch, index: usize, out: &mut Outputs) -> Verdict;

    /// Told of records of `batch` whose turn comes next, in this order, so that it can do most of their work together. Any of them
    /// may be left out after all.
    fn look_ahead(&mut self, _batch: &RawBatch, _records: &[usize]) {}

    /// Called after the last record of a batch: the place to flush local counters into metrics.
    fn end_of_batch(&mut self) {}
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It became the documents that were appended.
    Done,
    /// It was dropped on purpose; the reason is a bounded label for metrics (`filter`, `sampled`).
    Dropped(&'static str),
    /// It can't be processed and is to be kept aside.
    DeadLetter(Reason),
}

/// Why a record is kept aside.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// A bounded label: `decode`, `filter`, `oversized`, `rejected`, `too_large`, `poison`, `panic`.
    pub kind: &'static str,
    /// The filter or sink that refused it.
    pub component: Option<Cow<'static, str>>,
    /// What is wrong, in words; from Elasticsearch its error type and reason.
    pub message: String,
    /// The status of Elasticsearch's answer, if it refused the document.
    pub status: Option<u16>,
}

impl Reason {
    /// A reason from the pipeline.
    pub fn new(kind: &'static str, component: Option<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Reason { kind, component, message: message.into(), status: None }
    }
}

/// The short name that the pipeline uses for a dead letter's reason.
pub type DeadLetterReason = Reason;
