//! A pipeline made ready for a replay: one source, and sinks as the replay wants them.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::target::{self, Target};
use super::{Request, alias, block_on};
use crate::misuse::misuse;
use crate::pipeline::worker::SourceOfTopic;
use crate::runtime::load::Pipeline;
use crate::sink::SinkSpec;
use crate::sink::elasticsearch::Client;
use crate::source::SourceSpec;
use crate::source::file::FileSource;
use crate::source::kafka::{KafkaSource, Topics};

/// A pipeline made ready for one run of a replay.
pub(super) struct Stage {
    pub pipeline: Pipeline,
    pub source: KafkaSource,
    pub topic: String,
    /// The clients of Elasticsearch sinks, by sink.
    pub clients: Vec<Option<Arc<Client>>>,
    /// The index pattern to which the pipeline's only Elasticsearch sink writes, with `*` for parts that differ between events.
    pub writes_to: Option<String>,
}

impl Request<'_> {
    /// Loads the pipeline with nothing but the source of the topic, and without a change to its sinks but what is left out.
    pub(super) fn stage(&self) -> anyhow::Result<Stage> {
        let Some(mut pipeline) = (self.load)() else { bail!("the pipeline is not valid") };
        let reads = |source: &SourceSpec| match (source, &self.topic) {
            (SourceSpec::Kafka(source), Some(topic)) => match source.topics() {
                Topics::Named(names) => names.contains(topic),
                Topics::Pattern(pattern) => {
                    regex::Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|regex| regex.is_match(topic))
                }
            },
            (SourceSpec::Kafka(_), None) => true,
            _ => false,
        };
        // Dead letters and archived records carry the topics that they came from.
        let carries_topics = self.definition.letters.is_some() || self.definition.records;
        // A topic that no source reads, an archive's for example, is read with the first one's connection.
        let is_kafka = |source: &SourceSpec| matches!(source, SourceSpec::Kafka(_));
        let chosen = pipeline.sources.iter().position(reads).or_else(|| pipeline.sources.iter().position(is_kafka));
        let chosen = chosen.context("the pipeline has no kafka source")?;
        let sources = pipeline.sources.len();
        let by_topic = (carries_topics && sources > 1).then(|| source_of_topic(&pipeline.sources, chosen));
        let SourceSpec::Kafka(source) = pipeline.sources.swap_remove(chosen) else {
            bail!("the pipeline has no kafka source")
        };
        match by_topic {
            Some(by_topic) => pipeline.intake_by_topic = Some(by_topic),
            None => pipeline.intakes = vec![pipeline.intakes.swap_remove(chosen)],
        }
        pipeline.sources.clear();
        let is_told = carries_topics || (!self.definition.files.is_empty() && sources == 1);
        let topic = match (&self.topic, source.topics()) {
            (Some(topic), _) => topic.clone(),
            (None, Topics::Named(names)) if names.len() == 1 || is_told => names.first().cloned().unwrap_or_default(),
            (None, Topics::Pattern(pattern)) if is_told => pattern.clone(),
            _ => misuse!("the pipeline reads several topics: say with --topic which one is meant"),
        };
        let (source, topic) = match (&self.definition.letters, pipeline.dead_letter.topic()) {
            (Some(_), Some((letters, properties))) => (source.with_properties(properties), letters.to_string()),
            (Some(_), None) if self.definition.files.is_empty() => {
                misuse!("the pipeline's dead letters go to a file: name it with --file")
            }
            _ => (*source, topic),
        };
        if let Some(condition) = &self.definition.condition {
            target::keep_only(&mut pipeline, condition)?;
        }
        if let Some(sink) = &self.definition.sink {
            target::keep_sink(&mut pipeline, sink)?;
        }
        self.rate.bound(&mut pipeline.settings);
        if let Some(workers) = self.parallel {
            pipeline.settings.workers = workers.max(1);
        }
        let client = |(_, sink): &(Option<String>, SinkSpec)| match sink {
            SinkSpec::Elasticsearch(sink) => Some(sink.client().clone()),
            _ => None,
        };
        let clients = pipeline.sinks.iter().map(client).collect();
        let writes_to = match target::elasticsearch_sinks(&pipeline)[..] {
            [chosen] => pipeline.encoders[chosen].index_pattern(),
            _ => None,
        };
        Ok(Stage { pipeline, source, topic, clients, writes_to })
    }

    /// The same with documents going where the replay sends them.
    pub(super) fn redirected(&self) -> anyhow::Result<Stage> {
        let mut stage = self.stage()?;
        if let Some(target) = &self.definition.target {
            target::redirect(&mut stage.pipeline, target, Some(&stage.source))?;
        }
        target::set_mode(&mut stage.pipeline, self.definition.mode);
        if self.definition.swap_alias.is_some() && !self.definition.files.is_empty() {
            misuse!("--swap-alias is for replays of a topic: files have no end that is fixed");
        }
        if self.definition.swap_alias.is_some() && !matches!(self.definition.target, Some(Target::Index(_))) {
            misuse!("--swap-alias needs --sink-index: an alias of a data stream is not swapped");
        }
        if self.definition.like.is_some() && !matches!(self.definition.target, Some(Target::Index(_))) {
            misuse!("--like needs --sink-index: data streams get their mappings from templates");
        }
        if let Some(Target::Index(name)) = &self.definition.target {
            let client = only_client(&stage)?;
            if block_on(alias::is_data_stream(client, name))? {
                misuse!("--sink-index: `{name}` is a data stream: use --data-stream");
            }
        }
        Ok(stage)
    }
}

/// Returns a function from a record's topic to the number of the source that reads it; `otherwise` is that of topics that none reads.
fn source_of_topic(sources: &[SourceSpec], otherwise: usize) -> SourceOfTopic {
    enum Reads {
        Topics(Vec<String>),
        Pattern(Option<regex::Regex>),
        Files(Box<FileSource>),
        Nothing,
    }
    let reads: Vec<Reads> = sources
        .iter()
        .map(|source| match source {
            SourceSpec::Kafka(source) => match source.topics() {
                Topics::Named(names) => Reads::Topics(names.clone()),
                Topics::Pattern(pattern) => Reads::Pattern(regex::Regex::new(&format!("^(?:{pattern})$")).ok()),
            },
            SourceSpec::File(source) => Reads::Files(Box::new(source.clone())),
            _ => Reads::Nothing,
        })
        .collect();
    Arc::new(move |topic| {
        let is_of = |reads: &Reads| match reads {
            Reads::Topics(names) => names.iter().any(|name| name == topic),
            Reads::Pattern(pattern) => pattern.as_ref().is_some_and(|pattern| pattern.is_match(topic)),
            // The topic of a file's record is its path.
            Reads::Files(source) => source.covers(Path::new(topic)),
            Reads::Nothing => false,
        };
        reads.iter().position(is_of).unwrap_or(otherwise)
    })
}

/// The client of the first sink that writes to Elasticsearch.
pub(super) fn only_client(stage: &Stage) -> anyhow::Result<&Client> {
    stage.clients.iter().flatten().next().map(|client| &**client).context("the pipeline has no elasticsearch sink")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Args, Data, Key, Node, Span};
    use crate::source;

    fn source(kind: &str, options: &[(&str, &str)]) -> SourceSpec {
        let span = Span::default();
        let entries = options.iter().map(|(name, text)| {
            (Key { span, name: (*name).to_string() }, Node { span, data: Data::String((*text).to_string()) })
        });
        let def = source::DEFS.iter().find(|def| def.name == kind).unwrap();
        SourceSpec::from_args(
            kind,
            &Args::check("source", span, entries.collect(), def.options.iter().copied()).unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn a_letter_is_read_as_the_source_of_its_topic_does() {
        let sources = [
            source("kafka", &[("topics", "nginx"), ("group_id", "a")]),
            source("kafka", &[("topics_pattern", "app-.*"), ("group_id", "b")]),
            source("file", &[("path", "/var/log/x/*.log")]),
        ];
        let source_of = source_of_topic(&sources, 0);
        for (topic, expected) in [("app-1", 1), ("nginx", 0), ("/var/log/x/a.log", 2), ("gone", 0), ("my-app-1", 0)] {
            assert_eq!(source_of(topic), expected, "{topic}");
        }
    }
}
