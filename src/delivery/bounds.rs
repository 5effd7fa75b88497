//! Division of `memory_limit` among the parts of a run.
//!
//! A run needs a fixed amount (the process, its clients and workers, the filters' tables, one copy of the largest
//! record at each stage) and shares out the remainder. [`Bounds::least`] is the smallest limit for which the sum stays
//! below the limit; a pipeline with a lower limit is rejected. `docs/delivery.md` has the table of the parts and the
//! measurements behind the constants.

use super::document::Limits;
use super::run::Settings;
use crate::memory::Footprint;

const MIB: usize = 1 << 20;
const KIB: usize = 1 << 10;

/// Anonymous memory of a process that runs an empty pipeline, in bytes: 4 MiB as measured, plus what TLS and the HTTP
/// server allocate later.
const PROCESS: usize = 6 * MIB;
/// Bytes of one librdkafka client: its threads and its cluster metadata.
const CLIENT: usize = MIB;
/// Bytes of one worker without its records: stacks, events reused by the next batch, and the buffer in which documents
/// are built.
const WORKER: usize = 768 * KIB;
/// Size in bytes of the largest record that brokers accept by default (`message.max.bytes`).
pub(crate) const DEFAULT_RECORD: usize = MIB;
/// Minimum number of bytes that is shared out.
const LEAST_SHARED: usize = 20 * MIB;
/// Multiple of a batch's size that is reserved, while the batch is processed, for the documents made from it.
pub(super) const HEADROOM: usize = 2;
/// Bytes of the response to one rejected document, as text and parsed.
const RESPONSE: usize = KIB;
/// Divisor of the in-flight limit: the buffer pool for records may hold this fraction of it, and so may the pool for
/// documents.
pub(super) const POOL_PART: usize = 5;
/// Bytes that a document buffer has beyond the size at which it is sent.
pub(super) const BEYOND_BULK: usize = 128 * KIB;
/// Maximum bytes of dead letters written together, and of documents sent to a Kafka sink together.
pub(crate) const PRODUCED_TOGETHER: usize = MIB;

/// The parts of a run that take memory.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Number of sources.
    pub sources: usize,
    /// Number of sources whose client fetches records in advance.
    pub fetching_sources: usize,
    /// Number of sinks that buffer documents.
    pub sinks: usize,
    /// Number of librdkafka clients.
    pub clients: usize,
    /// Number of librdkafka clients that produce.
    pub producers: usize,
    /// Size in bytes of the largest record to reserve memory for.
    pub largest_record: usize,
    /// Largest batch size, in bytes, that any sink asks for.
    pub bulk_bytes: usize,
}

/// The memory demand of a run.
#[derive(Clone, Debug)]
pub struct Demand {
    workers: usize,
    parts: Parts,
    filters: Footprint,
    /// The `in_flight_limit` set by the user, in bytes.
    in_flight: Option<usize>,
    batch_bytes: usize,
}

impl Demand {
    /// Returns the memory demand of a run with these parts.
    pub fn new(settings: &Settings, parts: &Parts) -> Demand {
        let parts = Parts { sources: parts.sources.max(1), sinks: parts.sinks.max(1), ..parts.clone() };
        Demand {
            workers: settings.workers.max(1),
            parts,
            filters: settings.filters,
            in_flight: settings.in_flight_limit,
            batch_bytes: settings.batch_bytes,
        }
    }

    /// Returns the smallest sufficient `memory_limit`, in bytes, rounded up to whole MiB.
    pub fn least(&self) -> usize {
        let mut limit = (self.fixed(0) + LEAST_SHARED).next_multiple_of(MIB);
        while !self.fits(limit) {
            limit += MIB;
        }
        limit
    }

    /// Returns a text that breaks the smallest sufficient limit down into its parts.
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
            self.parts.largest_record / KIB,
            mib(rest),
        )
    }

    fn fits(&self, limit: usize) -> bool {
        self.fixed(limit) + LEAST_SHARED <= limit && Bounds::new(limit, self).total() <= limit
    }

    fn program(&self) -> usize {
        PROCESS + CLIENT * self.parts.clients + WORKER * self.workers
    }

    /// Returns the bytes for one copy of the largest record at each stage whose bound a single record may exceed.
    fn records(&self) -> usize {
        let batch = (1 + HEADROOM) * self.parts.sources;
        // The queue, and two fetch responses, each compressed and decompressed.
        let fetched = 5 * self.parts.fetching_sources;
        // The event and the document that a worker makes from a record.
        let worked_on = 2 * self.workers;
        let produced = 2 * self.parts.producers;
        (batch + fetched + worked_on + produced) * self.parts.largest_record
            + 2 * PRODUCED_TOGETHER * self.parts.producers
    }

    fn fixed(&self, limit: usize) -> usize {
        self.program() + self.filters.at(limit, self.workers) + self.records()
    }
}

/// The memory bounds of each part of a run, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    fixed: usize,
    /// Limit of records and documents between source and acknowledgement.
    pub in_flight: usize,
    /// Size at which a batch of records is closed.
    pub batch: usize,
    /// Maximum excess over the in-flight limit: one batch of each source, with its headroom.
    beyond: usize,
    /// Size at which a document buffer is sent to its sink.
    pub bulk: usize,
    /// Document buffers of all workers and sinks.
    bulks: usize,
    /// Compressed copies of documents, and the responses to them.
    responses: usize,
    /// Emptied buffers of records and of documents that are kept for reuse.
    pools: usize,
    /// Records in the prefetch queue of each fetching source.
    pub queue: usize,
    /// Records of one decompressed fetch response of each fetching source.
    pub unpacked: usize,
    /// Prefetch queues and fetch responses of all fetching sources.
    fetched: usize,
    /// Memory that the allocator may hold beyond what is allocated.
    allocator: usize,
}

impl Bounds {
    /// Divides `limit` bytes. A limit below [`Demand::least`] is exceeded.
    pub fn new(limit: usize, demand: &Demand) -> Bounds {
        let fixed = demand.fixed(limit);
        let shared = limit.saturating_sub(fixed).max(LEAST_SHARED);
        let buffers = demand.workers * demand.parts.sinks;
        let batch = demand.batch_bytes.min(shared / 128);
        let bulk = (shared / 8 / buffers).max(64 * KIB);
        let in_flight = demand.in_flight.unwrap_or(shared / 32 * 5).max(batch);
        let sources = demand.parts.fetching_sources.max(1);
        let (queue, unpacked) = (shared / 32 / sources, shared / 8 / sources);
        Bounds {
            fixed,
            in_flight,
            batch,
            beyond: (1 + HEADROOM) * batch * demand.parts.sources,
            bulk,
            bulks: (bulk.min(demand.parts.bulk_bytes) + BEYOND_BULK) * buffers,
            responses: in_flight,
            pools: 2 * in_flight / POOL_PART,
            queue,
            unpacked,
            // The factor 2 covers librdkafka's own overhead per queued record, and a second response that arrives while
            // the queue is drained.
            fetched: 2 * (queue + unpacked) * demand.parts.fetching_sources,
            allocator: shared / 8,
        }
    }

    /// Returns the limits at which a buffer for a sink is full.
    pub(super) fn of_sink(&self, wanted: Limits) -> Limits {
        let (max_bytes, max_items) = (wanted.max_bytes.min(self.bulk), wanted.max_items.min(self.bulk / RESPONSE));
        Limits { max_bytes, max_items, ..wanted }
    }

    /// Returns the sum of all parts, in bytes.
    pub fn total(&self) -> usize {
        self.fixed
            + self.in_flight
            + self.beyond
            + self.bulks
            + self.responses
            + self.pools
            + self.fetched
            + self.allocator
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::ROOMY;

    fn parts() -> Parts {
        Parts {
            sources: 1,
            fetching_sources: 1,
            sinks: 1,
            clients: 2,
            producers: 1,
            largest_record: DEFAULT_RECORD,
            bulk_bytes: 2 * MIB,
        }
    }

    fn demand() -> Demand {
        Demand {
            workers: 1,
            parts: parts(),
            filters: Footprint { shared: 9 * MIB, each_worker: MIB, shared_caches: 30 * MIB, worker_caches: 4 * MIB },
            in_flight: None,
            batch_bytes: 512 * KIB,
        }
    }

    fn demands() -> Vec<Demand> {
        let plain = Demand { filters: Footprint::default(), ..demand() };
        vec![
            Demand { workers: 16, ..demand() },
            Demand {
                parts: Parts { sinks: 5, sources: 3, fetching_sources: 3, clients: 5, producers: 2, ..parts() },
                ..demand()
            },
            Demand { parts: Parts { largest_record: 20 * MIB, ..parts() }, ..plain.clone() },
            Demand { in_flight: Some(300 * MIB), ..demand() },
            Demand { in_flight: Some(64 * KIB), ..demand() },
            Demand { parts: Parts { bulk_bytes: 50 * MIB, ..parts() }, workers: 4, ..demand() },
            Demand { parts: Parts { fetching_sources: 0, clients: 0, producers: 0, ..parts() }, ..plain.clone() },
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
