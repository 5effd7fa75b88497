//! Sinks of documents. Each is a task that receives batches and completes every document: delivered, or rejected with a
//! reason. Retries and concurrency are internal to the sink.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tracing::info;

use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, OptionDef, option};
use crate::delivery::{DocumentBatch, Hub, Limits, Rejected, Shutdown};
use crate::observe::failures::{FailureLog, seconds};
use crate::observe::health::{Health, Readiness};
use crate::observe::metrics as names;

pub mod backoff;
pub mod elasticsearch;
pub mod kafka;
pub mod lines;
pub mod null;

/// All sinks: the table from which parsers, schema and reference pages are generated.
pub const DEFS: &[&ComponentDef] =
    &[&elasticsearch::DEF, &kafka::DEF, &lines::FILE_DEF, &lines::STDOUT_DEF, &null::DEF];

/// Outcome label of documents if the sink does not report whether they existed already.
pub(crate) const WRITTEN: &str = "written";

/// Options of every sink.
pub const COMMON_OPTIONS: &[OptionDef] = &[
    option(
        "id",
        Kind::String,
        Fallback::None,
        "Names the sink in metrics and logs; by default its type, with a number where there are several of it.",
    ),
    option("enable_metric", Kind::Boolean, Fallback::Boolean(true), "Accepted for Logstash's sake."),
    option(
        "workers",
        Kind::Integer(1, i64::MAX),
        Fallback::None,
        "Accepted and not used: a sink sends as much at once as its target takes.",
    ),
];

/// A configured sink, checked but not started.
#[derive(Clone, Debug)]
pub enum SinkSpec {
    /// An Elasticsearch cluster.
    Elasticsearch(Box<elasticsearch::ElasticsearchSink>),
    /// A Kafka topic.
    Kafka(Box<kafka::KafkaSink>),
    /// A file or standard output, with one JSON document per line.
    Lines(lines::LinesSink),
    /// No target: documents are discarded.
    Null,
}

impl SinkSpec {
    /// Builds the sink `kind` from its options, without connecting to anything.
    ///
    /// # Errors
    /// Returns a diagnostic for every invalid option.
    pub fn from_args(kind: &str, args: &Args) -> Result<Self, Vec<Diagnostic>> {
        match kind {
            "elasticsearch" => {
                elasticsearch::ElasticsearchSink::from_args(args).map(|sink| SinkSpec::Elasticsearch(Box::new(sink)))
            }
            "kafka" => kafka::KafkaSink::from_args(args).map(|sink| SinkSpec::Kafka(Box::new(sink))),
            "file" => lines::LinesSink::file(args).map(SinkSpec::Lines),
            "stdout" => Ok(SinkSpec::Lines(lines::LinesSink::stdout())),
            "null" => Ok(SinkSpec::Null),
            other => Err(vec![Diagnostic::error(args.span, format!("unknown sink `{other}`"))]),
        }
    }

    /// Returns the `type` that the sink was built from.
    pub fn kind(&self) -> &'static str {
        match self {
            SinkSpec::Elasticsearch(_) => "elasticsearch",
            SinkSpec::Kafka(_) => "kafka",
            SinkSpec::Lines(sink) => sink.kind(),
            SinkSpec::Null => "null",
        }
    }

    /// Returns the size in bytes at which a document buffer is sent to the sink.
    pub(crate) fn bulk_bytes(&self) -> usize {
        match self {
            SinkSpec::Elasticsearch(sink) => sink.limits().max_bytes,
            SinkSpec::Kafka(sink) => sink.limits().max_bytes,
            SinkSpec::Lines(sink) => sink.limits().max_bytes,
            SinkSpec::Null => null::LIMITS.max_bytes,
        }
    }

    /// Builds the runnable sink; `None` if it only discards.
    pub(crate) fn build(self) -> Option<Box<dyn Sink>> {
        match self {
            SinkSpec::Elasticsearch(sink) => Some(sink),
            SinkSpec::Kafka(sink) => Some(sink),
            SinkSpec::Lines(sink) => Some(Box::new(sink)),
            SinkSpec::Null => None,
        }
    }
}

/// Returns the names of a pipeline's sinks, by which metrics, logs, dead letters and replays call them.
pub fn names(sinks: &[(Option<String>, SinkSpec)]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(sinks.len());
    for (id, spec) in sinks {
        names.push(free_name(id.clone(), spec.kind(), |name| names.iter().any(|taken| taken == name)));
    }
    names
}

/// Returns a sink's name that is not taken: its id, or its type, with a number from the second on.
pub(crate) fn free_name(id: Option<String>, kind: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let name = id.unwrap_or_else(|| kind.to_string());
    let mut free = name.clone();
    let mut number = 2;
    while is_taken(&free) {
        free = format!("{name}-{number}");
        number += 1;
    }
    free
}

/// What a sink's work ends with.
pub type SinkFuture = Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send>>;

/// A sink that can be run.
pub trait Sink: Send {
    /// Returns the limits at which a batch for the sink is full.
    fn limits(&self) -> Limits;

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
