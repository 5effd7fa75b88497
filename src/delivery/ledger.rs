//! What has been read, what has ended, and how far each partition may be committed.
//!
//! Plain data: no I/O, no clock, no Kafka. For each partition an ordered queue of ranges, one for every batch that had
//! records of it. A range is done when each record in it is acknowledged, dead-lettered or dropped on purpose; the end of
//! the done prefix is what may be committed. Neighbours that are done become one range, so that what is kept is bounded by
//! what is open, however long the oldest record takes. Every assignment of a partition has a generation: an outcome that belongs to
//! an earlier one changes nothing.
//!
//! Where a source says where reading began, ranges must follow one another without a gap: offsets without a record (transaction markers,
//! aborted records, what compaction has removed) are part of a range only when the source has made sure of them. A gap that nobody has
//! explained stops commits of the partition.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::batch::{Lease, Origin, Span};
use super::tally::Tally;

/// A claim on one range of one partition, handed back when the range is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    slot: usize,
    generation: u64,
    sequence: u64,
}

impl Ticket {
    /// A ticket of no range: completing it changes nothing.
    pub(crate) const WORTHLESS: Ticket = Ticket { slot: usize::MAX, generation: 0, sequence: 0 };
}

/// A range that does not begin where the one before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("offset {expected} was expected, and {found} came")]
pub struct Gap {
    /// The offset that should have come.
    pub expected: i64,
    /// The offset that came.
    pub found: i64,
}

/// An offset that may be committed: everything before it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Topic.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: i32,
    /// The next offset to read.
    pub offset: i64,
    /// What became of the records before it, since the partition was assigned, where that is kept.
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
    /// The ranges that are open, and those behind one that is; never two done ones side by side.
    ranges: BTreeMap<u64, Range>,
    /// One past the last offset that was delivered, where the source has said where reading began.
    read_to: Option<i64>,
    /// Set by a gap that nobody has explained, until the partition is assigned again.
    broken: bool,
    done_to: Option<i64>,
    /// What became of the records before `done_to`.
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
    /// Takes a partition over, with nothing read of it yet, and returns it as an origin. Assigning it again without a
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

    /// Lets a partition go. What is still open of it is forgotten; outcomes that come later change nothing.
    pub fn revoke(&mut self, topic: &str, partition: i32) {
        if let Some(slot) = self.slot_of(topic, partition) {
            self.slots[slot].let_go();
        }
    }

    /// Lets every partition go that is assigned; answers how many those were.
    pub fn revoke_all(&mut self) -> usize {
        self.slots.iter_mut().filter(|slot| slot.assigned).map(Slot::let_go).count()
    }

    /// Notes where reading of an assigned partition begins, and the id of its topic where documents are told apart by it. What was read of
    /// it before may still end and changes nothing here. Returns the origin of records from `start` on; `None` if the partition is not
    /// assigned.
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

    /// Forgets what was read of a partition, without a new beginning yet. What is in flight may end and changes nothing here.
    pub fn forget(&mut self, topic: &str, partition: i32) {
        if let Some(slot) = self.slot_of(topic, partition) {
            self.slots[slot].forget();
        }
    }

    /// Notes that other records may have had the offsets of this partition.
    pub fn set_reuses_ids(&self, topic: &str, partition: i32) {
        if let Some(slot) = self.slot_of(topic, partition) {
            self.slots[slot].lease.set_reuses_ids();
        }
    }

    /// The origin of an assigned partition.
    pub fn origin(&self, topic: &str, partition: i32) -> Option<Origin> {
        let slot = self.slot_of(topic, partition)?;
        self.slots[slot].assigned.then(|| self.slots[slot].origin.clone())
    }

    /// Notes that the records of a span are in flight. `now_ms` is any clock that only goes forward. Returns a worthless ticket for a
    /// partition that is not assigned.
    ///
    /// # Errors
    /// The span does not begin where the one before it ended. The partition then stays where it is: no later span is accepted.
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
        slot.ranges.insert(sequence, Range { end: span.end, done: false, delivered_ms: now_ms, tally: Tally::default() });
        Ok(Ticket { slot: index, generation: slot.generation, sequence })
    }

    /// Notes that every record of a ticket's range has ended.
    pub fn complete(&mut self, ticket: Ticket) {
        self.complete_with(ticket, Tally::default());
    }

    /// The same, with what became of the range's records.
    pub fn complete_with(&mut self, ticket: Ticket, tally: Tally) {
        let Some(slot) = self.slots.get_mut(ticket.slot) else { return };
        if slot.generation == ticket.generation {
            slot.complete(ticket.sequence, tally);
        }
    }

    /// What may be committed and has not been asked for yet.
    pub fn committable(&self) -> Vec<Commit> {
        self.slots.iter().filter(|slot| slot.assigned).filter_map(Slot::commit).collect()
    }

    /// The same for one partition.
    pub fn committable_of(&self, topic: &str, partition: i32) -> Option<Commit> {
        let slot = self.slot_of(topic, partition)?;
        self.slots[slot].assigned.then(|| self.slots[slot].commit()).flatten()
    }

    /// Notes that a commit is under way, so it is not asked for again.
    pub fn requested(&mut self, commit: &Commit) {
        if let Some(slot) = self.slot_of(&commit.topic, commit.partition) {
            self.slots[slot].requested = Some(commit.offset);
        }
    }

    /// Notes that commits failed: whatever is done may be asked for again.
    pub fn commit_failed(&mut self) {
        for slot in &mut self.slots {
            slot.requested = None;
        }
    }

    /// Ranges that are kept of a partition: those that have not ended, and what is done behind them. 0 when all has ended.
    pub fn open(&self, topic: &str, partition: i32) -> usize {
        self.slot_of(topic, partition).map_or(0, |slot| self.slots[slot].ranges.len())
    }

    /// The same of all partitions.
    pub fn open_in_all(&self) -> usize {
        self.slots.iter().map(|slot| slot.ranges.len()).sum()
    }

    /// Number of assigned partitions.
    pub fn assigned(&self) -> usize {
        self.slots.iter().filter(|slot| slot.assigned).count()
    }

    /// When the oldest range that has not ended was delivered.
    pub fn oldest_open_ms(&self) -> Option<u64> {
        self.slots.iter().filter_map(|slot| slot.ranges.first_key_value()).map(|(_, range)| range.delivered_ms).min()
    }

    /// How far a partition is done in this assignment.
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

    /// Marks a range as done, merges it with done neighbours, and moves the done prefix on.
    fn complete(&mut self, sequence: u64, tally: Tally) {
        match self.ranges.get_mut(&sequence) {
            Some(range) if !range.done => (range.done, range.tally) = (true, tally),
            _ => return,
        }
        if let Some((&before, _)) = self.ranges.range(..sequence).next_back().filter(|(_, range)| range.done) {
            self.swallow(before, sequence);
        }
        // What stands for the range now is itself or the one before it; the one after it may be done too.
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

    /// Lets the range at `keep` stand for the one at `gone`, which follows it.
    fn swallow(&mut self, keep: u64, gone: u64) {
        if let Some(gone) = self.ranges.remove(&gone)
            && let Some(keep) = self.ranges.get_mut(&keep)
        {
            keep.end = gone.end;
            keep.tally.add(gone.tally);
        }
    }

    /// Starts a new generation with nothing read and a fresh lease.
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
        let so_far = |ledger: &Ledger| ledger.committable_of("t", 0).map(|commit| (commit.offset, commit.tally.records));
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

    /// What a random schedule may do next; numbers are taken modulo what exists.
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
        /// A model keeps every record's state by itself; the ledger must never be ahead of it, and must catch up with it.
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
