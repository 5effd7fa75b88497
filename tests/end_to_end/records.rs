//! Records of every kind on a real broker: however they were written, packed and spread, each ends once, and nothing of it is lost.

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};

use super::servers::{PATIENCE, Run, World, service, wait_until};

fn producer(properties: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", std::env::var("KAFKA_BROKERS").unwrap());
    properties.iter().for_each(|(name, value)| {
        config.set(*name, *value);
    });
    config.create().unwrap()
}

/// Puts values on a partition.
fn put(world: &World, producer: &BaseProducer, partition: i32, values: impl Iterator<Item = String>) {
    for value in values {
        producer
            .send(BaseRecord::<(), _>::to(&world.topic).partition(partition).payload(&value))
            .map_err(|(error, _)| error)
            .unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

fn numbers(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|number| format!(r#"{{"n":{number},"text":"the same words that pack well, the same words"}}"#))
}

/// The only dead letter, which is in a file.
fn the_letter(world: &World) -> Value {
    let letters = std::fs::read_to_string(std::env::temp_dir().join(world.dead_letter_topic())).unwrap();
    serde_json::from_str(letters.trim_end()).unwrap()
}

fn add_partitions(world: &World, all: usize) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", std::env::var("KAFKA_BROKERS").unwrap()).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for result in runtime
        .block_on(admin.create_partitions(&[NewPartitions::new(&world.topic, all)], &AdminOptions::new()))
        .unwrap()
    {
        result.unwrap();
    }
}

#[test]
fn packed_records_transactions_new_partitions_and_a_broker_that_restarts_cost_nothing() {
    let world = World::with_source("packed", "", "metadata_max_age_ms = 1000");
    for (partition, codec) in ["gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
        put(&world, &producer(&[("compression.type", codec), ("linger.ms", "50")]), partition as i32, numbers(0..500));
    }
    world.open_transaction(numbers(0..80)).commit_transaction(PATIENCE).unwrap();
    world.open_transaction(numbers(0..80)).abort_transaction(PATIENCE).unwrap();
    let run = Run::start(&world);
    wait_until("the packed ones and those of one transaction", || world.documents() == 2_080);

    add_partitions(&world, 6);
    wait_until("the new partitions to be its own", || run.metric("logproc_assigned_partitions") == 6.0);
    let plain = producer(&[]);
    (0..6).for_each(|partition| put(&world, &plain, partition, numbers(0..10)));
    wait_until("those of the new partitions", || world.documents() == 2_140);

    service(&["kill", "kafka"]);
    service(&["up", "kafka"]);
    (0..6).for_each(|partition| put(&world, &plain, partition, numbers(0..10)));
    wait_until("those since the restart", || world.documents() == 2_200);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert_eq!(run.metric("logproc_offset_resets_total"), 0.0);
    assert!(run.stop().success());
    assert_eq!((world.documents(), world.distinct_ids()), (2_200, 2_200));
}

#[test]
fn where_a_record_lay_its_key_time_and_headers_are_metadata_of_its_event() {
    let options =
        "decorate_events = \"extended\"\n[[filter]]\ntype = \"mutate\"\ncopy = { \"[@metadata][kafka]\" = \"kafka\" }";
    let world = World::with_source("decorated", "", options);
    let producer = producer(&[]);
    let headers = OwnedHeaders::new()
        .insert(Header { key: "trace", value: Some("t-1") })
        .insert(Header { key: "none", value: None::<&str> });
    let record = BaseRecord::to(&world.topic)
        .partition(3)
        .key("k")
        .payload(r#"{"n":1}"#)
        .timestamp(1_790_000_000_123)
        .headers(headers);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
    let run = Run::start(&world);
    wait_until("the document", || world.documents() == 1);
    assert!(run.stop().success());
    let mut kafka = world.one_document()["kafka"].clone();
    assert!(kafka.as_object_mut().unwrap().remove("consumer_group").is_some());
    let expected = json!({"topic": world.topic, "partition": 3, "offset": 0, "key": "k", "timestamp": 1_790_000_000_123_i64, "headers": {"trace": "t-1", "none": ""}});
    assert_eq!(kafka, expected);
}

#[test]
fn a_record_as_large_as_the_topic_allows_arrives_and_one_beyond_max_event_bytes_is_kept_whole() {
    let world = World::with_source("huge", "", "max_event_bytes = \"9MiB\"");
    world.configure_topic(&[("max.message.bytes", "12582912")]);
    let producer = producer(&[("message.max.bytes", "12582912")]);
    let of = |size: usize| format!(r#"{{"words":"{}"}}"#, "word ".repeat(size / 5));
    put(&world, &producer, 0, [of(8 << 20), of(11 << 20)].into_iter());
    put(&world, &producer, 0, numbers(0..10));
    let run = Run::start(&world);
    wait_until("all but one", || world.documents() == 11);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(run.stop().success());
    let letter = the_letter(&world);
    assert_eq!((&letter["reason"], &letter["offset"]), (&json!("oversized"), &json!(1)));
    assert!(letter["value"].as_str() == Some(&of(11 << 20)), "the value is whole");
}

#[test]
fn a_record_that_a_broker_has_damaged_is_kept_aside_and_harms_nothing_else() {
    const DAMAGED: &[u8] = br#"{"n":0,"of":"damaged"}"#;
    let world = World::with_source("damaged", "", "");
    let producer = producer(&[]);
    // Each a batch of its own in the log.
    for batch in ["before", "damaged", "after"] {
        put(&world, &producer, 0, (0..5).map(|number| format!(r#"{{"n":{number},"of":"{batch}"}}"#)));
    }
    service(&["stop", "kafka"]);
    let log = format!(
        "{}/../data/kafka/{}-0/00000000000000000000.log",
        std::env::var("DEV_CERTIFICATES").unwrap(),
        world.topic
    );
    let mut bytes = std::fs::read(&log).unwrap();
    let at = bytes.windows(DAMAGED.len()).position(|window| window == DAMAGED).unwrap();
    bytes[at] = b'X';
    std::fs::write(&log, bytes).unwrap();
    service(&["up", "kafka"]);
    let run = Run::start(&world);
    wait_until("what is whole", || world.documents() == 14);
    wait_until("the lag to be zero", || world.lag() == 0);
    assert!(run.stop().success());
    let letter = the_letter(&world);
    assert_eq!((&letter["reason"], &letter["offset"]), (&json!("decode"), &json!(5)));
}
