//! A pipeline made ready for a replay: one source, and sinks as the replay wants them.

use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::target::{self, Target};
use super::{Request, alias, block_on};
use crate::misuse::misuse;
use crate::pipeline::load::Pipeline;
use crate::sink::SinkSpec;
use crate::sink::elasticsearch::Client;
use crate::source::SourceSpec;
use crate::source::kafka::{KafkaSource, Topics};

/// A pipeline made ready for one run of a replay.
pub(super) struct Stage {
    pub pipeline: Pipeline,
    pub source: KafkaSource,
    pub topic: String,
    /// The clients of Elasticsearch sinks, by sink.
    pub clients: Vec<Option<Arc<Client>>>,
}

impl Request<'_> {
    /// Loads the pipeline with nothing but the source of the topic, and without a change to its sinks but what is left out.
    pub(super) fn stage(&self) -> anyhow::Result<Stage> {
        let Some(mut pipeline) = (self.load)() else { bail!("the pipeline is not valid") };
        let reads = |source: &SourceSpec| match (source, &self.topic) {
            (SourceSpec::Kafka(source), Some(topic)) => match source.topics() {
                Topics::Named(names) => names.contains(topic),
                Topics::Pattern(pattern) => regex::Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|regex| regex.is_match(topic)),
            },
            (SourceSpec::Kafka(_), None) => true,
            _ => false,
        };
        // A topic that no source reads, an archive's for example, is read with the first one's connection.
        let is_kafka = |source: &SourceSpec| matches!(source, SourceSpec::Kafka(_));
        let chosen = pipeline.sources.iter().position(reads).or_else(|| pipeline.sources.iter().position(is_kafka));
        let chosen = chosen.context("the pipeline has no kafka source")?;
        let SourceSpec::Kafka(source) = pipeline.sources.swap_remove(chosen) else { bail!("the pipeline has no kafka source") };
        pipeline.intakes = vec![pipeline.intakes.swap_remove(chosen)];
        pipeline.sources.clear();
        let topic = match (&self.topic, source.topics()) {
            (Some(topic), _) => topic.clone(),
            (None, Topics::Named(names)) if names.len() == 1 => names[0].clone(),
            _ => misuse!("the pipeline reads several topics: say with --topic which one is meant"),
        };
        let (source, topic) = match (&self.definition.letters, pipeline.dead_letter.topic()) {
            (Some(_), Some((letters, properties))) => (source.with_properties(properties), letters.to_string()),
            (Some(_), None) if self.definition.files.is_empty() => misuse!("the pipeline's dead letters go to a file: name it with --file"),
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
        Ok(Stage { pipeline, source, topic, clients })
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
        if let Some(Target::Index(name)) = &self.definition.target {
            let client = only_client(&stage)?;
            if block_on(alias::is_data_stream(client, name))? {
                misuse!("--sink-index: `{name}` is a data stream: use --data-stream");
            }
        }
        Ok(stage)
    }
}

/// The client of the first sink that writes to Elasticsearch.
pub(super) fn only_client(stage: &Stage) -> anyhow::Result<&Client> {
    stage.clients.iter().flatten().next().map(|client| &**client).context("the pipeline has no elasticsearch sink")
}
