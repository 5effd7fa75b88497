//! The destinations of a document, found out without sending it: what trial runs, `explain` and `test` show.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::program::{Step, reach_watched};
use crate::codec::encode::{EncodeDocument, EncodeError, Encoder};
use crate::codec::id::DocumentOrigin;
use crate::codec::kafka_frame::unframe;
use crate::event::Event;
use crate::event::pretty;
use crate::script::Condition;

/// A sink by its name, and what of it does not depend on the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkLabel {
    /// The name by which metrics and logs call it: see `sink::names`.
    pub name: String,
    /// Its type.
    pub kind: &'static str,
    /// The topic or path that it writes to.
    pub target: Option<String>,
}

/// The place of a document in one sink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Destination {
    /// The sink.
    pub sink: String,
    /// The sink's type.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The action of a bulk request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The index, alias or data stream that the action names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// The data stream, if the sink writes to data streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_stream: Option<String>,
    /// The `_id`.
    #[serde(rename = "_id", skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The routing value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing: Option<String>,
    /// The ingest pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// The topic of a Kafka sink, or the path of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The key of a record for Kafka.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// True if the `_id` is derived from topic, partition and offset, not from the event.
    #[serde(skip)]
    pub has_derived_id: bool,
    /// The document as it would be sent to Elasticsearch.
    #[serde(skip)]
    pub document: Option<Value>,
}

/// The first line of a bulk request's item.
#[derive(Deserialize)]
struct Action {
    #[serde(rename = "_index")]
    index: String,
    #[serde(rename = "_id")]
    id: Option<String>,
    routing: Option<String>,
    pipeline: Option<String>,
}

impl Destination {
    /// Reads what an encoder has written for a sink.
    fn of(label: &SinkLabel, encoder: &Encoder, written: &[u8]) -> Destination {
        let destination = Destination {
            sink: label.name.clone(),
            kind: label.kind,
            target: label.target.clone(),
            ..Destination::default()
        };
        match encoder {
            Encoder::Elasticsearch(_) => {
                let mut lines = written.splitn(2, |byte| *byte == b'\n');
                let head: Map<String, Value> =
                    lines.next().and_then(|line| serde_json::from_slice(line).ok()).unwrap_or_default();
                let Some((action, body)) = head.into_iter().next() else { return destination };
                let Ok(found) = serde_json::from_value::<Action>(body) else { return destination };
                Destination {
                    action: Some(action),
                    data_stream: encoder.writes_data_streams().then(|| found.index.clone()),
                    index: Some(found.index),
                    id: found.id,
                    routing: found.routing,
                    pipeline: found.pipeline,
                    has_derived_id: matches!(encoder.action(), Some((_, false))),
                    document: lines.next().and_then(|line| serde_json::from_slice(line).ok()),
                    ..destination
                }
            }
            Encoder::Kafka { .. } => {
                let key =
                    unframe(written).and_then(|framed| framed.key.map(|key| String::from_utf8_lossy(key).into_owned()));
                Destination { key, ..destination }
            }
            Encoder::Lines(_) | Encoder::Trial(_) => destination,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.sink)?;
        match (&self.data_stream, &self.index) {
            (Some(stream), _) => write!(f, ": data stream {stream}")?,
            (None, Some(index)) => write!(f, ": index {index}")?,
            (None, None) => {}
        }
        if let Some(target) = &self.target {
            write!(f, ": {} {target}", if self.kind == "kafka" { "topic" } else { "path" })?;
        }
        match &self.id {
            Some(_) if self.has_derived_id => write!(f, ", _id from topic, partition and offset")?,
            Some(id) => write!(f, ", _id {id:?}")?,
            None => {}
        }
        let parts = [
            ("action", &self.action),
            ("routing", &self.routing),
            ("ingest pipeline", &self.pipeline),
            ("key", &self.key),
        ];
        for (name, value) in parts {
            if let Some(value) = value {
                write!(f, ", {name} {value}")?;
            }
        }
        Ok(())
    }
}

/// Finds the destinations of an event, calling `watch` with each condition of a sink that was looked at. What sinks note in the event
/// (`data_stream` fields) stays in it.
///
/// # Errors
/// A sink can't take the event: its record would be a dead letter.
pub fn destinations(
    routes: &[Step<usize>],
    encoders: &mut [Encoder],
    labels: &[SinkLabel],
    event: &mut Event,
    origin: &DocumentOrigin<'_>,
    watch: impl FnMut(&Condition, bool),
) -> Result<Vec<Destination>, EncodeError> {
    let mut found = Vec::new();
    let mut written = Vec::new();
    encode_all(routes, encoders, labels, event, origin, &mut written, watch, |sink, encoder, written| {
        if let Some(label) = labels.get(sink) {
            found.push(Destination::of(label, encoder, written));
        }
    })?;
    Ok(found)
}

/// Encodes an event for each sink that it reaches, into one buffer after the other.
#[allow(clippy::too_many_arguments)]
fn encode_all(
    routes: &[Step<usize>],
    encoders: &mut [Encoder],
    labels: &[SinkLabel],
    event: &mut Event,
    origin: &DocumentOrigin<'_>,
    written: &mut Vec<u8>,
    watch: impl FnMut(&Condition, bool),
    mut take: impl FnMut(usize, &Encoder, &[u8]),
) -> Result<(), EncodeError> {
    let mut problem = None;
    reach_watched(routes, event, watch, |sink, event| {
        written.clear();
        match encoders[*sink].encode(event, origin, written) {
            Ok(()) => take(*sink, &encoders[*sink], written),
            Err(error) => {
                let sink = labels.get(*sink).map(|label| label.name.clone()).unwrap_or_default();
                problem.get_or_insert(EncodeError::OfSink { sink, error: Box::new(error) });
            }
        }
    });
    problem.map_or(Ok(()), Err)
}

/// The form of documents on the standard output of a trial run.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrialForm {
    /// True if each document has a member `@metadata` with its metadata and its destinations.
    pub with_metadata: bool,
    /// Set if a document is printed on several lines; true for colours.
    pub pretty: Option<bool>,
}

/// Writes documents for standard output in place of the pipeline's sinks, and finds out what these would do with them.
#[derive(Clone, Debug)]
pub struct TrialEncoder {
    routes: Arc<Vec<Step<usize>>>,
    encoders: Vec<Encoder>,
    labels: Arc<Vec<SinkLabel>>,
    form: TrialForm,
    written: Vec<u8>,
}

impl TrialEncoder {
    /// An encoder in place of these sinks.
    pub fn new(
        routes: Arc<Vec<Step<usize>>>,
        encoders: Vec<Encoder>,
        labels: Arc<Vec<SinkLabel>>,
        form: TrialForm,
    ) -> TrialEncoder {
        TrialEncoder { routes, encoders, labels, form, written: Vec::new() }
    }
}

impl EncodeDocument for TrialEncoder {
    fn clone_box(&self) -> Box<dyn EncodeDocument> {
        Box::new(self.clone())
    }

    fn start_batch(&mut self) {
        self.encoders.iter_mut().for_each(Encoder::start_batch);
    }

    fn encode(&mut self, event: &mut Event, origin: &DocumentOrigin<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        event.write_next_json(out);
        let TrialEncoder { routes, encoders, labels, written, .. } = self;
        if self.form.with_metadata {
            let metadata = metadata_of(event);
            let destinations = destinations(routes, encoders, labels, event, origin, |_, _| {})?;
            append_metadata(out, start, metadata, &destinations);
        } else {
            encode_all(routes, encoders, labels, event, origin, written, |_, _| {}, |_, _, _| {})?;
        }
        if let Some(colours) = self.form.pretty {
            written.clear();
            written.extend_from_slice(&out[start..]);
            out.truncate(start);
            pretty::print(written, colours, out);
        }
        Ok(())
    }
}

/// Returns the metadata of an event.
pub fn metadata_of(event: &mut Event) -> Map<String, Value> {
    let metadata = event.metadata();
    let mut text = Vec::new();
    event.write_value(crate::event::Value::Object(metadata), &mut text);
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Puts `@metadata` as the last member into the object that begins at `start`.
fn append_metadata(out: &mut Vec<u8>, start: usize, mut metadata: Map<String, Value>, destinations: &[Destination]) {
    // Structures of texts always become JSON.
    metadata.insert("sinks".to_string(), serde_json::to_value(destinations).unwrap_or_default());
    let is_empty = out[start..] == *b"{}";
    out.pop();
    let comma = if is_empty { "" } else { "," };
    out.extend_from_slice(format!("{comma}\"@metadata\":{}}}", Value::Object(metadata)).as_bytes());
}
