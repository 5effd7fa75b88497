//! What is done about a topic that was deleted and created anew: it is said, counted, and read as `auto_offset_reset` says,
//! whatever offsets are left of the old one.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tracing::{error, warn};

use super::group::Group;
use super::topic_id::{is_another, noted, topic_ids};

/// How long the brokers may take to say which topics there are; polling waits meanwhile.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a partition may take to begin elsewhere.
const SEEK_TIMEOUT: Duration = Duration::from_secs(2);

/// Which topics this member reads, by their ids.
#[derive(Default)]
pub(super) struct Identities {
    /// For a topic's name, the id that its offsets here belong to.
    known: Mutex<HashMap<String, String>>,
    /// Where a topic begins that was created anew; `None` where that ends the run.
    begin: Option<Offset>,
    /// A topic that was created anew, where that ends the run.
    fatal: Mutex<Option<String>>,
}

impl Identities {
    /// With what librdkafka's `auto.offset.reset` is.
    pub(super) fn new(reset: Option<&str>) -> Identities {
        let begin = match reset {
            Some("error") => None,
            Some("latest") => Some(Offset::End),
            _ => Some(Offset::Beginning),
        };
        Identities { begin, ..Identities::default() }
    }

    /// The id that offsets of this topic are committed for.
    pub(super) fn of(&self, topic: &str) -> Option<String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(topic).cloned()
    }

    fn set(&self, topic: &str, id: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.to_string(), id.to_string());
    }

    /// A topic that was created anew, where that ends the run.
    pub(super) fn fatal(&self) -> Option<String> {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn topics_of(partitions: &TopicPartitionList) -> Vec<String> {
    partitions.elements().iter().map(|element| element.topic().to_string()).collect::<HashSet<_>>().into_iter().collect()
}

/// Compares what offsets were committed for with what is there now, for partitions that are about to be assigned. Those of a
/// topic that is another by now are made to begin as the policy says.
pub(super) fn compare(consumer: &BaseConsumer<Group>, partitions: &TopicPartitionList) {
    let group = consumer.context();
    let topics = topics_of(partitions);
    let mut wanted = TopicPartitionList::with_capacity(partitions.count());
    for element in partitions.elements() {
        wanted.add_partition(element.topic(), element.partition());
    }
    let committed = consumer.committed_offsets(wanted, LOOK_UP_TIMEOUT).map_err(|error| error.to_string());
    let found = committed.and_then(|committed| Ok((committed, topic_ids(consumer.client(), &topics, LOOK_UP_TIMEOUT)?)));
    let (committed, ids) = match found {
        Ok(found) => found,
        Err(error) => return warn!(error, "could not look up whether topics are the same as before; it is looked up again later"),
    };
    let held = consumer.assignment().unwrap_or_default();
    let mut anew = HashMap::new();
    for mut element in partitions.elements() {
        let topic = element.topic().to_string();
        let Some(id) = ids.get(&topic) else { continue };
        let then = committed.find_partition(&topic, element.partition()).and_then(|committed| noted(committed.metadata()));
        if let Some(then) = then.filter(|then| is_another(then, id)) {
            anew.insert(topic, then);
            if let Some(begin) = group.identities.begin
                && let Err(error) = element.set_offset(begin)
            {
                error!(%error, partition = element.partition(), "a partition can't be read anew");
            }
        }
    }
    for topic in &topics {
        let Some(id) = ids.get(topic) else { continue };
        let before = group.identities.of(topic);
        // What this member still reads under the old id is found, and begun anew, by the next comparison.
        if before.is_none() || held.elements_for_topic(topic).is_empty() {
            let then = anew.remove(topic).or(before.filter(|before| is_another(before, id)));
            group.identities.set(topic, id);
            if let Some(then) = then {
                group.topic_is_another(topic, &then, id);
            }
        }
    }
}

/// Compares the topics that are read with those that are there. Answers the partitions of those that are others by now.
pub(super) fn changed(consumer: &BaseConsumer<Group>) -> Vec<(String, i32)> {
    let group = consumer.context();
    let assignment = consumer.assignment().unwrap_or_default();
    let ids = match topic_ids(consumer.client(), &topics_of(&assignment), LOOK_UP_TIMEOUT) {
        Ok(ids) => ids,
        // Brokers that are away are said elsewhere.
        Err(_) => return Vec::new(),
    };
    let mut anew = HashSet::new();
    for (topic, id) in &ids {
        match group.identities.of(topic) {
            Some(then) if is_another(&then, id) => {
                group.identities.set(topic, id);
                group.topic_is_another(topic, &then, id);
                anew.insert(topic.as_str());
            }
            _ => group.identities.set(topic, id),
        }
    }
    let elements = assignment.elements();
    elements.iter().filter(|element| anew.contains(element.topic())).map(|element| (element.topic().to_string(), element.partition())).collect()
}

/// Lets a partition that is being read begin as the policy says.
pub(super) fn begin_anew(consumer: &BaseConsumer<Group>, topic: &str, partition: i32) {
    let Some(begin) = consumer.context().identities.begin else { return };
    if let Err(error) = consumer.seek(topic, partition, begin, SEEK_TIMEOUT) {
        error!(%error, topic, partition, "a partition of a topic that was created anew could not be read from its beginning");
    }
}

impl Group {
    fn topic_is_another(&self, topic: &str, then: &str, now: &str) {
        self.hub.count_offset_reset();
        error!(
            topic, then, now,
            "this topic was deleted and created anew: its offsets begin again, and it is read as `auto_offset_reset` says; give `id_salt` \
             another value, or new records whose ids are taken by old ones count as delivered"
        );
        if self.identities.begin.is_none() {
            *self.identities.fatal.lock().unwrap_or_else(PoisonError::into_inner) = Some(topic.to_string());
        }
    }
}
