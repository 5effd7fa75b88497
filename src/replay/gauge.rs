//! What a replay puts around the pipeline of each worker: it counts, holds back, and in a dry run looks at what would be
//! written.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::compare::Comparer;
use crate::delivery::{Outputs, Pace, Processor, RawBatch, Settings, Shutdown, Verdict};
use crate::source::kafka::Part;

/// The longest that a worker pauses at once for the sake of others; then it looks again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Messages of one kind of failure that are shown.
const EXAMPLES: usize = 3;

/// How much of its speed a replay may use, in thousandths.
pub const FULL_SPEED: u32 = 1_000;

/// What all workers of a replay share.
#[derive(Debug)]
pub struct Gauges {
    topic: String,
    /// For each partition how far workers have come. Acknowledgements trail behind.
    positions: Vec<(Part, AtomicI64)>,
    /// Records that have been through the pipeline.
    pub records: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
    /// Nanoseconds that the pipeline took for them.
    pub busy_ns: AtomicU64,
    /// The share of its speed that is used now, in thousandths.
    pub speed: AtomicU32,
    failures: Mutex<BTreeMap<String, Failure>>,
}

/// One kind of failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// Records that failed so.
    pub records: u64,
    /// What was wrong, for the first few.
    pub examples: Vec<String>,
}

impl Gauges {
    /// Gauges for these parts of a topic.
    pub fn new(topic: &str, parts: &[Part]) -> Gauges {
        Gauges {
            topic: topic.to_string(),
            positions: parts.iter().map(|part| (*part, AtomicI64::new(part.start))).collect(),
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            busy_ns: AtomicU64::new(0),
            speed: AtomicU32::new(FULL_SPEED),
            failures: Mutex::default(),
        }
    }

    /// Each part and how far it is.
    pub fn positions(&self) -> impl Iterator<Item = (Part, i64)> {
        self.positions.iter().map(|(part, at)| (*part, at.load(Ordering::Relaxed)))
    }

    /// Notes that a partition is done up to an offset.
    pub fn reach(&self, partition: i32, offset: i64) {
        if let Ok(index) = self.positions.binary_search_by_key(&partition, |(part, _)| part.partition) {
            let (part, at) = &self.positions[index];
            at.fetch_max(offset.min(part.end), Ordering::Relaxed);
        }
    }

    /// Records that failed, by kind.
    pub fn failures(&self) -> MutexGuard<'_, BTreeMap<String, Failure>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Limits on how fast records go through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Records a second.
    pub events: Option<NonZeroU32>,
    /// Bytes of records a second.
    pub bytes: Option<NonZeroU32>,
}

impl Rate {
    /// Bounds what is in flight to some seconds of what this rate lets through: so a stop takes no longer than that, and the
    /// progress that is committed trails by no more.
    pub fn bound(self, settings: &mut Settings) {
        const SECONDS: usize = 4;
        /// A small record with what is reckoned for its documents.
        const RECORD: usize = 512;
        const LEAST: usize = 64 << 10;
        let by_events = self.events.map(|events| (events.get() as usize).saturating_mul(SECONDS * RECORD));
        let by_bytes = self.bytes.map(|bytes| (bytes.get() as usize).saturating_mul(SECONDS));
        let Some(limit) = by_events.into_iter().chain(by_bytes).min() else { return };
        let limit = limit.max(LEAST).min(settings.in_flight_bytes());
        settings.in_flight_limit = Some(limit);
        settings.batch_bytes = settings.batch_bytes.min(limit / SECONDS);
        if let Some(events) = self.events {
            settings.batch_records = settings.batch_records.min((events.get() as usize / SECONDS).max(1));
        }
    }
}

impl std::str::FromStr for Rate {
    type Err = String;

    /// `5000/s` (or just `5000`) for records, `20MB/s` for bytes; both with a comma between them.
    fn from_str(text: &str) -> Result<Rate, String> {
        let mut rate = Rate::default();
        for part in text.split(',') {
            let wrong = || format!("`{part}` is no rate: 5000/s for events, 20MB/s for bytes");
            let number = part.trim().strip_suffix("/s").unwrap_or(part.trim());
            let limit = if let Ok(events) = number.parse::<u32>() {
                rate.events = NonZeroU32::new(events);
                rate.events
            } else {
                let bytes = crate::config::units::parse_bytes(number).and_then(|bytes| u32::try_from(bytes).ok());
                rate.bytes = bytes.and_then(NonZeroU32::new);
                rate.bytes
            };
            limit.ok_or_else(wrong)?;
        }
        Ok(rate)
    }
}

/// What workers need beside the gauges.
#[derive(Clone)]
pub struct Around {
    /// The gauges.
    pub gauges: Arc<Gauges>,
    /// Holds records back.
    events: Option<Arc<Pace>>,
    /// Holds bytes back.
    bytes: Option<Arc<Pace>>,
    /// Ends the holding back.
    pub shutdown: Shutdown,
    /// Nothing is written, dead letters neither.
    pub is_dry: bool,
}

impl Around {
    /// What a replay of these gauges at this rate needs.
    pub fn new(gauges: Arc<Gauges>, rate: Rate, shutdown: Shutdown, is_dry: bool) -> Around {
        let pace = |limit: Option<NonZeroU32>| limit.map(|limit| Arc::new(Pace::new(limit)));
        Around { gauges, events: pace(rate.events), bytes: pace(rate.bytes), shutdown, is_dry }
    }
}

/// A worker's pipeline with the gauges around it.
pub struct Gauged {
    inner: Box<dyn Processor>,
    around: Around,
    comparer: Option<Comparer>,
    /// Documents in each sink's buffer before a record.
    before: Vec<usize>,
    busy: Duration,
    records: u64,
    bytes: u64,
    cycle: Instant,
}

impl Gauged {
    /// Puts the gauges around `inner`.
    pub fn new(inner: Box<dyn Processor>, around: Around, comparer: Option<Comparer>) -> Gauged {
        Gauged {
            inner,
            around,
            comparer,
            before: Vec::new(),
            busy: Duration::ZERO,
            records: 0,
            bytes: 0,
            cycle: Instant::now(),
        }
    }

    fn hold_back(&self, bytes: usize) {
        // A replay that is asked to stop keeps its pace: what is in flight must not come as a burst.
        let is_over = || self.around.shutdown.is_forced();
        if let Some(pace) = &self.around.events {
            pace.wait_for(NonZeroU32::MIN, is_over);
        }
        if let (Some(pace), Some(bytes)) = (&self.around.bytes, u32::try_from(bytes).ok().and_then(NonZeroU32::new)) {
            pace.wait_for(bytes, is_over);
        }
    }
}

impl Processor for Gauged {
    fn process(&mut self, batch: &RawBatch, index: usize, out: &mut Outputs) -> Verdict {
        let record = batch.records()[index];
        let size = batch.value(index).len();
        self.hold_back(size);
        if self.comparer.is_some() {
            self.before.clear();
            self.before.extend((0..out.len()).map(|sink| out.sink(sink).len()));
        }
        let began = Instant::now();
        let mut verdict = self.inner.process(batch, index, out);
        self.busy += began.elapsed();
        self.records += 1;
        self.bytes += size as u64;
        let origin = batch.origin(index);
        // A dead letter's record has the offset of another topic.
        if *origin.topic == *self.around.gauges.topic {
            self.around.gauges.reach(origin.partition, record.offset + 1);
        }
        if let Some(comparer) = &mut self.comparer
            && verdict == Verdict::Done
        {
            for (sink, before) in self.before.iter().enumerate() {
                let buffer = out.sink(sink);
                for document in *before..buffer.len() {
                    comparer.take(sink, buffer.document(document), || {
                        format!("{}[{}]@{}", origin.topic, origin.partition, record.offset)
                    });
                }
            }
        }
        if let Verdict::DeadLetter(reason) = &verdict {
            let mut failures = self.around.gauges.failures();
            let label = reason
                .component
                .as_ref()
                .map_or(reason.kind.to_string(), |component| format!("{} ({component})", reason.kind));
            let failure = failures.entry(label).or_default();
            failure.records += 1;
            if failure.examples.len() < EXAMPLES {
                failure
                    .examples
                    .push(format!("{}[{}]@{}: {}", origin.topic, origin.partition, record.offset, reason.message));
            }
            drop(failures);
            if self.around.is_dry {
                verdict = Verdict::Dropped("dead_letter");
            }
        }
        verdict
    }

    fn look_ahead(&mut self, batch: &RawBatch, records: &[usize]) {
        let began = Instant::now();
        self.inner.look_ahead(batch, records);
        self.busy += began.elapsed();
    }

    fn end_of_batch(&mut self) {
        self.inner.end_of_batch();
        if let Some(comparer) = &mut self.comparer {
            comparer.compare();
        }
        let gauges = &self.around.gauges;
        gauges.records.fetch_add(std::mem::take(&mut self.records), Ordering::Relaxed);
        gauges.bytes.fetch_add(std::mem::take(&mut self.bytes), Ordering::Relaxed);
        gauges.busy_ns.fetch_add(std::mem::take(&mut self.busy).as_nanos() as u64, Ordering::Relaxed);
        let speed = gauges.speed.load(Ordering::Relaxed).clamp(1, FULL_SPEED);
        if speed < FULL_SPEED && !self.around.shutdown.is_requested() {
            // Of the time since the last pause, so much is added as makes the wanted share of it.
            let share = f64::from(FULL_SPEED - speed) / f64::from(speed);
            std::thread::sleep(self.cycle.elapsed().mul_f64(share).min(LONGEST_PAUSE));
        }
        self.cycle = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_events_or_bytes_or_both() {
        let rate = |events, bytes| Ok(Rate { events: NonZeroU32::new(events), bytes: NonZeroU32::new(bytes) });
        assert_eq!("5000/s".parse(), rate(5_000, 0));
        assert_eq!("5000".parse(), rate(5_000, 0));
        assert_eq!("20MB/s".parse(), rate(0, 20_000_000));
        assert_eq!("100/s,1KiB/s".parse(), rate(100, 1_024));
        for text in ["0/s", "fast", "-1", ""] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_slow_replay_has_little_in_flight() {
        let bounded = |rate: &str| {
            let mut settings = Settings::default();
            rate.parse::<Rate>().unwrap().bound(&mut settings);
            (settings.in_flight_bytes(), settings.batch_bytes, settings.batch_records)
        };
        assert_eq!(bounded("1/s"), (64 << 10, 16 << 10, 1));
        assert_eq!(bounded("100/s"), (204_800, 51_200, 25));
        assert_eq!(bounded("1MB/s"), (4_000_000, 512 << 10, 4_096));
        let unbounded = Settings::default();
        assert_eq!(bounded("1000000/s"), (unbounded.in_flight_bytes(), unbounded.batch_bytes, unbounded.batch_records));
    }

    #[test]
    fn a_position_never_goes_back_or_past_its_part() {
        let gauges =
            Gauges::new("t", &[Part { partition: 0, start: 5, end: 9 }, Part { partition: 2, start: 0, end: 3 }]);
        for (partition, offset) in [(0, 7), (0, 6), (2, 9), (1, 4)] {
            gauges.reach(partition, offset);
        }
        assert_eq!(gauges.positions().map(|(_, at)| at).collect::<Vec<_>>(), [7, 3]);
    }
}
