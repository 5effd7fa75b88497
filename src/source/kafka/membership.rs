//! From one membership of the group to the next: a client is opened, reads until it is over, and leaves.
//!
//! Two things end a membership before the run is over. A name in the group that another member has is asked for again. And where
//! certificates, keys or secrets were exchanged, a client with the new ones is opened; when that has worked, the old one hands over
//! what it has read, ends it, commits and leaves, and the new one joins in its place.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tracing::{info, warn};

use super::beginnings::{Beginnings, TopicFacts};
use super::bounded::leave;
use super::consume::{self, Ended};
use super::group::{DEFAULT_SESSION_TIMEOUT, Group};
use super::{Extract, KafkaSource, Topics, client_config, detached, sizes};
use crate::delivery::SourceContext;
use crate::delivery::{Hub, Shutdown};
use crate::source::SourceError;
use crate::telemetry::health::Readiness;
use crate::telemetry::metrics as names;

/// The pause before a name in the group is asked for again that another member has.
const PAUSE: Duration = Duration::from_secs(1);
/// How long leaving the group may take when the run is over; brokers that don't return an answer put the member out later.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Losing its name for good is what becomes of a member that loses it twice within this time: there are two of that name.
const FENCED_AGAIN: Duration = Duration::from_secs(60);

/// Reads until it is over, as a member or without a group.
///
/// # Errors
/// librdkafka refuses its properties, or can't go on.
pub(super) fn run(source: &KafkaSource, mut context: SourceContext) -> Result<(), SourceError> {
    let mut login = source.login.follow("source");
    let mut properties = login.up_to_date(&source.properties);
    sizes::derive(&mut properties, &source.topics, context.prefetch);
    if matches!(source.topics, Topics::Pattern(_)) {
        properties.entry("topic.metadata.refresh.interval.ms".into()).or_insert_with(|| "30000".into());
    }
    if source.extract.is_some() {
        properties.insert("enable.partition.eof".into(), "true".into());
    }
    let (readiness, hub) = (context.readiness(), context.hub.clone());
    let mut waiting = VecDeque::new();
    let mut fenced: Option<Instant> = None;
    let mut consumer = open(source, &properties, &hub, &readiness)?;
    loop {
        subscribe(&consumer, source, &hub.shutdown)?;
        if source.is_detached {
            info!(topics = ?source.topics, "reading from kafka without a consumer group; nothing is committed");
        } else {
            info!(group = source.group_id, topics = ?source.topics, extract = source.extract.is_some(), "reading from kafka");
        }
        let mut renew = |consumer: &BaseConsumer<Group>| {
            login.refresh(consumer.client());
            // An extract ends soon and tracks its own progress; without a group, progress is not stored.
            let make = |properties: &BTreeMap<String, String>| open(source, properties, &hub, &readiness);
            if source.extract.is_none() && !source.is_detached { login.renew(&properties, make) } else { None }
        };
        let read = std::thread::scope(|scope| {
            consume::read(source, &consumer, context, Beginnings::new(scope, &consumer), waiting, &mut renew)
        });
        (context, waiting) = (read.context, read.waiting);
        match read.ended {
            // Leaving the group runs the callback for revocation once more, which commits what is left.
            Ended::Over(result) => {
                leave(consumer, &hub.shutdown, Some(LEAVE_TIMEOUT));
                return result;
            }
            Ended::NameIsLost(error) => {
                leave(consumer, &hub.shutdown, None);
                // Brokers have put this member out: the callback does not run, and nothing can be committed.
                let lost = hub.ledger().revoke_all();
                if is_fatal(&error, RDKafkaErrorCode::FencedInstanceId) {
                    if fenced.is_some_and(|before| before.elapsed() < FENCED_AGAIN) {
                        return Err(error);
                    }
                    fenced = Some(Instant::now());
                    metrics::counter!(names::REBALANCES, "kind" => "lost").increment(1);
                    warn!(
                        partitions = lost,
                        "another member has taken this `group_instance_id`, or brokers took this one for another; joining again"
                    );
                } else {
                    warn!(
                        "another member still has this `group_instance_id`; trying again until its session has ended"
                    );
                }
                std::thread::sleep(PAUSE);
                consumer = open(source, &login.up_to_date(&properties), &hub, &readiness)?;
            }
            Ended::Renewed(newer) => {
                // The callback again: what was read may still end, within the limit.
                leave(consumer, &hub.shutdown, None);
                consumer = newer;
            }
        }
    }
}

/// Whether another member has this one's name. With the new protocol brokers answer so while the name of a member that was killed is not
/// free, until its session has ended. With the classic one they do to a member whose name another has taken since; and to one whose
/// request to join was repeated because the first answer was lost, for they take it for another then.
pub(super) fn is_name_lost(error: &SourceError) -> bool {
    is_fatal(error, RDKafkaErrorCode::UnreleasedInstanceId) || is_fatal(error, RDKafkaErrorCode::FencedInstanceId)
}

fn is_fatal(error: &SourceError, code: RDKafkaErrorCode) -> bool {
    matches!(error, SourceError::Kafka(KafkaError::MessageConsumptionFatal(fatal)) if *fatal == code)
}

/// A client that has not subscribed to anything yet.
fn open(
    source: &KafkaSource,
    properties: &BTreeMap<String, String>,
    hub: &Arc<Hub>,
    readiness: &Readiness,
) -> KafkaResult<BaseConsumer<Group>> {
    let group = Group {
        rebalance_timeout: source.rebalance_timeout,
        commits: !source.is_detached && source.extract.as_ref().is_none_or(|extract| extract.parts.is_empty()),
        topics: TopicFacts::new(properties.get("auto.offset.reset").map(String::as_str), source.topic_identity),
        is_extract: source.extract.is_some(),
        session_timeout: properties
            .get("session.timeout.ms")
            .and_then(|millis| millis.parse().ok())
            .map_or(DEFAULT_SESSION_TIMEOUT, Duration::from_millis),
        ..Group::new(hub.clone(), readiness.clone())
    };
    let mut config = client_config(properties);
    // Tells of a topic's new id before the first record of the new topic is fetched: see `TopicFacts`. At this level librdkafka logs a line for
    // each topic and partition when it looks metadata up.
    let debug = properties.get("debug").map_or_else(|| "metadata".to_string(), |debug| format!("{debug},metadata"));
    config.set("debug", debug).set_log_level(RDKafkaLogLevel::Debug);
    config.create_with_context(group)
}

fn subscribe(consumer: &BaseConsumer<Group>, source: &KafkaSource, shutdown: &Shutdown) -> Result<(), SourceError> {
    match (&source.extract, &source.topics) {
        _ if source.is_detached => detached::assign(consumer, source, shutdown)?,
        (Some(extract), _) if extract.parts.is_empty() => consumer.subscribe(&[&extract.topic])?,
        (Some(extract), _) => assign(consumer, extract)?,
        (None, Topics::Named(names)) => consumer.subscribe(&names.iter().map(String::as_str).collect::<Vec<_>>())?,
        // librdkafka takes a topic that begins with a caret as a pattern.
        (None, Topics::Pattern(pattern)) => consumer.subscribe(&[&format!("^({pattern})$")])?,
    }
    Ok(())
}

/// Takes parts of a topic without a group.
fn assign(consumer: &BaseConsumer<Group>, extract: &Extract) -> Result<(), SourceError> {
    let mut parts = TopicPartitionList::with_capacity(extract.parts.len());
    for part in extract.parts.iter().filter(|part| part.start < part.end) {
        parts.add_partition_offset(&extract.topic, part.partition, Offset::Offset(part.start))?;
    }
    consumer.context().assigned(&parts);
    Ok(consumer.assign(&parts)?)
}
