//! The start of each assigned partition: the offset to read from, and the incarnation of the topic that its records
//! belong to.
//!
//! A topic that is deleted and created again gets another ID (KIP-516), and its offsets start again at 0. The ID is
//! stored with each committed offset (in Kafka's commit metadata), so an offset that was committed for the former topic
//! is recognised after a restart. While reading, a new ID is detected in two ways: librdkafka logs it before it fetches
//! the first record of the new topic, and the brokers are queried every fifteen seconds. Records of the new topic have
//! other document IDs than those of the former one, so nothing is read before the ID is known.
//!
//! The brokers are queried on a separate thread, because a response may take long; the source continues to poll
//! meanwhile.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tracing::{error, warn};

use super::group::Group;
use crate::kafka::client_log::LOOK_UP;
use crate::kafka::topic_ids::{TopicIdentity, id_of, is_another, noted, topic_ids};
use crate::source::SourceError;

/// Timeout of each query to the brokers.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout of a query for topic IDs if document IDs do not depend on them. Other servers that implement Kafka's
/// protocol may not support it.
const OPTIONAL_LOOK_UP_TIMEOUT: Duration = Duration::from_millis(500);
/// Interval between comparisons of the topics being read with the existing ones.
const INTERVAL: Duration = Duration::from_secs(15);
/// Delay before a failed query is retried.
const PAUSE: Duration = Duration::from_millis(250);
/// Topic and number of a partition.
pub(super) type Partition = (String, i32);

/// The start of reading in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Beginning {
    pub partition: Partition,
    pub start: i64,
    /// The topic's ID, if it is part of document IDs.
    pub topic_id: Option<Arc<str>>,
    /// Set if other records may have had the same offsets in this partition.
    pub reuses_ids: bool,
}

/// The reason for looking up the start of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The partition was assigned, or its topic was created again. Reading continues at the committed offset, if that
    /// belongs to the current topic.
    Assigned,
    /// The partition is part of a replay, which starts at this offset.
    Given(i64),
    /// The partition's offsets have gone back, or its offset is out of range and `auto_offset_reset` demands reading
    /// from the end.
    Reset,
}

/// Facts about topics, shared by librdkafka's threads, its callbacks and the source.
pub(super) struct TopicFacts {
    /// Offset that `auto.offset.reset` stands for; `None` if a partition without a valid offset ends the run.
    reset: Option<Offset>,
    identity: TopicIdentity,
    /// Per partition, the topic, as `CLUSTER/ID`, that offsets are committed for. Entries of revoked partitions are
    /// kept.
    known: Mutex<HashMap<Partition, String>>,
    news: Mutex<News>,
    has_news: AtomicBool,
    /// The last invalid position of each partition, in librdkafka's description.
    invalid: Mutex<HashMap<Partition, String>>,
}

/// Events that librdkafka has logged and the source has not handled yet.
#[derive(Debug, Default)]
pub(super) struct News {
    /// New ID of each topic whose ID has changed.
    pub renewed: HashMap<String, String>,
    /// Partitions whose position was out of range.
    pub resets: BTreeSet<Partition>,
}

impl TopicFacts {
    pub(super) fn new(reset: Option<&str>, identity: TopicIdentity) -> TopicFacts {
        let reset = match reset {
            Some("error") => None,
            Some("latest") => Some(Offset::End),
            _ => Some(Offset::Beginning),
        };
        TopicFacts {
            reset,
            identity,
            known: Mutex::default(),
            news: Mutex::default(),
            has_news: AtomicBool::new(false),
            invalid: Mutex::default(),
        }
    }

    /// Returns whether a partition with an invalid position is read from its end.
    pub(super) fn resets_to_end(&self) -> bool {
        self.reset == Some(Offset::End)
    }

    /// Returns the topic, as `CLUSTER/ID`, that offsets of this partition are committed for.
    pub(super) fn of(&self, topic: &str, partition: i32) -> Option<String> {
        self.known().get(&(topic.to_string(), partition)).cloned()
    }

    /// Records that librdkafka has seen another ID of a topic. No record of the new topic has been fetched yet.
    pub(super) fn note_renewal(&self, topic: &str, id: &str) {
        self.news().renewed.insert(topic.to_string(), id.to_string());
        self.has_news.store(true, Ordering::Release);
    }

    /// Records that librdkafka has abandoned a position, given in its description. Returns whether the position differs
    /// from the last one recorded for this partition.
    pub(super) fn note_reset(&self, topic: &str, partition: i32, position: &str) -> bool {
        self.look_at_again(topic, partition);
        let mut invalid = self.invalid.lock().unwrap_or_else(PoisonError::into_inner);
        invalid.insert((topic.to_string(), partition), position.to_string()).as_deref() != Some(position)
    }

    /// Makes the source check a partition whose position was out of range.
    pub(super) fn look_at_again(&self, topic: &str, partition: i32) {
        self.news().resets.insert((topic.to_string(), partition));
        self.has_news.store(true, Ordering::Release);
    }

    /// Returns whether there are events that the source must handle before it accepts another record.
    pub(super) fn has_news(&self) -> bool {
        self.has_news.load(Ordering::Acquire)
    }

    pub(super) fn take_news(&self) -> News {
        let mut news = self.news();
        self.has_news.store(false, Ordering::Release);
        std::mem::take(&mut news)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Partition, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A query to the brokers.
struct Question {
    unknown: BTreeMap<Partition, Wait>,
    /// Per partition, the topic that this process read last.
    known: HashMap<Partition, String>,
    /// Topics whose IDs are looked up.
    topics: Vec<String>,
    /// Current ID of each topic where it is known. Brokers with outdated metadata may still return an older one.
    expected: HashMap<String, String>,
    reset: Option<Offset>,
    identity: TopicIdentity,
}

/// A partition that waits for its start to be looked up.
#[derive(Clone, Copy, Debug)]
struct Wait {
    /// Number that distinguishes this wait from an earlier one for the same partition.
    number: u64,
    cause: Cause,
}

#[derive(Debug, Default)]
struct Answer {
    begun: Vec<(u64, Beginning)>,
    /// Per topic that was created again, the former and the current topic, as `CLUSTER/ID`.
    renewed: BTreeMap<String, (String, String)>,
    /// Existing topics, as `CLUSTER/ID`.
    topics: HashMap<String, String>,
    /// Set if the brokers have not returned topic IDs and these are not needed.
    without_ids: bool,
    fatal: Option<SourceError>,
    problem: Option<String>,
}

/// Lookup of partition starts, and detection of topics that were created again.
pub(super) struct Beginnings<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    consumer: &'env BaseConsumer<Group>,
    waiting: BTreeMap<Partition, Wait>,
    number: u64,
    expected: HashMap<String, String>,
    /// Set if the brokers have not returned topic IDs and these are not needed.
    without_ids: bool,
    asking: Option<ScopedJoinHandle<'scope, Answer>>,
    /// Time of the last query for the existing topics.
    compared: Instant,
    failed: Option<Instant>,
}

/// The results since the last call.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Partitions that can be read from now on.
    pub begun: Vec<Beginning>,
    /// Partitions whose topic has another ID than the topic being read.
    pub renewed: Vec<Partition>,
}

impl<'scope, 'env> Beginnings<'scope, 'env> {
    pub(super) fn new(scope: &'scope Scope<'scope, 'env>, consumer: &'env BaseConsumer<Group>) -> Self {
        Beginnings {
            scope,
            consumer,
            waiting: BTreeMap::new(),
            number: 0,
            expected: HashMap::new(),
            without_ids: false,
            asking: None,
            compared: Instant::now(),
            failed: None,
        }
    }

    /// Queues the lookup of a partition's start.
    pub(super) fn wait_for(&mut self, partition: Partition, cause: Cause) {
        self.number += 1;
        self.waiting.insert(partition, Wait { number: self.number, cause });
        self.failed = None;
    }

    /// Records the current ID of a topic.
    pub(super) fn expect(&mut self, topic: &str, id: &str) {
        self.expected.insert(topic.to_string(), id.to_string());
    }

    /// Removes partitions that are no longer assigned.
    pub(super) fn retain(&mut self, is_assigned: impl Fn(&Partition) -> bool) {
        self.waiting.retain(|partition, _| is_assigned(partition));
    }

    /// Returns the results of a finished query, and starts the next one when it is due. Never blocks on the brokers.
    ///
    /// # Errors
    /// Fails if a topic was created again while `auto_offset_reset` is `none`, or if the brokers do not support topic
    /// IDs.
    pub(super) fn turn(&mut self) -> Result<Changes, SourceError> {
        match self.asking.take_if(|asking| asking.is_finished()) {
            Some(asking) => self.take_in(asking),
            None if self.asking.is_none() => {
                self.ask_if_due();
                Ok(Changes::default())
            }
            None => Ok(Changes::default()),
        }
    }

    fn ask_if_due(&mut self) {
        if self.failed.is_some_and(|failed| failed.elapsed() < PAUSE)
            || (self.waiting.is_empty() && self.compared.elapsed() < INTERVAL)
        {
            return;
        }
        self.compared = Instant::now();
        let context = self.consumer.context();
        let assigned =
            if context.is_extract { TopicPartitionList::new() } else { self.consumer.assignment().unwrap_or_default() };
        let assigned = assigned.elements();
        let topics = assigned
            .iter()
            .map(|element| element.topic().to_string())
            .chain(self.waiting.keys().map(|(topic, _)| topic.clone()));
        // If the brokers did not return topic IDs before, the lookup of waiting partitions must not be delayed by
        // asking again.
        let topics: BTreeSet<String> = topics.filter(|_| !self.without_ids || self.waiting.is_empty()).collect();
        let facts = &context.topics;
        let question = Question {
            unknown: self.waiting.clone(),
            known: facts.known().clone(),
            topics: topics.into_iter().collect(),
            expected: self.expected.clone(),
            reset: facts.reset,
            identity: facts.identity,
        };
        let consumer = self.consumer;
        match Builder::new()
            .name("logproc-topics".to_string())
            .spawn_scoped(self.scope, move || ask(consumer, &question))
        {
            Ok(asking) => self.asking = Some(asking),
            Err(error) => {
                self.failed = Some(Instant::now());
                warn!(%error, "failed to start a thread that looks up where partitions begin; retrying");
            }
        }
    }

    fn take_in(&mut self, asking: ScopedJoinHandle<'scope, Answer>) -> Result<Changes, SourceError> {
        let Answer { begun, renewed, topics, without_ids, fatal, problem } = asking.join().unwrap_or_default();
        let context = self.consumer.context();
        for (topic, (then, now)) in &renewed {
            context.hub.count_offset_reset();
            error!(
                topic,
                then,
                now,
                "the topic was deleted and created again: its offsets begin again, and it is read as `auto_offset_reset` says"
            );
        }
        if let Some(fatal) = fatal {
            return Err(fatal);
        }
        self.without_ids |= without_ids;
        self.failed = problem.as_ref().map(|_| Instant::now());
        if problem.is_none() {
            context.log.works_again(&[LOOK_UP]);
        } else if let Some(error) = problem
            && let Some(repeated) = context.log.failed(LOOK_UP)
        {
            warn!(
                client = context.log.client(),
                error,
                waiting = self.waiting.len(),
                repeated,
                "failed to look up where partitions begin; retrying"
            );
        }
        let mut changes = Changes::default();
        let mut known = context.topics.known();
        for (number, beginning) in begun {
            // A partition that was assigned again meanwhile is looked up again.
            if self.waiting.get(&beginning.partition).is_some_and(|wait| wait.number == number) {
                self.waiting.remove(&beginning.partition);
                if let Some(now) = topics.get(&beginning.partition.0) {
                    known.insert(beginning.partition.clone(), now.clone());
                }
                changes.begun.push(beginning);
            }
        }
        if !context.is_extract {
            let is_other = |(partition, then): &(&Partition, &String)| {
                !self.waiting.contains_key(*partition)
                    && topics.get(&partition.0).is_some_and(|now| id_of(now) != id_of(then))
            };
            changes.renewed.extend(known.iter().filter(is_other).map(|(partition, _)| partition.clone()));
        }
        drop(known);
        if !self.waiting.is_empty() {
            self.failed = Some(Instant::now());
        }
        Ok(changes)
    }
}

fn ask(consumer: &BaseConsumer<Group>, question: &Question) -> Answer {
    let mut answer = Answer::default();
    let is_needed = question.identity == TopicIdentity::TopicId;
    let timeout = if is_needed { LOOK_UP_TIMEOUT } else { OPTIONAL_LOOK_UP_TIMEOUT };
    let described = topic_ids(consumer.client(), &question.topics, timeout).unwrap_or_else(|problem| {
        answer.without_ids = !is_needed;
        answer.problem = Some(problem).filter(|_| is_needed);
        HashMap::new()
    });
    answer.topics = described.iter().filter_map(|(topic, id)| Some((topic.clone(), id.clone()?))).collect();
    let held = match committed(consumer, question) {
        Ok(held) => held,
        Err(problem) => return Answer { problem: Some(problem), ..answer },
    };
    let mut without = Vec::new();
    for (partition, wait) in &question.unknown {
        let now = match described.get(&partition.0) {
            Some(Some(id)) if question.expected.get(&partition.0).is_none_or(|expected| id_of(id) == expected) => {
                Some(id.clone())
            }
            Some(None) if is_needed => {
                answer.fatal = Some(SourceError::NoTopicId(partition.0.clone()));
                return answer;
            }
            _ if is_needed => {
                answer
                    .problem
                    .get_or_insert_with(|| format!("the brokers do not tell the id of topic `{}`", partition.0));
                continue;
            }
            Some(id) => id.clone(),
            None => None,
        };
        let (offset, note) = held.get(partition).cloned().unwrap_or_default();
        let renewed = now.as_ref().and_then(|now| {
            let noted = note.filter(|then| is_another(then, now));
            noted
                .or_else(|| question.known.get(partition).filter(|then| id_of(then) != id_of(now)).cloned())
                .map(|then| (then, now.clone()))
        });
        let is_renewed = renewed.is_some() && !matches!(wait.cause, Cause::Given(_));
        if let Some(renewed) = renewed.filter(|_| is_renewed) {
            answer.renewed.insert(partition.0.clone(), renewed);
            if question.reset.is_none() {
                answer.fatal = Some(SourceError::Recreated(partition.0.clone()));
                return answer;
            }
        }
        let start = match wait.cause {
            Cause::Given(start) => Some(start),
            Cause::Assigned if !is_renewed => offset,
            Cause::Assigned | Cause::Reset => None,
        };
        let topic_id = now.as_deref().filter(|_| is_needed).map(|now| Arc::from(id_of(now)));
        let reuses_ids = start.is_none() && (topic_id.is_none() || (wait.cause == Cause::Reset && !is_renewed));
        let beginning = Beginning { partition: partition.clone(), start: start.unwrap_or(-1), topic_id, reuses_ids };
        match start {
            Some(_) => answer.begun.push((wait.number, beginning)),
            None => without.push((wait.number, beginning)),
        }
    }
    let asked = without.len();
    match with_reset_offsets(consumer, question.reset, without) {
        Ok(begun) => {
            if begun.len() < asked && question.reset.is_some() {
                answer.problem.get_or_insert_with(|| {
                    "the brokers do not tell the first and last offsets of some partitions".to_string()
                });
            }
            answer.begun.extend(begun);
        }
        Err(problem) => answer.problem = Some(problem),
    }
    answer
}

/// Returns the committed offset of each waiting partition, and the topic recorded in its commit metadata.
fn committed(
    consumer: &BaseConsumer<Group>,
    question: &Question,
) -> Result<HashMap<Partition, (Option<i64>, Option<String>)>, String> {
    let mut wanted = TopicPartitionList::new();
    for ((topic, partition), wait) in &question.unknown {
        if wait.cause == Cause::Assigned && consumer.context().commits {
            wanted.add_partition(topic, *partition);
        }
    }
    let mut found = HashMap::new();
    if wanted.count() == 0 {
        return Ok(found);
    }
    let held = consumer.committed_offsets(wanted, LOOK_UP_TIMEOUT).map_err(|error| error.to_string())?;
    for element in held.elements() {
        element.error().map_err(|error| error.to_string())?;
        let offset = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        found.insert((element.topic().to_string(), element.partition()), (offset, noted(element.metadata())));
    }
    Ok(found)
}

/// Looks up the offsets that `auto_offset_reset` stands for, for partitions without an offset. If it is `none`,
/// librdkafka reports the partition.
fn with_reset_offsets(
    consumer: &BaseConsumer<Group>,
    reset: Option<Offset>,
    mut without: Vec<(u64, Beginning)>,
) -> Result<Vec<(u64, Beginning)>, String> {
    let Some(reset) = reset.filter(|_| !without.is_empty()) else { return Ok(Vec::new()) };
    let mut wanted = TopicPartitionList::with_capacity(without.len());
    for (_, beginning) in &without {
        let (topic, partition) = &beginning.partition;
        // As timestamps of a ListOffsets request, these two values stand for the first and the last offset.
        wanted.add_partition_offset(topic, *partition, reset).map_err(|error| error.to_string())?;
    }
    let found = consumer.offsets_for_times(wanted, LOOK_UP_TIMEOUT).map_err(|error| error.to_string())?;
    without.retain_mut(|(_, beginning)| {
        let (topic, partition) = &beginning.partition;
        match found
            .find_partition(topic, *partition)
            .filter(|element| element.error().is_ok())
            .map(|element| element.offset())
        {
            Some(Offset::Offset(start)) => {
                beginning.start = start;
                true
            }
            _ => false,
        }
    });
    Ok(without)
}
