//! State shared by the parts of one run: ledger, budget, buffers, totals.
//!
//! Each source of a pipeline has a hub of its own with its own ledger, because sources commit independently. Budget,
//! buffers and totals are shared by all hubs of the run.
//!
//! Every lock here is taken once per batch, never once per event.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::error;

use super::batch::{BatchBuilder, Origin, RawBatch, Span};
use super::bounds::{HEADROOM, POOL_PART};
use super::budget::{Budget, Buffers};
use super::ledger::{Ledger, Ticket};
use super::shutdown::Shutdown;
use crate::telemetry::metrics as names;

/// The totals of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Records read from the source.
    pub records: u64,
    /// Documents acknowledged by sinks.
    pub documents: u64,
    /// Records dropped on purpose, including tombstones.
    pub dropped: u64,
    /// Records written as dead letters.
    pub dead_lettered: u64,
    /// Records that were still open when the run was forced to stop. They will be read again.
    pub unfinished: u64,
    /// Partitions whose last offsets could not be committed while the run was stopping, for the source with the most of
    /// them. Their records will be read again.
    pub uncommitted: u64,
    /// Number of times a partition's offset was out of range and reading was reset, because records were deleted before
    /// they were read or a topic was created again.
    pub offset_resets: u64,
}

/// Monotonic counters, updated once per batch.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub records: AtomicU64,
    pub documents: AtomicU64,
    pub dropped: AtomicU64,
    pub dead_lettered: AtomicU64,
    pub ended: AtomicU64,
    pub uncommitted: AtomicU64,
    pub offset_resets: AtomicU64,
}

/// The state shared by the parts of one run, as seen by one source.
#[derive(Debug)]
pub struct Hub {
    pub(crate) pipeline: Arc<str>,
    pipeline_version: Arc<Mutex<Arc<str>>>,
    /// Index of the source that this hub belongs to.
    pub(crate) source: usize,
    pub(crate) budget: Arc<Budget>,
    pub(crate) raw_buffers: Arc<Buffers>,
    pub(crate) body_buffers: Arc<Buffers>,
    pub(crate) totals: Arc<Totals>,
    pub(crate) shutdown: Shutdown,
    ledger: Mutex<Ledger>,
    changed: Condvar,
    started: Instant,
    /// Records that are not committed yet, in all assigned partitions; negative while that is not known.
    lag: AtomicI64,
}

impl Hub {
    pub(crate) fn new(pipeline: &str, pipeline_version: &str, in_flight_limit: usize, shutdown: Shutdown) -> Arc<Self> {
        Arc::new(Hub {
            pipeline: Arc::from(pipeline),
            pipeline_version: Arc::new(Mutex::new(Arc::from(pipeline_version))),
            source: 0,
            budget: Arc::new(Budget::new(in_flight_limit)),
            raw_buffers: Arc::new(Buffers::new(in_flight_limit / POOL_PART)),
            body_buffers: Arc::new(Buffers::new(in_flight_limit / POOL_PART)),
            totals: Arc::default(),
            shutdown,
            ledger: Mutex::new(Ledger::default()),
            changed: Condvar::new(),
            started: Instant::now(),
            lag: AtomicI64::new(-1),
        })
    }

    /// Returns a hub for another source of the same run.
    pub(crate) fn for_source(&self, source: usize) -> Arc<Self> {
        Arc::new(Hub {
            pipeline: self.pipeline.clone(),
            pipeline_version: self.pipeline_version.clone(),
            source,
            budget: self.budget.clone(),
            raw_buffers: self.raw_buffers.clone(),
            body_buffers: self.body_buffers.clone(),
            totals: self.totals.clone(),
            shutdown: self.shutdown.clone(),
            ledger: Mutex::default(),
            changed: Condvar::new(),
            started: self.started,
            lag: AtomicI64::new(-1),
        })
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the pipeline version that the last worker to reload is running.
    pub(crate) fn pipeline_version(&self) -> Arc<str> {
        self.pipeline_version.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_pipeline_version(&self, version: Arc<str>) {
        *self.pipeline_version.lock().unwrap_or_else(PoisonError::into_inner) = version;
    }

    /// Returns the milliseconds since the run began. This is the ledger's clock.
    pub(crate) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Enters a finished batch into the ledger and the budget.
    pub(crate) fn admit(self: &Arc<Self>, mut builder: BatchBuilder) -> Arc<RawBatch> {
        if let Some(spacious) = builder.fit() {
            self.raw_buffers.put(spacious);
        }
        let now_ms = self.now_ms();
        let tickets = {
            let mut ledger = self.ledger();
            let spans = builder.spans().into_iter().zip(&builder.origins).enumerate();
            // Where the records carry other origins than the partitions they were read from, only these partitions'
            // offsets are tracked.
            let own = spans
                .filter(|_| builder.covered.is_empty())
                .filter_map(|(index, (span, origin))| Some((origin, span?, Some(index))));
            let covered = builder.covered.iter().map(|(place, span)| (place, *span, None));
            own.chain(covered).map(|(origin, span, of)| (self.deliver(&mut ledger, origin, span, now_ms), of)).collect()
        };
        let held = builder.memory();
        let reserved = held + builder.bytes() * HEADROOM;
        self.budget.take(reserved);
        self.totals.records.fetch_add(builder.len() as u64, Ordering::Relaxed);
        for (topic, records) in builder.records_by_topic() {
            metrics::counter!(names::RECORDS_IN, "pipeline" => self.pipeline.clone(), "topic" => topic)
                .increment(records);
        }
        metrics::counter!(names::RECORD_BYTES_IN, "pipeline" => self.pipeline.clone())
            .increment(builder.bytes() as u64);
        Arc::new(builder.finish(tickets, held, reserved, Some(self.clone())))
    }

    /// Enters a span into the ledger. A gap that the source has not accounted for stops the commits of the partition.
    fn deliver(&self, ledger: &mut Ledger, origin: &Origin, span: Span, now_ms: u64) -> Ticket {
        ledger.deliver(origin, span, now_ms).unwrap_or_else(|gap| {
            error!(
                topic = &*origin.topic, partition = origin.partition, expected = gap.expected, found = gap.found,
                "records were handed over with a gap that nobody has explained; no further offset of this partition is committed, and what \
                 follows is read again after a restart"
            );
            metrics::counter!(names::OFFSET_GAPS, "reason" => "unexplained").increment(1);
            Ticket::WORTHLESS
        })
    }

    /// Completes the tickets of a batch all of whose records have ended.
    pub(crate) fn complete(&self, batch: &RawBatch, tickets: &[(Ticket, Option<usize>)]) {
        {
            let mut ledger = self.ledger();
            for (ticket, origin) in tickets {
                ledger.complete_with(*ticket, batch.tally(*origin));
            }
        }
        self.changed.notify_all();
        self.totals.ended.fetch_add(batch.len() as u64, Ordering::Relaxed);
        if batch.oldest_timestamp_ms() >= 0 {
            let delay = wall_clock_ms().saturating_sub(batch.oldest_timestamp_ms()).max(0) as f64 / 1e3;
            metrics::histogram!(names::DELIVERY_DELAY, "pipeline" => self.pipeline.clone()).record(delay);
        }
    }

    /// Waits until `settled` returns true for the ledger, for at most `timeout`. Returns whether it does.
    pub(crate) fn wait_until(&self, timeout: Duration, settled: impl Fn(&Ledger) -> bool) -> bool {
        let guard = self.ledger();
        let (guard, _) = self
            .changed
            .wait_timeout_while(guard, timeout, |ledger| !settled(ledger))
            .unwrap_or_else(PoisonError::into_inner);
        settled(&guard)
    }

    /// Sets the number of records that are not committed yet.
    pub(crate) fn set_lag(&self, records: i64) {
        self.lag.store(records, Ordering::Relaxed);
    }

    /// Returns the number of records that are not committed yet, where it is known.
    pub(crate) fn lag(&self) -> Option<u64> {
        u64::try_from(self.lag.load(Ordering::Relaxed)).ok()
    }

    /// Counts records that were dropped on purpose.
    pub(crate) fn count_dropped(&self, reason: &'static str, records: u64) {
        if records > 0 {
            self.totals.dropped.fetch_add(records, Ordering::Relaxed);
            metrics::counter!(names::RECORDS_DROPPED, "pipeline" => self.pipeline.clone(), "reason" => reason)
                .increment(records);
        }
    }

    /// Counts one offset reset of a partition.
    pub(crate) fn count_offset_reset(&self) {
        self.totals.offset_resets.fetch_add(1, Ordering::Relaxed);
        metrics::counter!(names::OFFSET_RESETS, "pipeline" => self.pipeline.clone()).increment(1);
    }

    /// Records the number of partitions whose last commit failed while the run was stopping. They are committed once
    /// more when the consumer leaves the group.
    pub(crate) fn note_uncommitted(&self, partitions: usize) {
        self.totals.uncommitted.fetch_max(partitions as u64, Ordering::Relaxed);
    }

    pub(crate) fn summary(&self) -> Summary {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let totals = &self.totals;
        Summary {
            records: get(&totals.records),
            documents: get(&totals.documents),
            dropped: get(&totals.dropped),
            dead_lettered: get(&totals.dead_lettered),
            unfinished: get(&totals.records).saturating_sub(get(&totals.ended)),
            uncommitted: get(&totals.uncommitted),
            offset_resets: get(&totals.offset_resets),
        }
    }
}

/// Returns the wall-clock time in milliseconds since 1970.
pub(crate) fn wall_clock_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
