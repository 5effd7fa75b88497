//! The consumer group's side: what happens when partitions come and go, and what librdkafka reports.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use tracing::{error, info, warn};

use super::beginnings::TopicFacts;
use super::commits::{Commits, commit_and_wait};
use super::extract::Mark;
use crate::delivery::Hub;
use crate::delivery::ledger::Commit;
use crate::kafka::client_log::{COMMIT, ClientLog};
use crate::kafka::topic_ids::{TopicIdentity, as_kafka_prints_it};
use crate::telemetry::health::Readiness;
use crate::telemetry::metrics as names;

/// librdkafka's default of `session.timeout.ms`.
pub(super) const DEFAULT_SESSION_TIMEOUT: Duration = Duration::from_secs(45);

/// Called by librdkafka, on the source's thread unless it is about logs.
pub(super) struct Group {
    pub hub: Arc<Hub>,
    pub rebalance_timeout: Duration,
    pub readiness: Readiness,
    /// Set when partitions came or went since the source looked last.
    pub changed: AtomicBool,
    /// Whether offsets are committed at all.
    pub commits: bool,
    pub under_way: Commits,
    /// The time without a heartbeat after which brokers remove the member.
    pub session_timeout: Duration,
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
            under_way: Commits::default(),
            session_timeout: DEFAULT_SESSION_TIMEOUT,
            marks: Default::default(),
            topics: TopicFacts::new(None, TopicIdentity::TopicId),
            is_extract: false,
        }
    }

    /// Commits of this partition carry this text from now on.
    pub(super) fn keep_mark(&self, partition: i32, mark: Mark) {
        self.marks().insert(partition, mark);
    }

    /// Returns the commit metadata, if the partition has a mark.
    pub(super) fn mark_after(&self, commit: &Commit) -> Option<String> {
        self.marks().get(&commit.partition).map(|mark| mark.after(commit.tally.clone()).to_text())
    }

    /// Whether a mark is known for commits of this partition: one that was taken away has none.
    pub(super) fn has_mark(&self, partition: i32) -> bool {
        self.marks().contains_key(&partition)
    }

    fn marks(&self) -> MutexGuard<'_, HashMap<i32, Mark>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a commit succeeded.
    pub(super) fn committed(&self) {
        self.log.works_again(&[COMMIT]);
        metrics::counter!(names::COMMITS, "outcome" => "ok").increment(1);
    }

    /// Records that a commit failed, so that the offsets are committed again.
    pub(super) fn commit_failed(&self, error: &str) {
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
        let names: Vec<(String, i32)> = partitions
            .elements()
            .iter()
            .map(|partition| (partition.topic().to_string(), partition.partition()))
            .collect();
        let lost = consumer.assignment_lost();
        if lost {
            warn!(partitions = names.len(), "partitions lost: another member may have them already");
        } else {
            let limit = if self.hub.shutdown.is_forced() { Duration::ZERO } else { self.rebalance_timeout };
            let began = Instant::now();
            let drained = self
                .hub
                .wait_until(limit, |ledger| names.iter().all(|(topic, partition)| ledger.open(topic, *partition) == 0));
            commit_and_wait(consumer, || {
                let ledger = self.hub.ledger();
                names.iter().filter_map(|(topic, partition)| ledger.committable_of(topic, *partition)).collect()
            });
            info!(
                partitions = names.len(),
                drained,
                waited_ms = began.elapsed().as_millis() as u64,
                "partitions revoked"
            );
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
                if reset_partition(message)
                    .is_none_or(|(topic, partition, position)| self.topics.note_reset(topic, partition, position))
                {
                    self.hub.count_offset_reset();
                    error!(
                        facility,
                        "an offset is no longer valid: records were deleted before they were read, or the topic was deleted and created again: \
                         {message}"
                    );
                }
            }
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
        let partitions = statistics
            .topics
            .iter()
            .flat_map(|(topic, state)| state.partitions.iter().map(move |(id, state)| (topic, id, state)));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_messages_of_librdkafka_name_topics_and_partitions() {
        let renewed = "[thrd:main]: Topic a.b changed id from q1AAAAAAAAAAAAAAAAAAAA to q2AAAAAAAAAAAAAAAAAAAA";
        assert_eq!(renewed_topic(renewed), Some(("a.b", "q2AAAAAAAAAAAAAAAAAAAA")));
        assert_eq!(
            renewed_topic("Topic t changed id from AAAAAAAAAAAAAAAAAAAAAA to q2AAAAAAAAAAAAAAAAAAAA"),
            None,
            "it is seen for the first time"
        );
        assert_eq!(renewed_topic("Topic t partition 1 Leader 3"), None);
        let reset = "[thrd:main]: nginx-logs [12]: offset reset (at offset 9 (leader epoch 0), broker 1) to BEGINNING: fetch failed";
        assert_eq!(reset_partition(reset), Some(("nginx-logs", 12, "at offset 9")));
        assert_eq!(reset_partition("t [x]: offset reset"), None);
    }
}
