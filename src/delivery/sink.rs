//! The interface between delivery and sinks. Each sink is a task that receives batches and completes every document:
//! delivered, or rejected with a reason. Retries and concurrency are internal to the sink.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tracing::info;

use super::document::{DocumentBatch, Rejected};
use super::hub::Hub;
use super::shutdown::Shutdown;
use crate::telemetry::failures::{FailureLog, seconds};
use crate::telemetry::health::{Health, Readiness};
use crate::telemetry::metrics as names;

/// Outcome label of documents if the sink does not report whether they existed already.
pub(crate) const WRITTEN: &str = "written";

/// What a sink's work ends with.
pub type SinkFuture = Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send>>;

/// A sink that can be run.
pub trait Sink: Send {
    /// Receives batches until the channel is closed and every document has completed. Tasks that it spawns must end
    /// when the future is dropped.
    fn run(self: Box<Self>, input: mpsc::Receiver<DocumentBatch>, context: SinkContext) -> SinkFuture;
}

/// The reason why a sink can't continue.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The operating system failed to write.
    #[error("{path}: {error}")]
    Write {
        /// Path of the target.
        path: String,
        /// Error of the operating system.
        error: std::io::Error,
    },
    /// The reader of standard output has closed it.
    #[error("standard output was closed by its reader")]
    OutputClosed,
    /// The client could not be built.
    #[error("{0}")]
    Client(String),
}

/// A sink's access to the run.
#[derive(Clone)]
pub struct SinkContext {
    /// Name of the sink.
    pub name: Arc<str>,
    pub(crate) hub: Arc<Hub>,
    dead_letters: mpsc::Sender<Vec<Rejected>>,
    readiness: Readiness,
    failures: Arc<FailureLog>,
}

impl fmt::Debug for SinkContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkContext").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SinkContext {
    pub(crate) fn new(name: &str, hub: Arc<Hub>, dead_letters: mpsc::Sender<Vec<Rejected>>, health: &Health) -> Self {
        let readiness = health.readiness(format!("sink {name}"));
        SinkContext { name: Arc::from(name), hub, dead_letters, readiness, failures: Arc::default() }
    }

    /// Returns the run's shutdown handle.
    pub fn shutdown(&self) -> &Shutdown {
        &self.hub.shutdown
    }

    /// Sets whether the target is reachable.
    pub fn set_ready(&self, ready: bool) {
        self.readiness.set(ready);
    }

    /// The failures of the sink, from all of its parts.
    pub(crate) fn failures(&self) -> &Arc<FailureLog> {
        &self.failures
    }

    /// Notes a failure. Returns `Some` where a log line is due, with the number of failures since the last one that were not logged.
    pub(crate) fn failed(&self, kind: &'static str) -> Option<u64> {
        self.failures.failed(kind)
    }

    /// Notes that the target takes documents, and logs it where a failure was logged before.
    pub(crate) fn works(&self) {
        if let Some(away) = self.failures.works() {
            info!(sink = &*self.name, away_seconds = seconds(away), "sink works again");
        }
    }

    /// Counts documents that the target has acknowledged.
    pub fn count_delivered(&self, documents: usize, bytes: usize) {
        self.hub.totals.documents.fetch_add(documents as u64, Ordering::Relaxed);
        metrics::counter!(names::DOCUMENTS_OUT, "sink" => self.name.clone()).increment(documents as u64);
        metrics::counter!(names::DOCUMENT_BYTES_OUT, "sink" => self.name.clone()).increment(bytes as u64);
    }

    /// Completes a batch all of whose documents were acknowledged.
    pub fn finish(&self, batch: DocumentBatch) {
        self.finish_as(batch, WRITTEN);
    }

    /// Completes a batch all of whose documents were acknowledged, and counts their outcome.
    pub(crate) fn finish_as(&self, batch: DocumentBatch, outcome: &'static str) {
        batch.note(|_| Some(outcome));
        self.count_delivered(batch.len(), batch.body().len());
        batch.finish();
    }

    /// Submits rejected documents to the dead-letter writer. Their records stay open until the dead letters are
    /// durable.
    pub async fn reject(&self, rejected: Vec<Rejected>) {
        if !rejected.is_empty() {
            // The dead-letter writer ends after every sink; its channel is closed earlier only on a forced stop.
            let _ = self.dead_letters.send(rejected).await;
        }
    }
}
