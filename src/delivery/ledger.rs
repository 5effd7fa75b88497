//! Bookkeeping of the offsets that have been read and completed, and of the offset up to which each partition may be
//! committed.
//!
//! The ledger is plain data: no I/O, no clock, no Kafka. Each partition has an ordered queue of ranges, one for every
//! batch with records of that partition. A range is done when each of its records is acknowledged, dead-lettered or
//! dropped on purpose; the end of the done prefix may be committed. Adjacent done ranges are merged, so that the size
//! of the queue is bounded by the number of open ranges, however long the oldest record takes. Every assignment of a
//! partition has a generation: an outcome of an earlier generation changes nothing.
//!
//! If a source reports where reading began, ranges must be contiguous. Offsets without a record (transaction markers,
//! aborted records, records removed by compaction) belong to a range only if the source has verified them. An
//! unexplained gap stops the commits of the partition.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::batch::{Lease, Origin, Span};
use super::tally::Tally;

/// A handle of one range of one partition, returned to the ledger when the range is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    slot: usize,
    generation: u64,
    sequence: u64,
}

impl Ticket {
    /// A ticket without a range: completing it changes nothing.
    pub(crate) const WORTHLESS: Ticket = Ticket { slot: usize::MAX, generation: 0, sequence: 0 };
}

/// A gap in the offsets: a range that does not start where the previous one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("offset {expected} was expected, and {found} came")]
pub struct Gap {
    /// Offset at which the range should have started.
    pub expected: i64,
    /// Offset at which the range started.
    pub found: i64,
}

/// An offset that may be committed, because all records before it have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// Offset of the next record to read.
    pub offset: i64,
    /// Outcomes of the records before the offset since the partition was assigned, where outcomes are counted.
    pub tally: Tally,
}

#[derive(Debug)]
struct Range {
    end: i64,
    done: bool,
    delivered_ms: u64,
    tally: Tally,
}

#[derive(Debug)]
struct Slot {
    origin: Origin,
    lease: Lease,
    assigned: bool,
    generation: u64,
    /// Sequence number of the next range.
    next: u64,
    /// The open ranges, and the done ranges behind an open one. No two adjacent ranges are both done.
    ranges: BTreeMap<u64, Range>,
    /// One past the last offset that was delivered, if the source has reported where reading began.
    read_to: Option<i64>,
    /// Set by an unexplained gap, until the partition is assigned again or its reading begins again.
    broken: bool,
    done_to: Option<i64>,
    /// Outcomes of the records before `done_to`.
    tally: Tally,
    requested: Option<i64>,
}

/// The ledger of one source.
#[derive(Debug, Default)]
pub struct Ledger {
    slots: Vec<Slot>,
    by_name: HashMap<Arc<str>, HashMap<i32, usize>>,
}

impl Ledger {
    /// Adds an assigned partition, with nothing read of it yet, and returns its origin. Assigning it again without a
    /// revocation starts a new generation too.
    pub fn assign(&mut self, topic: &str, partition: i32) -> Origin {
        if let Some(slot) = self.slot_of(topic, partition) {
            let slot = &mut self.slots[slot];
            slot.clear();
            slot.assigned = true;
            return slot.origin.clone();
        }
        let topic: Arc<str> = match self.by_name.get_key_value(topic) {
            Some((known, _)) => known.clone(),
            None => Arc::from(topic),
        };
        let lease = Lease::new();
        let origin = Origin::new(topic.clone(), partition, lease.clone());
        self.slots.push(Slot {
            origin: origin.clone(),
            lease,
            assigned: true,
            generation: 0,
            next: 0,
            ranges: BTreeMap::new(),
            read_to: None,
            broken: false,
            done_to: None,
            tally: Tally::default(),
            requested: None,
        });
        self.by_name.entry(topic).or_default().insert(partition, self.slots.len() - 1);
        origin
    }

    /// Revokes a partition. Its open ranges are removed; their later outcomes change nothing.
    pub fn revoke(&mut self, topic: &str, partition: i32) {
        if let Some(slot) = self.slot_of(topic, partition) {
            self.slots[slot].let_go();
        }
    }

    /// Revokes every assigned partition. Returns the number of them.
    pub fn revoke_all(&mut self) -> usize {
        self.slots.iter_mut().filter(|slot| slot.assigned).map(Slot::let_go).count()
    }

    /// Sets the offset at which reading of an assigned partition begins, and the topic ID where it is part of the
    /// document ID. Starts a new generation: outcomes of earlier reads change nothing. Returns the origin of records
    /// from `start` on; `None` if the partition is not assigned.
    pub fn begin(&mut self, topic: &str, partition: i32, start: i64, topic_id: Option<Arc<str>>) -> Option<Origin> {
        let slot = self.slot_of(topic, partition)?;
        let slot = &mut self.slots[slot];
        if !slot.assigned {
            return None;
        }
        slot.forget();
        slot.read_to = Some(start);
        slot.origin.topic_id = topic_id;
        Some(slot.origin.clone())
    }

    /// Discards what was read of a partition, without setting a new start offset. Outcomes of what is in flight change
    /// nothing.
    pub fn forget(&mut self, topic: &str, partition: i32) {
        if let Some(slot) = self.slot_of(topic, partition) {
            self.slots[slot].forget();
        }
    }

    /// Records that other records may have had the same offsets in this partition.
    pub fn set_reuses_ids(&self, topic: &str, partition: i32) {
        if let Some(slot) = self.slot_of(topic, partition) {
            self.slots[slot].lease.set_reuses_ids();
        }
    }

    /// Returns the origin of an assigned partition.
    pub fn origin(&self, topic: &str, partition: i32) -> Option<Origin> {
        let slot = self.slot_of(topic, partition)?;
        self.slots[slot].assigned.then(|| self.slots[slot].origin.clone())
    }

    /// Enters a span whose records are now in flight. `now_ms` is the time in milliseconds on any monotonic clock.
    /// Returns a ticket without effect if the partition is not assigned or the origin is outdated.
    ///
    /// # Errors
    /// Fails if the span does not start where the previous one ended. From then on, no span of the partition is
    /// accepted.
    pub fn deliver(&mut self, origin: &Origin, span: Span, now_ms: u64) -> Result<Ticket, Gap> {
        let Some(index) = self.slot_of(&origin.topic, origin.partition) else { return Ok(Ticket::WORTHLESS) };
        let slot = &mut self.slots[index];
        if !slot.assigned || !origin.is_owned() || slot.broken || origin.topic_id != slot.origin.topic_id {
            return Ok(Ticket::WORTHLESS);
        }
        if let (Some(expected), Some(found)) = (slot.read_to, span.start)
            && expected != found
        {
            slot.broken = true;
            return Err(Gap { expected, found });
        }
        slot.read_to = slot.read_to.map(|_| span.end);
        let sequence = slot.next;
        slot.next += 1;
        slot.ranges
            .insert(sequence, Range { end: span.end, done: false, delivered_ms: now_ms, tally: Tally::default() });
        Ok(Ticket { slot: index, generation: slot.generation, sequence })
    }

    /// Completes a ticket: every record of its range has ended.
    pub fn complete(&mut self, ticket: Ticket) {
        self.complete_with(ticket, Tally::default());
    }

    /// Completes a ticket and adds the outcomes of its range's records.
    pub fn complete_with(&mut self, ticket: Ticket, tally: Tally) {
        let Some(slot) = self.slots.get_mut(ticket.slot) else { return };
        if slot.generation == ticket.generation {
            slot.complete(ticket.sequence, tally);
        }
    }

    /// Returns the offsets that may be committed and for which no commit has been requested.
    pub fn committable(&self) -> Vec<Commit> {
        self.slots.iter().filter(|slot| slot.assigned).filter_map(Slot::commit).collect()
    }

    /// Returns the offset of one partition that may be committed, if no commit of it has been requested.
    pub fn committable_of(&self, topic: &str, partition: i32) -> Option<Commit> {
        let slot = self.slot_of(topic, partition)?;
        self.slots[slot].assigned.then(|| self.slots[slot].commit()).flatten()
    }

    /// Marks an offset as being committed, so that it is not returned again.
    pub fn requested(&mut self, commit: &Commit) {
        if let Some(slot) = self.slot_of(&commit.topic, commit.partition) {
            self.slots[slot].requested = Some(commit.offset);
        }
    }

    /// Handles a failed commit: every done offset becomes committable again.
    pub fn commit_failed(&mut self) {
        for slot in &mut self.slots {
            slot.requested = None;
        }
    }

    /// Returns the number of ranges kept for a partition: the open ones and the done ones behind them. It is 0 when all
    /// have ended.
    pub fn open(&self, topic: &str, partition: i32) -> usize {
        self.slot_of(topic, partition).map_or(0, |slot| self.slots[slot].ranges.len())
    }

    /// Returns the number of ranges kept for all partitions.
    pub fn open_in_all(&self) -> usize {
        self.slots.iter().map(|slot| slot.ranges.len()).sum()
    }

    /// Returns the number of assigned partitions.
    pub fn assigned(&self) -> usize {
        self.slots.iter().filter(|slot| slot.assigned).count()
    }

    /// Returns the time at which the oldest open range was delivered, in milliseconds on the clock passed to
    /// [`deliver`](Self::deliver).
    pub fn oldest_open_ms(&self) -> Option<u64> {
        self.slots.iter().filter_map(|slot| slot.ranges.first_key_value()).map(|(_, range)| range.delivered_ms).min()
    }

    /// Returns the end of a partition's done prefix in this assignment.
    pub fn done_to(&self, topic: &str, partition: i32) -> Option<i64> {
        self.slot_of(topic, partition).and_then(|slot| self.slots[slot].done_to)
    }

    fn slot_of(&self, topic: &str, partition: i32) -> Option<usize> {
        self.by_name.get(topic)?.get(&partition).copied()
    }
}

impl Slot {
    fn let_go(&mut self) {
        self.clear();
        self.assigned = false;
        self.lease.end();
    }

    fn commit(&self) -> Option<Commit> {
        let offset = self.done_to?;
        (self.requested != Some(offset)).then(|| self.commit_of(offset))
    }

    fn commit_of(&self, offset: i64) -> Commit {
        Commit { topic: self.origin.topic.clone(), partition: self.origin.partition, offset, tally: self.tally.clone() }
    }

    /// Marks a range as done, merges it with done neighbours, and advances the done prefix.
    fn complete(&mut self, sequence: u64, tally: Tally) {
        match self.ranges.get_mut(&sequence) {
            Some(range) if !range.done => (range.done, range.tally) = (true, tally),
            _ => return,
        }
        if let Some((&before, _)) = self.ranges.range(..sequence).next_back().filter(|(_, range)| range.done) {
            self.swallow(before, sequence);
        }
        // The range may have been merged into the one before it. The one after it may be done too.
        let own = self.ranges.range(..=sequence).next_back().map_or(sequence, |(own, _)| *own);
        if let Some((&after, _)) = self.ranges.range(own + 1..).next().filter(|(_, range)| range.done) {
            self.swallow(own, after);
        }
        while let Some(first) = self.ranges.first_entry().filter(|first| first.get().done) {
            let done = first.remove();
            self.done_to = Some(done.end);
            self.tally.add(done.tally);
        }
    }

    /// Merges the range `gone` into the range `keep`, which immediately precedes it.
    fn swallow(&mut self, keep: u64, gone: u64) {
        if let Some(gone) = self.ranges.remove(&gone)
            && let Some(keep) = self.ranges.get_mut(&keep)
        {
            keep.end = gone.end;
            keep.tally.add(gone.tally);
        }
    }

    /// Starts a new generation with nothing read and a new lease.
    fn clear(&mut self) {
        self.lease.end();
        self.lease = Lease::new();
        self.origin = Origin::new(self.origin.topic.clone(), self.origin.partition, self.lease.clone());
        self.forget();
    }

    /// Starts a new generation with nothing read, under the same lease.
    fn forget(&mut self) {
        self.generation += 1;
        self.next = 0;
        self.ranges.clear();
        self.read_to = None;
        self.broken = false;
        self.done_to = None;
        self.tally = Tally::default();
        self.requested = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn deliver(ledger: &mut Ledger, origin: &Origin, end: i64, now_ms: u64) -> Ticket {
        ledger.deliver(origin, Span { start: None, end }, now_ms).unwrap()
    }

    #[test]
    fn a_gap_that_is_not_part_of_a_range_stops_commits_until_the_partition_is_assigned_again() {
        let mut ledger = Ledger::default();
        ledger.assign("t", 0);
        let origin = ledger.begin("t", 0, 5, None).unwrap();
        let span = |start, end| Span { start: Some(start), end };
        let first = ledger.deliver(&origin, span(5, 9), 0).unwrap();
        assert_eq!(ledger.deliver(&origin, span(10, 12), 0), Err(Gap { expected: 9, found: 10 }));
        let after = ledger.deliver(&origin, span(12, 14), 0).unwrap();
        [first, after].into_iter().for_each(|ticket| ledger.complete(ticket));
        assert_eq!(ledger.committable_of("t", 0).map(|commit| commit.offset), Some(9));
        ledger.assign("t", 0);
        let origin = ledger.begin("t", 0, 9, None).unwrap();
        let again = ledger.deliver(&origin, span(9, 14), 0).unwrap();
        ledger.complete(again);
        assert_eq!(ledger.committable_of("t", 0).map(|commit| commit.offset), Some(14));
    }

    #[test]
    fn a_first_range_must_begin_where_reading_began() {
        let mut ledger = Ledger::default();
        ledger.assign("t", 0);
        let origin = ledger.begin("t", 0, 0, None).unwrap();
        assert_eq!(ledger.deliver(&origin, Span { start: Some(11), end: 12 }, 0), Err(Gap { expected: 0, found: 11 }));
    }

    #[test]
    fn records_of_another_topic_of_the_same_name_are_not_entered() {
        let mut ledger = Ledger::default();
        ledger.assign("t", 0);
        let old = ledger.begin("t", 0, 0, Some("a".into())).unwrap();
        let new = ledger.begin("t", 0, 0, Some("b".into())).unwrap();
        let late = deliver(&mut ledger, &old, 700, 0);
        let ticket = deliver(&mut ledger, &new, 3, 0);
        [late, ticket].into_iter().for_each(|ticket| ledger.complete(ticket));
        assert_eq!(ledger.committable_of("t", 0).map(|commit| commit.offset), Some(3));
    }

    #[test]
    fn what_was_read_before_a_partition_began_anew_may_end_and_moves_no_offset() {
        let mut ledger = Ledger::default();
        let origin = ledger.assign("t", 0);
        let old = deliver(&mut ledger, &origin, 900, 0);
        ledger.forget("t", 0);
        ledger.complete(old);
        assert_eq!(ledger.committable(), []);
        assert!(origin.is_owned(), "what is on its way is not let go");
        let new = deliver(&mut ledger, &origin, 5, 0);
        ledger.complete(new);
        assert_eq!(ledger.committable_of("t", 0).map(|commit| commit.offset), Some(5));
    }

    #[test]
    fn a_member_that_is_put_out_lets_everything_go_at_once() {
        let mut ledger = Ledger::default();
        let (one, two) = (ledger.assign("t", 0), ledger.assign("t", 1));
        let ticket = deliver(&mut ledger, &one, 9, 0);
        ledger.revoke("t", 1);
        assert_eq!(ledger.revoke_all(), 1);
        ledger.complete(ticket);
        assert!(!one.is_owned() && !two.is_owned());
        assert_eq!((ledger.assigned(), ledger.committable()), (0, vec![]));
    }

    #[test]
    fn only_the_done_prefix_may_be_committed() {
        let mut ledger = Ledger::default();
        let origin = ledger.assign("t", 0);
        let first = deliver(&mut ledger, &origin, 10, 1);
        let second = deliver(&mut ledger, &origin, 20, 2);
        ledger.complete(second);
        assert_eq!(ledger.committable(), []);
        ledger.complete(first);
        let commit = Commit { topic: "t".into(), partition: 0, offset: 20, tally: Tally::default() };
        assert_eq!(ledger.committable(), std::slice::from_ref(&commit));
        ledger.requested(&commit);
        assert_eq!(ledger.committable(), []);
        ledger.commit_failed();
        assert_eq!(ledger.committable(), std::slice::from_ref(&commit));
    }

    #[test]
    fn a_record_that_never_ends_does_not_make_the_ledger_grow() {
        let mut ledger = Ledger::default();
        let origin = ledger.assign("t", 0);
        let stuck = deliver(&mut ledger, &origin, 1, 0);
        for end in 2..10_000 {
            let ticket = deliver(&mut ledger, &origin, end, 0);
            ledger.complete(ticket);
            assert!(ledger.open("t", 0) <= 2);
        }
        assert_eq!(ledger.done_to("t", 0), None);
        ledger.complete(stuck);
        assert_eq!((ledger.done_to("t", 0), ledger.open("t", 0)), (Some(9_999), 0));
    }

    #[test]
    fn figures_move_on_with_the_offset_and_never_without_it() {
        let mut ledger = Ledger::default();
        let origin = ledger.assign("t", 0);
        let tickets: Vec<Ticket> = (1..=4).map(|end| deliver(&mut ledger, &origin, end * 10, 0)).collect();
        let of = |records| Tally { records, ..Tally::default() };
        let so_far =
            |ledger: &Ledger| ledger.committable_of("t", 0).map(|commit| (commit.offset, commit.tally.records));
        for (ticket, expected) in [(3, None), (1, None), (0, Some((20, 3))), (2, Some((40, 10)))] {
            ledger.complete_with(tickets[ticket], of(ticket as u64 + 1));
            assert_eq!(so_far(&ledger), expected, "after range {ticket}");
        }
        ledger.complete_with(tickets[2], of(100));
        assert_eq!(so_far(&ledger), Some((40, 10)), "a range ends once");
        let origin = ledger.assign("t", 0);
        ledger.complete_with(tickets[0], of(100));
        let fresh = deliver(&mut ledger, &origin, 50, 0);
        ledger.complete_with(fresh, of(5));
        assert_eq!(so_far(&ledger), Some((50, 5)), "each assignment counts from its beginning");
    }

    #[test]
    fn an_outcome_from_before_a_revocation_changes_nothing() {
        let mut ledger = Ledger::default();
        let before = ledger.assign("t", 0);
        let stale = deliver(&mut ledger, &before, 10, 1);
        ledger.revoke("t", 0);
        assert!(!before.is_owned());
        let after = ledger.assign("t", 0);
        assert!(after.is_owned() && !before.is_owned());
        let fresh = deliver(&mut ledger, &after, 5, 2);
        ledger.complete(stale);
        assert_eq!(ledger.committable(), []);
        assert_eq!(ledger.open("t", 0), 1);
        ledger.complete(fresh);
        assert_eq!(ledger.committable_of("t", 0).map(|commit| commit.offset), Some(5));
        let late = deliver(&mut ledger, &before, 7, 3);
        ledger.complete(late);
        assert_eq!(ledger.done_to("t", 0), Some(5));
    }

    /// One step of a random schedule. Numbers are taken modulo the number of existing objects.
    #[derive(Clone, Debug)]
    enum Step {
        Deliver(usize, i64),
        Complete(usize),
        Revoke(usize),
        Assign(usize),
        Commit,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0..4usize, 1..50i64).prop_map(|(partition, records)| Step::Deliver(partition, records)),
            6 => any::<usize>().prop_map(Step::Complete),
            1 => (0..4usize).prop_map(Step::Revoke),
            1 => (0..4usize).prop_map(Step::Assign),
            2 => Just(Step::Commit),
        ];
        proptest::collection::vec(step, 0..300)
    }

    proptest! {
        /// The model tracks every record's state independently. The ledger must never be ahead of it, and must catch up
        /// with it.
        #[test]
        fn no_schedule_commits_an_open_record(steps in steps()) {
            let mut ledger = Ledger::default();
            let mut origins: Vec<Option<Origin>> = vec![None; 4];
            let mut next = [0i64; 4];
            let mut committed = [0i64; 4];
            // (ticket, partition, first, end, done, current)
            let mut ranges: Vec<(Ticket, usize, i64, i64, bool, bool)> = Vec::new();
            for step in steps {
                match step {
                    Step::Assign(partition) => {
                        for range in ranges.iter_mut().filter(|range| range.1 == partition) { range.5 = false; }
                        next[partition] = committed[partition];
                        origins[partition] = Some(ledger.assign("t", partition as i32));
                    }
                    Step::Revoke(partition) => {
                        for range in ranges.iter_mut().filter(|range| range.1 == partition) { range.5 = false; }
                        ledger.revoke("t", partition as i32);
                        origins[partition] = None;
                    }
                    Step::Deliver(partition, records) => if let Some(origin) = &origins[partition] {
                        let first = next[partition];
                        next[partition] += records;
                        let ticket = deliver(&mut ledger, origin, next[partition], 0);
                        ranges.push((ticket, partition, first, next[partition], false, true));
                    },
                    Step::Complete(which) => if !ranges.is_empty() {
                        let which = which % ranges.len();
                        ledger.complete(ranges[which].0);
                        ranges[which].4 = true;
                    },
                    Step::Commit => for commit in ledger.committable() {
                        let partition = commit.partition as usize;
                        prop_assert!(origins[partition].is_some(), "only owned partitions are committed");
                        let open = ranges.iter().filter(|range| range.1 == partition && range.5 && !range.4).map(|range| range.2).min();
                        prop_assert!(open.is_none_or(|open| commit.offset <= open), "an open record was passed");
                        prop_assert!(commit.offset >= committed[partition], "a commit never goes back");
                        committed[partition] = commit.offset;
                        ledger.requested(&commit);
                    },
                }
                let open = ranges.iter().filter(|range| range.5 && !range.4).count();
                prop_assert!(ledger.open_in_all() >= open);
                prop_assert!(ledger.open_in_all() <= 2 * open, "what is kept is bounded by what is open");
            }
            for (ticket, ..) in &ranges { ledger.complete(*ticket); }
            prop_assert_eq!(ledger.open_in_all(), 0, "nothing is kept once all has ended");
            for (partition, origin) in origins.iter().enumerate() {
                if origin.is_some() && ranges.iter().any(|range| range.1 == partition && range.5) {
                    prop_assert_eq!(ledger.done_to("t", partition as i32), Some(next[partition]));
                }
            }
        }
    }
}
