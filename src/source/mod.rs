//! Sources of records.

use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, OptionDef, option};
use crate::delivery::Source;
use crate::delivery::bounds::DEFAULT_RECORD;

pub mod archive;
pub mod file;
pub mod kafka;
mod lines;
pub mod stdin;

/// All sources: the table from which parsers, schema and reference pages are generated.
pub const DEFS: &[&ComponentDef] = &[&kafka::DEF, &file::DEF, &stdin::DEF];

/// A configured source, checked but not started.
#[derive(Clone, Debug)]
pub enum SourceSpec {
    /// Topics of a Kafka cluster.
    Kafka(Box<kafka::KafkaSource>),
    /// Lines of files.
    File(file::FileSource),
    /// Archived records; not available in pipeline files.
    Archive(archive::ArchiveSource),
    /// Lines of standard input.
    Stdin(stdin::StdinSource),
}

impl SourceSpec {
    /// Builds the source `kind` from its options, without connecting to anything.
    ///
    /// # Errors
    /// Returns a diagnostic for every invalid option.
    pub fn from_args(kind: &str, args: &Args) -> Result<Self, Vec<Diagnostic>> {
        match kind {
            "kafka" => kafka::KafkaSource::from_args(args).map(|source| SourceSpec::Kafka(Box::new(source))),
            "file" => Ok(SourceSpec::File(file::FileSource::from_args(args))),
            "stdin" => stdin::StdinSource::from_args(args).map(SourceSpec::Stdin),
            other => Err(vec![Diagnostic::error(args.span, format!("unknown source `{other}`"))]),
        }
    }

    /// Returns the size in bytes of the largest record to reserve memory for.
    pub(crate) fn largest_record(&self) -> usize {
        match self {
            SourceSpec::Kafka(source) => source.largest_record(),
            _ => DEFAULT_RECORD,
        }
    }

    /// Makes it read without a consumer group and without a checkpoint, and leave no trace of how far it has read.
    pub(crate) fn detach(&mut self) {
        match self {
            SourceSpec::Kafka(source) => source.detach(),
            SourceSpec::File(source) => source.detach(),
            SourceSpec::Archive(_) | SourceSpec::Stdin(_) => {}
        }
    }

    pub(crate) fn build(self) -> Box<dyn Source> {
        match self {
            SourceSpec::Kafka(source) => source,
            SourceSpec::File(source) => Box::new(source),
            SourceSpec::Archive(source) => Box::new(source),
            SourceSpec::Stdin(source) => Box::new(source),
        }
    }
}

/// Options of every source.
pub const COMMON_OPTIONS: &[OptionDef] = &[
    option(
        "id",
        Kind::String,
        Fallback::None,
        "Tells this source from others of the pipeline. Of several Kafka sources, all but the first put it (or their number) into the ids of documents, since another cluster may have a topic of the same name.",
    ),
    option(
        "event_type",
        Kind::String,
        Fallback::None,
        "Becomes the field `type` of events that have none: what Logstash calls the input's `type`.",
    ),
    option("tags", Kind::Strings, Fallback::None, "Tags to put on each event."),
    option(
        "add_field",
        Kind::Hash,
        Fallback::None,
        "Fields to add to each event; names and values may hold `%{[field]}`.",
    ),
    option("enable_metric", Kind::Boolean, Fallback::Boolean(true), "Accepted for Logstash's sake."),
];

/// The reason why a source can't continue.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The Kafka client rejected its configuration or had a fatal error.
    #[error("kafka: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// A file can't be read or a checkpoint can't be written.
    #[error("{path}: {error}")]
    File {
        /// Path of the file.
        path: String,
        /// Error of the operating system.
        error: std::io::Error,
    },
    /// A topic was deleted and created again.
    #[error("kafka: the topic `{0}` was deleted and created anew, and `auto_offset_reset` is `none`")]
    Recreated(String),
    /// The brokers have no topic IDs, which document IDs depend on.
    #[error(
        "kafka: the brokers give topic `{0}` no id, so its documents can't be told from those of another topic that had the same name; set \
         `topic_identity = \"name\"` on the source"
    )]
    NoTopicId(String),
    /// There is nothing to read.
    #[error("{0}")]
    Nothing(String),
}
