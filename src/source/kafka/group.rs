//! The consumer group's side: what happens when partitions come and go, and what librdkafka reports.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tracing::{error, info, warn};

use super::bounded::commit_within;
use super::extract::Mark;
use super::beginnings::TopicFacts;
use super::topic_id::{TopicIdentity, as_kafka_prints_it, note};
use crate::delivery::Hub;
use crate::delivery::ledger::Commit;
use crate::observe::health::Readiness;
use crate::observe::kafka_client::{COMMIT, ClientLog};
use crate::observe::metrics as names;

/// How long the brokers may take to say what they hold; polling waits meanwhile.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a commit may take that is waited for; while the run stops, it may take what is left of the time to drain.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Called by librdkafka, on the source's thread unless it is about logs.
pub(super) struct Group {
    pub hub: Arc<Hub>,
    pub rebalance_timeout: Duration,
    pub readiness: Readiness,
    /// Set when partitions came or went since the source looked last.
    pub changed: AtomicBool,
    /// Whether offsets are committed at all.
    pub commits: bool,
    /// What stands beside a partition's committed offset, for an extract.
    pub marks: Mutex<HashMap<i32, Mark>>,
    /// The topics that offsets belong to, and what librdkafka has logged of them.
    pub topics: TopicFacts,
    /// Whether an extract is read, which knows its topic by its marks.
    pub is_extract: bool,
    /// The log of this client.
    pub log: ClientLog,
}

impl Group {
    /// A member of a group that commits, gives partitions away at once, and reads new topics from their beginning.
    pub(super) fn new(hub: Arc<Hub>, readiness: Readiness) -> Group {
        let log = ClientLog::new(match hub.source {
            0 => "kafka source".to_string(),
            more => format!("kafka source {}", more + 1),
        });
        Group {
            log,
            hub,
            rebalance_timeout: Duration::ZERO,
            readiness,
            changed: false.into(),
            commits: true,
            marks: Default::default(),
            topics: TopicFacts::new(None, TopicIdentity::TopicId),
            is_extract: false,
        }
    }

    /// Commits of this partition carry this text from now on.
    pub(super) fn keep_mark(&self, partition: i32, mark: Mark) {
        self.marks().insert(partition, mark);
    }

    /// Whether a mark is known for commits of this partition: one that was taken away has none.
    pub(super) fn has_mark(&self, partition: i32) -> bool {
        self.marks().contains_key(&partition)
    }

    fn marks(&self) -> MutexGuard<'_, HashMap<i32, Mark>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit_failed(&self, error: &str) {
        if let Some(repeated) = self.log.failed(COMMIT) {
            warn!(client = self.log.client(), error, repeated, "failed to commit offsets; retrying");
        }
        metrics::counter!(names::COMMITS, "outcome" => "failed").increment(1);
        self.hub.ledger().commit_failed();
    }

    pub(super) fn assigned(&self, partitions: &TopicPartitionList) {
        let mut ledger = self.hub.ledger();
        for partition in partitions.elements() {
            ledger.assign(partition.topic(), partition.partition());
        }
        let owned = ledger.assigned();
        drop(ledger);
        self.changed.store(true, Ordering::Release);
        self.readiness.set(true);
        metrics::counter!(names::REBALANCES, "kind" => "assigned").increment(1);
        info!(partitions = partitions.count(), owned, "partitions assigned");
    }

    /// Nothing new of these partitions is read; what was read may still end, then what is done is committed, then all
    /// the rest is let go.
    fn revoked(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let names: Vec<(String, i32)> =
            partitions.elements().iter().map(|partition| (partition.topic().to_string(), partition.partition())).collect();
        let lost = consumer.assignment_lost();
        if lost {
            warn!(partitions = names.len(), "partitions lost: another member may have them already");
        } else {
            let limit = if self.hub.shutdown.is_forced() { Duration::ZERO } else { self.rebalance_timeout };
            let began = Instant::now();
            let drained =
                self.hub.wait_until(limit, |ledger| names.iter().all(|(topic, partition)| ledger.open(topic, *partition) == 0));
            let commits: Vec<Commit> = {
                let ledger = self.hub.ledger();
                names.iter().filter_map(|(topic, partition)| ledger.committable_of(topic, *partition)).collect()
            };
            commit(consumer, &self.hub, commits, CommitMode::Sync);
            info!(partitions = names.len(), drained, waited_ms = began.elapsed().as_millis() as u64, "partitions revoked");
        }
        let mut ledger = self.hub.ledger();
        for (topic, partition) in &names {
            ledger.revoke(topic, *partition);
            self.marks().remove(partition);
        }
        drop(ledger);
        for (topic, partition) in names {
            metrics::gauge!(names::LAG, "topic" => topic, "partition" => partition.to_string()).set(0.0);
        }
        self.changed.store(true, Ordering::Release);
        metrics::counter!(names::REBALANCES, "kind" => if lost { "lost" } else { "revoked" }).increment(1);
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => self.assigned(partitions),
            Rebalance::Revoke(partitions) => self.revoked(consumer, partitions),
            Rebalance::Error(error) => error!(%error, "rebalancing failed"),
        }
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            // librdkafka logs this when a position is not valid, not at a first start.
            RDKafkaLogLevel::Warning if facility == "OFFSET" && message.contains("offset reset") => {
                // Reading is told to go on at the same position once more before it is known that it is not valid.
                if reset_partition(message).is_none_or(|(topic, partition, position)| self.topics.note_reset(topic, partition, position)) {
                    self.hub.count_offset_reset();
                    error!(
                        facility,
                        "an offset is no longer valid: records were deleted before they were read, or the topic was deleted and created again: \
                         {message}"
                    );
                }
            }
            // All that it ever says of a commit that nobody waits for: a success it keeps to itself.
            RDKafkaLogLevel::Warning if facility == "COMMITFAIL" => self.commit_failed(message),
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                if let Some((topic, id)) = renewed_topic(message) {
                    self.topics.note_renewal(topic, &as_kafka_prints_it(id));
                }
                self.log.log(level, facility, message);
            }
            level => self.log.log(level, facility, message),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.log.statistics(&statistics);
        let partitions = statistics.topics.iter().flat_map(|(topic, state)| state.partitions.iter().map(move |(id, state)| (topic, id, state)));
        let lags: Vec<(&String, i32, i64)> = {
            let ledger = self.hub.ledger();
            let owned = partitions.filter(|(topic, partition, _)| ledger.origin(topic, **partition).is_some());
            owned
                .map(|(topic, partition, state)| {
                    let done_to = ledger.done_to(topic, *partition);
                    (topic, *partition, done_to.map_or(state.consumer_lag, |done_to| state.ls_offset - done_to))
                })
                .collect()
        };
        let known = lags.into_iter().filter(|(.., lag)| *lag >= 0).collect::<Vec<_>>();
        self.hub.set_lag(known.iter().map(|(.., lag)| lag).sum());
        for (topic, partition, lag) in known {
            metrics::gauge!(names::LAG, "topic" => topic.clone(), "partition" => partition.to_string()).set(lag as f64);
        }
    }
}

/// Returns the topic and its new id of `Topic NAME changed id from OLD to NEW`, where it had an id before.
fn renewed_topic(message: &str) -> Option<(&str, &str)> {
    const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";
    let (before, ids) = message.split_once(" changed id from ")?;
    let (_, topic) = before.rsplit_once("Topic ")?;
    let (then, now) = ids.split_once(" to ")?;
    (then != NO_ID && now != NO_ID).then_some((topic, now))
}

/// Returns topic, partition and position of `NAME [NUMBER]: offset reset (at POSITION, broker …`.
fn reset_partition(message: &str) -> Option<(&str, i32, &str)> {
    let (before, after) = message.split_once("]: offset reset")?;
    let (topic, partition) = before.rsplit_once(" [")?;
    let topic = topic.rsplit_once(' ').map_or(topic, |(_, topic)| topic);
    Some((topic, partition.parse().ok()?, after.split([',', '(']).nth(1).unwrap_or_default().trim()))
}

fn note_confirmed(group: &Group, offsets: &TopicPartitionList) {
    group.log.works_again(&[COMMIT]);
    let mut ledger = group.hub.ledger();
    for partition in offsets.elements() {
        if let Offset::Offset(offset) = partition.offset() {
            ledger.confirmed(partition.topic(), partition.partition(), offset);
        }
    }
}

/// Commits and notes it in the ledger; a failure is logged and the offsets are committed again later.
pub(super) fn commit(consumer: &BaseConsumer<Group>, hub: &Hub, commits: Vec<Commit>, mode: CommitMode) {
    if commits.is_empty() || !consumer.context().commits {
        return;
    }
    let mut offsets = TopicPartitionList::with_capacity(commits.len());
    let marks = consumer.context().marks();
    for commit in &commits {
        let mut element = offsets.add_partition(&commit.topic, commit.partition);
        if let Err(error) = element.set_offset(Offset::Offset(commit.offset)) {
            error!(%error, topic = &*commit.topic, partition = commit.partition, "an offset can't be committed");
        }
        if let Some(mark) = marks.get(&commit.partition) {
            element.set_metadata(mark.after(commit.tally.clone()).to_text());
        } else if let Some(id) = consumer.context().topics.of(&commit.topic, commit.partition) {
            element.set_metadata(note(&id));
        }
    }
    drop(marks);
    {
        let mut ledger = hub.ledger();
        for commit in &commits {
            ledger.requested(commit);
        }
    }
    let is_answered = matches!(mode, CommitMode::Sync);
    let result = match mode {
        CommitMode::Sync => commit_within(consumer, &offsets, COMMIT_TIMEOUT, &hub.shutdown),
        CommitMode::Async => consumer.commit(&offsets, mode),
    };
    match result {
        Ok(()) if is_answered => {
            note_confirmed(consumer.context(), &offsets);
            metrics::counter!(names::COMMITS, "outcome" => "ok").increment(1);
        }
        Ok(()) => {}
        Err(error) => {
            if is_answered && hub.shutdown.is_requested() {
                hub.note_uncommitted(commits.len());
            }
            consumer.context().commit_failed(&error.to_string());
        }
    }
}

/// Looks up what the brokers hold of these commits: one that was lost on the way is asked for again.
pub(super) fn look_up(consumer: &BaseConsumer<Group>, asked: &[Commit]) {
    let mut wanted = TopicPartitionList::with_capacity(asked.len());
    for commit in asked {
        wanted.add_partition(&commit.topic, commit.partition);
    }
    match consumer.committed_offsets(wanted, LOOK_UP_TIMEOUT) {
        Ok(held) => {
            note_confirmed(consumer.context(), &held);
            let is_held = |commit: &Commit| {
                let found = held.find_partition(&commit.topic, commit.partition);
                found.is_some_and(|found| found.offset() == Offset::Offset(commit.offset))
            };
            match asked.iter().find(|commit| !is_held(commit)) {
                None => metrics::counter!(names::COMMITS, "outcome" => "ok").increment(1),
                Some(commit) => consumer.context().commit_failed(&format!("{} is not held for {}:{}", commit.offset, commit.topic, commit.partition)),
            }
        }
        Err(error) => consumer.context().commit_failed(&format!("failed to look up the committed offsets: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;
    use rdkafka::mocking::MockCluster;

    use super::*;
    use crate::delivery::{Shutdown, Span};
    use crate::observe::health::Health;

    #[test]
    fn log_messages_of_librdkafka_name_topics_and_partitions() {
        let renewed = "[thrd:main]: Topic a.b changed id from q1AAAAAAAAAAAAAAAAAAAA to q2AAAAAAAAAAAAAAAAAAAA";
        assert_eq!(renewed_topic(renewed), Some(("a.b", "q2AAAAAAAAAAAAAAAAAAAA")));
        assert_eq!(renewed_topic("Topic t changed id from AAAAAAAAAAAAAAAAAAAAAA to q2AAAAAAAAAAAAAAAAAAAA"), None, "it is seen for the first time");
        assert_eq!(renewed_topic("Topic t partition 1 Leader 3"), None);
        let reset = "[thrd:main]: nginx-logs [12]: offset reset (at offset 9 (leader epoch 0), broker 1) to BEGINNING: fetch failed";
        assert_eq!(reset_partition(reset), Some(("nginx-logs", 12, "at offset 9")));
        assert_eq!(reset_partition("t [x]: offset reset"), None);
    }

    #[test]
    fn a_commit_that_was_lost_on_the_way_is_asked_for_again_and_one_that_is_held_is_not() {
        let brokers = MockCluster::new(1).unwrap();
        brokers.create_topic("in", 1, 1).unwrap();
        let hub = Hub::new("test", "1", 1 << 20, Shutdown::new());
        let group = Group::new(hub.clone(), Health::default().readiness("source"));
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers.bootstrap_servers()).set("group.id", "logproc").set("enable.auto.commit", "false");
        let consumer: BaseConsumer<Group> = config.create_with_context(group).unwrap();
        let origin = hub.ledger().assign("in", 0);
        let ticket = hub.ledger().deliver(&origin, Span { start: None, end: 7 }, 0).unwrap();
        hub.ledger().complete(ticket);
        let asked = hub.ledger().committable();
        // As when brokers restart: the ledger has asked, and nothing has come of it.
        hub.ledger().requested(&asked[0]);
        assert_eq!(hub.ledger().committable(), []);
        assert_eq!(hub.ledger().unanswered(), asked);
        look_up(&consumer, &asked);
        assert_eq!(hub.ledger().committable(), asked, "it is asked for again");

        commit(&consumer, &hub, asked.clone(), CommitMode::Sync);
        hub.ledger().requested(&asked[0]);
        look_up(&consumer, &asked);
        assert_eq!(hub.ledger().committable(), []);
        assert_eq!(hub.ledger().unanswered(), [], "the brokers hold it");
    }
}
