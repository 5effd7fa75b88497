//! A worker thread: receives a batch of records, runs it to completion through the pipeline, and sends full document
//! buffers to the sinks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tokio::sync::mpsc;
use tracing::error;

use super::batch::{RawBatch, Shape};
use super::bounds::BEYOND_BULK;
use super::document::{DocumentBatch, Limits, Outputs, Rejected};
use super::hub::Hub;
use super::pace::Pace;
use super::processor::{Processor, Reason, Verdict};
use super::processors::Processors;
use super::sink::SinkContext;
use super::tally::count;
use crate::telemetry::health::Heartbeat;

/// The input of a sink.
#[derive(Clone, Debug)]
pub(crate) struct SinkEntry {
    pub way: Way,
    pub limits: Limits,
}

/// The receiver of a sink's batches.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// A task, which receives them through a channel.
    Task(mpsc::Sender<DocumentBatch>),
    /// None: the batches are complete at once.
    Nowhere(SinkContext),
}

/// The state of one worker.
pub(crate) struct Worker {
    pub hub: Arc<Hub>,
    pub input: Receiver<Arc<RawBatch>>,
    /// Number of the worker, from 0.
    pub number: usize,
    /// Factory of the current pipeline.
    pub processors: Processors,
    /// Generation of the pipeline that this worker runs.
    pub generation: u64,
    /// Pipeline that this worker runs.
    pub processor: Box<dyn Processor>,
    pub outputs: Outputs,
    pub sinks: Vec<SinkEntry>,
    pub dead_letters: mpsc::Sender<Vec<Rejected>>,
    pub heartbeat: Heartbeat,
    /// Rate limiter, if the run has a rate limit.
    pub pace: Option<Arc<Pace>>,
    /// Per sink, the time since when its buffer is not empty.
    pub waiting_since: Vec<Option<Instant>>,
}

/// Maximum number of records that are processed together. Each needs an event, and all of them should fit the core's
/// own cache.
const TOGETHER: usize = 16;
/// Maximum total bytes of records that are processed together. The memory of their events is not counted in the budget.
const TOGETHER_BYTES: usize = 64 << 10;

/// Returns the capacity in bytes of a batch's body. The batch is closed with the document that reaches its maximum
/// size.
fn body_room(limits: &Limits) -> usize {
    const MOST: usize = 8 << 20;
    limits.max_bytes.saturating_add(BEYOND_BULK).min(MOST)
}

/// The error that a sink has closed its channel: the run is being forced to stop.
#[derive(Debug)]
pub(crate) struct Gone;

impl Worker {
    /// Runs until the source has ended and all documents are sent, or until a sink's channel is closed.
    pub(crate) fn run(mut self) {
        while let Ok(true) = self.step() {}
    }

    fn step(&mut self) -> Result<bool, Gone> {
        let deadline = self.next_deadline();
        self.heartbeat.idle();
        let received = match deadline {
            Some(deadline) => self.input.recv_deadline(deadline),
            None => self.input.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        self.heartbeat.busy();
        match received {
            Ok(raw) => {
                self.process(&raw)?;
                self.flush_due()?;
                Ok(true)
            }
            Err(RecvTimeoutError::Timeout) => {
                self.flush_due()?;
                Ok(true)
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.flush_all()?;
                Ok(false)
            }
        }
    }

    /// Processes a batch that was not received through the channel.
    pub(crate) fn work_on(&mut self, raw: &Arc<RawBatch>) -> Result<(), Gone> {
        self.heartbeat.busy();
        let worked = self.process(raw);
        worked.and(self.hand_on_due())
    }

    /// Sends the buffers that have reached their maximum age, while there is nothing to process.
    pub(crate) fn hand_on_due(&mut self) -> Result<(), Gone> {
        let handed = self.flush_due();
        self.heartbeat.idle();
        handed
    }

    fn flush_due(&mut self) -> Result<(), Gone> {
        self.flush(|worker, sink| worker.is_due(sink))
    }

    fn next_deadline(&self) -> Option<Instant> {
        let waiting = self.waiting_since.iter().zip(&self.sinks);
        waiting.filter_map(|(since, sink)| since.map(|since| since + sink.limits.linger)).min()
    }

    fn is_due(&self, sink: usize) -> bool {
        self.waiting_since[sink].is_some_and(|since| since.elapsed() >= self.sinks[sink].limits.linger)
    }

    pub(crate) fn process(&mut self, raw: &Arc<RawBatch>) -> Result<(), Gone> {
        self.follow();
        let owned: Vec<bool> = raw.origins().iter().map(|origin| origin.is_owned()).collect();
        let mut rejected = Vec::new();
        let mut tombstones = 0;
        let mut dropped: Vec<(&'static str, u64)> = Vec::new();
        self.outputs.start_batch(raw);
        // With a rate limit, records are admitted one by one and never processed together.
        let mut ahead = if self.pace.is_some() { usize::MAX } else { 0 };
        for (index, record) in raw.records().iter().enumerate() {
            if !owned[record.origin as usize] {
                continue;
            }
            match record.shape {
                Shape::Plain => {}
                Shape::Tombstone => {
                    tombstones += 1;
                    raw.note(index, |tally| count(&mut tally.drops, "tombstone", 1));
                    continue;
                }
                Shape::Oversized => {
                    let message =
                        format!("a value of {} bytes or more is larger than `max_event_bytes`", raw.value(index).len());
                    let reason = Reason::new("oversized", None, message);
                    rejected.push(Rejected { raw: raw.clone(), record: index as u32, reason });
                    continue;
                }
            }
            if let Some(pace) = &self.pace {
                self.heartbeat.idle();
                pace.wait(&self.hub.shutdown);
                self.heartbeat.busy();
            }
            if index >= ahead {
                ahead = self.look_ahead(raw, index, &owned);
            }
            self.outputs.start_record(index);
            match self.run_pipeline(raw, index) {
                Verdict::Done => {}
                Verdict::Dropped(reason) => {
                    raw.note(index, |tally| count(&mut tally.drops, reason, 1));
                    match dropped.iter_mut().find(|(known, _)| *known == reason) {
                        Some((_, count)) => *count += 1,
                        None => dropped.push((reason, 1)),
                    }
                }
                Verdict::DeadLetter(reason) => {
                    self.outputs.roll_back();
                    rejected.push(Rejected { raw: raw.clone(), record: index as u32, reason });
                }
            }
            for sink in 0..self.sinks.len() {
                if self.outputs.sink(sink).is_full(&self.sinks[sink].limits) {
                    self.send(sink)?;
                }
            }
        }
        self.outputs.end_batch();
        self.processor.end_of_batch();
        raw.release_headroom();
        self.hub.count_dropped("tombstone", tombstones);
        for (reason, count) in dropped {
            self.hub.count_dropped(reason, count);
        }
        if !rejected.is_empty() {
            raw.open(rejected.len());
            self.heartbeat.idle();
            self.dead_letters.blocking_send(rejected).map_err(|_| Gone)?;
            self.heartbeat.busy();
        }
        raw.settle(1);
        let now = Instant::now();
        for sink in 0..self.sinks.len() {
            if self.waiting_since[sink].is_none() && !self.outputs.sink(sink).is_empty() {
                self.waiting_since[sink] = Some(now);
            }
        }
        Ok(())
    }

    /// Switches to a new pipeline, if there is one.
    fn follow(&mut self) {
        let generation = self.processors.generation();
        if generation != self.generation {
            self.processor = self.processors.make(self.number);
            self.generation = generation;
            self.hub.set_pipeline_version(self.processors.version());
        }
    }

    /// Lets the pipeline process the next records together. Returns the index of the first record that was not
    /// announced to it.
    fn look_ahead(&mut self, raw: &RawBatch, from: usize, owned: &[bool]) -> usize {
        let (mut upcoming, mut count) = ([0; TOGETHER], 0);
        let mut bytes = 0;
        let mut next = from;
        while let Some(record) = raw.records().get(next)
            && count < TOGETHER
        {
            if owned[record.origin as usize] && record.shape == Shape::Plain {
                bytes += raw.value(next).len();
                if bytes > TOGETHER_BYTES {
                    break;
                }
                upcoming[count] = next;
                count += 1;
            }
            next += 1;
        }
        let run = AssertUnwindSafe(|| self.processor.look_ahead(raw, &upcoming[..count]));
        if count > 1 && catch_unwind(run).is_err() {
            // One of the records caused the panic. Each is now run on its own, so that only that record is lost.
            self.processor = self.processors.make(self.number);
            next = usize::MAX;
        }
        next.max(from + 1)
    }

    /// Runs the pipeline on a record. A panic dead-letters the record; the process continues.
    fn run_pipeline(&mut self, raw: &RawBatch, index: usize) -> Verdict {
        let run = AssertUnwindSafe(|| self.processor.process(raw, index, &mut self.outputs));
        catch_unwind(run).unwrap_or_else(|panic| {
            // After a panic the pipeline's state can't be trusted.
            self.processor = self.processors.make(self.number);
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            error!(origin = ?raw.origin(index), "the pipeline panicked on a record, which goes to the dead letters");
            Verdict::DeadLetter(Reason::new("panic", None, text.unwrap_or("the pipeline panicked")))
        })
    }

    /// Sends all buffers to the sinks, full or not.
    pub(crate) fn flush_all(&mut self) -> Result<(), Gone> {
        self.flush(|_, _| true)
    }

    fn flush(&mut self, due: impl Fn(&Self, usize) -> bool) -> Result<(), Gone> {
        for sink in 0..self.sinks.len() {
            if !self.outputs.sink(sink).is_empty() && due(self, sink) {
                self.send(sink)?;
            }
        }
        Ok(())
    }

    /// Sends a buffer to its sink. Blocking here on a slow sink applies backpressure to the pipeline.
    fn send(&mut self, sink: usize) -> Result<(), Gone> {
        let (buffers, room) = (&self.hub.body_buffers, body_room(&self.sinks[sink].limits));
        let fresh = || {
            let mut body = buffers.get();
            // Reserving all of it at once avoids repeated copies while the buffer doubles, and up to twice the capacity
            // in the end.
            body.reserve_exact(room);
            body
        };
        let batch = self.outputs.sink(sink).seal(fresh, Some(self.hub.clone()));
        self.waiting_since[sink] = None;
        match &self.sinks[sink].way {
            Way::Nowhere(context) => {
                context.finish(batch);
                Ok(())
            }
            Way::Task(sender) => {
                self.heartbeat.idle();
                let sent = sender.blocking_send(batch).map_err(|_| Gone);
                self.heartbeat.busy();
                sent
            }
        }
    }
}
