//! Positions on a real broker: nothing is skipped where librdkafka's own position can't be trusted.

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::servers::{PATIENCE, Run, World, service, wait_until};

/// A pipeline with little room, so that reading stalls often, and requests of one document.
const NARROW: &str = r#"
[pipeline]
in_flight_limit = "64KiB"
[source]
type = "kafka"
bootstrap_servers = "${KAFKA_BROKERS}"
topics = "${KAFKA_TOPICS}"
group_id = "${KAFKA_GROUP}"
codec = "json"
commit_interval = "200ms"
rebalance_timeout = "1s"
[sink]
type = "elasticsearch"
hosts = "${ELASTICSEARCH_URL}"
data_stream_dataset = "nginx.access"
data_stream_namespace = "${DATA_STREAM_NAMESPACE}"
data_stream_auto_routing = false
bulk_max_items = 1
[dead_letter]
path = "${DEAD_LETTER_PATH}"
"#;

/// Writes transactions of five records to each partition in turn; two of five are aborted. Returns the number of committed records.
fn write_transactions(producer: &BaseProducer, topic: &str, transactions: usize) -> usize {
    let mut committed = 0;
    for number in 0..transactions {
        producer.begin_transaction().unwrap();
        let values: Vec<String> = (0..5)
            .map(|record| format!(r#"{{"n":{number},"record":{record},"text":"{}"}}"#, "x".repeat(300)))
            .collect();
        for value in &values {
            let record = BaseRecord::<(), _>::to(topic).partition((number % 4) as i32).payload(value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        if number % 5 < 2 {
            producer.flush(PATIENCE).unwrap();
            producer.abort_transaction(PATIENCE).unwrap();
        } else {
            producer.commit_transaction(PATIENCE).unwrap();
            committed += values.len();
        }
    }
    committed
}

#[test]
fn nothing_is_skipped_among_transactions_while_reading_stalls_and_partitions_move() {
    let mut world = World::with_source("stalls", "", "");
    world.set_pipeline(NARROW);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", std::env::var("KAFKA_BROKERS").unwrap()).set("transactional.id", &world.topic);
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    let run = Run::start(&world);
    let mut committed = 0;
    for round in 1..=4 {
        service(&["signal", "elasticsearch", "STOP"]);
        committed += write_transactions(&producer, &world.topic, 60);
        // A member that comes and goes has librdkafka pause and resume what stays, twice.
        let second = Run::start(&world);
        wait_until("partitions to move", || second.metric("logproc_assigned_partitions") > 0.0);
        service(&["signal", "elasticsearch", "CONT"]);
        assert!(second.stop().success());
        wait_until("most of it to arrive", || world.documents() >= committed * round / (round + 1));
    }
    wait_until("all that was committed to arrive", || world.documents() >= committed);
    let gaps = |reason: &str| run.metric(&format!("logproc_offset_gaps_total{{reason=\"{reason}\"}}"));
    assert_eq!((gaps("unexplained"), gaps("deleted")), (0.0, 0.0));
    assert!(gaps("confirmed") > 0.0, "gaps are asked about again");
    assert!(run.stop().success());
    assert_eq!((world.documents(), world.distinct_ids()), (committed, committed));
}
