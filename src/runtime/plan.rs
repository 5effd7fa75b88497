//! The plan of a run, built from configured sources, sinks and dead letters.

use crate::delivery::bounds::DEFAULT_RECORD;
use crate::delivery::{Parts, Plan, PlannedSink, Processors, Settings};
use crate::sink::dead_letter::DeadLetterSpec;
use crate::sink::{self, SinkSpec};
use crate::source::SourceSpec;
use crate::telemetry::health::Health;

/// The configured parts and settings of a run.
pub struct PlanSpec {
    /// Name of the pipeline, for metrics, logs and dead letters.
    pub pipeline_name: String,
    /// Sources of records.
    pub sources: Vec<SourceSpec>,
    /// Sinks of documents with their optional names.
    pub sinks: Vec<(Option<String>, SinkSpec)>,
    /// Factory of the pipeline. A clone of it can replace the pipeline during the run.
    pub processors: Processors,
    /// Destination of rejected records.
    pub dead_letter: DeadLetterSpec,
    /// Sizes and limits.
    pub settings: Settings,
    /// Health state that the HTTP endpoint shows.
    pub health: Health,
}

impl PlanSpec {
    /// Builds the sources, sinks and the dead-letter writer, without connecting to anything.
    pub fn build(self) -> Plan {
        let parts = parts(&self.sources, &self.sinks, &self.dead_letter);
        let names = sink::names(&self.sinks);
        let sinks = names.into_iter().zip(self.sinks).map(|(name, (_, spec))| {
            let limits = spec.limits();
            PlannedSink { name, sink: spec.build(), limits }
        });
        Plan {
            pipeline_name: self.pipeline_name,
            sources: self.sources.into_iter().map(SourceSpec::build).collect(),
            sinks: sinks.collect(),
            processors: self.processors,
            dead_letters: Box::new(self.dead_letter),
            parts,
            settings: self.settings,
            health: self.health,
        }
    }
}

/// Returns the numbers of sources, sinks and clients of a run.
pub(super) fn parts(
    sources: &[SourceSpec],
    sinks: &[(Option<String>, SinkSpec)],
    dead_letter: &DeadLetterSpec,
) -> Parts {
    let fetching_sources = sources.iter().filter(|source| matches!(source, SourceSpec::Kafka(_))).count();
    let kafka_sinks = sinks.iter().filter(|(_, sink)| matches!(sink, SinkSpec::Kafka(_))).count();
    let producers = kafka_sinks + usize::from(dead_letter.topic().is_some());
    Parts {
        sources: sources.len(),
        fetching_sources,
        sinks: sinks.iter().filter(|(_, sink)| !matches!(sink, SinkSpec::Null)).count(),
        clients: fetching_sources + producers,
        producers,
        largest_record: sources.iter().map(SourceSpec::largest_record).max().unwrap_or(DEFAULT_RECORD),
        bulk_bytes: sinks.iter().map(|(_, sink)| sink.limits().max_bytes).max().unwrap_or_default(),
    }
}
