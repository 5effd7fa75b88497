//! The position of each assigned partition: the next expected offset, and the decision about each record that arrives.
//!
//! librdkafka's own position is not trusted. A pause, a seek or a rebalance makes what is queued outdated, and
//! librdkafka 2.12 lets an outdated transaction marker move its position past records that were never delivered
//! (`docs/librdkafka-outdated-markers.md`). So the source tracks positions itself, and seeks to them after each
//! assignment, rebalance and error.
//!
//! Offsets without a record are normal: transaction markers, aborted records, records removed by compaction or
//! retention. A gap is accepted if a second fetch from the expected offset, with nothing older in any queue, also
//! starts behind it. The first gap after each assignment, rebalance, seek or error is always checked in this way, and
//! so is every other gap while the checks take less than a twentieth of the time. The remaining gaps are accepted as
//! part of a sequence that started at a confirmed position: one uninterrupted series of fetches, each of which starts
//! where the previous one ended.
//!
//! Plain data: no I/O, no clock, no Kafka.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::delivery::Origin;

/// Pause between checks of gaps in a sequence, as a multiple of the last check's duration.
const SPARSENESS: u32 = 20;
/// Minimum pause between such checks: each check discards what was prefetched of one partition.
const LEAST_PAUSE: Duration = Duration::from_millis(250);
/// Delay before a partition is fetched again after a fetch error.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// The reasons for gaps, as labels of `logproc_offset_gaps_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GapReason {
    /// A second fetch started behind the gap as well.
    Confirmed,
    /// The gap is part of a sequence of fetches that started at a confirmed position.
    InSequence,
    /// The partition starts at a later offset: retention or a request has deleted what was there.
    Deleted,
    /// A second fetch returned records that the first one had omitted; they were read.
    Skipped,
}

impl GapReason {
    pub(super) const ALL: [GapReason; 4] =
        [GapReason::Confirmed, GapReason::InSequence, GapReason::Deleted, GapReason::Skipped];

    /// Returns the metric label.
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
    /// The record is the next one; the offsets between `from` and its own have no record.
    Accept {
        /// One past the last accepted record.
        from: i64,
    },
    /// The record is ignored: its partition has no position yet, or it was read before.
    Ignore,
    /// The record is ignored, and the partition must be fetched again from the expected offset first.
    Check,
}

/// A gap that is being checked by a second fetch.
#[derive(Clone, Copy, Debug)]
struct Check {
    /// Offset that arrived instead of the expected one.
    found: i64,
    since: Instant,
    /// Set if a fetch of the partition has failed meanwhile.
    failed: bool,
}

/// The position of one assigned partition.
#[derive(Debug)]
struct Position {
    origin: Origin,
    /// The expected offset, once the start of the partition is known.
    next: Option<i64>,
    /// One past the last accepted record, or the start of reading. The offsets from here to `next` have no record.
    read_to: i64,
    /// Time at which to seek to `next`. Records that arrive before the seek are ignored.
    seek_at: Option<Instant>,
    /// Set if the next gap is the first one since an assignment, a seek or an error.
    unconfirmed: bool,
    check: Option<Check>,
}

/// The positions of all partitions that have been assigned.
#[derive(Debug, Default)]
pub(super) struct Positions {
    list: Vec<Position>,
    by_name: HashMap<Arc<str>, HashMap<i32, usize>>,
    /// Number of gaps by reason, since they were last taken.
    gaps: [u64; GapReason::ALL.len()],
    /// Index of the partition in which a second fetch has found an omitted record, and the offset of that record.
    skipped: Option<(usize, i64)>,
    /// Earliest time of the next check of a gap in a sequence.
    next_check: Option<Instant>,
}

impl Positions {
    /// Adds an assigned partition with its new origin. Nothing is read of it before [`begin`](Self::begin).
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

    /// Returns the index of a partition that has been assigned.
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

    /// Returns whether an assigned partition waits for its start or for a seek.
    pub(super) fn waits(&self) -> bool {
        self.list
            .iter()
            .any(|position| position.origin.is_owned() && (position.next.is_none() || position.seek_at.is_some()))
    }

    /// Sets the start of a partition.
    pub(super) fn begin(&mut self, index: usize, origin: Origin, start: i64, now: Instant) {
        self.list[index] =
            Position { origin, next: Some(start), read_to: start, seek_at: Some(now), unconfirmed: true, check: None };
    }

    /// Resets the position of a partition until it is started again.
    pub(super) fn suspend(&mut self, index: usize) {
        let position = &mut self.list[index];
        (position.next, position.seek_at, position.check) = (None, None, None);
    }

    /// Handles a possible change of librdkafka's position: what is queued may be outdated.
    pub(super) fn interrupt(&mut self, index: usize, now: Instant) {
        let position = &mut self.list[index];
        position.unconfirmed = true;
        if position.next.is_some() {
            position.seek_at = Some(position.seek_at.map_or(now, |at| at.min(now)));
        }
    }

    /// Skips a record that can't be accepted now. It has left librdkafka's queue, so the partition is fetched again
    /// from the expected offset.
    pub(super) fn pass_over(&mut self, index: usize, now: Instant) -> Take {
        self.interrupt(index, now);
        Take::Ignore
    }

    /// Returns the owned partitions whose seek is due, each with its expected offset.
    pub(super) fn seeks(&self, now: Instant) -> Vec<(usize, i64)> {
        let due = self
            .list
            .iter()
            .enumerate()
            .filter(|(_, position)| position.origin.is_owned() && position.seek_at.is_some_and(|at| at <= now));
        due.filter_map(|(index, position)| Some((index, position.next?))).collect()
    }

    /// Records that a seek was done (`None`), or the time at which to retry it.
    pub(super) fn sought(&mut self, index: usize, again_at: Option<Instant>) {
        self.list[index].seek_at = again_at;
    }

    /// Decides about a record, or about an offset up to which a partition has been read. Moves the position past the
    /// gap before it if the gap is accepted.
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
            // The fetch started at another offset than before, so it is repeated until two fetches start at the same
            // one.
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

    /// Records that all records of a partition before `next` have been accepted.
    pub(super) fn advance(&mut self, index: usize, next: i64) {
        let position = &mut self.list[index];
        (position.next, position.read_to) = (Some(next), next);
    }

    /// Handles the deletion of the offsets before `first`, which ends a check in progress. Returns the number of
    /// deleted offsets.
    pub(super) fn deleted_before(&mut self, index: usize, first: i64, now: Instant) -> i64 {
        let position = &mut self.list[index];
        let Some(next) = position.next.filter(|next| *next < first) else { return 0 };
        position.next = Some(first);
        position.check = None;
        position.seek_at = Some(now);
        self.gaps[GapReason::Deleted as usize] += 1;
        first - next
    }

    /// Handles a fetch error of a partition: the next record may be behind records that were not fetched.
    pub(super) fn failed(&mut self, index: usize) {
        let position = &mut self.list[index];
        position.unconfirmed = true;
        if let Some(check) = &mut position.check {
            check.failed = true;
        }
    }

    /// Returns the offsets of a gap that is being checked: the expected one, and the one that arrived.
    pub(super) fn checked(&self, index: usize) -> Option<(i64, i64)> {
        let position = &self.list[index];
        Some((position.next?, position.check?.found))
    }

    /// Returns, once, a partition in which a second fetch has found an omitted record, with the record's offset.
    pub(super) fn take_skipped(&mut self) -> Option<(usize, i64)> {
        self.skipped.take()
    }

    /// Returns the number of gaps since the last call, by reason.
    pub(super) fn take_gaps(&mut self) -> [u64; GapReason::ALL.len()] {
        std::mem::take(&mut self.gaps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a partition that is read from offset 5 on, and the current time.
    fn reading() -> (Positions, Instant) {
        let mut positions = Positions::default();
        let now = Instant::now();
        let index = positions.assign(Origin::detached("t", 0));
        assert_eq!(
            positions.reach(index, 7, || now),
            Take::Ignore,
            "nothing is read before it is known where to begin"
        );
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
        for (offset, expected) in [
            (5, Take::Accept { from: 5 }),
            (6, Take::Accept { from: 6 }),
            (5, Take::Ignore),
            (7, Take::Accept { from: 7 }),
        ] {
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
        for interrupt in
            [Positions::interrupt as fn(&mut Positions, usize, Instant), |positions, index, _| positions.failed(index)]
        {
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
