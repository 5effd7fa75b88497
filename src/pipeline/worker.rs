//! Processing of records by a worker: decoding, filtering, and writing of the documents.
//!
//! All buffers for an event are reused for the next one. The clock is read and counters are published once per batch.
//!
//! The instructions that a pipeline executes for one event exceed the processor's instruction cache, so that processing
//! events one at a time would fetch nearly all of them again for each event. Up to 16 records are therefore decoded
//! together, pass through the filters step by step together (see [`Program::run_together`]), and are written one after
//! the other.

use std::sync::Arc;

use super::ahead::Ahead;
use super::destination::{Destination, SinkLabel, destinations};
use super::program::{Program, Seen, Step, Survivors, reach};
use crate::codec::encode::{EncodeError, Encoder};
use crate::codec::id::DocumentOrigin;
use crate::delivery::{Outputs, Processor, RawBatch, Reason, Verdict};
use crate::event::{Event, FieldRef, Timestamp, Value};
use crate::filter::Context;
use crate::filter::common::Common;
use crate::memory::fetch_all;
use crate::script::Condition;
use crate::telemetry::filter_time;
use crate::telemetry::metrics as names;

/// The decoding of a record's bytes into an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// One line of text, which becomes the event's `message`.
    Plain,
    /// A JSON object, which becomes the event.
    Json,
}

impl Codec {
    /// Returns the codec of a name. Logstash's `line` and `json_lines` are accepted.
    pub fn named(name: &str) -> Option<Codec> {
        match name {
            "plain" | "line" => Some(Codec::Plain),
            "json" | "json_lines" => Some(Codec::Json),
            _ => None,
        }
    }
}

/// The information about an event's origin in `[@metadata]` (`decorate_events` of the kafka input).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decoration {
    /// No information.
    #[default]
    None,
    /// Topic, group, partition, offset, key and time.
    Basic,
    /// Topic, group, partition, offset, key, time and headers.
    Extended,
}

/// The conversion of a source's records to events.
#[derive(Clone, Debug)]
pub struct Intake {
    /// The codec.
    pub codec: Codec,
    /// The information about the record's origin in `[@metadata]`.
    pub decoration: Decoration,
    /// The consumer group, for the decoration.
    pub group: String,
    /// The field that is set to the path of a record's file, for file sources.
    pub file_path: Option<FieldRef>,
    /// True if `[@metadata][ingested]` is set to the time of the batch, which is so if the pipeline refers to it.
    pub ingested: bool,
    /// The value for `[type]` of events that have none.
    pub event_type: Option<String>,
    /// The fields and tags that the source adds to each event.
    pub additions: Common,
    /// The condition that an event must satisfy. Records whose event does not are dropped before the first filter.
    pub only: Option<Arc<Condition>>,
    /// The id that distinguishes a second Kafka source from the first in document ids; empty otherwise.
    pub distinction: String,
}

/// Returns the number of the source whose intake holds for records of a topic.
pub type SourceOfTopic = Arc<dyn Fn(&str) -> usize + Send + Sync>;

/// The intakes of a pipeline's sources.
#[derive(Clone)]
pub struct Intakes {
    list: Arc<[Intake]>,
    /// For a source that gives out records of the others, which the topics of their origins tell.
    by_topic: Option<SourceOfTopic>,
}

impl Intakes {
    /// Returns these intakes, one for each source; with `by_topic` they are chosen by the topics of records' origins.
    pub fn new(list: &[Intake], by_topic: Option<SourceOfTopic>) -> Intakes {
        Intakes { list: list.into(), by_topic }
    }

    /// Returns the intake of a record.
    fn of(&self, batch: &RawBatch, index: usize) -> &Intake {
        match &self.by_topic {
            None => &self.list[batch.source()],
            Some(by_topic) => &self.list[by_topic(&batch.origin(index).topic)],
        }
    }
}

/// The paths of fields that the worker sets on events, compiled once.
struct Fields {
    ingested: FieldRef,
    kafka: FieldRef,
    event_type: FieldRef,
}

/// The result of a record that was tried.
pub struct Outcome {
    /// The event.
    pub event: Event,
    /// The conditions of sinks that were looked at, and whether each held.
    pub conditions: Vec<(String, bool)>,
    /// The sinks that it would go to, or why one of them can't take it.
    pub destinations: Result<Vec<Destination>, EncodeError>,
}

/// A pipeline, as one worker runs it.
pub struct PipelineWorker {
    pipeline: Arc<str>,
    /// The intakes of the sources.
    intakes: Intakes,
    program: Program,
    routes: Arc<Vec<Step<usize>>>,
    encoders: Vec<Encoder>,
    /// The names of the sinks.
    sink_names: Arc<[String]>,
    context: Context,
    survivors: Survivors,
    event: Event,
    ahead: Ahead,
    fields: Fields,
    fresh: bool,
}

impl PipelineWorker {
    /// Creates a worker for a program and its sinks. `intakes` are those of the sources, and `routes` leads to indices
    /// into `encoders`.
    pub fn new(
        pipeline: Arc<str>,
        intakes: Intakes,
        program: Program,
        routes: Arc<Vec<Step<usize>>>,
        encoders: Vec<Encoder>,
        sink_names: Arc<[String]>,
        number: usize,
    ) -> PipelineWorker {
        let seed = Timestamp::now().as_millis() as u64 ^ ((number as u64) << 48);
        // The fields must be compiled before the event is created, which has the vocabulary of that moment.
        let fields = Fields {
            ingested: FieldRef::from_names(["@metadata", "ingested"]).lasting(),
            kafka: FieldRef::from_names(["@metadata", "kafka"]).lasting(),
            event_type: FieldRef::from_names(["type"]).lasting(),
        };
        PipelineWorker {
            pipeline,
            intakes,
            program,
            routes,
            encoders,
            sink_names,
            context: Context::new(Timestamp::now(), seed),
            survivors: Survivors::default(),
            event: Event::versed(),
            ahead: Ahead::default(),
            fields,
            fresh: true,
        }
    }

    /// Updates the clock and reloads changed files at the first record of a batch.
    fn begin_batch(&mut self) {
        if std::mem::replace(&mut self.fresh, false) {
            self.context.now = Timestamp::now();
            self.program.between_batches();
            self.encoders.iter_mut().for_each(Encoder::start_batch);
        }
    }

    /// Runs one record with a fixed time and returns the resulting events instead of writing them. If `codec` is set,
    /// it replaces the source's decoding, and the record is an event as the filters receive it. `labels` name the sinks.
    ///
    /// # Errors
    /// The record cannot be decoded.
    pub fn try_out(
        &mut self,
        batch: &RawBatch,
        now: Timestamp,
        codec: Option<Codec>,
        labels: &[SinkLabel],
        watch: &mut impl FnMut(Seen<'_>, &mut Event),
    ) -> Result<Vec<Outcome>, Reason> {
        const SEED: u64 = 1;
        self.context = Context::new(now, SEED);
        match codec {
            None => self.fields.decode(self.intakes.of(batch, 0), self.context.now, &mut self.event, batch, 0)?,
            Some(codec) => {
                self.event.reset();
                read(&mut self.event, codec, batch.value(0))?;
                if self.event.timestamp().is_none() {
                    self.event.set_timestamp(now);
                }
            }
        }
        self.program.run_watched(&mut self.event, &mut self.context, &mut self.survivors, watch);
        self.encoders.iter_mut().for_each(Encoder::start_batch);
        let mut origin = document_origin(self.intakes.of(batch, 0), batch, 0);
        let mut outcomes = Vec::new();
        let original = self.survivors.original.then_some(&mut self.event);
        for event in original.into_iter().chain(&mut self.survivors.made) {
            let before = event.clone();
            let mut conditions = Vec::new();
            let watch = |condition: &Condition, held| conditions.push((condition.text().to_string(), held));
            let destinations = destinations(&self.routes, &mut self.encoders, labels, event, &origin, watch);
            outcomes.push(Outcome { event: before, conditions, destinations });
            origin.ordinal += 1;
        }
        Ok(outcomes)
    }

    /// Decodes a record, runs it through the filters, and writes the resulting documents.
    fn process_alone(&mut self, batch: &RawBatch, index: usize, out: &mut Outputs) -> Verdict {
        let intake = self.intakes.of(batch, index);
        if let Err(verdict) = self.fields.read(intake, self.context.now, &mut self.event, batch, index) {
            return verdict;
        }
        self.program.run(&mut self.event, &mut self.context, &mut self.survivors);
        let original = self.survivors.original.then_some(&mut self.event);
        if original.is_none() && self.survivors.made.is_empty() {
            return Verdict::Dropped("filter");
        }
        let mut origin = document_origin(intake, batch, index);
        let mut documents = 0;
        for event in original.into_iter().chain(&mut self.survivors.made) {
            match write_event(&self.routes, &mut self.encoders, &self.sink_names, event, &origin, out) {
                Ok(written) => documents += written,
                Err(reason) => return Verdict::DeadLetter(reason),
            }
            origin.ordinal += 1;
        }
        written(documents)
    }

    /// Writes the documents of a record that has been processed in a group.
    fn write_ahead(&mut self, found: usize, batch: &RawBatch, index: usize, out: &mut Outputs) -> Verdict {
        let origin = document_origin(self.intakes.of(batch, index), batch, index);
        self.ahead.end(found, |event| {
            match write_event(&self.routes, &mut self.encoders, &self.sink_names, event, &origin, out) {
                Ok(documents) => written(documents),
                Err(reason) => Verdict::DeadLetter(reason),
            }
        })
    }

    fn publish_counts(&mut self) {
        let pipeline = Arc::clone(&self.pipeline);
        for filter in self.program.filters() {
            for (name, count) in [
                (names::FILTER_EVENTS, &mut filter.events),
                (names::FILTER_FAILURES, &mut filter.failures),
                (names::FILTER_DROPS, &mut filter.drops),
            ] {
                if *count > 0 {
                    metrics::counter!(name, "pipeline" => Arc::clone(&pipeline), "filter" => Arc::clone(&filter.id))
                        .increment(*count);
                    *count = 0;
                }
            }
            if !filter.time.is_zero() {
                filter_time::add(&pipeline, &filter.id, std::mem::take(&mut filter.time));
            }
        }
    }
}

impl Fields {
    /// Fills an event from a record with the source's options.
    fn decode(
        &self,
        intake: &Intake,
        now: Timestamp,
        event: &mut Event,
        batch: &RawBatch,
        index: usize,
    ) -> Result<(), Reason> {
        event.reset();
        read(event, intake.codec, batch.value(index))?;
        if event.timestamp().is_none() {
            let time = batch.records()[index].timestamp_ms;
            event.set_timestamp(if time >= 0 { Timestamp::from_millis(time) } else { now });
        }
        if intake.ingested {
            // The root of the metadata is always an object, so this cannot fail.
            let _ = event.set(&self.ingested, Value::Time(now));
        }
        if let Some(field) = &intake.file_path {
            let path = event.push_str(&batch.origin(index).topic);
            let _ = event.set(field, Value::Str(path));
        }
        if intake.decoration != Decoration::None {
            decorate(event, &self.kafka, intake, batch, index);
        }
        if let Some(event_type) = &intake.event_type
            && event.get(&self.event_type).is_none()
        {
            let text = event.push_str(event_type);
            let _ = event.set(&self.event_type, Value::Str(text));
        }
        if !intake.additions.is_empty() && intake.additions.apply(event).is_err() {
            event.tag("_source_error");
        }
        Ok(())
    }

    /// Fills an event from a record. The error is the verdict of a record that is not processed further.
    fn read(
        &self,
        intake: &Intake,
        now: Timestamp,
        event: &mut Event,
        batch: &RawBatch,
        index: usize,
    ) -> Result<(), Verdict> {
        self.decode(intake, now, event, batch, index).map_err(Verdict::DeadLetter)?;
        match &intake.only {
            Some(only) if !only.holds(event) => Err(Verdict::Dropped("where")),
            _ => Ok(()),
        }
    }
}

fn document_origin<'a>(intake: &'a Intake, batch: &'a RawBatch, index: usize) -> DocumentOrigin<'a> {
    let place = batch.origin(index);
    let record = &batch.records()[index];
    DocumentOrigin {
        place: record.origin,
        source: &intake.distinction,
        topic: &place.topic,
        topic_id: place.topic_id.as_deref(),
        partition: place.partition,
        offset: record.offset,
        timestamp_ms: record.timestamp_ms,
        value: batch.value(index),
        ordinal: 0,
    }
}

/// Returns the verdict of a record, given the number of documents written.
fn written(documents: u32) -> Verdict {
    if documents == 0 { Verdict::Dropped("no_sink") } else { Verdict::Done }
}

/// Sets `[@metadata][kafka]` to the origin of a record.
fn decorate(event: &mut Event, target: &FieldRef, intake: &Intake, batch: &RawBatch, index: usize) {
    let record = batch.records()[index];
    let origin = batch.origin(index);
    let list = event.new_list();
    let topic = event.push_str(&origin.topic);
    event.insert(list, "topic", Value::Str(topic));
    let group = event.push_str(&intake.group);
    event.insert(list, "consumer_group", Value::Str(group));
    event.insert(list, "partition", Value::Int(i64::from(origin.partition)));
    event.insert(list, "offset", Value::Int(record.offset));
    if let Some(key) = batch.key(index) {
        let key = event.push_bytes(key);
        event.insert(list, "key", Value::Str(key));
    }
    event.insert(list, "timestamp", Value::Int(record.timestamp_ms));
    if intake.decoration == Decoration::Extended {
        let headers = event.new_list();
        for (name, value) in batch.headers(index) {
            let value = event.push_bytes(value.unwrap_or_default());
            event.insert(headers, name, Value::Str(value));
        }
        event.insert(list, "headers", Value::Object(headers));
    }
    let _ = event.set(target, Value::Object(list));
}

/// Fills an empty event from a record's value.
fn read(event: &mut Event, codec: Codec, value: &[u8]) -> Result<(), Reason> {
    match codec {
        Codec::Json => event
            .decode_json(value)
            .map_err(|error| Reason::new("decode", Some("codec json".into()), decode_problem(value, &error))),
        Codec::Plain => {
            event.decode_plain(value);
            Ok(())
        }
    }
}

/// Returns why a record is no JSON event, with advice where it does not even look like one.
#[cold]
fn decode_problem(value: &[u8], error: &impl std::fmt::Display) -> String {
    match value.trim_ascii_start().first() {
        None | Some(b'{') => error.to_string(),
        Some(_) => format!(
            "{error}; it does not begin with `{{`: for lines of text, set `codec = \"plain\"` on the source or use `--codec plain`"
        ),
    }
}

fn write_event(
    routes: &[Step<usize>],
    encoders: &mut [Encoder],
    sink_names: &[String],
    event: &mut Event,
    origin: &DocumentOrigin<'_>,
    out: &mut Outputs,
) -> Result<u32, Reason> {
    let mut documents = 0;
    let mut problem = None;
    reach(routes, event, |sink, event| {
        let buffer = out.sink(*sink);
        let start = buffer.begin();
        match encoders[*sink].encode(event, origin, &mut buffer.near) {
            Ok(()) => {
                buffer.end(start);
                documents += 1;
            }
            Err(error) => {
                buffer.abandon(start);
                problem =
                    Some(Reason::new("encode", sink_names.get(*sink).cloned().map(Into::into), error.to_string()));
            }
        }
    });
    match problem {
        None => Ok(documents),
        Some(reason) => Err(reason),
    }
}

impl Processor for PipelineWorker {
    fn process(&mut self, batch: &RawBatch, index: usize, out: &mut Outputs) -> Verdict {
        self.begin_batch();
        match self.ahead.find(index) {
            Some(found) => self.write_ahead(found, batch, index, out),
            None => self.process_alone(batch, index, out),
        }
    }

    fn look_ahead(&mut self, batch: &RawBatch, records: &[usize]) {
        self.begin_batch();
        if self.program.makes_events() {
            return;
        }
        let (intakes, now) = (&self.intakes, self.context.now);
        let fetch = |records: std::ops::Range<usize>| records.for_each(|index| fetch_all(batch.value(index)));
        if records.first() == Some(&0) {
            fetch(0..records.len());
        }
        self.ahead.read(records, |event, index| self.fields.read(intakes.of(batch, index), now, event, batch, index));
        // The next records were written by another core; the prefetch loads them while these are filtered.
        if let Some(last) = records.last() {
            fetch(last + 1..(last + 1 + records.len()).min(batch.len()));
        }
        self.ahead.filter(&mut self.program, &mut self.context);
    }

    fn end_of_batch(&mut self) {
        self.fresh = true;
        self.ahead.clear();
        self.publish_counts();
    }
}
