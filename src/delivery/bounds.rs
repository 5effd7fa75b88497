//! Divides `memory_limit` among the parts of a run.
//!
//! A run needs a fixed amount (the process, its clients and workers, the filters' tables, one copy of the largest record at each
//! stage) and shares the rest out. [`Bounds::least`] is the smallest limit for which the sum stays below the limit; the pipeline is refused below it.
//! `docs/delivery.md` has the table of the parts and the measurements behind the constants.

use super::document::Limits;
use super::run::Settings;
use crate::dead_letter::DeadLetterSpec;
use crate::sink::SinkSpec;
use crate::source::SourceSpec;

const MIB: usize = 1 << 20;
const KIB: usize = 1 << 10;

/// A `memory_limit`, the default, from which on caches have their full size and the allocator may keep as much as serves speed.
pub(crate) const ROOMY: usize = 256 * MIB;
/// Anonymous memory of a process that runs an empty pipeline: 4 MiB measured, and what TLS and the HTTP server take later.
const PROCESS: usize = 6 * MIB;
/// A client of librdkafka: its threads and what it knows of the cluster.
const CLIENT: usize = MIB;
/// A worker besides its records: stacks, events that are kept for the next batch, the buffer that documents are put together in.
const WORKER: usize = 768 * KIB;
/// The largest record that brokers accept by default (`message.max.bytes`).
pub(crate) const DEFAULT_RECORD: usize = MIB;
/// The least that is shared out.
const LEAST_SHARED: usize = 20 * MIB;
/// While a batch is processed, this many times its size is set aside for the documents that it will become.
pub(super) const HEADROOM: usize = 2;
/// Bytes of the response to a document that is refused, as text and when parsed.
const RESPONSE: usize = KIB;
/// The part of the bytes in flight that emptied buffers of records may take, and those of documents once more.
pub(super) const POOL_PART: usize = 5;
/// The room that a buffer of documents has beyond the size at which it is handed on.
pub(super) const BEYOND_BULK: usize = 128 * KIB;
/// Dead letters are written in groups of at most this many bytes, as documents are to a Kafka sink.
pub(crate) const PRODUCED_TOGETHER: usize = MIB;

/// The memory of a pipeline's filters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes that all workers share.
    pub shared: usize,
    /// Bytes that each worker needs for itself.
    pub each_worker: usize,
    /// Bytes of shared caches whose size follows `memory_limit`, at [`ROOMY`].
    pub shared_caches: usize,
    /// Bytes of each worker's caches whose size follows `memory_limit`, at [`ROOMY`].
    pub worker_caches: usize,
}

impl Footprint {
    fn at(&self, limit: usize, workers: usize) -> usize {
        let caches = self.shared_caches + self.worker_caches * workers;
        self.shared + self.each_worker * workers + scaled(caches, limit)
    }
}

/// Scales a size that is meant for [`ROOMY`] down to a smaller limit.
pub(crate) fn scaled(size: usize, limit: usize) -> usize {
    (size as f64 * limit.min(ROOMY) as f64 / ROOMY as f64) as usize
}

impl std::iter::Sum for Footprint {
    fn sum<I: Iterator<Item = Footprint>>(parts: I) -> Footprint {
        parts.fold(Footprint::default(), |sum, part| Footprint {
            shared: sum.shared + part.shared,
            each_worker: sum.each_worker + part.each_worker,
            shared_caches: sum.shared_caches + part.shared_caches,
            worker_caches: sum.worker_caches + part.worker_caches,
        })
    }
}

/// The properties of a pipeline that decide how much memory its run needs.
#[derive(Clone, Debug)]
pub struct Demand {
    workers: usize,
    sources: usize,
    kafka_sources: usize,
    /// Sinks that buffer documents.
    sinks: usize,
    /// Clients of librdkafka.
    clients: usize,
    /// Clients of librdkafka that produce.
    producers: usize,
    largest_record: usize,
    filters: Footprint,
    /// The user's own `in_flight_limit`.
    in_flight: Option<usize>,
    batch_bytes: usize,
    /// The size at which the sinks want their documents.
    bulk_bytes: usize,
}

impl Demand {
    /// Returns the demand of a run of these parts.
    pub fn new(settings: &Settings, sources: &[SourceSpec], sinks: &[(Option<String>, SinkSpec)], dead_letter: &DeadLetterSpec) -> Demand {
        let kafka_sources = sources.iter().filter(|source| matches!(source, SourceSpec::Kafka(_))).count();
        let kafka_sinks = sinks.iter().filter(|(_, sink)| matches!(sink, SinkSpec::Kafka(_))).count();
        let producers = kafka_sinks + usize::from(dead_letter.topic().is_some());
        Demand {
            workers: settings.workers.max(1),
            sources: sources.len().max(1),
            kafka_sources,
            sinks: sinks.iter().filter(|(_, sink)| !matches!(sink, SinkSpec::Null)).count().max(1),
            clients: kafka_sources + producers,
            producers,
            largest_record: sources.iter().map(SourceSpec::largest_record).max().unwrap_or(DEFAULT_RECORD),
            filters: settings.filters,
            in_flight: settings.in_flight_limit,
            batch_bytes: settings.batch_bytes,
            bulk_bytes: sinks.iter().map(|(_, sink)| sink.bulk_bytes()).max().unwrap_or_default(),
        }
    }

    /// Returns the least `memory_limit` that holds, in whole MiB.
    pub fn least(&self) -> usize {
        let mut limit = (self.fixed(0) + LEAST_SHARED).next_multiple_of(MIB);
        while !self.fits(limit) {
            limit += MIB;
        }
        limit
    }

    /// Describes what the least limit consists of.
    pub fn describe(&self) -> String {
        let mib = |bytes: usize| bytes.div_ceil(MIB);
        let least = self.least();
        let rest = least - self.fixed(least);
        format!(
            "{} MiB for the program, its clients and {} worker(s), {} MiB for filters and their caches, {} MiB for records of up to {} KiB on their way, {} MiB for what waits",
            mib(self.program()),
            self.workers,
            mib(self.filters.at(least, self.workers)),
            mib(self.records()),
            self.largest_record / KIB,
            mib(rest),
        )
    }

    fn fits(&self, limit: usize) -> bool {
        self.fixed(limit) + LEAST_SHARED <= limit && Bounds::new(limit, self).total() <= limit
    }

    fn program(&self) -> usize {
        PROCESS + CLIENT * self.clients + WORKER * self.workers
    }

    /// One copy of the largest record wherever one may pass the bound of its stage.
    fn records(&self) -> usize {
        let batch = (1 + HEADROOM) * self.sources;
        // The queue, and two answers: as they came, and unpacked.
        let fetched = 5 * self.kafka_sources;
        // The event and the document that a worker makes of it.
        let worked_on = 2 * self.workers;
        let produced = 2 * self.producers;
        (batch + fetched + worked_on + produced) * self.largest_record + 2 * PRODUCED_TOGETHER * self.producers
    }

    fn fixed(&self, limit: usize) -> usize {
        self.program() + self.filters.at(limit, self.workers) + self.records()
    }
}

/// The bytes that each part of a run may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    fixed: usize,
    /// Records and documents between source and acknowledgement.
    pub in_flight: usize,
    /// A batch of records closes at this size.
    pub batch: usize,
    /// What the budget may be passed by: a batch of each source, with its headroom.
    beyond: usize,
    /// A buffer of documents is handed to its sink at this size.
    pub bulk: usize,
    /// The buffers of documents of all workers and sinks.
    bulks: usize,
    /// Compressed copies of documents, and the responses to them.
    responses: usize,
    /// Emptied buffers of records and of documents that are kept for the next batch.
    pools: usize,
    /// Records that wait in the queue of each Kafka source.
    pub queue: usize,
    /// Records of a fetch response when unpacked, for each Kafka source.
    pub unpacked: usize,
    /// All Kafka sources' queues and responses.
    fetched: usize,
    /// What the allocator may hold beyond what is asked for.
    allocator: usize,
}

impl Bounds {
    /// Divides `limit`. One below [`Demand::least`] is passed.
    pub fn new(limit: usize, demand: &Demand) -> Bounds {
        let fixed = demand.fixed(limit);
        let shared = limit.saturating_sub(fixed).max(LEAST_SHARED);
        let buffers = demand.workers * demand.sinks;
        let batch = demand.batch_bytes.min(shared / 128);
        let bulk = (shared / 8 / buffers).max(64 * KIB);
        let in_flight = demand.in_flight.unwrap_or(shared / 32 * 5).max(batch);
        let sources = demand.kafka_sources.max(1);
        let (queue, unpacked) = (shared / 32 / sources, shared / 8 / sources);
        Bounds {
            fixed,
            in_flight,
            batch,
            beyond: (1 + HEADROOM) * batch * demand.sources,
            bulk,
            bulks: (bulk.min(demand.bulk_bytes) + BEYOND_BULK) * buffers,
            responses: in_flight,
            pools: 2 * in_flight / POOL_PART,
            queue,
            unpacked,
            // Twice: what librdkafka reckons for a record that waits, and a second answer while the queue is emptied.
            fetched: 2 * (queue + unpacked) * demand.kafka_sources,
            allocator: shared / 8,
        }
    }

    /// Returns when a buffer for a sink is full.
    pub(super) fn of_sink(&self, wanted: Limits) -> Limits {
        let (max_bytes, max_items) = (wanted.max_bytes.min(self.bulk), wanted.max_items.min(self.bulk / RESPONSE));
        Limits { max_bytes, max_items, ..wanted }
    }

    /// Returns the sum of all parts.
    pub fn total(&self) -> usize {
        self.fixed + self.in_flight + self.beyond + self.bulks + self.responses + self.pools + self.fetched + self.allocator
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand() -> Demand {
        Demand {
            workers: 1,
            sources: 1,
            kafka_sources: 1,
            sinks: 1,
            clients: 2,
            producers: 1,
            largest_record: DEFAULT_RECORD,
            filters: Footprint { shared: 9 * MIB, each_worker: MIB, shared_caches: 30 * MIB, worker_caches: 4 * MIB },
            in_flight: None,
            batch_bytes: 512 * KIB,
            bulk_bytes: 2 * MIB,
        }
    }

    fn demands() -> Vec<Demand> {
        let plain = Demand { filters: Footprint::default(), ..demand() };
        vec![
            Demand { workers: 16, ..demand() },
            Demand { sinks: 5, sources: 3, kafka_sources: 3, clients: 5, producers: 2, ..demand() },
            Demand { largest_record: 20 * MIB, ..plain.clone() },
            Demand { in_flight: Some(300 * MIB), ..demand() },
            Demand { in_flight: Some(64 * KIB), ..demand() },
            Demand { bulk_bytes: 50 * MIB, workers: 4, ..demand() },
            Demand { kafka_sources: 0, clients: 0, producers: 0, ..plain.clone() },
            plain,
            demand(),
        ]
    }

    #[test]
    fn all_parts_together_stay_below_every_limit_from_the_least_on() {
        for demand in demands() {
            let least = demand.least();
            assert!(!demand.fits(least - MIB), "less than {} MiB would do: {demand:?}", least / MIB);
            for limit in (least..least + 600 * MIB).step_by(MIB) {
                let bounds = Bounds::new(limit, &demand);
                assert!(bounds.total() <= limit, "{} MiB: {bounds:?} of {demand:?}", limit / MIB);
            }
        }
    }

    #[test]
    fn a_container_of_96_mib_is_enough_for_nginx_and_one_worker() {
        let least = demand().least();
        assert!(least <= 96 * MIB / 10 * 9, "{} MiB", least / MIB);
        assert!(demand().describe().contains("1 worker"), "{}", demand().describe());
    }

    #[test]
    fn the_default_limit_leaves_the_default_sizes() {
        let bounds = Bounds::new(ROOMY, &demand());
        assert_eq!(bounds.batch, 512 * KIB);
        assert!(bounds.bulk >= 2 * MIB && bounds.in_flight >= 24 * MIB, "{bounds:?}");
    }
}
