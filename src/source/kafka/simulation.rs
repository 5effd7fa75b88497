//! Simulation of one partition as librdkafka reads it: versions, queue, pauses, transaction markers and positions,
//! including the known fault.
//!
//! The model follows librdkafka 2.12. A pause, a resume and a seek each create a new version; what was fetched under an
//! older one is outdated. A pause stores the application's position as the next offset to fetch. A response that is
//! being parsed meanwhile still enters the queue. When the queue is served, outdated records are dropped, but an
//! outdated marker moves the application's position.
//!
//! Invariant: every record that a `read_committed` reader must see is accepted once, in order, and the ledger may
//! commit up to the end. A schedule depends on its seed alone; `LOGPROC_SCHEDULES` sets the number of seeds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::positions::{Positions, Take};
use crate::delivery::Span;
use crate::delivery::ledger::Ledger;

/// The content of one offset of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Record,
    /// A transaction marker, which enters the queue and is not returned to the application.
    Marker,
    /// An aborted record, or one removed by compaction: it never enters the queue.
    Absent,
}

#[derive(Clone, Copy, Debug)]
struct Op {
    version: u32,
    offset: i64,
    entry: Entry,
}

/// A partition, and librdkafka's state in reading it.
struct Client {
    log: Vec<Entry>,
    version: u32,
    next_fetch: i64,
    /// The application's position; `None` after a seek.
    app_position: Option<i64>,
    is_paused: bool,
    /// The fetch response in flight.
    response: VecDeque<Op>,
    queue: VecDeque<Op>,
}

impl Client {
    fn fetch(&mut self, most: usize) {
        if self.is_paused || !self.response.is_empty() {
            return;
        }
        let start = self.next_fetch as usize;
        let end = (start + most).min(self.log.len());
        let ops = (start..end).filter(|offset| self.log[*offset] != Entry::Absent);
        self.response =
            ops.map(|offset| Op { version: self.version, offset: offset as i64, entry: self.log[offset] }).collect();
        self.next_fetch = end as i64;
    }

    /// Delivers the response. One of an older version is dropped, unless it was being parsed when the version changed.
    fn arrive(&mut self, is_being_parsed: bool) {
        let is_current = self.response.front().is_none_or(|op| op.version == self.version);
        if is_current || is_being_parsed {
            self.queue.append(&mut self.response);
        }
        self.response.clear();
    }

    fn pause(&mut self) {
        self.version += 1;
        self.is_paused = true;
        if let Some(position) = self.app_position {
            self.next_fetch = position;
        }
        self.queue.clear();
    }

    fn resume(&mut self) {
        self.version += 1;
        self.is_paused = false;
    }

    fn seek(&mut self, offset: i64) {
        self.version += 1;
        self.app_position = None;
        self.next_fetch = offset;
    }

    /// Takes the next record that librdkafka returns to the application from the queue.
    fn serve(&mut self) -> Option<i64> {
        while let Some(op) = self.queue.pop_front() {
            if op.entry == Entry::Marker {
                self.app_position = Some(op.offset + 1);
            } else if op.version == self.version {
                self.app_position = Some(op.offset + 1);
                return Some(op.offset);
            }
        }
        None
    }
}

/// A reader of librdkafka's records.
trait Reader {
    fn interrupt(&mut self, now: Instant);
    fn attend(&mut self, client: &mut Client, now: Instant);
    fn record(&mut self, offset: i64, now: Instant);
    /// Skips a record that can't be accepted now, because another topic may have replaced this one.
    fn pass_over(&mut self, offset: i64, now: Instant);
    fn accepted(&self) -> &[i64];
}

/// A reader that trusts librdkafka's positions.
#[derive(Default)]
struct Believing(Vec<i64>);

impl Reader for Believing {
    fn interrupt(&mut self, _: Instant) {}
    fn attend(&mut self, _: &mut Client, _: Instant) {}

    fn record(&mut self, offset: i64, _: Instant) {
        self.0.push(offset);
    }

    fn pass_over(&mut self, offset: i64, now: Instant) {
        self.record(offset, now);
    }

    fn accepted(&self) -> &[i64] {
        &self.0
    }
}

/// A reader with its own positions and a ledger.
struct Own {
    positions: Positions,
    ledger: Ledger,
    accepted: Vec<i64>,
}

impl Own {
    fn new(now: Instant) -> Own {
        let (mut positions, mut ledger) = (Positions::default(), Ledger::default());
        let index = positions.assign(ledger.assign("t", 0));
        let origin = ledger.begin("t", 0, 0, None).unwrap();
        positions.begin(index, origin, 0, now);
        Own { positions, ledger, accepted: Vec::new() }
    }
}

impl Reader for Own {
    fn interrupt(&mut self, now: Instant) {
        self.positions.interrupt(0, now);
    }

    fn attend(&mut self, client: &mut Client, now: Instant) {
        for (index, offset) in self.positions.seeks(now) {
            client.seek(offset);
            self.positions.sought(index, None);
        }
    }

    fn record(&mut self, offset: i64, now: Instant) {
        if let Take::Accept { from } = self.positions.reach(0, offset, || now) {
            self.positions.advance(0, offset + 1);
            let origin = self.positions.origin(0).clone();
            let ticket = self.ledger.deliver(&origin, Span { start: Some(from), end: offset + 1 }, 0).unwrap();
            self.ledger.complete(ticket);
            self.accepted.push(offset);
        }
    }

    fn pass_over(&mut self, _: i64, now: Instant) {
        assert_eq!(self.positions.pass_over(0, now), Take::Ignore);
    }

    fn accepted(&self) -> &[i64] {
        &self.accepted
    }
}

/// A generator of pseudo-random numbers (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Returns a log with short transactions, some of them aborted, and records that compaction has removed.
fn log(numbers: &mut Numbers) -> Vec<Entry> {
    let mut log = Vec::new();
    for _ in 0..numbers.below(12) + 2 {
        let is_aborted = numbers.below(5) < 2;
        for _ in 0..numbers.below(8) {
            log.push(if is_aborted || numbers.below(9) == 0 { Entry::Absent } else { Entry::Record });
        }
        log.push(if numbers.below(4) > 0 { Entry::Marker } else { Entry::Record });
    }
    log.push(Entry::Record);
    log
}

/// Runs one schedule. Returns whether every record was accepted once, in order.
fn run(seed: u64, reader: &mut dyn Reader, start: Instant) -> bool {
    let mut numbers = Numbers(seed);
    let mut now = start;
    let log = log(&mut numbers);
    let expected: Vec<i64> =
        (0..).zip(&log).filter(|(_, entry)| **entry == Entry::Record).map(|(offset, _)| offset).collect();
    let (response, queue) = Default::default();
    let mut client = Client { log, version: 1, next_fetch: 0, app_position: None, is_paused: false, response, queue };
    for _ in 0..numbers.below(120) {
        now += Duration::from_millis(numbers.below(400));
        match numbers.below(10) {
            0..=2 => client.fetch(numbers.below(12) as usize + 1),
            3 | 4 => client.arrive(numbers.below(2) == 0),
            // A rebalance pauses partitions and resumes them.
            5 => {
                client.pause();
                if numbers.below(3) == 0 {
                    client.arrive(true);
                }
                client.resume();
                reader.interrupt(now);
            }
            6 => reader.attend(&mut client, now),
            _ => {
                for _ in 0..numbers.below(6) {
                    if let Some(offset) = client.serve() {
                        match numbers.below(12) {
                            0 => reader.pass_over(offset, now),
                            _ => reader.record(offset, now),
                        }
                        reader.attend(&mut client, now);
                    }
                }
            }
        }
    }
    // No failures from here on.
    for _ in 0..200 {
        now += Duration::from_secs(1);
        reader.attend(&mut client, now);
        client.fetch(50);
        client.arrive(false);
        while let Some(offset) = client.serve() {
            reader.record(offset, now);
            reader.attend(&mut client, now);
        }
    }
    reader.accepted() == expected
}

#[test]
fn no_schedule_of_the_client_skips_or_repeats_a_record() {
    let schedules = std::env::var("LOGPROC_SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(5_000);
    let now = Instant::now();
    for seed in 0..schedules {
        let mut reader = Own::new(now);
        assert!(run(seed, &mut reader, now), "seed {seed} skips or repeats a record: {:?}", reader.accepted);
        let end = reader.accepted.last().map(|last| last + 1);
        assert_eq!(reader.ledger.committable_of("t", 0).map(|commit| commit.offset), end, "seed {seed}");
    }
}

/// The model contains the fault: a reader that trusts librdkafka's positions loses records.
#[test]
fn a_reader_that_believes_the_client_skips_records() {
    let now = Instant::now();
    let skipped = (0..500).filter(|seed| {
        let mut reader = Believing::default();
        run(*seed, &mut reader, now);
        let mut complete = Own::new(now);
        run(*seed, &mut complete, now);
        complete.accepted.iter().any(|offset| !reader.0.contains(offset))
    });
    assert!(skipped.count() > 0);
}
