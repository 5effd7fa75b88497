//! How much librdkafka may hold.
//!
//! All partitions of a consumer share one queue, and `queued.max.messages.kbytes` bounds that one. It is overshot by what
//! is being fetched, which is compressed and grows when it is unpacked: so an answer, and each partition's share of it, is
//! bounded too, and for that the number of partitions is looked up first.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tracing::{debug, warn};

use super::{Topics, client_config};
use crate::login::client_properties;

const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);
/// What to reckon with when the brokers don't answer.
const UNKNOWN_PARTITIONS: usize = 16;
/// A fetched byte may become this many when it is unpacked.
const UNPACKED: usize = 4;
/// More of one partition at once saves no time and costs memory: what is unpacked from this much still comes from pages
/// that the allocator has at hand. Measured on one million events of 870 bytes, 4 partitions, lz4: 1.1 s of processor time
/// and 29 MB with 128 KiB, 1.7 s and 40 MB with 512 KiB.
const LARGEST_PARTITION_FETCH: usize = 128 << 10;

/// Adds the limits that the user has not set.
pub(super) fn derive(properties: &mut BTreeMap<String, String>, topics: &Topics, prefetch_bytes: usize) {
    let partitions = match count_partitions(properties, topics) {
        Ok(0) => UNKNOWN_PARTITIONS,
        Ok(partitions) => partitions,
        Err(error) => {
            warn!(%error, "could not look up the number of partitions; a guess is used");
            UNKNOWN_PARTITIONS
        }
    };
    let limits = Limits::new(prefetch_bytes, partitions);
    debug!(partitions, ?limits, "derived limits for fetching");
    let mut default = |name: &str, value: usize| {
        properties.entry(name.to_string()).or_insert_with(|| value.to_string());
    };
    default("queued.max.messages.kbytes", limits.queue_kib);
    default("max.partition.fetch.bytes", limits.partition_fetch);
    default("fetch.max.bytes", limits.fetch);
    // No smaller than the largest answer: librdkafka refuses to start otherwise.
    default("message.max.bytes", limits.fetch.min(1_000_000));
}

#[derive(Debug, PartialEq, Eq)]
struct Limits {
    queue_kib: usize,
    partition_fetch: usize,
    fetch: usize,
}

impl Limits {
    fn new(prefetch_bytes: usize, partitions: usize) -> Self {
        let share = prefetch_bytes / 2 / partitions;
        Limits {
            queue_kib: (prefetch_bytes / 4 / 1024).max(256),
            partition_fetch: (share / UNPACKED).clamp(32 << 10, LARGEST_PARTITION_FETCH),
            fetch: (prefetch_bytes / 4 / UNPACKED).clamp(1_000_000, 16 << 20),
        }
    }
}

fn count_partitions(properties: &BTreeMap<String, String>, topics: &Topics) -> rdkafka::error::KafkaResult<usize> {
    let client: BaseConsumer = client_config(&client_properties::for_looking_up(properties)).create()?;
    match topics {
        Topics::Named(names) => {
            let mut count = 0;
            for name in names {
                let metadata = client.fetch_metadata(Some(name), LOOK_UP_TIMEOUT)?;
                count += metadata.topics().iter().map(|topic| topic.partitions().len()).sum::<usize>();
            }
            Ok(count)
        }
        Topics::Pattern(pattern) => {
            let metadata = client.fetch_metadata(None, LOOK_UP_TIMEOUT)?;
            let Ok(pattern) = regex::Regex::new(&format!("^(?:{pattern})$")) else { return Ok(0) };
            let matching = metadata.topics().iter().filter(|topic| pattern.is_match(topic.name()));
            Ok(matching.map(|topic| topic.partitions().len()).sum())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_and_what_is_fetched_stay_in_the_share() {
        for partitions in [1, 4, 64, 1_000] {
            let limits = Limits::new(16 << 20, partitions);
            let fetched = limits.fetch.min(partitions * limits.partition_fetch) * UNPACKED;
            assert!(limits.queue_kib * 1024 + fetched <= 16 << 20, "{partitions} partitions: {limits:?}");
        }
        assert_eq!(Limits::new(16 << 20, 4).partition_fetch, LARGEST_PARTITION_FETCH);
        assert_eq!(Limits::new(4 << 20, 16).partition_fetch, 32 << 10);
    }

    #[test]
    fn partitions_are_counted_whatever_the_member_of_a_group_was_given() {
        let cluster = rdkafka::mocking::MockCluster::new(1).unwrap();
        cluster.create_topic("t", 3, 1).unwrap();
        let given = [
            ("group.protocol", "consumer"),
            ("max.poll.interval.ms", "10000"),
            ("group.id", "g"),
            ("message.max.bytes", "90000000"),
            ("fetch.max.bytes", "1000000"),
        ];
        let mut properties: BTreeMap<String, String> = given.map(|(name, value)| (name.to_string(), value.to_string())).into();
        properties.insert("bootstrap.servers".to_string(), cluster.bootstrap_servers());
        for topics in [Topics::Named(vec!["t".to_string()]), Topics::Pattern("t+".to_string())] {
            assert_eq!(count_partitions(&properties, &topics), Ok(3));
        }
    }
}
