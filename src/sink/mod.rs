//! Sinks of documents.

use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, OptionDef, option};
use crate::delivery::{Limits, Sink};

pub mod backoff;
pub mod dead_letter;
pub mod elasticsearch;
pub mod kafka;
pub mod lines;
pub mod null;

/// All sinks: the table from which parsers, schema and reference pages are generated.
pub const DEFS: &[&ComponentDef] =
    &[&elasticsearch::DEF, &kafka::DEF, &lines::FILE_DEF, &lines::STDOUT_DEF, &null::DEF];

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

    /// Returns the limits at which a batch for the sink is full.
    pub(crate) fn limits(&self) -> Limits {
        match self {
            SinkSpec::Elasticsearch(sink) => sink.limits(),
            SinkSpec::Kafka(sink) => sink.limits(),
            SinkSpec::Lines(sink) => sink.limits(),
            SinkSpec::Null => null::LIMITS,
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
