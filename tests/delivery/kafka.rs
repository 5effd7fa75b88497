//! The Kafka source against librdkafka's mock brokers.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::support::*;
use logproc::config::{Data, Key, Node, Span};
use logproc::delivery::Settings;
use logproc::runtime::load::{Overrides, load};
use logproc::sink::dead_letter::{self, DeadLetterSpec};
use logproc::source::kafka::{Extract, Part};
use logproc::source::{self, SourceSpec};
use logproc::telemetry::health::Health;
use logproc::testkit::fake_cluster::{FakeCluster, Fault, ItemFate};

struct Brokers {
    mock: MockCluster<'static, DefaultProducerContext>,
}

impl Brokers {
    fn start(topics: &[(&str, i32)]) -> Self {
        let mock = MockCluster::new(1).unwrap();
        for (topic, partitions) in topics {
            mock.create_topic(topic, *partitions, 1).unwrap();
        }
        Brokers { mock }
    }

    fn produce(&self, topic: &str, partition: i32, values: impl IntoIterator<Item = String>) {
        let producer: ThreadedProducer<_> =
            ClientConfig::new().set("bootstrap.servers", self.mock.bootstrap_servers()).create().unwrap();
        for value in values {
            let record = BaseRecord::<(), _>::to(topic).partition(partition).payload(value.as_bytes());
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(30)).unwrap();
    }

    fn consumer(&self, group: &str) -> BaseConsumer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.mock.bootstrap_servers()).set("group.id", group);
        config.create().unwrap()
    }

    fn committed(&self, topic: &str, partitions: i32) -> Vec<Option<i64>> {
        let consumer = self.consumer("logproc");
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_range(topic, 0, partitions - 1);
        let committed = consumer.committed_offsets(wanted, Duration::from_secs(30)).unwrap();
        committed
            .elements()
            .iter()
            .map(|partition| match partition.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            })
            .collect()
    }

    fn source(&self, topic: &str, more: &[(&str, Data)]) -> SourceSpec {
        let mut entries = vec![
            ("bootstrap_servers", text(self.mock.bootstrap_servers())),
            ("topics", text(topic)),
            ("group_id", text("logproc")),
            ("partition_assignment_strategy", text("range")),
            ("commit_interval", text("50ms")),
            // The mock brokers keep a member that has left until its session ends.
            ("session_timeout_ms", Data::Integer(6_000)),
            ("heartbeat_interval_ms", Data::Integer(500)),
            ("rebalance_timeout", text("5s")),
            // The mock brokers tell no ids of topics.
            ("topic_identity", text("name")),
        ];
        let span = Span::default();
        let often = Data::Table(vec![(
            Key { span, name: "statistics.interval.ms".into() },
            Node { span, data: Data::Integer(20) },
        )]);
        entries.push(("properties", often));
        entries.extend_from_slice(more);
        SourceSpec::from_args("kafka", &args(&source::kafka::DEF, &entries)).unwrap()
    }
}

fn numbers(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|number| format!("{{\"n\":{number}}}"))
}

#[test]
fn records_arrive_and_are_committed_behind_their_answers() {
    let brokers = Brokers::start(&[("in", 2)]);
    brokers.produce("in", 0, numbers(0..500));
    brokers.produce("in", 1, numbers(500..1_000));
    let cluster = FakeCluster::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(plan(
        brokers.source("in", &[]),
        vec![elasticsearch(&cluster.url(), &[])],
        &folder.path().join("dead"),
    ));
    until("all is stored", || cluster.stored().len() == 1_000);
    until("all is committed while running", || brokers.committed("in", 2) == [Some(500), Some(500)]);
    let summary = running.stop();
    assert_eq!((summary.records, summary.documents, summary.unfinished), (1_000, 1_000, 0));
    assert!(cluster.stored().values().all(|stored| stored.sent == 1));
    // A second run has nothing to read again.
    brokers.produce("in", 0, numbers(1_000..1_001));
    let running = Running::start(plan(
        brokers.source("in", &[]),
        vec![elasticsearch(&cluster.url(), &[])],
        &folder.path().join("dead"),
    ));
    until("the new record is stored", || cluster.stored().len() == 1_001);
    assert_eq!(running.stop().records, 1);
}

#[test]
fn an_offset_never_passes_what_has_not_ended() {
    let brokers = Brokers::start(&[("in", 1)]);
    brokers.produce("in", 0, numbers(0..300));
    let cluster = FakeCluster::start().unwrap();
    cluster.script_items(|_, source| match source {
        b"{\"n\":150}" => ItemFate::Refuse(503, "unavailable_shards_exception"),
        _ => ItemFate::Take,
    });
    let folder = tempfile::tempdir().unwrap();
    let mut first =
        plan(brokers.source("in", &[]), vec![elasticsearch(&cluster.url(), &[])], &folder.path().join("dead"));
    first.settings =
        Settings { workers: 2, batch_records: 10, shutdown_timeout: Duration::from_millis(300), ..Settings::default() };
    let running = Running::start(first);
    until("all others are stored", || cluster.stored().len() == 299);
    until("the prefix is committed", || brokers.committed("in", 1) == [Some(150)]);
    let summary = running.stop();
    assert_eq!(summary.unfinished, 10, "the batch of the record that never ended");
    assert_eq!(brokers.committed("in", 1), [Some(150)]);
    cluster.script_items(|_, _| ItemFate::Take);
    let running = Running::start(plan(
        brokers.source("in", &[]),
        vec![elasticsearch(&cluster.url(), &[])],
        &folder.path().join("dead"),
    ));
    until("the last one is stored", || cluster.stored().len() == 300);
    running.stop();
    assert_eq!(brokers.committed("in", 1), [Some(300)]);
}

#[test]
fn tombstones_and_oversized_values_release_their_offsets() {
    let brokers = Brokers::start(&[("in", 1), ("dead", 1)]);
    let producer: ThreadedProducer<_> =
        ClientConfig::new().set("bootstrap.servers", brokers.mock.bootstrap_servers()).create().unwrap();
    let headers = OwnedHeaders::new().insert(Header { key: "trace", value: Some("t1") });
    let big = "x".repeat(5_000);
    producer.send(BaseRecord::<str, str>::to("in").partition(0).key("gone")).map_err(|(error, _)| error).unwrap();
    producer
        .send(BaseRecord::to("in").partition(0).key("big").payload(&big).headers(headers))
        .map_err(|(error, _)| error)
        .unwrap();
    producer
        .send(BaseRecord::<str, _>::to("in").partition(0).payload("{\"n\":1}"))
        .map_err(|(error, _)| error)
        .unwrap();
    producer.flush(Duration::from_secs(30)).unwrap();
    let cluster = FakeCluster::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let source = brokers.source("in", &[("max_event_bytes", Data::Integer(1_000))]);
    let mut plan = plan(source, vec![elasticsearch(&cluster.url(), &[])], &folder.path().join("dead"));
    let entries = [("bootstrap_servers", text(brokers.mock.bootstrap_servers())), ("topic", text("dead"))];
    let spec = DeadLetterSpec::from_args(&args(&dead_letter::DEF, &entries)).unwrap();
    plan.dead_letter = spec.clone();
    let running = Running::start(plan);
    until("all three are committed", || brokers.committed("in", 1) == [Some(3)]);
    let summary = running.stop();
    assert_eq!((summary.dropped, summary.dead_lettered, summary.documents), (1, 1, 1));

    let mut letters = Vec::new();
    let gathered = dead_letter::read::read::<dead_letter::read::ReadError>(&spec, |letter| {
        letters.push(letter);
        Ok(true)
    });
    gathered.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].origin().as_str(), letters[0].fact("reason")), ("in:0:1", "oversized"));
    assert_eq!((letters[0].key.as_deref(), letters[0].value.as_deref()), (Some(&b"big"[..]), Some(big.as_bytes())));
    assert_eq!(letters[0].headers, [("trace".to_string(), Some(b"t1".to_vec()))]);

    let consumer = brokers.consumer("test");
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset("dead", 0, Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    let mut letter = None;
    until("the dead letter is read", || {
        letter = consumer.poll(Duration::from_millis(100)).map(|message| message.unwrap().detach());
        letter.is_some()
    });
    let letter = letter.unwrap();
    assert_eq!((letter.key(), letter.payload()), (Some(&b"big"[..]), Some(big.as_bytes())));
    let headers = letter.headers().unwrap();
    let header = |name: &str| {
        headers.iter().find(|header| header.key == name).and_then(|header| header.value).map(String::from_utf8_lossy)
    };
    assert_eq!(header("trace").as_deref(), Some("t1"));
    assert_eq!(header("logproc.reason").as_deref(), Some("oversized"));
    assert_eq!((header("logproc.topic").as_deref(), header("logproc.offset").as_deref()), (Some("in"), Some("1")));
}

/// Records of a kilobyte each, and a cluster that is away.
fn waiting_for_a_cluster(records: usize) -> (Brokers, FakeCluster) {
    let brokers = Brokers::start(&[("in", 1)]);
    let padding = "x".repeat(1_000);
    brokers.produce("in", 0, (0..records).map(|number| format!("{{\"n\":{number},\"p\":\"{padding}\"}}")));
    let cluster = FakeCluster::start().unwrap();
    cluster.fail_always(Some(Fault::Status(503, "unavailable")));
    (brokers, cluster)
}

#[test]
fn a_full_budget_pauses_reading_and_nothing_is_lost() {
    let (brokers, cluster) = waiting_for_a_cluster(5_000);
    let folder = tempfile::tempdir().unwrap();
    // A member that is not polled for longer than this is put out, and would read again what it has read.
    let patience = Duration::from_secs(6);
    let most = Data::Integer(patience.as_millis() as i64);
    let options = [("max_poll_interval_ms", most.clone()), ("session_timeout_ms", most)];
    let mut plan =
        plan(brokers.source("in", &options), vec![elasticsearch(&cluster.url(), &[])], &folder.path().join("dead"));
    plan.settings =
        Settings { workers: 1, in_flight_limit: Some(1 << 20), batch_bytes: 64 << 10, ..Settings::default() };
    let running = Running::start(plan);
    until("requests are refused", || cluster.requests() > 20);
    let since = std::time::Instant::now();
    until("the cluster has been away for longer than that", || since.elapsed() > patience + Duration::from_secs(1));
    assert!(cluster.documents() == 0 && cluster.stored().is_empty());
    cluster.fail_always(None);
    until("all is stored", || cluster.stored().len() == 5_000);
    let summary = running.stop();
    assert_eq!((summary.records, summary.documents), (5_000, 5_000));
    assert_eq!(brokers.committed("in", 1), [Some(5_000)]);
}

#[test]
fn what_was_paused_when_it_was_lost_is_read_when_it_comes_back() {
    let (brokers, cluster) = waiting_for_a_cluster(3_000);
    let folder = tempfile::tempdir().unwrap();
    let mut plan =
        plan(brokers.source("in", &[]), vec![elasticsearch(&cluster.url(), &[])], &folder.path().join("dead"));
    plan.settings =
        Settings { workers: 1, in_flight_limit: Some(256 << 10), batch_bytes: 64 << 10, ..Settings::default() };
    let running = Running::start(plan);
    // Longer than a full budget is waited for before partitions are paused.
    let since = std::time::Instant::now();
    until("reading is paused", || cluster.requests() > 20 && since.elapsed() > Duration::from_secs(5));
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    // Its partition is lost, what it held of it is let go, and there is room again before the partition comes back.
    brokers.mock.request_errors(RDKafkaApiKey::Heartbeat, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    until("nothing is asked any more", || {
        let before = cluster.requests();
        std::thread::park_timeout(Duration::from_millis(400));
        cluster.requests() == before
    });
    cluster.fail_always(None);
    until("all is stored", || cluster.stored().len() == 3_000);
    running.stop();
    assert_eq!(brokers.committed("in", 1), [Some(3_000)]);
}

#[test]
fn a_second_member_takes_over_without_loss() {
    let brokers = Brokers::start(&[("in", 4)]);
    for partition in 0..4 {
        brokers.produce("in", partition, numbers(partition as usize * 1_000..partition as usize * 1_000 + 500));
    }
    let cluster = FakeCluster::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        Running::start(plan(
            brokers.source("in", &[]),
            vec![elasticsearch(&cluster.url(), &[])],
            &folder.path().join("dead"),
        ))
    };
    let first = start();
    until("the first reads", || cluster.stored().len() == 2_000);
    let second = start();
    for partition in 0..4 {
        brokers.produce("in", partition, numbers(partition as usize * 1_000 + 500..partition as usize * 1_000 + 1_000));
    }
    until("all is stored", || cluster.stored().len() == 4_000);
    first.stop();
    for partition in 0..4 {
        brokers.produce("in", partition, ["{\"n\":-1}".to_string()]);
    }
    until("the second has taken over", || cluster.stored().len() == 4_004);
    second.stop();
    assert_eq!(brokers.committed("in", 4), [Some(1_001); 4]);
}

#[test]
fn an_extract_reads_its_parts_and_ends() {
    let brokers = Brokers::start(&[("in", 2)]);
    brokers.produce("in", 0, numbers(0..100));
    brokers.produce("in", 1, numbers(100..200));
    let cluster = FakeCluster::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let SourceSpec::Kafka(source) = brokers.source("in", &[]) else { panic!("a kafka source") };
    let parts = vec![Part { partition: 0, start: 10, end: 20 }, Part { partition: 1, start: 95, end: 100 }];
    let extract = Extract { topic: "in".into(), parts, letters: None, counts: Arc::default() };
    let source = SourceSpec::Kafka(Box::new(source.extract(extract, None)));
    let summary =
        Running::start(plan(source, vec![elasticsearch(&cluster.url(), &[])], &folder.path().join("dead"))).wait();
    assert_eq!((summary.records, summary.documents), (15, 15));
    let mut stored: Vec<String> = cluster.stored().into_values().map(|stored| stored.source).collect();
    let mut expected: Vec<String> = numbers(10..20).chain(numbers(195..200)).collect();
    stored.sort();
    expected.sort();
    assert_eq!(stored, expected);
    assert_eq!(brokers.committed("in", 2), [None, None], "read alone, it leaves no trace");
}

#[test]
fn an_offset_that_is_no_longer_valid_is_loud_and_nothing_that_exists_is_skipped() {
    let brokers = Brokers::start(&[("in", 1)]);
    brokers.produce("in", 0, numbers(0..100));
    let mut beyond = TopicPartitionList::new();
    beyond.add_partition_offset("in", 0, Offset::Offset(5_000)).unwrap();
    brokers.consumer("logproc").commit(&beyond, CommitMode::Sync).unwrap();
    let cluster = FakeCluster::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(plan(
        brokers.source("in", &[]),
        vec![elasticsearch(&cluster.url(), &[])],
        &folder.path().join("dead"),
    ));
    until("all that exists is stored", || cluster.stored().len() == 100);
    until("the commit goes back to what is true", || brokers.committed("in", 1) == [Some(100)]);
    assert_eq!(running.stop().offset_resets, 1);
}

#[test]
fn an_invalid_offset_ends_the_run_where_the_policy_says_so() {
    let brokers = Brokers::start(&[("in", 1)]);
    brokers.produce("in", 0, numbers(0..10));
    let mut beyond = TopicPartitionList::new();
    beyond.add_partition_offset("in", 0, Offset::Offset(5_000)).unwrap();
    brokers.consumer("logproc").commit(&beyond, CommitMode::Sync).unwrap();
    let cluster = FakeCluster::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let source = brokers.source("in", &[("auto_offset_reset", text("none"))]);
    let plan = plan(source, vec![elasticsearch(&cluster.url(), &[])], &folder.path().join("dead"));
    let failure = logproc::delivery::run(plan.build(), &logproc::delivery::Shutdown::new()).unwrap_err();
    assert!(failure.to_string().starts_with("source: kafka"), "{failure}");
    assert_eq!(failure.summary.records, 0);
    assert_eq!(brokers.committed("in", 1), [Some(5_000)], "the offset is the operator's to set");
}

#[test]
fn offsets_wait_for_dead_letters_that_can_not_be_written() {
    let brokers = Brokers::start(&[("in", 1)]);
    brokers.produce("in", 0, ["refuse".to_string(), "{\"n\":1}".to_string()]);
    let cluster = FakeCluster::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    // No folder can be made where a file is.
    let place = folder.path().join("taken");
    std::fs::write(&place, "").unwrap();
    let running =
        Running::start(plan(brokers.source("in", &[]), vec![elasticsearch(&cluster.url(), &[])], &place.join("dead")));
    until("the other record is stored", || cluster.stored().len() == 1);
    // Several commit intervals: what must not happen has had its time to.
    let since = std::time::Instant::now();
    until("some commits could have happened", || since.elapsed() > Duration::from_millis(300));
    assert_eq!(brokers.committed("in", 1), [None]);
    std::fs::remove_file(&place).unwrap();
    until("the offset follows the dead letter", || brokers.committed("in", 1) == [Some(2)]);
    assert_eq!(dead_letters(&place.join("dead")).len(), 1);
    assert_eq!(running.stop().dead_lettered, 1);
}

/// A pipeline with a dead-letter topic on brokers of its own.
fn with_letters_to(letters: &Brokers, mut plan: logproc::runtime::PlanSpec) -> logproc::runtime::PlanSpec {
    let entries = [("bootstrap_servers", text(letters.mock.bootstrap_servers())), ("topic", text("dead"))];
    plan.dead_letter = DeadLetterSpec::from_args(&args(&dead_letter::DEF, &entries)).unwrap();
    plan
}

#[test]
fn a_dead_letter_topic_that_is_away_is_waited_for() {
    let (brokers, letters) = (Brokers::start(&[("in", 1)]), Brokers::start(&[("dead", 1)]));
    letters.mock.broker_down(1).unwrap();
    brokers.produce("in", 0, ["refuse".to_string(), "{\"n\":1}".to_string()]);
    let cluster = FakeCluster::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dead");
    let plan = plan(brokers.source("in", &[]), vec![elasticsearch(&cluster.url(), &[])], &file);
    let running = Running::start(with_letters_to(&letters, plan));
    until("the other record is stored", || cluster.stored().len() == 1);
    // What comes later is delivered all the same, and nothing is committed.
    brokers.produce("in", 0, numbers(2..100));
    until("all others are stored", || cluster.stored().len() == 99);
    assert_eq!(brokers.committed("in", 1), [None]);
    letters.mock.broker_up(1).unwrap();
    until("the offset follows the dead letter", || brokers.committed("in", 1) == [Some(100)]);
    assert_eq!(running.stop().dead_lettered, 1);
    assert!(!file.exists(), "the file is for what is too large only");
}

#[test]
fn a_producer_that_has_given_up_for_good_is_exchanged() {
    let (brokers, target) = (Brokers::start(&[("in", 1)]), Brokers::start(&[("dead", 1), ("out", 1)]));
    let folder = tempfile::tempdir().unwrap();
    let entries = [("bootstrap_servers", text(target.mock.bootstrap_servers())), ("topic_id", text("out"))];
    let sink = logproc::sink::SinkSpec::from_args("kafka", &args(&logproc::sink::kafka::DEF, &entries)).unwrap();
    let plan = plan(brokers.source("in", &[]), vec![sink], &folder.path().join("dead"));
    let running = Running::start(with_letters_to(&target, plan));
    brokers.produce("in", 0, ["refuse".to_string(), "{\"n\":1}".to_string()]);
    until("both have arrived", || brokers.committed("in", 1) == [Some(2)]);
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    // What an idempotent producer can't recover from: each of the two meets it once.
    let lost = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    for (offset, value) in [(3, "refuse"), (4, "{\"n\":2}")] {
        target.mock.request_errors(RDKafkaApiKey::Produce, &[lost]);
        brokers.produce("in", 0, [value.to_string()]);
        until("it arrives by another producer", || brokers.committed("in", 1) == [Some(offset)]);
    }
    running.stop();
}

#[test]
fn leaders_and_coordinators_that_move_cost_nothing() {
    use rdkafka::mocking::MockCoordinator;
    let mock = MockCluster::new(3).unwrap();
    mock.create_topic("in", 3, 3).unwrap();
    let brokers = Brokers { mock };
    let lead = |first: i32| {
        (0..3).for_each(|partition| {
            brokers.mock.partition_leader("in", partition, Some((first + partition) % 3 + 1)).unwrap()
        })
    };
    lead(0);
    brokers.mock.coordinator(MockCoordinator::Group("logproc".into()), 1).unwrap();
    let cluster = FakeCluster::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(plan(
        brokers.source("in", &[("metadata_max_age_ms", Data::Integer(500))]),
        vec![elasticsearch(&cluster.url(), &[])],
        &folder.path().join("dead"),
    ));
    for round in 1..4 {
        let from = round as usize * 1_000;
        (0..3).for_each(|partition| {
            brokers.produce(
                "in",
                partition,
                numbers(from + partition as usize * 100..from + partition as usize * 100 + 100),
            )
        });
        until("the records of the round are stored", || cluster.stored().len() >= round as usize * 300);
        lead(round);
        brokers.mock.coordinator(MockCoordinator::Group("logproc".into()), round % 3 + 1).unwrap();
    }
    until("all is committed", || brokers.committed("in", 3) == [Some(300); 3]);
    assert_eq!(running.stop().unfinished, 0);
    assert_eq!(cluster.stored().len(), 900);
}

#[test]
fn brokers_that_fail_for_a_while_cost_nothing() {
    let brokers = Brokers::start(&[("in", 2)]);
    let cluster = FakeCluster::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(plan(
        brokers.source("in", &[]),
        vec![elasticsearch(&cluster.url(), &[])],
        &folder.path().join("dead"),
    ));
    brokers.produce("in", 0, numbers(0..200));
    until("reading has begun", || cluster.stored().len() == 200);
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    let moved = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    let coordinator = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR;
    brokers.mock.request_errors(RDKafkaApiKey::Fetch, &[moved, moved]);
    brokers.mock.request_errors(RDKafkaApiKey::OffsetCommit, &[coordinator, coordinator]);
    brokers.produce("in", 1, numbers(200..400));
    brokers.mock.broker_down(1).unwrap();
    brokers.mock.broker_up(1).unwrap();
    brokers.produce("in", 0, numbers(400..600));
    until("all is stored", || cluster.stored().len() == 600);
    until("all is committed", || brokers.committed("in", 2) == [Some(400), Some(200)]);
    // Where the mock brokers lose the member, some are read again; ids make that harmless.
    let summary = running.stop();
    assert!(summary.documents >= 600 && summary.unfinished == 0, "{summary:?}");
}

#[test]
fn what_a_former_owner_still_held_is_let_go() {
    let brokers = Brokers::start(&[("in", 2)]);
    brokers.produce("in", 0, numbers(0..50));
    brokers.produce("in", 1, numbers(50..100));
    let (away, there) = (FakeCluster::start().unwrap(), FakeCluster::start().unwrap());
    away.fail_always(Some(Fault::Status(503, "unavailable")));
    let folder = tempfile::tempdir().unwrap();
    let start = |cluster: &FakeCluster, shutdown_timeout: Duration| {
        let source = brokers.source("in", &[("rebalance_timeout", text("100ms"))]);
        let mut plan = plan(source, vec![elasticsearch(&cluster.url(), &[])], &folder.path().join("dead"));
        plan.settings.shutdown_timeout = shutdown_timeout;
        Running::start(plan)
    };
    let first = start(&away, Duration::from_millis(200));
    until("the first is stuck", || away.requests() > 3);
    let second = start(&there, Duration::from_secs(60));
    until("the second has a share of the partitions", || there.stored().len() == 50);
    // These brokers take no commit while members come and go: what is not committed by then is read again.
    until("its share is committed", || brokers.committed("in", 2).contains(&Some(50)));
    assert_eq!(away.stored().len(), 0);
    assert_eq!(first.stop().documents, 0);
    until("the second has all", || there.stored().len() == 100);
    second.stop();
    assert_eq!(brokers.committed("in", 2), [Some(50); 2]);
    assert!(there.stored().values().all(|stored| stored.sent == 1));
}

#[test]
fn options_that_contradict_are_refused() {
    let entries = [("topics", text("a")), ("topics_pattern", text("b"))];
    let problems = SourceSpec::from_args("kafka", &args(&source::kafka::DEF, &entries)).unwrap_err();
    assert!(problems[0].message.contains("not both"));
    assert_eq!(problems[0].span, Span::default());
}

#[test]
fn clusters_with_a_topic_of_the_same_name_are_told_apart() {
    let (one, two) = (Brokers::start(&[("in", 1)]), Brokers::start(&[("in", 1)]));
    one.produce("in", 0, numbers(0..300));
    two.produce("in", 0, numbers(300..500));
    let cluster = FakeCluster::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let input = |brokers: &Brokers, name: &str| {
        format!(
            r#"kafka {{ bootstrap_servers => "{}" topics => "in" group_id => "logproc" codec => json id => "{name}" type => "{name}" topic_identity => "name"
               partition_assignment_strategy => "range" session_timeout_ms => 6000 commit_interval => "50ms" }}"#,
            brokers.mock.bootstrap_servers()
        )
    };
    let config = format!(
        r#"input {{ {} {} }} output {{ elasticsearch {{ hosts => "{}" index => "logs" }} }}"#,
        input(&one, "east"),
        input(&two, "west"),
        cluster.url()
    );
    let path = folder.path().join("two.conf");
    std::fs::write(&path, config).unwrap();
    let loaded = load(&path, &Overrides::default()).unwrap();
    let mut plan = loaded.pipeline.unwrap().into_plan(Health::default());
    plan.dead_letter = DeadLetterSpec::file(folder.path().join("dead"));
    let running = Running::start(plan);
    until("the documents of both are stored", || cluster.stored().len() == 500);
    until("each has its own commits", || {
        one.committed("in", 1) == [Some(300)] && two.committed("in", 1) == [Some(200)]
    });
    let summary = running.stop();
    assert_eq!((summary.records, summary.documents, summary.unfinished), (500, 500, 0));
    let west = cluster.stored().values().filter(|stored| stored.source.contains("\"type\":\"west\"")).count();
    assert_eq!(west, 200);
}
