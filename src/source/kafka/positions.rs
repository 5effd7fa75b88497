//! The position of each assigned partition: the offset that is expected next, and the decision about each record that comes.
//!
//! librdkafka's own position is not trusted. A pause, a seek or a rebalance makes what is queued outdated, and librdkafka 2.12 lets an
//! outdated transaction marker move its position past records that nobody has received (`docs/librdkafka-outdated-markers.md`).
//! So the source keeps positions of its own, and reading is told to go on there after each assignment, rebalance and error (a seek).
//!
//! Offsets without a record are normal: transaction markers, aborted records, what compaction or retention has removed. A gap is accepted
//! when a fetch from the expected offset, with nothing older in any queue, begins beyond it once more. The first gap after each
//! assignment, rebalance, seek or error is always asked about again, and so is every other one while that costs less than a
//! twentieth of the time. The rest is accepted as part of a sequence that began at a confirmed position: one uninterrupted series of
//! fetches, each of which begins where the one before it ended.
//!
//! Plain data: no I/O, no clock, no Kafka.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::delivery::Origin;

/// A pause of this many times the last check's length is kept between checks of gaps in a sequence.
const SPARSENESS: u32 = 20;
/// The least pause between such checks: each throws away what was fetched ahead of one partition.
const LEAST_PAUSE: Duration = Duration::from_millis(250);
/// How long a partition stays where it is after its records could not be fetched, before they are asked for again.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// The reasons for gaps, as labels of `logproc_offset_gaps_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GapReason {
    /// A second fetch began beyond the gap as well.
    Confirmed,
    /// Part of a sequence of fetches that began at a confirmed position.
    InSequence,
    /// The partition begins later: retention or a request has deleted what was there.
    Deleted,
    /// A second fetch found records that the first one had left out; they were read.
    Skipped,
}

impl GapReason {
    pub(super) const ALL: [GapReason; 4] = [GapReason::Confirmed, GapReason::InSequence, GapReason::Deleted, GapReason::Skipped];

    /// Returns the label.
    pub(super) fn label(self) -> &'static str {
        match self {
            GapReason::Confirmed => "confirmed",
            GapReason::InSequence => "in_sequence",
            GapReason::Deleted => "deleted",
            GapReason::Skipped => "skipped",
        }
    }
}

/// The decision about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// It is the next one; the offsets from here to its own have no record.
    Accept {
        /// One past the last record that was accepted.
        from: i64,
    },
    /// It is not read now: its partition has no position yet, or it was read before.
    Ignore,
    /// It is not read now: the partition is to be read from the expected offset again first.
    Check,
}

/// A gap that is being looked at again.
#[derive(Clone, Copy, Debug)]
struct Check {
    /// The offset that came in place of the expected one.
    found: i64,
    since: Instant,
    /// Records of the partition could not be fetched meanwhile.
    failed: bool,
}

/// One assigned partition.
#[derive(Debug)]
struct Position {
    origin: Origin,
    /// The expected offset, once it is known where reading begins.
    next: Option<i64>,
    /// One past the last record that was accepted, or where reading began. Offsets from here to the expected one have no record.
    read_to: i64,
    /// When reading is to be told to go on at `next`; records that come before that are ignored.
    seek_at: Option<Instant>,
    /// The next gap is the first one since an assignment, a seek or an error.
    unconfirmed: bool,
    check: Option<Check>,
}

/// The positions of all partitions that have been assigned.
#[derive(Debug, Default)]
pub(super) struct Positions {
    list: Vec<Position>,
    by_name: HashMap<Arc<str>, HashMap<i32, usize>>,
    /// Gaps since they were last taken, by reason.
    gaps: [u64; GapReason::ALL.len()],
    /// The partition in which a second look has found a record, and the offset of that.
    skipped: Option<(usize, i64)>,
    /// The earliest time of the next check of a gap in a sequence.
    next_check: Option<Instant>,
}

impl Positions {
    /// Notes that a partition is assigned, with its new origin; nothing is read of it before [`begin`](Self::begin).
    pub(super) fn assign(&mut self, origin: Origin) -> usize {
        let position = Position { next: None, read_to: 0, seek_at: None, unconfirmed: true, check: None, origin };
        let (topic, partition) = (position.origin.topic.clone(), position.origin.partition);
        match self.find(&topic, partition) {
            Some(index) => {
                self.list[index] = position;
                index
            }
            None => {
                self.list.push(position);
                self.by_name.entry(topic).or_default().insert(partition, self.list.len() - 1);
                self.list.len() - 1
            }
        }
    }

    /// Returns the number of a partition that has been assigned.
    pub(super) fn find(&self, topic: &str, partition: i32) -> Option<usize> {
        self.by_name.get(topic)?.get(&partition).copied()
    }

    /// Returns the origin of a partition's records.
    pub(super) fn origin(&self, index: usize) -> &Origin {
        &self.list[index].origin
    }

    /// Returns the expected offset of a partition.
    pub(super) fn next(&self, index: usize) -> Option<i64> {
        self.list[index].next
    }

    /// Returns whether an assigned partition waits for its beginning.
    pub(super) fn waits(&self) -> bool {
        self.list.iter().any(|position| position.origin.is_owned() && (position.next.is_none() || position.seek_at.is_some()))
    }

    /// Notes where reading of a partition begins.
    pub(super) fn begin(&mut self, index: usize, origin: Origin, start: i64, now: Instant) {
        self.list[index] = Position { origin, next: Some(start), read_to: start, seek_at: Some(now), unconfirmed: true, check: None };
    }

    /// Forgets where a partition is read, until it begins again.
    pub(super) fn suspend(&mut self, index: usize) {
        let position = &mut self.list[index];
        (position.next, position.seek_at, position.check) = (None, None, None);
    }

    /// Notes that librdkafka may go on elsewhere: what is queued may be outdated.
    pub(super) fn interrupt(&mut self, index: usize, now: Instant) {
        let position = &mut self.list[index];
        position.unconfirmed = true;
        if position.next.is_some() {
            position.seek_at = Some(position.seek_at.map_or(now, |at| at.min(now)));
        }
    }

    /// Passes over a record that can't be taken now. It has left librdkafka's queue, so reading goes on at the expected offset again.
    pub(super) fn pass_over(&mut self, index: usize, now: Instant) -> Take {
        self.interrupt(index, now);
        Take::Ignore
    }

    /// Returns the partitions that are to be read from their expected offset now, with that offset.
    pub(super) fn seeks(&self, now: Instant) -> Vec<(usize, i64)> {
        let due = self.list.iter().enumerate().filter(|(_, position)| position.origin.is_owned() && position.seek_at.is_some_and(|at| at <= now));
        due.filter_map(|(index, position)| Some((index, position.next?))).collect()
    }

    /// Notes that a partition is read from its expected offset, or when that is to be tried again.
    pub(super) fn sought(&mut self, index: usize, again_at: Option<Instant>) {
        self.list[index].seek_at = again_at;
    }

    /// Decides about a record, or about an offset that a partition has been read up to, and moves past the gap before it when that is
    /// accepted.
    pub(super) fn reach(&mut self, index: usize, offset: i64, now: impl Fn() -> Instant) -> Take {
        let position = &mut self.list[index];
        let Some(next) = position.next.filter(|_| position.seek_at.is_none()) else { return Take::Ignore };
        if offset == next && position.check.is_none() {
            position.unconfirmed = false;
            return Take::Accept { from: position.read_to };
        }
        if offset < next {
            return Take::Ignore;
        }
        let now = now();
        let reason = match position.check.take() {
            Some(check) if offset < check.found => {
                self.next_check = Some(now + LEAST_PAUSE);
                GapReason::Skipped
            }
            Some(check) if check.failed => {
                position.check = Some(Check { failed: false, ..check });
                position.seek_at = Some(now + AFTER_ERROR);
                return Take::Check;
            }
            Some(check) if offset == check.found => {
                self.next_check = Some(now + LEAST_PAUSE.max(now.saturating_duration_since(check.since) * SPARSENESS));
                GapReason::Confirmed
            }
            // What had come before is gone by now, so it is asked for until the same answer comes twice.
            Some(check) => {
                position.check = Some(Check { found: offset, ..check });
                position.seek_at = Some(now);
                return Take::Check;
            }
            None if position.unconfirmed || self.next_check.is_none_or(|at| at <= now) => {
                position.check = Some(Check { found: offset, since: now, failed: false });
                position.seek_at = Some(now);
                return Take::Check;
            }
            None => GapReason::InSequence,
        };
        let from = position.read_to;
        position.unconfirmed = false;
        position.next = Some(offset);
        self.gaps[reason as usize] += 1;
        if reason == GapReason::Skipped {
            self.skipped = Some((index, offset));
        }
        Take::Accept { from }
    }

    /// Notes that the records of a partition before this offset have been accepted.
    pub(super) fn advance(&mut self, index: usize, next: i64) {
        let position = &mut self.list[index];
        (position.next, position.read_to) = (Some(next), next);
    }

    /// Notes that a partition begins later than the expected offset, which ends what is being looked at again. Returns how many offsets
    /// are gone.
    pub(super) fn deleted_before(&mut self, index: usize, first: i64, now: Instant) -> i64 {
        let position = &mut self.list[index];
        let Some(next) = position.next.filter(|next| *next < first) else { return 0 };
        position.next = Some(first);
        position.check = None;
        position.seek_at = Some(now);
        self.gaps[GapReason::Deleted as usize] += 1;
        first - next
    }

    /// Notes that records of a partition could not be fetched: what comes next may lie behind others.
    pub(super) fn failed(&mut self, index: usize) {
        let position = &mut self.list[index];
        position.unconfirmed = true;
        if let Some(check) = &mut position.check {
            check.failed = true;
        }
    }

    /// Returns the offsets of a partition that are being looked at again: the expected one, and the one that came.
    pub(super) fn checked(&self, index: usize) -> Option<(i64, i64)> {
        let position = &self.list[index];
        Some((position.next?, position.check?.found))
    }

    /// Returns a partition in which a second look has found a record that the first had left out, with its offset, once.
    pub(super) fn take_skipped(&mut self) -> Option<(usize, i64)> {
        self.skipped.take()
    }

    /// Returns how many gaps there have been since the last call, by reason.
    pub(super) fn take_gaps(&mut self) -> [u64; GapReason::ALL.len()] {
        std::mem::take(&mut self.gaps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A partition that is read from offset 5 on, and the time.
    fn reading() -> (Positions, Instant) {
        let mut positions = Positions::default();
        let now = Instant::now();
        let index = positions.assign(Origin::detached("t", 0));
        assert_eq!(positions.reach(index, 7, || now), Take::Ignore, "nothing is read before it is known where to begin");
        positions.begin(index, Origin::detached("t", 0), 5, now);
        assert_eq!(positions.reach(index, 9, || now), Take::Ignore, "what comes before the seek may be outdated");
        assert_eq!(positions.seeks(now), [(0, 5)]);
        positions.sought(index, None);
        (positions, now)
    }

    fn read(positions: &mut Positions, offset: i64, now: Instant) -> Take {
        let take = positions.reach(0, offset, || now);
        if matches!(take, Take::Accept { .. }) {
            positions.advance(0, offset + 1);
        }
        take
    }

    #[test]
    fn records_in_order_are_accepted_and_repeated_ones_ignored() {
        let (mut positions, now) = reading();
        for (offset, expected) in [(5, Take::Accept { from: 5 }), (6, Take::Accept { from: 6 }), (5, Take::Ignore), (7, Take::Accept { from: 7 })] {
            assert_eq!(read(&mut positions, offset, now), expected, "{offset}");
        }
        assert_eq!(positions.take_gaps(), [0; 4]);
    }

    #[test]
    fn a_first_gap_is_accepted_when_the_second_look_says_the_same() {
        let (mut positions, now) = reading();
        assert_eq!(read(&mut positions, 11, now), Take::Check);
        assert_eq!((positions.seeks(now), positions.checked(0)), (vec![(0, 5)], Some((5, 11))));
        assert_eq!(read(&mut positions, 12, now), Take::Ignore, "it is older than the second look");
        positions.sought(0, None);
        assert_eq!(read(&mut positions, 11, now), Take::Accept { from: 5 });
        assert_eq!(read(&mut positions, 12, now), Take::Accept { from: 12 });
        assert_eq!(positions.take_gaps(), [1, 0, 0, 0]);
    }

    #[test]
    fn records_that_the_second_look_finds_are_read() {
        let (mut positions, now) = reading();
        assert_eq!(read(&mut positions, 11, now), Take::Check);
        positions.sought(0, None);
        assert_eq!(read(&mut positions, 5, now), Take::Accept { from: 5 });
        assert_eq!(read(&mut positions, 6, now), Take::Accept { from: 6 });
        assert_eq!((positions.take_gaps(), positions.take_skipped()), ([0, 0, 0, 1], Some((0, 5))));
        let (mut positions, now) = reading();
        assert_eq!(read(&mut positions, 11, now), Take::Check);
        positions.sought(0, None);
        assert_eq!(read(&mut positions, 7, now), Take::Accept { from: 5 });
        assert_eq!(positions.take_gaps(), [0, 0, 0, 1]);
    }

    #[test]
    fn what_came_and_is_gone_at_the_second_look_is_asked_for_once_more() {
        let (mut positions, now) = reading();
        for found in [11, 14, 14] {
            if positions.checked(0) == Some((5, 14)) {
                break;
            }
            assert_eq!(read(&mut positions, found, now), Take::Check);
            positions.sought(0, None);
        }
        assert_eq!(read(&mut positions, 14, now), Take::Accept { from: 5 });
    }

    #[test]
    fn gaps_in_a_sequence_are_looked_at_again_a_part_of_the_time() {
        let (mut positions, now) = reading();
        read(&mut positions, 5, now);
        assert_eq!(read(&mut positions, 7, now), Take::Check, "one is due at first");
        positions.sought(0, None);
        let later = now + Duration::from_millis(100);
        assert_eq!(read(&mut positions, 7, later), Take::Accept { from: 6 });
        assert_eq!(read(&mut positions, 9, later), Take::Accept { from: 8 });
        let due = later + Duration::from_millis(100) * SPARSENESS;
        assert_eq!(read(&mut positions, 11, due), Take::Check);
        assert_eq!(positions.take_gaps(), [1, 1, 0, 0]);
    }

    #[test]
    fn after_an_interruption_the_next_gap_is_looked_at_again() {
        let (mut positions, now) = reading();
        read(&mut positions, 6, now);
        positions.sought(0, None);
        read(&mut positions, 6, now);
        for interrupt in [Positions::interrupt as fn(&mut Positions, usize, Instant), |positions, index, _| positions.failed(index)] {
            interrupt(&mut positions, 0, now);
            positions.sought(0, None);
            let next = positions.next(0).unwrap();
            assert_eq!(read(&mut positions, next + 3, now), Take::Check);
            positions.sought(0, None);
            assert_eq!(read(&mut positions, next + 3, now), Take::Accept { from: next });
        }
    }

    #[test]
    fn a_gap_is_not_accepted_while_records_can_not_be_fetched() {
        let (mut positions, now) = reading();
        positions.failed(0);
        assert_eq!(read(&mut positions, 20, now), Take::Check);
        for _ in 0..3 {
            positions.sought(0, None);
            positions.failed(0);
            assert_eq!(read(&mut positions, 20, now), Take::Check);
            assert_eq!(positions.seeks(now), [], "it is asked for again after a pause");
            assert_eq!(positions.seeks(now + AFTER_ERROR), [(0, 5)]);
        }
        positions.sought(0, None);
        assert_eq!(read(&mut positions, 5, now), Take::Accept { from: 5 });
    }

    #[test]
    fn a_partition_that_begins_later_is_read_from_there() {
        let (mut positions, now) = reading();
        assert_eq!(read(&mut positions, 40, now), Take::Check);
        assert_eq!(positions.deleted_before(0, 40, now), 35);
        positions.sought(0, None);
        assert_eq!(read(&mut positions, 40, now), Take::Accept { from: 5 }, "the ledger gets the whole span");
        assert_eq!(positions.take_gaps(), [0, 0, 1, 0]);
    }

    #[test]
    fn an_end_that_was_reached_is_part_of_the_next_span() {
        let (mut positions, now) = reading();
        read(&mut positions, 5, now);
        for take in [Take::Check, Take::Accept { from: 6 }] {
            assert_eq!(positions.reach(0, 9, || now), take);
            positions.sought(0, None);
        }
        assert_eq!(read(&mut positions, 9, now), Take::Accept { from: 6 });
        assert_eq!(read(&mut positions, 10, now), Take::Accept { from: 10 });
    }
}
