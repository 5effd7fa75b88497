//! Where a replay's documents go, and what becomes of those that are there already.

use std::sync::Arc;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::codec::encode::{Encoder, Redirect, is_legal_index};
use crate::config::{Args, Data, Key, Node, Span};
use crate::event::Template;
use crate::misuse::{Misuse, misuse};
use crate::pipeline::program::Step;
use crate::runtime::load::Pipeline;
use crate::script::Condition;
use crate::sink::dead_letter::DeadLetterSpec;
use crate::sink::elasticsearch::Existing;
use crate::sink::{self, SinkSpec};
use crate::source::kafka::KafkaSource;

/// Where documents go instead of where the pipeline sends them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// An index.
    Index(String),
    /// A data stream.
    DataStream(String),
    /// Standard output, one document a line.
    Stdout,
    /// A topic of the source's cluster.
    Topic(String),
}

/// What becomes of documents that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// They are replaced.
    Overwrite,
    /// They stay as they are.
    Create,
}

/// Which events: only those for which a condition holds.
///
/// # Errors
/// The condition can't be read.
pub fn keep_only(pipeline: &mut Pipeline, condition: &str) -> anyhow::Result<()> {
    let parsed = Condition::parse(condition, &|text| Ok(text.to_string()));
    let parsed = parsed.map_err(|error| Misuse(format!("--where '{condition}': {}", error.message)))?;
    let parsed = Arc::new(parsed);
    for intake in &mut pipeline.intakes {
        intake.only = Some(parsed.clone());
    }
    Ok(())
}

/// Gives sinks the names that they have in the pipeline, which would change with the types of others.
fn keep_names(pipeline: &mut Pipeline) {
    let names = sink::names(&pipeline.sinks);
    for ((id, _), name) in pipeline.sinks.iter_mut().zip(names) {
        *id = Some(name);
    }
}

/// Sinks that are left out get nothing: their routes lead nowhere.
fn leave_out(pipeline: &mut Pipeline, keep: impl Fn(usize) -> bool) {
    keep_names(pipeline);
    for (index, (_, spec)) in pipeline.sinks.iter_mut().enumerate() {
        if !keep(index) {
            *spec = SinkSpec::Null;
        }
    }
    // A leaf that is left out becomes a jump to the step after it, so places stay what they are.
    let routes = pipeline.routes.iter().enumerate().map(|(at, step)| match step {
        Step::Leaf(sink) if !keep(*sink) => Step::Jump(at + 1),
        other => other.clone(),
    });
    pipeline.routes = Arc::new(routes.collect());
}

/// Keeps one sink of the pipeline by its id, or by its type and number as logs name it.
///
/// # Errors
/// There is no such sink.
pub fn keep_sink(pipeline: &mut Pipeline, name: &str) -> anyhow::Result<()> {
    let names: Vec<String> = sink::names(&pipeline.sinks);
    let Some(chosen) = names.iter().position(|known| known == name) else {
        misuse!("--sink: there is no sink `{name}`: there are {}", names.join(", "));
    };
    leave_out(pipeline, |index| index == chosen);
    Ok(())
}

/// The sinks that write to Elasticsearch.
pub fn elasticsearch_sinks(pipeline: &Pipeline) -> Vec<usize> {
    let is_elasticsearch = |index: &usize| matches!(pipeline.sinks[*index].1, SinkSpec::Elasticsearch(_));
    (0..pipeline.sinks.len()).filter(is_elasticsearch).collect()
}

/// Sends documents to `target`. Standard output is not among what this does: the pipeline is loaded with it.
///
/// # Errors
/// The target is none, or the pipeline has not one Elasticsearch sink to redirect.
pub fn redirect(pipeline: &mut Pipeline, target: &Target, source: Option<&KafkaSource>) -> anyhow::Result<()> {
    let redirect = match target {
        // What reads documents from standard output finds the dead letters beside it.
        Target::Stdout => {
            pipeline.dead_letter = DeadLetterSpec::printed();
            return Ok(());
        }
        Target::Topic(topic) => {
            return to_topic(pipeline, topic, source.context("--to-topic needs a Kafka source in the pipeline")?);
        }
        Target::Index(name) | Target::DataStream(name) if !is_legal_index(name) => {
            misuse!("`{name}` is not a legal name of an index or a data stream")
        }
        Target::Index(name) => Redirect::Index(Template::literal(name)),
        Target::DataStream(name) => {
            let parts: Vec<&str> = name.splitn(3, '-').collect();
            match parts.as_slice() {
                [kind, dataset, namespace] => {
                    Redirect::DataStream([kind, dataset, namespace].map(|part| Template::literal(part)))
                }
                _ => misuse!(
                    "--data-stream: `{name}` is no name of a data stream: it has three parts, as in logs-nginx-default"
                ),
            }
        }
    };
    let [chosen] = elasticsearch_sinks(pipeline)[..] else {
        let names = sink::names(&pipeline.sinks).join(", ");
        misuse!("the pipeline has not one elasticsearch sink but these: {names}; say with --sink which one is meant");
    };
    pipeline.encoders[chosen].redirect(&redirect);
    leave_out(pipeline, |index| index == chosen);
    Ok(())
}

/// All documents become records of a topic.
fn to_topic(pipeline: &mut Pipeline, topic: &str, source: &KafkaSource) -> anyhow::Result<()> {
    let text = |text: &str| Node { span: Span::default(), data: Data::String(text.to_string()) };
    let key = |name: &str| Key { span: Span::default(), name: name.to_string() };
    let properties = source.connection().iter().map(|(name, value)| (key(name), text(value))).collect();
    let entries = vec![
        (key("bootstrap_servers"), text(source.property("bootstrap.servers").unwrap_or_default())),
        (key("topic_id"), text(topic)),
        (key("properties"), Node { span: Span::default(), data: Data::Table(properties) }),
    ];
    let complain = |problems: Vec<crate::config::Diagnostic>| {
        Misuse(format!(
            "--to-topic: {}",
            problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; ")
        ))
    };
    let args = Args::check("sink kafka", Span::default(), entries, sink::kafka::DEF.options.iter().copied())
        .map_err(complain)?;
    let encoder = Encoder::from_args("kafka", &args).map_err(complain)?;
    pipeline.sinks = vec![(None, SinkSpec::from_args("kafka", &args).map_err(complain)?)];
    pipeline.encoders = vec![encoder];
    pipeline.routes = Arc::new(vec![Step::Leaf(0)]);
    Ok(())
}

/// Sets what becomes of documents that are there already; without a mode, what the pipeline's sinks do. In data streams they
/// are looked up in any case: `create` alone would double what lies in an index that has rolled over.
pub fn set_mode(pipeline: &mut Pipeline, mode: Option<Mode>) {
    for index in elasticsearch_sinks(pipeline) {
        if let Some(mode) = mode {
            let action = if mode == Mode::Overwrite { "index" } else { "create" };
            pipeline.encoders[index].redirect(&Redirect::Action(action));
        }
        if let SinkSpec::Elasticsearch(sink) = &mut pipeline.sinks[index].1
            && pipeline.encoders[index].writes_data_streams()
        {
            sink.look_up_existing(if mode == Some(Mode::Overwrite) { Existing::Replace } else { Existing::Keep });
        }
    }
}

/// Nothing is written: every document is made, with its action and id, and thrown away.
pub fn write_nothing(pipeline: &mut Pipeline) {
    keep_names(pipeline);
    for (_, spec) in &mut pipeline.sinks {
        *spec = SinkSpec::Null;
    }
}

/// What is going to happen to documents, in words: for each sink where they go, which ids they get, and what becomes of
/// those that are there already. `places` says what ids are made of where the pipeline makes none itself.
pub fn describe(pipeline: &Pipeline, mode: Option<Mode>, places: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, name) in sink::names(&pipeline.sinks).into_iter().enumerate() {
        let encoder = &pipeline.encoders[index];
        let line = match (&pipeline.sinks[index].1, encoder.action()) {
            (SinkSpec::Null, _) => continue,
            (SinkSpec::Elasticsearch(_), Some((action, own_ids))) => {
                let ids = if own_ids { "the pipeline's document_id" } else { places };
                let existing = match (action, encoder.writes_data_streams(), mode) {
                    ("create", true, Some(Mode::Overwrite)) => "replaced in whichever backing index they are",
                    ("create", ..) => "left as they are (--mode overwrite replaces them)",
                    _ => "replaced",
                };
                format!(
                    "{name}: to {}; ids from {ids}; documents with the same id are {existing}, others are added",
                    encoder.target()
                )
            }
            (SinkSpec::Kafka(sink), _) => {
                format!("{name}: to topic {}; every document is added, also one that was replayed before", sink.topic())
            }
            (spec, _) => {
                format!("{name}: to {}; every document is added, also one that was replayed before", spec.kind())
            }
        };
        lines.push(line);
    }
    lines
}
