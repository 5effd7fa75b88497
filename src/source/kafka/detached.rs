//! Reading without a group: a trial run takes every partition of its topics for itself, and commits nothing.
//!
//! The partitions are those that exist when reading begins. No group is joined, so the pipeline's own members keep their
//! partitions and offsets.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use regex::Regex;
use tracing::warn;

use super::group::Group;
use super::{KafkaSource, Topics};
use crate::delivery::Shutdown;
use crate::source::SourceError;

/// Timeout for listing topics.
const LIST_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause before topics are listed again.
const PAUSE: Duration = Duration::from_millis(250);
/// The time between log lines about topics that can't be read yet.
const LOUD_EVERY: Duration = Duration::from_secs(10);

/// Assigns all partitions of the source's topics to the client as soon as there are any; returns without when the run stops before.
///
/// # Errors
/// librdkafka refuses the assignment, or the pattern of topics is none.
pub(super) fn assign(
    consumer: &BaseConsumer<Group>,
    source: &KafkaSource,
    shutdown: &Shutdown,
) -> Result<(), SourceError> {
    let wanted = Wanted::new(&source.topics)?;
    let mut logged: Option<Instant> = None;
    while !shutdown.is_requested() {
        let problem = match partitions(consumer, &wanted) {
            Ok(found) if found.count() > 0 => {
                consumer.context().assigned(&found);
                return Ok(consumer.assign(&found)?);
            }
            Ok(_) => "there is no such topic".to_string(),
            Err(error) => error.to_string(),
        };
        if logged.is_none_or(|logged| logged.elapsed() >= LOUD_EVERY) {
            logged = Some(Instant::now());
            warn!(topics = ?source.topics, error = problem, "failed to list the partitions of the topics; retrying");
        }
        // Nothing is assigned: this only lets librdkafka report errors.
        let _ = consumer.poll(PAUSE);
    }
    Ok(())
}

/// The topics that are read.
enum Wanted<'a> {
    Named(&'a [String]),
    Matching(Regex),
}

impl Wanted<'_> {
    fn new(topics: &Topics) -> Result<Wanted<'_>, SourceError> {
        match topics {
            Topics::Named(names) => Ok(Wanted::Named(names)),
            Topics::Pattern(pattern) => match Regex::new(&format!("^(?:{pattern})$")) {
                Ok(pattern) => Ok(Wanted::Matching(pattern)),
                Err(error) => Err(SourceError::Nothing(format!("`topics_pattern`: {error}"))),
            },
        }
    }

    fn has(&self, topic: &str) -> bool {
        match self {
            Wanted::Named(names) => names.iter().any(|name| name == topic),
            Wanted::Matching(pattern) => pattern.is_match(topic),
        }
    }
}

/// Lists the partitions of the topics. All topics are asked for: brokers may create one that is asked for by its name.
fn partitions(consumer: &BaseConsumer<Group>, wanted: &Wanted<'_>) -> KafkaResult<TopicPartitionList> {
    // A position of its own keeps librdkafka from looking up what the group has committed.
    let start = if consumer.context().topics.resets_to_end() { Offset::End } else { Offset::Beginning };
    let metadata = consumer.fetch_metadata(None, LIST_TIMEOUT)?;
    let mut found = TopicPartitionList::new();
    for topic in metadata.topics().iter().filter(|topic| wanted.has(topic.name())) {
        for partition in topic.partitions() {
            found.add_partition_offset(topic.name(), partition.id(), start)?;
        }
    }
    Ok(found)
}
