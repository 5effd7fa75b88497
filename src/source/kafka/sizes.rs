//! Limits on the memory that librdkafka may hold.
//!
//! All partitions of a consumer share one queue, which `queued.max.messages.kbytes` limits. While the queue is below
//! the limit, each broker is sent one request at a time, so the limit is exceeded by one response per broker. A
//! response is decompressed as a whole, and its decompressed size is not known in advance, so the number of bytes per
//! response must be small. A broker sends at least one batch, however large that is.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use tracing::{debug, warn};

use super::{Topics, client_config};
use crate::delivery::source::Prefetch;
use crate::kafka::client_log::{Logged, LookUpClient};
use crate::kafka::client_properties;

const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);
/// Number of brokers assumed when the lookup fails.
const UNKNOWN_BROKERS: usize = 3;
/// Maximum decompressed bytes per fetched byte: lz4 has no larger ratio. (gzip and zstd reach more if records consist
/// of one repeated text; the text of logs becomes 5 to 20 times as large.)
const UNPACKED: usize = 256;
/// Bytes for decompressed records below which the fetch size is reduced further. The default `memory_limit` leaves less
/// than this. Large records that zstd has compressed strongly are then decompressed a few at a time.
const ROOMY_UNPACKED: usize = 24 << 20;
/// Maximum bytes of one response; more saves no time. Measured on 300,000 events of 870 bytes in lz4 batches of 16 KiB,
/// 4 partitions: 0.40 to 0.46 s of processor time with 128 KiB, 256 KiB and 1 MB, 0.49 s with 32 KiB, 1.1 s with one
/// batch at a time.
const LARGEST_FETCH: usize = 16 << 20;
/// Maximum bytes of one partition in a response. More saves no time and costs memory: what is decompressed from this
/// much still fits in pages that the allocator reuses. Measured on one million events of 870 bytes, 4 partitions, lz4:
/// 1.1 s of processor time and 29 MB with 128 KiB, 1.7 s and 40 MB with 512 KiB.
const LARGEST_PARTITION_FETCH: usize = 128 << 10;
/// Minimum value that librdkafka accepts for `message.max.bytes`, below which `fetch.max.bytes` must not be.
const SMALLEST_FETCH: usize = 1_000;
/// Bytes that librdkafka needs for a queued record in addition to the record's own.
const QUEUED_RECORD: usize = 320;

/// Adds the limits that the user has not set.
pub(super) fn derive(properties: &mut BTreeMap<String, String>, topics: &Topics, prefetch: Prefetch) {
    let brokers = match count_brokers(properties, topics) {
        Ok(0) => UNKNOWN_BROKERS,
        Ok(brokers) => brokers,
        Err(error) => {
            warn!(%error, "failed to look up the brokers of the topics; assuming {UNKNOWN_BROKERS}");
            UNKNOWN_BROKERS
        }
    };
    let limits = Limits::new(prefetch, brokers);
    debug!(brokers, ?limits, "derived limits for fetching");
    limits.add_to(properties);
}

#[derive(Debug, PartialEq, Eq)]
struct Limits {
    queue_kib: usize,
    queued_records: usize,
    partition_fetch: usize,
    fetch: usize,
}

impl Limits {
    fn new(prefetch: Prefetch, brokers: usize) -> Self {
        let caution = (prefetch.unpacked as f64 / ROOMY_UNPACKED as f64).min(1.0);
        let fetch = ((prefetch.unpacked / UNPACKED / brokers) as f64 * caution) as usize;
        let fetch = fetch.clamp(SMALLEST_FETCH, LARGEST_FETCH);
        Limits {
            queue_kib: (prefetch.queue >> 10).max(1),
            queued_records: (prefetch.queue / QUEUED_RECORD).max(1),
            partition_fetch: fetch.min(LARGEST_PARTITION_FETCH),
            fetch,
        }
    }

    fn add_to(&self, properties: &mut BTreeMap<String, String>) {
        let given = |name: &str| properties.get(name).and_then(|value| value.parse::<usize>().ok());
        // librdkafka rejects a `message.max.bytes` above `fetch.max.bytes`. A consumer uses it only for its first
        // estimate of a decompressed size.
        let message = given("message.max.bytes");
        let fetch = given("fetch.max.bytes").unwrap_or(self.fetch.max(message.unwrap_or(0)));
        let mut default = |name: &str, value: usize| {
            properties.entry(name.to_string()).or_insert_with(|| value.to_string());
        };
        default("queued.max.messages.kbytes", self.queue_kib);
        default("queued.min.messages", self.queued_records);
        default("max.partition.fetch.bytes", self.partition_fetch);
        default("fetch.max.bytes", fetch);
        default("message.max.bytes", fetch.clamp(SMALLEST_FETCH, 1_000_000));
    }
}

/// Returns the number of brokers that lead a partition of the topics.
fn count_brokers(properties: &BTreeMap<String, String>, topics: &Topics) -> rdkafka::error::KafkaResult<usize> {
    let logged = Logged::named("look-up of brokers");
    let client: LookUpClient =
        client_config(&client_properties::for_looking_up(properties)).create_with_context(logged)?;
    let mut leaders = HashSet::new();
    match topics {
        Topics::Named(names) => {
            for name in names {
                let metadata = client.fetch_metadata(Some(name), LOOK_UP_TIMEOUT)?;
                leaders.extend(
                    metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.leader()),
                );
            }
        }
        Topics::Pattern(pattern) => {
            let metadata = client.fetch_metadata(None, LOOK_UP_TIMEOUT)?;
            let Ok(pattern) = regex::Regex::new(&format!("^(?:{pattern})$")) else { return Ok(0) };
            let matching = metadata.topics().iter().filter(|topic| pattern.is_match(topic.name()));
            leaders.extend(matching.flat_map(|topic| topic.partitions()).map(|partition| partition.leader()));
        }
    }
    Ok(leaders.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_and_the_responses_of_all_brokers_stay_in_their_share() {
        for (mib, brokers) in [(1, 1), (4, 1), (28, 1), (28, 3), (200, 30)] {
            let prefetch = Prefetch { queue: mib << 18, unpacked: mib << 20 };
            let limits = Limits::new(prefetch, brokers);
            assert!(
                limits.queue_kib << 10 <= prefetch.queue && limits.queued_records * QUEUED_RECORD <= prefetch.queue,
                "{limits:?}"
            );
            assert!(
                limits.fetch == SMALLEST_FETCH || limits.fetch * UNPACKED * brokers <= prefetch.unpacked,
                "{mib} MiB, {brokers} brokers: {limits:?}"
            );
            assert!(limits.partition_fetch <= limits.fetch);
        }
        assert_eq!(
            Limits::new(Prefetch { queue: 1 << 20, unpacked: 64 << 20 }, 1).partition_fetch,
            LARGEST_PARTITION_FETCH
        );
        assert_eq!(Limits::new(Prefetch { queue: 1 << 20, unpacked: 2 << 20 }, 1).fetch, SMALLEST_FETCH);
    }

    #[test]
    fn librdkafka_takes_them_beside_those_of_the_user() {
        let limits = Limits::new(Prefetch { queue: 1 << 20, unpacked: 1 << 20 }, 3);
        for given in [
            &[][..],
            &[("fetch.max.bytes", "2000")],
            &[("message.max.bytes", "2000000")],
            &[("max.partition.fetch.bytes", "50000000")],
        ] {
            let mut properties =
                given.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string())).collect();
            limits.add_to(&mut properties);
            assert!(client_config(&properties).create_native_config().is_ok(), "{properties:?}");
            let client: rdkafka::error::KafkaResult<rdkafka::consumer::BaseConsumer> =
                client_config(&properties).create();
            assert!(client.is_ok(), "{properties:?}: {:?}", client.err());
        }
    }

    #[test]
    fn brokers_are_counted_whatever_the_member_of_a_group_was_given() {
        let cluster = rdkafka::mocking::MockCluster::new(2).unwrap();
        cluster.create_topic("t", 3, 1).unwrap();
        let given = [
            ("group.protocol", "consumer"),
            ("max.poll.interval.ms", "10000"),
            ("group.id", "g"),
            ("message.max.bytes", "90000000"),
            ("fetch.max.bytes", "1000000"),
        ];
        let mut properties: BTreeMap<String, String> =
            given.map(|(name, value)| (name.to_string(), value.to_string())).into();
        properties.insert("bootstrap.servers".to_string(), cluster.bootstrap_servers());
        for topics in [Topics::Named(vec!["t".to_string()]), Topics::Pattern("t+".to_string())] {
            assert_eq!(count_brokers(&properties, &topics), Ok(2));
        }
    }
}
