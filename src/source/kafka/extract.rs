//! Bounded reads of a topic: the start and end of each partition, and the detection of the end.
//!
//! An extract is read either by a single process, which commits nothing, or by the members of a group created for it.
//! In a group, each partition's committed offset is its progress, and the commit metadata holds the end of the range
//! and the outcomes of the records before the offset. A member to which a partition is assigned finds everything there,
//! and no other storage is needed. Offset and counts are committed together, so neither is ever ahead of the other.

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
use crate::kafka::client_log::LOOK_UP;

const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(10);
/// Gaps with fewer offsets than this are checked at most once a second, because compacted topics are full of them.
const WIDE_GAP: i64 = 1_000;

/// A bounded read of a topic.
#[derive(Clone, Debug)]
pub struct Extract {
    /// Name of the topic.
    pub topic: String,
    /// One part per partition. Empty for the members of a group, which find theirs in the commit metadata.
    pub parts: Vec<Part>,
    /// Set if the records are dead letters, each of which is read as its original record.
    pub letters: Option<Letters>,
    /// Counters of the read.
    pub counts: Arc<ExtractCounts>,
}

/// A selection of dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letters {
    /// Reasons of the selected dead letters; empty selects all.
    pub reasons: Vec<String>,
    /// Those whose record came from this topic.
    pub topic: Option<String>,
}

/// The origin of a dead letter's record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LetterOrigin {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
    pub topic_id: Option<String>,
}

/// Prefix of the headers that dead letters carry.
pub(super) const LETTER_HEADER: &str = "logproc.";

impl Letters {
    /// Returns the origin of a dead letter's record from its headers. Returns `None` if they are missing or the dead
    /// letter is not selected.
    pub(super) fn origin<'h>(
        &self,
        headers: impl Iterator<Item = (&'h str, Option<&'h [u8]>)>,
    ) -> Option<LetterOrigin> {
        let (mut topic, mut topic_id, mut partition, mut offset, mut timestamp_ms, mut wanted) =
            (None, None, None, None, -1, self.reasons.is_empty());
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

/// The counters of a bounded read.
#[derive(Debug, Default)]
pub struct ExtractCounts {
    /// Number of records that are no dead letters, or not selected ones.
    pub passed_over: AtomicU64,
    /// Number of lines in files that hold no record.
    pub unreadable: AtomicU64,
    /// Number of offsets that the brokers had deleted before they could be read.
    pub deleted: AtomicU64,
}

/// An offset range of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Partition number.
    pub partition: i32,
    /// First offset.
    pub start: i64,
    /// One past the last offset; at most the end of the partition.
    pub end: i64,
}

/// The commit metadata of a partition in an extract that a group shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Version of the format.
    pub logproc_replay: u32,
    /// First offset.
    pub start: i64,
    /// One past the last offset.
    pub end: i64,
    /// Purpose of the read, in a format that its user defines.
    pub purpose: String,
    /// Outcomes of the records before the committed offset.
    #[serde(default)]
    pub tally: Tally,
}

impl Mark {
    /// Parses commit metadata. Returns `None` if it is not in this format.
    pub fn parse(text: &str) -> Option<Mark> {
        serde_json::from_str(text).ok().filter(|mark: &Mark| mark.logproc_replay == 1)
    }

    /// Returns the metadata after the outcomes of more records were added.
    pub fn after(&self, more: Tally) -> Mark {
        let mut mark = self.clone();
        mark.tally.add(more);
        mark
    }

    /// Returns the text to store as commit metadata.
    pub fn to_text(&self) -> String {
        // A structure of texts and numbers always serialises to JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The offset range of one partition that is being read.
#[derive(Debug)]
struct Stretch {
    start: i64,
    end: i64,
    finished: bool,
    /// Number of deleted offsets before the next record.
    deleted: u64,
}

impl Stretch {
    fn new(start: i64, end: i64) -> Stretch {
        Stretch { start, end, finished: start >= end, deleted: 0 }
    }
}

/// The position of a record relative to its partition's range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Inside the range; `last` is set for its last offset.
    Inside { last: bool },
    /// Behind the end of the range.
    Past,
    /// In a partition of which nothing more is to be read.
    Unwanted,
}

/// The ranges that this process is reading.
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

    /// Returns whether all ranges of this process are read.
    pub(super) fn all_read(&self) -> bool {
        self.open.values().all(|stretch| stretch.finished)
    }

    /// Looks up the ranges of newly assigned partitions in the commit metadata, and keeps those of partitions that were
    /// already assigned.
    ///
    /// # Errors
    /// Fails if the brokers do not respond.
    pub(super) fn take_over(&mut self, consumer: &BaseConsumer<Group>) -> KafkaResult<()> {
        let assignment = consumer.assignment()?;
        let mut fresh = TopicPartitionList::new();
        let assigned: Vec<i32> = assignment.elements().iter().map(|element| element.partition()).collect();
        self.open.retain(|partition, _| assigned.contains(partition));
        // A partition that was revoked and assigned again continues at its committed offset, and so do its counts.
        self.open.retain(|partition, _| consumer.context().has_mark(*partition));
        for partition in assigned.iter().filter(|partition| !self.open.contains_key(partition)) {
            fresh.add_partition(&self.topic, *partition);
        }
        if fresh.count() > 0 {
            for element in consumer.committed_offsets(fresh, LOOK_UP_TIMEOUT)?.elements() {
                // A partition without metadata was created after the extract was defined, or was never part of it.
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

    /// Returns the assigned partitions that are read to their end.
    pub(super) fn finished(&self) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (partition, _) in self.open.iter().filter(|(_, stretch)| stretch.finished) {
            list.add_partition(&self.topic, *partition);
        }
        list
    }

    /// Returns the first offset to read of a partition.
    pub(super) fn start(&self, partition: i32) -> i64 {
        self.open.get(&partition).map_or(0, |stretch| stretch.start)
    }

    /// Returns a record's position relative to its partition's range.
    pub(super) fn place(&self, partition: i32, offset: i64) -> Place {
        match self.open.get(&partition).filter(|stretch| !stretch.finished) {
            None => Place::Unwanted,
            Some(stretch) if offset >= stretch.end => Place::Past,
            Some(stretch) => Place::Inside { last: offset + 1 == stretch.end },
        }
    }

    /// Returns whether a partition's range had not been read to its end, so that the end of the partition ends it.
    pub(super) fn at_end(&self, partition: i32) -> bool {
        self.open.get(&partition).is_some_and(|stretch| !stretch.finished)
    }

    /// Marks a range as read. Returns its end, and the outcomes to count there.
    pub(super) fn finish(&mut self, partition: i32) -> Option<(i64, Tally)> {
        let deleted = self.deleted_before(partition);
        let stretch = self.open.get_mut(&partition)?;
        stretch.finished = true;
        Some((stretch.end, Tally { deleted, ..Tally::default() }))
    }

    /// Returns the number of deleted offsets before the current record that no earlier call has returned.
    pub(super) fn deleted_before(&mut self, partition: i32) -> u64 {
        self.open.get_mut(&partition).map_or(0, |stretch| std::mem::take(&mut stretch.deleted))
    }

    /// Checks whether the offsets `from..to`, which have no record, were deleted. Transactions and compaction leave
    /// such gaps as well, but if the partition's first offset is now behind `from`, the brokers have deleted what was
    /// there.
    pub(super) fn look_into_gap(&mut self, consumer: &BaseConsumer<Group>, partition: i32, from: i64, to: i64) {
        let lately = self.looked_for_gaps.is_some_and(|looked| looked.elapsed() < Duration::from_secs(1));
        if lately && to - from < WIDE_GAP {
            return;
        }
        self.looked_for_gaps = Some(Instant::now());
        match consumer.fetch_watermarks(&self.topic, partition, LOOK_UP_TIMEOUT) {
            Ok((low, _)) if low > from => {
                let end = self.open.get(&partition).map_or(to, |stretch| stretch.end);
                warn!(
                    topic = self.topic,
                    partition,
                    from,
                    deleted = low.min(to).min(end) - from,
                    "these offsets were deleted before they could be read"
                );
                self.count_deleted(partition, from, low.min(to));
            }
            Ok(_) => {}
            Err(error) => warn!(%error, partition, from, to, "could not look up why these offsets did not come"),
        }
    }

    /// Counts the offsets `from..to` as deleted, as far as they are inside the range.
    pub(super) fn count_deleted(&mut self, partition: i32, from: i64, to: i64) {
        if let Some(stretch) = self.open.get_mut(&partition).filter(|stretch| !stretch.finished) {
            let deleted = (to.min(stretch.end) - from).max(0).unsigned_abs();
            self.counts.deleted.fetch_add(deleted, Ordering::Relaxed);
            stretch.deleted += deleted;
        }
    }

    /// Returns whether every member of the group has read its ranges to the end. The brokers are queried at most once a
    /// second.
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

/// Returns the partitions that have commit metadata of an extract, each with its committed offset and the metadata.
///
/// # Errors
/// Fails if the brokers do not respond, or if the topic does not exist.
pub fn marks<C: rdkafka::consumer::ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
) -> KafkaResult<Vec<(i32, i64, Mark)>> {
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
        let mark =
            Mark { logproc_replay: 1, start: 5, end: 9, purpose: "{\"from\":\"-3d\"}".into(), tally: Tally::default() }
                .after(Tally { records: 4, ..Tally::default() });
        assert_eq!(Mark::parse(&mark.to_text()), Some(mark));
        for text in ["", "x", r#"{"logproc_replay":2,"start":1,"end":2,"purpose":""}"#] {
            assert_eq!(Mark::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_letter_says_where_its_record_stood() {
        let headers = [
            ("own", Some(&b"x"[..])),
            ("logproc.reason", Some(b"decode")),
            ("logproc.topic", Some(b"t")),
            ("logproc.partition", Some(b"2")),
            ("logproc.offset", Some(b"41")),
        ];
        let origin =
            Some(LetterOrigin { topic: "t".into(), partition: 2, offset: 41, timestamp_ms: -1, topic_id: None });
        let letters = |reasons: &[&str]| Letters {
            reasons: reasons.iter().map(|reason| reason.to_string()).collect(),
            topic: None,
        };
        assert_eq!(letters(&[]).origin(headers.into_iter()), origin);
        assert_eq!(letters(&["rejected", "decode"]).origin(headers.into_iter()), origin);
        assert_eq!(letters(&["rejected"]).origin(headers.into_iter()), None);
        let of_topic = |topic: &str| Letters { topic: Some(topic.into()), ..letters(&[]) };
        assert_eq!(
            (of_topic("t").origin(headers.into_iter()), of_topic("u").origin(headers.into_iter())),
            (origin, None)
        );
        assert_eq!(letters(&[]).origin(headers.into_iter().take(3)), None);
    }
}
