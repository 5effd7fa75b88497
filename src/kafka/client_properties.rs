//! Selection of the librdkafka properties that one client takes from another client's configuration.
//!
//! A source's properties are also used to look up topics and to administer a group, and those of the dead-letter
//! producer to read its topic. Properties of producers and of group members are omitted there: librdkafka validates
//! some of them against values that only the other client has, and would reject the client.

use std::collections::BTreeMap;

type Properties = BTreeMap<String, String>;

/// Properties that librdkafka accepts for consumers only (`C` in its CONFIGURATION.md), except callbacks, which can't
/// be configured as text.
const CONSUMER_ONLY: &[&str] = &[
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "check.crcs",
    "consume.callback.max.messages",
    "coordinator.query.interval.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.protocol.type",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "offset.store.method",
    "offset.store.path",
    "offset.store.sync.interval.ms",
    "partition.assignment.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "session.timeout.ms",
];

/// Properties that librdkafka accepts for producers only (`P` in its CONFIGURATION.md).
const PRODUCER_ONLY: &[&str] = &[
    "acks",
    "batch.num.messages",
    "batch.size",
    "compression.codec",
    "compression.level",
    "compression.type",
    "delivery.report.only.error",
    "delivery.timeout.ms",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "linger.ms",
    "message.send.max.retries",
    "message.timeout.ms",
    "partitioner",
    "produce.offset.report",
    "queue.buffering.backpressure.threshold",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queuing.strategy",
    "request.required.acks",
    "request.timeout.ms",
    "retries",
    "sticky.partitioning.linger.ms",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Properties of all clients that describe a single client and not the cluster.
const OF_ONE_CLIENT: &[&str] = &["message.copy.max.bytes", "message.max.bytes", "statistics.interval.ms"];

/// Consumer properties that control how records are read, and do not concern a group.
const OF_READING: &[&str] = &[
    "check.crcs",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "isolation.level",
    "max.partition.fetch.bytes",
    "queued.max.messages.kbytes",
    "queued.min.messages",
];

/// librdkafka's default of `fetch.max.bytes`.
const FETCH_MAX_BYTES: u64 = 52_428_800;
/// librdkafka's default of `message.max.bytes`.
const MESSAGE_MAX_BYTES: u64 = 1_000_000;
/// librdkafka's default of `receive.message.max.bytes`.
const RECEIVE_MAX_BYTES: u64 = 100_000_000;
/// Bytes by which a response may be larger than the fetched records; librdkafka itself requires 512.
const RESPONSE_OVERHEAD: u64 = 512;
/// Bytes by which a batch with its headers may be larger than `message.max.bytes`.
const BATCH_OVERHEAD: u64 = 1 << 20;

/// Returns whether a property is for consumers only.
pub(crate) fn is_for_consumers(name: &str) -> bool {
    CONSUMER_ONLY.contains(&name)
}

/// Returns the properties that every client of the same cluster needs: addresses, credentials, certificates, timeouts.
pub(crate) fn of_connection(properties: &Properties) -> Properties {
    let is_left_out =
        |name: &str| [CONSUMER_ONLY, PRODUCER_ONLY, OF_ONE_CLIENT].iter().any(|names| names.contains(&name));
    properties
        .iter()
        .filter(|(name, _)| !is_left_out(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Returns the properties of a consumer for lookups on a source's cluster. It belongs to no group and commits nothing
/// automatically.
pub(crate) fn for_looking_up(properties: &Properties) -> Properties {
    let mut chosen = of_connection(properties);
    // The isolation level determines which offsets can be read.
    chosen.extend(properties.get_key_value("isolation.level").map(|(name, value)| (name.clone(), value.clone())));
    chosen.extend(not_committing());
    fit_sizes(&mut chosen);
    chosen
}

/// Returns the properties of a consumer that reads what the producer with these properties has written. Consumer
/// properties among them that control how records are read are kept.
pub(crate) fn for_reading(producer: &Properties) -> Properties {
    let mut chosen = of_connection(producer);
    let of_reading = producer.iter().filter(|(name, _)| OF_READING.contains(&name.as_str()));
    chosen.extend(of_reading.map(|(name, value)| (name.clone(), value.clone())));
    chosen.extend(not_committing());
    // Brokers send the first batch of a partition however large it is; the client must only accept its size.
    if let Some(largest) = number(producer, "message.max.bytes") {
        let needed = largest + BATCH_OVERHEAD;
        if needed > number(&chosen, "receive.message.max.bytes").unwrap_or(RECEIVE_MAX_BYTES) {
            chosen.insert("receive.message.max.bytes".to_string(), needed.to_string());
        }
    }
    fit_sizes(&mut chosen);
    chosen
}

/// Returns the properties without those for consumers only.
pub(crate) fn for_producing(properties: &Properties) -> Properties {
    properties
        .iter()
        .filter(|(name, _)| !is_for_consumers(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn not_committing() -> [(String, String); 2] {
    ["enable.auto.commit", "enable.auto.offset.store"].map(|name| (name.to_string(), "false".to_string()))
}

/// Adjusts a consumer's sizes if one was set and another has a value that librdkafka rejects in combination with it.
///
/// A consumer does not need `message.max.bytes`, but librdkafka requires `fetch.max.bytes` to be at least as large, and
/// `receive.message.max.bytes` to be larger than `fetch.max.bytes`.
pub(crate) fn fit_sizes(properties: &mut Properties) {
    let mut fetch = number(properties, "fetch.max.bytes");
    if let Some(receive) = number(properties, "receive.message.max.bytes")
        && fetch.unwrap_or(FETCH_MAX_BYTES) + RESPONSE_OVERHEAD > receive
    {
        let fitting = receive.saturating_sub(RESPONSE_OVERHEAD);
        properties.insert("fetch.max.bytes".to_string(), fitting.to_string());
        fetch = Some(fitting);
    }
    let most = fetch.unwrap_or(FETCH_MAX_BYTES);
    if number(properties, "message.max.bytes").unwrap_or(MESSAGE_MAX_BYTES) > most {
        properties.insert("message.max.bytes".to_string(), most.to_string());
    }
}

fn number(properties: &Properties, name: &str) -> Option<u64> {
    properties.get(name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::CStr;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
    use rdkafka::consumer::{BaseConsumer, ConsumerContext};
    use rdkafka::producer::{BaseProducer, DeliveryResult, ProducerContext};
    use rdkafka::{ClientConfig, ClientContext, bindings};

    use super::*;

    /// A client context that collects librdkafka's warnings.
    #[derive(Clone, Default)]
    struct Warnings(Arc<Mutex<Vec<String>>>);

    impl ClientContext for Warnings {
        fn log(&self, _: RDKafkaLogLevel, _: &str, message: &str) {
            self.0.lock().unwrap().push(message.to_string());
        }
    }

    impl ConsumerContext for Warnings {}

    impl ProducerContext for Warnings {
        type DeliveryOpaque = ();

        fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
    }

    fn map(entries: &[(&str, &str)]) -> Properties {
        entries.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn config(properties: &Properties) -> ClientConfig {
        properties.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Returns all librdkafka properties with their defaults, except those without a default and aliases.
    #[allow(unsafe_code)]
    fn defaults() -> Properties {
        let mut found = Properties::new();
        // SAFETY: both configurations are destroyed once, and the dumps, arrays of `count` texts, are freed after they
        // were copied.
        unsafe {
            let (global, topic) = (bindings::rd_kafka_conf_new(), bindings::rd_kafka_topic_conf_new());
            let mut count = 0;
            for of_topic in [false, true] {
                let dump = match of_topic {
                    false => bindings::rd_kafka_conf_dump(global, &mut count),
                    true => bindings::rd_kafka_topic_conf_dump(topic, &mut count),
                };
                let text = |index: usize| CStr::from_ptr(*dump.add(index)).to_string_lossy().into_owned();
                found.extend((0..count / 2).map(|pair| (text(2 * pair), text(2 * pair + 1))));
                bindings::rd_kafka_conf_dump_free(dump, count);
            }
            bindings::rd_kafka_conf_destroy(global);
            bindings::rd_kafka_topic_conf_destroy(topic);
        }
        found
    }

    /// Number of polls: more than the warnings with which a client starts, because each poll takes one from its queue.
    const POLLS: usize = 500;

    fn ignored_by_a_consumer(properties: &Properties) -> BTreeSet<String> {
        ignored(properties, |client: &BaseConsumer<Warnings>| drop(client.poll(Duration::ZERO)))
    }

    fn ignored_by_a_producer(properties: &Properties) -> BTreeSet<String> {
        ignored(properties, |client: &BaseProducer<Warnings>| client.poll(Duration::ZERO))
    }

    /// Returns the properties that a client of this type ignores according to librdkafka's warnings.
    fn ignored<C: FromClientConfigAndContext<Warnings>>(
        properties: &Properties,
        poll: impl Fn(&C),
    ) -> BTreeSet<String> {
        let warnings = Warnings::default();
        let client = config(properties).create_with_context::<_, C>(warnings.clone());
        let client = client.unwrap_or_else(|error| panic!("{error}: {properties:?}"));
        (0..POLLS).for_each(|_| poll(&client));
        let warnings = warnings.0.lock().unwrap();
        let of_ignored = warnings.iter().filter(|text| text.contains("property and will be ignored by"));
        let name = |text: &String| {
            text.split("Configuration property ").nth(1).and_then(|rest| rest.split(' ').next()).map(str::to_string)
        };
        of_ignored.filter_map(name).collect()
    }

    #[test]
    fn the_tables_are_librdkafkas() {
        // A property that is rejected at its default in combination with others (an offset store in files, callbacks)
        // can't be classified.
        let is_settable = |name: &String, value: &String| config(&map(&[(name, value)])).create_native_config().is_ok();
        let mut all = defaults();
        all.retain(|name, value| is_settable(name, value) && !value.starts_with("0x") && !name.contains("oauthbearer"));
        assert!(all.len() > 90, "{}", all.len());
        let set = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
        assert_eq!(
            ignored_by_a_consumer(&map(&[("acks", "all")])),
            set(&["request.required.acks"]),
            "an alias is named by its property"
        );
        let ignored_by_consumers = ignored_by_a_consumer(&all);
        let ignored_by_producers = ignored_by_a_producer(&all);
        assert!(
            ignored_by_consumers.len() > 15 && ignored_by_producers.len() > 20,
            "{ignored_by_consumers:?} {ignored_by_producers:?}"
        );
        assert_eq!(ignored_by_consumers.difference(&set(PRODUCER_ONLY)).collect::<Vec<_>>(), Vec::<&String>::new());
        assert_eq!(ignored_by_producers.difference(&set(CONSUMER_ONLY)).collect::<Vec<_>>(), Vec::<&String>::new());
        // Neither table contains a property that the other type of client uses.
        let used = |names: &[&str], ignored: &BTreeSet<String>| -> Vec<String> {
            let known = names.iter().filter(|name| all.contains_key(**name) && !ignored.contains(**name));
            known.map(|name| name.to_string()).collect()
        };
        assert_eq!(used(PRODUCER_ONLY, &ignored_by_consumers), Vec::<String>::new());
        assert_eq!(used(CONSUMER_ONLY, &ignored_by_producers), Vec::<String>::new());
        assert!(OF_READING.iter().all(|name| CONSUMER_ONLY.contains(name)));
    }

    #[test]
    fn a_reader_is_made_of_what_a_producer_was_given() {
        for (given, expected) in [
            (
                &[("message.max.bytes", "200000000"), ("acks", "all"), ("linger.ms", "5")][..],
                &[("receive.message.max.bytes", "201048576")][..],
            ),
            (&[("message.max.bytes", "10000000")], &[]),
            (&[("message.max.bytes", "10000000"), ("fetch.max.bytes", "2000000")], &[("fetch.max.bytes", "2000000")]),
            (
                &[("receive.message.max.bytes", "3000000")],
                &[("fetch.max.bytes", "2999488"), ("receive.message.max.bytes", "3000000")],
            ),
            (
                &[
                    ("group.protocol", "consumer"),
                    ("group.instance.id", "a"),
                    ("enable.auto.commit", "true"),
                    ("transactional.id", "t"),
                ],
                &[],
            ),
        ] {
            let mut producer = map(given);
            producer.extend(map(&[("bootstrap.servers", "127.0.0.1:1"), ("security.protocol", "ssl")]));
            let reader = for_reading(&producer);
            let mut wanted = map(expected);
            wanted.extend(map(&[("bootstrap.servers", "127.0.0.1:1"), ("security.protocol", "ssl")]));
            wanted.extend(not_committing());
            assert_eq!(reader, wanted);
            assert_eq!(ignored_by_a_consumer(&reader), BTreeSet::new(), "and librdkafka takes them");
            assert_eq!(ignored_by_a_producer(&for_producing(&map(&[("fetch.max.bytes", "2000000")]))), BTreeSet::new());
        }
    }

    #[test]
    fn looking_up_needs_nothing_of_a_group() {
        let source = map(&[
            ("bootstrap.servers", "127.0.0.1:1"),
            ("group.protocol", "consumer"),
            ("max.poll.interval.ms", "10000"),
            ("message.max.bytes", "90000000"),
            ("statistics.interval.ms", "5000"),
            ("isolation.level", "read_uncommitted"),
            ("ssl.ca.location", "ca.pem"),
        ]);
        let mut expected = map(&[
            ("bootstrap.servers", "127.0.0.1:1"),
            ("isolation.level", "read_uncommitted"),
            ("ssl.ca.location", "ca.pem"),
        ]);
        expected.extend(not_committing());
        assert_eq!(for_looking_up(&source), expected);
        assert_eq!(ignored_by_a_consumer(&for_looking_up(&source)), BTreeSet::new());
    }

    #[test]
    fn sizes_that_librdkafka_would_refuse_are_made_to_agree() {
        for given in [
            &[("message.max.bytes", "90000000"), ("fetch.max.bytes", "1048576")][..],
            &[("fetch.max.bytes", "500000")],
            &[("receive.message.max.bytes", "600000")],
            &[
                ("message.max.bytes", "90000000"),
                ("receive.message.max.bytes", "600000"),
                ("fetch.max.bytes", "700000"),
            ],
        ] {
            let mut properties = map(given);
            assert!(config(&properties).create::<BaseConsumer>().is_err(), "{given:?}");
            fit_sizes(&mut properties);
            assert!(config(&properties).create::<BaseConsumer>().is_ok(), "{properties:?}");
        }
    }
}
