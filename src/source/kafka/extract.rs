//! Reading a stretch of a topic instead of following it: where each partition begins and ends, and what has come to its end.
//!
//! An extract is read by one process alone, which commits nothing, or by the members of a group made for it. Then each
//! partition's committed offset says how far it is done, and the text beside that offset (Kafka's commit metadata) says
//! where it ends and what became of the records before the offset: a member that takes a partition over finds everything
//! there, and nobody needs another place to keep it. Offset and figures are committed together, so neither is ever ahead.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::group::Group;
use crate::delivery::Tally;
use crate::observe::kafka_client::LOOK_UP;

const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(10);
/// A gap of fewer offsets than this is looked into no more than once a second: compacted topics are full of them.
const WIDE_GAP: i64 = 1_000;

/// A stretch of a topic to read once.
#[derive(Clone, Debug)]
pub struct Extract {
    /// The topic.
    pub topic: String,
    /// The parts: one for each partition. Empty for the members of a group, who find theirs with the group's offsets.
    pub parts: Vec<Part>,
    /// The records are dead letters: each is read as the record that it once was.
    pub letters: Option<Letters>,
    /// What is counted on the way.
    pub counts: Arc<ExtractCounts>,
}

/// Which dead letters are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letters {
    /// Those of these reasons; all when empty.
    pub reasons: Vec<String>,
    /// Those whose record came from this topic.
    pub topic: Option<String>,
}

/// Where a dead letter's record once stood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LetterOrigin {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
    pub topic_id: Option<String>,
}

/// What dead letters carry in headers of this beginning.
pub(super) const LETTER_HEADER: &str = "logproc.";

impl Letters {
    /// Where a dead letter's record once stood, from the headers that say so; `None` where they don't, or where the letter is
    /// not wanted.
    pub(super) fn origin<'h>(&self, headers: impl Iterator<Item = (&'h str, Option<&'h [u8]>)>) -> Option<LetterOrigin> {
        let (mut topic, mut topic_id, mut partition, mut offset, mut timestamp_ms, mut wanted) = (None, None, None, None, -1, self.reasons.is_empty());
        for (name, value) in headers {
            let Some(value) = value.and_then(|value| std::str::from_utf8(value).ok()) else { continue };
            match name.strip_prefix(LETTER_HEADER) {
                Some("topic") => topic = Some(value.to_string()),
                Some("topic_id") => topic_id = Some(value.to_string()),
                Some("partition") => partition = value.parse().ok(),
                Some("offset") => offset = value.parse().ok(),
                Some("record_timestamp_ms") => timestamp_ms = value.parse().unwrap_or(-1),
                Some("reason") => wanted |= self.reasons.iter().any(|reason| reason == value),
                _ => {}
            }
        }
        let origin = LetterOrigin { topic: topic?, partition: partition?, offset: offset?, timestamp_ms, topic_id };
        let is_of_topic = self.topic.as_ref().is_none_or(|topic| *topic == origin.topic);
        (wanted && is_of_topic).then_some(origin)
    }
}

/// What is counted while an extract is read.
#[derive(Debug, Default)]
pub struct ExtractCounts {
    /// Records that are no dead letters, or not wanted ones.
    pub passed_over: AtomicU64,
    /// Lines of files that hold no record.
    pub unreadable: AtomicU64,
    /// Offsets that the brokers had deleted before they could be read.
    pub deleted: AtomicU64,
}

/// A part of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub start: i64,
    /// One past the last offset; no further than the end of the partition.
    pub end: i64,
}

/// What stands beside a committed offset of an extract that a group shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Version of this text.
    pub logproc_replay: u32,
    /// The first offset.
    pub start: i64,
    /// One past the last offset.
    pub end: i64,
    /// What the extract is read for, in the reader's own words.
    pub purpose: String,
    /// What became of the records before the offset.
    #[serde(default)]
    pub tally: Tally,
}

impl Mark {
    /// The mark in the text beside a committed offset, if there is one.
    pub fn parse(text: &str) -> Option<Mark> {
        serde_json::from_str(text).ok().filter(|mark: &Mark| mark.logproc_replay == 1)
    }

    /// The same mark when more records have ended.
    pub fn after(&self, more: Tally) -> Mark {
        let mut mark = self.clone();
        mark.tally.add(more);
        mark
    }

    /// The text to put beside a committed offset.
    pub fn to_text(&self) -> String {
        // A structure of texts and numbers always becomes JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// One partition's part that is being read.
#[derive(Debug)]
struct Stretch {
    start: i64,
    end: i64,
    finished: bool,
    /// Offsets before the next record that the brokers had deleted.
    deleted: u64,
}

impl Stretch {
    fn new(start: i64, end: i64) -> Stretch {
        Stretch { start, end, finished: start >= end, deleted: 0 }
    }
}

/// What to do with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It belongs to the stretch, and is its last if so marked.
    Inside { last: bool },
    /// The stretch ended before it.
    Past,
    /// Nothing is wanted of this partition any more.
    Unwanted,
}

/// The parts that this process reads now.
#[derive(Debug)]
pub(super) struct Stretches {
    pub topic: String,
    pub is_shared: bool,
    pub letters: Option<Letters>,
    pub counts: Arc<ExtractCounts>,
    open: HashMap<i32, Stretch>,
    looked_for_gaps: Option<Instant>,
    looked_for_end: Instant,
}

impl Stretches {
    pub(super) fn new(extract: &Extract) -> Stretches {
        let stretch = |part: &Part| (part.partition, Stretch::new(part.start, part.end));
        Stretches {
            topic: extract.topic.clone(),
            is_shared: extract.parts.is_empty(),
            letters: extract.letters.clone(),
            counts: extract.counts.clone(),
            open: extract.parts.iter().map(stretch).collect(),
            looked_for_gaps: None,
            looked_for_end: Instant::now(),
        }
    }

    /// Whether everything that this process has is read.
    pub(super) fn all_read(&self) -> bool {
        self.open.values().all(|stretch| stretch.finished)
    }

    /// Takes over what the group's offsets say about the partitions that are assigned now, and keeps what is known of those
    /// that were before.
    ///
    /// # Errors
    /// The brokers don't answer.
    pub(super) fn take_over(&mut self, consumer: &BaseConsumer<Group>) -> KafkaResult<()> {
        let assignment = consumer.assignment()?;
        let mut fresh = TopicPartitionList::new();
        let assigned: Vec<i32> = assignment.elements().iter().map(|element| element.partition()).collect();
        self.open.retain(|partition, _| assigned.contains(partition));
        // One that was taken away and has come back goes on where it was committed, and so do its figures.
        self.open.retain(|partition, _| consumer.context().has_mark(*partition));
        for partition in assigned.iter().filter(|partition| !self.open.contains_key(partition)) {
            fresh.add_partition(&self.topic, *partition);
        }
        if fresh.count() > 0 {
            for element in consumer.committed_offsets(fresh, LOOK_UP_TIMEOUT)?.elements() {
                // A partition without a mark came after the extract was fixed, or was never part of it.
                let (next, end) = match (element.offset(), Mark::parse(element.metadata())) {
                    (Offset::Offset(next), Some(mark)) => {
                        let end = mark.end;
                        consumer.context().keep_mark(element.partition(), mark);
                        (next, end)
                    }
                    _ => (0, 0),
                };
                self.open.insert(element.partition(), Stretch::new(next, end));
            }
        }
        Ok(())
    }

    /// Partitions that are assigned and have nothing more to read.
    pub(super) fn finished(&self) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (partition, _) in self.open.iter().filter(|(_, stretch)| stretch.finished) {
            list.add_partition(&self.topic, *partition);
        }
        list
    }

    /// Returns the first offset that is wanted of a partition.
    pub(super) fn start(&self, partition: i32) -> i64 {
        self.open.get(&partition).map_or(0, |stretch| stretch.start)
    }

    /// Returns where a record stands.
    pub(super) fn place(&self, partition: i32, offset: i64) -> Place {
        match self.open.get(&partition).filter(|stretch| !stretch.finished) {
            None => Place::Unwanted,
            Some(stretch) if offset >= stretch.end => Place::Past,
            Some(stretch) => Place::Inside { last: offset + 1 == stretch.end },
        }
    }

    /// Returns whether the end of a partition is the end of a stretch that had not come to its end.
    pub(super) fn at_end(&self, partition: i32) -> bool {
        self.open.get(&partition).is_some_and(|stretch| !stretch.finished)
    }

    /// Marks a stretch as read; answers where it ends, and what is to be counted there.
    pub(super) fn finish(&mut self, partition: i32) -> Option<(i64, Tally)> {
        let deleted = self.deleted_before(partition);
        let stretch = self.open.get_mut(&partition)?;
        stretch.finished = true;
        Some((stretch.end, Tally { deleted, ..Tally::default() }))
    }

    /// Offsets that had been deleted before the record that comes now, and have not been asked for here yet.
    pub(super) fn deleted_before(&mut self, partition: i32) -> u64 {
        self.open.get_mut(&partition).map_or(0, |stretch| std::mem::take(&mut stretch.deleted))
    }

    /// Finds out whether the offsets `from..to`, which have no record, were deleted. Transactions and compaction leave such gaps as well; but
    /// when the partition begins later by now, the brokers have deleted what was there.
    pub(super) fn look_into_gap(&mut self, consumer: &BaseConsumer<Group>, partition: i32, from: i64, to: i64) {
        let lately = self.looked_for_gaps.is_some_and(|looked| looked.elapsed() < Duration::from_secs(1));
        if lately && to - from < WIDE_GAP {
            return;
        }
        self.looked_for_gaps = Some(Instant::now());
        match consumer.fetch_watermarks(&self.topic, partition, LOOK_UP_TIMEOUT) {
            Ok((low, _)) if low > from => {
                let end = self.open.get(&partition).map_or(to, |stretch| stretch.end);
                warn!(topic = self.topic, partition, from, deleted = low.min(to).min(end) - from, "these offsets were deleted before they could be read");
                self.count_deleted(partition, from, low.min(to));
            }
            Ok(_) => {}
            Err(error) => warn!(%error, partition, from, to, "could not look up why these offsets did not come"),
        }
    }

    /// Counts the offsets `from..to` as deleted, as far as they are wanted.
    pub(super) fn count_deleted(&mut self, partition: i32, from: i64, to: i64) {
        if let Some(stretch) = self.open.get_mut(&partition).filter(|stretch| !stretch.finished) {
            let deleted = (to.min(stretch.end) - from).max(0).unsigned_abs();
            self.counts.deleted.fetch_add(deleted, Ordering::Relaxed);
            stretch.deleted += deleted;
        }
    }

    /// Whether every member of the group has come to the end of its parts; looked up once a second.
    pub(super) fn group_is_done(&mut self, consumer: &BaseConsumer<Group>) -> bool {
        if self.looked_for_end.elapsed() < Duration::from_secs(1) {
            return false;
        }
        self.looked_for_end = Instant::now();
        match marks(consumer, &self.topic) {
            Ok(marks) => !marks.is_empty() && marks.iter().all(|(_, done_to, mark)| *done_to >= mark.end),
            Err(error) => {
                if let Some(repeated) = consumer.context().log.failed(LOOK_UP) {
                    warn!(%error, repeated, "failed to look up how far the other members are; retrying");
                }
                false
            }
        }
    }
}

/// Partitions that have a mark: how far each is done, and the mark.
///
/// # Errors
/// The brokers don't answer, or don't know the topic.
pub fn marks<C: rdkafka::consumer::ConsumerContext>(consumer: &BaseConsumer<C>, topic: &str) -> KafkaResult<Vec<(i32, i64, Mark)>> {
    let metadata = consumer.fetch_metadata(Some(topic), LOOK_UP_TIMEOUT)?;
    let mut all = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        all.add_partition(topic, partition.id());
    }
    if all.count() == 0 {
        return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition));
    }
    Ok(marks_of(consumer, all)?.into_iter().map(|(_, partition, offset, mark)| (partition, offset, mark)).collect())
}

/// Returns the committed offsets of these partitions that have a mark beside them: topic, partition, offset and mark.
///
/// # Errors
/// The brokers don't respond.
pub fn marks_of<C: rdkafka::consumer::ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: TopicPartitionList,
) -> KafkaResult<Vec<(String, i32, i64, Mark)>> {
    let committed = consumer.committed_offsets(partitions, LOOK_UP_TIMEOUT)?;
    let mut marks = Vec::new();
    for element in committed.elements() {
        if let (Offset::Offset(offset), Some(mark)) = (element.offset(), Mark::parse(element.metadata())) {
            marks.push((element.topic().to_string(), element.partition(), offset, mark));
        }
    }
    Ok(marks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_other_texts_are_none() {
        let mark = Mark { logproc_replay: 1, start: 5, end: 9, purpose: "{\"from\":\"-3d\"}".into(), tally: Tally::default() }.after(Tally { records: 4, ..Tally::default() });
        assert_eq!(Mark::parse(&mark.to_text()), Some(mark));
        for text in ["", "x", r#"{"logproc_replay":2,"start":1,"end":2,"purpose":""}"#] {
            assert_eq!(Mark::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_letter_says_where_its_record_stood() {
        let headers = [("own", Some(&b"x"[..])), ("logproc.reason", Some(b"decode")), ("logproc.topic", Some(b"t")),
            ("logproc.partition", Some(b"2")), ("logproc.offset", Some(b"41"))];
        let origin = Some(LetterOrigin { topic: "t".into(), partition: 2, offset: 41, timestamp_ms: -1, topic_id: None });
        let letters = |reasons: &[&str]| Letters { reasons: reasons.iter().map(|reason| reason.to_string()).collect(), topic: None };
        assert_eq!(letters(&[]).origin(headers.into_iter()), origin);
        assert_eq!(letters(&["rejected", "decode"]).origin(headers.into_iter()), origin);
        assert_eq!(letters(&["rejected"]).origin(headers.into_iter()), None);
        let of_topic = |topic: &str| Letters { topic: Some(topic.into()), ..letters(&[]) };
        assert_eq!((of_topic("t").origin(headers.into_iter()), of_topic("u").origin(headers.into_iter())), (origin, None));
        assert_eq!(letters(&[]).origin(headers.into_iter().take(3)), None);
    }
}
