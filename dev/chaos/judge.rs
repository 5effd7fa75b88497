//! The judge: compares what a `read_committed` consumer of its own reads with the documents and the dead letters.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;

use super::cluster::Cluster;
use super::records::{Outcome, Outcomes, is_compacted, is_dead, number_of};

const TIMEOUT: Duration = Duration::from_secs(30);

/// The place of a record: the index of its topic, its partition and its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    topic: usize,
    partition: i32,
    offset: i64,
}

impl Origin {
    /// Returns the origin that a document names.
    pub fn parse(topics: &[String], topic: &Value, partition: &Value, offset: &Value) -> Option<Origin> {
        let topic = topics.iter().position(|name| topic == name.as_str())?;
        Some(Origin { topic, partition: i32::try_from(partition.as_i64()?).ok()?, offset: offset.as_i64()? })
    }
}

/// The result of a comparison.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Records that a `read_committed` consumer sees.
    pub records: usize,
    /// Records of aborted transactions.
    pub aborted: usize,
    /// Documents and dead letters of records that compaction has removed since.
    pub compacted: usize,
    pub documents: usize,
    pub dead_letters: usize,
    /// Dead letters that were written again after a crash.
    pub repeated_letters: usize,
    pub problems: Vec<String>,
}

/// Reads all that is on a topic now and calls `each` for every record.
fn read_topic(kafka: &str, topic: &str, mut each: impl FnMut(&BorrowedMessage<'_>)) -> anyhow::Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("group.id", "logproc-chaos-judge")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
    let partitions = metadata.topics().first().context("the topic does not exist")?.partitions();
    let mut assignment = TopicPartitionList::new();
    let mut open = HashSet::new();
    for partition in partitions {
        assignment.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
        open.insert(partition.id());
    }
    consumer.assign(&assignment)?;
    let mut last = Instant::now();
    while !open.is_empty() {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => each(&message),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => return Err(error.into()),
            None if last.elapsed() > TIMEOUT => bail!("failed to read partitions {open:?} of {topic} to their end"),
            None => continue,
        }
        last = Instant::now();
    }
    Ok(())
}

/// One past the last record of each partition that a `read_committed` consumer sees, by the index of the topic and the partition.
pub type Ends = HashMap<(usize, i32), i64>;

/// Reads the topics to their ends.
pub fn visible_ends(kafka: &str, topics: &[String]) -> anyhow::Result<Ends> {
    let mut ends = Ends::new();
    for (topic, name) in topics.iter().enumerate() {
        read_topic(kafka, name, |message| {
            ends.insert((topic, message.partition()), message.offset() + 1);
        })?;
    }
    Ok(ends)
}

/// Compares every record of the topics with the documents of the index and the dead letters. The second of the topics, if there
/// is one, is compacted. With `hides_records`, records that producers have committed may lie behind a hanging transaction.
pub fn judge(
    kafka: &str,
    cluster: &Cluster,
    topics: &[String],
    letters: &str,
    outcomes: &Outcomes,
    hides_records: bool,
) -> anyhow::Result<Verdict> {
    let mut records: BTreeMap<Origin, u64> = BTreeMap::new();
    let mut problems = Vec::new();
    for (topic, name) in topics.iter().enumerate() {
        read_topic(kafka, name, |message| {
            let Some(value) = message.payload() else { return };
            let origin = Origin { topic, partition: message.partition(), offset: message.offset() };
            match number_of(value) {
                Some(number) => drop(records.insert(origin, number)),
                None => problems.push(format!("{origin:?} was written by nobody")),
            }
        })?;
    }
    // Of each origin, the number that its dead letter carries.
    let mut dead: HashMap<Origin, Option<u64>> = HashMap::new();
    let mut letters_read = 0;
    read_topic(kafka, letters, |message| {
        letters_read += 1;
        let header = |name: &str| {
            let found = message.headers()?.iter().find(|header| header.key == name)?;
            std::str::from_utf8(found.value?).ok()
        };
        let origin = || {
            let topic = topics.iter().position(|topic| Some(topic.as_str()) == header("logproc.topic"))?;
            let (partition, offset) =
                (header("logproc.partition")?.parse().ok()?, header("logproc.offset")?.parse().ok()?);
            Some(Origin { topic, partition, offset })
        };
        match origin() {
            Some(origin) => drop(dead.insert(origin, message.payload().and_then(number_of))),
            None => problems.push(format!("the dead letter at offset {} names no origin", message.offset())),
        }
    })?;
    let documents = cluster.documents(&topics[0], topics)?;
    let mut verdict = Verdict {
        records: records.len(),
        aborted: outcomes.values().filter(|outcome| **outcome == Outcome::Aborted).count(),
        documents: documents.len(),
        dead_letters: dead.len(),
        repeated_letters: letters_read - dead.len(),
        ..Verdict::default()
    };
    problems.extend(lost(&records, |origin| documents.contains_key(origin) || dead.contains_key(origin)));
    for (origin, number) in &records {
        if outcomes.get(number) == Some(&Outcome::Aborted) {
            problems.push(format!("{origin:?} (number {number}) was aborted and is read nevertheless"));
        }
        let must_be_dead = is_dead(*number);
        match (documents.get(origin), dead.contains_key(origin)) {
            (Some(found), false) if !must_be_dead && found == number => {}
            (None, true) if must_be_dead => {}
            (None, false) => {}
            (Some(_), true) => {
                problems.push(format!("{origin:?} (number {number}) is both a document and a dead letter"))
            }
            (Some(found), false) => {
                problems.push(format!("{origin:?} holds number {found}, should be {number}, dead: {must_be_dead}"))
            }
            (None, true) => problems.push(format!("{origin:?} (number {number}) is a dead letter without need")),
        }
    }
    let delivered = documents
        .iter()
        .map(|(origin, number)| (origin, Some(*number)))
        .chain(dead.iter().map(|(origin, number)| (origin, *number)));
    for (origin, number) in delivered.filter(|(origin, _)| !records.contains_key(*origin)) {
        // Only compaction may have removed a record after it was delivered.
        match number.and_then(|number| outcomes.get(&number)) {
            Some(Outcome::Committed | Outcome::Unknown) if origin.topic == 1 => verdict.compacted += 1,
            outcome => problems
                .push(format!("{origin:?} (number {number:?}, {outcome:?}) was delivered, and no consumer sees it")),
        }
    }
    if !hides_records {
        problems.extend(unseen(&records, outcomes, topics.len() > 1));
    }
    verdict.problems = problems;
    Ok(verdict)
}

/// Returns a line for every run of records of a partition that were not delivered.
fn lost(records: &BTreeMap<Origin, u64>, is_delivered: impl Fn(&Origin) -> bool) -> Vec<String> {
    let mut runs: Vec<(Origin, Origin, usize)> = Vec::new();
    let mut before: Option<&Origin> = None;
    for origin in records.keys() {
        let is_lost = !is_delivered(origin);
        match runs.last_mut() {
            Some((_, last, count))
                if is_lost
                    && Some(&*last) == before
                    && (last.topic, last.partition) == (origin.topic, origin.partition) =>
            {
                (*last, *count) = (*origin, *count + 1);
            }
            _ if is_lost => runs.push((*origin, *origin, 1)),
            _ => {}
        }
        before = Some(origin);
    }
    let line = |(first, last, count): (Origin, Origin, usize)| {
        format!(
            "LOST: {count} records of topic {}, partition {}, offsets {} to {}",
            first.topic, first.partition, first.offset, last.offset
        )
    };
    runs.into_iter().map(line).collect()
}

/// Returns a line if records that a producer has committed are not on the topics. Where one is compacted, any of them may have
/// been removed.
fn unseen(records: &BTreeMap<Origin, u64>, outcomes: &Outcomes, has_compacted: bool) -> Option<String> {
    let seen: HashSet<u64> = records.values().copied().collect();
    let missing = |(number, outcome): &(&u64, &Outcome)| {
        **outcome == Outcome::Committed && !seen.contains(*number) && !(has_compacted && is_compacted(**number))
    };
    let count = outcomes.iter().filter(missing).count();
    (count > 0).then(|| format!("{count} records that were committed are not on the topic"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: i32, offset: i64) -> Origin {
        Origin { topic: 0, partition, offset }
    }

    #[test]
    fn records_lost_in_a_row_are_one_line_whatever_offsets_lie_between_them() {
        let records: BTreeMap<Origin, u64> =
            [at(0, 1), at(0, 4), at(0, 5), at(0, 9), at(1, 0), at(1, 1)].map(|origin| (origin, 0)).into();
        let delivered = [at(0, 1), at(0, 9), at(1, 1)];
        assert_eq!(
            lost(&records, |origin| delivered.contains(origin)),
            [
                "LOST: 2 records of topic 0, partition 0, offsets 4 to 5",
                "LOST: 1 records of topic 0, partition 1, offsets 0 to 0"
            ]
        );
    }

    #[test]
    fn committed_records_that_no_consumer_sees_are_a_problem_unless_they_may_have_been_compacted() {
        let number = (0..).find(|number| is_compacted(*number)).unwrap();
        let outcomes = Outcomes::from([
            (number, Outcome::Committed),
            (number + 1, Outcome::Aborted),
            (number + 2, Outcome::Unknown),
        ]);
        assert!(unseen(&BTreeMap::new(), &outcomes, false).is_some());
        assert!(unseen(&BTreeMap::new(), &outcomes, true).is_none());
    }
}
