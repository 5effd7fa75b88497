//! Deterministic simulation of a delivery node. Brokers and cluster are simple bookkeeping and the schedule is derived
//! from a seed; everything between them is production code: batches, workers, buffers, ledger, budget, outcomes.
//!
//! Invariant checked at every commit: every record before a committed offset has been accepted by the cluster, is a
//! durable dead letter, or was dropped on purpose. Invariant checked after every step: memory in use never exceeds the
//! budget by more than one batch, and the number of ranges in the ledger is bounded by the number of live batches. At
//! the end everything is committed, and no memory is in use.
//!
//! A schedule depends on its seed alone: a failure prints the seed, and `LOGPROC_SEED=N` runs that schedule again.
//! `LOGPROC_SCHEDULES` sets the number of seeds.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::batch::{BatchBuilder, NewRecord, RawBatch, RawRecord, Shape};
use super::document::{DocumentBatch, Fate, Limits, Outputs, Rejected};
use super::hub::Hub;
use super::processor::{Processor, Reason, Verdict};
use super::processors::Processors;
use super::shutdown::Shutdown;
use super::worker::{SinkEntry, Way, Worker};
use crate::telemetry::health::Health;

const PARTITIONS: usize = 3;
const SINKS: usize = 2;
/// Limit in bytes, small enough for schedules to reach it.
const IN_FLIGHT_LIMIT: usize = 6_000;
/// Bytes by which one batch may exceed the limit: two reads of nine records from each partition, with their overhead
/// and headroom.
const ONE_BATCH: usize = 2 * PARTITIONS * 9 * (3 * 6 + 2 * size_of::<RawRecord>()) + 2 * size_of::<RawBatch>();
/// Bytes for rejected documents, which are counted when their records are already in flight.
const REFUSED: usize = 6_000;

/// Returns whether the pipeline drops the record at this offset.
fn is_dropped(offset: i64) -> bool {
    offset % 11 == 3
}

fn is_refused(offset: i64) -> bool {
    offset % 13 == 5
}

struct Pipeline;

impl Processor for Pipeline {
    fn process(&mut self, batch: &RawBatch, index: usize, out: &mut Outputs) -> Verdict {
        let offset = batch.records()[index].offset;
        if is_dropped(offset) {
            return Verdict::Dropped("simulated");
        }
        for sink in 0..out.len() {
            let buffer = out.sink(sink);
            let start = buffer.begin();
            buffer.near.extend_from_slice(batch.value(index));
            buffer.end(start);
        }
        if is_refused(offset) { Verdict::DeadLetter(Reason::new("simulated", None, "")) } else { Verdict::Done }
    }
}

/// A simulated process. Dropping it simulates a crash.
struct Node {
    hub: Arc<Hub>,
    worker: Worker,
    sinks: Vec<mpsc::Receiver<DocumentBatch>>,
    letters: mpsc::Receiver<Vec<Rejected>>,
    in_flight: Vec<(usize, DocumentBatch)>,
    waiting_letters: Vec<Rejected>,
    /// Batch that is filled over several reads, as a source does it.
    builder: BatchBuilder,
    read: Vec<Arc<RawBatch>>,
    next: [i64; PARTITIONS],
}

/// The state that survives every process.
#[derive(Default)]
struct World {
    log: [i64; PARTITIONS],
    committed: [i64; PARTITIONS],
    taken: HashSet<(usize, usize, i64)>,
    dead: HashSet<(usize, i64)>,
}

impl World {
    fn has_ended(&self, partition: usize, offset: i64) -> bool {
        let taken = (0..SINKS).all(|sink| self.taken.contains(&(sink, partition, offset)));
        is_dropped(offset) || self.dead.contains(&(partition, offset)) || (taken && !is_refused(offset))
    }
}

fn place(batch: &DocumentBatch, index: usize) -> (usize, i64) {
    let (raw, record) = batch.record(index);
    (raw.origin(record).partition as usize, raw.records()[record].offset)
}

impl Node {
    fn start(world: &World) -> Self {
        let hub = Hub::new("simulation", "1", IN_FLIGHT_LIMIT, Shutdown::new());
        let limits = Limits { max_bytes: 60, max_items: 7, linger: Duration::from_secs(3_600) };
        let (senders, sinks): (Vec<_>, Vec<_>) = (0..SINKS).map(|_| mpsc::channel(10_000)).unzip();
        let (dead_letters, letters) = mpsc::channel(10_000);
        let worker = Worker {
            hub: hub.clone(),
            input: crossbeam_channel::never(),
            number: 0,
            generation: 0,
            processors: Processors::new("1", |_| Box::new(Pipeline)),
            processor: Box::new(Pipeline),
            outputs: Outputs::new(SINKS),
            sinks: senders.into_iter().map(|sender| SinkEntry { way: Way::Task(sender), limits }).collect(),
            dead_letters,
            heartbeat: Health::default().heartbeat("worker"),
            pace: None,
            waiting_since: vec![None; SINKS],
        };
        let mut node = Node {
            hub,
            worker,
            sinks,
            letters,
            in_flight: Vec::new(),
            waiting_letters: Vec::new(),
            builder: BatchBuilder::default(),
            read: Vec::new(),
            next: world.committed,
        };
        (0..PARTITIONS).for_each(|partition| node.assign(world, partition));
        node
    }

    fn assign(&mut self, world: &World, partition: usize) {
        self.hub.ledger().assign("t", partition as i32);
        self.next[partition] = world.committed[partition];
        self.after_rebalance();
    }

    fn revoke(&mut self, partition: usize) {
        self.hub.ledger().revoke("t", partition as i32);
        self.after_rebalance();
    }

    fn after_rebalance(&mut self) {
        self.builder.drop_disowned();
        self.close();
    }

    fn close(&mut self) {
        if !self.builder.is_empty() {
            self.read.push(self.hub.admit(std::mem::take(&mut self.builder)));
        }
    }

    /// Simulates the source: reads at most `most` records from each owned partition, unless the budget is exhausted.
    fn read(&mut self, world: &World, most: i64) {
        if !self.hub.budget.has_room() {
            return;
        }
        for partition in 0..PARTITIONS {
            let Some(origin) = self.hub.ledger().origin("t", partition as i32) else { continue };
            let end = (self.next[partition] + most).min(world.log[partition]);
            for offset in self.next[partition]..end {
                let origin = self.builder.origin("t", partition as i32, || origin.clone());
                let record =
                    NewRecord { origin, offset, timestamp_ms: -1, key: None, value: b"record", shape: Shape::Plain };
                self.builder.push(record, std::iter::empty());
            }
            self.next[partition] = end;
        }
        if most % 2 == 1 || self.builder.len() >= PARTITIONS * 9 {
            self.close();
        }
    }

    fn work(&mut self, which: usize) {
        if !self.read.is_empty() {
            let raw = self.read.swap_remove(which % self.read.len());
            assert!(self.worker.process(&raw).is_ok());
        }
        self.collect();
    }

    fn collect(&mut self) {
        for (sink, receiver) in self.sinks.iter_mut().enumerate() {
            while let Ok(batch) = receiver.try_recv() {
                self.in_flight.push((sink, batch));
            }
        }
        while let Ok(letters) = self.letters.try_recv() {
            self.waiting_letters.extend(letters);
        }
    }

    /// Simulates the cluster's response to one request; `fates` decides about each document.
    fn answer(&mut self, world: &mut World, which: usize, mut fates: impl FnMut() -> u8) {
        if self.in_flight.is_empty() {
            return;
        }
        let (sink, batch) = self.in_flight.swap_remove(which % self.in_flight.len());
        let Some(batch) = batch.drop_disowned() else { return };
        let places: Vec<(usize, i64)> = (0..batch.len()).map(|index| place(&batch, index)).collect();
        if fates() == 0 && batch.len() > 1 {
            let (first, second) = batch.split();
            self.in_flight.extend([(sink, first), (sink, second)]);
            return;
        }
        let (again, rejected) = batch.sort_out(|index| match fates() {
            0 | 1 => Fate::GoesOn(fates() % 2),
            2 => Fate::Rejected(Reason::new("simulated", None, "")),
            // Accepted, but the response is lost: the document is retried all the same.
            3 => {
                world.taken.insert((sink, places[index].0, places[index].1));
                Fate::GoesOn(0)
            }
            _ => {
                world.taken.insert((sink, places[index].0, places[index].1));
                Fate::Done
            }
        });
        self.in_flight.extend(again.into_iter().map(|(_, batch)| (sink, batch)));
        self.waiting_letters.extend(rejected);
    }

    fn write_letters(&mut self, world: &mut World) {
        for rejected in self.waiting_letters.drain(..) {
            rejected.raw.mark_dead(rejected.record);
            let record = rejected.record as usize;
            let partition = rejected.raw.origin(record).partition as usize;
            world.dead.insert((partition, rejected.raw.records()[record].offset));
            rejected.settle();
        }
    }

    fn commit(&mut self, world: &mut World) {
        let commits = self.hub.ledger().committable();
        for commit in commits {
            let partition = commit.partition as usize;
            assert!(commit.offset >= world.committed[partition], "a commit never goes back");
            for offset in world.committed[partition]..commit.offset {
                assert!(world.has_ended(partition, offset), "offset {offset} of partition {partition} has not ended");
            }
            world.committed[partition] = commit.offset;
            self.hub.ledger().requested(&commit);
        }
    }

    fn check_memory(&self) {
        let used = self.hub.budget.used();
        assert!(used <= IN_FLIGHT_LIMIT + ONE_BATCH + REFUSED, "{used} bytes are held");
        let mut alive: HashSet<*const RawBatch> = self.read.iter().map(Arc::as_ptr).collect();
        alive.extend(self.waiting_letters.iter().map(|letter| Arc::as_ptr(&letter.raw)));
        for (_, batch) in &self.in_flight {
            alive.extend((0..batch.len()).map(|index| std::ptr::from_ref(batch.record(index).0)));
        }
        // Batches whose documents are still in a worker's buffers are bounded too: a buffer is sent at seven documents.
        let most = (alive.len() + SINKS * 7) * PARTITIONS * 2;
        let kept = self.hub.ledger().open_in_all();
        assert!(kept <= most, "the ledger keeps {kept} ranges, {most} can be open");
    }

    /// Runs without failures until everything is committed.
    fn settle(&mut self, world: &mut World) {
        for partition in 0..PARTITIONS {
            if self.hub.ledger().origin("t", partition as i32).is_none() {
                self.assign(world, partition);
            }
        }
        let mut idle = 0;
        while world.committed != world.log {
            let before = world.committed;
            self.read(world, 9);
            while !self.read.is_empty() {
                self.work(0);
            }
            assert!(self.worker.flush_all().is_ok());
            self.collect();
            while !self.in_flight.is_empty() {
                self.answer(world, 0, || 9);
            }
            self.write_letters(world);
            self.commit(world);
            self.check_memory();
            // A pass may do no more than free memory, if everything in flight belonged to former assignments.
            idle = if world.committed == before { idle + 1 } else { 0 };
            assert!(idle < 3, "nothing is stuck: {:?}", world.log);
        }
    }
}

/// A generator of pseudo-random numbers (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) as usize
    }

    fn below(&mut self, bound: usize) -> usize {
        self.next() % bound
    }
}

/// Runs one schedule. Returns a digest of its outcome, which must be the same for the same seed.
fn run(seed: u64) -> (usize, [i64; PARTITIONS]) {
    let mut numbers = Numbers(seed);
    let mut world = World::default();
    let mut node = Node::start(&world);
    for _ in 0..numbers.below(200) + 1 {
        let (kind, number) = (numbers.below(20), numbers.next());
        match kind {
            0..=2 => world.log[number % PARTITIONS] += (number % 17) as i64,
            3..=5 => node.read(&world, (number % 9) as i64 + 1),
            6..=9 => node.work(number),
            10..=13 => node.answer(&mut world, number, || numbers.below(10) as u8),
            14 => node.write_letters(&mut world),
            15 | 16 => node.commit(&mut world),
            17 => node.revoke(number % PARTITIONS),
            18 => {
                let partition = number % PARTITIONS;
                let gone = node.hub.ledger().origin("t", partition as i32).is_none();
                if gone {
                    node.assign(&world, partition);
                }
            }
            _ if number.is_multiple_of(4) => node = Node::start(&world),
            _ => {}
        }
        node.check_memory();
    }
    node.settle(&mut world);
    assert_eq!(node.hub.ledger().open_in_all(), 0);
    assert_eq!(node.hub.budget.used(), 0, "every byte was given back");
    (world.taken.len() * 1_000 + world.dead.len(), world.committed)
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

#[test]
fn no_schedule_loses_a_record() {
    if let Some(seed) = number_from("LOGPROC_SEED") {
        run(seed);
        return;
    }
    let schedules = number_from("LOGPROC_SCHEDULES").unwrap_or(5_000);
    let began = std::time::Instant::now();
    for seed in 0..schedules {
        let outcome = std::panic::catch_unwind(|| run(seed));
        assert!(outcome.is_ok(), "the schedule of LOGPROC_SEED={seed} breaks the law that is named above");
    }
    println!("{schedules} schedules, {:.0} a second", schedules as f64 / began.elapsed().as_secs_f64());
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..100 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
