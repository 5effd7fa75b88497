//! Offset commits of the group, one at a time, each with its response.
//!
//! A commit is sent only after the previous one was answered, and a partition is revoked only while no commit is in
//! flight. Otherwise a commit that librdkafka retries, or has kept until the coordinator was reachable again, could
//! arrive after a commit of the partition's next owner. In a cooperative rebalance the former owner remains a member,
//! and brokers do not check which member a partition is assigned to.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;
use tracing::warn;

use super::bounded::{PendingCommit, Refused};
use super::group::Group;
use crate::delivery::ledger::Commit;
use crate::kafka::topic_ids::note;

/// Timeout for looking up committed offsets. Polling is blocked meanwhile.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(2);
/// Time without a response after which the committed offsets are looked up.
const UNANSWERED: Duration = Duration::from_secs(15);

/// The commit in flight.
#[derive(Debug, Default)]
pub(super) struct Commits(Mutex<Option<UnderWay>>);

#[derive(Debug)]
struct UnderWay {
    pending: PendingCommit,
    commits: Vec<Commit>,
    since: Instant,
}

/// A guard that drops the commit in flight when it is dropped, which must happen before its client is dropped.
pub(super) struct EndOfCommits<'a>(pub &'a BaseConsumer<Group>);

impl Drop for EndOfCommits<'_> {
    fn drop(&mut self) {
        self.0.context().under_way.lock().take();
    }
}

impl Commits {
    fn lock(&self) -> MutexGuard<'_, Option<UnderWay>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Commits every done offset, unless the previous commit has not been answered yet.
pub(super) fn commit_what_is_done(consumer: &BaseConsumer<Group>) {
    let group = consumer.context();
    let mut under_way = group.under_way.lock();
    if !settle(&mut under_way, group, |pending| pending.answer(Duration::ZERO)) {
        if let Some(UnderWay { commits, .. }) = under_way.take_if(|commit| commit.since.elapsed() > UNANSWERED) {
            look_up(consumer, &commits);
        }
        return;
    }
    let commits = group.hub.ledger().committable();
    match send(consumer, &commits) {
        Ok(pending) => *under_way = pending.map(|pending| UnderWay { pending, commits, since: Instant::now() }),
        Err(error) => group.commit_failed(&error.to_string()),
    }
}

/// Waits for the response to the commit in flight, then sends the commits returned by `commits` and waits for their
/// response.
///
/// Both take at most the session timeout or, once a stop was requested, the remaining time to drain: brokers that have been
/// unreachable for so long have received no heartbeat either, have removed this member, and accept no commit from it.
pub(super) fn commit_and_wait(consumer: &BaseConsumer<Group>, commits: impl FnOnce() -> Vec<Commit>) {
    let group = consumer.context();
    let shutdown = &group.hub.shutdown;
    let began = Instant::now();
    let answer = |pending: &PendingCommit| {
        pending.answer_within(group.session_timeout.saturating_sub(began.elapsed()), shutdown)
    };
    let mut under_way = group.under_way.lock();
    if !settle(&mut under_way, group, answer) {
        warn!(client = group.log.client(), "brokers have not answered a commit in time; it may still arrive");
        *under_way = None;
    }
    let commits = commits();
    let result = match send(consumer, &commits) {
        Ok(None) => return,
        Ok(Some(pending)) => answer(&pending),
        Err(error) => Some(Err(error)),
    };
    let result = result.unwrap_or(Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::OperationTimedOut)));
    if result.is_err() && shutdown.is_requested() {
        group.hub.note_uncommitted(commits.len());
    }
    take_in(group, result);
}

/// Handles the response to the commit in flight. Returns whether no commit is in flight any more.
fn settle(
    under_way: &mut Option<UnderWay>,
    group: &Group,
    answer: impl FnOnce(&PendingCommit) -> Option<KafkaResult<Refused>>,
) -> bool {
    let Some(commit) = under_way else { return true };
    let Some(result) = answer(&commit.pending) else { return false };
    take_in(group, result);
    *under_way = None;
    true
}

/// Sends a commit and marks it as requested in the ledger. Returns `None` if there is nothing to commit.
fn send(consumer: &BaseConsumer<Group>, commits: &[Commit]) -> KafkaResult<Option<PendingCommit>> {
    let group = consumer.context();
    if commits.is_empty() || !group.commits {
        return Ok(None);
    }
    let mut offsets = TopicPartitionList::with_capacity(commits.len());
    for commit in commits {
        let mut element = offsets.add_partition(&commit.topic, commit.partition);
        element.set_offset(Offset::Offset(commit.offset))?;
        if let Some(mark) = group.mark_after(commit) {
            element.set_metadata(mark);
        } else if let Some(id) = group.topics.of(&commit.topic, commit.partition) {
            element.set_metadata(note(&id));
        }
    }
    let mut ledger = group.hub.ledger();
    for commit in commits {
        ledger.requested(commit);
    }
    drop(ledger);
    PendingCommit::send(consumer, &offsets).map(Some)
}

/// Records the response to a commit. A commit that failed, even in part, is repeated later.
fn take_in(group: &Group, result: KafkaResult<Refused>) {
    match result.as_ref().map(|refused| refused.first()) {
        Ok(None) => group.committed(),
        Ok(Some((topic, partition, code))) => group.commit_failed(&format!("{topic}:{partition}: {code}")),
        Err(error) => group.commit_failed(&error.to_string()),
    }
}

/// Looks up the committed offsets of these commits. A commit that was lost is sent again.
fn look_up(consumer: &BaseConsumer<Group>, asked: &[Commit]) {
    let group = consumer.context();
    let mut wanted = TopicPartitionList::with_capacity(asked.len());
    for commit in asked {
        wanted.add_partition(&commit.topic, commit.partition);
    }
    let held = match consumer.committed_offsets(wanted, LOOK_UP_TIMEOUT) {
        Ok(held) => held,
        Err(error) => return group.commit_failed(&format!("failed to look up the committed offsets: {error}")),
    };
    let is_held = |commit: &Commit| {
        let found = held.find_partition(&commit.topic, commit.partition);
        found.is_some_and(|found| found.offset() == Offset::Offset(commit.offset))
    };
    match asked.iter().find(|commit| !is_held(commit)) {
        None => group.committed(),
        Some(commit) => {
            group.commit_failed(&format!("{} is not held for {}:{}", commit.offset, commit.topic, commit.partition))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rdkafka::ClientConfig;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;
    use crate::delivery::{Hub, Shutdown, Span};
    use crate::telemetry::health::Health;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A group without members, with records that are done.
    struct World {
        // Dropped first, as `PendingCommit` requires.
        consumer: BaseConsumer<Group>,
        hub: Arc<Hub>,
        brokers: MockCluster<'static, DefaultProducerContext>,
    }

    impl World {
        fn new() -> World {
            let brokers = MockCluster::new(1).unwrap();
            brokers.create_topic("in", 1, 1).unwrap();
            let hub = Hub::new("test", "1", 1 << 20, Shutdown::new());
            hub.ledger().assign("in", 0);
            let group = Group::new(hub.clone(), Health::default().readiness("source"));
            let mut config = ClientConfig::new();
            config
                .set("bootstrap.servers", brokers.bootstrap_servers())
                .set("group.id", "logproc")
                .set("enable.auto.commit", "false");
            World { consumer: config.create_with_context(group).unwrap(), hub, brokers }
        }

        fn is_done_to(&self, end: i64) {
            let origin = self.hub.ledger().origin("in", 0).unwrap();
            let ticket = self.hub.ledger().deliver(&origin, Span { start: None, end }, 0).unwrap();
            self.hub.ledger().complete(ticket);
        }

        fn is_under_way(&self) -> bool {
            self.consumer.context().under_way.lock().is_some()
        }

        /// Waits for the response to the commit in flight.
        fn settle(&self) {
            assert!(settle(&mut self.consumer.context().under_way.lock(), self.consumer.context(), |pending| pending
                .answer(PATIENCE)));
        }

        fn held(&self) -> Offset {
            let mut wanted = TopicPartitionList::new();
            wanted.add_partition("in", 0);
            self.consumer.committed_offsets(wanted, PATIENCE).unwrap().elements()[0].offset()
        }
    }

    #[test]
    fn a_commit_is_sent_when_the_one_before_it_has_been_answered() {
        let world = World::new();
        let _end = EndOfCommits(&world.consumer);
        world.is_done_to(7);
        world.brokers.broker_round_trip_time(1, Duration::from_millis(300)).unwrap();
        commit_what_is_done(&world.consumer);
        world.is_done_to(9);
        commit_what_is_done(&world.consumer);
        assert_eq!(world.hub.ledger().committable()[0].offset, 9, "it was not sent");
        world.settle();
        world.brokers.broker_round_trip_time(1, Duration::ZERO).unwrap();
        assert_eq!(world.held(), Offset::Offset(7));
        commit_what_is_done(&world.consumer);
        world.settle();
        assert_eq!(world.held(), Offset::Offset(9));
    }

    #[test]
    fn whoever_gives_partitions_away_waits_for_the_commit_under_way() {
        let world = World::new();
        world.is_done_to(7);
        world.brokers.broker_round_trip_time(1, Duration::from_millis(500)).unwrap();
        commit_what_is_done(&world.consumer);
        commit_and_wait(&world.consumer, || {
            world.is_done_to(9);
            world.hub.ledger().committable()
        });
        assert!(!world.is_under_way());
        world.brokers.broker_round_trip_time(1, Duration::ZERO).unwrap();
        assert_eq!(world.held(), Offset::Offset(9));
    }

    #[test]
    fn what_brokers_refuse_is_committed_again() {
        let world = World::new();
        world.is_done_to(7);
        world.brokers.request_errors(
            RDKafkaApiKey::OffsetCommit,
            &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED],
        );
        commit_and_wait(&world.consumer, || world.hub.ledger().committable());
        assert_eq!(world.hub.ledger().committable()[0].offset, 7);
        commit_and_wait(&world.consumer, || world.hub.ledger().committable());
        assert_eq!((world.hub.ledger().committable(), world.held()), (vec![], Offset::Offset(7)));
    }

    #[test]
    fn a_commit_that_was_lost_on_the_way_is_sent_again_and_one_that_is_held_is_not() {
        let world = World::new();
        world.is_done_to(7);
        let asked = world.hub.ledger().committable();
        world.hub.ledger().requested(&asked[0]);
        look_up(&world.consumer, &asked);
        assert_eq!(world.hub.ledger().committable(), asked);
        commit_and_wait(&world.consumer, || asked.clone());
        look_up(&world.consumer, &asked);
        assert_eq!(world.hub.ledger().committable(), []);
    }
}
