//! Trying a pipeline on lines and events with no server: what `logproc test`, `logproc explain` and the examples of the
//! reference pages do.

pub mod bless;
pub mod case;
pub mod report;

use std::sync::Arc;

use serde_json::Value;

use crate::delivery::{BatchBuilder, NewRecord, Origin, Shape};
use crate::event::{Event, Timestamp};
use crate::pipeline::destination::{Destination, SinkLabel, metadata_of};
use crate::pipeline::program::Seen;
use crate::pipeline::worker::{Codec, Intakes, PipelineWorker};
use crate::runtime::load::Pipeline;
use crate::sink;

/// The time at which things happen where nothing says otherwise: 2000-01-01T00:00:00Z.
pub const DEFAULT_NOW_MS: i64 = 946_684_800_000;

/// What is put into a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A record as the source reads it, through its codec.
    Record(Vec<u8>),
    /// An event in JSON, as the filters see it.
    Event(Vec<u8>),
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The document, with `@metadata` if there is any.
    pub event: Value,
    /// The conditions of sinks that were looked at, and whether each held.
    pub conditions: Vec<(String, bool)>,
    /// The sinks that it goes to, and where there.
    pub destinations: Vec<Destination>,
    /// The reason for which a sink can't encode it, so that its record becomes a dead letter.
    pub refused: Option<String>,
}

impl Output {
    /// Returns the names of the sinks that it goes to.
    pub fn sinks(&self) -> impl Iterator<Item = &str> {
        self.destinations.iter().map(|destination| destination.sink.as_str())
    }
}

/// A compiled pipeline to try things on.
pub struct Trial {
    worker: PipelineWorker,
    labels: Arc<Vec<SinkLabel>>,
}

impl Trial {
    /// Takes a pipeline apart for trying; its sources and sinks are never started.
    pub fn new(pipeline: Pipeline) -> Trial {
        let sinks = sink::names(&pipeline.sinks);
        let intakes = Intakes::new(&pipeline.intakes, None);
        let worker = PipelineWorker::new(
            pipeline.name.as_str().into(),
            intakes,
            pipeline.program,
            pipeline.routes,
            pipeline.encoders,
            sinks.into(),
            0,
        );
        Trial { worker, labels: pipeline.labels }
    }

    /// What comes out of one input at a point in time, telling `watch` what happens on the way.
    ///
    /// # Errors
    /// Why the input would be a dead letter.
    pub fn run(
        &mut self,
        input: &Input,
        now: Timestamp,
        watch: &mut impl FnMut(Seen<'_>, &mut Event),
    ) -> Result<Vec<Output>, String> {
        let (value, codec) = match input {
            Input::Record(value) => (value, None),
            Input::Event(value) => (value, Some(Codec::Json)),
        };
        let mut builder = BatchBuilder::default();
        let origin = builder.origin("test", 0, || Origin::detached("test", 0));
        let record = NewRecord { origin, offset: 0, timestamp_ms: -1, key: None, value, shape: Shape::Plain };
        builder.push(record, std::iter::empty());
        let batch = Arc::new(builder.into_detached());
        let outcomes = self.worker.try_out(&batch, now, codec, &self.labels, watch).map_err(|reason| reason.message)?;
        let outputs = outcomes.into_iter().map(|mut outcome| {
            let refused = outcome.destinations.as_ref().err().map(ToString::to_string);
            Output {
                event: as_json(&mut outcome.event),
                conditions: outcome.conditions,
                destinations: outcome.destinations.unwrap_or_default(),
                refused,
            }
        });
        Ok(outputs.collect())
    }
}

/// An event as JSON, `@metadata` included where it holds something.
pub fn as_json(event: &mut Event) -> Value {
    let mut text = Vec::new();
    event.write_json(&mut text);
    let mut value: Value = serde_json::from_slice(&text).unwrap_or_default();
    let metadata = metadata_of(event);
    if let Value::Object(fields) = &mut value
        && !metadata.is_empty()
    {
        fields.insert("@metadata".to_string(), Value::Object(metadata));
    }
    value
}
